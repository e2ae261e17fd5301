//! Kernels on plain slices of `f32`: nothing here knows of tensors or gradients of other operators.

// A kernel is one function for each instruction set: what it calls must be inlined whatever the compiler
// thinks of its size, or it would be compiled without the set.
#![allow(clippy::inline_always)]

mod buffer;
mod dense;
mod frozen;
mod frozen_tiles;
#[cfg(target_arch = "x86_64")]
mod half;
mod lanes;
mod masks;
mod matmul;
mod norm;
mod norm_pool;
mod pool;
mod strip;
mod transform;
mod weight_gradient;
mod winograd;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use buffer::recycle;
pub(super) use dense::Panels;
pub(super) use frozen::{Forward, Grid, Source, Then, Weights, backward, backward_to_pixels, pixels};
pub(super) use frozen_tiles::has_half;
pub(super) use lanes::Isa;
pub(super) use norm::{Affine, Dependence, affine, gradient_sums, input_gradient, statistics};
pub(super) use norm_pool::{Plane, norm_pool, norm_pool_gradient, norm_pool_sums};
pub(super) use pool::{max_pool, max_pool_gradient};
pub(super) use strip::Images;
pub(super) use weight_gradient::weight_gradient;
pub(super) use winograd::{Filter, convolve};
