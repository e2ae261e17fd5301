//! Several runs side by side.

use serde::Serialize;
use serde_json::Value;

use super::PlacedFigure;
use super::source::RunSource;

/// What the table compares: name, place in `metrics.json`, whether more is better, whether it needs the same classes.
const ROWS: [(&str, &str, bool, bool); 12] = [
    ("Clean accuracy", "/clean/robustness/micro_accuracy", true, false),
    ("Robust accuracy", "/untargeted/robustness/micro_accuracy", true, false),
    ("Robust accuracy, worst class", "/untargeted/source/worst/rate", true, false),
    ("Source gap, best minus worst class", "/untargeted/source/gap", false, false),
    ("Largest share of all errors", "/untargeted/target/largest_share/rate", false, true),
    ("Asymmetry of errors, scale-free", "/untargeted/symmetry/a1_normalised", false, false),
    ("Asymmetry of errors, sum", "/untargeted/symmetry/a1", false, true),
    ("Targeted success", "/targeted/macro_success", false, false),
    ("Targeted success, worst target", "/targeted/worst_target/figure", false, true),
    ("Targeted asymmetry, scale-free", "/targeted/symmetry/a1_normalised", false, false),
    ("Targeted asymmetry, sum", "/targeted/symmetry/a1", false, true),
    ("Group disparity of robust accuracy", "/groups/0/untargeted/class_macro/disparity", false, false),
];

/// Runs side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Comparison {
    /// Names of the runs.
    pub runs: Vec<String>,
    /// What keeps them from being compared in full.
    pub notes: Vec<String>,
    /// One line a figure that any run has.
    pub rows: Vec<Row>,
}

/// One figure of all runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    /// Its name.
    pub name: &'static str,
    /// Whether more is better.
    pub more_is_better: bool,
    /// Its value in each run.
    pub figures: Vec<Option<PlacedFigure>>,
    /// Smallest and largest value, where all are in `[0, 1]` and can be drawn on one line.
    pub span: Option<[f64; 2]>,
}

/// `None` for one run.
pub(super) fn comparison(runs: &[RunSource]) -> Option<Comparison> {
    if runs.len() < 2 {
        return None;
    }
    let lists = || runs.iter().filter_map(|run| run.metrics.as_ref()).map(|metrics| metrics.get("classes"));
    let same_classes = lists().all(|classes| Some(classes) == lists().next());
    let attack =
        |run: &RunSource| run.metrics.as_ref()?.get("attack").and_then(Value::as_str).map(ToOwned::to_owned);
    let mut attacks: Vec<String> = runs.iter().filter_map(attack).collect();
    attacks.sort();
    attacks.dedup();
    let mut notes = Vec::new();
    if !same_classes {
        notes.push(
            "The runs do not have the same classes, so figures that grow with the number of classes are left out. The \
             others are of different pictures: read them with care."
                .to_owned(),
        );
    }
    if attacks.len() > 1 {
        notes.push(format!("The runs were attacked in different ways: {}.", attacks.join(", ")));
    }
    for run in runs.iter().filter(|run| run.metrics.is_none()) {
        notes.push(format!("{} has no figures yet.", run.name));
    }
    let rows = ROWS.iter().filter(|(.., same)| same_classes || !same).filter_map(
        |(name, path, more_is_better, _)| {
            let figures: Vec<Option<PlacedFigure>> =
                runs.iter().map(|run| PlacedFigure::at(run.metrics.as_ref()?, path)).collect();
            let values: Vec<f64> = figures.iter().flatten().map(|figure| figure.number.value).collect();
            let drawn = values.iter().all(|value| (0.0..=1.0).contains(value));
            let ends =
                [values.iter().copied().fold(1.0, f64::min), values.iter().copied().fold(0.0, f64::max)];
            (!values.is_empty()).then_some(Row {
                name,
                more_is_better: *more_is_better,
                figures,
                span: drawn.then_some(ends),
            })
        },
    );
    let rows = rows.collect();
    Some(Comparison { runs: runs.iter().map(|run| run.name.clone()).collect(), notes, rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::{clean_only, plain, sy_far};

    fn run(name: &str, report: &crate::metrics::FairnessReport) -> RunSource {
        let metrics = serde_json::to_value(report).expect("JSON");
        RunSource { name: name.into(), metrics: Some(metrics), ..RunSource::default() }
    }

    #[test]
    fn every_place_is_a_figure_of_a_report() {
        let found = comparison(&[run("a", &plain()), run("b", &sy_far())]).expect("two runs");
        assert_eq!(found.rows.len(), ROWS.len());
        assert!(found.notes.is_empty(), "{:?}", found.notes);
        let robust = &found.rows[1];
        assert_eq!(
            robust
                .figures
                .iter()
                .map(|figure| figure.as_ref().expect("attacked").number.value)
                .collect::<Vec<_>>(),
            [0.2, 0.5]
        );
        assert_eq!(robust.span, Some([0.2, 0.5]));
        assert!(
            found
                .rows
                .iter()
                .find(|row| row.name == "Asymmetry of errors, sum")
                .expect("there")
                .span
                .is_none()
        );
    }

    #[test]
    fn other_classes_other_attacks_and_missing_figures_are_said() {
        let mut other = plain();
        other.classes[0] = "zoe".into();
        other.attack = "pgd".into();
        let nothing = RunSource { name: "c".into(), ..RunSource::default() };
        let found = comparison(&[run("a", &plain()), run("b", &other), nothing]).expect("three runs");
        assert_eq!(found.notes.len(), 3, "{:?}", found.notes);
        assert!(found.rows.iter().all(|row| !row.name.ends_with("sum")));
        assert_eq!(found.rows[0].figures[2], None);
        let found = comparison(&[run("a", &plain()), run("b", &clean_only())]).expect("two runs");
        assert_eq!(found.rows[1].figures[1], None);
        assert!(comparison(&[run("a", &plain())]).is_none());
    }
}
