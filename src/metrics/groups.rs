//! Groups of classes: robust accuracy of each, and who is taken for whom between them.
//!
//! A group is a set of classes, given by a column of a table such as `gender`. Accuracy is reported twice,
//! because the two disagree where classes have unequal numbers of images: the mean over the group's
//! classes (the "sub-group robust accuracy" of the Sy-FAR evaluation), and the share of its images.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::extremes::extremes;
use super::interval::{mean_of_rates, wilson};
use super::outcomes::variance;
use super::robustness::class_accuracies;
use super::spread::{Proportion, spread_intervals, trials_with};
use super::{ConfusionMatrix, Figure, ImageOutcomes, Rate, RateMatrix};
use crate::Seed;

/// One way of grouping the classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupColumn {
    /// Such as `gender`.
    pub name: String,
    /// The group of each class, `K` names. An empty name leaves the class out.
    pub of_class: Vec<String>,
}

impl GroupColumn {
    /// The groups that several columns make together, such as `female x glasses`. A class that any column
    /// leaves out is left out. `None` without a column or where columns have different numbers of classes.
    pub fn intersection(columns: &[Self]) -> Option<Self> {
        let first = columns.first()?;
        if columns.iter().any(|column| column.of_class.len() != first.of_class.len()) {
            return None;
        }
        let join = |class: usize| {
            let names: Vec<&str> = columns.iter().map(|column| column.of_class[class].as_str()).collect();
            if names.contains(&"") { String::new() } else { names.join(" x ") }
        };
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        Some(Self { name: names.join(" x "), of_class: (0..first.of_class.len()).map(join).collect() })
    }

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

/// Rates between groups, in two normalisations that differ by more than a factor where groups have unequal
/// sizes. Groups may overlap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupFlow {
    /// `rates[g][h]` from group `g` to group `h`; on the diagonal between the classes of one group. The mean
    /// over the ordered pairs of a class of one group and a class of the other (see [`RateMatrix::flow`]):
    /// symmetry between classes makes it symmetric.
    pub rates: Vec<Vec<Option<f64>>>,
    /// The same per source class (see [`RateMatrix::flow_per_source`]): what a class of `g` loses to all of
    /// `h`. Not symmetric for groups of unequal sizes, whatever the classifier.
    pub per_source: Vec<Vec<Option<f64>>>,
    /// The two groups whose mean rates over pairs differ most, in the order in which the flow is larger.
    pub largest_gap: Option<FlowGap>,
}

/// Two groups whose flows differ.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowGap {
    /// Index of the group that more flows from.
    pub from: usize,
    /// Index of the other group.
    pub to: usize,
    /// Difference of the two flows, in `[0, 1]`. The interval, where the groups have no common class and, of
    /// targeted attacks, images are known, is that of two groups chosen in advance.
    pub gap: Figure,
}

impl GroupFigures {
    /// From counts and the classes of each group. Intervals of disparities come from `draws` redrawn
    /// accuracies; with 0 there are none.
    pub fn of(counts: &ConfusionMatrix, groups: &[Vec<usize>], seed: Seed, draws: u32) -> Self {
        let accuracies = class_accuracies(counts);
        let per_group: Vec<GroupAccuracy> =
            groups.iter().map(|classes| GroupAccuracy::of(&accuracies, classes)).collect();
        let spread = |proportions: Vec<Option<Proportion>>, seed: Seed| {
            let found = extremes(proportions.iter().map(|proportion| Some(proportion.as_ref()?.share)))?;
            let mut disparity = Figure::new(found.gap, counts.total());
            if draws > 0 {
                let known: Vec<Proportion> = proportions.into_iter().flatten().collect();
                let gap = |shares: &[f64]| {
                    [extremes(shares.iter().copied().map(Some)).map_or(0.0, |found| found.gap)]
                };
                let [(low, high)] = spread_intervals(&known, gap, seed, draws);
                disparity.set_interval(low, high);
            }
            Some(GroupSpread { worst: found.lowest, disparity })
        };
        let of_classes = |classes: &Vec<usize>| class_macro(&accuracies, classes);
        let of_images = |group: &GroupAccuracy| {
            group.sample_weighted.map(|rate| Proportion { share: rate.value, trials: rate.n })
        };
        Self {
            class_macro: spread(groups.iter().map(of_classes).collect(), seed.purpose("class macro")),
            sample_weighted: spread(per_group.iter().map(of_images).collect(), seed.purpose("images")),
            flow: GroupFlow::of_confusion(counts, groups),
            per_group,
        }
    }
}

/// The mean accuracy of some classes, as the proportion that varies as much.
fn class_macro(accuracies: &[Option<Rate>], classes: &[usize]) -> Option<Proportion> {
    let present: Vec<Rate> = classes.iter().filter_map(|&class| accuracies[class]).collect();
    let size = present.len() as f64;
    let share = present.iter().map(|rate| rate.value).sum::<f64>() / size;
    let variances = present.iter().map(|rate| rate.value * (1.0 - rate.value) / rate.n as f64);
    let variance = variances.sum::<f64>() / (size * size);
    let images: u64 = present.iter().map(|rate| rate.n).sum();
    let trials = trials_with(share, variance, images as f64).round() as u64;
    (!present.is_empty()).then_some(Proportion { share, trials: trials.max(1) })
}

