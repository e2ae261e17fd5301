//! Intervals for figures that chance only ever makes larger: sums, maxima and spreads of absolute
//! differences.
//!
//! The usual bootstrap intervals of such a figure fail. Drawn from the observed rates, whose differences
//! contain the noise already, the noise is added once more: with ten classes of 20 images and a symmetric
//! truth the percentile interval of `A1` contained the true value 0 in none of 200 trials, and the basic
//! one in 1 % of them. So the test is inverted instead (Carpenter, "Test inversion bootstrap confidence
//! intervals", Journal of the Royal Statistical Society B 61, 1999). A family of possible truths leads from
//! "no difference at all" through the observed rates to larger differences; from each truth data are
//! redrawn; the interval is made of the truths under which the observed figure is not in the outer 2.5 %
//! on either side. What noise adds to a sum of absolute differences depends on how they are spread, so
//! several families are used and the widest answer taken: all differences scaled alike; a multiple of its
//! standard error taken off each; the clear ones scaled and the others 0; and, for pairs, all as large as
//! the mass of their pair allows for. The intervals are wide rather than narrow; `docs/metrics.md` has
//! simulations.

use rayon::prelude::*;

use crate::Seed;

/// Part of the redrawn figures that may lie on one side of an observed one.
const TAIL: f64 = 0.025;

/// A tail of this size in the first draws is not that of a rejected truth.
const CLEAR: f64 = 0.15;

/// Draws before a truth may be clear.
const FIRST_DRAWS: u32 = 100;

/// Multiples of the observed differences.
pub(super) const SCALES: [f64; 13] = [0.0, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5];

/// Standard errors to take off each difference.
pub(super) const THRESHOLDS: [f64; 10] = [4.0, 3.0, 2.4, 2.0, 1.6, 1.3, 1.0, 0.75, 0.5, 0.25];

/// Standard errors that a difference needs in order to stay.
const KEPT: [f64; 2] = [3.0, 2.0];

/// Multiples of the differences that stay.
const KEPT_SCALES: [f64; 8] = [0.4, 0.6, 0.75, 0.85, 1.0, 1.15, 1.3, 1.5];

/// Parts of the mass of a pair by which its two sides may differ.
const EVEN: [f64; 10] = [0.08, 0.16, 0.24, 0.32, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0];

/// How a possible truth follows from the observed differences.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shrinkage {
    /// Every difference times this.
    Scale(f64),
    /// Every difference closer to 0 by this many standard errors.
    Threshold(f64),
    /// Differences of at least so many standard errors times a factor, the others 0.
    Keep(f64, f64),
    /// Every difference is this part of the largest that its pair could have.
    Even(f64),
}

impl Shrinkage {
    /// The difference in the truth, from the observed one, its standard error, and the largest possible.
    pub fn apply(self, difference: f64, error: f64, most: f64) -> f64 {
        match self {
            Self::Scale(factor) => factor * difference,
            Self::Threshold(errors) => difference.signum() * (difference.abs() - errors * error).max(0.0),
            Self::Keep(errors, factor) if difference.abs() >= errors * error => factor * difference,
            Self::Keep(..) => 0.0,
            Self::Even(part) => difference.signum() * part * most,
        }
    }

    /// The families, each in order.
    pub fn families() -> Vec<Vec<Self>> {
        let kept = KEPT.map(|errors| KEPT_SCALES.map(|factor| Self::Keep(errors, factor)).to_vec());
        let [first, second] = kept;
        vec![
            SCALES.map(Self::Scale).to_vec(),
            THRESHOLDS.map(Self::Threshold).to_vec(),
            first,
            second,
            EVEN.map(Self::Even).to_vec(),
        ]
    }
}

/// A possible truth: its figures and how others are drawn from it.
pub(super) trait Truth<const F: usize>: Sync {
    /// What is made once for all draws from it.
    type Law: Sync;
    /// The figures of the truth itself.
    fn figures(&self) -> [f64; F];
    /// Tables for drawing. They may be large, so they are made for one truth at a time.
    fn law(&self) -> Self::Law;
    /// The figures of data drawn from it.
    fn redraw(&self, law: &Self::Law, seed: Seed) -> [f64; F];
}

/// What one truth says about one observed figure.
#[derive(Clone, Copy)]
struct Verdict {
    figure: f64,
    /// The smaller one of the two tails beyond the observed figure.
    tail: f64,
}

/// The 95 % intervals of the observed figures. Truths of one family follow each other. Every truth is
/// drawn from with the same keys, so the answer hardly jumps from one to the next.
pub(super) fn intervals<const F: usize, T: Truth<F>>(
    observed: [f64; F],
    families: &[Vec<T>],
    seed: Seed,
    draws: u32,
) -> [(f64, f64); F] {
    let judged = |at_once: bool| -> Vec<Vec<[Verdict; F]>> {
        let family =
            |of: &Vec<T>| of.iter().map(|truth| judge(observed, truth, seed, draws, at_once)).collect();
        families.iter().map(family).collect()
    };
    let mut verdicts = judged(false);
    let best = |figure: usize| verdicts.iter().flatten().map(|of| of[figure].tail).fold(0.0, f64::max);
    if (0..F).any(|figure| best(figure) < TAIL) {
        verdicts = judged(true);
    }
    std::array::from_fn(|figure| {
        let of_figure: Vec<Vec<Verdict>> =
            verdicts.iter().map(|family| family.iter().map(|verdicts| verdicts[figure]).collect()).collect();
        accepted(&of_figure)
    })
}

