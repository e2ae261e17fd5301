//! PreActResNet-18: the pre-activation residual network (He et al. 2016, "Identity Mappings in Deep Residual
//! Networks") in the form that robustness papers use for small pictures.
//!
//! The stem is one 3x3 convolution of stride 1, without pooling. Four stages of two blocks follow (64, 128,
//! 256 and 512 channels; all but the first halve the picture). A block is BatchNorm, ReLU, conv3x3 twice,
//! plus a shortcut: the input itself, or, where the shape changes, a 1x1 convolution of the activated
//! input. BatchNorm, ReLU, the mean over the picture and one linear layer end it. This is the form of Rice et al.
//! (ICML 2020; `PreActBlockV2` with `bn_before_fc` in RobustBench). Another one in use ends without a BatchNorm, and
//! RobustBench's `PreActBlock` gives the shortcut the input before it is activated; weights for them do not fit.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::size::side_after;
use super::weights::{KeyMap, pair};
use super::{Classifier, Size};
use crate::Seed;
use crate::nn::{BatchNorm, Conv2d, Linear, Normalize, global_average_pool};

/// Channels of each stage in units of [`PreActResNetConfig::width`], and the stride of its first block.
const STAGES: [(usize, usize); 4] = [(1, 1), (2, 2), (4, 2), (8, 2)];

/// What to build.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreActResNetConfig {
    /// Number of classes `K`, at least 2.
    pub classes: usize,
    /// Mean of each channel, in units of pixels in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, in the same units.
    pub std: [f32; 3],
    /// Side of the square input in pixels, at least 1.
    pub side: usize,
    /// Channels of the first stage, 64 in the paper; all others are multiples of it.
    pub width: usize,
}

impl PreActResNetConfig {
    /// 32x32 input, mean 0.5, standard deviation 0.25 and width 64.
    pub fn new(classes: usize) -> Self {
        Self { classes, mean: [0.5; 3], std: [0.25; 3], side: 32, width: 64 }
    }

    /// Channels and stride of each block, stage by stage.
    fn plan(&self) -> impl Iterator<Item = (usize, usize)> {
        let width = self.width;
        STAGES.into_iter().flat_map(move |(times, stride)| [(times * width, stride), (times * width, 1)])
    }

    /// Parameters and cost.
    pub fn size(&self) -> Size {
        Block::network_size(self.width, self.side, self.plan(), self.classes)
    }
}

/// The network, also the wide one of [`WideResNetConfig`](super::WideResNetConfig).
#[derive(Module, Debug)]
pub struct PreActResNet {
    pub(super) normalize: Normalize,
    stem: Conv2d,
    pub(super) blocks: Vec<Block>,
    norm: BatchNorm,
    head: Linear,
    side: usize,
    classes: usize,
}

/// A block of two convolutions, each behind its BatchNorm and ReLU.
#[derive(Module, Debug)]
pub(super) struct Block {
    norms: [BatchNorm; 2],
    convs: [Conv2d; 2],
    shortcut: Option<Conv2d>,
}

impl Block {
    /// A block with weights drawn from a seed.
    fn new(inputs: usize, outputs: usize, stride: usize, seed: Seed, device: &Device) -> Self {
        let conv = |inputs, stride, index| {
            Conv2d::new([inputs, outputs], 3, stride, 1, seed.purpose("conv").at(index), device)
        };
        let same = stride == 1 && inputs == outputs;
        Self {
            norms: [BatchNorm::new(inputs, device), BatchNorm::new(outputs, device)],
            convs: [conv(inputs, stride, 0), conv(outputs, 1, 1)],
            shortcut: (!same)
                .then(|| Conv2d::new([inputs, outputs], 1, stride, 0, seed.purpose("shortcut"), device)),
        }
    }

    /// Blocks in a row behind a stem of so many channels, given the channels and stride of each; and the
    /// channels that they end in.
    fn stack(
        stem: usize,
        plan: impl Iterator<Item = (usize, usize)>,
        seed: Seed,
        device: &Device,
    ) -> (Vec<Self>, usize) {
        let mut channels = stem;
        let block = |(index, (outputs, stride)): (usize, (usize, usize))| {
            let block = Self::new(channels, outputs, stride, seed.purpose("block").at(index as u64), device);
            channels = outputs;
            block
        };
        let blocks = plan.enumerate().map(block).collect();
        (blocks, channels)
    }

