//! Every operator against Burn's own and against finite differences, on all instruction sets.

use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;

use super::against_burn::{
    ALL, Within, check_slopes, compare, compare_poisoned, floats, leaf, outcome, random, views,
};
use super::{
    After, Settings, batch_norm, batch_norm_train, conv2d, max_pool_2x2, relu_max_pool_2x2, with_stock,
};
use crate::nn::kernels::Isa;

type Inputs = super::against_burn::Inputs<4, 4>;
type Operator<'a> = super::against_burn::Operator<'a, 4, 4>;

/// How far our operators on pictures are from Burn's at most.
pub(super) const NEAR: Within = [3e-5, 5e-5];

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
        input: random(shape, 1),
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
        compare(&conv_inputs(shape, outputs, false), NEAR, &conv);
        compare(&conv_inputs(shape, outputs, true), NEAR, &conv);
        compare(&conv_inputs(shape, outputs, true), NEAR, &conv_relu);
    }
}

#[test]
fn convolution_with_many_units_and_parts_agrees_with_burn() {
    compare(&conv_inputs([40, 20, 16, 16], 24, false), NEAR, &conv);
}

fn norm_inputs(shape: [usize; 4]) -> Inputs {
    Inputs { input: random(shape, 1), weight: None, rows: vec![random([shape[1]], 2), random([shape[1]], 3)] }
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
                compare(&norm_inputs(shape), NEAR, &norm(frozen, after));
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
        compare(&Inputs::alone(random(shape, 1)), NEAR, &pool);
        // Whole numbers have ties: the same pixel must win.
        let ties = (random(shape, 1) * 2.0).round();
        let ties = Inputs::alone(ties);
        compare(&ties, NEAR, &pool);
        compare(&ties, NEAR, &relu_pool);
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
        compare(&conv_inputs(shape, outputs, true), NEAR, &conv);
        // Of a single value the batch's statistics leave nothing but rounding.
        if frozen || shape[0] * shape[2] * shape[3] > 3 {
            compare(&norm_inputs(shape), NEAR, &norm(frozen, after));
        }
        let pooled = Inputs::alone(random(shape, 1));
        compare(&pooled, NEAR, &pool);
        compare(&pooled, NEAR, &relu_pool);
    }
}

#[test]
fn views_give_what_dense_tensors_give() {
    let inputs = conv_inputs([2, 5, 6, 7], 3, true);
    let norm_rows = norm_inputs([2, 5, 6, 7]).rows;
    let weight_views = views(inputs.weight.as_ref().expect("given"));
    for (view, weight) in views(&inputs.input).into_iter().zip(weight_views) {
        let viewed = Inputs { input: view.clone(), weight: Some(weight), rows: inputs.rows.clone() };
        assert_eq!(outcome(&viewed, ALL, &conv), outcome(&inputs, ALL, &conv));
        assert_eq!(outcome(&viewed, ALL, &conv_relu), outcome(&inputs, ALL, &conv_relu));
        for frozen in [true, false] {
            let dense = Inputs { input: inputs.input.clone(), weight: None, rows: norm_rows.clone() };
            let viewed = Inputs { input: view.clone(), weight: None, rows: norm_rows.clone() };
            assert_eq!(
                outcome(&viewed, ALL, &norm(frozen, After::Relu)),
                outcome(&dense, ALL, &norm(frozen, After::Relu))
            );
        }
        let dense = Inputs::alone(inputs.input.clone());
        let viewed = Inputs::alone(view);
        assert_eq!(outcome(&viewed, ALL, &pool), outcome(&dense, ALL, &pool));
    }
    // A gradient that is broadcast, as that of a sum.
    let images = leaf(&inputs.input, true);
    let sum = |pooled: Tensor<4>| floats(images.grad(&pooled.sum().backward()).expect("tracked"));
    assert_eq!(sum(max_pool_2x2(images.clone())), with_stock(|| sum(max_pool_2x2(images.clone()))));
}

#[test]
fn gradients_agree_with_finite_differences() {
    // Large steps where the operator is linear, small ones where a ReLU or a maximum may switch.
    let check =
        |inputs: &Inputs, step: f32, operator: Operator<'_>| check_slopes(inputs, step, 5e-3, operator);
    check(&conv_inputs([2, 3, 5, 6], 4, true), 0.1, &conv);
    check(&conv_inputs([2, 3, 5, 6], 4, true), 1e-3, &conv_relu);
    check(&norm_inputs([2, 3, 4, 5]), 3e-4, &norm(true, After::Relu));
    check(&norm_inputs([2, 3, 4, 5]), 3e-4, &norm(false, After::Relu));
    check(&norm_inputs([2, 3, 4, 5]), 3e-3, &norm(false, After::Nothing));
    check(&norm_inputs([2, 3, 5, 6]), 3e-4, &norm(true, After::ReluMaxPool));
    check(&norm_inputs([2, 3, 5, 6]), 3e-4, &norm(false, After::ReluMaxPool));
    let pooled = Inputs::alone(random([2, 3, 5, 4], 1));
    check(&pooled, 1e-3, &pool);
    check(&pooled, 1e-3, &relu_pool);
}

#[test]
fn nan_and_infinity_propagate_as_in_burn() {
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut images = floats(random([2, 3, 6, 8], 1));
        images[20] = poison;
        images[200] = poison;
        let images: Tensor<4> = Tensor::from_data(TensorData::new(images, [2, 3, 6, 8]), &Device::default());
        let conv_inputs = Inputs { input: images.clone(), ..conv_inputs([2, 3, 6, 8], 4, true) };
        let norm_inputs = Inputs { input: images.clone(), ..norm_inputs([2, 3, 6, 8]) };
        let pool_inputs = Inputs::alone(images);
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
            compare_poisoned(inputs, tracked, operator, &format!("{poison} case {case}"));
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
            (outcome(&inputs, ALL, &conv), outcome(&norms, ALL, &norm(false, After::Relu)))
        })
    };
    assert_eq!(run(1), run(3));
    let inputs = conv_inputs([24, 5, 16, 16], 7, true);
    let one = Inputs { input: inputs.input.clone().narrow(0, 7, 1), ..conv_inputs([1, 5, 16, 16], 7, true) };
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
