//! The frozen form against the same layers on Burn's own operators, and what must not change its results.

use burn::module::{Module, Param, RunningState};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use super::*;
use crate::Seed;
use crate::nn::{max_pool_2x2, with_stock};

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let mut rng = Seed::new(seed).rng();
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::default())
}

#[allow(clippy::needless_pass_by_value)] // The tests hand over temporaries.
fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_to_vec_as::<f32>().expect("f32")
}

/// Convolutions, some with bias and some with BatchNorm, and two linear layers.
struct Layers {
    shape: [usize; 3],
    normalize: Normalize,
    convs: Vec<(Conv2d, Option<BatchNorm>, After)>,
    linears: [Linear; 2],
}

impl Layers {
    fn new(shape: [usize; 3], widths: &[(usize, After)]) -> Self {
        let (device, seed) = (Device::default(), Seed::new(5));
        let [mut channels, mut height, mut width] = shape;
        let mut convs = Vec::new();
        for (index, (outputs, after)) in widths.iter().enumerate() {
            let mut conv = Conv2d::same_3x3(channels, *outputs, seed.at(index as u64), &device);
            let norm = (index % 2 == 0).then(|| {
                let mut norm = BatchNorm::new(*outputs, &device).no_grad();
                norm.gamma = Param::from_tensor(random([*outputs], 11) + 1.2);
                norm.beta = Param::from_tensor(random([*outputs], 12) * 0.2);
                norm.running_mean = RunningState::new(random([*outputs], 13) * 0.2);
                norm.running_var = RunningState::new(random([*outputs], 14) * 0.5 + 0.7);
                norm.valid()
            });
            if index != 2 {
                conv.bias = Some(Param::from_tensor(random([*outputs], 15) * 0.3));
            }
            convs.push((conv, norm, *after));
            channels = *outputs;
            if *after == After::ReluMaxPool {
                (height, width) = (height / 2, width / 2);
            }
        }
        let linear = |inputs, outputs, key| Linear::new(inputs, outputs, seed.purpose(key), &device);
        let normalize = Normalize::new(&[0.4, 0.5, 0.6, 0.1][..shape[0]], &[0.25, 0.2, 0.3, 0.5][..shape[0]]);
        let linears = [linear(channels * height * width, 21, "first"), linear(21, 5, "second")];
        Self { shape, normalize, convs, linears }
    }

    fn frozen(&self, precision: Precision) -> Frozen {
        let start = FrozenBuilder::new(self.shape, &self.normalize, precision);
        let convs = self.convs.iter();
        let convs = convs.fold(start, |net, (conv, norm, after)| net.conv(conv, norm.as_ref(), *after));
        convs.linear(&self.linears[0], true).linear(&self.linears[1], false).finish().expect("known layers")
    }

    /// The layers one by one.
    fn forward(&self, pictures: Tensor<4>) -> Tensor<2> {
        let features = self.convs.iter().fold(self.normalize.forward(pictures), |x, (conv, norm, after)| {
            let x = conv.forward(x);
            let x = norm.as_ref().map_or(x.clone(), |norm| norm.forward(x));
            match after {
                After::Nothing => x,
                After::Relu => relu(x),
                After::ReluMaxPool => max_pool_2x2(relu(x)),
            }
        });
        self.linears[1].forward(relu(self.linears[0].forward(features.flatten(1, 3))))
    }

    /// Logits and gradient of the layers on Burn's operators.
    fn expected(&self, pictures: &Tensor<4>, above: &Tensor<2>) -> (Vec<f32>, Vec<f32>) {
        with_stock(|| {
            let leaf = |tensor: Tensor<4>| {
                Tensor::from_inner(tensor.clone()).to_device(&tensor.device().autodiff()).require_grad()
            };
            let pictures = leaf(pictures.clone());
            let logits = self.forward(pictures.clone());
            let above = Tensor::from_inner(above.clone()).to_device(&logits.device());
            let gradients = (logits.clone() * above).sum().backward();
            (values(logits.without_autodiff()), values(pictures.grad(&gradients).expect("tracked")))
        })
    }
}

fn found(frozen: &Frozen, pictures: &Tensor<4>, above: &Tensor<2>) -> (Vec<f32>, Vec<f32>) {
    let (logits, pass) = frozen.forward(pictures.clone()).expect("finite");
    (values(logits), values(frozen.backward(pass, above.clone()).expect("finite")))
}

/// The same as a search finds it.
fn searched(frozen: &Frozen, pictures: &Tensor<4>, above: &Tensor<2>) -> (Vec<f32>, Vec<f32>) {
    let (logits, pass) = frozen.search(pictures.clone()).expect("finite");
    (values(logits), values(frozen.backward(pass, above.clone()).expect("finite")))
}

