//! The operators of transformers against Burn's own and against finite differences, on all instruction sets.

use burn::tensor::{Device, Tensor, TensorData};
use proptest::prelude::*;

use super::tests::{Outcome, assert_like, floats, gap, leaf, random};
use super::{attention, gelu, layer_norm, linear, linear_plus, with_stock};
use crate::nn::kernels::Isa;

/// Rows of an image each, perhaps a matrix, and rows of numbers.
#[derive(Clone)]
struct Inputs {
    tokens: Tensor<3>,
    weight: Option<Tensor<2>>,
    rows: Vec<Tensor<1>>,
}

type Operator<'a> = &'a dyn Fn(Tensor<3>, Option<Tensor<2>>, &[Tensor<1>]) -> Tensor<3>;

/// Runs an operator with the inputs whose bit is set tracked, and a random gradient from above.
fn outcome(inputs: &Inputs, tracked: u32, operator: Operator<'_>) -> Outcome {
    let tokens = leaf(&inputs.tokens, tracked & 1 > 0);
    let weight = inputs.weight.as_ref().map(|weight| leaf(weight, tracked & 2 > 0));
    let rows: Vec<_> =
        inputs.rows.iter().enumerate().map(|(i, row)| leaf(row, tracked & (4 << i) > 0)).collect();
    let output = operator(tokens.clone(), weight.clone(), &rows);
    let above = leaf(&random(output.dims(), 99), false);
    // An untracked output has no graph to go back through: give it one that leads nowhere.
    let tail = leaf(&Tensor::zeros([1], &Device::default()), true);
    let gradients = ((output.clone() * above).sum() + tail).backward();
    let mut found = vec![tokens.grad(&gradients).map(floats)];
    found.extend(weight.map(|weight| weight.grad(&gradients).map(floats)));
    found.extend(rows.iter().map(|row| row.grad(&gradients).map(floats)));
    (floats(output.without_autodiff()), found)
}

/// Ours against Burn's own, for each instruction set and each combination of tracked inputs.
fn compare(inputs: &Inputs, operator: Operator<'_>) {
    for tracked in 0..4 << inputs.rows.len() {
        // Without a matrix bit 1 stands for nothing.
        if inputs.weight.is_none() && tracked & 2 > 0 {
            continue;
        }
        let (expected, expected_gradients) = with_stock(|| outcome(inputs, tracked, operator));
        for isa in Isa::available() {
            let (found, gradients) = isa.force(|| outcome(inputs, tracked, operator));
            let shape = inputs.tokens.dims();
            assert!(gap(&found, &expected) < 1e-5, "{isa:?} {shape:?}: {}", gap(&found, &expected));
            assert_eq!(gradients.len(), expected_gradients.len());
            for (index, (found, expected)) in gradients.iter().zip(&expected_gradients).enumerate() {
                assert_eq!(found.is_some(), expected.is_some(), "{isa:?} {tracked:b} gradient {index}");
                if let (Some(found), Some(expected)) = (found, expected) {
                    let gap = gap(found, expected);
                    assert!(gap < 3e-5, "{isa:?} {shape:?} {tracked:b} gradient {index}: {gap}");
                }
            }
        }
    }
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
        tokens: random(shape, 1),
        weight: Some(random([shape[2], outputs], 2)),
        rows: if bias { vec![random([outputs], 3)] } else { vec![] },
    }
}

fn norm(tokens: Tensor<3>, _: Option<Tensor<2>>, rows: &[Tensor<1>]) -> Tensor<3> {
    layer_norm(tokens, [rows[0].clone(), rows[1].clone()], 1e-5)
}

fn norm_inputs(shape: [usize; 3]) -> Inputs {
    let rows = vec![random([shape[2]], 2), random([shape[2]], 3)];
    Inputs { tokens: random(shape, 1), weight: None, rows }
}

fn unit(tokens: Tensor<3>, _: Option<Tensor<2>>, _: &[Tensor<1>]) -> Tensor<3> {
    gelu(tokens * 4.0)
}

fn attend(heads: usize) -> impl Fn(Tensor<3>, Option<Tensor<2>>, &[Tensor<1>]) -> Tensor<3> {
    // Scores of some size, or all probabilities would be about the same.
    move |tokens, _, _| attention(tokens * 3.0, heads)
}

