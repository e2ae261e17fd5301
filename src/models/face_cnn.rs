//! `face_cnn`: a small convolutional network for faces of 64x64 pixels.
//!
//! Four blocks of conv3x3, BatchNorm, ReLU and 2x2 max-pooling (32, 64, 128 and 256 channels), then one
//! linear layer. Small enough to train on a laptop in a minute, and made of the layers whose kernels
//! this project tunes.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::Classifier;
use crate::Seed;
use crate::nn::{BatchNorm, Conv2d, Linear, Normalize};

const WIDTHS: [usize; 4] = [32, 64, 128, 256];

/// What to build.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaceCnnConfig {
    /// Number of classes `K`, at least 2.
    pub classes: usize,
    /// Mean of each channel, in units of pixels in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, in the same units.
    pub std: [f32; 3],
    /// Side of the square input in pixels, a multiple of 16.
    pub side: usize,
}

impl FaceCnnConfig {
    /// 64x64 input, mean 0.5 and standard deviation 0.25.
    pub fn new(classes: usize) -> Self {
        Self { classes, mean: [0.5; 3], std: [0.25; 3], side: 64 }
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct FaceCnn {
    normalize: Normalize,
    blocks: Vec<Block>,
    head: Linear,
    side: usize,
    classes: usize,
}

#[derive(Module, Debug)]
struct Block {
    conv: Conv2d,
    norm: BatchNorm,
}

impl FaceCnn {
    /// A network with weights drawn from a seed.
    pub fn new(config: &FaceCnnConfig, seed: Seed, device: &Device) -> Self {
        let mut channels = 3;
        let blocks = WIDTHS
            .iter()
            .enumerate()
            .map(|(index, &width)| {
                let conv = Conv2d::same_3x3(channels, width, seed.purpose("conv").at(index as u64), device);
                channels = width;
                Block { conv, norm: BatchNorm::new(width, device) }
            })
            .collect();
        let features = channels * (config.side / 16) * (config.side / 16);
        Self {
            normalize: Normalize::new(&config.mean, &config.std),
            blocks,
            head: Linear::new(features, config.classes, seed.purpose("head"), device),
            side: config.side,
            classes: config.classes,
        }
    }
}

impl Classifier for FaceCnn {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let features = self.blocks.iter().fold(self.normalize.forward(images), |x, block| {
            block.norm.forward_relu_max_pool(block.conv.forward(x))
        });
        self.head.forward(features.flatten(1, 3))
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn input_shape(&self) -> [usize; 3] {
        [3, self.side, self.side]
    }
}
