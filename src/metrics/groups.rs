//! Groups of classes: robust accuracy of each, and who is taken for whom between them.
//!
//! A group is a set of classes, given by a column of a table such as `gender`. Accuracy is reported twice,
//! because the two disagree where classes have unequal numbers of images: the mean over the group's
//! classes (the "sub-group robust accuracy" of the Sy-FAR evaluation), and the share of its images.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::extremes::extremes;
use super::robustness::class_accuracies;
use super::{ConfusionMatrix, Figure, Rate, RateMatrix};

/// One way of grouping the classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupColumn {
    /// Such as `gender`.
    pub name: String,
    /// The group of each class, `K` names. An empty name leaves the class out.
    pub of_class: Vec<String>,
}

impl GroupColumn {
    /// The groups in alphabetical order with the indices of their classes.
    pub(super) fn members(&self) -> Vec<(String, Vec<usize>)> {
        let names: BTreeSet<&String> = self.of_class.iter().filter(|name| !name.is_empty()).collect();
        let classes =
            |name: &String| (0..self.of_class.len()).filter(|&class| self.of_class[class] == *name).collect();
        names.into_iter().map(|name| (name.clone(), classes(name))).collect()
    }
}

/// Accuracy of the groups of one column, and the flow of errors between them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupFigures {
    /// Each group's accuracy, in the order of the column's groups.
    pub per_group: Vec<GroupAccuracy>,
    /// Spread of the class-macro accuracies.
    pub class_macro: Option<GroupSpread>,
    /// Spread of the sample-weighted accuracies.
    pub sample_weighted: Option<GroupSpread>,
    /// Errors between the groups.
    pub flow: GroupFlow,
}

/// Accuracy of one group.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupAccuracy {
    /// Mean accuracy of its classes that have images.
    pub class_macro: Option<Figure>,
    /// Share of its images that are right.
    pub sample_weighted: Option<Rate>,
}

/// How far groups are apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupSpread {
    /// Index of the group with the lowest accuracy.
    pub worst: usize,
    /// Accuracy of the best group minus that of the worst, in `[0, 1]`.
    pub disparity: Figure,
}

/// Rates between groups: the mean over the ordered pairs of a class of one group and a class of the other
/// (see [`RateMatrix::flow`] for why over pairs).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupFlow {
    /// `rates[g][h]` from group `g` to group `h`; on the diagonal between the classes of one group.
    pub rates: Vec<Vec<Option<f64>>>,
    /// The two groups whose flows differ most, in the order in which the flow is larger.
    pub largest_gap: Option<FlowGap>,
}

/// Two groups whose flows differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowGap {
    /// Index of the group that more flows from.
    pub from: usize,
    /// Index of the other group.
    pub to: usize,
    /// Difference of the two flows, in `[0, 1]`.
    pub gap: f64,
}

impl GroupFigures {
    /// From counts and the classes of each group.
    pub fn of(counts: &ConfusionMatrix, groups: &[Vec<usize>]) -> Self {
        let accuracies = class_accuracies(counts);
        let per_group: Vec<GroupAccuracy> =
            groups.iter().map(|classes| GroupAccuracy::of(&accuracies, classes)).collect();
        let spread = |values: Vec<Option<f64>>| {
            extremes(values).map(|found| GroupSpread {
                worst: found.lowest,
                disparity: Figure::new(found.gap, counts.total()),
            })
        };
        Self {
            class_macro: spread(per_group.iter().map(|group| Some(group.class_macro?.value)).collect()),
            sample_weighted: spread(
                per_group.iter().map(|group| Some(group.sample_weighted?.value)).collect(),
            ),
            flow: GroupFlow::of(&RateMatrix::of_confusion(counts), groups),
            per_group,
        }
    }
}

impl GroupAccuracy {
    fn of(accuracies: &[Option<Rate>], classes: &[usize]) -> Self {
        let present: Vec<Rate> = classes.iter().filter_map(|&class| accuracies[class]).collect();
        let images = present.iter().map(|rate| rate.n).sum();
        let mean = present.iter().map(|rate| rate.value).sum::<f64>() / present.len() as f64;
        Self {
            class_macro: (!present.is_empty()).then(|| Figure::new(mean, images)),
            sample_weighted: Rate::of(present.iter().map(|rate| rate.successes).sum(), images),
        }
    }
}

