//! `resnet18`: the pre-activation residual network (He et al. 2016, "Identity Mappings in Deep Residual
//! Networks") in the form that robustness papers use for small pictures.
//!
//! The stem is one 3x3 convolution of stride 1, without pooling. Four stages of two blocks follow (64, 128,
//! 256 and 512 channels; all but the first halve the picture). A block is BatchNorm, ReLU, conv3x3 twice,
//! plus a shortcut: the input itself, or, where the shape changes, a 1x1 convolution of the activated
//! input. BatchNorm, ReLU, the mean over the picture and one linear layer end it.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::Classifier;
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
}

/// The network.
#[derive(Module, Debug)]
pub struct PreActResNet {
    pub(super) normalize: Normalize,
    stem: Conv2d,
    blocks: Vec<Block>,
    norm: BatchNorm,
    head: Linear,
    side: usize,
    classes: usize,
}

#[derive(Module, Debug)]
struct Block {
    norms: [BatchNorm; 2],
    convs: [Conv2d; 2],
    shortcut: Option<Conv2d>,
}

impl Block {
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

impl PreActResNet {
    /// A network with weights drawn from a seed.
    pub fn new(config: &PreActResNetConfig, seed: Seed, device: &Device) -> Self {
        let mut channels = config.width;
        let mut blocks = Vec::new();
        for (width, stride) in STAGES {
            for stride in [stride, 1] {
                let (outputs, key) = (width * config.width, seed.purpose("block").at(blocks.len() as u64));
                blocks.push(Block::new(channels, outputs, stride, key, device));
                channels = outputs;
            }
        }
        Self {
            normalize: Normalize::new(&config.mean, &config.std),
            stem: Conv2d::same_3x3(3, config.width, seed.purpose("stem"), device),
            blocks,
            norm: BatchNorm::new(channels, device),
            head: Linear::new(channels, config.classes, seed.purpose("head"), device),
            side: config.side,
            classes: config.classes,
        }
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
    }
}
