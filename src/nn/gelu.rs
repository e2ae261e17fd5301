//! The Gaussian error linear unit.

use burn::tensor::Tensor;

use super::ops;

/// `x Φ(x)` of each value, with the exact distribution function Φ of the normal distribution (not its tanh
/// approximation).
pub fn gelu<const D: usize>(input: Tensor<D>) -> Tensor<D> {
    ops::gelu(input)
}
