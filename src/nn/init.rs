//! Initial weights, drawn by key: the same seed gives the same network on every machine.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use crate::Seed;

/// Kaiming-uniform weights as PyTorch draws them for convolutions and linear layers: uniform in
/// `(-1/sqrt(fan_in), 1/sqrt(fan_in))` (He et al. 2015 with a = sqrt(5)).
///
/// The tensor is made at once: a lazily initialised Burn parameter that is cloned and frozen leaves
/// the original without gradients too.
pub(super) fn kaiming_uniform<const D: usize>(
    shape: [usize; D],
    fan_in: usize,
    seed: Seed,
    device: &Device,
) -> Param<Tensor<D>> {
    let bound = 1.0 / (fan_in as f32).sqrt();
    let mut rng = seed.rng();
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-bound..bound)).collect();
    param(TensorData::new(values, shape), device)
}

/// A parameter with one value everywhere.
pub(super) fn constant<const D: usize>(shape: [usize; D], value: f32, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::full(shape, value, device))
}

fn param<const D: usize>(data: TensorData, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::from_data(data, device))
}
