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
