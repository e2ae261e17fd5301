//! Every operator against Burn's own and against finite differences, on all instruction sets.

use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;
use rand::RngExt;

use super::{
    After, Settings, batch_norm, batch_norm_train, conv2d, max_pool_2x2, relu_max_pool_2x2, with_stock,
};
use crate::Seed;
use crate::nn::kernels::Isa;

/// Values in (-1, 1), the same for the same seed.
pub(super) fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let mut rng = Seed::new(seed).rng();
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0)).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::default())
}

#[allow(clippy::needless_pass_by_value)] // The tests hand over temporaries.
pub(super) fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_to_vec_as::<f32>().expect("f32")
}

/// The tensor as a new leaf of the autodiff device, tracked or not.
pub(super) fn leaf<const D: usize>(tensor: &Tensor<D>, tracked: bool) -> Tensor<D> {
    let device = tensor.device().autodiff();
    let leaf = Tensor::from_inner(tensor.clone()).to_device(&device);
    if tracked { leaf.require_grad() } else { leaf }
}

/// Output and gradients: present exactly where tracked.
pub(super) type Outcome = (Vec<f32>, Vec<Option<Vec<f32>>>);

/// An operator of an image tensor and some rows a channel, or of weights too.
pub(super) struct Inputs {
    pub images: Tensor<4>,
    pub weight: Option<Tensor<4>>,
    pub rows: Vec<Tensor<1>>,
}

pub(super) type Operator<'a> = &'a dyn Fn(Tensor<4>, Option<Tensor<4>>, &[Tensor<1>]) -> Tensor<4>;

/// Runs an operator with the inputs whose bit is set tracked, and a random gradient from above.
pub(super) fn outcome(inputs: &Inputs, tracked: u32, operator: Operator<'_>) -> Outcome {
    let images = leaf(&inputs.images, tracked & 1 > 0);
    let weight = inputs.weight.as_ref().map(|weight| leaf(weight, tracked & 2 > 0));
    let rows: Vec<_> =
        inputs.rows.iter().enumerate().map(|(i, row)| leaf(row, tracked & (4 << i) > 0)).collect();
    let output = operator(images.clone(), weight.clone(), &rows);
    let above = leaf(&random(output.dims(), 99), false);
    // An untracked output has no graph to go back through: give it one that leads nowhere.
    let tail = leaf(&Tensor::zeros([1], &Device::default()), true);
    let gradients = ((output.clone() * above).sum() + tail).backward();
    let mut found = vec![images.grad(&gradients).map(floats)];
    found.extend(weight.map(|weight| weight.grad(&gradients).map(floats)));
    found.extend(rows.iter().map(|row| row.grad(&gradients).map(floats)));
    (floats(output.without_autodiff()), found)
}

/// Largest difference, relative to the largest expected value.
pub(super) fn gap(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-3_f32, |m, v| m.max(v.abs()));
    found.iter().zip(expected).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs())) / scale
}

/// Ours against Burn's own, for each instruction set and each combination of tracked inputs.
pub(super) fn compare(inputs: &Inputs, count: u32, operator: Operator<'_>) {
    for tracked in 0..1 << count {
        // Without weights bit 1 stands for nothing.
        if inputs.weight.is_none() && tracked & 2 > 0 {
            continue;
        }
        let (expected, expected_gradients) = with_stock(|| outcome(inputs, tracked, operator));
        for isa in Isa::available() {
            let (found, gradients) = isa.force(|| outcome(inputs, tracked, operator));
            let shape = inputs.images.dims();
            assert!(gap(&found, &expected) < 3e-5, "{isa:?} {shape:?}: {}", gap(&found, &expected));
            for (index, (found, expected)) in gradients.iter().zip(&expected_gradients).enumerate() {
                assert_eq!(found.is_some(), expected.is_some(), "{isa:?} {tracked:b} gradient {index}");
                if let (Some(found), Some(expected)) = (found, expected) {
                    let gap = gap(found, expected);
                    assert!(gap < 5e-5, "{isa:?} {shape:?} {tracked:b} gradient {index}: {gap}");
                }
            }
        }
    }
}

