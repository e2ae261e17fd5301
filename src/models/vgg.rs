//! VGG-11, 13 and 16: 3x3 convolutions in five blocks (Simonyan and Zisserman 2015, configurations A, B and D).
//!
//! Each convolution has a bias and a ReLU, each block ends in 2x2 max-pooling. Two hidden layers and the logits
//! follow. There are three heads: torchvision's (4096 units, features averaged to 7 x 7 whatever the side of the
//! picture), that of VGG-Face (Parkhi et al. 2015; 4096 units on the features as they are) and a small one (1024
//! units), the form in which face networks for pictures of 112 x 112 and the like are trained. Dropout, which
//! the first two have in training, is left out: predictions do not see it.

use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::weights::{KeyMap, pair};
use super::{Classifier, Size};
use crate::Seed;
use crate::nn::{
    After, Conv2d, Frozen, FrozenBuilder, Linear, Normalize, Precision, adaptive_average_pool,
    relu_max_pool_2x2,
};

/// Channels of each block in units of [`VggConfig::width`].
const WIDTHS: [usize; 5] = [1, 2, 4, 8, 8];
/// Side of the features that torchvision's head takes.
const POOLED: usize = 7;

/// The layers after the convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VggHead {
    /// Two hidden layers of 16 widths.
    Small,
    /// Adaptive average pooling to 7 x 7, two hidden layers of 64 widths.
    Torchvision,
    /// Two hidden layers of 64 widths.
    Face,
}

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
    /// Convolutions of each block, at least one.
    pub convs: [usize; 5],
    /// The layers after the convolutions.
    pub head: VggHead,
}

impl VggConfig {
    /// VGG-16 with the small head: 112x112 input, mean 0.5, standard deviation 0.25 and width 64.
    pub fn new(classes: usize) -> Self {
        let (mean, std, convs) = ([0.5; 3], [0.25; 3], [2, 2, 3, 3, 3]);
        Self { classes, mean, std, side: 112, width: 64, convs, head: VggHead::Small }
    }

    /// Convolutions of each block of VGG-11, 13 and 16.
    pub(super) const DEPTH_11: [usize; 5] = [1, 1, 2, 2, 2];
    pub(super) const DEPTH_13: [usize; 5] = [2; 5];
    pub(super) const DEPTH_16: [usize; 5] = [2, 2, 3, 3, 3];

    /// Side of the features that the first linear layer sees.
    fn features(&self) -> usize {
        // Halving five times and rounding down is the same as dividing once.
        if self.head == VggHead::Torchvision { POOLED } else { self.side / 32 }
    }

    fn hidden(&self) -> usize {
        self.width * if self.head == VggHead::Small { 16 } else { 64 }
    }

    /// Parameters and cost.
    pub fn size(&self) -> Size {
        let (mut size, mut channels, mut side) = (Size::default(), 3, self.side);
        for (count, width) in self.convs.into_iter().zip(WIDTHS) {
            for _ in 0..count {
                let outputs = width * self.width;
                size = size.conv([channels, outputs], 3, side).more(outputs);
                channels = outputs;
            }
            side /= 2;
        }
        let (features, hidden) = (channels * self.features().pow(2), self.hidden());
        size.linear(features, hidden, 1).linear(hidden, hidden, 1).linear(hidden, self.classes, 1)
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
    /// Whether features are averaged to 7 x 7.
    pooled: bool,
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
        let blocks: Vec<Vec<Conv2d>> = config
            .convs
            .iter()
            .zip(WIDTHS)
            .map(|(&count, width)| (0..count).map(|_| conv(width * config.width)).collect())
            .collect();
        let (features, hidden) = (channels * config.features().pow(2), config.hidden());
        let linear =
            |inputs, outputs, index| Linear::new(inputs, outputs, seed.purpose("hidden").at(index), device);
        Self {
            normalize: Normalize::new(&config.mean, &config.std),
            blocks,
            hidden: vec![linear(features, hidden, 0), linear(hidden, hidden, 1)],
            head: Linear::new(hidden, config.classes, seed.purpose("head"), device),
            side: config.side,
            classes: config.classes,
            pooled: config.head == VggHead::Torchvision,
        }
    }

    /// Names in torchvision, and the two in use for ports of VGG-Face.
    pub(super) fn key_maps(&self) -> Vec<KeyMap> {
        let (mut torchvision, mut spaced, mut joined) = (Vec::new(), Vec::new(), Vec::new());
        let mut position = 0;
        for (block, convs) in self.blocks.iter().enumerate() {
            for conv in 0..convs.len() {
                let own = format!("blocks.{block}.{conv}");
                torchvision.push(pair(&own, format!("features.{position}")));
                spaced.push(pair(&own, format!("conv_{}_{}", block + 1, conv + 1)));
                joined.push(pair(&own, format!("conv{}_{}", block + 1, conv + 1)));
                position += 2;
            }
            position += 1;
        }
        for (index, own) in ["hidden.0", "hidden.1", "head"].into_iter().enumerate() {
            torchvision.push(pair(own, format!("classifier.{}", 3 * index)));
            spaced.push(pair(own, format!("fc{}", index + 6)));
            joined.push(pair(own, format!("fc{}", index + 6)));
        }
        vec![
            KeyMap::new("torchvision", torchvision),
            KeyMap::new("VGG-Face (conv_1_1)", spaced),
            KeyMap::new("VGG-Face (conv1_1)", joined),
        ]
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
        let features = if self.pooled { adaptive_average_pool(features, POOLED) } else { features };
        let flat: Tensor<2> = features.flatten(1, 3);
        let hidden = self.hidden.iter().fold(flat, |x, linear| relu(linear.forward(x)));
        self.head.forward(hidden)
    }

    fn frozen(&self, precision: Precision) -> Option<Frozen> {
        if self.pooled && self.side / 32 != POOLED {
            return None;
        }
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
        assert_eq!(config.size().parameters, (convs + head) as u64);
    }

    #[test]
    fn the_full_networks_have_the_size_of_their_namesakes() {
        // sum(p.numel() for p in torchvision.models.vgg11().parameters()) and so on; multiply-accumulates by
        // hand from the table of the paper, as torchvision states them (7.61, 11.31 and 15.47 G at 224).
        let head = VggHead::Torchvision;
        for (convs, parameters, macs) in [
            (VggConfig::DEPTH_11, 132_863_336, 7.61),
            (VggConfig::DEPTH_13, 133_047_848, 11.31),
            (VggConfig::DEPTH_16, 138_357_544, 15.47),
        ] {
            let config = VggConfig { side: 224, convs, head, ..VggConfig::new(1000) };
            let size = config.size();
            assert_eq!(size.parameters, parameters);
            assert!((size.macs as f64 / 1e9 - macs).abs() < 0.02, "{}", size.macs);
            let face = VggConfig { head: VggHead::Face, ..config };
            assert_eq!(face.size(), size, "at 224 the heads are the same");
        }
    }

    #[test]
    fn the_frozen_form_exists_where_nothing_is_averaged() {
        let config = VggConfig { side: 224, width: 1, head: VggHead::Torchvision, ..VggConfig::new(3) };
        let frozen = |config: &VggConfig| {
            Vgg::new(config, Seed::new(0), &Device::default()).valid().frozen(Precision::Full).is_some()
        };
        assert!(frozen(&config));
        assert!(!frozen(&VggConfig { side: 96, ..config.clone() }));
        assert!(frozen(&VggConfig { side: 96, head: VggHead::Face, ..config }));
    }
}
