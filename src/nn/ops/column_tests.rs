//! Convolutions by columns and averages against Burn's own and against finite differences.

use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;

use super::against_burn::{ALL, check_slopes, compare, compare_poisoned, floats, outcome, random, views};
use super::tests::NEAR;
use super::{Settings, average_pool, conv2d, global_average_pool};

type Inputs = super::against_burn::Inputs<4, 4>;
type Operator<'a> = super::against_burn::Operator<'a, 4, 4>;

/// A convolution with these settings.
fn conv(settings: Settings) -> impl Fn(Tensor<4>, Option<Tensor<4>>, &[Tensor<1>]) -> Tensor<4> {
    move |images, weight, rows| {
        conv2d(images, weight.expect("a convolution has weights"), rows.first().cloned(), settings)
    }
}

fn inputs(shape: [usize; 4], outputs: usize, [height, width]: [usize; 2], bias: bool) -> Inputs {
    Inputs {
        input: random(shape, 1),
        weight: Some(random([outputs, shape[1], height, width], 2)),
        rows: if bias { vec![random([outputs], 3)] } else { vec![] },
    }
}

fn settings(stride: usize, padding: usize) -> Settings {
    Settings { stride, padding, relu: false }
}

/// Batch, channels, height and width; outputs; kernel; stride; padding.
type Case = ([usize; 4], usize, [usize; 2], usize, usize);

/// Halving 3x3, 1x1, stems, patches and others, on and off the vector width, one channel, one pixel.
const CASES: [Case; 12] = [
    ([1, 1, 1, 1], 1, [3, 3], 2, 1),
    ([2, 3, 9, 11], 5, [3, 3], 2, 1),
    ([3, 17, 8, 8], 33, [3, 3], 2, 1),
    ([5, 16, 4, 4], 32, [3, 3], 2, 1),
    ([2, 5, 6, 7], 20, [1, 1], 1, 0),
    ([2, 33, 7, 5], 3, [1, 1], 2, 0),
    ([2, 3, 19, 17], 6, [7, 7], 2, 3),
    ([2, 3, 12, 8], 18, [4, 4], 4, 0),
    // A row and a column that no patch reaches.
    ([1, 2, 9, 9], 3, [4, 4], 4, 0),
    ([1, 2, 6, 5], 3, [2, 3], 1, 0),
    ([1, 2, 7, 9], 3, [2, 2], 3, 0),
    // Several blocks of the inner dimension, of channels as of pixels.
    ([2, 70, 17, 18], 4, [3, 3], 2, 1),
];

