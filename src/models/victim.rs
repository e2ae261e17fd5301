//! The victim: the only door from a model to an attack.
//!
//! An attack needs the gradient of a loss with respect to the *pixels* of a model in evaluation mode, and
//! nothing else. A victim is a frozen snapshot of a model: its parameters are not tracked, its BatchNorm
//! uses and never changes the running statistics, and the model that it was made from is not touched by
//! anything that happens to it. So no gradient of an attack can reach an update (the published Sy-FAR
//! code lets all of them leak into it), and no attack can run in training mode.

use std::cell::{Cell, OnceCell, RefCell};

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::Classifier;
use crate::nn::{Frozen, FrozenPass, Precision, PrecisionError};

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
    /// How exactly gradients are computed.
    precision: Precision,
    /// The same network in its fast form, if it has one: made when it is asked for the first time.
    frozen: OnceCell<Option<Frozen>>,
    cost: Cell<Cost>,
    /// What it was shown, while somebody watches.
    watch: RefCell<Option<Watch>>,
}

/// Pictures that a victim was shown, and what it answered.
pub struct Shown {
    /// `[N, C, H, W]`, where they were to be kept.
    pub images: Option<Tensor<4>>,
    /// `[N, K]`.
    pub logits: Tensor<2>,
}

/// Somebody who watches a victim.
struct Watch {
    /// Whether the pictures with these logits are kept.
    keep: Box<dyn Fn(&Tensor<2>) -> bool + Send>,
    shown: Vec<Shown>,
}

impl Victim {
    /// Freezes a snapshot of a model. Later changes of the model do not show in it, and the other way
    /// round.
    pub fn new<M: Module + Classifier + 'static>(model: &M) -> Self {
        Self::freeze(model, Precision::Full)
    }

    /// As [`Victim::new`] with gradients in some precision. Logits and losses are those of full precision, but for
    /// those of [`Victim::search_gradient`]; so are the gradients of a network without a frozen form, and of
    /// pictures whose values on the way leave the range of half precision.
    ///
    /// # Errors
    /// Where the processor cannot compute so.
    pub fn with_precision<M: Module + Classifier + 'static>(
        model: &M,
        precision: Precision,
    ) -> Result<Self, PrecisionError> {
        precision.check()?;
        Ok(Self::freeze(model, precision))
    }

    fn freeze<M: Module + Classifier + 'static>(model: &M, precision: Precision) -> Self {
        // `valid` copies the running statistics (a clone shares them) and leaves autodiff; `train` brings
        // the frozen copy back to the autodiff device, where frozen parameters stay untracked.
        let plain = model.valid().freeze();
        let differentiable = plain.clone().train();
        let (plain, differentiable) = (Box::new(plain), Box::new(differentiable));
        let (frozen, cost, watch) = (OnceCell::new(), Cell::default(), RefCell::default());
        Self { plain, differentiable, precision, frozen, cost, watch }
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
        let fast = self.fast(&images).and_then(|frozen| frozen.logits(images.clone()));
        let shown = images.clone();
        let logits = fast.unwrap_or_else(|| self.plain.forward(images));
        self.note(&shown, &logits);
        logits
    }

    /// Does some work, and gives its result with every batch that the victim was shown meanwhile, in their
    /// order. Pictures are kept until then, so keep few of them: `keep` is asked with their logits. Work that
    /// is watched does not watch.
    pub fn watch<T>(
        &self,
        keep: impl Fn(&Tensor<2>) -> bool + Send + 'static,
        work: impl FnOnce() -> T,
    ) -> (T, Vec<Shown>) {
        self.watch.replace(Some(Watch { keep: Box::new(keep), shown: Vec::new() }));
        let result = work();
        (result, self.watch.take().map(|watch| watch.shown).unwrap_or_default())
    }

    fn note(&self, images: &Tensor<4>, logits: &Tensor<2>) {
        if let Some(watch) = self.watch.borrow_mut().as_mut() {
            let images = (watch.keep)(logits).then(|| images.clone());
            watch.shown.push(Shown { images, logits: logits.clone() });
        }
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
        let images = images.without_autodiff();
        let found = self.gradient_at(images.clone(), loss);
        self.note(&images, &found.logits);
        found
    }

    /// As [`Victim::input_gradient`] for a search: with [`Precision::Bfloat16`] logits and losses are near to those of
    /// the model, and whatever is decided by them is to be asked again of [`Victim::logits`]. Whoever watches is shown
    /// what is right.
    pub fn search_gradient(
        &self,
        images: Tensor<4>,
        loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
    ) -> InputGradient {
        if !self.searches_nearby() || self.watch.borrow().is_some() {
            return self.input_gradient(images, loss);
        }
        let count = images.dims()[0] as u64;
        self.cost.set(self.cost.get() + Cost { forwards: 0, gradients: count });
        self.gradient_along(images.without_autodiff(), Frozen::search, loss)
    }

    /// Whether the logits of [`Victim::search_gradient`] may differ from those of the model.
    pub fn searches_nearby(&self) -> bool {
        self.precision == Precision::Bfloat16
    }

    fn gradient_at(&self, images: Tensor<4>, loss: impl FnOnce(Tensor<2>) -> Tensor<1>) -> InputGradient {
        self.gradient_along(images, Frozen::forward, loss)
    }

    fn gradient_along(
        &self,
        images: Tensor<4>,
        forward: impl FnOnce(&Frozen, Tensor<4>) -> Option<(Tensor<2>, FrozenPass)>,
        loss: impl FnOnce(Tensor<2>) -> Tensor<1>,
    ) -> InputGradient {
        let pass = self.fast(&images).and_then(|frozen| Some((frozen, forward(frozen, images.clone())?)));
        let Some((frozen, (logits, pass))) = pass else { return self.by_graph(images, loss) };
        let leaf = on_autodiff(logits.clone()).require_grad();
        let losses = loss(leaf.clone());
        let above = gradient_of(&losses.clone().sum(), &leaf);
        let found = frozen.backward(pass, above.clone());
        let gradient = found.unwrap_or_else(|| {
            let along = |logits: Tensor<2>| (logits * on_autodiff(above)).sum_dim(1).squeeze_dim(1);
            self.by_graph(images, along).gradient
        });
        InputGradient { logits, loss: losses.without_autodiff(), gradient }
    }

    /// The fast form, if it takes these pictures.
    fn fast(&self, images: &Tensor<4>) -> Option<&Frozen> {
        let frozen = self.frozen.get_or_init(|| self.plain.frozen(self.precision));
        frozen.as_ref().filter(|frozen| frozen.takes(images))
    }

    /// [`Victim::input_gradient`] through the network as it is.
    fn by_graph(&self, images: Tensor<4>, loss: impl FnOnce(Tensor<2>) -> Tensor<1>) -> InputGradient {
        let images = on_autodiff(images).require_grad();
        let logits = self.differentiable.forward(images.clone());
        let losses = loss(logits.clone());
        let gradient = gradient_of(&losses.clone().sum(), &images);
        InputGradient { logits: logits.without_autodiff(), loss: losses.without_autodiff(), gradient }
    }
}

