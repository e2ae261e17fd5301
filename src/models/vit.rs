//! The vision transformer (Dosovitskiy et al. 2021), in the form and with the initialisation of timm.
//!
//! Patches become tokens, a class token goes in front, learned positions are added; blocks of self-attention
//! and a two-layer perceptron follow, each behind a layer norm and around a residual connection; the head reads
//! the class token. The positions belong to one size of image; weights for another one are interpolated when
//! they are imported, as timm does it.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::weights::{KeyMap, pair};
use super::{Classifier, Size};
use crate::Seed;
use crate::nn::{LayerNorm, Linear, Normalize, SelfAttention, gelu, normal};

/// Hidden features of a block's perceptron, as a multiple of the width.
const HIDDEN: usize = 4;
/// Standard deviation of the initial weights.
const DEVIATION: f32 = 0.02;

/// What to build.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VitConfig {
    /// Number of classes `K`, at least 2.
    pub classes: usize,
    /// Mean of each channel, in units of pixels in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, in the same units.
    pub std: [f32; 3],
    /// Side of the square input in pixels, a multiple of `patch`.
    pub side: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Features of a token, a multiple of `heads`.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// What the layer norms add to the variance.
    pub epsilon: f64,
}

impl VitConfig {
    /// `vit_tiny_patch16_224` of timm: 224x224 input, patches of 16x16, 12 blocks of width 192 with 3 heads,
    /// epsilon 1e-6. Mean 0.5 and standard deviation 0.5.
    pub fn tiny(classes: usize) -> Self {
        Self {
            classes,
            mean: [0.5; 3],
            std: [0.5; 3],
            side: 224,
            patch: 16,
            width: 192,
            depth: 12,
            heads: 3,
            epsilon: 1e-6,
        }
    }

    /// `vit_small_patch16_224`: width 384 with 6 heads.
    pub fn small(classes: usize) -> Self {
        Self { width: 384, heads: 6, ..Self::tiny(classes) }
    }

    /// `vit_base_patch16_224`: width 768 with 12 heads.
    pub fn base(classes: usize) -> Self {
        Self { width: 768, heads: 12, ..Self::tiny(classes) }
    }

    /// Parameters and cost.
    pub fn size(&self) -> Size {
        let (patches, width, hidden) = (self.across().pow(2), self.width, HIDDEN * self.width);
        let tokens = patches + 1;
        let start = Size::default().linear(3 * self.patch * self.patch, width, patches);
        let block = |size: Size, _| {
            let attention = size.linear(width, 3 * width, tokens).linear(width, width, tokens);
            // Scores, and the sum of values that they weigh.
            let products = attention.plus(0, 2 * (tokens * tokens * width) as u64);
            products.linear(width, hidden, tokens).linear(hidden, width, tokens).more(4 * width)
        };
        let blocks = (0..self.depth).fold(start.more(width + tokens * width), block);
        blocks.more(2 * width).linear(width, self.classes, 1)
    }

    /// Patches in a row.
    fn across(&self) -> usize {
        self.side / self.patch
    }
}

/// The network.
#[derive(Module, Debug)]
pub struct Vit {
    pub(super) normalize: Normalize,
    /// `[3 * patch * patch, width]`: the patch's channels, in each its rows.
    patches: Linear,
    /// `[1, 1, width]`.
    class: Param<Tensor<3>>,
    /// `[1, tokens, width]`, the class token first.
    positions: Param<Tensor<3>>,
    blocks: Vec<Block>,
    norm: LayerNorm,
    head: Linear,
    side: usize,
    patch: usize,
    classes: usize,
}

#[derive(Module, Debug)]
struct Block {
    attention_norm: LayerNorm,
    attention: SelfAttention,
    norm: LayerNorm,
    expand: Linear,
    contract: Linear,
}

impl Block {
    fn new(config: &VitConfig, seed: Seed, device: &Device) -> Self {
        let VitConfig { width, heads, epsilon, .. } = *config;
        let linear =
            |inputs, outputs, name| Linear::normal(inputs, outputs, DEVIATION, seed.purpose(name), device);
        Self {
            attention_norm: LayerNorm::new(width, epsilon, device),
            attention: SelfAttention::new(width, heads, DEVIATION, seed.purpose("attention"), device),
            norm: LayerNorm::new(width, epsilon, device),
            expand: linear(width, HIDDEN * width, "expand"),
            contract: linear(HIDDEN * width, width, "contract"),
        }
    }

    /// `[N, tokens, width]` to the same.
    fn forward(&self, tokens: Tensor<3>) -> Tensor<3> {
        self.answer(self.attention_norm.forward(tokens.clone()), tokens)
    }

    /// `[N, tokens, width]` to the first token alone, `[N, 1, width]`.
    fn forward_class(&self, tokens: Tensor<3>) -> Tensor<3> {
        self.answer(self.attention_norm.forward(tokens.clone()), tokens.narrow(1, 0, 1))
    }

    /// What those tokens become that go `around` the attention, given all of them, normalised.
    fn answer(&self, normalised: Tensor<3>, around: Tensor<3>) -> Tensor<3> {
        let tokens = self.attention.forward_plus(normalised, around);
        let hidden = gelu(self.expand.forward(self.norm.forward(tokens.clone())));
        self.contract.forward_plus(hidden, tokens)
    }
}

