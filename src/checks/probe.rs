//! Measuring the model: a network to numbers.

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use super::contract::Passes;
use super::gradients::GradientCounts;
use crate::Seed;
use crate::attacks::{Goal, Loss};
use crate::data::{Batch, ImageId};
use crate::models::Victim;
pub(super) use crate::models::prediction;

/// Passes that must agree.
const PASSES: usize = 5;
/// Images that are also shown one by one.
const ALONE: usize = 8;
/// Lengths of finite differences, in grey levels: less than half of one, so that a layer that rounds pixels shows.
/// Where the longer agrees in direction but not in size the shorter is tried: a deep network on large pictures bends
/// within a fraction of a grey level of all of them. (For two pictures of AT&T and the published face recogniser
/// `scripts/parity/face_net.py --slope` finds 0.75 of the slope over a length of 0.4 and 0.97 over 0.05.)
pub(super) const DIFFERENCES: [f32; 2] = [0.4, 0.1];
/// Directions of finite differences for an image: along the sign of its gradient, and random ones.
const DIRECTIONS: usize = 4;
/// Random changes behind the loss noise of an image, and the largest of them.
const DRAWS: usize = 100;
const RADIUS: f32 = 8.0 / 255.0;
/// Images behind the loss noise and the finite differences.
const SOME: usize = 16;

/// A model with the pictures that it is measured on.
pub(super) struct Probe<'a> {
    pub victim: &'a Victim,
    pub batch: &'a Batch,
    pub seed: Seed,
    /// Most pictures at once.
    pub batch_size: usize,
}

