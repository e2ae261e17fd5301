//! Groups of classes as a table: overall, by group, and what is between them.

use serde::Serialize;
use serde_json::Value;

use super::PlacedFigure;

/// One grouping of the classes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct GroupTable {
    /// Its name.
    pub column: String,
    /// All groups.
    pub groups: Vec<GroupRow>,
    /// Accuracy of the best group minus that of the worst, clean and under attack.
    pub disparity: [Option<PlacedFigure>; 2],
    /// Mean robust accuracy of the best group, where it is above 0.
    pub best: Option<f64>,
    /// The worst group's robust accuracy over the best one's: follows from the two.
    pub ratio: Option<f64>,
    /// The two groups whose flow of errors under the attack differs most: from, to and the difference.
    pub flow: Option<(String, String, PlacedFigure)>,
    /// The same for targeted attacks.
    pub targeted_flow: Option<(String, String, PlacedFigure)>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct GroupRow {
    /// Its name.
    pub name: String,
    /// How many classes it has.
    pub classes: usize,
    /// Mean clean accuracy of its classes.
    pub clean: Option<PlacedFigure>,
    /// Mean robust accuracy of its classes.
    pub robust: Option<PlacedFigure>,
    /// Robust accuracy of its pictures.
    pub robust_images: Option<PlacedFigure>,
    /// Best group minus this one, of the mean robust accuracy.
    pub difference: Option<f64>,
    /// This group over the best one.
    pub ratio: Option<f64>,
}

/// The tables of all groupings.
pub(super) fn tables(metrics: &Value) -> Vec<GroupTable> {
    let columns = metrics.get("groups").and_then(Value::as_array).map_or(0, Vec::len);
    (0..columns).filter_map(|column| table(metrics, &format!("/groups/{column}"))).collect()
}

fn table(metrics: &Value, path: &str) -> Option<GroupTable> {
    let column = metrics.pointer(&format!("{path}/column"))?.as_str()?.to_owned();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names: Vec<String> =
        metrics.pointer(&format!("{path}/groups"))?.as_array()?.iter().map(text).collect();
    let at = |rest: String| PlacedFigure::at(metrics, &format!("{path}{rest}"));
    let mut groups: Vec<GroupRow> = names
        .iter()
        .enumerate()
        .map(|(index, name)| GroupRow {
            name: name.clone(),
            classes: metrics
                .pointer(&format!("{path}/members/{index}"))
                .and_then(Value::as_array)
                .map_or(0, Vec::len),
            clean: at(format!("/clean/per_group/{index}/class_macro")),
            robust: at(format!("/untargeted/per_group/{index}/class_macro")),
            robust_images: at(format!("/untargeted/per_group/{index}/sample_weighted")),
            difference: None,
            ratio: None,
        })
        .collect();
    let known: Vec<f64> =
        groups.iter().filter_map(|group| Some(group.robust.as_ref()?.number.value)).collect();
    let best = known.iter().copied().fold(0.0, f64::max);
    for group in &mut groups {
        let robust = group.robust.as_ref().map(|figure| figure.number.value);
        group.difference = robust.map(|robust| best - robust);
        group.ratio = robust.filter(|_| best > 0.0).map(|robust| robust / best);
    }
    let flow = |goal: &str| {
        let gap = metrics.pointer(&format!("{path}{goal}/largest_gap"))?;
        let name = |key: &str| names.get(gap.get(key)?.as_u64()? as usize).cloned();
        Some((name("from")?, name("to")?, at(format!("{goal}/largest_gap/gap"))?))
    };
    let worst = known.iter().copied().fold(f64::INFINITY, f64::min);
    Some(GroupTable {
        column,
        disparity: ["clean", "untargeted"].map(|goal| at(format!("/{goal}/class_macro/disparity"))),
        best: (best > 0.0).then_some(best),
        ratio: (known.len() > 1 && best > 0.0).then(|| worst / best),
        flow: flow("/untargeted/flow"),
        targeted_flow: flow("/targeted"),
        groups,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::{clean_only, plain};

    #[test]
    fn by_hand() {
        let metrics = serde_json::to_value(plain()).expect("JSON");
        let tables = tables(&metrics);
        let table = &tables[0];
        let seen: Vec<(&str, usize, f64)> = table
            .groups
            .iter()
            .map(|group| {
                (group.name.as_str(), group.classes, group.robust.as_ref().expect("attacked").number.value)
            })
            .collect();
        // Robust accuracies 0.1 and 0 of the two women, 0.5 of the man.
        assert_eq!(seen, [("female", 2, 0.05), ("male", 1, 0.5)]);
        assert!((table.ratio.expect("two groups") - 0.1).abs() < 1e-12);
        assert!((table.groups[0].difference.expect("attacked") - 0.45).abs() < 1e-12);
        assert_eq!(table.groups[1].ratio, Some(1.0));
        assert!((table.disparity[1].as_ref().expect("attacked").number.value - 0.45).abs() < 1e-12);
        let (from, to, gap) = table.flow.as_ref().expect("a gap");
        assert_eq!((from.as_str(), to.as_str()), ("female", "male"));
        assert!((gap.number.value - 0.7).abs() < 1e-12);
    }

    #[test]
    fn what_was_not_attacked_is_absent() {
        let metrics = serde_json::to_value(clean_only()).expect("JSON");
        let table = &tables(&metrics)[0];
        assert!(table.ratio.is_none() && table.flow.is_none() && table.groups[0].robust.is_none());
        assert!(table.groups[0].clean.is_some());
        assert!(tables(&serde_json::json!({})).is_empty());
    }
}
