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
        Self::new([in_channels, out_channels], 3, 1, 1, seed, device)
    }

    /// A convolution of `[in_channels, out_channels]`, without bias. Kernel and stride are at least 1.
    pub fn new(
        [in_channels, out_channels]: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
        seed: Seed,
        device: &Device,
    ) -> Self {
        let shape = [out_channels, in_channels, kernel, kernel];
        let weight = init::kaiming_uniform(shape, in_channels * kernel * kernel, seed, device);
        Self { weight, bias: None, stride, padding }
    }

    /// The same with a bias, uniform in `±1/sqrt(fan_in)` as PyTorch draws it.
    #[must_use]
    pub fn with_bias(self, seed: Seed, device: &Device) -> Self {
        let [out_channels, in_channels, height, width] = self.weight.dims();
        let fan_in = in_channels * height * width;
        Self { bias: Some(init::kaiming_uniform([out_channels], fan_in, seed, device)), ..self }
    }

    pub(super) fn stride_and_padding(&self) -> [usize; 2] {
        [self.stride, self.padding]
    }

    /// `[N, in_channels, H, W]` to `[N, out_channels, H', W']`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        self.convolve(input, false)
    }

    /// `relu(convolution(input))`, in one pass.
    pub fn forward_relu(&self, input: Tensor<4>) -> Tensor<4> {
        self.convolve(input, true)
    }

    fn convolve(&self, input: Tensor<4>, relu: bool) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        let settings = ops::Settings { stride: self.stride, padding: self.padding, relu };
        ops::conv2d(input, self.weight.val(), bias, settings)
    }
}