impl GroupAccuracy {
    fn of(accuracies: &[Option<Rate>], classes: &[usize]) -> Self {
        let present: Vec<Rate> = classes.iter().filter_map(|&class| accuracies[class]).collect();
        let images = present.iter().map(|rate| rate.n).sum();
        Self {
            class_macro: Figure::mean_of(&present, images),
            sample_weighted: Rate::of(present.iter().map(|rate| rate.successes).sum(), images),
        }
    }
}

impl GroupFlow {
    /// Of errors, with the interval of the largest gap.
    pub fn of_confusion(counts: &ConfusionMatrix, groups: &[Vec<usize>]) -> Self {
        let rates = RateMatrix::of_confusion(counts);
        let mut found = Self::of(&rates, groups, counts.total());
        if let Some(FlowGap { from, to, gap }) = &mut found.largest_gap {
            let (from, to) = (&groups[*from], &groups[*to]);
            if let (true, Some(there), Some(back)) = (
                from.iter().all(|class| !to.contains(class)),
                flow_rates(counts, from, to).and_then(|rates| mean_of_rates(&rates)),
                flow_rates(counts, to, from).and_then(|rates| mean_of_rates(&rates)),
            ) {
                let size = |classes: &[usize]| {
                    classes.iter().filter(|&&class| counts.row_total(class) > 0).count() as f64
                };
                // The mean over pairs is the loss per source over the number of classes that it goes to.
                let [there, back] = [(there, size(to)), (back, size(from))]
                    .map(|((value, low, high), classes)| [value, low, high].map(|end| end / classes));
                set_difference(gap, there, back);
            }
        }
        found
    }

    /// Of targeted attacks, with the interval of the largest gap, which holds the attacks on one image
    /// together.
    pub fn of_images(outcomes: &ImageOutcomes, groups: &[Vec<usize>]) -> Self {
        let counts = outcomes.counts();
        let mut found = Self::of(&RateMatrix::of_success(&counts), groups, counts.total_attempts());
        let Some(FlowGap { from, to, gap }) = &mut found.largest_gap else { return found };
        let (there, back) = (found.rates[*from][*to], found.rates[*to][*from]);
        let (from, to) = (&groups[*from], &groups[*to]);
        let by_source = outcomes.by_source();
        // The flow of a pair of groups is the mean over the ordered pairs that were attacked both ways.
        let interval = |value: f64, from: &[usize], to: &[usize]| {
            let both = |i: usize, j: usize| i != j && counts.attempts(i, j) > 0 && counts.attempts(j, i) > 0;
            let counted = |i: usize, j: usize| from.contains(&i) && to.contains(&j) && both(i, j);
            let pairs =
                from.iter().map(|&i| to.iter().filter(|&&j| both(i, j)).count()).sum::<usize>() as f64;
            let weight = |i: usize, j: usize| if counted(i, j) { 1.0 / pairs } else { 0.0 };
            let spread = variance(&by_source, &counts, weight);
            let images: usize = from.iter().map(|&class| by_source[class].len()).sum();
            let trials = if spread > 0.0 { value * (1.0 - value) / spread } else { images.max(1) as f64 };
            let (low, high) = wilson(value, trials);
            [value, low.min(value), high.max(value)]
        };
        if let (true, Some(there), Some(back)) = (from.iter().all(|class| !to.contains(class)), there, back) {
            set_difference(gap, interval(there, from, to), interval(back, to, from));
        }
        found
    }

    /// From rates and the classes of each group, which may overlap. `n` is the number of images or attacks.
    pub fn of(rates: &RateMatrix, groups: &[Vec<usize>], n: u64) -> Self {
        let flows = table(groups, |from, to| rates.flow(from, to));
        let ordered = (0..groups.len()).flat_map(|g| (0..groups.len()).map(move |h| (g, h)));
        let gap = |(g, h): (usize, usize)| Some(flows[g][h]? - flows[h][g]?);
        let between: Vec<(usize, usize)> = ordered.filter(|(g, h)| g != h).collect();
        let largest_gap = extremes(between.iter().map(|&pair| gap(pair))).and_then(|found| {
            let (from, to) = between[found.highest];
            Some(FlowGap { from, to, gap: Figure::new(gap((from, to))?, n) })
        });
        let per_source = table(groups, |from, to| rates.flow_per_source(from, to));
        Self { rates: flows, per_source, largest_gap }
    }
}

/// The interval of a difference of two independent values from theirs (each with its low and high end):
/// Zou and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27,
/// 2008.
fn set_difference(gap: &mut Figure, there: [f64; 3], back: [f64; 3]) {
    let below = (there[0] - there[1]).hypot(back[2] - back[0]);
    let above = (there[2] - there[0]).hypot(back[0] - back[1]);
    gap.set_interval(gap.value - below, gap.value + above);
}

