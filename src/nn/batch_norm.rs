//! Batch normalisation followed by ReLU.

use burn::module::{Flag, Module, Param, RunningState};
use burn::tensor::{Device, Tensor};

use super::init;
use super::ops::{self, After};

/// Batch normalisation over `[N, C, H, W]` (Ioffe and Szegedy 2015).
///
/// It normalises with the statistics of the batch, and updates the running ones, exactly when its
/// `training` flag is set: Burn's `valid` and `freeze` clear that flag.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// Scale, `[C]`.
    pub gamma: Param<Tensor<1>>,
    /// Shift, `[C]`.
    pub beta: Param<Tensor<1>>,
    /// Running mean, `[C]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// Running variance (unbiased, as PyTorch keeps it), `[C]`.
    pub running_var: RunningState<Tensor<1>>,
    training: Param<Flag>,
    momentum: f64,
    epsilon: f64,
}

impl BatchNorm {
    /// Scale one, shift zero, momentum 0.1 and epsilon 1e-5, the defaults of PyTorch.
    pub fn new(channels: usize, device: &Device) -> Self {
        // Running statistics are buffers: they live outside autodiff.
        let plain = device.clone().without_autodiff();
        Self {
            gamma: init::constant([channels], 1.0, device),
            beta: init::constant([channels], 0.0, device),
            running_mean: RunningState::new(Tensor::zeros([channels], &plain)),
            running_var: RunningState::new(Tensor::ones([channels], &plain)),
            training: Param::from_bool(true),
            momentum: 0.1,
            epsilon: 1e-5,
        }
    }

    /// `relu(batch_norm(input))`, `[N, C, H, W]` to the same.
    pub fn forward_relu(&self, input: Tensor<4>) -> Tensor<4> {
        self.normalize(input, After::Relu)
    }

    /// `[N, C, H, W]` to the same.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        self.normalize(input, After::Nothing)
    }

    /// `max_pool_2x2(relu(batch_norm(input)))`, `[N, C, H, W]` to `[N, C, H/2, W/2]`, in one pass.
    pub fn forward_relu_max_pool(&self, input: Tensor<4>) -> Tensor<4> {
        self.normalize(input, After::ReluMaxPool)
    }

    /// The layer with its running statistics as `scale * x + shift` a channel, if our kernels can have the
    /// values.
    pub(super) fn scale_and_shift(&self) -> Option<(Vec<f32>, Vec<f32>)> {
        let row = |tensor: Tensor<1>| tensor.try_to_vec_as::<f32>().ok();
        let (gamma, beta) = (row(self.gamma.val())?, row(self.beta.val())?);
        let (mean, variance) = (row(self.running_mean.value_sync())?, row(self.running_var.value_sync())?);
        let precision = variance.iter().map(|v| 1.0 / (v + self.epsilon as f32).sqrt());
        let scale: Vec<f32> =
            gamma.iter().zip(precision).map(|(gamma, precision)| gamma * precision).collect();
        let moved = beta.iter().zip(mean.iter().zip(&scale));
        let shift = moved.map(|(beta, (mean, scale))| beta - mean * scale).collect();
        Some((scale, shift))
    }

    fn normalize(&self, input: Tensor<4>, after: After) -> Tensor<4> {
        let weights = [self.gamma.val(), self.beta.val()];
        if !self.training.is_enabled() {
            let statistics = [self.running_mean.value_sync(), self.running_var.value_sync()];
            return ops::batch_norm(input, weights, statistics, self.epsilon, after);
        }
        let [count, _, height, width] = input.dims();
        let (output, [mean, variance]) = ops::batch_norm_train(input, weights, self.epsilon, after);
        // Burn reports the biased variance. A single value has no unbiased one: its variance stays zero.
        let size = count * height * width;
        let unbiased = variance.mul_scalar(size as f64 / size.saturating_sub(1).max(1) as f64);
        update(&self.running_mean, mean, self.momentum);
        update(&self.running_var, unbiased, self.momentum);
        output
    }
}

/// Moves a running statistic towards the value of the batch.
fn update(running: &RunningState<Tensor<1>>, batch: Tensor<1>, momentum: f64) {
    let old = running.value_sync().without_autodiff();
    running.update(old.mul_scalar(1.0 - momentum) + batch.without_autodiff().mul_scalar(momentum));
    // The next reader, be it a frozen snapshot, sees this update and not the one before.
    let _ = running.value_sync();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::with_stock;

    #[test]
    fn running_statistics_move_towards_the_unbiased_ones_of_the_batch() {
        let run = || {
            let device = Device::default().autodiff();
            let norm = BatchNorm::new(1, &device);
            norm.forward_relu(Tensor::from_data([[[[1.0_f32, 2.0], [3.0, 4.0]]]], &device));
            let value = |statistic: &RunningState<Tensor<1>>| statistic.value_sync().into_scalar::<f32>();
            (value(&norm.running_mean), value(&norm.running_var))
        };
        // torch.nn.BatchNorm2d(1) in training mode: mean 2.5, variance 5/3, momentum 0.1.
        for (mean, variance) in [run(), with_stock(run)] {
            assert!((mean - 0.25).abs() < 1e-6, "{mean}");
            assert!((variance - (0.9 + 0.1 * 5.0 / 3.0)).abs() < 1e-6, "{variance}");
        }
    }
}