/// The tails of one truth. Where a part of the draws shows them to be far from the allowed one, the rest is
/// not drawn, unless all are wanted `at_once`.
fn judge<const F: usize>(
    observed: [f64; F],
    truth: &impl Truth<F>,
    seed: Seed,
    draws: u32,
    at_once: bool,
) -> [Verdict; F] {
    let law = truth.law();
    let count = |draw: u32| {
        let drawn = truth.redraw(&law, seed.at(u64::from(draw)));
        // Sums of the same fractions in another order differ in their last digits and are equal.
        std::array::from_fn(|figure| {
            let (drawn, observed): (f64, f64) = (drawn[figure], observed[figure]);
            [u32::from(drawn <= observed + 1e-9), u32::from(drawn >= observed - 1e-9)]
        })
    };
    let add = |a: [[u32; 2]; F], b: [[u32; 2]; F]| {
        std::array::from_fn(|figure| [a[figure][0] + b[figure][0], a[figure][1] + b[figure][1]])
    };
    let counted = |from: u32, to: u32| (from..to).into_par_iter().map(count).reduce(|| [[0; 2]; F], add);
    let tail = |[below, above]: [u32; 2], of: u32| f64::from(below.min(above)) / f64::from(of);
    let first = if at_once { draws } else { (draws / 8).max(FIRST_DRAWS).min(draws) };
    let (mut counts, mut drawn) = (counted(0, first), first);
    if counts.iter().any(|&figure| (1e-9..CLEAR).contains(&tail(figure, first))) {
        counts = add(counts, counted(first, draws));
        drawn = draws;
    }
    let figures = truth.figures();
    std::array::from_fn(|figure| Verdict { figure: figures[figure], tail: tail(counts[figure], drawn) })
}

/// The smallest and the largest figure of the accepted truths, with the ends interpolated to where the
/// tail is exactly the allowed one.
fn accepted(families: &[Vec<Verdict>]) -> (f64, f64) {
    let best = families.iter().flatten().map(|verdict| verdict.tail).fold(0.0, f64::max);
    // An observation that is unlikely under every truth, such as a symmetry that is too good, still has
    // truths that explain it best.
    let level = TAIL.min(0.5 * best);
    let mut ends = (f64::INFINITY, f64::NEG_INFINITY);
    let mut include = |figure: f64| ends = (ends.0.min(figure), ends.1.max(figure));
    for family in families {
        for verdict in family.iter().filter(|verdict| verdict.tail >= level) {
            include(verdict.figure);
        }
        for pair in family.windows(2) {
            let [a, b] = [pair[0], pair[1]];
            if (a.tail >= level) != (b.tail >= level) {
                let part = (level - a.tail) / (b.tail - a.tail);
                include(a.figure + part * (b.figure - a.figure));
            }
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    /// A figure with a uniform error between -1 and 1.
    struct Shifted(f64);

    impl Truth<1> for Shifted {
        type Law = ();

        fn figures(&self) -> [f64; 1] {
            [self.0]
        }

        fn law(&self) {}

        fn redraw(&self, (): &(), seed: Seed) -> [f64; 1] {
            [self.0 + seed.rng().random_range(-1.0..1.0)]
        }
    }

    #[test]
    fn the_interval_of_a_location_has_its_closed_form() {
        let family: Vec<Shifted> = (-20..=60).map(|step| Shifted(0.1 * f64::from(step))).collect();
        let [(low, high)] = intervals([2.0], &[family], Seed::new(1), 20_000);
        // 2.5 % of a uniform error on [-1, 1] are beyond 0.95.
        assert!((low - 1.05).abs() < 0.01 && (high - 2.95).abs() < 0.01, "{low} {high}");
    }

    #[test]
    fn an_observation_that_no_truth_explains_gets_the_nearest() {
        let family: Vec<Shifted> = (0..=10).map(|step| Shifted(f64::from(step))).collect();
        let [(low, high)] = intervals([-0.999], &[family], Seed::new(1), 5000);
        assert!(low.abs() < 1e-12 && high < 1.0, "{low} {high}");
    }

    #[test]
    fn shrinkage_never_changes_the_sign() {
        assert!((Shrinkage::Scale(0.5).apply(-0.4, 0.1, 1.0) + 0.2).abs() < 1e-12);
        assert!((Shrinkage::Threshold(2.0).apply(-0.4, 0.1, 1.0) + 0.2).abs() < 1e-12);
        assert!(Shrinkage::Threshold(5.0).apply(-0.4, 0.1, 1.0).abs() < 1e-12);
    }
}
