//! The figures of several reports, side by side: what terminal and markdown print alike.

use crate::metrics::{
    ConfusionFigures, FairnessReport, Figure, GroupFigures, GroupFlow, GroupReport, GroupSpread, Rate,
    SymmetryFigures, TargetedFigures,
};

/// What stands where there is no figure.
pub(super) const ABSENT: &str = "-";

/// How to read the cells.
pub(super) const LEGEND: [&str; 4] = [
    "[low, high] is the 95 % interval of the true value, n the number of images or attacks behind it. Chance makes gaps and asymmetries larger, so they can lie above it.",
    "\"chance\" is the mean of a figure when the truth is symmetric and errors are as many; p is how often it then gets as large.",
    "Guessing is perfectly symmetric: asymmetry says something only next to robust accuracy.",
    "Worst and largest are chosen on the images they are reported on, so they look worse than they are.",
];

/// A name and its report.
pub(super) type Named<'a> = (&'a str, &'a FairnessReport);

/// Rows under a heading.
pub(super) struct Section {
    pub heading: String,
    pub rows: Vec<Row>,
}

/// One figure of every report.
#[derive(Clone)]
pub(super) struct Row {
    pub label: String,
    pub cells: Vec<String>,
}

/// All sections that at least one report has.
pub(super) fn sections(reports: &[Named]) -> Vec<Section> {
    let mut sections = vec![setting(reports), clean(reports)];
    if reports.iter().any(|(_, report)| report.untargeted.is_some()) {
        sections.push(untargeted(reports));
        sections.push(Section {
            heading: "Symmetry of confusions under attack".into(),
            rows: [
                vec![robust_accuracy(reports)],
                symmetry(reports, |report| report.untargeted.as_ref()?.symmetry.as_ref()),
            ]
            .concat(),
        });
    }
    if reports.iter().any(|(_, report)| report.targeted.is_some()) {
        sections.push(targeted(reports));
        sections.push(Section {
            heading: "Symmetry of targeted success".into(),
            rows: [
                vec![robust_accuracy(reports), success(reports)],
                symmetry(reports, |report| report.targeted.as_ref()?.symmetry.as_ref()),
            ]
            .concat(),
        });
    }
    sections.extend(columns(reports).into_iter().map(|column| groups(reports, column)));
    sections
}

/// One row: a cell for each report, or [`ABSENT`].
fn row(label: &str, reports: &[Named], cell: impl Fn(&FairnessReport) -> Option<String>) -> Row {
    let cells = reports.iter().map(|(_, report)| cell(report).unwrap_or_else(|| ABSENT.into()));
    Row { label: label.into(), cells: cells.collect() }
}

fn setting(reports: &[Named]) -> Section {
    let images = |figures: &ConfusionFigures| figures.images.to_string();
    let rows = vec![
        row("attack", reports, |report| Some(report.attack.clone())),
        row("classes", reports, |report| Some(report.classes.len().to_string())),
        row("clean images", reports, |report| Some(images(&report.clean))),
        row("attacked images", reports, |report| report.untargeted.as_ref().map(images)),
        row("targeted attacks", reports, |report| Some(report.targeted.as_ref()?.attacks.to_string())),
    ];
    Section { heading: "Setting".into(), rows }
}

fn clean(reports: &[Named]) -> Section {
    let rows = vec![
        row("accuracy", reports, |report| report.clean.robustness.micro_accuracy.as_ref().map(rate)),
        row("mean class accuracy", reports, |report| {
            report.clean.robustness.macro_accuracy.as_ref().map(figure)
        }),
        row("worst class", reports, |report| worst_class(report, &report.clean)),
    ];
    Section { heading: "Clean".into(), rows }
}

