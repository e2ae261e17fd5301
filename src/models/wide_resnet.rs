//! Wide residual networks (Zagoruyko and Komodakis, BMVC 2016) in the form of RobustBench: WRN-28-10 and 34-10.
//!
//! A 3x3 convolution of stride 1 with 16 channels; three stages of `(depth - 4) / 6` pre-activation blocks (160,
//! 320 and 640 channels for ten times the width; the last two halve the picture); BatchNorm, ReLU, the mean over
//! the picture and one linear layer: a [`PreActResNet`] of another plan. RobustBench
//! averages windows of 8 x 8, which is the whole picture for an input of 32 x 32; here it is the whole always.
//! Some checkpoints (those of TRADES) hold a `sub_block1` that the network never uses.

use burn::tensor::Device;

use super::pre_act_resnet::{Block, Surround};
use super::weights::{KeyMap, pair};
use super::{PreActResNet, Size};
use crate::Seed;
use crate::nn::Normalize;

/// Channels of the stem, and of the stages before they are widened.
const WIDTHS: [usize; 3] = [16, 32, 64];
/// Strides of the first blocks of the stages.
const STRIDES: [usize; 3] = [1, 2, 2];

/// What to build.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WideResNetConfig {
    /// Number of classes `K`, at least 2.
    pub classes: usize,
    /// Mean of each channel, in units of pixels in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, in the same units.
    pub std: [f32; 3],
    /// Side of the square input in pixels, at least 1.
    pub side: usize,
    /// Convolutions in a row, `6 n + 4` for `n` blocks a stage.
    pub depth: usize,
    /// Channels as a multiple of 16, 32 and 64.
    pub widen: usize,
}

impl WideResNetConfig {
    /// WRN-28-10: 32x32 input, mean 0 and standard deviation 1.
    pub fn new(classes: usize) -> Self {
        Self { classes, mean: [0.0; 3], std: [1.0; 3], side: 32, depth: 28, widen: 10 }
    }

    fn blocks(&self) -> usize {
        self.depth.saturating_sub(4) / 6
    }

    /// Channels and stride of each block, stage by stage.
    fn plan(&self) -> impl Iterator<Item = (usize, usize)> {
        let (count, widen) = (self.blocks(), self.widen);
        WIDTHS.into_iter().zip(STRIDES).flat_map(move |(width, stride)| {
            (0..count).map(move |index| (width * widen, if index == 0 { stride } else { 1 }))
        })
    }

    /// Parameters and cost.
    pub fn size(&self) -> Size {
        Block::network_size(WIDTHS[0], self.side, self.plan(), self.classes)
    }

    /// A network with weights drawn from a seed.
    pub fn build(&self, seed: Seed, device: &Device) -> PreActResNet {
        let normalize = Normalize::new(&self.mean, &self.std);
        let surround = Surround { stem: WIDTHS[0], normalize, side: self.side, classes: self.classes };
        PreActResNet::around(surround, self.plan(), seed, device)
    }
}

/// Names in RobustBench.
pub(super) fn key_maps(network: &PreActResNet) -> Vec<KeyMap> {
    let mut names = vec![pair("stem", "conv1"), pair("norm", "bn1"), pair("head", "fc")];
    let count = network.blocks.len() / WIDTHS.len();
    for (index, block) in network.blocks.iter().enumerate() {
        let theirs = format!("block{}.layer.{}", index / count + 1, index % count);
        names.extend(block.names(&format!("blocks.{index}"), &theirs, "convShortcut"));
    }
    vec![KeyMap { idle: &["sub_block1."], ..KeyMap::new("RobustBench", names) }]
}

#[cfg(test)]
mod tests {
    use burn::module::Module as _;

    use super::*;
    use crate::models::fixtures::assert_agrees_with_stock;

    #[test]
    fn the_network_agrees_with_itself_on_the_operators_of_burn() {
        let config = WideResNetConfig { side: 16, depth: 16, widen: 1, ..WideResNetConfig::new(5) };
        assert_agrees_with_stock(|device| config.build(Seed::new(3), device));
    }

    #[test]
    fn the_full_networks_have_the_size_of_the_paper() {
        // sum(p.numel() for p in WideResNet(depth, 10, widen_factor=10).parameters()) of RobustBench; the paper
        // states 36.5 M for 28-10 and 5.2 G multiply-accumulates.
        for (depth, parameters, macs) in [(28, 36_479_194, 5.25), (34, 46_160_474, 6.66)] {
            let size = WideResNetConfig { depth, ..WideResNetConfig::new(10) }.size();
            assert_eq!(size.parameters, parameters);
            assert!((size.macs as f64 / 1e9 - macs).abs() < 0.02, "{}", size.macs);
        }
    }

    #[test]
    fn the_size_is_that_of_what_is_built() {
        let config = WideResNetConfig { depth: 16, widen: 2, ..WideResNetConfig::new(5) };
        let model = config.build(Seed::new(0), &Device::default());
        // Before each convolution of a block there is a norm of as many channels, and one at the end.
        let mut channels = 16;
        let mut running = 2 * 128;
        for (outputs, _) in config.plan() {
            running += 2 * (channels + outputs);
            channels = outputs;
        }
        assert_eq!(model.num_params() - running, config.size().parameters as usize);
    }
}
