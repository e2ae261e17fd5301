//! Pooling.

use burn::tensor::Tensor;
use burn::tensor::module::{adaptive_avg_pool2d, max_pool2d};
use burn::tensor::ops::MaxPoolOptions;

use super::ops;

/// Maximum over windows of 2x2 with stride 2: `[N, C, H, W]` to `[N, C, H/2, W/2]`, rounded down.
pub fn max_pool_2x2(input: Tensor<4>) -> Tensor<4> {
    ops::max_pool_2x2(input)
}

/// `max_pool_2x2(relu(input))`, `[N, C, H, W]` to `[N, C, H/2, W/2]`, in one pass.
pub fn relu_max_pool_2x2(input: Tensor<4>) -> Tensor<4> {
    ops::relu_max_pool_2x2(input)
}

/// Maximum over windows of `side x side` that fit whole, with any stride and with a border of pixels that never
/// win: `[N, C, H, W]` to `[N, C, (H + 2 border - side)/stride + 1, ..]`, rounded down. By Burn's own operator.
pub fn max_pool(input: Tensor<4>, side: usize, stride: usize, border: usize) -> Tensor<4> {
    let options = MaxPoolOptions::new([side; 2]).with_stride([stride; 2]).with_padding([border; 2]);
    max_pool2d(input, options)
}

/// Mean over windows of `side x side` with stride `side`: `[N, C, H, W]` to `[N, C, H/side, W/side]`, rounded
/// down.
pub fn average_pool(input: Tensor<4>, side: usize) -> Tensor<4> {
    ops::average_pool(input, side)
}

/// Mean over each plane: `[N, C, H, W]` to `[N, C]`.
pub fn global_average_pool(input: Tensor<4>) -> Tensor<2> {
    ops::global_average_pool(input)
}

/// Mean over `side x side` windows that together cover each plane, as PyTorch's adaptive average pooling
/// lays them: `[N, C, H, W]` to `[N, C, side, side]`.
pub fn adaptive_average_pool(input: Tensor<4>, side: usize) -> Tensor<4> {
    let [_, _, height, width] = input.dims();
    if (height, width) == (side, side) {
        return input;
    }
    if height.is_multiple_of(side) && height == width {
        return average_pool(input, height / side);
    }
    adaptive_avg_pool2d(input, [side; 2])
}
