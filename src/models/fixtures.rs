//! What the tests of several architectures share.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use super::{Architecture, Blueprint, Classifier, Network, Victim};
use crate::Seed;
use crate::nn::with_stock;

/// A network of an architecture with few channels and layers, its mean and standard deviation other ones for each
/// channel.
pub(super) fn narrow(architecture: Architecture, classes: usize, seed: u64) -> Network {
    let side = architecture.sides().0.max(32);
    narrow_blueprint(architecture, classes, side, [0.5, 0.4, 0.3]).build(Seed::new(seed), &Device::default())
}

/// Its configuration.
pub(super) fn narrow_blueprint(
    architecture: Architecture,
    classes: usize,
    side: usize,
    mean: [f32; 3],
) -> Blueprint {
    let mut blueprint = Blueprint::new(architecture, classes, side, mean, mean);
    match &mut blueprint {
        Blueprint::FaceCnn(_) => {}
        Blueprint::Vgg(config) => config.width = 1,
        Blueprint::PreActResNet(config) => config.width = 2,
        Blueprint::Vit(config) => (config.width, config.depth) = (4 * config.heads, 1),
        Blueprint::ResNet(config) => config.width = 2,
        Blueprint::WideResNet(config) => (config.depth, config.widen) = (10, 1),
        Blueprint::FaceNet(config) => config.width = 2,
    }
    blueprint
}

/// All parameters and running statistics.
fn values<M: Module>(model: &M) -> Vec<f32> {
    struct Values(Vec<f32>);
    impl ModuleVisitor for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().try_to_vec_as::<f32>().expect("f32"));
        }
    }
    let mut visitor = Values(Vec::new());
    model.visit(&mut visitor);
    visitor.0
}

/// The gradients of a training loss with respect to all parameters.
fn weight_gradients<M: Module + Classifier>(model: &M, images: Tensor<4>) -> Vec<f32> {
    struct Found<'a>(Vec<f32>, &'a burn::tensor::Gradients);
    impl ModuleVisitor for Found<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad(self.1) {
                self.0.extend(gradient.try_to_vec_as::<f32>().expect("f32"));
            }
        }
    }
    let logits = model.forward(images);
    let gradients = (logits.clone() * logits).sum().backward();
    let mut found = Found(Vec::new(), &gradients);
    model.visit(&mut found);
    found.0
}

/// Cosine of the angle between two vectors.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// One training step's gradients, then logits and input gradient of a victim, with our operators and with
/// those of Burn: running statistics and logits agree, the gradients point the same way. (Rounding turns a
/// ReLU or the winner of a window here and there, so entries may differ.)
pub(super) fn assert_agrees_with_stock<M: Module + Classifier + 'static>(make: impl Fn(&Device) -> M) {
    let run = || -> [Vec<f32>; 4] {
        let model = make(&Device::default().autodiff());
        let [channels, height, width] = model.input_shape();
        let shape = [3, channels, height, width];
        let mut rng = Seed::new(4).rng();
        let pixels: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(0.0..1.0)).collect();
        let images: Tensor<4> = Tensor::from_data(TensorData::new(pixels, shape), &Device::default());
        let weights = weight_gradients(&model, images.clone().autodiff());
        let trained = values(&model);
        let victim = Victim::new(&model);
        let found = victim.input_gradient(images, |logits| logits.slice([0..3, 1..2]).squeeze_dim(1));
        assert_eq!(trained, values(&model), "a victim changed the model");
        let logits = found.logits.try_to_vec_as::<f32>().expect("f32");
        [trained, logits, weights, found.gradient.try_to_vec_as::<f32>().expect("f32")]
    };
    let ([trained, logits, weights, pixels], own) = (run(), with_stock(run));
    let gap = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
    assert!(gap(&trained, &own[0]) < 1e-4, "{}", gap(&trained, &own[0]));
    assert!(gap(&logits, &own[1]) < 1e-4, "{}", gap(&logits, &own[1]));
    let (weights, pixels) = (cosine(&weights, &own[2]), cosine(&pixels, &own[3]));
    assert!(weights > 0.9999, "{weights}");
    assert!(pixels > 0.999, "{pixels}");
}