impl Vit {
    /// A network with weights drawn from a seed: normal with deviation 0.02, the patches as PyTorch draws a
    /// convolution's, the class token almost zero.
    pub fn new(config: &VitConfig, seed: Seed, device: &Device) -> Self {
        let VitConfig { classes, side, patch, width, .. } = *config;
        let block = |index| Block::new(config, seed.purpose("block").at(index as u64), device);
        let tokens = config.across() * config.across() + 1;
        Self {
            normalize: Normalize::new(&config.mean, &config.std),
            patches: Linear::new(3 * patch * patch, width, seed.purpose("patches"), device),
            class: normal([1, 1, width], 1e-6, seed.purpose("class"), device),
            positions: normal([1, tokens, width], DEVIATION, seed.purpose("positions"), device),
            blocks: (0..config.depth).map(block).collect(),
            norm: LayerNorm::new(width, config.epsilon, device),
            head: Linear::normal(width, classes, DEVIATION, seed.purpose("head"), device),
            side,
            patch,
            classes,
        }
    }

    /// `[N, 3, side, side]` to `[N, tokens, width]`: a convolution whose stride is its kernel.
    fn tokens(&self, images: Tensor<4>) -> Tensor<3> {
        let ([count, ..], across, patch) = (images.dims(), self.side / self.patch, self.patch);
        let patches = images
            .reshape([count, 3, across, patch, across, patch])
            .permute([0, 2, 4, 1, 3, 5])
            .reshape([count, across * across, 3 * patch * patch]);
        let patches = self.patches.forward(patches);
        let class = self.class.val().expand([count as i64, -1, -1]);
        Tensor::cat(vec![class, patches], 1) + self.positions.val()
    }
}

impl Vit {
    /// Names in timm.
    pub(super) fn key_maps(&self) -> Vec<KeyMap> {
        let mut names = vec![
            pair("patches", "patch_embed.proj"),
            pair("class", "cls_token"),
            pair("positions", "pos_embed"),
            pair("norm", "norm"),
            pair("head", "head"),
        ];
        for index in 0..self.blocks.len() {
            let layers = [
                ("attention_norm", "norm1"),
                ("attention.qkv", "attn.qkv"),
                ("attention.projection", "attn.proj"),
                ("norm", "norm2"),
                ("expand", "mlp.fc1"),
                ("contract", "mlp.fc2"),
            ];
            let name =
                |(own, theirs)| pair(format!("blocks.{index}.{own}"), format!("blocks.{index}.{theirs}"));
            names.extend(layers.map(name));
        }
        let patches = Some(("patches", self.patch));
        vec![KeyMap { patches, positions: Some("positions"), ..KeyMap::new("timm", names) }]
    }
}

impl Classifier for Vit {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let tokens = self.tokens(self.normalize.forward(images));
        // The head reads the class token alone, and behind the last attention no token looks at another.
        let class = match self.blocks.split_last() {
            Some((last, blocks)) => {
                last.forward_class(blocks.iter().fold(tokens, |tokens, block| block.forward(tokens)))
            }
            None => tokens.narrow(1, 0, 1),
        };
        self.head.forward(self.norm.forward(class.squeeze_dim::<2>(1)))
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
    use burn::module::ModuleMapper;
    use burn::tensor::TensorData;

    fn config() -> VitConfig {
        VitConfig { side: 8, patch: 4, width: 12, depth: 2, heads: 3, ..VitConfig::tiny(5) }
    }