fn untargeted(reports: &[Named]) -> Section {
    let of = |label: &str, cell: fn(&FairnessReport, &ConfusionFigures) -> Option<String>| {
        row(label, reports, |report| cell(report, report.untargeted.as_ref()?))
    };
    let rows = vec![
        robust_accuracy(reports),
        of("mean class robust accuracy", |_, found| found.robustness.macro_accuracy.as_ref().map(figure)),
        of("worst source class", worst_class),
        of("source gap (best - worst)", |_, found| found.source.gap.as_ref().map(figure)),
        of("largest share of errors", |report, found| {
            let largest = found.target.largest_share?;
            Some(format!("{}, {}", rate(&largest.rate), report.classes[largest.class]))
        }),
        of("target share gap", |_, found| found.target.share_gap.as_ref().map(figure)),
        of("largest exposure", |report, found| {
            let largest = found.target.largest_exposure?;
            Some(format!("{}, {}", figure(&largest.figure), report.classes[largest.class]))
        }),
    ];
    Section { heading: "Untargeted attack".into(), rows }
}

fn targeted(reports: &[Named]) -> Section {
    let of = |label: &str, cell: fn(&FairnessReport, &TargetedFigures) -> Option<String>| {
        row(label, reports, |report| cell(report, report.targeted.as_ref()?))
    };
    let rows = vec![
        of("pairs tried", |_, found| Some(format!("{} of {}", found.pairs_tried, found.pairs_possible))),
        success(reports),
        of("mean success of a pair", |_, found| found.macro_success.as_ref().map(figure)),
        of("worst source class", |report, found| {
            let worst = found.worst_source?;
            Some(format!("{}, {}", figure(&worst.figure), report.classes[worst.class]))
        }),
        of("worst target class", |report, found| {
            let worst = found.worst_target?;
            Some(format!("{}, {}", figure(&worst.figure), report.classes[worst.class]))
        }),
        of("source gap", |_, found| found.source_gap.as_ref().map(figure)),
        of("target gap", |_, found| found.target_gap.as_ref().map(figure)),
    ];
    Section { heading: "Targeted attack".into(), rows }
}

/// Asymmetry. Above it has to stand the robust accuracy that it is read with.
fn symmetry(reports: &[Named], section: fn(&FairnessReport) -> Option<&SymmetryFigures>) -> Vec<Row> {
    let of = |label: &str, cell: fn(&FairnessReport, &SymmetryFigures) -> Option<String>| {
        row(label, reports, |report| cell(report, section(report)?))
    };
    vec![
        of("pairs compared", |_, found| Some(found.pairs.to_string())),
        of("asymmetry A1n (0 to 1)", |_, found| found.a1_normalised.as_ref().map(figure)),
        of("asymmetry A1 (sum)", |_, found| Some(figure(&found.a1))),
        of("largest gap", |report, found| {
            let gap = &found.largest_gap;
            let [from, to] = [gap.from, gap.to].map(|class| &report.classes[class]);
            Some(named(figure(&gap.gap), gap.gap.value, &format!("{from} > {to}")))
        }),
        of("Sy-FAR penalty, eps 0.1", |_, found| Some(figure(&found.penalty_training))),
        of("Sy-FAR penalty, eps 1/K", |_, found| Some(figure(&found.penalty_evaluation))),
    ]
}

/// Names of the groupings in order of first appearance.
fn columns<'a>(reports: &[Named<'a>]) -> Vec<&'a str> {
    let mut columns = Vec::new();
    for column in reports.iter().flat_map(|(_, report)| &report.groups) {
        if !columns.contains(&column.column.as_str()) {
            columns.push(column.column.as_str());
        }
    }
    columns
}