#[test]
fn convolutions_of_any_shape_agree_with_burn() {
    for (shape, outputs, kernel, stride, padding) in CASES {
        compare(&inputs(shape, outputs, kernel, false), NEAR, &conv(settings(stride, padding)));
        let relu = Settings { relu: true, ..settings(stride, padding) };
        compare(&inputs(shape, outputs, kernel, true), NEAR, &conv(relu));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn convolutions_agree_with_burn_for_random_shapes(
        shape in [1_usize..4, 1_usize..20, 1_usize..14, 1_usize..14],
        outputs in 1_usize..20,
        kernel in [1_usize..5, 1_usize..5],
        stride in 1_usize..4,
        padding in 0_usize..3,
        relu: bool,
    ) {
        let fits = kernel[0] <= shape[2] + 2 * padding && kernel[1] <= shape[3] + 2 * padding;
        if fits {
            let settings = Settings { relu, ..settings(stride, padding) };
            compare(&inputs(shape, outputs, kernel, true), NEAR, &conv(settings));
        }
    }

    #[test]
    fn averages_agree_with_burn_for_random_shapes(
        shape in [1_usize..4, 1_usize..5, 1_usize..20, 1_usize..20],
        side in 1_usize..5,
    ) {
        let images = Inputs::alone(random(shape, 1));
        compare(&images, NEAR, &mean);
        if side <= shape[2] && side <= shape[3] {
            compare(&images, NEAR, &pool(side));
        }
    }
}

fn mean(images: Tensor<4>, _: Option<Tensor<4>>, _: &[Tensor<1>]) -> Tensor<4> {
    global_average_pool(images).unsqueeze_dims(&[2, 3])
}

fn pool(side: usize) -> impl Fn(Tensor<4>, Option<Tensor<4>>, &[Tensor<1>]) -> Tensor<4> {
    move |images, _, _| average_pool(images, side)
}

#[test]
fn an_average_is_what_it_says() {
    let images = Tensor::<4>::from_data([[[[1.0_f32, 2.0, 9.0], [3.0, 6.0, 9.0]]]], &Device::default());
    assert_eq!(floats(average_pool(images.clone(), 2)), [3.0]);
    assert_eq!(floats(global_average_pool(images)), [5.0]);
}

#[test]
fn views_give_what_dense_tensors_give() {
    let dense = inputs([2, 5, 6, 7], 3, [3, 3], true);
    let conv = conv(Settings { relu: true, ..settings(2, 1) });
    let weights = views(dense.weight.as_ref().expect("given"));
    for (view, weight) in views(&dense.input).into_iter().zip(weights) {
        let viewed = Inputs { input: view.clone(), weight: Some(weight), rows: dense.rows.clone() };
        assert_eq!(outcome(&viewed, ALL, &conv), outcome(&dense, ALL, &conv));
        let dense = Inputs::alone(dense.input.clone());
        let viewed = Inputs::alone(view);
        assert_eq!(outcome(&viewed, ALL, &mean), outcome(&dense, ALL, &mean));
        assert_eq!(outcome(&viewed, ALL, &pool(2)), outcome(&dense, ALL, &pool(2)));
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for (shape, outputs, kernel, stride, padding) in CASES.into_iter().take(11) {
        let settings = settings(stride, padding);
        check_slopes(&inputs(shape, outputs, kernel, true), 0.1, 5e-3, &conv(settings));
    }
    let relu = Settings { relu: true, ..settings(2, 1) };
    check_slopes(&inputs([2, 3, 5, 6], 4, [3, 3], true), 1e-3, 5e-3, &conv(relu));
    let images = Inputs::alone(random([2, 3, 5, 6], 1));
    check_slopes(&images, 0.1, 5e-3, &mean);
    check_slopes(&images, 0.1, 5e-3, &pool(2));
}

/// A tensor with some values replaced.
fn poisoned(shape: [usize; 4], seed: u64, places: &[usize], poison: f32) -> Tensor<4> {
    let mut values = floats(random(shape, seed));
    for place in places {
        values[*place] = poison;
    }
    Tensor::from_data(TensorData::new(values, shape), &Device::default())
}

#[test]
fn nan_and_infinity_propagate_as_in_burn() {
    let (plain, halving) = (conv(settings(1, 0)), conv(Settings { relu: true, ..settings(2, 1) }));
    let (halves, same) = (pool(2), conv(Settings { relu: true, ..settings(1, 1) }));
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let images = poisoned([2, 3, 6, 8], 1, &[20, 200], poison);
        let in_images = Inputs { input: images.clone(), ..inputs([2, 3, 6, 8], 4, [3, 3], true) };
        let weight = Some(poisoned([4, 3, 3, 3], 2, &[7], poison));
        let in_weight = Inputs { weight, ..inputs([2, 3, 6, 8], 4, [3, 3], true) };
        let averaged = Inputs::alone(images);
        let cases: [(&Inputs, Operator<'_>); 8] = [
            (&in_images, &plain),
            (&in_images, &halving),
            (&in_images, &same),
            (&in_weight, &plain),
            (&in_weight, &halving),
            (&in_weight, &same),
            (&averaged, &mean),
            (&averaged, &halves),
        ];
        for (case, (inputs, operator)) in cases.into_iter().enumerate() {
            compare_poisoned(inputs, ALL, operator, &format!("{poison} case {case}"));
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads_or_the_batch() {
    let strided = conv(settings(2, 1));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let images = Inputs::alone(random([24, 5, 16, 16], 1));
            let conv = outcome(&inputs([24, 40, 9, 9], 20, [3, 3], true), ALL, &strided);
            (conv, outcome(&images, ALL, &mean))
        })
    };
    assert_eq!(run(1), run(3));
    let all = inputs([24, 5, 9, 9], 7, [3, 3], true);
    let one = Inputs { input: all.input.clone().narrow(0, 7, 1), ..inputs([1, 5, 9, 9], 7, [3, 3], true) };
    let (all, one) = (outcome(&all, 0, &strided).0, outcome(&one, 0, &strided).0);
    assert_eq!(all[7 * one.len()..8 * one.len()], one);
}
