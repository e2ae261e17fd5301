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
    reversed: bool,
}

impl Normalize {
    /// One mean and one positive standard deviation a channel, in units of pixels in `[0, 1]`.
    pub fn new(mean: &[f32], std: &[f32]) -> Self {
        Self { mean: mean.to_vec(), std: std.to_vec(), reversed: false }
    }

    /// Whether the channels are handed on in the reverse order. Mean and standard deviation are those of the
    /// channels as they come.
    pub fn reverse_channels(&mut self, reversed: bool) {
        self.reversed = reversed;
    }

    pub(super) fn is_reversed(&self) -> bool {
        self.reversed
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
        let normal = (images - row(&self.mean)) / row(&self.std);
        if self.reversed { normal.flip([1]) } else { normal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn each_channel_has_its_own_mean_and_they_are_turned_around_after_it() {
        let mut layer = Normalize::new(&[0.5, 0.0, 1.0], &[0.5, 1.0, 2.0]);
        let pixel: Tensor<4> = Tensor::from_data([[[[1.0_f32]], [[0.25]], [[0.0]]]], &Device::default());
        let values = |layer: &Normalize| layer.forward(pixel.clone()).try_into_vec_as::<f32>().expect("f32");
        assert_eq!(values(&layer), [1.0, 0.25, -0.5]);
        layer.reverse_channels(true);
        assert_eq!(values(&layer), [-0.5, 0.25, 1.0]);
    }
}
