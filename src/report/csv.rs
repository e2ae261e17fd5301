//! Reports as CSV, full precision, empty cells where there is no figure.

use std::io::Write;

use crate::metrics::{ConfusionMatrix, CurvePoint, FairnessReport, Figure, PartFigures, Rate, SuccessMatrix};

/// `confusion_*.csv`: counts, one row a true label, one column a prediction.
///
/// # Errors
/// When the writer fails.
pub fn write_confusion(to: impl Write, classes: &[String], counts: &ConfusionMatrix) -> csv::Result<()> {
    write_matrix(to, "true\\predicted", classes, |label, prediction| {
        counts.count(label, prediction).to_string()
    })
}

/// `success_*.csv`: success rates of targeted attacks, one row a source class, one column a target. How
/// many attacks stand behind each is in `pairs.csv`.
///
/// # Errors
/// When the writer fails.
pub fn write_success(to: impl Write, classes: &[String], counts: &SuccessMatrix) -> csv::Result<()> {
    write_matrix(to, "source\\target", classes, |source, target| number(counts.rate(source, target)))
}

fn write_matrix(
    to: impl Write,
    corner: &str,
    classes: &[String],
    cell: impl Fn(usize, usize) -> String,
) -> csv::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(std::iter::once(corner).chain(classes.iter().map(String::as_str)))?;
    for (row, name) in classes.iter().enumerate() {
        let cells = (0..classes.len()).map(|column| cell(row, column));
        writer.write_record(std::iter::once(name.clone()).chain(cells))?;
    }
    Ok(writer.flush()?)
}

/// `parts_*.csv`: what each part of a composed attack contributed, untargeted and targeted. `left` is the share
/// of the images that still stand after the part, with its interval.
///
/// # Errors
/// When the writer fails.
pub fn write_parts(to: impl Write, goals: &[(&str, Vec<PartFigures>)]) -> csv::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(["goal", "part", "standing", "turned", "left", "low", "high", "n"])?;
    for (goal, parts) in goals {
        for part in parts {
            let counts = [part.standing, part.turned].map(|count| count.to_string());
            let names = [(*goal).to_owned(), part.part.clone()];
            writer.write_record(names.into_iter().chain(counts).chain(rate(part.left)))?;
        }
    }
    Ok(writer.flush()?)
}

/// `curves.csv`: robust accuracy over the strength of the attack, with its interval.
///
/// # Errors
/// When the writer fails.
pub fn write_curves(to: impl Write, points: &[CurvePoint]) -> csv::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(["axis", "value", "attack", "robust", "low", "high", "n"])?;
    for point in points {
        let names = [&point.axis, &point.value, &point.attack].map(Clone::clone);
        writer.write_record(names.into_iter().chain(rate(point.robust)))?;
    }
    Ok(writer.flush()?)
}

/// `classes.csv`: each class as source and as target.
///
/// # Errors
/// When the writer fails.
pub fn write_classes(to: impl Write, report: &FairnessReport) -> csv::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record([
        "class",
        "clean_accuracy",
        "clean_low",
        "clean_high",
        "clean_n",
        "robust_accuracy",
        "robust_low",
        "robust_high",
        "robust_n",
        "share_of_errors",
        "share_low",
        "share_high",
        "errors",
        "exposure",
        "success_as_source",
        "attacks_as_source",
        "success_as_target",
        "attacks_as_target",
    ])?;
    for (class, name) in report.classes.iter().enumerate() {
        let attacked = report.untargeted.as_ref();
        let targeted = report.targeted.as_ref();
        let mut record = vec![name.clone()];
        record.extend(rate(report.clean.source.per_class[class]));
        record.extend(rate(attacked.and_then(|found| found.source.per_class[class])));
        record.extend(rate(attacked.and_then(|found| found.target.shares[class])));
        record.push(number(attacked.and_then(|found| Some(found.target.exposures[class]?.value))));
        record.extend(figure(targeted.and_then(|found| found.from_source[class])));
        record.extend(figure(targeted.and_then(|found| found.into_target[class])));
        writer.write_record(record)?;
    }
    Ok(writer.flush()?)
}

