//! Bars: one for each class, the worst first.

use serde::Serialize;
use serde_json::Value;

use super::PlacedFigure;

/// Bars of a list; the others are counted.
const LISTED: usize = 20;

/// A list of classes with a figure each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Bars {
    /// `untargeted` or `targeted`.
    pub key: &'static str,
    /// What is shown.
    pub title: &'static str,
    /// How to read it.
    pub note: &'static str,
    /// The classes, the worst first.
    pub classes: Vec<Bar>,
    /// How many classes more have the figure.
    pub more: usize,
    /// The value at the right end of a bar.
    pub full: f64,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Bar {
    /// Its name.
    pub class: String,
    /// Its figure.
    pub figure: PlacedFigure,
}

/// Where a list of figures stands in `metrics.json`, and how it is shown.
struct Place {
    path: &'static str,
    title: &'static str,
    note: &'static str,
    /// Whether low figures are the worse ones.
    low_is_worse: bool,
}

const SOURCES: [Place; 2] = [
    Place {
        path: "/untargeted/source/per_class",
        title: "Robust accuracy of each class",
        note: "Share of the pictures of a class that are recognised clean and under the attack. Lowest first.",
        low_is_worse: true,
    },
    Place {
        path: "/targeted/from_source",
        title: "Targeted success from each class",
        note: "Mean success of attacks that turn a class into another one. Highest first.",
        low_is_worse: false,
    },
];

const TARGETS: [Place; 2] = [
    Place {
        path: "/untargeted/target/shares",
        title: "Share of all errors that end in each class",
        note: "Of all pictures that are taken for somebody else under the attack. Highest first.",
        low_is_worse: false,
    },
    Place {
        path: "/targeted/into_target",
        title: "Targeted success towards each class",
        note: "Mean success of attacks that turn another class into this one. Highest first.",
        low_is_worse: false,
    },
];

/// Who is easy to attack from.
pub(super) fn sources(metrics: &Value, classes: &[String]) -> Vec<Bars> {
    SOURCES.iter().filter_map(|place| bars(metrics, classes, place)).collect()
}

/// Who is easy to be taken for.
pub(super) fn targets(metrics: &Value, classes: &[String]) -> Vec<Bars> {
    TARGETS.iter().filter_map(|place| bars(metrics, classes, place)).collect()
}

fn bars(metrics: &Value, classes: &[String], place: &Place) -> Option<Bars> {
    let bar = |(class, name): (usize, &String)| {
        Some(Bar {
            class: name.clone(),
            figure: PlacedFigure::at(metrics, &format!("{}/{class}", place.path))?,
        })
    };
    let mut bars: Vec<Bar> = classes.iter().enumerate().filter_map(bar).collect();
    bars.sort_by(|a, b| {
        let order = a.figure.number.value.total_cmp(&b.figure.number.value);
        if place.low_is_worse { order } else { order.reverse() }
    });
    let more = bars.len().saturating_sub(LISTED);
    bars.truncate(LISTED);
    let ends = bars.iter().map(|bar| bar.figure.number.high.unwrap_or(bar.figure.number.value));
    // Shares of many classes are all small: a scale of its own, never above 1.
    let full = ends.fold(0.0, f64::max).clamp(0.05, 1.0);
    let key = if place.path.starts_with("/targeted") { "targeted" } else { "untargeted" };
    (!bars.is_empty()).then_some(Bars {
        key,
        title: place.title,
        note: place.note,
        classes: bars,
        more,
        full,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::{clean_only, plain};

    #[test]
    fn the_worst_come_first() {
        let report = plain();
        let metrics = serde_json::to_value(&report).expect("JSON");
        let found = sources(&metrics, &report.classes);
        let names: Vec<&str> = found[0].classes.iter().map(|bar| bar.class.as_str()).collect();
        assert_eq!(names, ["Łucja", "anna", "ben_o"], "robust accuracy 0, 0.1 and 0.5");
        assert_eq!(found[0].classes[1].figure.path, "/untargeted/source/per_class/0");
        let into = targets(&metrics, &report.classes);
        assert_eq!(into[0].classes[0].class, "ben_o");
        assert_eq!((into.len(), into[0].more), (2, 0));
        let none = serde_json::to_value(clean_only()).expect("JSON");
        assert!(sources(&none, &report.classes).is_empty() && targets(&none, &report.classes).is_empty());
    }
}