impl Probe<'_> {
    /// Logits row by row.
    pub fn logits(&self, images: &Tensor<4>) -> Vec<Vec<f32>> {
        let (n, size) = (images.dims()[0], self.batch_size);
        (0..n.div_ceil(size))
            .flat_map(|part| {
                let part = images.clone().slice(part * size..((part + 1) * size).min(n));
                rows(&self.victim.logits(part))
            })
            .collect()
    }

    pub fn passes(&self) -> Passes {
        let logits: Vec<_> = (0..PASSES).map(|_| self.logits(&self.batch.images)).collect();
        let correct = logits.iter().map(|pass| correct(pass, &self.batch.labels)).collect();
        Passes { logits, correct }
    }

    /// Logits of the first images, one by one.
    pub fn alone(&self) -> Vec<Vec<f32>> {
        let rows = 0..ALONE.min(self.batch.len());
        rows.flat_map(|row| self.logits(&self.batch.images.clone().slice(row..row + 1))).collect()
    }

    /// Correct predictions for pixels in other ranges, `[0, 1]` first.
    pub fn ranges(&self) -> Vec<(&'static str, usize)> {
        let images = &self.batch.images;
        let per_channel = |values: [f32; 3]| {
            let channels = images.dims()[1];
            let values: Vec<f32> = (0..channels).map(|channel| values[channel % 3]).collect();
            Tensor::<4>::from_data(TensorData::new(values, [1, channels, 1, 1]), &images.device())
        };
        // The mean and deviation of ImageNet, as published code uses them for any data.
        let normalised =
            (images.clone() - per_channel([0.485, 0.456, 0.406])) / per_channel([0.229, 0.224, 0.225]);
        let ranges = [
            ("[0, 1]", images.clone()),
            ("[0, 255]", images.clone().mul_scalar(255.0)),
            ("[-1, 1]", images.clone().mul_scalar(2.0).sub_scalar(1.0)),
            ("normalised", normalised),
        ];
        ranges.map(|(name, images)| (name, correct(&self.logits(&images), &self.batch.labels))).to_vec()
    }

    /// The input gradients of some rows under a loss.
    fn gradients(&self, loss: Loss, rows: &[usize]) -> Vec<Vec<f32>> {
        let size = self.batch.shape()[1..].iter().product::<usize>().max(1);
        let mut gradients = Vec::with_capacity(rows.len());
        for rows in rows.chunks(self.batch_size) {
            let part = self.batch.select(rows);
            let raised = |logits| loss.of_goal(&Goal::Untargeted, logits, &part.labels);
            let found = self.victim.input_gradient(part.images.clone(), raised).gradient;
            gradients.extend(values(&found).chunks(size).map(<[f32]>::to_vec));
        }
        gradients
    }

    /// What the gradients of the correctly classified images are like. (Of an image that is wrong already the ratio
    /// can be constant, and nobody needs its gradient.)
    pub fn gradient_counts(&self, loss: Loss, right: &[usize]) -> GradientCounts {
        let gradients = self.gradients(loss, right);
        let broken = |gradient: &&Vec<f32>| !gradient.iter().all(|value| value.is_finite());
        let zero = |gradient: &&Vec<f32>| gradient.iter().all(|value| *value == 0.0);
        GradientCounts {
            n: right.len(),
            zero: gradients.iter().filter(zero).count(),
            broken: gradients.iter().filter(broken).count(),
        }
    }

    /// Changes of the margin along some directions, by so many grey levels either way: predicted by the gradient,
    /// and measured.
    pub fn differences(&self, grey_levels: f32) -> Vec<(f64, f64)> {
        let step = grey_levels / 255.0;
        let some: Vec<usize> = (0..SOME.min(self.batch.len())).collect();
        let gradients = self.gradients(Loss::Margin, &some);
        let size = gradients.first().map_or(1, Vec::len);
        let part = self.batch.select(&some);
        let clean = values(&part.images);
        let mut pairs = Vec::new();
        for direction in 0..DIRECTIONS {
            let (mut up, mut down) = (Vec::new(), Vec::new());
            for (row, gradient) in gradients.iter().enumerate() {
                let mut rng = self.seed.purpose("differences").at(direction as u64).at(part.ids[row].0).rng();
                for (value, slope) in clean[row * size..][..size].iter().zip(gradient) {
                    let random = if rng.random::<bool>() { 1.0 } else { -1.0 };
                    let sign = if direction == 0 && *slope != 0.0 { slope.signum() } else { random };
                    up.push((value + step * sign).clamp(0.0, 1.0));
                    down.push((value - step * sign).clamp(0.0, 1.0));
                }
            }
            let [above, below] = [&up, &down].map(|values| self.margins(values, &part));
            for (row, gradient) in gradients.iter().enumerate() {
                let moves = up[row * size..].iter().zip(&down[row * size..]);
                let predicted = gradient.iter().zip(moves);
                let predicted =
                    predicted.map(|(slope, (up, down))| f64::from(*slope) * f64::from(up - down)).sum();
                pairs.push((predicted, above[row] - below[row]));
            }
        }
        pairs
    }

    /// For some images the margin and the mean size of its changes under random changes of the picture.
    pub fn noise(&self) -> Vec<(f64, f64)> {
        let some: Vec<usize> = (0..SOME.min(self.batch.len())).collect();
        some.iter()
            .map(|&row| {
                let one = self.batch.select(&[row]);
                let clean = values(&one.images);
                let margin = self.margins(&clean, &one)[0];
                let many = repeated(&one, DRAWS);
                let mut rng = self.seed.purpose("noise").at(one.ids[0].0).rng();
                let moved: Vec<f32> = (0..DRAWS)
                    .flat_map(|_| clean.clone())
                    .map(|value| (value + rng.random_range(-RADIUS..RADIUS)).clamp(0.0, 1.0))
                    .collect();
                let changes = self.margins(&moved, &many).into_iter().map(|moved| (moved - margin).abs());
                (margin, changes.sum::<f64>() / DRAWS as f64)
            })
            .collect()
    }

    /// The margins of some pictures with the labels of a batch.
    fn margins(&self, pictures: &[f32], batch: &Batch) -> Vec<f64> {
        let images = Tensor::from_data(TensorData::new(pictures.to_vec(), batch.shape()), &device(batch));
        let logits = self.logits(&images);
        logits.iter().zip(&batch.labels).map(|(row, label)| margin(row, *label)).collect()
    }
}

fn device(batch: &Batch) -> Device {
    batch.images.device()
}

/// One image many times, under different ids.
fn repeated(one: &Batch, count: usize) -> Batch {
    let mut many = one.select(&vec![0; count]);
    many.ids = (0..count as u64).map(ImageId).collect();
    many
}

/// The values of a tensor on the host.
pub(super) fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().iter::<f32>().collect()
}

/// The rows of a matrix.
pub(super) fn rows(logits: &Tensor<2>) -> Vec<Vec<f32>> {
    let classes = logits.dims()[1].max(1);
    values(logits).chunks(classes).map(<[f32]>::to_vec).collect()
}

/// How much the largest other logit is above that of the label.
pub(super) fn margin(logits: &[f32], label: usize) -> f64 {
    let others = logits.iter().enumerate().filter(|(class, _)| *class != label).map(|(_, logit)| *logit);
    f64::from(others.fold(f32::NEG_INFINITY, f32::max) - logits[label])
}

/// How many rows are predicted as labelled.
fn correct(logits: &[Vec<f32>], labels: &[usize]) -> usize {
    logits.iter().zip(labels).filter(|(row, label)| prediction(row) == **label).count()
}
