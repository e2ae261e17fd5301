//! Fully connected layer.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::{init, ops};
use crate::Seed;

/// `y = x W + b`.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[inputs, outputs]`: the transpose of PyTorch's.
    pub weight: Param<Tensor<2>>,
    /// `[outputs]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Weights and bias uniform in `±1/sqrt(inputs)`, as PyTorch draws them.
    pub fn new(inputs: usize, outputs: usize, seed: Seed, device: &Device) -> Self {
        Self {
            weight: init::kaiming_uniform([inputs, outputs], inputs, seed.purpose("weight"), device),
            bias: Some(init::kaiming_uniform([outputs], inputs, seed.purpose("bias"), device)),
        }
    }

    /// Normal weights with mean zero, and bias zero.
    pub fn normal(inputs: usize, outputs: usize, deviation: f32, seed: Seed, device: &Device) -> Self {
        Self {
            weight: init::normal([inputs, outputs], deviation, seed.purpose("weight"), device),
            bias: Some(init::constant([outputs], 0.0, device)),
        }
    }

    /// `[..., inputs]` to `[..., outputs]`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        ops::linear(input, self.weight.val(), self.bias.as_ref().map(Param::val))
    }

    /// The same plus `around`, `[..., outputs]`: the layer at the end of a residual branch.
    pub fn forward_plus<const D: usize>(&self, input: Tensor<D>, around: Tensor<D>) -> Tensor<D> {
        ops::linear_plus(input, self.weight.val(), self.bias.as_ref().map(Param::val), around)
    }
}
