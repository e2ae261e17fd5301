//! `vgg16`: thirteen 3x3 convolutions in five blocks (Simonyan and Zisserman 2015, configuration D).
//!
//! Each convolution has a bias and a ReLU, each block ends in 2x2 max-pooling. The head has two hidden
//! layers of 1024 instead of 4096 units and no dropout: the form in which face networks for small
//! pictures (112 x 112 and the like) are trained.

use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::Classifier;
use crate::Seed;
use crate::nn::{After, Conv2d, Frozen, FrozenBuilder, Linear, Normalize, Precision, relu_max_pool_2x2};

/// Convolutions of each block, and their channels in units of [`VggConfig::width`].
const BLOCKS: [(usize, usize); 5] = [(2, 1), (2, 2), (3, 4), (3, 8), (3, 8)];
/// Units of the hidden layers, in units of [`VggConfig::width`].
const HIDDEN: usize = 16;

/// What to build.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VggConfig {
    /// Number of classes `K`, at least 2.
    pub classes: usize,
    /// Mean of each channel, in units of pixels in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, in the same units.
    pub std: [f32; 3],
    /// Side of the square input in pixels, at least 32. Each block halves it, rounding down.
    pub side: usize,
    /// Channels of the first block, 64 in the paper; all others are multiples of it.
    pub width: usize,
}

impl VggConfig {
    /// 112x112 input, mean 0.5, standard deviation 0.25 and width 64.
    pub fn new(classes: usize) -> Self {
        Self { classes, mean: [0.5; 3], std: [0.25; 3], side: 112, width: 64 }
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct Vgg {
    pub(super) normalize: Normalize,
    blocks: Vec<Vec<Conv2d>>,
    hidden: Vec<Linear>,
    head: Linear,
    side: usize,
    classes: usize,
}

impl Vgg {
    /// A network with weights drawn from a seed.
    pub fn new(config: &VggConfig, seed: Seed, device: &Device) -> Self {
        let (mut channels, mut index) = (3, 0);
        let mut conv = |width: usize| {
            let (weight, bias) = (seed.purpose("conv").at(index), seed.purpose("conv bias").at(index));
            let conv = Conv2d::same_3x3(channels, width, weight, device).with_bias(bias, device);
            (channels, index) = (width, index + 1);
            conv
        };
        let blocks: Vec<Vec<Conv2d>> = BLOCKS
            .iter()
            .map(|&(count, width)| (0..count).map(|_| conv(width * config.width)).collect())
            .collect();
        let hidden = HIDDEN * config.width;
        // Halving five times and rounding down is the same as dividing once.
        let features = channels * (config.side / 32) * (config.side / 32);
        let linear =
            |inputs, outputs, index| Linear::new(inputs, outputs, seed.purpose("hidden").at(index), device);
        Self {
            normalize: Normalize::new(&config.mean, &config.std),
            blocks,
            hidden: vec![linear(features, hidden, 0), linear(hidden, hidden, 1)],
            head: Linear::new(hidden, config.classes, seed.purpose("head"), device),
            side: config.side,
            classes: config.classes,
        }
    }
}

/// A block: the last ReLU comes with the pooling.
fn block(convs: &[Conv2d], input: Tensor<4>) -> Tensor<4> {
    let (last, first) = convs.split_last().expect("a block has convolutions");
    let inside = first.iter().fold(input, |x, conv| conv.forward_relu(x));
    relu_max_pool_2x2(last.forward(inside))
}

impl Classifier for Vgg {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let input = self.normalize.forward(images);
        let features = self.blocks.iter().fold(input, |x, convs| block(convs, x));
        let flat: Tensor<2> = features.flatten(1, 3);
        let hidden = self.hidden.iter().fold(flat, |x, linear| relu(linear.forward(x)));
        self.head.forward(hidden)
    }

    fn frozen(&self, precision: Precision) -> Option<Frozen> {
        let start = FrozenBuilder::new(self.input_shape(), &self.normalize, precision);
        let features = self.blocks.iter().fold(start, |frozen, convs| {
            let last = convs.len() - 1;
            convs.iter().enumerate().fold(frozen, |frozen, (index, conv)| {
                frozen.conv(conv, None, if index == last { After::ReluMaxPool } else { After::Relu })
            })
        });
        let hidden = self.hidden.iter().fold(features, |frozen, linear| frozen.linear(linear, true));
        hidden.linear(&self.head, false).finish()
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
    fn the_network_agrees_with_itself_on_the_operators_of_burn() {
        let config = VggConfig { side: 64, width: 4, ..VggConfig::new(5) };
        assert_agrees_with_stock(|device| Vgg::new(&config, Seed::new(3), device));
    }

    #[test]
    fn it_has_the_parameters_of_the_paper() {
        let config = VggConfig { side: 32, width: 2, ..VggConfig::new(7) };
        let model = Vgg::new(&config, Seed::new(0), &Device::default());
        // Convolutions c -> o have 9 c o + o parameters; width 2 gives the channels below.
        let channels = [3, 2, 2, 4, 4, 8, 8, 8, 16, 16, 16, 16, 16, 16];
        let convs: usize = channels.windows(2).map(|pair| 9 * pair[0] * pair[1] + pair[1]).sum();
        let head = (16 * 32 + 32) + (32 * 32 + 32) + (32 * 7 + 7);
        assert_eq!(model.num_params(), convs + head);
    }
}
