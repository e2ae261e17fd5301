//! ResNet-18, 34 and 50 (He et al., CVPR 2016), in the form of torchvision.
//!
//! The stem for large pictures is a 7x7 convolution of stride 2, BatchNorm, ReLU and 3x3 max-pooling of stride 2;
//! that for small ones (CIFAR) is one 3x3 convolution of stride 1 with BatchNorm and ReLU. Four stages follow,
//! all but the first halve the picture. A block is two 3x3 convolutions, or (50) 1x1, 3x3 and 1x1 with four
//! times the channels at the end; each has a BatchNorm, and the ReLU of the last comes after the shortcut is
//! added: the input itself, or, where the shape changes, a 1x1 convolution with BatchNorm. In the block of three
//! the 3x3 convolution has the stride, as in torchvision, not the first one as in the paper.

use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use super::size::side_after;
use super::weights::{KeyMap, pair};
use super::{Classifier, Size};
use crate::Seed;
use crate::nn::{BatchNorm, Conv2d, Linear, Normalize, global_average_pool, max_pool};

/// Channels of each stage in units of [`ResNetConfig::width`], and the stride of its first block.
const STAGES: [(usize, usize); 4] = [(1, 1), (2, 2), (4, 2), (8, 2)];
/// Channels that a block of three ends in, as a multiple of those inside.
const EXPANSION: usize = 4;

/// The layers before the first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// 7x7 of stride 2, then 3x3 max-pooling of stride 2.
    Imagenet,
    /// 3x3 of stride 1.
    Cifar,
}

/// What to build.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResNetConfig {
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
    /// Blocks of each stage.
    pub blocks: [usize; 4],
    /// Blocks of three convolutions instead of two.
    pub bottleneck: bool,
    /// The layers before the first block.
    pub stem: Stem,
}

impl ResNetConfig {
    /// ResNet-18 with the stem for large pictures: 224x224 input, mean 0.5, standard deviation 0.25, width 64.
    pub fn new(classes: usize) -> Self {
        Self {
            classes,
            mean: [0.5; 3],
            std: [0.25; 3],
            side: 224,
            width: 64,
            blocks: [2; 4],
            bottleneck: false,
            stem: Stem::Imagenet,
        }
    }

    /// Blocks of each stage of ResNet-18, and of 34 and 50.
    pub(super) const DEPTH_18: [usize; 4] = [2; 4];
    pub(super) const DEPTH_34: [usize; 4] = [3, 4, 6, 3];

    /// Channels inside, channels at the end and stride of each block, stage by stage.
    fn plan(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let expansion = if self.bottleneck { EXPANSION } else { 1 };
        self.blocks.into_iter().zip(STAGES).flat_map(move |(count, (width, stride))| {
            let inside = width * self.width;
            (0..count).map(move |index| (inside, inside * expansion, if index == 0 { stride } else { 1 }))
        })
    }

    /// Parameters and cost.
    pub fn size(&self) -> Size {
        let norm = |channels: usize| 2 * channels;
        let (kernel, stride, padding) = self.stem.conv();
        let mut side = side_after(self.side, kernel, stride, padding);
        let mut size = Size::default().conv([3, self.width], kernel, side).more(norm(self.width));
        if self.stem == Stem::Imagenet {
            side = side_after(side, 3, 2, 1);
        }
        let mut channels = self.width;
        for (inside, outputs, stride) in self.plan() {
            let after = side_after(side, 3, stride, 1);
            size = if self.bottleneck {
                let first = size.conv([channels, inside], 1, side).conv([inside, inside], 3, after);
                first.conv([inside, outputs], 1, after).more(2 * norm(inside) + norm(outputs))
            } else {
                let first = size.conv([channels, inside], 3, after);
                first.conv([inside, outputs], 3, after).more(norm(inside) + norm(outputs))
            };
            if stride != 1 || channels != outputs {
                size = size.conv([channels, outputs], 1, after).more(norm(outputs));
            }
            (channels, side) = (outputs, after);
        }
        size.linear(channels, self.classes, 1)
    }
}

