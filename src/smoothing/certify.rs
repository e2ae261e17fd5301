//! Prediction and certification of one picture: a network to counts, counts to a certificate.
//!
//! What published code gets wrong, and what is done here:
//! - samples that chose the class are used again to bound its share: they have keys of their own here;
//! - `alpha / 2`: the bound is one-sided (see `bounds`);
//! - noise in normalised pixels: it is added to the picture, before the model, so `sigma` is in its units;
//! - noisy pictures are clipped to `[0, 1]`: then the noise is not Gaussian and nothing is certified; they are not
//!   clipped here.

use burn::tensor::{Tensor, TensorData};
use rand::RngExt;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::bounds::{abstains, lower_bound, radius};
use crate::Seed;
use crate::data::Batch;
use crate::models::{Victim, prediction};

/// How a classifier is smoothed.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmoothingConfig {
    /// Standard deviation of the noise in units of pixels in `[0, 1]`; 0.25 by default.
    pub sigma: f64,
    /// Samples that choose the class, at least 1; 100 by default.
    pub selection: u32,
    /// Samples that bound its share, at least 1; 10,000 by default. Published results use 100,000.
    pub samples: u32,
    /// Chance that a certificate is wrong, above 0 and below 1; 0.001 by default.
    pub alpha: f64,
}

impl Default for SmoothingConfig {
    fn default() -> Self {
        Self { sigma: 0.25, selection: 100, samples: 10_000, alpha: 0.001 }
    }
}

/// A value that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("smoothing.{key} is {found}, expected {expected}")]
pub struct SmoothingError {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub found: String,
    /// What it may be.
    pub expected: &'static str,
}

impl SmoothingConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// The first value that cannot be meant.
    pub fn validate(&self) -> Result<(), SmoothingError> {
        let check = |key, fine: bool, found: String, expected| {
            if fine { Ok(()) } else { Err(SmoothingError { key, found, expected }) }
        };
        let sigma = self.sigma.is_finite() && self.sigma > 0.0 && self.sigma <= 10.0;
        let unit = "a number above 0 and at most 10, in units of pixels in [0, 1], such as 0.25";
        check("sigma", sigma, self.sigma.to_string(), unit)?;
        check("selection", self.selection > 0, self.selection.to_string(), "at least 1, such as 100")?;
        check("samples", self.samples > 0, self.samples.to_string(), "at least 1, such as 10000")?;
        let alpha = self.alpha > 0.0 && self.alpha < 1.0;
        check("alpha", alpha, self.alpha.to_string(), "a number above 0 and below 1, such as 0.001")
    }
}

/// What smoothing says about one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Certificate {
    /// The class, or none where the samples do not suffice: an abstention, which is never right.
    pub prediction: Option<usize>,
    /// L2 radius within which the prediction cannot change, in units of pixels in `[0, 1]`; 0 for an abstention.
    pub radius: f64,
    /// How many of the samples were of the class that was chosen.
    pub votes: u64,
}

/// A smoothed classifier.
pub struct Smoothing<'a> {
    /// The base model.
    pub victim: &'a Victim,
    /// Noise and samples.
    pub config: SmoothingConfig,
    /// Most noisy pictures at once. No result depends on it.
    pub batch_size: usize,
    /// Key of the noise.
    pub seed: Seed,
}