fn conv(images: Tensor<4>, weight: Option<Tensor<4>>, rows: &[Tensor<1>]) -> Tensor<4> {
    conv2d(images, weight.expect("a convolution has weights"), rows.first().cloned(), SAME)
}

/// Keeps the size with a kernel of 3x3.
const SAME: Settings = Settings { stride: 1, padding: 1, relu: false };

fn conv_relu(images: Tensor<4>, weight: Option<Tensor<4>>, rows: &[Tensor<1>]) -> Tensor<4> {
    let settings = Settings { relu: true, ..SAME };
    conv2d(images, weight.expect("a convolution has weights"), rows.first().cloned(), settings)
}

fn conv_inputs(shape: [usize; 4], outputs: usize, bias: bool) -> Inputs {
    Inputs {
        images: random(shape, 1),
        weight: Some(random([outputs, shape[1], 3, 3], 2)),
        rows: if bias { vec![random([outputs], 3)] } else { vec![] },
    }
}

#[test]
fn convolution_agrees_with_burn() {
    // Odd sizes, one channel, one pixel, channels on and off every vector width, several work units.
    let shapes = [
        ([1, 1, 1, 1], 1),
        ([2, 3, 9, 11], 5),
        ([1, 16, 4, 4], 32),
        ([3, 17, 5, 2], 33),
        ([2, 4, 34, 66], 8),
    ];
    for (shape, outputs) in shapes {
        compare(&conv_inputs(shape, outputs, false), 2, &conv);
        compare(&conv_inputs(shape, outputs, true), 3, &conv);
        compare(&conv_inputs(shape, outputs, true), 3, &conv_relu);
    }
}

#[test]
fn convolution_with_many_units_and_parts_agrees_with_burn() {
    compare(&conv_inputs([40, 20, 16, 16], 24, false), 2, &conv);
}

fn norm_inputs(shape: [usize; 4]) -> Inputs {
    Inputs {
        images: random(shape, 1),
        weight: None,
        rows: vec![random([shape[1]], 2), random([shape[1]], 3)],
    }
}

/// Batch normalisation with the given statistics, or with its own.
fn norm(frozen: bool, after: After) -> impl Fn(Tensor<4>, Option<Tensor<4>>, &[Tensor<1>]) -> Tensor<4> {
    move |images, _, rows| {
        let weights = [rows[0].clone(), rows[1].clone()];
        if frozen {
            let channels = images.dims()[1];
            let (mean, variance) = (random([channels], 4), random([channels], 5).abs() + 0.1);
            let statistics = [leaf(&mean, false), leaf(&variance, false)];
            batch_norm(images, weights, statistics, 1e-5, after)
        } else {
            batch_norm_train(images, weights, 1e-5, after).0
        }
    }
}

#[test]
fn batch_norm_agrees_with_burn() {
    for shape in [[3, 1, 2, 1], [3, 5, 3, 7], [1, 2, 8, 9], [4, 3, 40, 40]] {
        for frozen in [true, false] {
            for after in [After::Nothing, After::Relu, After::ReluMaxPool] {
                compare(&norm_inputs(shape), 4, &norm(frozen, after));
            }
        }
    }
}

#[test]
fn statistics_of_a_batch_are_accurate_and_detached() {
    // A mean far from zero: a variance as the mean of squares minus the square of the mean would be off.
    let images = random([4, 3, 9, 10], 1) + 100.0;
    let channel: Vec<f64> =
        floats(images.clone().slice([0..4, 1..2])).into_iter().map(f64::from).collect::<Vec<_>>();
    let mean = channel.iter().sum::<f64>() / 360.0;
    let variance = channel.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 360.0;
    let weights = [leaf(&random([3], 2), true), leaf(&random([3], 3), true)];
    for isa in Isa::available() {
        let (_, found) =
            isa.force(|| batch_norm_train(leaf(&images, true), weights.clone(), 1e-5, After::Relu));
        assert!(found.iter().all(|statistic| !statistic.is_require_grad()));
        let [found_mean, found_variance] = found.map(|statistic| f64::from(floats(statistic)[1]));
        assert!((found_mean - mean).abs() < 1e-5, "{found_mean} {mean}");
        assert!((found_variance - variance).abs() < 1e-6, "{found_variance} {variance}");
    }
}

