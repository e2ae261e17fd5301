//! The operators of transformers against Burn's own and against finite differences, on all instruction sets.

use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;

use super::against_burn::{ALL, Outcome, check_slopes, compare_poisoned, floats, gap, leaf, outcome, random};
use super::{attention, gelu, layer_norm, linear, linear_plus, with_stock};
use crate::nn::kernels::Isa;

/// Rows of an image each, perhaps a matrix, and rows of numbers.
type Inputs = super::against_burn::Inputs<3, 2>;
type Operator<'a> = super::against_burn::Operator<'a, 3, 2>;

fn compare(inputs: &Inputs, operator: Operator<'_>) {
    super::against_burn::compare(inputs, [1e-5, 3e-5], operator);
}

fn product(tokens: Tensor<3>, weight: Option<Tensor<2>>, rows: &[Tensor<1>]) -> Tensor<3> {
    linear(tokens, weight.expect("a product has a matrix"), rows.first().cloned())
}

/// The same plus something that depends on the tokens too.
fn product_plus(tokens: Tensor<3>, weight: Option<Tensor<2>>, rows: &[Tensor<1>]) -> Tensor<3> {
    let outputs = rows[0].dims()[0];
    let around = tokens.clone().sum_dim(2).expand([-1, -1, outputs as i64]);
    linear_plus(tokens, weight.expect("a product has a matrix"), Some(rows[0].clone()), around)
}

fn product_inputs(shape: [usize; 3], outputs: usize, bias: bool) -> Inputs {
    Inputs {
        input: random(shape, 1),
        weight: Some(random([shape[2], outputs], 2)),
        rows: if bias { vec![random([outputs], 3)] } else { vec![] },
    }
}

fn norm(tokens: Tensor<3>, _: Option<Tensor<2>>, rows: &[Tensor<1>]) -> Tensor<3> {
    layer_norm(tokens, [rows[0].clone(), rows[1].clone()], 1e-5)
}

fn norm_inputs(shape: [usize; 3]) -> Inputs {
    let rows = vec![random([shape[2]], 2), random([shape[2]], 3)];
    Inputs { input: random(shape, 1), weight: None, rows }
}

fn unit(tokens: Tensor<3>, _: Option<Tensor<2>>, _: &[Tensor<1>]) -> Tensor<3> {
    gelu(tokens * 4.0)
}

fn attend(heads: usize) -> impl Fn(Tensor<3>, Option<Tensor<2>>, &[Tensor<1>]) -> Tensor<3> {
    // Scores of some size, or all probabilities would be about the same.
    move |tokens, _, _| attention(tokens * 3.0, heads)
}

fn alone(shape: [usize; 3]) -> Inputs {
    Inputs::alone(random(shape, 1))
}

#[test]
fn products_agree_with_burn() {
    // One of everything, sides on and off every vector width, several groups of rows and parts of the sums.
    let shapes = [
        ([1, 1, 1], 1),
        ([2, 3, 5], 7),
        ([1, 4, 16], 32),
        ([3, 19, 33], 17),
        ([2, 150, 20], 40),
        ([1, 301, 3], 129),
    ];
    for (shape, outputs) in shapes {
        compare(&product_inputs(shape, outputs, false), &product);
        compare(&product_inputs(shape, outputs, true), &product);
        compare(&product_inputs(shape, outputs, true), &product_plus);
    }
    let (rows, matrix) = (random([9, 6], 1), random([6, 5], 2));
    let flat = || floats(linear(rows.clone(), matrix.clone(), None));
    assert!(gap(&flat(), &with_stock(flat)) < 1e-6);
}