impl Smoothing<'_> {
    /// Certifies the first picture of a batch.
    pub fn certify(&self, picture: &Batch) -> Certificate {
        let chosen = most(&self.votes(picture, "selection", self.config.selection)).0;
        let votes = self.votes(picture, "estimation", self.config.samples)[chosen];
        certificate(chosen, votes, &self.config)
    }

    /// The prediction for the first picture of a batch without a radius, or none: needs fewer samples.
    pub fn predict(&self, picture: &Batch) -> Option<usize> {
        let votes = self.votes(picture, "prediction", self.config.samples);
        let (first, count) = most(&votes);
        let second =
            votes.iter().enumerate().filter(|(class, _)| *class != first).map(|(_, votes)| *votes).max();
        (!abstains(count, second.unwrap_or(0), self.config.alpha)).then_some(first)
    }

    /// How often each class is predicted under noise.
    fn votes(&self, picture: &Batch, purpose: &str, samples: u32) -> Vec<u64> {
        let [_, channels, height, width] = picture.shape();
        let size = channels * height * width;
        let clean: Vec<f32> = picture.images.to_data().iter::<f32>().take(size).collect();
        let seed = self.seed.purpose("smoothing").purpose(purpose).at(picture.ids[0].0);
        let sigma = self.config.sigma;
        let mut votes = vec![0; self.victim.classes()];
        let together = self.batch_size.max(1) as u32;
        for first in (0..samples).step_by(together as usize) {
            let last = samples.min(first.saturating_add(together));
            let noisy: Vec<f32> = (first..last)
                .into_par_iter()
                .flat_map(|sample| noisy(&clean, sigma, seed.at(u64::from(sample))))
                .collect();
            let shape = [(last - first) as usize, channels, height, width];
            let images = Tensor::from_data(TensorData::new(noisy, shape), &picture.images.device());
            let logits = self.victim.logits(images);
            let classes = logits.dims()[1];
            let values: Vec<f32> = logits.to_data().iter::<f32>().collect();
            for row in values.chunks(classes) {
                votes[prediction(row)] += 1;
            }
        }
        votes
    }
}

/// A picture with Gaussian noise, not clipped.
fn noisy(clean: &[f32], sigma: f64, seed: Seed) -> Vec<f32> {
    let mut rng = seed.rng();
    // Box and Muller (1958) gives two numbers at a time.
    let mut pair = || {
        let (u, v) = (1.0 - rng.random_range(0.0_f64..1.0), rng.random_range(0.0_f64..1.0));
        let length = sigma * (-2.0 * u.ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * v).sin_cos();
        [length * cosine, length * sine]
    };
    let mut moved = Vec::with_capacity(clean.len());
    for values in clean.chunks(2) {
        moved.extend(values.iter().zip(pair()).map(|(value, change)| value + change as f32));
    }
    moved
}

/// The certificate of a class that had so many votes of the samples that bound its share.
fn certificate(class: usize, votes: u64, config: &SmoothingConfig) -> Certificate {
    let share = lower_bound(votes, u64::from(config.samples), config.alpha);
    match radius(config.sigma, share) {
        Some(radius) => Certificate { prediction: Some(class), radius, votes },
        None => Certificate { prediction: None, radius: 0.0, votes },
    }
}

