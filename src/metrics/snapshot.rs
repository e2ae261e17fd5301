//! A matrix as it stands in the middle of a run: small enough for a line of a log.
//!
//! It has no intervals and no tests. What it has is counts, the sum of asymmetries beside what chance alone
//! would give, and the few pairs that differ most.

use serde::{Deserialize, Deserializer, Serialize};

use super::noise::{Chance, Floors};
use super::pairs::Compared;
use super::{ConfusionMatrix, PairCounts, SuccessMatrix, SymmetryFigures};
use crate::Seed;

/// A snapshot of more classes than these has no cells, and no value of chance.
pub const MOST_SNAPSHOT_CLASSES: usize = 40;

/// Pairs that are listed.
const LISTED_PAIRS: usize = 5;

/// Redrawn matrices behind the value of chance. Their mean is known to some percent then, which a glance needs.
const DRAWS: u32 = 100;

/// Counts of a matrix of `K` classes, or what is left of them in a bounded space: below 20 kB for any `K`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Number of classes `K`.
    pub classes: usize,
    /// Images counted, or targeted attacks towards another class.
    pub n: u64,
    /// `A1`: sum over pairs of `|C_ij - C_ji|`. `None` where no pair has counts in both directions.
    pub a1: Option<f64>,
    /// `A1` divided by the sum over pairs of `C_ij + C_ji`, in `[0, 1]`. `None` without an error as well.
    pub a1_normalised: Option<f64>,
    /// What `A1` would be by chance, were the truth symmetric. `None` above [`MOST_SNAPSHOT_CLASSES`].
    pub a1_by_chance: Option<f64>,
    /// The pairs that differ most, the largest difference first; those without a difference are left out.
    #[serde(deserialize_with = "few_pairs")]
    pub pairs: Vec<DirectedPair>,
    /// All cells. `None` above [`MOST_SNAPSHOT_CLASSES`].
    #[serde(deserialize_with = "few_cells")]
    pub cells: Option<Cells>,
}

/// A pair of classes, in the direction in which the rate is higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DirectedPair {
    /// Index of the class that is more often taken for `to` than the other way round.
    pub from: usize,
    /// Index of the other class.
    pub to: usize,
    /// How many of `from` ended in `to`, of how many.
    pub forward: [u64; 2],
    /// How many of `to` ended in `from`, of how many.
    pub backward: [u64; 2],
}

/// Counts row by row, rows = true label.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cells {
    /// Predictions, or attacks that ended in their target.
    pub counts: Vec<Vec<u64>>,
    /// Attacks made; absent for predictions, where the row's sum takes its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<Vec<u64>>>,
}

/// A file may hold anything; what is read from one is as small as what is written.
fn few_cells<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Cells>, D::Error> {
    let few = |rows: &Vec<Vec<u64>>| {
        rows.len() <= MOST_SNAPSHOT_CLASSES && rows.iter().all(|row| row.len() <= MOST_SNAPSHOT_CLASSES)
    };
    let cells = Option::<Cells>::deserialize(from)?;
    Ok(cells.filter(|cells| few(&cells.counts) && cells.attempts.as_ref().is_none_or(few)))
}

fn few_pairs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<DirectedPair>, D::Error> {
    let mut pairs = Vec::deserialize(from)?;
    pairs.truncate(LISTED_PAIRS);
    Ok(pairs)
}

impl Cells {
    /// How many of `label` ended in `other`, of how many; `None` where there is no such cell.
    pub fn counted(&self, label: usize, other: usize) -> Option<[u64; 2]> {
        let row = self.counts.get(label)?;
        let of = match &self.attempts {
            Some(attempts) => *attempts.get(label)?.get(other)?,
            None => row.iter().fold(0, |sum: u64, count| sum.saturating_add(*count)),
        };
        Some([*row.get(other)?, of])
    }

