//! Differences of all figures between two runs.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::binomial::binomial;
use super::draws::outer;
use super::{ConfusionFigures, ConfusionMatrix, named_figures};
use crate::Seed;

/// One figure of two runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedDifference {
    /// Its name, see [`named_figures`].
    pub name: String,
    /// Figure of the base run.
    pub base: f64,
    /// Figure of the candidate.
    pub candidate: f64,
    /// `candidate - base`.
    pub difference: f64,
    /// Lower end of the 95 % interval of the difference. `None` without draws.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Two-sided chance of a difference as large where there is none. `None` without draws.
    pub p_value: Option<f64>,
}

/// A base run and a candidate.
type Two = (ConfusionMatrix, ConfusionMatrix);

/// The differences of two runs on different images, or on images that nobody can match. Intervals are basic
/// bootstrap intervals, and p-values say how often a redrawn difference is as far from the observed one as
/// this is from 0. Where the same images are known use [`super::PairedComparison`], which sees smaller
/// differences and whose p-values are exact.
pub fn unpaired_differences(
    base: &ConfusionMatrix,
    candidate: &ConfusionMatrix,
    seed: Seed,
    draws: u32,
) -> Vec<NamedDifference> {
    let redraw =
        |seed: Seed| (resampled(base, seed.purpose("base")), resampled(candidate, seed.purpose("candidate")));
    let mut found = observed(base, candidate);
    let drawn = table(&found, &redraw, seed, draws);
    for (difference, drawn) in found.iter_mut().zip(drawn) {
        let apart: Vec<f64> = drawn.iter().map(|value| value - difference.difference).collect();
        difference.p_value = p_value(difference.difference, &apart);
        difference.set_interval(drawn);
    }
    found
}

/// The differences of two matrices; intervals from `resample`, p-values from `exchange`.
pub(super) fn differences(
    (base, candidate): (&ConfusionMatrix, &ConfusionMatrix),
    resample: impl Fn(Seed) -> Two + Sync,
    exchange: impl Fn(Seed) -> Two + Sync,
    seed: Seed,
    draws: u32,
) -> Vec<NamedDifference> {
    let mut found = observed(base, candidate);
    let resampled = table(&found, &resample, seed.purpose("resample"), draws);
    let exchanged = table(&found, &exchange, seed.purpose("exchange"), draws);
    for ((difference, resampled), exchanged) in found.iter_mut().zip(resampled).zip(exchanged) {
        difference.p_value = p_value(difference.difference, &exchanged);
        difference.set_interval(resampled);
    }
    found
}

/// The figures that both have.
fn observed(base: &ConfusionMatrix, candidate: &ConfusionMatrix) -> Vec<NamedDifference> {
    let candidate = values(candidate);
    let pair = |(name, base): (&'static str, f64)| {
        let candidate = value_of(&candidate, name)?;
        let difference = candidate - base;
        Some(NamedDifference {
            name: name.into(),
            base,
            candidate,
            difference,
            low: None,
            high: None,
            p_value: None,
        })
    };
    values(base).into_iter().filter_map(pair).collect()
}

fn values(counts: &ConfusionMatrix) -> Vec<(&'static str, f64)> {
    let figures = ConfusionFigures::of(counts, Seed::new(0), 0);
    named_figures(&figures).into_iter().map(|(name, figure)| (name, figure.value)).collect()
}

fn value_of(values: &[(&'static str, f64)], name: &str) -> Option<f64> {
    values.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
}

/// The redrawn differences of each figure. A draw in which one of the runs lacks the figure does not count.
fn table(
    found: &[NamedDifference],
    redraw: &(impl Fn(Seed) -> Two + Sync),
    seed: Seed,
    draws: u32,
) -> Vec<Vec<f64>> {
    let draw = |draw: u32| -> Vec<Option<f64>> {
        let (base, candidate) = redraw(seed.at(u64::from(draw)));
        let (base, candidate) = (values(&base), values(&candidate));
        let difference =
            |of: &NamedDifference| Some(value_of(&candidate, &of.name)? - value_of(&base, &of.name)?);
        found.iter().map(difference).collect()
    };
    let rows: Vec<Vec<Option<f64>>> = (0..draws).into_par_iter().map(draw).collect();
    (0..found.len()).map(|figure| rows.iter().filter_map(|row| row[figure]).collect()).collect()
}

fn p_value(difference: f64, by_chance: &[f64]) -> Option<f64> {
    let reached = by_chance.iter().filter(|value| value.abs() >= difference.abs() - 1e-9).count();
    (!by_chance.is_empty()).then(|| (1 + reached) as f64 / (1 + by_chance.len()) as f64)
}

impl NamedDifference {
    fn set_interval(&mut self, mut drawn: Vec<f64>) {
        if let Some((low, high)) = outer(&mut drawn) {
            (self.low, self.high) = (Some(2.0 * self.difference - high), Some(2.0 * self.difference - low));
        }
    }
}

/// The images of each class drawn again: every row is multinomial, drawn cell by cell.
fn resampled(counts: &ConfusionMatrix, seed: Seed) -> ConfusionMatrix {
    let mut rng = seed.rng();
    let mut drawn = ConfusionMatrix::new(counts.classes());
    for label in 0..counts.classes() {
        let images = counts.row_total(label);
        let (mut left, mut rest) = (images, images);
        for (class, &count) in counts.row(label).iter().enumerate().filter(|(_, count)| **count > 0) {
            let images = binomial(&mut rng, left, count as f64 / rest as f64);
            drawn.add_images(label, class, images);
            left -= images;
            rest -= count;
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redrawn_rows_keep_their_totals_and_impossible_cells_stay_empty() {
        let counts = ConfusionMatrix::from([[5, 3, 2], [0, 10, 0], [0, 0, 0]]);
        for trial in 0..50 {
            let drawn = resampled(&counts, Seed::new(trial));
            assert_eq!(drawn.row_totals(), counts.row_totals());
            assert_eq!(drawn.row(1), counts.row(1));
        }
    }

    #[test]
    fn equal_runs_differ_in_nothing() {
        let counts = ConfusionMatrix::from([[15, 5], [5, 15]]);
        for found in unpaired_differences(&counts, &counts, Seed::new(1), 200) {
            assert!(found.difference.abs() < 1e-12, "{found:?}");
            assert!((found.p_value.unwrap() - 1.0).abs() < 1e-12, "{found:?}");
        }
    }

    #[test]
    fn a_clear_difference_is_one() {
        let (base, candidate) = ([[50, 50], [5, 95]].into(), [[95, 5], [5, 95]].into());
        let found = unpaired_differences(&base, &candidate, Seed::new(1), 500);
        let accuracy = found.iter().find(|found| found.name == "micro_accuracy").unwrap();
        assert!((accuracy.difference - 0.225).abs() < 1e-12);
        assert!(accuracy.p_value.unwrap() < 0.01 && accuracy.low.unwrap() > 0.1);
    }
}
