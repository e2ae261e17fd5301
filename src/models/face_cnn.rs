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
    use crate::models::Victim;
    use crate::nn::with_stock;
    use burn::module::{ModuleVisitor, Param};
    use burn::tensor::TensorData;
    use rand::RngExt;

    /// All parameters and running statistics.
    fn values(model: &FaceCnn) -> Vec<f32> {
        struct Values(Vec<f32>);
        impl ModuleVisitor for Values {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.extend(param.val().try_to_vec_as::<f32>().expect("f32"));
            }
        }
        let mut visitor = Values(Vec::new());
        model.visit(&mut visitor);
        visitor.0
    }

    /// After one training forward: the values of the model, then logits and input gradient of a victim.
    fn run() -> [Vec<f32>; 3] {
        let config = FaceCnnConfig { side: 32, ..FaceCnnConfig::new(5) };
        let model = FaceCnn::new(&config, Seed::new(3), &Device::default().autodiff());
        let mut rng = Seed::new(4).rng();
        let pixels: Vec<f32> = (0..4 * 3 * 32 * 32).map(|_| rng.random_range(0.0..1.0)).collect();
        let images: Tensor<4> =
            Tensor::from_data(TensorData::new(pixels, [4, 3, 32, 32]), &Device::default());
        model.forward(images.clone().autodiff());
        let trained = values(&model);
        let victim = Victim::new(&model);
        let found = victim.input_gradient(images, |logits| logits.slice([0..4, 1..2]).squeeze_dim(1));
        assert_eq!(trained, values(&model), "a victim changed the model");
        let logits = found.logits.try_to_vec_as::<f32>().expect("f32");
        [trained, logits, found.gradient.try_to_vec_as::<f32>().expect("f32")]
    }

    #[test]
    fn the_size_is_that_of_what_is_built() {
        let config = FaceCnnConfig { side: 32, ..FaceCnnConfig::new(5) };
        let model = FaceCnn::new(&config, Seed::new(3), &Device::default());
        let running: usize = WIDTHS.iter().map(|width| 2 * width).sum();
        assert_eq!(model.num_params() - running, config.size().parameters as usize);
    }

    #[test]
    fn the_network_agrees_with_itself_on_the_operators_of_burn() {
        let ([trained, logits, gradient], [own_trained, own_logits, own_gradient]) = (run(), with_stock(run));
        let gap = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(gap(&trained, &own_trained) < 1e-5);
        assert!(gap(&logits, &own_logits) < 1e-4);
        // Rounding turns a ReLU or the winner of a window here and there: compare the directions.
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
        let norms = (dot(&gradient, &gradient) * dot(&own_gradient, &own_gradient)).sqrt();
        let cosine = dot(&gradient, &own_gradient) / norms;
        assert!(cosine > 0.9999, "{cosine}");
    }
}