/// The gradient of a sum with respect to a leaf: zero if it does not depend on it.
fn gradient_of<const D: usize>(sum: &Tensor<1>, leaf: &Tensor<D>) -> Tensor<D> {
    // A layer that leaves the graph cuts it: nothing is tracked then.
    let found = sum.is_tracked().then(|| sum.backward()).and_then(|mut all| leaf.grad_remove(&mut all));
    found.unwrap_or_else(|| leaf.clone().without_autodiff().zeros_like())
}

/// A tensor moved to the autodiff side of its device, as a new leaf.
fn on_autodiff<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    let device: Device = tensor.device().autodiff();
    Tensor::from_inner(tensor.without_autodiff()).to_device(&device)
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
    fn what_is_shown_is_noted_while_somebody_watches() {
        let victim = Victim::new(&model());
        victim.logits(images(1));
        let pairs = |logits: &Tensor<2>| logits.dims()[0] == 2;
        let (gradient, shown) = victim.watch(pairs, || {
            victim.logits(images(1));
            victim.input_gradient(images(2), first_logit)
        });
        assert_eq!(shown.iter().map(|shown| shown.logits.dims()[0]).collect::<Vec<_>>(), [1, 2]);
        assert!(shown[0].images.is_none());
        assert_eq!(shown[1].images.as_ref().map(Tensor::to_data), Some(images(2).to_data()));
        assert_eq!(shown[1].logits.to_data(), gradient.logits.to_data());
        victim.logits(images(1));
        assert!(victim.watch(pairs, || ()).1.is_empty());
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
