//! The optimiser of a run, and the clipping of its gradients.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::Tensor;

/// Which optimiser, with its constants.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum OptimizerConfig {
    /// Stochastic gradient descent as PyTorch has it: no dampening (Burn's own default is 0.1).
    Sgd(Sgd),
    /// AdamW (Loshchilov and Hutter, ICLR 2019) with betas 0.9 and 0.999.
    AdamW(AdamW),
}

/// Constants of stochastic gradient descent.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sgd {
    /// Base learning rate; 0.01 by default.
    pub learning_rate: f64,
    /// Momentum in [0, 1); 0.9 by default.
    pub momentum: f64,
    /// L2 penalty added to the gradient; 5e-4 by default.
    pub weight_decay: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { learning_rate: 0.01, momentum: 0.9, weight_decay: 5e-4 }
    }
}

/// Constants of AdamW.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// Base learning rate; 1e-3 by default.
    pub learning_rate: f64,
    /// Decoupled weight decay; 0.01 by default.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { learning_rate: 1e-3, weight_decay: 0.01 }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::AdamW(AdamW::default())
    }
}

impl OptimizerConfig {
    /// The base learning rate.
    pub fn learning_rate(&self) -> f64 {
        match self {
            Self::Sgd(sgd) => sgd.learning_rate,
            Self::AdamW(adam) => adam.learning_rate,
        }
    }

    /// The optimiser, without state.
    pub(super) fn build(&self) -> ModuleOptimizer {
        match *self {
            Self::Sgd(Sgd { momentum, weight_decay, .. }) => {
                let momentum = MomentumConfig { momentum, dampening: 0.0, nesterov: false };
                SgdConfig::new()
                    .with_momentum((momentum.momentum > 0.0).then_some(momentum))
                    .with_weight_decay(
                        (weight_decay > 0.0).then(|| WeightDecayConfig::new(weight_decay as f32)),
                    )
                    .init()
            }
            Self::AdamW(AdamW { weight_decay, .. }) => {
                AdamWConfig::new().with_weight_decay(weight_decay as f32).init()
            }
        }
    }
}

/// Scales all gradients together so that their joint L2 norm is at most `limit` (0: any), and returns the
/// norm before that. (Burn clips each parameter by itself.)
pub(super) fn clip_by_global_norm<M: Module>(gradients: &mut GradientsParams, module: &M, limit: f64) -> f64 {
    let mut squares = SumOfSquares { gradients, total: 0.0 };
    module.visit(&mut squares);
    let norm = squares.total.sqrt();
    if limit > 0.0 && norm > limit {
        module.visit(&mut Scale { gradients, factor: limit / norm });
    }
    norm
}

struct SumOfSquares<'a> {
    gradients: &'a GradientsParams,
    total: f64,
}

impl ModuleVisitor for SumOfSquares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.total += f64::from((gradient.clone() * gradient).sum().into_scalar::<f32>());
        }
    }
}

struct Scale<'a> {
    gradients: &'a mut GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient.mul_scalar(self.factor));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Device;

    /// The gradients of `sum(1 * layer)`: one for each of 6 weights and 2 biases.
    fn gradients(layer: &Linear) -> GradientsParams {
        let ones = Tensor::<2>::ones([1, 3], &Device::default());
        GradientsParams::from_grads(layer.forward(ones).sum().backward(), layer)
    }

    #[test]
    fn the_joint_norm_is_clipped() {
        let layer = LinearConfig::new(3, 2).init(&Device::default().autodiff());
        let mut clipped = gradients(&layer);
        let norm = clip_by_global_norm(&mut clipped, &layer, 1.0);
        assert!((norm - 8.0_f64.sqrt()).abs() < 1e-6, "{norm}");
        assert!((clip_by_global_norm(&mut clipped, &layer, 0.0) - 1.0).abs() < 1e-6);
        let mut short = gradients(&layer);
        clip_by_global_norm(&mut short, &layer, 100.0);
        assert!((clip_by_global_norm(&mut short, &layer, 0.0) - norm).abs() < 1e-6);
    }

    /// ```python
    /// w = torch.zeros(1, requires_grad=True)
    /// opt = torch.optim.SGD([w], lr=0.1, momentum=0.9)
    /// for _ in range(3):
    ///     opt.zero_grad(); w.sum().backward(); opt.step()
    /// print(w)  # -0.5610
    /// ```
    #[test]
    fn sgd_with_momentum_is_that_of_pytorch() {
        let device = Device::default().autodiff();
        let mut layer = LinearConfig::new(1, 1).init(&device);
        let start = layer.bias.as_ref().expect("bias").val().into_scalar::<f32>();
        let config = OptimizerConfig::Sgd(Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 0.0 });
        let mut optimizer = config.build();
        for _ in 0..3 {
            let zeros = Tensor::<2>::zeros([1, 1], &Device::default());
            let gradients = GradientsParams::from_grads(layer.forward(zeros).sum().backward(), &layer);
            layer = optimizer.step(config.learning_rate(), layer, gradients);
        }
        let moved = layer.bias.as_ref().expect("bias").val().into_scalar::<f32>() - start;
        assert!((moved + 0.561).abs() < 1e-5, "{moved}");
    }
}
