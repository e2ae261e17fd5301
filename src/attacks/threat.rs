//! Threat models: which pictures an attacker may make of a clean one.

use burn::tensor::{Bool, Tensor, TensorData};
use rand::{Rng, RngExt};

use crate::Seed;
use crate::data::ImageId;

/// What rounding may add to a distance or to the range of pixels.
const SLACK: f32 = 1e-6;

/// The norm of a ball.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Largest change of any channel of any pixel.
    Linf,
    /// Euclidean length of the change.
    L2,
}

/// What the attacker may change. Whatever it is, the result is a picture: every value in `[0, 1]`.
///
/// Clean pictures have the shape `[N, C, H, W]` and their values in `[0, 1]`, in all methods.
#[derive(Clone, Debug)]
pub enum ThreatModel {
    /// Every pixel, within a distance.
    Ball {
        /// How distance is measured.
        norm: Norm,
        /// The distance, in units of pixels in `[0, 1]`.
        epsilon: f32,
    },
    /// Any value, in some pixels.
    Region {
        /// 1 where the attacker may write, 0 elsewhere: `[1 or N, 1, H, W]`.
        mask: Tensor<4>,
    },
}

impl ThreatModel {
    /// A random picture of the threat model for each clean one, drawn by the image's id: uniform in the
    /// part of the L-inf box that lies in `[0, 1]`, uniform in the L2 ball (and then clipped), uniform in
    /// `[0, 1]` inside a region.
    pub fn random_start(&self, clean: Tensor<4>, ids: &[ImageId], seed: Seed) -> Tensor<4> {
        let shape = clean.dims();
        let size = shape[1] * shape[2] * shape[3];
        let mut values = Vec::with_capacity(shape[0] * size);
        for id in ids {
            let mut rng = seed.at(id.0).rng();
            match self {
                Self::Ball { norm: Norm::L2, .. } => in_unit_ball(size, &mut rng, &mut values),
                _ => values.extend((0..size).map(|_| rng.random_range(0.0_f32..1.0))),
            }
        }
        let drawn = Tensor::from_data(TensorData::new(values, shape), &clean.device());
        let start = match self {
            Self::Ball { norm: Norm::Linf, epsilon } => {
                let low = clean.clone().sub_scalar(*epsilon).clamp_min(0.0);
                let high = clean.clone().add_scalar(*epsilon).clamp_max(1.0);
                low.clone() + drawn * (high - low)
            }
            Self::Ball { norm: Norm::L2, epsilon } => clean.clone() + drawn.mul_scalar(*epsilon),
            Self::Region { .. } => drawn,
        };
        self.project(clean, start)
    }

    /// The nearest picture of the threat model. Projecting twice is projecting once.
    ///
    /// For the L2 ball the change is first shortened and then clipped to `[0, 1]`: clipping moves every
    /// pixel towards its clean value, so the picture stays in the ball.
    pub fn project(&self, clean: Tensor<4>, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Ball { norm: Norm::Linf, epsilon } => {
                let low = clean.clone().sub_scalar(*epsilon);
                let high = clean.add_scalar(*epsilon);
                images.max_pair(low).min_pair(high).clamp(0.0, 1.0)
            }
            Self::Ball { norm: Norm::L2, epsilon } => {
                let change = images - clean.clone();
                let length = change.clone().square().sum_dims(&[1, 2, 3]).sqrt();
                // Where there is no change, any factor will do.
                let factor = length.clamp_min(f32::MIN_POSITIVE).recip().mul_scalar(*epsilon).clamp_max(1.0);
                (clean + change * factor).clamp(0.0, 1.0)
            }
            Self::Region { mask } => {
                let inside = writable(mask, clean.dims());
                clean.mask_where(inside, images.clamp(0.0, 1.0))
            }
        }
    }

    /// Whether each picture is one of the threat model, with a slack of 1e-6 for rounding (for L2 also
    /// relative to the length). A value that is not a number is never allowed.
    pub fn contains(&self, clean: Tensor<4>, images: Tensor<4>) -> Vec<bool> {
        let [_, channels, height, width] = clean.dims();
        let area = height * width;
        let mask = match self {
            Self::Ball { .. } => Vec::new(),
            Self::Region { mask } => host(mask.clone()),
        };
        let (clean, images) = (host(clean), host(images));
        let rows = clean.chunks(channels * area).zip(images.chunks(channels * area)).enumerate();
        rows.map(|(row, (clean, image))| {
            let mut changes = clean.iter().zip(image).map(|(before, after)| (after - before).abs());
            let allowed = match self {
                Self::Ball { norm: Norm::Linf, epsilon } => changes.all(|change| change <= epsilon + SLACK),
                Self::Ball { norm: Norm::L2, epsilon } => {
                    let length = changes.map(|change| f64::from(change).powi(2)).sum::<f64>().sqrt();
                    length <= f64::from(epsilon * (1.0 + 10.0 * SLACK) + SLACK)
                }
                Self::Region { .. } => {
                    let mask = &mask[if mask.len() == area { 0 } else { row * area }..][..area];
                    changes.enumerate().all(|(index, change)| mask[index % area] > 0.5 || change <= SLACK)
                }
            };
            allowed && image.iter().all(|value| is_pixel(*value))
        })
        .collect()
    }
}

/// Whether a value is in `[0, 1]` up to rounding.
pub(super) fn is_pixel(value: f32) -> bool {
    (-SLACK..=1.0 + SLACK).contains(&value)
}

/// Whether two values of a pixel differ by more than rounding; a value that is not a number does.
pub(super) fn is_changed(before: f32, after: f32) -> bool {
    !((after - before).abs() <= SLACK)
}

/// The values of a tensor on the host.
pub(super) fn host(tensor: Tensor<4>) -> Vec<f32> {
    tensor.try_to_vec_as::<f32>().expect("pixels and masks are floats, which read as f32")
}

/// A mask `[1 or N, 1, H, W]` as booleans of the shape of the pictures.
pub(super) fn writable(mask: &Tensor<4>, shape: [usize; 4]) -> Tensor<4, Bool> {
    mask.clone().greater_elem(0.5).expand(shape)
}

/// Appends a point that is uniform in the unit ball: a Gaussian direction and a radius `U^(1/d)`.
fn in_unit_ball(size: usize, rng: &mut impl Rng, values: &mut Vec<f32>) {
    let begin = values.len();
    values.extend((0..size).map(|_| gaussian(rng)));
    let length = values[begin..].iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let radius = rng.random_range(0.0_f64..1.0).powf(1.0 / size as f64);
    let factor = (radius / length.max(f64::MIN_POSITIVE)) as f32;
    values[begin..].iter_mut().for_each(|value| *value *= factor);
}

/// A standard normal number, after Box and Muller (1958).
fn gaussian(rng: &mut impl Rng) -> f32 {
    let (u, v) = (1.0 - rng.random_range(0.0_f32..1.0), rng.random_range(0.0_f32..1.0));
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}
