//! The victim: the only door from a model to an attack.
//!
//! An attack needs the gradient of a loss with respect to the *pixels* of a model in evaluation mode, and
//! nothing else. A victim is a frozen snapshot of a model: its parameters are not tracked, its BatchNorm
//! uses and never changes the running statistics, and the model that it was made from is not touched by
//! anything that happens to it. So no gradient of an attack can reach an update (the published Sy-FAR
//! code lets all of them leak into it), and no attack can run in training mode.

use std::cell::Cell;

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::Classifier;

/// What an attack asked of a victim, counted in images (a batch of 64 counts 64).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Cost {
    /// Forward passes without a gradient.
    pub forwards: u64,
    /// Forward and backward passes to the input.
    pub gradients: u64,
}

impl std::ops::Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { forwards: self.forwards + other.forwards, gradients: self.gradients + other.gradients }
    }
}

impl std::ops::Sub for Cost {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { forwards: self.forwards - other.forwards, gradients: self.gradients - other.gradients }
    }
}

/// One evaluation of a loss with its gradient. None of the tensors carries an autodiff graph.
pub struct InputGradient {
    /// `[N, K]`.
    pub logits: Tensor<2>,
    /// The loss of each image, `[N]`.
    pub loss: Tensor<1>,
    /// Gradient of each image's own loss with respect to its pixels, `[N, C, H, W]`.
    pub gradient: Tensor<4>,
}

/// A frozen model in evaluation mode that gives logits and input gradients.
pub struct Victim {
    /// On the plain device: no graph is recorded.
    plain: Box<dyn Classifier>,
    /// The same weights on the autodiff device, all untracked.
    differentiable: Box<dyn Classifier>,
    cost: Cell<Cost>,
}

impl Victim {
    /// Freezes a snapshot of a model. Later changes of the model do not show in it, and the other way
    /// round.
    pub fn new<M: Module + Classifier + 'static>(model: &M) -> Self {
        // `valid` copies the running statistics (a clone shares them) and leaves autodiff; `train` brings
        // the frozen copy back to the autodiff device, where frozen parameters stay untracked.
        let plain = model.valid().freeze();
        let differentiable = plain.clone().train();
        Self { plain: Box::new(plain), differentiable: Box::new(differentiable), cost: Cell::default() }
    }

    /// Number of classes `K`.
    pub fn classes(&self) -> usize {
        self.plain.classes()
    }

    /// Images seen so far, forwards and gradients.
    pub fn cost(&self) -> Cost {
        self.cost.get()
    }

    /// Logits `[N, K]` of pixels `[N, C, H, W]`, without a graph.
    pub fn logits(&self, images: Tensor<4>) -> Tensor<2> {
        let count = images.dims()[0] as u64;
        self.cost.set(self.cost.get() + Cost { forwards: count, gradients: 0 });
        self.plain.forward(images)
    }

    /// The gradient of a per-image loss (logits `[N, K]` to losses `[N]`) with respect to the pixels.
    ///
    /// Each loss may depend on its own row of logits only; then the gradient of the sum is each image's
    /// own gradient, and the batch size has no influence.
    pub fn input_gradient(
        &self,
        images: Tensor<4>,
        loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
    ) -> InputGradient {
        let count = images.dims()[0] as u64;
        self.cost.set(self.cost.get() + Cost { forwards: 0, gradients: count });
        let images = on_autodiff(images).require_grad();
        let logits = self.differentiable.forward(images.clone());
        let losses = loss(logits.clone());
        let mut gradients = losses.clone().sum().backward();
        let gradient = match images.grad_remove(&mut gradients) {
            Some(gradient) => gradient,
            // A loss that does not depend on the pixels has the gradient zero.
            None => images.without_autodiff().zeros_like(),
        };
        InputGradient { logits: logits.without_autodiff(), loss: losses.without_autodiff(), gradient }
    }
}