fn groups(reports: &[Named], column: &str) -> Section {
    type Part = for<'a> fn(&'a GroupReport) -> Option<&'a GroupFigures>;
    let find = |report: &FairnessReport| report.groups.iter().position(|group| group.column == column);
    let of = |label: &str, cell: &dyn Fn(&GroupReport) -> Option<String>| {
        row(label, reports, |report| cell(&report.groups[find(report)?]))
    };
    let mut rows = Vec::new();
    let parts: [(&str, Part); 2] =
        [("clean", |group| Some(&group.clean)), ("robust", |group| group.untargeted.as_ref())];
    for (kind, part) in parts {
        rows.push(of(&format!("{kind} disparity, class mean"), &|group| {
            Some(disparity(group, part(group)?.class_macro.as_ref()?))
        }));
        rows.push(of(&format!("{kind} disparity, image mean"), &|group| {
            Some(disparity(group, part(group)?.sample_weighted.as_ref()?))
        }));
        rows.push(of(&format!("worst group, {kind} accuracy"), &|group| {
            let found = part(group)?;
            let worst = found.sample_weighted?.worst;
            Some(format!("{}, {}", rate(&found.per_group[worst].sample_weighted?), group.groups[worst]))
        }));
    }
    rows.push(of("gap of error flow (mean of pairs)", &|group| {
        flow_gap(group, &group.untargeted.as_ref()?.flow)
    }));
    rows.push(of("gap of targeted flow (mean of pairs)", &|group| flow_gap(group, group.targeted.as_ref()?)));
    rows.retain(|row| row.cells.iter().any(|cell| cell != ABSENT));
    Section { heading: format!("Groups by {column}"), rows }
}

fn disparity(group: &GroupReport, spread: &GroupSpread) -> String {
    let worst = format!("worst {}", group.groups[spread.worst]);
    named(figure(&spread.disparity), spread.disparity.value, &worst)
}

fn flow_gap(group: &GroupReport, flow: &GroupFlow) -> Option<String> {
    let gap = flow.largest_gap?;
    let [from, to] = [gap.from, gap.to].map(|at| &group.groups[at]);
    Some(named(figure(&gap.gap), gap.gap.value, &format!("{from} > {to}")))
}

fn success(reports: &[Named]) -> Row {
    row("success", reports, |report| report.targeted.as_ref()?.micro_success.as_ref().map(figure))
}

/// A difference and whom it is between, which nobody is when there is none.
fn named(text: String, difference: f64, names: &str) -> String {
    if difference > 0.0 { format!("{text}, {names}") } else { text }
}

fn robust_accuracy(reports: &[Named]) -> Row {
    row("robust accuracy", reports, |report| {
        report.untargeted.as_ref()?.robustness.micro_accuracy.as_ref().map(rate)
    })
}

fn worst_class(report: &FairnessReport, found: &ConfusionFigures) -> Option<String> {
    let worst = found.source.worst?;
    Some(format!("{}, {}", rate(&worst.rate), report.classes[worst.class]))
}

/// Three decimals: what images by the thousand can resolve.
pub(super) fn number(value: f64) -> String {
    format!("{value:.3}")
}

/// A share with its interval and count.
pub(super) fn rate(rate: &Rate) -> String {
    format!("{:.3} [{:.3}, {:.3}] n {}", rate.value, rate.low, rate.high, rate.n)
}

/// A number with its interval or noise floor, where there is one, and count.
fn figure(figure: &Figure) -> String {
    let interval = figure.low.zip(figure.high).map(|(low, high)| format!(" [{low:.3}, {high:.3}]"));
    let noise = figure.noise.map(|noise| {
        // A p-value is never 0, and is not printed as if it were.
        let p = if noise.p_value < 0.001 { "< 0.001".into() } else { number(noise.p_value) };
        format!(" (chance {:.3}, p {p})", noise.expected)
    });
    let [interval, noise] = [interval, noise].map(Option::unwrap_or_default);
    format!("{:.3}{interval}{noise} n {}", figure.value, figure.n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::NoiseFloor;

    #[test]
    fn a_figure_shows_what_it_has() {
        let plain = Figure::new(0.25, 40);
        assert_eq!(figure(&plain), "0.250 n 40");
        let noise = Some(NoiseFloor { expected: 0.1, excess: 0.15, p_value: 0.0001, draws: 9999 });
        let whole = Figure { low: Some(0.2), high: Some(0.3), noise, ..plain };
        assert_eq!(figure(&whole), "0.250 [0.200, 0.300] (chance 0.100, p < 0.001) n 40");
    }
}
