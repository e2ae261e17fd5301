//! Self-attention.

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::{Linear, ops};
use crate::Seed;

/// Multi-head softmax self-attention (Vaswani et al. 2017) in the form of timm: one layer makes queries, keys
/// and values together, one joins the heads.
#[derive(Module, Debug)]
pub struct SelfAttention {
    /// `[model, 3 * model]`: queries, keys, values; in each the heads next to each other.
    pub qkv: Linear,
    /// `[model, model]`.
    pub projection: Linear,
    heads: usize,
}

impl SelfAttention {
    /// Normal weights of a standard deviation, drawn from a seed. `model` is a multiple of `heads`.
    pub fn new(model: usize, heads: usize, deviation: f32, seed: Seed, device: &Device) -> Self {
        Self {
            qkv: Linear::normal(model, 3 * model, deviation, seed.purpose("qkv"), device),
            projection: Linear::normal(model, model, deviation, seed.purpose("projection"), device),
            heads,
        }
    }

    /// `[N, tokens, model]` to `[N, answers, model]`, what the first tokens ask for, plus `around` of that shape: the
    /// residual connection.
    pub fn forward_plus(&self, tokens: Tensor<3>, around: Tensor<3>) -> Tensor<3> {
        let ([_, answers, _], [_, all, _]) = (around.dims(), tokens.dims());
        let mut joined = ops::attention(self.qkv.forward(tokens), self.heads);
        if answers < all {
            joined = joined.narrow(1, 0, answers);
        }
        self.projection.forward_plus(joined, around)
    }
}