/// `pairs.csv`: the unordered pairs of classes that were attacked in at least one direction, with the
/// success of both. `gap` is the success from `class_i` to `class_j` minus the success back.
///
/// # Errors
/// When the writer fails.
pub fn write_pairs(to: impl Write, classes: &[String], counts: &SuccessMatrix) -> csv::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record([
        "class_i",
        "class_j",
        "success_ij",
        "low_ij",
        "high_ij",
        "n_ij",
        "success_ji",
        "low_ji",
        "high_ji",
        "n_ji",
        "gap",
    ])?;
    for i in 0..classes.len() {
        for j in i + 1..classes.len() {
            let [there, back] =
                [(i, j), (j, i)].map(|(i, j)| Rate::of(counts.successes(i, j), counts.attempts(i, j)));
            if there.is_none() && back.is_none() {
                continue;
            }
            let gap = there.zip(back).map(|(there, back)| there.value - back.value);
            let mut record = vec![classes[i].clone(), classes[j].clone()];
            record.extend(rate(there).into_iter().chain(rate(back)));
            record.push(number(gap));
            writer.write_record(record)?;
        }
    }
    Ok(writer.flush()?)
}

/// `groups.csv`: accuracy of each group of each column, by image (with interval) and as mean of classes.
///
/// # Errors
/// When the writer fails.
pub fn write_groups(to: impl Write, report: &FairnessReport) -> csv::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record([
        "column",
        "group",
        "classes",
        "clean_accuracy",
        "clean_low",
        "clean_high",
        "clean_n",
        "clean_class_mean",
        "robust_accuracy",
        "robust_low",
        "robust_high",
        "robust_n",
        "robust_class_mean",
    ])?;
    for column in &report.groups {
        for (at, name) in column.groups.iter().enumerate() {
            let mut record = vec![column.column.clone(), name.clone(), column.members[at].len().to_string()];
            for figures in [Some(&column.clean), column.untargeted.as_ref()] {
                let group = figures.map(|figures| figures.per_group[at]);
                record.extend(rate(group.and_then(|group| group.sample_weighted)));
                record.push(number(group.and_then(|group| Some(group.class_macro?.value))));
            }
            writer.write_record(record)?;
        }
    }
    Ok(writer.flush()?)
}

/// `group_flows.csv`: errors and targeted success from each group to each, as the mean over ordered pairs
/// of a class of one and another class of the other.
///
/// # Errors
/// When the writer fails.
pub fn write_group_flows(to: impl Write, report: &FairnessReport) -> csv::Result<()> {
    let mut writer = csv::Writer::from_writer(to);
    writer.write_record(["column", "from", "to", "clean_errors", "robust_errors", "targeted_success"])?;
    for column in &report.groups {
        let flows = [
            Some(&column.clean.flow),
            column.untargeted.as_ref().map(|found| &found.flow),
            column.targeted.as_ref(),
        ];
        for (g, from) in column.groups.iter().enumerate() {
            for (h, to) in column.groups.iter().enumerate() {
                let cells = flows.map(|flow| number(flow.and_then(|flow| flow.rates[g][h])));
                writer.write_record([&column.column, from, to].into_iter().chain(&cells))?;
            }
        }
    }
    Ok(writer.flush()?)
}

/// Value, interval and count: four cells.
fn rate(rate: Option<Rate>) -> [String; 4] {
    let part = |part: fn(Rate) -> f64| number(rate.map(part));
    let n = rate.map(|rate| rate.n.to_string()).unwrap_or_default();
    [part(|rate| rate.value), part(|rate| rate.low), part(|rate| rate.high), n]
}

/// Value and count: two cells.
fn figure(figure: Option<Figure>) -> [String; 2] {
    let n = figure.map(|figure| figure.n.to_string()).unwrap_or_default();
    [number(figure.map(|figure| figure.value)), n]
}

