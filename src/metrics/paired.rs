//! Two runs on the same images.
//!
//! An image that is hard for one run is mostly hard for the other, so differences are known far better than
//! the figures themselves. What was predicted for the same image stays together in every redraw.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::binomial::binomial;
use super::difference::{NamedDifference, differences};
use super::mcnemar::{McNemar, Table};
use super::multiplicity::holm;
use super::{ConfusionMatrix, Figure, Levelling, RateMatrix, relative_rho};
use crate::Seed;

/// How many images of each class got which two predictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairedCounts {
    classes: usize,
    /// Images by label, prediction of the base run and prediction of the candidate.
    images: BTreeMap<(usize, usize, usize), u64>,
}

/// What changed from a base run to a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairedComparison {
    /// Whether one run is right more often on all images together. `None` without images.
    pub mcnemar: Option<McNemar>,
    /// For each class the difference of accuracy. `None` for a class without images.
    pub per_class: Vec<Option<ClassComparison>>,
    /// Every figure that both runs have, by its name in [`super::named_figures`].
    pub differences: Vec<NamedDifference>,
    /// Relative change of worst-class and of mean accuracy together, see [`relative_rho`].
    pub rho: Option<f64>,
    /// Where a change of asymmetry came from.
    pub levelling: Option<Levelling>,
}

/// The change of accuracy of one class.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassComparison {
    /// Accuracy of the candidate minus that of the base, in `[-1, 1]`, with Newcombe's interval for paired
    /// shares.
    pub difference: Figure,
    /// The test of `McNemar` for the class.
    pub mcnemar: McNemar,
    /// Its p-value adjusted for all classes by Holm.
    pub p_holm: f64,
}

impl PairedCounts {
    /// No image yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, images: BTreeMap::new() }
    }

    /// Counts one image. All classes are below `K`.
    pub fn add(&mut self, label: usize, base: usize, candidate: usize) {
        *self.images.entry((label, base, candidate)).or_default() += 1;
    }

    /// The base run by itself.
    pub fn base(&self) -> ConfusionMatrix {
        self.matrices(|count| count).0
    }

    /// The candidate by itself.
    pub fn candidate(&self) -> ConfusionMatrix {
        self.matrices(|count| count).1
    }

    fn matrices(&self, mut redraw: impl FnMut(u64) -> u64) -> (ConfusionMatrix, ConfusionMatrix) {
        let mut both = (ConfusionMatrix::new(self.classes), ConfusionMatrix::new(self.classes));
        for (&(label, base, candidate), &count) in &self.images {
            let count = redraw(count);
            both.0.add_images(label, base, count);
            both.1.add_images(label, candidate, count);
        }
        both
    }

    /// The images of each class drawn again.
    fn resampled(&self, rng: &mut impl Rng) -> (ConfusionMatrix, ConfusionMatrix) {
        let base = self.base();
        let totals = base.row_totals();
        let mut both = (ConfusionMatrix::new(self.classes), ConfusionMatrix::new(self.classes));
        // Of the class at hand: images to draw, and counts that have not had their turn.
        let (mut current, mut left, mut rest) = (usize::MAX, 0, 0);
        for (&(label, base, candidate), &count) in &self.images {
            if label != current {
                (current, left, rest) = (label, totals[label], totals[label]);
            }
            let drawn = binomial(rng, left, count as f64 / rest as f64);
            both.0.add_images(label, base, drawn);
            both.1.add_images(label, candidate, drawn);
            left -= drawn;
            rest -= count;
        }
        both
    }

    /// The runs exchanged for each image with a chance of one half.
    fn exchanged(&self, rng: &mut impl Rng) -> (ConfusionMatrix, ConfusionMatrix) {
        let mut both = (ConfusionMatrix::new(self.classes), ConfusionMatrix::new(self.classes));
        for (&(label, base, candidate), &count) in &self.images {
            let swapped = binomial(rng, count, 0.5);
            for (base, candidate, count) in [(base, candidate, count - swapped), (candidate, base, swapped)] {
                both.0.add_images(label, base, count);
                both.1.add_images(label, candidate, count);
            }
        }
        both
    }
}

impl AddAssign<&Self> for PairedCounts {
    /// Merges the counts of other images.
    fn add_assign(&mut self, other: &Self) {
        for (&cell, count) in &other.images {
            *self.images.entry(cell).or_default() += count;
        }
    }
}