    /// Entry `i` of parameter `k` becomes `0.3 sin(i + 2 k)`.
    struct Waves(usize);
    impl ModuleMapper for Waves {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let phase = 2 * self.0;
            self.0 += 1;
            param.map(|old| {
                let wave = |i: usize| (0.3 * ((i + phase) as f64).sin()) as f32;
                let values: Vec<f32> = (0..old.shape().num_elements()).map(wave).collect();
                let fresh = Tensor::from_data(TensorData::new(values, old.dims()), &old.device());
                if old.is_require_grad() { fresh.require_grad() } else { fresh }
            })
        }
    }

    fn images(side: usize) -> Tensor<4> {
        let pixel = |i: usize| (0.5 + 0.5 * (0.37 * i as f64).sin()) as f32;
        let pixels: Vec<f32> = (0..2 * 3 * side * side).map(pixel).collect();
        Tensor::from_data(TensorData::new(pixels, [2, 3, side, side]), &Device::default())
    }

    /// Logits and the gradient of the sum of the second one with respect to the pixels.
    fn run(model: &Vit) -> [Vec<f32>; 2] {
        let images = images(model.side);
        let found = Victim::new(model).input_gradient(images, |logits| logits.narrow(1, 1, 1).squeeze_dim(1));
        [found.logits, found.gradient.flatten(1, 3)].map(|found| found.try_to_vec_as::<f32>().expect("f32"))
    }

    #[test]
    #[allow(clippy::unreadable_literal)] // As PyTorch prints them.
    fn the_network_has_the_values_of_pytorch() {
        let model = Vit::new(&config(), Seed::new(0), &Device::default().autodiff()).map(&mut Waves(0));
        let [logits, gradient] = run(&model);
        // Made with PyTorch 2 in float64:
        //   import math, torch, torch.nn.functional as F
        //   K = 0
        //   def p(*shape):
        //       global K
        //       i = torch.arange(math.prod(shape), dtype=torch.float64); K += 1
        //       return (0.3 * torch.sin(i + 2 * (K - 1))).float().double().reshape(shape)
        //   images = (0.5 + 0.5 * torch.sin(0.37 * torch.arange(384, dtype=torch.float64))).float().double()
        //   images = images.reshape(2, 3, 8, 8).requires_grad_(True)
        //   w, b = p(48, 12), p(12)
        //   x = F.conv2d((images - 0.5) / 0.5, w.t().reshape(12, 3, 4, 4), b, stride=4).flatten(2).transpose(1, 2)
        //   x = torch.cat([p(1, 1, 12).expand(2, 1, 12), x], 1) + p(1, 5, 12)
        //   ln = lambda x, g, b: F.layer_norm(x, (12,), g, b, 1e-6)
        //   for _ in range(2):
        //       h = ln(x, p(12), p(12)) @ p(12, 36) + p(36)
        //       q, k, v = h.reshape(2, 5, 3, 3, 4).permute(2, 0, 3, 1, 4)
        //       h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(2, 5, 12)
        //       x = x + h @ p(12, 12) + p(12)
        //       x = x + F.gelu(ln(x, p(12), p(12)) @ p(12, 48) + p(48)) @ p(48, 12) + p(12)
        //   y = ln(x, p(12), p(12))[:, 0] @ p(12, 5) + p(5)
        //   y[:, 1].sum().backward(); y, images.grad.flatten()[::50]
        let expected = [
            0.009816203,
            0.0536124,
            0.04811759,
            -0.001616305,
            -0.04986419,
            0.01005227,
            0.05366829,
            0.04794193,
            -0.001862025,
            -0.04995405,
        ];
        let slopes = [
            1.675698e-05,
            -0.0001140892,
            -0.0001968788,
            -6.521168e-05,
            3.621842e-05,
            0.0001178675,
            -1.5195e-05,
            0.0001072177,
        ];
        for (found, expected) in logits.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{logits:?}");
        }
        for (found, expected) in gradient.iter().step_by(50).zip(slopes) {
            assert!((found - expected).abs() < 1e-7, "{found} {expected}");
        }
    }

    #[test]
    fn the_network_agrees_with_itself_on_the_operators_of_burn() {
        let config = VitConfig { side: 48, patch: 16, width: 30, depth: 3, heads: 2, ..VitConfig::tiny(7) };
        let model = Vit::new(&config, Seed::new(3), &Device::default().autodiff()).map(&mut Waves(5));
        let ([logits, gradient], [own_logits, own_gradient]) = (run(&model), with_stock(|| run(&model)));
        let gap = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
        assert_eq!(logits.len(), 14);
        assert!(gap(&logits, &own_logits) < 1e-4, "{}", gap(&logits, &own_logits));
        let scale = own_gradient.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        assert!(gap(&gradient, &own_gradient) < 1e-3 * scale, "{} of {scale}", gap(&gradient, &own_gradient));
    }

    #[test]
    fn every_parameter_learns() {
        struct Untracked(usize, usize);
        impl burn::module::ModuleVisitor for Untracked {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0 += usize::from(!param.val().is_require_grad());
                self.1 += 1;
            }
        }
        let model = Vit::new(&config(), Seed::new(0), &Device::default().autodiff());
        Victim::new(&model);
        let mut untracked = Untracked(0, 0);
        model.visit(&mut untracked);
        // Patches, class, positions, two blocks of two norms and four matrices, norm, head.
        assert_eq!((untracked.0, untracked.1), (0, 2 + 1 + 1 + 2 * 12 + 2 + 2));
        let gradients = model.forward(images(8).autodiff()).square().sum().backward();
        let gradient = model.positions.val().grad(&gradients).expect("tracked");
        assert!(gradient.abs().min().into_scalar::<f32>() > 0.0);
    }

    #[test]
    fn the_networks_have_the_sizes_of_their_namesakes() {
        let model = Vit::new(&VitConfig::tiny(1000), Seed::new(0), &Device::default());
        // timm.create_model("vit_tiny_patch16_224"): sum(p.numel() for p in model.parameters()), and so on. timm
        // states 1.26, 4.6 and 17.58 G multiply-accumulates for its family of these three.
        assert_eq!(model.num_params(), 5_717_416);
        for (config, parameters, macs) in [
            (VitConfig::tiny(1000), 5_717_416, 1.26),
            (VitConfig::small(1000), 22_050_664, 4.61),
            (VitConfig::base(1000), 86_567_656, 17.58),
        ] {
            assert_eq!(config.size().parameters, parameters);
            let found = config.size().macs as f64 / 1e9;
            assert!((found - macs).abs() < 0.03, "{found}");
        }
    }
}