/// A flow from each group to each other.
fn table(groups: &[Vec<usize>], flow: impl Fn(&[usize], &[usize]) -> Option<f64>) -> Vec<Vec<Option<f64>>> {
    groups.iter().map(|from| groups.iter().map(|to| flow(from, to)).collect()).collect()
}

/// For each class of `from` with images, the share of them that is taken for one of `to`; `None` when `to`
/// has no class with images.
fn flow_rates(counts: &ConfusionMatrix, from: &[usize], to: &[usize]) -> Option<Vec<Rate>> {
    let present: Vec<usize> = to.iter().copied().filter(|&class| counts.row_total(class) > 0).collect();
    let lost = |&class: &usize| {
        let into = present.iter().map(|&target| counts.count(class, target)).sum();
        Rate::of(into, counts.row_total(class))
    };
    (!present.is_empty()).then(|| from.iter().filter_map(lost).collect())
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
        let found = GroupFigures::of(&counts, &classes(), Seed::new(0), 0);
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
        assert!((gap.gap.value - 1.0 / 30.0).abs() < 1e-12);
        assert!(gap.gap.low.unwrap() < gap.gap.value && gap.gap.value < gap.gap.high.unwrap());
        // print(p[np.ix_(f, m)].sum() / 1, p[np.ix_(m, f)].sum() / 2)  # 0.5 0.21666666666666667
        assert_eq!(found.flow.per_source[0], [None, Some(0.5)]);
        assert!((found.flow.per_source[1][0].unwrap() - 13.0 / 60.0).abs() < 1e-12);
    }

    // Two groups of one class; ten images each, of which 8 and 2 are turned into the other: the interval of
    // the difference of two proportions by Newcombe (his method 10), with n - 1 in the variance.
    //
    // z = 1.959963984540054
    // def w(p, n): d = 1 + z*z/n; c = p + z*z/(2*n); h = z*(p*(1-p)/n + z*z/(4*n*n))**.5; return (c-h)/d, (c+h)/d
    // v = .8 * .2 / 9; n = .16 / v  # the variance has n - 1
    // (a, b), (c, d) = w(.8, n), w(.2, n); print(.6 - ((.8-a)**2 + (d-.2)**2)**.5, .6 + ((b-.8)**2 + (.2-c)**2)**.5)
    #[test]
    fn targeted_flows_have_the_interval_of_a_difference() {
        let mut outcomes = ImageOutcomes::new(2);
        for image in 0..10 {
            outcomes.add(image, 0, 1, image < 8);
            outcomes.add(10 + image, 1, 0, image < 2);
        }
        let gap = GroupFlow::of_images(&outcomes, &[vec![0], vec![1]]).largest_gap.unwrap().gap;
        assert!((gap.value - 0.6).abs() < 1e-12);
        assert!((gap.low.unwrap() - 0.138_667_278_501_273_14).abs() < 1e-12, "{:?}", gap.low);
        assert!((gap.high.unwrap() - 0.807_499_730_743_721_6).abs() < 1e-12, "{:?}", gap.high);
        // A class in both groups: the two flows are not independent.
        let common = GroupFlow::of_images(&outcomes, &[vec![0, 1], vec![1]]).largest_gap.unwrap().gap;
        assert_eq!((common.low, common.high), (None, None));
    }

    #[test]
    fn columns_intersect() {
        let glasses = GroupColumn {
            name: "glasses".into(),
            of_class: ["no", "yes", "yes", "no"].map(String::from).to_vec(),
        };
        let both = GroupColumn::intersection(&[column(), glasses.clone()]).unwrap();
        assert_eq!(
            (both.name.as_str(), both.of_class),
            ("gender x glasses", ["m x no", "f x yes", "m x yes", ""].map(String::from).to_vec())
        );
        let short = GroupColumn { name: "x".into(), of_class: Vec::new() };
        assert_eq!(GroupColumn::intersection(&[glasses, short]), None);
        assert_eq!(GroupColumn::intersection(&[]), None);
    }

    #[test]
    fn a_group_without_images_has_no_figures() {
        let found = GroupFigures::of(&[[0, 0], [1, 3]].into(), &[vec![0], vec![1]], Seed::new(0), 9);
        assert_eq!(found.per_group[0], GroupAccuracy { class_macro: None, sample_weighted: None });
        assert_eq!(found.class_macro.unwrap().worst, 1);
        assert_eq!(found.flow.largest_gap, None);
    }

    #[test]
    fn one_group_has_no_gap_to_another() {
        let found = GroupFigures::of(&[[2, 1], [1, 3]].into(), &[vec![0, 1]], Seed::new(0), 9);
        assert_eq!(found.flow.largest_gap, None);
        assert!(found.class_macro.unwrap().disparity.value.abs() < 1e-12);
    }
}