#[test]
fn layer_norm_agrees_with_burn() {
    // Not narrower: two values are normalised to plus and minus one, and no gradient is left to compare.
    for shape in [[1, 1, 4], [2, 3, 5], [1, 4, 16], [3, 7, 33], [2, 150, 192], [1, 2, 31]] {
        compare(&norm_inputs(shape), &norm);
    }
    // Far from zero: a variance as the mean of squares minus the square of the mean would be off.
    let far = Inputs { input: random([2, 3, 50], 1) + 100.0, ..norm_inputs([2, 3, 50]) };
    let (found, expected) = (outcome(&far, 1, &norm), with_stock(|| outcome(&far, 1, &norm)));
    assert!(gap(&found.0, &expected.0) < 1e-4, "{}", gap(&found.0, &expected.0));
}

#[test]
fn gelu_agrees_with_burn() {
    for shape in [[1, 1, 1], [2, 3, 5], [1, 4, 16], [3, 90, 77]] {
        compare(&alone(shape), &unit);
    }
}

#[test]
#[allow(clippy::unreadable_literal)] // As PyTorch prints them.
fn gelu_has_the_values_of_pytorch() {
    // x = torch.tensor([-6., -3., -1., -.1, 0., .5, 2., 8.], requires_grad=True)
    // y = torch.nn.functional.gelu(x); y.sum().backward(); y, x.grad (in float64, rounded)
    let points = [-6.0_f32, -3.0, -1.0, -0.1, 0.0, 0.5, 2.0, 8.0];
    let values = [
        [-5.919526e-9, -3.546871e-8],
        [-4.049694e-3, -1.194565e-2],
        [-1.586553e-1, -8.331547e-2],
        [-4.601722e-2, 4.204769e-1],
        [0.0, 0.5],
        [3.457312e-1, 8.674951e-1],
        [1.9545, 1.085232],
        [8.0, 1.0],
    ];
    for isa in Isa::available() {
        let (found, gradient) = isa.force(|| {
            let x = leaf(&Tensor::<1>::from_floats(points, &Device::default()), true);
            let y = gelu(x.clone());
            let gradient = x.grad(&y.clone().sum().backward()).expect("tracked");
            (floats(y.without_autodiff()), floats(gradient))
        });
        for (i, [value, slope]) in values.into_iter().enumerate() {
            assert!((found[i] - value).abs() < 3e-7 * (1.0 + value.abs()), "{isa:?} {}", found[i]);
            assert!((gradient[i] - slope).abs() < 6e-7, "{isa:?} {}", gradient[i]);
        }
    }
}

#[test]
fn attention_agrees_with_burn() {
    // One token, one head, widths off every vector width, several groups of queries.
    for (shape, heads) in [
        ([1, 1, 3], 1),
        ([2, 3, 30], 2),
        ([1, 5, 96], 2),
        ([3, 17, 99], 3),
        ([2, 61, 48], 1),
        ([1, 130, 6], 2),
    ] {
        compare(&alone(shape), &attend(heads));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn operators_agree_with_burn_for_any_shape(
        (count, tokens, width, outputs, heads) in (1_usize..4, 1_usize..70, 2_usize..40, 1_usize..40, 1_usize..4),
    ) {
        compare(&product_inputs([count, tokens, width], outputs, true), &product);
        compare(&norm_inputs([count, tokens, width + 2]), &norm);
        compare(&alone([count, tokens, width]), &unit);
        compare(&alone([count, tokens, 3 * heads * width]), &attend(heads));
    }
}

#[test]
fn views_are_as_good_as_dense_tensors() {
    // Every second row of a part of wider rows, and a transposition.
    let wide = random([3, 12, 40], 5);
    let part = wide.clone().narrow(2, 7, 18).slice([0..3, 2..9]);
    let turned = random([3, 18, 7], 6).swap_dims(1, 2);
    for view in [part, turned] {
        let copy = Tensor::from_data(TensorData::new(floats(view.clone()), view.dims()), &view.device());
        let matrix = random([9, 18], 7).swap_dims(0, 1);
        let matrix_copy = Tensor::from_data(TensorData::new(floats(matrix.clone()), [18, 9]), &view.device());
        let both = |inputs: Inputs, weight: Option<Tensor<2>>, operator: Operator<'_>| {
            let viewed = Inputs { input: view.clone(), weight, ..inputs.clone() };
            let dense = Inputs { input: copy.clone(), ..inputs };
            assert_eq!(outcome(&viewed, ALL, operator), outcome(&dense, ALL, operator));
        };
        let product_inputs = Inputs { weight: Some(matrix_copy), ..product_inputs([3, 7, 18], 9, true) };
        both(product_inputs, Some(matrix), &product);
        both(norm_inputs([3, 7, 18]), None, &norm);
        both(alone([3, 7, 18]), None, &unit);
        both(alone([3, 7, 18]), None, &attend(2));
    }
    // A gradient that is broadcast, as that of a sum.
    let tokens = leaf(&random([2, 5, 18], 1), true);
    let sum = || floats(tokens.grad(&attention(tokens.clone(), 3).sum().backward()).expect("tracked"));
    assert!(gap(&sum(), &with_stock(sum)) < 1e-5);
}