    /// Share of `label` that ended in `other`; `None` where nothing was counted or there is no such cell.
    pub fn rate(&self, label: usize, other: usize) -> Option<f64> {
        self.counted(label, other).and_then(Self::share)
    }

    /// A count and of how many as a share; `None` of nothing.
    pub fn share([count, of]: [u64; 2]) -> Option<f64> {
        (of > 0).then(|| count as f64 / of as f64)
    }
}

impl DirectedPair {
    fn of(pair: &PairCounts) -> Self {
        let [up, down] = [0, 1].map(|side| [pair.events[side], pair.trials[side]]);
        let rates = pair.rates();
        if rates.up >= rates.down {
            Self { from: pair.low, to: pair.high, forward: up, backward: down }
        } else {
            Self { from: pair.high, to: pair.low, forward: down, backward: up }
        }
    }
}

impl Snapshot {
    /// Of predictions. `seed` decides the draws of chance.
    pub fn of_confusion(counts: &ConfusionMatrix, seed: Seed) -> Self {
        let cells = || Cells {
            counts: (0..counts.classes()).map(|label| counts.row(label).to_vec()).collect(),
            attempts: None,
        };
        Self::of(counts.classes(), counts.total(), &Compared::of_confusion(counts), cells, seed)
    }

    /// Of targeted attacks. `seed` decides the draws of chance.
    pub fn of_success(counts: &SuccessMatrix, seed: Seed) -> Self {
        let classes = counts.classes();
        let rows = |cell: &dyn Fn(usize, usize) -> u64| {
            (0..classes).map(|i| (0..classes).map(|j| cell(i, j)).collect()).collect()
        };
        let cells = || Cells {
            counts: rows(&|i, j| counts.successes(i, j)),
            attempts: Some(rows(&|i, j| counts.attempts(i, j))),
        };
        Self::of(classes, counts.total_attempts(), &Compared::of_success(counts), cells, seed)
    }

    /// Without the cells: a fraction of the size.
    #[must_use]
    pub fn without_cells(self) -> Self {
        Self { cells: None, ..self }
    }

