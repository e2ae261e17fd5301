//! Outcomes of targeted attacks image by image.
//!
//! One image is attacked towards many targets, and an image that is easily turned into one class is often
//! easily turned into another. So the attacks are fewer independent observations than they are many, and
//! intervals have to know which attacks belong together.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use super::SuccessMatrix;

/// For each image its true class and what became of every attack on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageOutcomes {
    classes: usize,
    images: BTreeMap<usize, Vec<Outcome>>,
}

/// One attack on an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub source: usize,
    pub target: usize,
    pub succeeded: bool,
}

impl ImageOutcomes {
    /// No attack yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, images: BTreeMap::new() }
    }

    /// Adds one attack on an image of `source`. Any number that is the same for the same image will do.
    /// Both classes are below `K`.
    pub fn add(&mut self, image: usize, source: usize, target: usize, succeeded: bool) {
        self.images.entry(image).or_default().push(Outcome { source, target, succeeded });
    }

    /// Number of classes `K`.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Number of images.
    pub fn images(&self) -> usize {
        self.images.len()
    }

    /// Whether any attack on an image succeeded.
    pub fn fell(&self, image: usize) -> bool {
        self.images.get(&image).is_some_and(|outcomes| outcomes.iter().any(|outcome| outcome.succeeded))
    }

    /// How many attacks succeeded from each class to each other.
    pub fn counts(&self) -> SuccessMatrix {
        let mut counts = SuccessMatrix::new(self.classes);
        for outcome in self.images.values().flatten() {
            counts.add(outcome.source, outcome.target, outcome.succeeded);
        }
        counts
    }

    /// The images of each true class with their attacks towards other classes. Images without any are left
    /// out.
    pub(super) fn by_source(&self) -> Vec<Vec<Vec<Outcome>>> {
        let mut by_source = vec![Vec::new(); self.classes];
        for outcomes in self.images.values() {
            let others: Vec<Outcome> =
                outcomes.iter().copied().filter(|outcome| outcome.source != outcome.target).collect();
            if let Some(first) = others.first() {
                by_source[first.source].push(others);
            }
        }
        by_source
    }
}

impl AddAssign<&Self> for ImageOutcomes {
    /// Attacks on the same image come together.
    fn add_assign(&mut self, other: &Self) {
        for (&image, outcomes) in &other.images {
            self.images.entry(image).or_default().extend(outcomes);
        }
    }
}

/// How the weighted sum of success rates varies when other images are drawn.
///
/// The sum is `sum_ij w_ij s_ij / a_ij`. Each image adds `sum_j w_ij (s - r_ij) / a_ij` to its deviation;
/// images of a class are independent, so the variance is the sum of the squares of what they add, times
/// `n / (n - 1)` in each class (the linearised variance of stratified clusters: Cochran, "Sampling
/// Techniques", chapters 5 and 9).
pub(super) fn variance(
    by_source: &[Vec<Vec<Outcome>>],
    counts: &SuccessMatrix,
    weight: impl Fn(usize, usize) -> f64,
) -> f64 {
    let added = |outcome: &Outcome| {
        let Outcome { source, target, succeeded } = *outcome;
        let attempts = counts.attempts(source, target);
        let rate = counts.successes(source, target) as f64 / attempts as f64;
        weight(source, target) * (f64::from(u8::from(succeeded)) - rate) / attempts as f64
    };
    let of_class = |images: &Vec<Vec<Outcome>>| {
        if let [only] = images.as_slice() {
            // One image says nothing about the others: the largest variance that a mean of shares can have.
            let weights: f64 = only.iter().map(|outcome| weight(outcome.source, outcome.target)).sum();
            return 0.25 * weights * weights;
        }
        let squares: f64 = images.iter().map(|image| image.iter().map(added).sum::<f64>().powi(2)).sum();
        let n = images.len() as f64;
        if images.is_empty() { 0.0 } else { squares * n / (n - 1.0) }
    };
    by_source.iter().map(of_class).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_of_an_image_stay_together_when_shards_merge() {
        let mut first = ImageOutcomes::new(3);
        first.add(7, 0, 1, true);
        let mut second = ImageOutcomes::new(3);
        second.add(7, 0, 2, false);
        second.add(8, 1, 0, true);
        first += &second;
        assert_eq!((first.images(), first.by_source()[0][0].len()), (2, 2));
        let counts = first.counts();
        assert_eq!((counts.attempts(0, 1), counts.successes(0, 2), counts.successes(1, 0)), (1, 0, 1));
    }

    // Four images of class 0, each attacked towards 1 and 2, both outcomes alike: the mean of two shares
    // of 1/2 varies as one share of four images does, s^2 / n = (1/4 * 4/3) / 4 = 1/12.
    #[test]
    fn attacks_that_share_their_fate_count_once() {
        let mut outcomes = ImageOutcomes::new(3);
        for image in 0..4 {
            outcomes.add(image, 0, 1, image < 2);
            outcomes.add(image, 0, 2, image < 2);
        }
        let found = variance(&outcomes.by_source(), &outcomes.counts(), |_, _| 0.5);
        assert!((found - 1.0 / 12.0).abs() < 1e-12, "{found}");
    }
}