#[test]
fn gradients_agree_with_finite_differences() {
    let check =
        |inputs: &Inputs, step: f32, operator: Operator<'_>| check_slopes(inputs, step, 3e-3, operator);
    check(&product_inputs([2, 3, 5], 7, true), 0.1, &product);
    check(&norm_inputs([2, 3, 9]), 3e-3, &norm);
    check(&alone([2, 3, 5]), 3e-3, &unit);
    check(&alone([2, 6, 24]), 3e-3, &attend(2));
}

#[test]
fn nan_and_infinity_propagate_as_in_burn() {
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let poisoned = |inputs: Inputs, entry: usize| {
            let mut values = floats(inputs.input.clone());
            values[entry] = poison;
            let tokens = Tensor::from_data(TensorData::new(values, inputs.input.dims()), &Device::default());
            Inputs { input: tokens, ..inputs }
        };
        let attend = attend(2);
        let cases: [(Inputs, Operator<'_>); 6] = [
            (poisoned(product_inputs([2, 3, 18], 5, true), 20), &product),
            (poisoned(norm_inputs([2, 3, 18]), 20), &norm),
            (poisoned(alone([2, 3, 18]), 20), &unit),
            // In the queries, the keys and the values.
            (poisoned(alone([2, 5, 18]), 20), &attend),
            (poisoned(alone([2, 5, 18]), 26), &attend),
            (poisoned(alone([2, 5, 18]), 32), &attend),
        ];
        for (case, (inputs, operator)) in cases.iter().enumerate() {
            compare_poisoned(inputs, ALL, operator, &format!("{poison} case {case}"));
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads_or_the_batch() {
    let all = |inputs: [&Inputs; 4], tracked: u32| {
        let operators: [Operator<'_>; 4] = [&product, &norm, &unit, &attend(2)];
        inputs
            .into_iter()
            .zip(operators)
            .map(|(inputs, operator)| outcome(inputs, tracked, operator))
            .collect()
    };
    let inputs = [product_inputs([5, 130, 36], 80, true), norm_inputs([5, 130, 36]), alone([5, 130, 36])];
    let [products, norms, others] = &inputs;
    let run = |threads: usize| -> Vec<Outcome> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| all([products, norms, others, others], ALL))
    };
    assert_eq!(run(1), run(3));
    let one = inputs.clone().map(|inputs| Inputs { input: inputs.input.narrow(0, 3, 1), ..inputs });
    let whole: Vec<Outcome> = all([products, norms, others, others], 0);
    let [products, norms, others] = &one;
    let single: Vec<Outcome> = all([products, norms, others, others], 0);
    for (whole, single) in whole.iter().zip(&single) {
        assert_eq!(whole.0[3 * single.0.len()..4 * single.0.len()], single.0);
    }
}

#[test]
fn shapes_that_are_not_known_go_to_burn() {
    let vector = || floats(linear(random([4], 1), random([4, 3], 2), None));
    assert_eq!(vector(), with_stock(vector));
    assert_eq!(gelu(Tensor::<2>::zeros([0, 3], &Device::default())).dims(), [0, 3]);
}