fn pool(images: Tensor<4>, _: Option<Tensor<4>>, _: &[Tensor<1>]) -> Tensor<4> {
    max_pool_2x2(images)
}

fn relu_pool(images: Tensor<4>, _: Option<Tensor<4>>, _: &[Tensor<1>]) -> Tensor<4> {
    relu_max_pool_2x2(images)
}

#[test]
fn max_pool_agrees_with_burn() {
    for shape in [[1, 1, 2, 2], [2, 3, 5, 7], [1, 2, 3, 64], [3, 2, 34, 33], [2, 9, 64, 64]] {
        compare(&Inputs { images: random(shape, 1), weight: None, rows: vec![] }, 1, &pool);
        // Whole numbers have ties: the same pixel must win.
        let ties = (random(shape, 1) * 2.0).round();
        let ties = Inputs { images: ties, weight: None, rows: vec![] };
        compare(&ties, 1, &pool);
        compare(&ties, 1, &relu_pool);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn operators_agree_with_burn_for_any_shape(
        shape in [1_usize..4, 1_usize..20, 1_usize..14, 1_usize..14],
        outputs in 1_usize..20,
        frozen: bool,
        after in prop_oneof![Just(After::Nothing), Just(After::Relu), Just(After::ReluMaxPool)],
    ) {
        compare(&conv_inputs(shape, outputs, true), 3, &conv);
        // Of a single value the batch's statistics leave nothing but rounding.
        if frozen || shape[0] * shape[2] * shape[3] > 3 {
            compare(&norm_inputs(shape), 4, &norm(frozen, after));
        }
        let pooled = Inputs { images: random(shape, 1), weight: None, rows: vec![] };
        compare(&pooled, 1, &pool);
        compare(&pooled, 1, &relu_pool);
    }
}

/// The same values behind other strides.
pub(super) fn views(tensor: &Tensor<4>) -> Vec<Tensor<4>> {
    let [n, c, h, w] = tensor.dims();
    let permuted = tensor.clone().permute([0, 2, 3, 1]).reshape([n, h, w, c]).permute([0, 3, 1, 2]);
    let padded = Tensor::zeros([n + 1, c + 1, h + 2, w + 1], &tensor.device());
    let ranges = [1..n + 1, 0..c, 1..h + 1, 1..w + 1];
    let sliced = padded.slice_assign(ranges.clone(), tensor.clone()).slice(ranges);
    let prefix = Tensor::cat(vec![tensor.clone(), tensor.clone()], 0).narrow(0, 0, n);
    let suffix = Tensor::cat(vec![tensor.clone(), tensor.clone()], 0).narrow(0, n, n);
    vec![permuted, sliced, prefix, suffix, tensor.clone().flip([3]).flip([3])]
}

#[test]
fn views_give_what_dense_tensors_give() {
    let inputs = conv_inputs([2, 5, 6, 7], 3, true);
    let norm_rows = norm_inputs([2, 5, 6, 7]).rows;
    let weight_views = views(inputs.weight.as_ref().expect("given"));
    for (view, weight) in views(&inputs.images).into_iter().zip(weight_views) {
        let viewed = Inputs { images: view.clone(), weight: Some(weight), rows: inputs.rows.clone() };
        assert_eq!(outcome(&viewed, 7, &conv), outcome(&inputs, 7, &conv));
        assert_eq!(outcome(&viewed, 7, &conv_relu), outcome(&inputs, 7, &conv_relu));
        for frozen in [true, false] {
            let dense = Inputs { images: inputs.images.clone(), weight: None, rows: norm_rows.clone() };
            let viewed = Inputs { images: view.clone(), weight: None, rows: norm_rows.clone() };
            assert_eq!(
                outcome(&viewed, 13, &norm(frozen, After::Relu)),
                outcome(&dense, 13, &norm(frozen, After::Relu))
            );
        }
        let dense = Inputs { images: inputs.images.clone(), weight: None, rows: vec![] };
        let viewed = Inputs { images: view, weight: None, rows: vec![] };
        assert_eq!(outcome(&viewed, 1, &pool), outcome(&dense, 1, &pool));
    }
    // A gradient that is broadcast, as that of a sum.
    let images = leaf(&inputs.images, true);
    let sum = |pooled: Tensor<4>| floats(images.grad(&pooled.sum().backward()).expect("tracked"));
    assert_eq!(sum(max_pool_2x2(images.clone())), with_stock(|| sum(max_pool_2x2(images.clone()))));
}

/// The derivative of `sum(above * operator)` by one entry of one input, by central differences.
fn slope(inputs: &Inputs, input: usize, entry: usize, step: f32, operator: Operator<'_>) -> f64 {
    fn nudged<const D: usize>(tensor: &Tensor<D>, entry: usize, by: f32) -> Tensor<D> {
        let mut values = floats(tensor.clone());
        values[entry] += by;
        Tensor::from_data(TensorData::new(values, tensor.dims()), &tensor.device())
    }
    let value = |by: f32| -> f64 {
        let mut moved = Inputs {
            images: inputs.images.clone(),
            weight: inputs.weight.clone(),
            rows: inputs.rows.clone(),
        };
        match (input, inputs.weight.is_some()) {
            (0, _) => moved.images = nudged(&moved.images, entry, by),
            (1, true) => moved.weight = moved.weight.map(|weight| nudged(&weight, entry, by)),
            _ => {
                let row = input - 1 - usize::from(inputs.weight.is_some());
                moved.rows[row] = nudged(&moved.rows[row], entry, by);
            }
        }
        let (output, _) = outcome(&moved, 0, operator);
        let above = floats(random(operator(moved.images, moved.weight, &moved.rows).dims(), 99));
        output.iter().zip(above).map(|(y, a)| f64::from(*y) * f64::from(a)).sum()
    };
    (value(step) - value(-step)) / (2.0 * f64::from(step))
}

/// All gradients against central differences, on each instruction set.
pub(super) fn check_slopes(inputs: &Inputs, tracked: u32, step: f32, operator: Operator<'_>) {
    for isa in Isa::available() {
        isa.force(|| {
            let (_, gradients) = outcome(inputs, tracked, operator);
            for (input, gradient) in gradients.iter().enumerate() {
                let gradient = gradient.as_ref().expect("all are tracked");
                for entry in [0, gradient.len() / 2, gradient.len() - 1] {
                    let expected = slope(inputs, input, entry, step, operator);
                    let error = (f64::from(gradient[entry]) - expected).abs();
                    assert!(error < 5e-3 * (1.0 + expected.abs()), "{isa:?} {input} {entry}: {error}");
                }
            }
        });
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    // Large steps where the operator is linear, small ones where a ReLU or a maximum may switch.
    let check = check_slopes;
    check(&conv_inputs([2, 3, 5, 6], 4, true), 7, 0.1, &conv);
    check(&conv_inputs([2, 3, 5, 6], 4, true), 7, 1e-3, &conv_relu);
    check(&norm_inputs([2, 3, 4, 5]), 13, 3e-4, &norm(true, After::Relu));
    check(&norm_inputs([2, 3, 4, 5]), 13, 3e-4, &norm(false, After::Relu));
    check(&norm_inputs([2, 3, 4, 5]), 13, 3e-3, &norm(false, After::Nothing));
    check(&norm_inputs([2, 3, 5, 6]), 13, 3e-4, &norm(true, After::ReluMaxPool));
    check(&norm_inputs([2, 3, 5, 6]), 13, 3e-4, &norm(false, After::ReluMaxPool));
    let pooled = Inputs { images: random([2, 3, 5, 4], 1), weight: None, rows: vec![] };
    check(&pooled, 1, 1e-3, &pool);
    check(&pooled, 1, 1e-3, &relu_pool);
}

/// Equal bit for bit where not finite, close elsewhere.
pub(super) fn assert_like(found: &[f32], expected: &[f32], what: &str) {
    for (a, b) in found.iter().zip(expected) {
        let same = if b.is_finite() {
            (a - b).abs() < 1e-4
        } else {
            (a.is_nan() && b.is_nan()) || a.total_cmp(b).is_eq()
        };
        assert!(same, "{what}: {a} instead of {b}");
    }
}

#[test]
fn nan_and_infinity_propagate_as_in_burn() {
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut images = floats(random([2, 3, 6, 8], 1));
        images[20] = poison;
        images[200] = poison;
        let images: Tensor<4> = Tensor::from_data(TensorData::new(images, [2, 3, 6, 8]), &Device::default());
        let conv_inputs = Inputs { images: images.clone(), ..conv_inputs([2, 3, 6, 8], 4, true) };
        let norm_inputs = Inputs { images: images.clone(), ..norm_inputs([2, 3, 6, 8]) };
        let pool_inputs = Inputs { images, weight: None, rows: vec![] };
        let (frozen, training) = (norm(true, After::Relu), norm(false, After::Relu));
        let (frozen_pool, training_pool) = (norm(true, After::ReluMaxPool), norm(false, After::ReluMaxPool));
        let cases: [(&Inputs, u32, Operator<'_>); 8] = [
            (&conv_inputs, 7, &conv),
            (&conv_inputs, 7, &conv_relu),
            (&norm_inputs, 13, &frozen),
            (&norm_inputs, 13, &training),
            // Without the scale: Burn multiplies the infinite pixels that no gradient reaches by zero, which
            // is NaN; ours does not look at them.
            (&norm_inputs, 9, &frozen_pool),
            (&norm_inputs, 13, &training_pool),
            (&pool_inputs, 1, &pool),
            (&pool_inputs, 1, &relu_pool),
        ];
        for (case, (inputs, tracked, operator)) in cases.into_iter().enumerate() {
            let (expected, expected_gradients) = with_stock(|| outcome(inputs, tracked, operator));
            for isa in Isa::available() {
                let (found, gradients) = isa.force(|| outcome(inputs, tracked, operator));
                let what = format!("{isa:?} {poison} case {case}");
                assert_like(&found, &expected, &what);
                for (found, expected) in gradients.iter().zip(&expected_gradients) {
                    if let (Some(found), Some(expected)) = (found, expected) {
                        assert_like(found, expected, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads_or_the_batch() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let inputs = conv_inputs([24, 5, 16, 16], 7, true);
            let norms = norm_inputs([24, 5, 16, 16]);
            (outcome(&inputs, 7, &conv), outcome(&norms, 13, &norm(false, After::Relu)))
        })
    };
    assert_eq!(run(1), run(3));
    let inputs = conv_inputs([24, 5, 16, 16], 7, true);
    let one =
        Inputs { images: inputs.images.clone().narrow(0, 7, 1), ..conv_inputs([1, 5, 16, 16], 7, true) };
    let (all, one) = (outcome(&inputs, 0, &conv).0, outcome(&one, 0, &conv).0);
    assert_eq!(all[7 * one.len()..8 * one.len()], one);
}

#[test]
fn shapes_that_are_not_known_go_to_burn() {
    // More channels than the weights have is an error of Burn's, not ours; so is a kernel beyond the image.
    let settings = Settings { stride: 1, padding: 0, relu: false };
    assert!(!settings.are_known([2, 3, 9, 8], [4, 2, 3, 3]));
    assert!(!settings.are_known([2, 3, 2, 8], [4, 3, 3, 3]));
    assert!(settings.are_known([2, 3, 3, 8], [4, 3, 3, 3]));
    assert_eq!(max_pool_2x2(random([2, 3, 1, 4], 1)).dims(), [2, 3, 0, 2]);
}
