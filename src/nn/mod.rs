//! Layers. On Burn's CPU device their kernels are ours where that is measured faster than the
//! framework's; everywhere else they are the framework's own. A model never sees the difference.

mod attention;
mod batch_norm;
mod conv;
mod frozen;
mod gelu;
mod init;
mod kernels;
mod layer_norm;
mod linear;
mod normalize;
mod ops;
mod pixelwise;
mod pool;

pub use attention::SelfAttention;
pub use batch_norm::BatchNorm;
pub use conv::Conv2d;
pub use frozen::{After, Frozen, FrozenBuilder, FrozenPass, Precision, PrecisionError};
pub use gelu::gelu;
pub use init::{blank, normal};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use normalize::Normalize;
pub use pixelwise::{chosen, normalised, pixelwise};
pub use pool::{
    adaptive_average_pool, average_pool, global_average_pool, max_pool, max_pool_2x2, relu_max_pool_2x2,
};

#[cfg(test)]
pub(crate) use ops::with_stock;

/// Name of the instruction set that the kernels of this process use, such as `avx512`. Results differ
/// between sets in their last digits.
pub fn instruction_set() -> &'static str {
    kernels::Isa::active().name()
}
