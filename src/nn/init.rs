//! Initial weights, drawn by key: the same seed gives the same network on every machine.

use std::cell::Cell;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use crate::Seed;

thread_local! {
    static BLANK: Cell<bool> = const { Cell::new(false) };
}

/// Runs `build`, in which nothing is drawn: what would be random is zero. For a network all of whose weights are
/// read at once. A tensor of zeros takes no memory before it is written to, and drawing the weights of VGG-16 takes
/// longer than reading them.
pub fn blank<T>(build: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            BLANK.set(self.0);
        }
    }
    let _restore = Restore(BLANK.replace(true));
    build()
}

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
    if BLANK.get() {
        return constant(shape, 0.0, device);
    }
    let bound = 1.0 / (fan_in as f32).sqrt();
    let mut rng = seed.rng();
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-bound..bound)).collect();
    param(TensorData::new(values, shape), device)
}

/// Normal weights with mean zero and a standard deviation (by the method of Box and Muller, 1958).
pub fn normal<const D: usize>(
    shape: [usize; D],
    deviation: f32,
    seed: Seed,
    device: &Device,
) -> Param<Tensor<D>> {
    if BLANK.get() {
        return constant(shape, 0.0, device);
    }
    let mut rng = seed.rng();
    let mut draw = || {
        // In (0, 1]: the logarithm is finite.
        let radius = (-2.0 * (1.0 - rng.random_range(0.0_f64..1.0)).ln()).sqrt();
        let angle = rng.random_range(0.0..std::f64::consts::TAU);
        deviation * (radius * angle.cos()) as f32
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| draw()).collect();
    param(TensorData::new(values, shape), device)
}

/// A parameter with one value everywhere.
pub(super) fn constant<const D: usize>(shape: [usize; D], value: f32, device: &Device) -> Param<Tensor<D>> {
    let tensor = if value == 0.0 { Tensor::zeros(shape, device) } else { Tensor::full(shape, value, device) };
    Param::from_tensor(tensor)
}

fn param<const D: usize>(data: TensorData, device: &Device) -> Param<Tensor<D>> {
    Param::from_tensor(Tensor::from_data(data, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_drawn_for_a_blank_network_and_again_after_it() {
        let sum = |param: Param<Tensor<1>>| param.val().abs().sum().into_scalar::<f32>();
        let (uniform, device) =
            (|| kaiming_uniform([9], 4, Seed::new(1), &Device::default()), Device::default());
        let inside = blank(|| {
            blank(|| ());
            [sum(uniform()), sum(normal([9], 0.1, Seed::new(1), &device))]
        });
        assert!(inside.iter().all(|sum| *sum == 0.0), "{inside:?}");
        let broken = std::panic::catch_unwind(|| blank(|| panic!("in between")));
        assert!(
            broken.is_err() && sum(uniform()) > 0.0 && sum(normal([9], 0.1, Seed::new(1), &device)) > 0.0
        );
    }

    #[test]
    fn normal_weights_have_their_mean_and_deviation() {
        let weights = normal([100, 200], 0.02, Seed::new(1), &Device::default()).val();
        let weights = weights.try_to_vec_as::<f32>().expect("f32");
        let moment = |power: i32| weights.iter().map(|w| f64::from(*w / 0.02).powi(power)).sum::<f64>() / 2e4;
        // Standard errors of the first four moments: 0.007, 0.01, 0.027, 0.07.
        for (power, expected, error) in [(1, 0.0, 0.03), (2, 1.0, 0.04), (3, 0.0, 0.12), (4, 3.0, 0.3)] {
            assert!((moment(power) - expected).abs() < error, "{power}: {}", moment(power));
        }
    }
}