/// The first class with the most votes, and their number.
fn most(votes: &[u64]) -> (usize, u64) {
    let better = |best: (usize, u64), now: (usize, u64)| if now.1 > best.1 { now } else { best };
    votes.iter().copied().enumerate().fold((0, 0), better)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageId;
    use crate::models::Classifier;
    use burn::module::{Module, Param};
    use burn::tensor::Device;
    use statrs::distribution::{ContinuousCDF, Normal};

    const SIDE: usize = 8;
    const SIZE: usize = 3 * SIDE * SIDE;

    /// Logits `[0, w x - b]`, whose smoothed form has a closed form.
    #[derive(Module, Debug)]
    struct Halfspace {
        weight: Param<Tensor<2>>,
        bias: f32,
    }

    impl Classifier for Halfspace {
        fn forward(&self, images: Tensor<4>) -> Tensor<2> {
            let second = images.flatten(1, 3).matmul(self.weight.val()).sub_scalar(self.bias);
            Tensor::cat(vec![second.zeros_like(), second], 1)
        }

        fn classes(&self) -> usize {
            2
        }

        fn input_shape(&self) -> [usize; 3] {
            [3, SIDE, SIDE]
        }
    }

    /// A grey picture at a distance from the boundary of a model with a weight vector of length 1.
    fn scene(distance: f32) -> (Victim, Batch) {
        let weight = 1.0 / (SIZE as f32).sqrt();
        let data = TensorData::new(vec![weight; SIZE], [SIZE, 1]);
        let weight = Param::from_tensor(Tensor::from_data(data, &Device::default().autodiff()));
        let bias = 0.5 * (SIZE as f32).sqrt() - distance;
        let images = Tensor::full([1, 3, SIDE, SIDE], 0.5, &Device::default());
        let batch = Batch { images, labels: vec![1], ids: vec![ImageId(7)], radius_scale: None };
        (Victim::new(&Halfspace { weight, bias }), batch)
    }

    const CONFIG: SmoothingConfig =
        SmoothingConfig { sigma: 0.25, selection: 100, samples: 4000, alpha: 0.001 };

    fn smoothing(victim: &Victim, batch_size: usize) -> Smoothing<'_> {
        Smoothing { victim, config: CONFIG, batch_size, seed: Seed::new(3) }
    }

    #[test]
    fn the_radius_of_a_halfspace_is_nearly_the_distance_and_never_more() {
        for distance in [0.1, 0.25, 0.4] {
            let (victim, picture) = scene(distance);
            let found = smoothing(&victim, 500).certify(&picture);
            assert_eq!(found.prediction, Some(1));
            // In a chance of 0.001 it would be more.
            assert!(
                found.radius <= f64::from(distance) && found.radius > 0.6 * f64::from(distance),
                "{found:?}"
            );
            let share = Normal::standard().cdf(f64::from(distance) / CONFIG.sigma);
            let deviation = (share * (1.0 - share) / 4000.0).sqrt();
            assert!((found.votes as f64 / 4000.0 - share).abs() < 4.0 * deviation, "{found:?} {share}");
        }
    }

    #[test]
    fn a_picture_on_the_boundary_is_abstained_from() {
        let (victim, picture) = scene(0.0);
        let found = smoothing(&victim, 500).certify(&picture);
        assert_eq!((found.prediction, found.radius), (None, 0.0));
        assert_eq!(smoothing(&victim, 500).predict(&picture), None);
        let (victim, picture) = scene(0.1);
        assert_eq!(smoothing(&victim, 500).predict(&picture), Some(1));
    }

    #[test]
    fn the_batch_size_changes_nothing() {
        let (victim, picture) = scene(0.2);
        let expected = smoothing(&victim, 4000).certify(&picture);
        for batch_size in [1000, 77] {
            assert_eq!(smoothing(&victim, batch_size).certify(&picture), expected);
        }
    }

    #[test]
    fn selection_and_estimation_see_different_noise() {
        let (victim, picture) = scene(0.05);
        let smoothing = smoothing(&victim, 500);
        let votes = |purpose| smoothing.votes(&picture, purpose, 500);
        assert_ne!(votes("selection"), votes("estimation"));
        assert_eq!(votes("selection"), votes("selection"));
        // A class that is chosen by luck keeps its own count of fresh samples, so it is abstained from.
        let lucky = certificate(0, votes("estimation")[0], &CONFIG);
        assert_eq!(lucky.prediction, None);
    }

    #[test]
    fn noise_is_gaussian_and_not_clipped() {
        let values = noisy(&vec![0.0; 20_001], 0.25, Seed::new(1));
        assert_eq!(values.len(), 20_001);
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / 20_001.0;
        let variance = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / 20_001.0;
        assert!(mean.abs() < 0.007, "clipping would make it 0.1: {mean}");
        assert!((variance.sqrt() - 0.25).abs() < 0.005, "{variance}");
        let beyond = values.iter().filter(|value| value.abs() > 0.49).count() as f64 / 20_001.0;
        assert!((beyond - 0.05).abs() < 0.006, "{beyond}");
    }

    #[test]
    fn values_that_cannot_be_meant_are_refused() {
        let error = |config: SmoothingConfig| config.validate().expect_err("refused").to_string();
        assert!(error(SmoothingConfig { sigma: 0.0, ..CONFIG }).contains("smoothing.sigma is 0"));
        assert!(error(SmoothingConfig { sigma: 64.0, ..CONFIG }).contains("such as 0.25"));
        assert!(error(SmoothingConfig { samples: 0, ..CONFIG }).contains("samples"));
        assert!(error(SmoothingConfig { selection: 0, ..CONFIG }).contains("selection"));
        assert!(error(SmoothingConfig { alpha: 1.0, ..CONFIG }).contains("alpha"));
        assert!(error(SmoothingConfig { alpha: f64::NAN, ..CONFIG }).contains("alpha"));
        CONFIG.validate().expect("valid");
    }
}