fn gap(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
}

fn cosine_of(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

use After::{Nothing, Relu, ReluMaxPool};

/// Odd sizes, one channel, channels on and off every vector width, tiles that are cut.
fn cases() -> Vec<(usize, Layers)> {
    vec![
        (2, Layers::new([3, 16, 16], &[(32, ReluMaxPool), (17, ReluMaxPool)])),
        (3, Layers::new([1, 9, 7], &[(5, Relu), (16, ReluMaxPool), (3, Nothing), (20, Relu)])),
        (1, Layers::new([4, 5, 21], &[(33, ReluMaxPool)])),
        (65, Layers::new([3, 4, 2], &[(8, Nothing), (7, ReluMaxPool)])),
        (2, Layers::new([3, 13, 6], &[(9, Nothing), (70, Relu)])),
    ]
}

#[test]
fn logits_and_gradients_agree_with_the_layers_on_every_instruction_set() {
    for (count, layers) in cases() {
        let [channels, height, width] = layers.shape;
        let pictures = random([count, channels, height, width], 1) * 0.5 + 0.5;
        let above = random([count, 5], 2);
        let (logits, gradient) = layers.expected(&pictures, &above);
        for isa in Isa::available() {
            let (own_logits, own_gradient) =
                isa.force(|| found(&layers.frozen(Precision::Full), &pictures, &above));
            assert!(gap(&logits, &own_logits) < 1e-4, "{isa:?} {}", gap(&logits, &own_logits));
            // Rounding turns a ReLU or the winner of a window here and there.
            let cosine = cosine_of(&gradient, &own_gradient);
            assert!(cosine > 0.9999, "{isa:?} {:?} {cosine}", layers.shape);
        }
    }
}

#[test]
fn channels_in_the_other_order_are_those_of_the_layers() {
    for (count, mut layers) in cases() {
        let [channels, height, width] = layers.shape;
        let pictures = random([count, channels, height, width], 1) * 0.5 + 0.5;
        let above = random([count, 5], 2);
        let (plain, _) = layers.expected(&pictures, &above);
        layers.normalize.reverse_channels(true);
        let (logits, gradient) = layers.expected(&pictures, &above);
        assert!(channels == 1 || gap(&plain, &logits) > 1e-3);
        let (own_logits, own_gradient) = found(&layers.frozen(Precision::Full), &pictures, &above);
        assert!(gap(&logits, &own_logits) < 1e-4, "{}", gap(&logits, &own_logits));
        assert!(cosine_of(&gradient, &own_gradient) > 0.9999);
    }
}

#[test]
fn without_kinks_every_component_of_the_gradient_agrees() {
    let device = Device::default();
    let normalize = Normalize::new(&[0.5; 3], &[0.25; 3]);
    for [height, width] in [[11, 6], [4, 8], [1, 1], [7, 13]] {
        let conv = Conv2d::same_3x3(3, 19, Seed::new(1), &device);
        let linear = Linear::new(19 * height * width, 4, Seed::new(2), &device);
        let builder = FrozenBuilder::new([3, height, width], &normalize, Precision::Full);
        let frozen = builder.conv(&conv, None, Nothing).linear(&linear, false).finish().expect("known");
        let forward = |x| linear.forward(conv.forward(normalize.forward(x)).flatten(1, 3));
        let (pictures, above) = (random([3, 3, height, width], 3), random([3, 4], 4));
        let leaf = Tensor::from_inner(pictures.clone()).to_device(&device.clone().autodiff()).require_grad();
        let expected = with_stock(|| {
            let logits = forward(leaf.clone());
            let above = Tensor::from_inner(above.clone()).to_device(&logits.device());
            values(leaf.grad(&(logits * above).sum().backward()).expect("tracked"))
        });
        let scale = gap(&expected, &vec![0.0; expected.len()]);
        let (_, gradient) = found(&frozen, &pictures, &above);
        assert!(gap(&expected, &gradient) < 5e-5 * scale, "{}", gap(&expected, &gradient) / scale);
    }
}

#[test]
fn results_do_not_depend_on_threads_batch_or_passes_before() {
    let layers = Layers::new([3, 16, 16], &[(32, ReluMaxPool), (20, Relu), (24, ReluMaxPool)]);
    let frozen = layers.frozen(Precision::Full);
    let (pictures, above) = (random([24, 3, 16, 16], 1) * 0.5 + 0.5, random([24, 5], 2));
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| found(&frozen, &pictures, &above))
    };
    let all = with(1);
    assert_eq!(all, with(3));
    let one = found(&frozen, &pictures.clone().narrow(0, 7, 1), &above.clone().narrow(0, 7, 1));
    assert_eq!((one.0.as_slice(), one.1.as_slice()), (&all.0[35..40], &all.1[7 * 768..8 * 768]));
    // The memory of a smaller pass is used again for a larger one.
    assert_eq!(all, with(2));
}