impl Stem {
    /// Kernel, stride and padding.
    fn conv(self) -> (usize, usize, usize) {
        match self {
            Self::Imagenet => (7, 2, 3),
            Self::Cifar => (3, 1, 1),
        }
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct ResNet {
    pub(super) normalize: Normalize,
    stem: Conv2d,
    stem_norm: BatchNorm,
    blocks: Vec<Block>,
    head: Linear,
    side: usize,
    classes: usize,
    /// Whether the stem ends in pooling.
    pooled: bool,
    #[module(skip)]
    stages: Vec<usize>,
}

/// Two or three convolutions and norms, and the shortcut.
#[derive(Module, Debug)]
struct Block {
    convs: Vec<Conv2d>,
    norms: Vec<BatchNorm>,
    shortcut: Option<Conv2d>,
    shortcut_norm: Option<BatchNorm>,
}

impl Block {
    fn new(
        inputs: usize,
        (inside, outputs, stride): (usize, usize, usize),
        bottleneck: bool,
        seed: Seed,
        device: &Device,
    ) -> Self {
        // Channels, kernel, stride of each convolution.
        let shapes: &[([usize; 2], usize, usize)] = if bottleneck {
            &[([inputs, inside], 1, 1), ([inside, inside], 3, stride), ([inside, outputs], 1, 1)]
        } else {
            &[([inputs, inside], 3, stride), ([inside, outputs], 3, 1)]
        };
        let conv = |(index, &(channels, kernel, stride))| {
            let seed = seed.purpose("conv").at(index as u64);
            Conv2d::new(channels, kernel, stride, kernel / 2, seed, device)
        };
        let changes = stride != 1 || inputs != outputs;
        let around = || Conv2d::new([inputs, outputs], 1, stride, 0, seed.purpose("shortcut"), device);
        Self {
            convs: shapes.iter().enumerate().map(conv).collect(),
            norms: shapes.iter().map(|([_, outputs], ..)| BatchNorm::new(*outputs, device)).collect(),
            shortcut: changes.then(around),
            shortcut_norm: changes.then(|| BatchNorm::new(outputs, device)),
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let aside = match (&self.shortcut, &self.shortcut_norm) {
            (Some(conv), Some(norm)) => norm.forward(conv.forward(input.clone())),
            _ => input.clone(),
        };
        let last = self.convs.len() - 1;
        let layers = self.convs.iter().zip(&self.norms).enumerate();
        let inside = layers.fold(input, |x, (index, (conv, norm))| {
            let x = conv.forward(x);
            if index == last { norm.forward(x) } else { norm.forward_relu(x) }
        });
        relu(inside + aside)
    }
}

impl ResNet {
    /// A network with weights drawn from a seed.
    pub fn new(config: &ResNetConfig, seed: Seed, device: &Device) -> Self {
        let (kernel, stride, padding) = config.stem.conv();
        let stem = [3, config.width];
        let mut channels = config.width;
        let block = |(index, shape): (usize, (usize, usize, usize))| {
            let seed = seed.purpose("block").at(index as u64);
            let block = Block::new(channels, shape, config.bottleneck, seed, device);
            channels = shape.1;
            block
        };
        let blocks = config.plan().enumerate().map(block).collect();
        Self {
            normalize: Normalize::new(&config.mean, &config.std),
            stem: Conv2d::new(stem, kernel, stride, padding, seed.purpose("stem"), device),
            stem_norm: BatchNorm::new(config.width, device),
            blocks,
            head: Linear::new(channels, config.classes, seed.purpose("head"), device),
            side: config.side,
            classes: config.classes,
            pooled: config.stem == Stem::Imagenet,
            stages: config.blocks.to_vec(),
        }
    }

    /// Names in torchvision, and those of networks for CIFAR as in RobustBench; those of the stem's own
    /// kind first.
    pub(super) fn key_maps(&self) -> Vec<KeyMap> {
        let names = |shortcut: &str, head: &str| {
            let mut names = vec![pair("stem", "conv1"), pair("stem_norm", "bn1"), pair("head", head)];
            let places = self.stages.iter().enumerate();
            let places = places.flat_map(|(stage, &count)| (0..count).map(move |index| (stage + 1, index)));
            for (index, ((stage, place), block)) in places.zip(&self.blocks).enumerate() {
                let (own, theirs) = (format!("blocks.{index}"), format!("layer{stage}.{place}"));
                for conv in 0..block.convs.len() {
                    names.push(pair(format!("{own}.convs.{conv}"), format!("{theirs}.conv{}", conv + 1)));
                    names.push(pair(format!("{own}.norms.{conv}"), format!("{theirs}.bn{}", conv + 1)));
                }
                if block.shortcut.is_some() {
                    names.push(pair(format!("{own}.shortcut"), format!("{theirs}.{shortcut}.0")));
                    names.push(pair(format!("{own}.shortcut_norm"), format!("{theirs}.{shortcut}.1")));
                }
            }
            names
        };
        let mut maps = vec![
            KeyMap::new("torchvision", names("downsample", "fc")),
            KeyMap::new("RobustBench", names("shortcut", "linear")),
        ];
        if !self.pooled {
            maps.reverse();
        }
        maps
    }
}

impl Classifier for ResNet {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let stem = self.stem_norm.forward_relu(self.stem.forward(self.normalize.forward(images)));
        let stem = if self.pooled { max_pool(stem, 3, 2, 1) } else { stem };
        let features = self.blocks.iter().fold(stem, |x, block| block.forward(x));
        self.head.forward(global_average_pool(features))
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn input_shape(&self) -> [usize; 3] {
        [3, self.side, self.side]
    }
}

#[cfg(test)]
impl ResNet {
    /// Weights of the last layer.
    pub(super) fn head_values(&self) -> Vec<f32> {
        self.head.weight.val().try_into_vec_as::<f32>().expect("f32")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::fixtures::assert_agrees_with_stock;

    #[test]
    fn the_networks_agree_with_themselves_on_the_operators_of_burn() {
        for (bottleneck, stem, side) in [(false, Stem::Cifar, 16), (true, Stem::Imagenet, 33)] {
            let config = ResNetConfig { width: 6, side, bottleneck, stem, ..ResNetConfig::new(5) };
            assert_agrees_with_stock(|device| ResNet::new(&config, Seed::new(3), device));
        }
    }

    #[test]
    fn the_full_networks_have_the_size_of_their_namesakes() {
        // sum(p.numel() for p in torchvision.models.resnet18().parameters()) and so on; torchvision states
        // 1.81, 3.66 and 4.09 G multiply-accumulates at 224.
        for (blocks, bottleneck, parameters, macs) in [
            ([2, 2, 2, 2], false, 11_689_512, 1.81),
            ([3, 4, 6, 3], false, 21_797_672, 3.66),
            ([3, 4, 6, 3], true, 25_557_032, 4.09),
        ] {
            let size = ResNetConfig { blocks, bottleneck, ..ResNetConfig::new(1000) }.size();
            assert_eq!(size.parameters, parameters);
            assert!((size.macs as f64 / 1e9 - macs).abs() < 0.02, "{}", size.macs);
        }
    }

    #[test]
    fn the_size_is_that_of_what_is_built() {
        for (bottleneck, stem) in [(false, Stem::Imagenet), (true, Stem::Cifar)] {
            let config = ResNetConfig { width: 4, bottleneck, stem, ..ResNetConfig::new(5) };
            let model = ResNet::new(&config, Seed::new(0), &Device::default());
            // Running statistics are as many as the norms' parameters.
            let mut norms = vec![&model.stem_norm];
            for block in &model.blocks {
                norms.extend(block.norms.iter().chain(&block.shortcut_norm));
            }
            let running: usize = norms.iter().map(|norm| 2 * norm.gamma.dims()[0]).sum();
            assert_eq!(model.num_params() - running, config.size().parameters as usize);
        }
    }
}
