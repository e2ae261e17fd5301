//! Kernels on plain slices of `f32`: nothing here knows of tensors or gradients of other operators.

// A kernel is one function for each instruction set: what it calls must be inlined whatever the compiler
// thinks of its size, or it would be compiled without the set.
#![allow(clippy::inline_always)]

mod attention;
mod average;
#[cfg(target_arch = "x86_64")]
mod brain;
mod buffer;
mod column_gradient;
mod dense;
mod exponential;
mod filter;
mod fixed;
mod frozen;
mod frozen_source;
mod frozen_target;
mod frozen_tiles;
mod frozen_wide;
mod gate;
mod gelu;
#[cfg(target_arch = "x86_64")]
mod half;
mod im2col;
mod lanes;
mod layer_norm;
mod masks;
mod matmul;
mod norm;
mod norm_pool;
mod pool;
mod row_product;
mod strip;
mod transform;
mod weight_gradient;
mod wide;
mod wide_gradient;
mod winograd;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(super) use attention::{Sizes, attention, attention_gradient};
pub(super) use average::{average_pool, average_pool_gradient, plane_means, plane_means_gradient};
pub(super) use buffer::{Output, recycle};
pub(super) use column_gradient::weight_gradient_by_columns;
pub(super) use dense::{Panels, Plus, column_sums, dense, matrix_gradient};
pub(super) use filter::Taps;
pub(super) use fixed::FixedMatrix;
pub(super) use frozen::{Forward, Grid, Then, Way, Weights, backward, backward_to_pixels, pixels};
pub(super) use frozen_source::FrozenInput;
pub(super) use frozen_tiles::Short;
pub(super) use gate::{channel_sums, gate};
pub(super) use gelu::{gelu, gelu_gradient};
pub(super) use im2col::{Window, convolve_by_columns, input_gradient_by_columns};
pub(super) use lanes::Isa;
pub(super) use layer_norm::{Columns, RowStatistics, layer_norm, layer_norm_gradients};
pub(super) use norm::{Affine, Dependence, affine, gradient_sums, input_gradient, statistics};
pub(super) use norm_pool::{Plane, norm_pool, norm_pool_gradient, norm_pool_sums};
pub(super) use pool::{max_pool, max_pool_gradient};
pub(super) use strip::{Finish, Images, Source};
pub(super) use weight_gradient::weight_gradient;
pub(super) use winograd::convolve;
