//! Reports for the terminal.

use super::comparison::{ABSENT, LEGEND, number, rate, sections};
use super::table::{Align, Table};
use crate::metrics::{FairnessReport, Figure, Rate};

/// How many classes a summary lists; `classes.csv` has all.
const CLASSES_SHOWN: usize = 10;

/// The figures of several reports side by side: figures are rows, models are columns.
pub fn comparison(reports: &[(&str, &FairnessReport)]) -> String {
    format!("{}\n{}", figures(reports), legend())
}

/// The figures of one report, its weakest classes and its groups.
pub fn summary(report: &FairnessReport) -> String {
    let (classes, left_out) = weakest_classes(report);
    let more = if left_out > 0 { format!("and {left_out} more classes\n") } else { String::new() };
    let mut parts = vec![figures(&[("value", report)]).to_string(), format!("{classes}{more}")];
    if !report.groups.is_empty() {
        parts.push(groups(report).to_string());
    }
    parts.push(legend());
    parts.join("\n")
}

fn figures(reports: &[(&str, &FairnessReport)]) -> Table {
    let columns = std::iter::once("figure").chain(reports.iter().map(|(name, _)| *name));
    let mut table = Table::new(columns.map(|title| (title, Align::Left)));
    for section in sections(reports) {
        table.heading(&section.heading);
        for row in section.rows {
            table.row(std::iter::once(row.label).chain(row.cells));
        }
    }
    table
}

fn legend() -> String {
    LEGEND.map(|sentence| format!("{sentence}\n")).concat()
}

/// The classes with the lowest accuracy under attack, or on clean images where there was no untargeted
/// attack, and how many others there are.
fn weakest_classes(report: &FairnessReport) -> (Table, usize) {
    let figures = report.untargeted.as_ref().unwrap_or(&report.clean);
    let accuracy = |class: &usize| figures.source.per_class[*class].map_or(f64::INFINITY, |rate| rate.value);
    let mut classes: Vec<usize> = (0..report.classes.len()).collect();
    classes.sort_by(|a, b| accuracy(a).total_cmp(&accuracy(b)));

    let titles = ["clean", "robust", "share of errors", "exposure", "targeted from", "targeted into"];
    let columns = titles.map(|title| (title, Align::Right));
    let mut table = Table::new(std::iter::once(("weakest classes", Align::Left)).chain(columns));
    let whole = |found: Option<&Rate>| found.map_or_else(|| ABSENT.to_owned(), rate);
    let short = |value: Option<f64>| value.map_or_else(|| ABSENT.to_owned(), number);
    for &class in classes.iter().take(CLASSES_SHOWN) {
        let attacked = report.untargeted.as_ref();
        let targeted = report.targeted.as_ref();
        let value = |figure: Option<Figure>| figure.map(|figure| figure.value);
        table.row([
            report.classes[class].clone(),
            whole(report.clean.source.per_class[class].as_ref()),
            whole(attacked.and_then(|found| found.source.per_class[class].as_ref())),
            short(attacked.and_then(|found| Some(found.target.shares[class]?.value))),
            short(attacked.and_then(|found| value(found.target.exposures[class]))),
            short(targeted.and_then(|found| value(found.from_source[class]))),
            short(targeted.and_then(|found| value(found.into_target[class]))),
        ]);
    }
    (table, classes.len().saturating_sub(CLASSES_SHOWN))
}