#[test]
fn values_that_are_not_finite_give_nothing() {
    let layers = Layers::new([3, 16, 16], &[(32, ReluMaxPool), (20, Relu)]);
    let frozen = layers.frozen(Precision::Full);
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut pixels = values(random([2, 3, 16, 16], 1));
        pixels[900] = poison;
        let pictures: Tensor<4> =
            Tensor::from_data(TensorData::new(pixels, [2, 3, 16, 16]), &Device::default());
        assert!(frozen.logits(pictures.clone()).is_none() && frozen.forward(pictures).is_none());
        let (_, pass) = frozen.forward(random([2, 3, 16, 16], 1)).expect("finite");
        assert!(frozen.backward(pass, random([2, 5], 2) * poison).is_none());
    }
    let (_, pass) = frozen.forward(random([2, 3, 16, 16], 1)).expect("finite");
    assert!(frozen.backward(pass, random([2, 5], 2)).is_some(), "it goes on after that");
}

#[test]
fn layers_that_are_not_known_give_no_frozen_form() {
    let (device, seed) = (Device::default(), Seed::new(1));
    let normalize = Normalize::new(&[0.5; 3], &[0.25; 3]);
    let start = |shape| FrozenBuilder::new(shape, &normalize, Precision::Full);
    let conv = |inputs| Conv2d::same_3x3(inputs, 4, seed, &device);
    let linear = |inputs| Linear::new(inputs, 2, seed, &device);
    let known = start([3, 4, 4]).conv(&conv(3), None, Relu).linear(&linear(64), false);
    assert!(known.finish().is_some());
    assert!(start([3, 4, 4]).conv(&conv(5), None, Relu).linear(&linear(64), false).finish().is_none());
    assert!(start([1, 4, 4]).conv(&conv(1), None, Relu).linear(&linear(64), false).finish().is_none());
    assert!(start([3, 4, 4]).conv(&conv(3), None, Relu).finish().is_none(), "no logits");
    assert!(start([3, 4, 4]).linear(&linear(48), false).finish().is_none(), "no convolution");
    let too_small = start([3, 1, 4]).conv(&conv(3), None, ReluMaxPool);
    assert!(too_small.linear(&linear(8), false).finish().is_none());
    let stock =
        with_stock(|| start([3, 4, 4]).conv(&conv(3), None, Relu).linear(&linear(64), false).finish());
    assert!(stock.is_none(), "on other devices");
}

#[test]
fn sixteen_bits_point_the_same_way() {
    for (precision, instructions, least) in
        [(Precision::Half, "AVX-512 FP16", 0.99), (Precision::Bfloat16, "AVX-512 BF16", 0.99)]
    {
        if let Err(error) = precision.check() {
            assert!(error.to_string().contains(instructions), "{error}");
            continue;
        }
        for isa in Isa::available().into_iter().skip(1) {
            isa.force(|| assert!(precision.check().is_err(), "{isa:?}"));
        }
        for (count, layers) in cases() {
            let [channels, height, width] = layers.shape;
            let pictures = random([count, channels, height, width], 1) * 0.5 + 0.5;
            let above = random([count, 5], 2);
            let (logits, gradient) = found(&layers.frozen(Precision::Full), &pictures, &above);
            let (short_logits, short_gradient) = found(&layers.frozen(precision), &pictures, &above);
            assert_eq!(logits, short_logits, "logits are always in full precision");
            assert_ne!(gradient, short_gradient, "{precision:?} {:?}", layers.shape);
            let cosine = cosine_of(&gradient, &short_gradient);
            assert!(cosine > least, "{precision:?} {:?} {cosine}", layers.shape);
            let (near_logits, near_gradient) = searched(&layers.frozen(precision), &pictures, &above);
            let is_exact = precision == Precision::Half || layers.convs.len() == 1;
            assert_eq!(near_logits == logits, is_exact, "{precision:?} {:?}", layers.shape);
            let cosines = [cosine_of(&logits, &near_logits), cosine_of(&gradient, &near_gradient)];
            assert!(
                cosines.iter().all(|cosine| *cosine > 0.98),
                "{precision:?} {:?} {cosines:?}",
                layers.shape
            );
        }
    }
}