/// The shortest digits that give the number back; nothing for none.
fn number(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::{confusion, plain, success};

    fn written(write: impl FnOnce(&mut Vec<u8>) -> csv::Result<()>) -> String {
        let mut bytes = Vec::new();
        write(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn names() -> Vec<String> {
        ["anna", "b,en", "carl"].map(String::from).to_vec()
    }

    #[test]
    fn parts_of_an_attack() {
        let mut counts = crate::metrics::PartCounts::default();
        counts.add(true, Some("apgd-ce"));
        counts.add(false, None);
        let lines = counts.figures(&["apgd-ce"]);
        let text = written(|to| write_parts(to, &[("untargeted", lines)]));
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("goal,part,standing,turned,left,low,high,n"));
        assert!(lines.next().is_some_and(|line| line.starts_with("untargeted,none,2,0,1,")));
        assert!(lines.next().is_some_and(|line| line.starts_with("untargeted,apgd-ce,2,1,0.5,")));
    }

    #[test]
    fn matrices() {
        let counts = confusion([[1, 9, 0], [3, 5, 2], [0, 10, 0]]);
        insta::assert_snapshot!(written(|to| write_confusion(to, &names(), &counts)), @r#"
        true\predicted,anna,"b,en",carl
        anna,1,9,0
        "b,en",3,5,2
        carl,0,10,0
        "#);
        let counts = success([[0, 9, 2], [1, 0, 1], [0, 8, 0]]);
        insta::assert_snapshot!(written(|to| write_success(to, &names(), &counts)), @r#"
        source\target,anna,"b,en",carl
        anna,,0.9,0.2
        "b,en",0.1,,0.1
        carl,,0.8,
        "#);
    }

    #[test]
    fn classes() {
        insta::assert_snapshot!(written(|to| write_classes(to, &plain())), @"
        class,clean_accuracy,clean_low,clean_high,clean_n,robust_accuracy,robust_low,robust_high,robust_n,share_of_errors,share_low,share_high,errors,exposure,success_as_source,attacks_as_source,success_as_target,attacks_as_target
        anna,1,0.7224672001371107,1,10,0.1,0.017876213095072896,0.4041500267952385,10,0.125,0.04344334080123444,0.31003881270500067,24,0.15,0.55,20,0.1,10
        ben_o,0.9,0.5958499732047615,0.9821237869049271,10,0.5,0.236593090512564,0.7634069094874361,10,0.7916666666666666,0.5952954674681133,0.9075517464714814,24,0.95,0.1,20,0.8500000000000001,20
        Łucja,1,0.7224672001371107,1,10,0,0,0.2775327998628892,10,0.08333333333333333,0.023158815297043306,0.25848802193210685,24,0.1,0.8,10,0.15000000000000002,20
        ");
    }

    #[test]
    fn pairs() {
        let counts = success([[0, 9, 2], [1, 0, 1], [0, 8, 0]]);
        insta::assert_snapshot!(written(|to| write_pairs(to, &names(), &counts)), @r#"
        class_i,class_j,success_ij,low_ij,high_ij,n_ij,success_ji,low_ji,high_ji,n_ji,gap
        anna,"b,en",0.9,0.5958499732047615,0.9821237869049271,10,0.1,0.017876213095072896,0.4041500267952385,10,0.8
        anna,carl,0.2,0.05668215145437519,0.5098375284633583,10,,,,,
        "b,en",carl,0.1,0.017876213095072896,0.4041500267952385,10,0.8,0.49016247153664183,0.9433178485456247,10,-0.7000000000000001
        "#);
    }

    #[test]
    fn groups() {
        insta::assert_snapshot!(written(|to| write_groups(to, &plain())), @"
        column,group,classes,clean_accuracy,clean_low,clean_high,clean_n,clean_class_mean,robust_accuracy,robust_low,robust_high,robust_n,robust_class_mean
        gender,female,2,1,0.8388748419471806,1,20,1,0.05,0.008881448800795402,0.23613119344674205,20,0.05
        gender,male,1,0.9,0.5958499732047615,0.9821237869049271,10,0.9,0.5,0.236593090512564,0.7634069094874361,10,0.5
        ");
        insta::assert_snapshot!(written(|to| write_group_flows(to, &plain())), @"
        column,from,to,clean_errors,robust_errors,targeted_success
        gender,female,female,0,0,
        gender,female,male,0,0.95,0.8500000000000001
        gender,male,female,0.05,0.25,0.1
        gender,male,male,,,
        ");
    }
}