fn groups(report: &FairnessReport) -> Table {
    let titles = ["classes", "clean", "robust", "robust, class mean"];
    let columns = titles.map(|title| (title, Align::Right));
    let mut table = Table::new(std::iter::once(("groups", Align::Left)).chain(columns));
    let whole = |found: Option<Rate>| found.as_ref().map_or_else(|| ABSENT.to_owned(), rate);
    for column in &report.groups {
        table.heading(&column.column);
        for (at, name) in column.groups.iter().enumerate() {
            let attacked = column.untargeted.as_ref().map(|found| found.per_group[at]);
            let class_mean = attacked.and_then(|found| found.class_macro);
            table.row([
                name.clone(),
                column.members[at].len().to_string(),
                whole(column.clean.per_group[at].sample_weighted),
                whole(attacked.and_then(|found| found.sample_weighted)),
                class_mean.map_or_else(|| ABSENT.to_owned(), |figure| number(figure.value)),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::{clean_only, plain, sy_far};

    #[test]
    fn models_are_compared_side_by_side() {
        insta::assert_snapshot!(comparison(&[("plain", &plain()), ("sy-far", &sy_far())]), @r#"
        figure                                plain                                                             sy-far
        ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
        Setting
        attack                                glasses                                                           glasses
        classes                               3                                                                 3
        clean images                          30                                                                30
        attacked images                       30                                                                30
        targeted attacks                      50                                                                50

        Clean
        accuracy                              0.967 [0.833, 0.994] n 30                                         0.967 [0.833, 0.994] n 30
        mean class accuracy                   0.967 [0.801, 0.994] n 30                                         0.967 [0.801, 0.994] n 30
        worst class                           0.900 [0.596, 0.982] n 10, ben_o                                  0.900 [0.596, 0.982] n 10, ben_o

        Untargeted attack
        robust accuracy                       0.200 [0.095, 0.373] n 30                                         0.500 [0.332, 0.668] n 30
        mean class robust accuracy            0.200 [0.108, 0.363] n 30                                         0.500 [0.348, 0.652] n 30
        worst source class                    0.000 [0.000, 0.278] n 10, Łucja                                  0.500 [0.237, 0.763] n 10, anna
        source gap (best - worst)             0.500 [0.000, 0.750] n 30                                         0.000 n 30
        largest share of errors               0.792 [0.595, 0.908] n 24, ben_o                                  0.400 [0.198, 0.643] n 15, ben_o
        target share gap                      0.708 [0.340, 0.896] n 24                                         0.133 n 15
        largest exposure                      0.950 [0.771, 0.991] n 20, ben_o                                  0.300 [0.145, 0.519] n 20, ben_o

        Symmetry of confusions under attack
        robust accuracy                       0.200 [0.095, 0.373] n 30                                         0.500 [0.332, 0.668] n 30
        pairs compared                        3                                                                 3
        asymmetry A1n (0 to 1)                0.583 [0.332, 0.777] (chance 0.129, p 0.005) n 30                 0.067 n 30
        asymmetry A1 (sum)                    1.400 [0.807, 1.741] (chance 0.310, p 0.005) n 30                 0.100 n 30
        largest gap                           0.800 [0.343, 0.991] (chance 0.235, p 0.005) n 30, Łucja > ben_o  0.100 n 30, Łucja > ben_o
        Sy-FAR penalty, eps 0.1               1.292 [0.842, 1.587] n 30                                         0.083 n 30
        Sy-FAR penalty, eps 1/K               1.096 [0.691, 1.328] n 30                                         0.060 n 30

        Targeted attack
        pairs tried                           5 of 6                                                            5 of 6
        success                               0.420 n 50                                                        0.140 n 50
        mean success of a pair                0.420 n 50                                                        0.140 n 50
        worst source class                    0.800 n 10, Łucja                                                 0.150 n 20, anna
        worst target class                    0.850 n 20, ben_o                                                 0.200 n 10, anna
        source gap                            0.700 n 50                                                        0.050 n 50
        target gap                            0.750 n 50                                                        0.100 n 50

        Symmetry of targeted success
        robust accuracy                       0.200 [0.095, 0.373] n 30                                         0.500 [0.332, 0.668] n 30
        success                               0.420 n 50                                                        0.140 n 50
        pairs compared                        2                                                                 2
        asymmetry A1n (0 to 1)                0.789 (chance 0.194, p 0.005) n 40                                0.000 n 40
        asymmetry A1 (sum)                    1.500 (chance 0.368, p 0.005) n 40                                0.000 n 40
        largest gap                           0.800 (chance 0.269, p 0.005) n 40, anna > ben_o                  0.000 n 40
        Sy-FAR penalty, eps 0.1               1.357 n 40                                                        0.000 n 40
        Sy-FAR penalty, eps 1/K               1.111 n 40                                                        0.000 n 40

        Groups by gender
        clean disparity, class mean           0.100 [0.000, 0.150] n 30, worst male                             0.100 n 30, worst male
        clean disparity, image mean           0.100 [0.000, 0.150] n 30, worst male                             0.100 n 30, worst male
        worst group, clean accuracy           0.900 [0.596, 0.982] n 10, male                                   0.900 [0.596, 0.982] n 10, male
        robust disparity, class mean          0.450 [0.095, 0.675] n 30, worst female                           0.000 n 30
        robust disparity, image mean          0.450 [0.022, 0.675] n 30, worst female                           0.000 n 30
        worst group, robust accuracy          0.050 [0.009, 0.236] n 20, female                                 0.500 [0.299, 0.701] n 20, female
        gap of error flow (mean of pairs)     0.700 [0.456, 0.838] n 30, female > male                          0.050 [-0.139, 0.302] n 30, female > male
        gap of targeted flow (mean of pairs)  0.750 n 50, female > male                                         0.000 n 50

        [low, high] is the 95 % interval of the true value, n the number of images or attacks behind it. Chance makes gaps and asymmetries larger, so they can lie above it.
        "chance" is the mean of a figure when the truth is symmetric and errors are as many; p is how often it then gets as large.
        Guessing is perfectly symmetric: asymmetry says something only next to robust accuracy.
        Worst and largest are chosen on the images they are reported on, so they look worse than they are.
        "#);
    }

    #[test]
    fn a_summary_shows_classes_and_groups() {
        insta::assert_snapshot!(summary(&plain()), @r#"
        figure                                value
        ──────────────────────────────────────────────────────────────────────────────────────────────────────
        Setting
        attack                                glasses
        classes                               3
        clean images                          30
        attacked images                       30
        targeted attacks                      50

        Clean
        accuracy                              0.967 [0.833, 0.994] n 30
        mean class accuracy                   0.967 [0.801, 0.994] n 30
        worst class                           0.900 [0.596, 0.982] n 10, ben_o

        Untargeted attack
        robust accuracy                       0.200 [0.095, 0.373] n 30
        mean class robust accuracy            0.200 [0.108, 0.363] n 30
        worst source class                    0.000 [0.000, 0.278] n 10, Łucja
        source gap (best - worst)             0.500 [0.000, 0.750] n 30
        largest share of errors               0.792 [0.595, 0.908] n 24, ben_o
        target share gap                      0.708 [0.340, 0.896] n 24
        largest exposure                      0.950 [0.771, 0.991] n 20, ben_o

        Symmetry of confusions under attack
        robust accuracy                       0.200 [0.095, 0.373] n 30
        pairs compared                        3
        asymmetry A1n (0 to 1)                0.583 [0.332, 0.777] (chance 0.129, p 0.005) n 30
        asymmetry A1 (sum)                    1.400 [0.807, 1.741] (chance 0.310, p 0.005) n 30
        largest gap                           0.800 [0.343, 0.991] (chance 0.235, p 0.005) n 30, Łucja > ben_o
        Sy-FAR penalty, eps 0.1               1.292 [0.842, 1.587] n 30
        Sy-FAR penalty, eps 1/K               1.096 [0.691, 1.328] n 30

        Targeted attack
        pairs tried                           5 of 6
        success                               0.420 n 50
        mean success of a pair                0.420 n 50
        worst source class                    0.800 n 10, Łucja
        worst target class                    0.850 n 20, ben_o
        source gap                            0.700 n 50
        target gap                            0.750 n 50

        Symmetry of targeted success
        robust accuracy                       0.200 [0.095, 0.373] n 30
        success                               0.420 n 50
        pairs compared                        2
        asymmetry A1n (0 to 1)                0.789 (chance 0.194, p 0.005) n 40
        asymmetry A1 (sum)                    1.500 (chance 0.368, p 0.005) n 40
        largest gap                           0.800 (chance 0.269, p 0.005) n 40, anna > ben_o
        Sy-FAR penalty, eps 0.1               1.357 n 40
        Sy-FAR penalty, eps 1/K               1.111 n 40

        Groups by gender
        clean disparity, class mean           0.100 [0.000, 0.150] n 30, worst male
        clean disparity, image mean           0.100 [0.000, 0.150] n 30, worst male
        worst group, clean accuracy           0.900 [0.596, 0.982] n 10, male
        robust disparity, class mean          0.450 [0.095, 0.675] n 30, worst female
        robust disparity, image mean          0.450 [0.022, 0.675] n 30, worst female
        worst group, robust accuracy          0.050 [0.009, 0.236] n 20, female
        gap of error flow (mean of pairs)     0.700 [0.456, 0.838] n 30, female > male
        gap of targeted flow (mean of pairs)  0.750 n 50, female > male

        weakest classes                      clean                     robust  share of errors  exposure  targeted from  targeted into
        ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
        Łucja            1.000 [0.722, 1.000] n 10  0.000 [0.000, 0.278] n 10            0.083     0.100          0.800          0.150
        anna             1.000 [0.722, 1.000] n 10  0.100 [0.018, 0.404] n 10            0.125     0.150          0.550          0.100
        ben_o            0.900 [0.596, 0.982] n 10  0.500 [0.237, 0.763] n 10            0.792     0.950          0.100          0.850

        groups  classes                      clean                     robust  robust, class mean
        ─────────────────────────────────────────────────────────────────────────────────────────
        gender
        female        2  1.000 [0.839, 1.000] n 20  0.050 [0.009, 0.236] n 20               0.050
        male          1  0.900 [0.596, 0.982] n 10  0.500 [0.237, 0.763] n 10               0.500

        [low, high] is the 95 % interval of the true value, n the number of images or attacks behind it. Chance makes gaps and asymmetries larger, so they can lie above it.
        "chance" is the mean of a figure when the truth is symmetric and errors are as many; p is how often it then gets as large.
        Guessing is perfectly symmetric: asymmetry says something only next to robust accuracy.
        Worst and largest are chosen on the images they are reported on, so they look worse than they are.
        "#);
    }

    #[test]
    fn what_was_not_attacked_is_not_shown() {
        insta::assert_snapshot!(comparison(&[("clean only", &clean_only())]), @r#"
        figure                       clean only
        ─────────────────────────────────────────────────────────────
        Setting
        attack                       glasses
        classes                      3
        clean images                 30
        attacked images              -
        targeted attacks             -

        Clean
        accuracy                     0.967 [0.833, 0.994] n 30
        mean class accuracy          0.967 [0.801, 0.994] n 30
        worst class                  0.900 [0.596, 0.982] n 10, ben_o

        Groups by gender
        clean disparity, class mean  0.100 n 30, worst male
        clean disparity, image mean  0.100 n 30, worst male
        worst group, clean accuracy  0.900 [0.596, 0.982] n 10, male

        [low, high] is the 95 % interval of the true value, n the number of images or attacks behind it. Chance makes gaps and asymmetries larger, so they can lie above it.
        "chance" is the mean of a figure when the truth is symmetric and errors are as many; p is how often it then gets as large.
        Guessing is perfectly symmetric: asymmetry says something only next to robust accuracy.
        Worst and largest are chosen on the images they are reported on, so they look worse than they are.
        "#);
    }

    #[test]
    fn asymmetry_never_stands_without_robust_accuracy_and_n() {
        let text = comparison(&[("plain", &plain())]);
        let lines: Vec<&str> = text.lines().collect();
        let headings = lines.iter().enumerate().filter(|(_, line)| line.starts_with("Symmetry"));
        let mut found = 0;
        for (at, _) in headings {
            assert!(lines[at + 1].starts_with("robust accuracy") && lines[at + 1].contains(" n "));
            found += 1;
        }
        assert_eq!(found, 2);
        assert!(!text.contains("fair "));
    }
}
