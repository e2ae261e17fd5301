//! The first layer of every classifier.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};

/// Subtracts a mean and divides by a standard deviation, channel by channel.
///
/// It is part of the model, never of the data loader: an attack's budget is in units of the picture.
#[derive(Module, Debug)]
pub struct Normalize {
    #[module(skip)]
    mean: Vec<f32>,
    #[module(skip)]
    std: Vec<f32>,
}

impl Normalize {
    /// One mean and one positive standard deviation a channel, in units of pixels in `[0, 1]`.
    pub fn new(mean: &[f32], std: &[f32]) -> Self {
        Self { mean: mean.to_vec(), std: std.to_vec() }
    }

    pub(super) fn mean_and_std(&self) -> (&[f32], &[f32]) {
        (&self.mean, &self.std)
    }

    /// `[N, C, H, W]` to the same.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let device = images.device();
        let channels = self.mean.len();
        let row = |values: &[f32]| {
            Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, channels, 1, 1]), &device)
        };
        (images - row(&self.mean)) / row(&self.std)
    }
}
