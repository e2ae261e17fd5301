//! Two-dimensional convolution.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::{init, ops};
use crate::Seed;

/// A convolution with a square kernel, an equal stride and zero padding on all sides.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[out_channels, in_channels, kernel, kernel]`.
    pub weight: Param<Tensor<4>>,
    /// `[out_channels]`; absent where a BatchNorm follows.
    pub bias: Option<Param<Tensor<1>>>,
    stride: usize,
    padding: usize,
}

impl Conv2d {
    /// A 3x3 convolution of stride 1 that keeps the size, without bias.
    pub fn same_3x3(in_channels: usize, out_channels: usize, seed: Seed, device: &Device) -> Self {
        let weight = init::kaiming_uniform([out_channels, in_channels, 3, 3], in_channels * 9, seed, device);
        Self { weight, bias: None, stride: 1, padding: 1 }
    }

    pub(super) fn stride_and_padding(&self) -> [usize; 2] {
        [self.stride, self.padding]
    }

    /// `[N, in_channels, H, W]` to `[N, out_channels, H', W']`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        ops::conv2d(input, self.weight.val(), bias, self.stride, self.padding)
    }
}
