//! The worst class, chosen on one half of the images and measured on the other.
//!
//! What is estimated is the true accuracy of the class that half of the images point to, in the mean over
//! data sets: `sum_c p_c P(c is chosen)`. Its mean over many splits varies less than one split does. Two
//! splits of the same data have in common what is due to the data and nothing else, so the covariance of
//! the two over redrawn data is the variance of that mean. The interval is Wilson's with as many trials as
//! give this variance.

use rand::Rng;
use rayon::prelude::*;

use super::binomial::binomial;
use super::extremes::extremes;
use super::interval::wilson;
use super::noise::PairChance;
use super::{Figure, Rate};
use crate::Seed;

/// A class with at least two images.
struct Halves {
    /// Images of the first half and of the second.
    sizes: [u64; 2],
    /// How its right images fall in the two halves.
    right: PairChance,
    /// How many images of the first half are in the first half of another split.
    overlap: PairChance,
    accuracy: f64,
}

impl Halves {
    fn of(rate: &Rate) -> Self {
        let sizes = [rate.n / 2, rate.n.div_ceil(2)];
        Self {
            sizes,
            right: PairChance::of(sizes[0], sizes[1], rate.successes),
            overlap: PairChance::of(sizes[0], sizes[1], sizes[0]),
            accuracy: rate.value,
        }
    }

    /// The accuracies of the two halves in two splits of redrawn images: of the parts that the splits make
    /// of them, each is redrawn.
    fn two_splits(&self, rng: &mut impl Rng) -> [(f64, f64); 2] {
        let [first, second] = self.sizes;
        let both = self.overlap.draw_events(rng);
        let [both, one, other, none] = [both, first - both, first - both, second + both - first]
            .map(|images| binomial(rng, images, self.accuracy) as f64);
        let (first, second) = (first as f64, second as f64);
        [((both + one) / first, (other + none) / second), ((both + other) / first, (one + none) / second)]
    }
}

/// The mean over `draws` splits, with its interval. `None` without draws or two images of a class.
pub(super) fn split_half(per_class: &[Option<Rate>], seed: Seed, draws: u32) -> Option<Figure> {
    let rates: Vec<&Rate> = per_class.iter().flatten().filter(|rate| rate.n >= 2).collect();
    let halves: Vec<Halves> = rates.iter().map(|rate| Halves::of(rate)).collect();
    let images = rates.iter().map(|rate| rate.n).sum();
    let split = |draw: u32| {
        let mut rng = seed.at(u64::from(draw)).rng();
        measured(halves.iter().map(|half| half.right.draw(&mut rng)))
    };
    let sum: f64 = (0..draws).into_par_iter().map(split).collect::<Option<Vec<f64>>>()?.iter().sum();
    let smallest = rates.iter().map(|rate| rate.n).min()?;
    (draws > 0).then(|| {
        let value = sum / f64::from(draws);
        let variance = variance(&halves, seed.purpose("interval"), draws);
        // Where nothing was seen to vary, the measured class may be the smallest.
        let varies = variance > 0.0 && value > 0.0 && value < 1.0;
        let trials = if varies { value * (1.0 - value) / variance } else { smallest as f64 };
        let (low, high) = wilson(value, trials.min(images as f64));
        let mut figure = Figure::new(value, images);
        figure.set_interval(low.min(value), high.max(value));
        figure
    })
}

/// The accuracy on the second half of the class that is lowest on the first.
fn measured(halves: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (first, second): (Vec<f64>, Vec<f64>) = halves.unzip();
    Some(second[extremes(first.into_iter().map(Some))?.lowest])
}

/// The variance of the mean over splits when other images are drawn.
fn variance(halves: &[Halves], seed: Seed, draws: u32) -> f64 {
    let redraw = |draw: u32| {
        let mut rng = seed.at(u64::from(draw)).rng();
        let splits: Vec<[(f64, f64); 2]> = halves.iter().map(|half| half.two_splits(&mut rng)).collect();
        [0, 1].map(|which| measured(splits.iter().map(|splits| splits[which])).unwrap_or_default())
    };
    let drawn: Vec<[f64; 2]> = (0..draws).into_par_iter().map(redraw).collect();
    let size = f64::from(draws);
    let means = [0, 1].map(|which| drawn.iter().map(|pair| pair[which]).sum::<f64>() / size);
    drawn.iter().map(|pair| (pair[0] - means[0]) * (pair[1] - means[1])).sum::<f64>() / size
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(counts: &[(u64, u64)]) -> Vec<Option<Rate>> {
        counts.iter().map(|&(right, images)| Rate::of(right, images)).collect()
    }

    // Two classes of two images: one right and one wrong, and both right. On either half the first class
    // is chosen when its wrong image is there, and then its other image is right; otherwise both classes
    // are right, the first of equals is chosen, and its wrong image is in the second half. So half of the
    // splits give 1 and the others 0.
    #[test]
    fn the_class_is_chosen_on_one_half_and_measured_on_the_other() {
        let half = split_half(&rates(&[(1, 2), (2, 2)]), Seed::new(0), 10_000).unwrap();
        assert!((half.value - 0.5).abs() < 0.02, "{}", half.value);
        assert_eq!(half.n, 4);
        assert_eq!(split_half(&rates(&[(1, 1), (1, 1)]), Seed::new(0), 9), None);
        assert_eq!(split_half(&rates(&[(1, 2), (2, 2)]), Seed::new(0), 0), None);
    }

    #[test]
    fn one_class_has_the_interval_of_a_share() {
        let found = split_half(&rates(&[(24, 80)]), Seed::new(1), 20_000).unwrap();
        let share = Rate::of(24, 80).unwrap();
        let ends = [(found.low.unwrap(), share.low), (found.high.unwrap(), share.high)];
        assert!(ends.into_iter().all(|(found, share)| (found - share).abs() < 0.01), "{found:?}");
    }

    #[test]
    fn what_is_always_right_or_wrong_has_the_interval_of_the_smallest_class() {
        let found = split_half(&rates(&[(0, 20), (0, 30)]), Seed::new(1), 100).unwrap();
        assert!((found.high.unwrap() - Rate::of(0, 20).unwrap().high).abs() < 1e-12, "{found:?}");
    }
}