fn alone(shape: [usize; 3]) -> Inputs {
    Inputs { tokens: random(shape, 1), weight: None, rows: vec![] }
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
    let far = Inputs { tokens: random([2, 3, 50], 1) + 100.0, ..norm_inputs([2, 3, 50]) };
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
            let viewed = Inputs { tokens: view.clone(), weight, ..inputs.clone() };
            let dense = Inputs { tokens: copy.clone(), ..inputs };
            assert_eq!(outcome(&viewed, 15, operator), outcome(&dense, 15, operator));
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

/// The derivative of `sum(above * operator)` by one entry of one input, by central differences.
fn slope(inputs: &Inputs, input: usize, entry: usize, step: f32, operator: Operator<'_>) -> f64 {
    fn nudged<const D: usize>(tensor: &Tensor<D>, entry: usize, by: f32) -> Tensor<D> {
        let mut values = floats(tensor.clone());
        values[entry] += by;
        Tensor::from_data(TensorData::new(values, tensor.dims()), &tensor.device())
    }
    let value = |by: f32| -> f64 {
        let mut moved = inputs.clone();
        match (input, inputs.weight.is_some()) {
            (0, _) => moved.tokens = nudged(&moved.tokens, entry, by),
            (1, true) => moved.weight = moved.weight.map(|weight| nudged(&weight, entry, by)),
            _ => {
                let row = input - 1 - usize::from(inputs.weight.is_some());
                moved.rows[row] = nudged(&moved.rows[row], entry, by);
            }
        }
        let output = operator(moved.tokens, moved.weight, &moved.rows);
        let above = floats(random(output.dims(), 99));
        floats(output).iter().zip(above).map(|(y, a)| f64::from(*y) * f64::from(a)).sum()
    };
    (value(step) - value(-step)) / (2.0 * f64::from(step))
}

#[test]
fn gradients_agree_with_finite_differences() {
    let check = |inputs: &Inputs, step: f32, operator: Operator<'_>| {
        for isa in Isa::available() {
            isa.force(|| {
                let (_, gradients) = outcome(inputs, 15, operator);
                for (input, gradient) in gradients.iter().enumerate() {
                    let gradient = gradient.as_ref().expect("all are tracked");
                    for entry in [0, gradient.len() / 2, gradient.len() - 1] {
                        let expected = slope(inputs, input, entry, step, operator);
                        let error = (f64::from(gradient[entry]) - expected).abs();
                        assert!(error < 3e-3 * (1.0 + expected.abs()), "{isa:?} {input} {entry}: {error}");
                    }
                }
            });
        }
    };
    check(&product_inputs([2, 3, 5], 7, true), 0.1, &product);
    check(&norm_inputs([2, 3, 9]), 3e-3, &norm);
    check(&alone([2, 3, 5]), 3e-3, &unit);
    check(&alone([2, 6, 24]), 3e-3, &attend(2));
}

#[test]
fn nan_and_infinity_propagate_as_in_burn() {
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let poisoned = |inputs: Inputs, entry: usize| {
            let mut values = floats(inputs.tokens.clone());
            values[entry] = poison;
            let tokens = Tensor::from_data(TensorData::new(values, inputs.tokens.dims()), &Device::default());
            Inputs { tokens, ..inputs }
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
            let (expected, expected_gradients) = with_stock(|| outcome(inputs, 15, operator));
            for isa in Isa::available() {
                let (found, gradients) = isa.force(|| outcome(inputs, 15, operator));
                let what = format!("{isa:?} {poison} case {case}");
                assert_like(&found, &expected, &what);
                for (index, (found, expected)) in gradients.iter().zip(&expected_gradients).enumerate() {
                    if let (Some(found), Some(expected)) = (found, expected) {
                        assert_like(found, expected, &format!("{what} gradient {index}"));
                    }
                }
            }
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
        pool.install(|| all([products, norms, others, others], 15))
    };
    assert_eq!(run(1), run(3));
    let one = inputs.clone().map(|inputs| Inputs { tokens: inputs.tokens.narrow(0, 3, 1), ..inputs });
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
