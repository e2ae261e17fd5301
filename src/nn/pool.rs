//! Pooling.

use burn::tensor::Tensor;

use super::ops;

/// Maximum over windows of 2x2 with stride 2: `[N, C, H, W]` to `[N, C, H/2, W/2]`, rounded down.
pub fn max_pool_2x2(input: Tensor<4>) -> Tensor<4> {
    ops::max_pool_2x2(input)
}

/// `max_pool_2x2(relu(input))`, `[N, C, H, W]` to `[N, C, H/2, W/2]`, in one pass.
pub fn relu_max_pool_2x2(input: Tensor<4>) -> Tensor<4> {
    ops::relu_max_pool_2x2(input)
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
