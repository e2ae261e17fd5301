//! Threat models: which pictures an attacker may make of a clean one.

use burn::tensor::{Bool, Int, Tensor, TensorData};
use rand::{Rng, RngExt};

use super::projection::onto_ball;
use crate::Seed;
use crate::data::{Batch, ImageId};

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
    /// Sum of all changes.
    L1,
}

/// What the attacker may change. Whatever it is, the result is a picture: every value in `[0, 1]`.
///
/// Clean pictures have the shape `[N, C, H, W]` and their values in `[0, 1]`, in all methods.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // There is one for an attack, not one for an image.
pub enum ThreatModel {
    /// Every pixel, within a distance.
    Ball {
        /// How distance is measured.
        norm: Norm,
        /// The distance, in units of pixels in `[0, 1]`.
        epsilon: f32,
    },
    /// Every pixel, within a distance of its own for each picture.
    Balls {
        /// How distance is measured.
        norm: Norm,
        /// The distances, `[N, 1, 1, 1]`, in the same units.
        epsilon: Tensor<4>,
    },
    /// Any value, in some pixels.
    Region {
        /// 1 where the attacker may write, 0 elsewhere: `[1 or N, 1, H, W]`.
        mask: Tensor<4>,
    },
}

impl ThreatModel {
    /// The threat model for a batch: where that scales the radii of its images, a ball has one for each.
    #[must_use]
    pub fn for_batch(&self, batch: &Batch) -> Self {
        match (self, scales(batch)) {
            (Self::Ball { norm, epsilon }, Some(scales)) => {
                Self::Balls { norm: *norm, epsilon: scales.mul_scalar(*epsilon) }
            }
            _ => self.clone(),
        }
    }

    /// The threat model of some of the pictures.
    #[must_use]
    pub(super) fn select(self, rows: Tensor<1, Int>) -> Self {
        match self {
            Self::Balls { norm, epsilon } => Self::Balls { norm, epsilon: epsilon.select(0, rows) },
            other => other,
        }
    }

    /// A random picture of the threat model for each clean one, drawn by the image's id: uniform in the
    /// part of the L-inf box that lies in `[0, 1]`, uniform in the L2 or L1 ball (and then clipped), uniform
    /// in `[0, 1]` inside a region.
    pub fn random_start(&self, clean: Tensor<4>, ids: &[ImageId], seed: Seed) -> Tensor<4> {
        let shape = clean.dims();
        let size = shape[1] * shape[2] * shape[3];
        let mut values = Vec::with_capacity(shape[0] * size);
        for id in ids {
            let mut rng = seed.at(id.0).rng();
            match self {
                Self::Ball { norm: Norm::L2, .. } | Self::Balls { norm: Norm::L2, .. } => {
                    in_unit_ball(size, &mut rng, &mut values);
                }
                Self::Ball { norm: Norm::L1, .. } | Self::Balls { norm: Norm::L1, .. } => {
                    in_unit_l1_ball(size, &mut rng, &mut values);
                }
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
            Self::Ball { norm: Norm::L2 | Norm::L1, epsilon } => clean.clone() + drawn.mul_scalar(*epsilon),
            Self::Balls { norm: Norm::Linf, epsilon } => {
                let low = (clean.clone() - epsilon.clone()).clamp_min(0.0);
                let high = (clean.clone() + epsilon.clone()).clamp_max(1.0);
                low.clone() + drawn * (high - low)
            }
            Self::Balls { norm: Norm::L2 | Norm::L1, epsilon } => clean.clone() + drawn * epsilon.clone(),
            Self::Region { .. } => drawn,
        };
        self.project(clean, start)
    }

    /// The nearest picture of the threat model. Projecting twice is projecting once.
    ///
    /// For the L2 ball the change is first shortened and then clipped to `[0, 1]`: clipping moves every
    /// pixel towards its clean value, so the picture stays in the ball. For L1 it is the exact projection
    /// on the part of the ball that lies in `[0, 1]`.
    pub fn project(&self, clean: Tensor<4>, images: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Ball { norm: Norm::Linf, epsilon } => {
                let low = clean.clone().sub_scalar(*epsilon);
                let high = clean.add_scalar(*epsilon);
                images.max_pair(low).min_pair(high).clamp(0.0, 1.0)
            }
            Self::Ball { norm: Norm::L2, epsilon } => {
                let change = images - clean.clone();
                let shorter = per_length(&change).mul_scalar(*epsilon).clamp_max(1.0);
                (clean + change * shorter).clamp(0.0, 1.0)
            }
            Self::Ball { norm: Norm::L1, epsilon } => {
                let radii = vec![*epsilon; clean.dims()[0]];
                onto_l1_balls(clean, images, &radii)
            }
            Self::Balls { norm: Norm::Linf, epsilon } => {
                let low = clean.clone() - epsilon.clone();
                let high = clean + epsilon.clone();
                images.max_pair(low).min_pair(high).clamp(0.0, 1.0)
            }
            Self::Balls { norm: Norm::L2, epsilon } => {
                let change = images - clean.clone();
                let shorter = (per_length(&change) * epsilon.clone()).clamp_max(1.0);
                (clean + change * shorter).clamp(0.0, 1.0)
            }
            Self::Balls { norm: Norm::L1, epsilon } => onto_l1_balls(clean, images, &host(epsilon.clone())),
            Self::Region { mask } => {
                let inside = writable(mask, clean.dims());
                clean.mask_where(inside, images.clamp(0.0, 1.0))
            }
        }
    }

