//! Properties of the figures, for matrices at large. The first two are the theorem behind symmetry
//! between classes: it carries over to any two groups of them, known or not.

use proptest::prelude::*;

use super::*;
use crate::Seed;

const K: usize = 5;

type Counts = [[u64; K]; K];

fn counts() -> impl Strategy<Value = Counts> {
    prop::array::uniform5(prop::array::uniform5(0_u64..20))
}

/// Two sets of classes, which may overlap, each with a class at least.
fn sets() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    let set = || prop::sample::subsequence((0..K).collect::<Vec<_>>(), 1..=K);
    (set(), set())
}

fn order() -> impl Strategy<Value = Vec<usize>> {
    Just((0..K).collect::<Vec<_>>()).prop_shuffle()
}

/// The matrix with its classes renamed: class `c` becomes `order[c]`.
fn relabelled(counts: &Counts, order: &[usize]) -> Counts {
    let mut renamed = [[0; K]; K];
    for i in 0..K {
        for j in 0..K {
            renamed[order[i]][order[j]] = counts[i][j];
        }
    }
    renamed
}

fn transposed(counts: &Counts) -> Counts {
    std::array::from_fn(|i| std::array::from_fn(|j| counts[j][i]))
}

/// Counts with rows of equal totals and `N_ij = N_ji`: the images not in error are correct.
fn symmetric(counts: &Counts) -> Counts {
    let mut symmetric = [[0; K]; K];
    for i in 0..K {
        for j in (0..K).filter(|&j| j != i) {
            symmetric[i][j] = counts[i.min(j)][i.max(j)];
        }
    }
    for (i, row) in symmetric.iter_mut().enumerate() {
        row[i] = 100 - row.iter().sum::<u64>();
    }
    symmetric
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}

fn errors(counts: Counts) -> Option<SymmetryFigures> {
    SymmetryFigures::of_confusion(&counts.into(), Seed::new(0), 0)
}

proptest! {
    #[test]
    fn symmetry_of_classes_is_symmetry_of_groups(counts in counts(), (g, h) in sets()) {
        let rates = RateMatrix::of_confusion(&symmetric(&counts).into());
        match (rates.flow(&g, &h), rates.flow(&h, &g)) {
            (Some(there), Some(back)) => prop_assert!(close(there, back)),
            (there, back) => prop_assert!(there.is_none() && back.is_none()),
        }
    }

    #[test]
    fn flows_differ_at_most_by_the_largest_gap(counts in counts(), (g, h) in sets()) {
        let rates = RateMatrix::of_confusion(&counts.into());
        if let (Some(there), Some(back)) = (rates.flow(&g, &h), rates.flow(&h, &g)) {
            prop_assert!((there - back).abs() <= errors(counts).unwrap().largest_gap.gap.value + 1e-12);
        }
    }

    #[test]
    fn symmetric_rates_put_as_many_errors_on_a_class_as_it_makes(counts in counts()) {
        let counts = ConfusionMatrix::from(symmetric(&counts));
        for class in 0..K {
            let made = counts.row_total(class) - counts.count(class, class);
            prop_assert_eq!(counts.errors_into(class), made);
        }
    }

    #[test]
    fn names_of_classes_do_not_matter(counts in counts(), order in order()) {
        let [a, b] = [counts, relabelled(&counts, &order)].map(ConfusionMatrix::from);
        let [p, q] = [&a, &b].map(|counts| ConfusionFigures::of(counts, Seed::new(0), 0));
        prop_assert_eq!(p.robustness.micro_accuracy, q.robustness.micro_accuracy);
        for (class, &renamed) in order.iter().enumerate() {
            prop_assert_eq!(p.source.per_class[class], q.source.per_class[renamed]);
            prop_assert_eq!(p.target.shares[class], q.target.shares[renamed]);
        }
        prop_assert_eq!(p.source.gap, q.source.gap);
        prop_assert_eq!(p.target.share_gap, q.target.share_gap);
        prop_assert_eq!(p.symmetry.is_some(), q.symmetry.is_some());
        if let (Some(p), Some(q)) = (p.symmetry, q.symmetry) {
            prop_assert!(close(p.a1.value, q.a1.value));
            prop_assert!(close(p.penalty_training.value, q.penalty_training.value));
            prop_assert!(close(p.largest_gap.gap.value, q.largest_gap.gap.value));
        }
    }

    #[test]
    fn transposition_swaps_source_and_target(counts in counts()) {
        let success = |counts: Counts| SuccessMatrix::with_attempts(20, counts.map(|row| row.map(|n| n.min(20))));
        let mut hollow = counts;
        (0..K).for_each(|class| hollow[class][class] = 0);
        let [p, q] = [hollow, transposed(&hollow)].map(|counts| {
            TargetedFigures::of(&success(counts), Seed::new(0), 0)
        });
        prop_assert_eq!(p.from_source, q.into_target);
        prop_assert_eq!(p.worst_target, q.worst_source);
        prop_assert!(close(p.symmetry.unwrap().a1.value, q.symmetry.unwrap().a1.value));
    }

    #[test]
    fn figures_of_merged_shards_are_figures_of_the_whole(a in counts(), b in counts()) {
        let mut merged = ConfusionMatrix::from(a);
        merged += &ConfusionMatrix::from(b);
        let whole: Counts = std::array::from_fn(|i| std::array::from_fn(|j| a[i][j] + b[i][j]));
        let [p, q] = [merged, whole.into()].map(|counts| ConfusionFigures::of(&counts, Seed::new(0), 5));
        prop_assert_eq!(p, q);
    }

    #[test]
    fn figures_stay_in_their_ranges(counts in counts()) {
        let found = ConfusionFigures::of(&counts.into(), Seed::new(0), 3);
        let unit = 0.0..=1.0;
        for figure in found.target.exposures.iter().flatten().chain(&found.source.gap) {
            prop_assert!(unit.contains(&figure.value));
        }
        if let Some(symmetry) = found.symmetry {
            prop_assert!(symmetry.a1_normalised.is_none_or(|figure| unit.contains(&figure.value)));
            prop_assert!(unit.contains(&symmetry.largest_gap.gap.value));
            prop_assert!(symmetry.largest_gap.forward >= symmetry.largest_gap.backward);
            prop_assert!(symmetry.penalty_training.value <= symmetry.a1.value);
            let noise = symmetry.a1.noise.unwrap();
            prop_assert!(noise.p_value > 0.0 && noise.p_value <= 1.0);
        }
    }
}