impl GroupFlow {
    /// From rates and the classes of each group, which may overlap.
    pub fn of(rates: &RateMatrix, groups: &[Vec<usize>]) -> Self {
        let flow = |from: &Vec<usize>| groups.iter().map(|to| rates.flow(from, to)).collect();
        let flows: Vec<Vec<Option<f64>>> = groups.iter().map(flow).collect();
        let ordered = (0..groups.len()).flat_map(|g| (0..groups.len()).map(move |h| (g, h)));
        let gap = |(g, h): (usize, usize)| Some(flows[g][h]? - flows[h][g]?);
        let between: Vec<(usize, usize)> = ordered.filter(|(g, h)| g != h).collect();
        let largest_gap = extremes(between.iter().map(|&pair| gap(pair))).and_then(|found| {
            let (from, to) = between[found.highest];
            Some(FlowGap { from, to, gap: gap((from, to))? })
        });
        Self { rates: flows, largest_gap }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column() -> GroupColumn {
        GroupColumn { name: "gender".into(), of_class: ["m", "f", "m", ""].map(String::from).to_vec() }
    }

    fn classes() -> Vec<Vec<usize>> {
        column().members().into_iter().map(|(_, classes)| classes).collect()
    }

    #[test]
    fn groups_are_sorted_and_the_empty_name_is_none() {
        assert_eq!(column().members(), [("f".into(), vec![1]), ("m".into(), vec![0, 2])]);
    }

    // import numpy as np
    // c = np.array([[8, 1, 1, 0], [2, 2, 0, 0], [0, 10, 10, 10], [5, 0, 0, 5]])
    // n = c.sum(1); p = c / n[:, None]
    // for g in ([1], [0, 2]): print(p.diagonal()[g].mean(), c.diagonal()[g].sum() / n[g].sum())
    // f, m = [1], [0, 2]
    // print(p[np.ix_(f, m)].mean(), p[np.ix_(m, f)].mean(), (p[0, 2] + p[2, 0]) / 2)
    // 0.5 0.5 | 0.5666666666666667 0.45 | 0.25 0.21666666666666667 0.05
    #[test]
    fn accuracies_and_flows() {
        let counts = [[8, 1, 1, 0], [2, 2, 0, 0], [0, 10, 10, 10], [5, 0, 0, 5]].into();
        let found = GroupFigures::of(&counts, &classes());
        let [f, m] = [found.per_group[0], found.per_group[1]];
        assert!((f.class_macro.unwrap().value - 0.5).abs() < 1e-12);
        assert!((m.class_macro.unwrap().value - 17.0 / 30.0).abs() < 1e-12);
        assert!((m.sample_weighted.unwrap().value - 0.45).abs() < 1e-12);
        assert_eq!(m.sample_weighted.unwrap().n, 40);
        // The two kinds of mean disagree about who is worse off.
        assert_eq!((found.class_macro.unwrap().worst, found.sample_weighted.unwrap().worst), (0, 1));
        assert!((found.class_macro.unwrap().disparity.value - 1.0 / 15.0).abs() < 1e-12);
        assert_eq!(found.flow.rates[0], [None, Some(0.25)]);
        assert!((found.flow.rates[1][0].unwrap() - 13.0 / 60.0).abs() < 1e-12);
        assert!((found.flow.rates[1][1].unwrap() - 0.5 / 30.0 * 3.0).abs() < 1e-12);
        let gap = found.flow.largest_gap.unwrap();
        assert_eq!((gap.from, gap.to), (0, 1));
        assert!((gap.gap - 1.0 / 30.0).abs() < 1e-12);
    }

    #[test]
    fn a_group_without_images_has_no_figures() {
        let found = GroupFigures::of(&[[0, 0], [1, 3]].into(), &[vec![0], vec![1]]);
        assert_eq!(found.per_group[0], GroupAccuracy { class_macro: None, sample_weighted: None });
        assert_eq!(found.class_macro.unwrap().worst, 1);
        assert_eq!(found.flow.largest_gap, None);
    }

    #[test]
    fn one_group_has_no_gap_to_another() {
        let found = GroupFigures::of(&[[2, 1], [1, 3]].into(), &[vec![0, 1]]);
        assert_eq!(found.flow.largest_gap, None);
        assert!(found.class_macro.unwrap().disparity.value.abs() < 1e-12);
    }
}
