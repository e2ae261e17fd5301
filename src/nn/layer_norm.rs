//! Layer normalisation.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::{init, ops};

/// Normalises each row over its last dimension (Ba et al. 2016).
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale, `[width]`.
    pub gamma: Param<Tensor<1>>,
    /// Shift, `[width]`.
    pub beta: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    /// Scale one and shift zero. `epsilon` is added to the variance: 1e-5 is PyTorch's default, 1e-6 that of
    /// the vision transformers in timm.
    pub fn new(width: usize, epsilon: f64, device: &Device) -> Self {
        Self {
            gamma: init::constant([width], 1.0, device),
            beta: init::constant([width], 0.0, device),
            epsilon,
        }
    }

    /// `[..., width]` to the same.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        ops::layer_norm(input, [self.gamma.val(), self.beta.val()], self.epsilon)
    }
}