    fn of(classes: usize, n: u64, compared: &Compared, cells: impl FnOnce() -> Cells, seed: Seed) -> Self {
        let small = classes <= MOST_SNAPSHOT_CLASSES;
        let figures = SymmetryFigures::point(classes, compared.number, &compared.pairs, n);
        let chance = figures.as_ref().filter(|_| small).and_then(|found| {
            let observed = [found.a1.value, 0.0, 0.0];
            Floors::of(observed, &Chance::of(&compared.pairs), seed, DRAWS)[0]
        });
        let gap = |pair: &PairCounts| pair.rates().gap();
        let mut pairs: Vec<&PairCounts> = compared.pairs.iter().filter(|pair| gap(pair) > 0.0).collect();
        pairs.sort_by(|a, b| gap(b).total_cmp(&gap(a)).then((a.low, a.high).cmp(&(b.low, b.high))));
        Self {
            classes,
            n,
            a1: figures.as_ref().map(|found| found.a1.value),
            a1_normalised: figures.as_ref().and_then(|found| found.a1_normalised).map(|found| found.value),
            a1_by_chance: chance.map(|floor| floor.expected),
            pairs: pairs.into_iter().take(LISTED_PAIRS).map(DirectedPair::of).collect(),
            cells: small.then(cells),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_classes_by_hand() {
        // Rates: 0 -> 1 is 2/4, 1 -> 0 is 1/4, 0 -> 2 is 0 and 2 -> 0 is 1/2; 1 and 2 are never confused.
        let counts: ConfusionMatrix = [[2, 2, 0], [1, 3, 0], [1, 0, 1]].into();
        let found = Snapshot::of_confusion(&counts, Seed::new(0));
        assert_eq!((found.classes, found.n), (3, 10));
        assert!((found.a1.expect("pairs") - 0.75).abs() < 1e-12);
        assert!((found.a1_normalised.expect("errors") - 0.75 / 1.25).abs() < 1e-12);
        let chance = found.a1_by_chance.expect("few classes");
        // Three events among four and four pictures differ by 1/4 or 3/4; one event of a pair of 4 and 2 by 1/4 or 1/2.
        assert!((0.5..=1.25).contains(&chance), "{chance}");
        let expected = [
            DirectedPair { from: 2, to: 0, forward: [1, 2], backward: [0, 4] },
            DirectedPair { from: 0, to: 1, forward: [2, 4], backward: [1, 4] },
        ];
        assert_eq!(found.pairs, expected);
        let cells = found.cells.expect("few classes");
        assert_eq!((cells.rate(0, 1), cells.rate(1, 2), cells.rate(3, 0)), (Some(0.5), Some(0.0), None));
    }

    #[test]
    fn attacks_are_divided_by_attempts_and_gaps_are_no_zeros() {
        let mut counts = SuccessMatrix::new(3);
        counts.add(0, 1, true);
        counts.add(0, 1, false);
        counts.add(2, 1, true);
        let found = Snapshot::of_success(&counts, Seed::new(0));
        // No pair was attacked in both directions.
        assert_eq!((found.n, found.a1, found.a1_by_chance), (3, None, None));
        let cells = found.cells.expect("few classes");
        assert_eq!((cells.rate(0, 1), cells.rate(1, 0), cells.rate(2, 1)), (Some(0.5), None, Some(1.0)));
    }

    #[test]
    fn a_snapshot_of_a_file_is_as_small_as_one_of_counts() {
        let read = |counts: &[Vec<u64>], attempts: Option<&[Vec<u64>]>| {
            let cells = serde_json::json!({"counts": counts, "attempts": attempts});
            let pairs = vec![serde_json::json!({"from": 1}); 1000];
            let text = serde_json::json!({"classes": 2, "pairs": pairs, "cells": cells}).to_string();
            serde_json::from_str::<Snapshot>(&text).expect("JSON")
        };
        let square = |side| vec![vec![1; side]; side];
        let most = square(MOST_SNAPSHOT_CLASSES);
        let found = read(&most, Some(&most));
        assert_eq!((found.cells.is_some(), found.pairs.len()), (true, LISTED_PAIRS));
        let many = square(MOST_SNAPSHOT_CLASSES + 1);
        let long = vec![vec![1; MOST_SNAPSHOT_CLASSES + 1]];
        for (counts, attempts) in
            [(&many, None), (&long, None), (&most, Some(&many[..])), (&most, Some(&long[..]))]
        {
            assert_eq!(read(counts, attempts).cells, None);
        }
        assert_eq!(serde_json::from_str::<Snapshot>(r#"{"cells": null}"#).expect("JSON").cells, None);
        let large = Cells { counts: vec![vec![u64::MAX, 1]], attempts: None };
        assert_eq!(large.counted(0, 1), Some([1, u64::MAX]), "no sum overflows");
    }

    #[test]
    fn nothing_and_many_classes_take_little_room() {
        assert_eq!(Snapshot::of_confusion(&ConfusionMatrix::new(0), Seed::new(0)).a1, None);
        for classes in [MOST_SNAPSHOT_CLASSES, 500] {
            let mut counts = ConfusionMatrix::new(classes);
            for label in 0..classes {
                counts.add_images(label, label, 10_000);
                counts.add_images(label, (label * 7 + 1) % classes, 10_000);
            }
            let found = Snapshot::of_confusion(&counts, Seed::new(0));
            assert_eq!(found.cells.is_some(), classes <= MOST_SNAPSHOT_CLASSES);
            assert_eq!(found.pairs.len(), LISTED_PAIRS);
            let text = serde_json::to_string(&found).expect("JSON");
            assert!(text.len() < 20_000, "{} bytes", text.len());
            assert_eq!(serde_json::from_str::<Snapshot>(&text).expect("JSON"), found);
        }
    }
}