impl PairedComparison {
    /// From counts. The intervals of differences are basic bootstrap intervals from `draws` redrawn sets of
    /// images; their p-values are from as many exchanges of the two runs image by image, which is exact
    /// where neither run is better in any respect. Without draws there are neither.
    pub fn of(counts: &PairedCounts, seed: Seed, draws: u32) -> Self {
        let (base, candidate) = (counts.base(), counts.candidate());
        let differences = differences(
            (&base, &candidate),
            |seed| counts.resampled(&mut seed.rng()),
            |seed| counts.exchanged(&mut seed.rng()),
            seed,
            draws,
        );
        Self {
            mcnemar: tables(counts).into_iter().flatten().reduce(Table::plus).map(Table::mcnemar),
            per_class: per_class(counts),
            differences,
            rho: relative_rho(&candidate, &base),
            levelling: Levelling::between(
                &RateMatrix::of_confusion(&base),
                &RateMatrix::of_confusion(&candidate),
            ),
        }
    }
}

/// Who is right how often, class by class.
fn tables(counts: &PairedCounts) -> Vec<Option<Table>> {
    let mut tables = vec![None; counts.classes];
    for (&(label, base, candidate), &images) in &counts.images {
        tables[label].get_or_insert_with(Table::default).add(base == label, candidate == label, images);
    }
    tables
}

fn per_class(counts: &PairedCounts) -> Vec<Option<ClassComparison>> {
    let tables = tables(counts);
    let tests: Vec<Option<McNemar>> = tables.iter().map(|table| table.map(Table::mcnemar)).collect();
    let mut adjusted = holm(&tests.iter().flatten().map(|test| test.p_value).collect::<Vec<_>>()).into_iter();
    let compare = |(table, mcnemar): (Option<Table>, Option<McNemar>)| {
        Some(ClassComparison { difference: table?.difference(), mcnemar: mcnemar?, p_holm: adjusted.next()? })
    };
    tables.into_iter().zip(tests).map(compare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts() -> PairedCounts {
        let mut counts = PairedCounts::new(3);
        for (label, base, candidate, images) in
            [(0, 0, 0, 30), (0, 1, 0, 9), (0, 0, 2, 1), (1, 1, 1, 20), (1, 2, 2, 20)]
        {
            (0..images).for_each(|_| counts.add(label, base, candidate));
        }
        counts
    }

    #[test]
    fn runs_by_themselves() {
        assert_eq!(counts().base(), [[31, 9, 0], [0, 20, 20], [0, 0, 0]].into());
        assert_eq!(counts().candidate(), [[39, 0, 1], [0, 20, 20], [0, 0, 0]].into());
    }

    #[test]
    fn redraws_keep_the_images_of_each_class_and_their_pairs() {
        let counts = counts();
        for trial in 0..20 {
            let (base, candidate) = counts.resampled(&mut Seed::new(trial).rng());
            assert_eq!((base.row_totals(), candidate.row_totals()), (&[40, 40, 0][..], &[40, 40, 0][..]));
            // Class 1 got the same prediction from both.
            assert_eq!(base.row(1), candidate.row(1));
            let (base, candidate) = counts.exchanged(&mut Seed::new(trial).rng());
            let both: Vec<u64> =
                (0..3).map(|class| base.count(0, class) + candidate.count(0, class)).collect();
            assert_eq!(both, [70, 9, 1]);
        }
    }

    #[test]
    fn a_clear_change_is_found_and_none_is_not() {
        let found = PairedComparison::of(&counts(), Seed::new(0), 2000);
        assert_eq!(
            found.mcnemar.unwrap(),
            McNemar { only_base: 1, only_candidate: 9, ..found.mcnemar.unwrap() }
        );
        let [changed, same] = [0, 1].map(|class| found.per_class[class].unwrap());
        assert!((changed.difference.value - 0.2).abs() < 1e-12 && changed.p_holm < 0.05);
        assert!((changed.p_holm - 2.0 * changed.mcnemar.p_value).abs() < 1e-12);
        assert!((same.mcnemar.p_value - 1.0).abs() < 1e-12 && same.difference.value.abs() < 1e-12);
        assert_eq!(found.per_class[2], None);
        let accuracy = &found.differences[0];
        assert_eq!(accuracy.name, "micro_accuracy");
        assert!((accuracy.difference - 0.1).abs() < 1e-12 && accuracy.p_value.unwrap() < 0.05);
        assert!(accuracy.low.unwrap() > 0.0 && accuracy.high.unwrap() < 0.2);
    }

    #[test]
    fn merged_shards_are_the_whole() {
        let (mut sum, mut twice) = (counts(), PairedCounts::new(3));
        sum += &counts();
        for (&(label, base, candidate), &images) in &counts().images {
            (0..2 * images).for_each(|_| twice.add(label, base, candidate));
        }
        assert_eq!(sum, twice);
    }

    #[test]
    fn without_images_nothing_is_compared() {
        let found = PairedComparison::of(&PairedCounts::new(2), Seed::new(0), 9);
        assert_eq!((found.mcnemar, found.per_class, found.differences), (None, vec![None, None], vec![]));
    }
}