    /// Whether each picture is one of the threat model, with a slack of 1e-6 for rounding (for L2 and L1
    /// also relative to the length). A value that is not a number is never allowed.
    pub fn contains(&self, clean: Tensor<4>, images: Tensor<4>) -> Vec<bool> {
        let [_, channels, height, width] = clean.dims();
        let area = height * width;
        let (mask, radii) = match self {
            Self::Ball { .. } => (Vec::new(), Vec::new()),
            Self::Balls { epsilon, .. } => (Vec::new(), host(epsilon.clone())),
            Self::Region { mask } => (host(mask.clone()), Vec::new()),
        };
        let (clean, images) = (host(clean), host(images));
        let rows = clean.chunks(channels * area).zip(images.chunks(channels * area)).enumerate();
        rows.map(|(row, (clean, image))| {
            let changes = clean.iter().zip(image).map(|(before, after)| (after - before).abs());
            let allowed = match self {
                Self::Ball { norm, epsilon } => is_within(*norm, *epsilon, changes),
                Self::Balls { norm, .. } => is_within(*norm, radii[row], changes),
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

/// How many times its radius each image of a batch has, `[N, 1, 1, 1]`, where the batch says so.
pub(super) fn scales(batch: &Batch) -> Option<Tensor<4>> {
    let scales = batch.radius_scale.clone()?;
    let shape = [scales.len(), 1, 1, 1];
    Some(Tensor::from_data(TensorData::new(scales, shape), &batch.images.device()))
}

/// Whether changes, without their signs, are within a distance, with some slack for rounding.
fn is_within(norm: Norm, epsilon: f32, mut changes: impl Iterator<Item = f32>) -> bool {
    let most = f64::from(epsilon * (1.0 + 10.0 * SLACK) + SLACK);
    match norm {
        Norm::Linf => changes.all(|change| change <= epsilon + SLACK),
        Norm::L2 => changes.map(|change| f64::from(change).powi(2)).sum::<f64>().sqrt() <= most,
        Norm::L1 => changes.map(f64::from).sum::<f64>() <= most,
    }
}

/// One over the Euclidean length of each change, `[N, 1, 1, 1]`. Where there is no change any factor
/// will do.
fn per_length(change: &Tensor<4>) -> Tensor<4> {
    change.clone().square().sum_dims(&[1, 2, 3]).sqrt().clamp_min(f32::MIN_POSITIVE).recip()
}

/// The nearest points of the L1 balls with these radii around the clean pictures, within `[0, 1]`.
fn onto_l1_balls(clean: Tensor<4>, images: Tensor<4>, radii: &[f32]) -> Tensor<4> {
    let (shape, device) = (clean.dims(), clean.device());
    let size = (shape[1] * shape[2] * shape[3]).max(1);
    let (clean, mut points) = (host(clean), host(images));
    for ((clean, point), radius) in clean.chunks(size).zip(points.chunks_mut(size)).zip(radii) {
        onto_ball(Norm::L1, clean, *radius, point);
    }
    Tensor::from_data(TensorData::new(points, shape), &device)
}

/// Whether a value is in `[0, 1]` up to rounding.
pub(super) fn is_pixel(value: f32) -> bool {
    (-SLACK..=1.0 + SLACK).contains(&value)
}

/// Whether two values of a pixel differ by more than rounding; a value that is not a number does.
pub(super) fn is_changed(before: f32, after: f32) -> bool {
    let change = (after - before).abs();
    change.is_nan() || change > SLACK
}

/// The values of a tensor on the host.
pub(super) fn host(tensor: Tensor<4>) -> Vec<f32> {
    tensor.into_data_as::<f32>().try_into_vec::<f32>().expect("the data was just read as f32")
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

/// Appends a point that is uniform in the unit L1 ball: exponential numbers, divided by their sum with one
/// more, and random signs.
fn in_unit_l1_ball(size: usize, rng: &mut impl Rng, values: &mut Vec<f32>) {
    let begin = values.len();
    let exponential = |rng: &mut dyn Rng| -(1.0 - rng.random_range(0.0_f64..1.0)).ln();
    let mut sum = exponential(rng);
    for _ in 0..size {
        let length = exponential(rng);
        sum += length;
        values.push(if rng.random::<bool>() { length } else { -length } as f32);
    }
    let factor = sum.max(f64::MIN_POSITIVE).recip() as f32;
    values[begin..].iter_mut().for_each(|value| *value *= factor);
}

/// A standard normal number, after Box and Muller (1958).
pub(super) fn gaussian(rng: &mut impl Rng) -> f32 {
    let (u, v) = (1.0 - rng.random_range(0.0_f32..1.0), rng.random_range(0.0_f32..1.0));
    (-2.0 * u.ln()).sqrt() * (std::f32::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;
    use proptest::prelude::*;

    const SHAPE: [usize; 4] = [2, 3, 4, 5];
    const SIZE: usize = 120;

    fn tensor(values: Vec<f32>) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values, SHAPE), &Device::default())
    }

    fn ids() -> Vec<ImageId> {
        vec![ImageId(11), ImageId(12)]
    }

    /// The left part of the picture.
    fn region() -> ThreatModel {
        let mask: Vec<f32> = (0..20).map(|index| f32::from(index % 5 < 2)).collect();
        ThreatModel::Region {
            mask: Tensor::from_data(TensorData::new(mask, [1, 1, 4, 5]), &Device::default()),
        }
    }

    fn models(epsilon: f32) -> [ThreatModel; 4] {
        let [linf, l2, l1] = [Norm::Linf, Norm::L2, Norm::L1].map(|norm| ThreatModel::Ball { norm, epsilon });
        [linf, l2, l1, region()]
    }

    /// A batch of clean pictures whose second image may use half the radius.
    fn halved(clean: Tensor<4>) -> Batch {
        Batch { images: clean, labels: vec![0, 1], ids: ids(), radius_scale: Some(vec![1.0, 0.5]) }
    }

    fn pictures() -> impl Strategy<Value = Vec<f32>> {
        // Clean pictures touch the borders of the range often, because there the projections meet.
        proptest::collection::vec(prop_oneof![Just(0.0_f32), Just(1.0), 0.0_f32..1.0], SIZE)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn projecting_ends_inside_and_is_idempotent(
            clean in pictures(),
            moved in proptest::collection::vec(-3.0_f32..4.0, SIZE),
            epsilon in 0.0_f32..2.0,
        ) {
            for model in models(epsilon) {
                let once = model.project(tensor(clean.clone()), tensor(moved.clone()));
                prop_assert_eq!(model.contains(tensor(clean.clone()), once.clone()), [true, true]);
                prop_assert!(host(once.clone()).iter().all(|value| (0.0..=1.0).contains(value)));
                let twice = model.project(tensor(clean.clone()), once.clone());
                let gap: f32 = (twice - once).abs().max().into_scalar();
                prop_assert!(gap < 1e-6, "{model:?}: {gap}");
            }
        }

        #[test]
        fn random_starts_are_inside(clean in pictures(), epsilon in 0.0_f32..2.0, seed in 0_u64..1000) {
            for model in models(epsilon) {
                let start = model.random_start(tensor(clean.clone()), &ids(), Seed::new(seed));
                prop_assert_eq!(model.contains(tensor(clean.clone()), start), [true, true]);
            }
        }
    }

    /// Row by row, balls with radii of their own are balls with that radius.
    #[test]
    fn each_picture_may_have_a_radius_of_its_own() {
        let clean = tensor((0..SIZE).map(|index| index as f32 / SIZE as f32).collect());
        let moved = clean.clone().mul_scalar(-1.0).add_scalar(0.9);
        for (whole, half) in models(0.4).into_iter().zip(models(0.2)) {
            let both = whole.for_batch(&halved(clean.clone()));
            let project = |model: &ThreatModel| host(model.project(clean.clone(), moved.clone()));
            let start = |model: &ThreatModel| host(model.random_start(clean.clone(), &ids(), Seed::new(4)));
            for [both, whole, half] in
                [[&both, &whole, &half].map(project), [&both, &whole, &half].map(start)]
            {
                assert_eq!(both[..SIZE / 2], whole[..SIZE / 2]);
                assert_eq!(both[SIZE / 2..], half[SIZE / 2..]);
            }
            let second = both.clone().select(Tensor::from_data([1_i64], &Device::default()));
            let alone = second.project(clean.clone().slice(1..2), moved.clone().slice(1..2));
            assert_eq!(host(alone), project(&both)[SIZE / 2..]);
        }
        for model in &models(0.4)[..3] {
            let both = model.for_batch(&halved(clean.clone()));
            let edge = model.project(clean.clone(), moved.clone());
            assert_eq!(both.contains(clean.clone(), edge), [true, false], "{model:?}");
        }
    }

    #[test]
    fn what_is_inside_is_not_moved() {
        let clean = tensor(vec![0.5; SIZE]);
        for (model, change) in models(0.5).into_iter().zip([0.5, 0.04, 0.004, 0.0]) {
            let image = clean.clone().add_scalar(change);
            let gap: f32 = (model.project(clean.clone(), image.clone()) - image).abs().max().into_scalar();
            assert!(gap < 1e-6, "{model:?}");
        }
    }

    #[test]
    fn what_is_outside_is_noticed() {
        let clean = tensor(vec![0.5; SIZE]);
        let with = |index: usize, value: f32| {
            let mut values = vec![0.5; SIZE];
            values[index] = value;
            tensor(values)
        };
        for model in models(0.1) {
            assert_eq!(model.contains(clean.clone(), clean.clone()), [true, true]);
            // The last pixel of the second picture is outside the region.
            assert_eq!(model.contains(clean.clone(), with(SIZE - 1, 0.61)), [true, false], "{model:?}");
            assert_eq!(model.contains(clean.clone(), with(0, f32::NAN)), [false, true], "{model:?}");
            assert_eq!(model.contains(clean.clone(), with(0, 1.01)), [false, true], "{model:?}");
        }
        let whole = ThreatModel::Ball { norm: Norm::Linf, epsilon: 1.0 };
        assert_eq!(whole.contains(clean.clone(), with(0, -0.01)), [false, true]);
    }

    #[test]
    fn a_start_depends_on_the_image_and_the_seed_only() {
        let clean = tensor(vec![0.5; SIZE]);
        for model in models(0.3) {
            let both = host(model.random_start(clean.clone(), &ids(), Seed::new(1)));
            let second = clean.clone().slice(1..2);
            let alone = host(model.random_start(second, &ids()[1..], Seed::new(1)));
            assert_eq!(both[SIZE / 2..], alone[..], "{model:?}");
            assert_ne!(both[..SIZE / 2], both[SIZE / 2..], "{model:?}");
            assert_ne!(both, host(model.random_start(clean.clone(), &ids(), Seed::new(2))), "{model:?}");
        }
    }

    #[test]
    fn starts_fill_the_ball() {
        // 400 images in two dimensions: a uniform point of the disc or of the diamond is within half the
        // radius with probability 1/4, and a uniform point of the square has a mean distance to the axes of 1/2.
        let count = 400;
        let ids: Vec<ImageId> = (0..count as u64).map(ImageId).collect();
        let clean = Tensor::full([count, 1, 1, 2], 0.5, &Device::default());
        let start = |norm| {
            let model = ThreatModel::Ball { norm, epsilon: 0.4 };
            let drawn = host(model.random_start(clean.clone(), &ids, Seed::new(0)));
            drawn.iter().map(|value| (value - 0.5) / 0.4).collect::<Vec<f32>>()
        };
        let disc = start(Norm::L2);
        let close = disc.chunks(2).filter(|point| point[0].hypot(point[1]) < 0.5).count();
        assert!((70..130).contains(&close), "{close}");
        let diamond = start(Norm::L1);
        let close = diamond.chunks(2).filter(|point| point[0].abs() + point[1].abs() < 0.5).count();
        assert!((70..130).contains(&close), "{close}");
        let mean = start(Norm::Linf).iter().map(|value| value.abs()).sum::<f32>() / (2 * count) as f32;
        assert!((0.46..0.54).contains(&mean), "{mean}");
    }
}