    /// The size of a network of such blocks between a 3x3 stem and a BatchNorm with a linear layer.
    pub(super) fn network_size(
        stem: usize,
        mut side: usize,
        plan: impl Iterator<Item = (usize, usize)>,
        classes: usize,
    ) -> Size {
        let (mut channels, mut size) = (stem, Size::default().conv([3, stem], 3, side));
        for (outputs, stride) in plan {
            side = side_after(side, 3, stride, 1);
            size = size.conv([channels, outputs], 3, side).conv([outputs, outputs], 3, side);
            size = size.more(2 * (channels + outputs));
            if stride != 1 || channels != outputs {
                size = size.conv([channels, outputs], 1, side);
            }
            channels = outputs;
        }
        size.more(2 * channels).linear(channels, classes, 1)
    }

    /// Names of its layers here and in PyTorch, given its own two names and that of the shortcut.
    pub(super) fn names(&self, own: &str, theirs: &str, shortcut: &str) -> Vec<(String, String)> {
        let mut names = Vec::new();
        for index in 0..2 {
            names.push(pair(format!("{own}.norms.{index}"), format!("{theirs}.bn{}", index + 1)));
            names.push(pair(format!("{own}.convs.{index}"), format!("{theirs}.conv{}", index + 1)));
        }
        if self.shortcut.is_some() {
            names.push(pair(format!("{own}.shortcut"), format!("{theirs}.{shortcut}")));
        }
        names
    }

    /// `[N, inputs, H, W]` to `[N, outputs, H', W']`.
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let active = self.norms[0].forward_relu(input.clone());
        let aside = match &self.shortcut {
            Some(conv) => conv.forward(active.clone()),
            None => input,
        };
        let inside = self.norms[1].forward_relu(self.convs[0].forward(active));
        self.convs[1].forward(inside) + aside
    }
}

/// What stands around the blocks.
pub(super) struct Surround {
    /// Channels of the stem.
    pub stem: usize,
    pub normalize: Normalize,
    pub side: usize,
    pub classes: usize,
}

impl PreActResNet {
    /// A network with weights drawn from a seed.
    pub fn new(config: &PreActResNetConfig, seed: Seed, device: &Device) -> Self {
        let PreActResNetConfig { classes, side, width, .. } = *config;
        let normalize = Normalize::new(&config.mean, &config.std);
        Self::around(Surround { stem: width, normalize, side, classes }, config.plan(), seed, device)
    }

    /// A network with blocks of these channels and strides.
    pub(super) fn around(
        surround: Surround,
        plan: impl Iterator<Item = (usize, usize)>,
        seed: Seed,
        device: &Device,
    ) -> Self {
        let Surround { stem, normalize, side, classes } = surround;
        let (blocks, channels) = Block::stack(stem, plan, seed, device);
        Self {
            normalize,
            stem: Conv2d::same_3x3(3, stem, seed.purpose("stem"), device),
            blocks,
            norm: BatchNorm::new(channels, device),
            head: Linear::new(channels, classes, seed.purpose("head"), device),
            side,
            classes,
        }
    }

    /// Names in RobustBench and the code of Rice et al.
    pub(super) fn key_maps(&self) -> Vec<KeyMap> {
        let mut names = vec![pair("stem", "conv1"), pair("norm", "bn"), pair("head", "linear")];
        for (index, block) in self.blocks.iter().enumerate() {
            let theirs = format!("layer{}.{}", index / 2 + 1, index % 2);
            names.extend(block.names(&format!("blocks.{index}"), &theirs, "shortcut.0"));
        }
        vec![KeyMap::new("RobustBench", names)]
    }
}

impl Classifier for PreActResNet {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let stem = self.stem.forward(self.normalize.forward(images));
        let features = self.blocks.iter().fold(stem, |x, block| block.forward(x));
        self.head.forward(global_average_pool(self.norm.forward_relu(features)))
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
        let config = PreActResNetConfig { width: 6, ..PreActResNetConfig::new(5) };
        assert_agrees_with_stock(|device| PreActResNet::new(&config, Seed::new(3), device));
    }

    #[test]
    fn it_has_the_parameters_of_the_paper() {
        let model = PreActResNet::new(&PreActResNetConfig::new(10), Seed::new(0), &Device::default());
        // sum(p.numel() for p in PreActResNet18().parameters()) of the usual PyTorch form, plus
        // the running statistics, two a BatchNorm channel: 2 * (5 * 64 + 4 * 128 + 4 * 256 + 4 * 512).
        let norms = 64 * 5 + 128 * 4 + 256 * 4 + 512 * 4;
        let trained = 11_172_170;
        assert_eq!(model.num_params(), trained + 2 * norms);
        let size = PreActResNetConfig::new(10).size();
        assert_eq!(size.parameters as usize, trained);
        // 0.56 G multiply-accumulates are what others count for this network at 32 x 32.
        assert!((size.macs as f64 / 1e9 - 0.56).abs() < 0.01, "{}", size.macs);
    }
}