/// A tensor moved to the autodiff side of its device, as a new leaf.
fn on_autodiff(images: Tensor<4>) -> Tensor<4> {
    let device: Device = images.device().autodiff();
    Tensor::from_inner(images.without_autodiff()).to_device(&device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use crate::models::{FaceCnn, FaceCnnConfig};
    use burn::module::ModuleVisitor;
    use burn::module::Param;
    use burn::tensor::TensorData;
    use rand::RngExt;

    fn model() -> FaceCnn {
        let config = FaceCnnConfig { side: 16, ..FaceCnnConfig::new(3) };
        FaceCnn::new(&config, Seed::new(0), &Device::default().autodiff())
    }

    fn images(count: usize) -> Tensor<4> {
        let mut rng = Seed::new(1).rng();
        let values: Vec<f32> = (0..count * 3 * 256).map(|_| rng.random_range(0.0..1.0)).collect();
        Tensor::from_data(TensorData::new(values, [count, 3, 16, 16]), &Device::default())
    }

    fn first_logit(logits: Tensor<2>) -> Tensor<1> {
        logits.slice([0..2, 0..1]).squeeze_dim(1)
    }

    /// All parameters and buffers of a model.
    fn values(model: &FaceCnn) -> Vec<Vec<f32>> {
        struct Values(Vec<Vec<f32>>);
        impl ModuleVisitor for Values {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.push(param.val().try_to_vec_as::<f32>().expect("f32"));
            }
        }
        let mut visitor = Values(Vec::new());
        model.visit(&mut visitor);
        visitor.0
    }

    /// Whether a training loss gives a gradient to every parameter.
    fn trainable(model: &FaceCnn) -> bool {
        struct Tracked(Vec<bool>);
        impl ModuleVisitor for Tracked {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0.push(param.val().is_require_grad());
            }
        }
        let mut tracked = Tracked(Vec::new());
        model.visit(&mut tracked);
        // Four blocks of weight, gamma, beta and a head of two; the running statistics are not tracked.
        tracked.0.iter().filter(|is| **is).count() == 4 * 3 + 2
    }

    #[test]
    fn an_attack_changes_nothing_in_the_model_that_it_was_made_from() {
        let model = model();
        let before = values(&model);
        let victim = Victim::new(&model);
        victim.input_gradient(images(2), first_logit);
        victim.logits(images(2));
        assert_eq!(before, values(&model), "weights or running statistics moved");
        assert!(trainable(&model), "the model is no longer trainable");
    }

    #[test]
    fn training_afterwards_does_not_show_in_the_victim() {
        let model = model();
        let victim = Victim::new(&model);
        let before = victim.logits(images(2)).to_data();
        // A training forward updates the running statistics of the model.
        let running = values(&model);
        model.forward(images(2).autodiff());
        assert_ne!(running, values(&model), "the training forward should update running statistics");
        assert_eq!(before, victim.logits(images(2)).to_data());
        let fresh = Victim::new(&model).logits(images(2)).to_data();
        assert_ne!(before, fresh, "a new victim sees the statistics of the last step");
    }

    #[test]
    fn input_gradient_agrees_with_finite_differences() {
        let victim = Victim::new(&model());
        let images = images(2);
        let found = victim.input_gradient(images.clone(), first_logit);
        let gradient: Vec<f32> = found.gradient.try_to_vec_as::<f32>().expect("f32");
        let pixels: Vec<f32> = images.try_to_vec_as::<f32>().expect("f32");
        for index in [5_usize, 300, 767] {
            let logit = |delta: f32| -> f32 {
                let mut moved = pixels.clone();
                moved[index] += delta;
                let moved = Tensor::from_data(TensorData::new(moved, [2, 3, 16, 16]), &Device::default());
                victim.logits(moved).slice([0..1, 0..1]).into_scalar()
            };
            let expected = (logit(1e-2) - logit(-1e-2)) / 2e-2;
            assert!((gradient[index] - expected).abs() < 2e-3 + 0.05 * expected.abs());
        }
    }

    #[test]
    fn forward_with_and_without_graph_agree() {
        let victim = Victim::new(&model());
        let with = victim.input_gradient(images(2), first_logit).logits;
        let gap: f32 = (with - victim.logits(images(2))).abs().max().into_scalar();
        assert!(gap < 1e-5, "{gap}");
        assert_eq!(victim.cost(), Cost { forwards: 2, gradients: 2 });
    }
}
