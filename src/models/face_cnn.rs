//! `face_cnn`: a small convolutional network for faces of 64x64 pixels.
//!
//! Four blocks of conv3x3, BatchNorm, ReLU and 2x2 max-pooling (32, 64, 128 and 256 channels), then one
//! linear layer. Small enough to train on a laptop in a minute, and made of the layers whose kernels
//! this project tunes.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::weights::{KeyMap, pair};
use super::{Classifier, Size};
use crate::Seed;
use crate::nn::{After, BatchNorm, Conv2d, Frozen, FrozenBuilder, Linear, Normalize, Precision};

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

    /// Parameters and cost.
    pub fn size(&self) -> Size {
        let (mut size, mut channels, mut side) = (Size::default(), 3, self.side);
        for width in WIDTHS {
            size = size.conv([channels, width], 3, side).more(2 * width);
            (channels, side) = (width, side / 2);
        }
        size.linear(channels * side * side, self.classes, 1)
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct FaceCnn {
    pub(super) normalize: Normalize,
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

impl FaceCnn {
    /// Names as in a PyTorch module of the same shape: `blocks.0.conv`, `blocks.0.norm`, `head`.
    pub(super) fn key_maps(&self) -> Vec<KeyMap> {
        let layers =
            (0..self.blocks.len()).flat_map(|index| ["conv", "norm"].map(|l| format!("blocks.{index}.{l}")));
        let names = layers.chain(["head".to_owned()]).map(|name| pair(name.clone(), name)).collect();
        vec![KeyMap::new("syfar", names)]
    }
}

impl Classifier for FaceCnn {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let features = self.blocks.iter().fold(self.normalize.forward(images), |x, block| {
            block.norm.forward_relu_max_pool(block.conv.forward(x))
        });
        self.head.forward(features.flatten(1, 3))
    }

    fn frozen(&self, precision: Precision) -> Option<Frozen> {
        let start = FrozenBuilder::new(self.input_shape(), &self.normalize, precision);
        let conv = |frozen: FrozenBuilder, block: &Block| {
            frozen.conv(&block.conv, Some(&block.norm), After::ReluMaxPool)
        };
        self.blocks.iter().fold(start, conv).linear(&self.head, false).finish()
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn input_shape(&self) -> [usize; 3] {
        [3, self.side, self.side]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::fixtures::assert_agrees_with_stock;

    #[test]
    fn the_size_is_that_of_what_is_built() {
        let config = FaceCnnConfig { side: 32, ..FaceCnnConfig::new(5) };
        let model = FaceCnn::new(&config, Seed::new(3), &Device::default());
        let running: usize = WIDTHS.iter().map(|width| 2 * width).sum();
        assert_eq!(model.num_params() - running, config.size().parameters as usize);
    }

    #[test]
    fn the_network_agrees_with_itself_on_the_operators_of_burn() {
        let config = FaceCnnConfig { side: 32, ..FaceCnnConfig::new(5) };
        assert_agrees_with_stock(|device| FaceCnn::new(&config, Seed::new(3), device));
    }
}
