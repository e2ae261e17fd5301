//! What the tests of the operators share: each against Burn's own and against finite differences, on all instruction sets.

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use super::with_stock;
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

/// Tracks every input: a bit that stands for nothing does nothing.
pub(super) const ALL: u32 = 15;

/// Output and gradients: present exactly where tracked.
pub(super) type Outcome = (Vec<f32>, Vec<Option<Vec<f32>>>);

/// What an operator is of: an input, such as pictures or tokens, perhaps weights, and rows of numbers.
#[derive(Clone)]
pub(super) struct Inputs<const D: usize, const W: usize> {
    pub input: Tensor<D>,
    pub weight: Option<Tensor<W>>,
    pub rows: Vec<Tensor<1>>,
}

impl<const D: usize, const W: usize> Inputs<D, W> {
    /// Without weights and rows.
    pub fn alone(input: Tensor<D>) -> Self {
        Self { input, weight: None, rows: vec![] }
    }
}

pub(super) type Operator<'a, const D: usize, const W: usize> =
    &'a dyn Fn(Tensor<D>, Option<Tensor<W>>, &[Tensor<1>]) -> Tensor<D>;

/// Runs an operator with the inputs whose bit is set tracked, and a random gradient from above.
pub(super) fn outcome<const D: usize, const W: usize>(
    inputs: &Inputs<D, W>,
    tracked: u32,
    operator: Operator<'_, D, W>,
) -> Outcome {
    let input = leaf(&inputs.input, tracked & 1 > 0);
    let weight = inputs.weight.as_ref().map(|weight| leaf(weight, tracked & 2 > 0));
    let rows: Vec<_> =
        inputs.rows.iter().enumerate().map(|(i, row)| leaf(row, tracked & (4 << i) > 0)).collect();
    let output = operator(input.clone(), weight.clone(), &rows);
    let above = leaf(&random(output.dims(), 99), false);
    // An untracked output has no graph to go back through: give it one that leads nowhere.
    let tail = leaf(&Tensor::zeros([1], &Device::default()), true);
    let gradients = ((output.clone() * above).sum() + tail).backward();
    let mut found = vec![input.grad(&gradients).map(floats)];
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

/// How far an operator may be from Burn's, relative to the largest expected value: its output, its gradients.
pub(super) type Within = [f32; 2];

/// Ours against Burn's own, for each instruction set and each combination of tracked inputs.
pub(super) fn compare<const D: usize, const W: usize>(
    inputs: &Inputs<D, W>,
    within: Within,
    operator: Operator<'_, D, W>,
) {
    for tracked in 0..4 << inputs.rows.len() {
        // Without weights bit 1 stands for nothing.
        if inputs.weight.is_none() && tracked & 2 > 0 {
            continue;
        }
        let (expected, expected_gradients) = with_stock(|| outcome(inputs, tracked, operator));
        for isa in Isa::available() {
            let (found, gradients) = isa.force(|| outcome(inputs, tracked, operator));
            let shape = inputs.input.dims();
            assert!(gap(&found, &expected) < within[0], "{isa:?} {shape:?}: {}", gap(&found, &expected));
            assert_eq!(gradients.len(), expected_gradients.len());
            for (index, (found, expected)) in gradients.iter().zip(&expected_gradients).enumerate() {
                assert_eq!(found.is_some(), expected.is_some(), "{isa:?} {tracked:b} gradient {index}");
                if let (Some(found), Some(expected)) = (found, expected) {
                    let gap = gap(found, expected);
                    assert!(gap < within[1], "{isa:?} {shape:?} {tracked:b} gradient {index}: {gap}");
                }
            }
        }
    }
}

/// The derivative of `sum(above * operator)` by one entry of one input, by central differences.
fn slope<const D: usize, const W: usize>(
    inputs: &Inputs<D, W>,
    input: usize,
    entry: usize,
    step: f32,
    operator: Operator<'_, D, W>,
) -> f64 {
    fn nudged<const D: usize>(tensor: &Tensor<D>, entry: usize, by: f32) -> Tensor<D> {
        let mut values = floats(tensor.clone());
        values[entry] += by;
        Tensor::from_data(TensorData::new(values, tensor.dims()), &tensor.device())
    }
    let value = |by: f32| -> f64 {
        let mut moved = inputs.clone();
        match (input, inputs.weight.is_some()) {
            (0, _) => moved.input = nudged(&moved.input, entry, by),
            (1, true) => moved.weight = moved.weight.map(|weight| nudged(&weight, entry, by)),
            _ => {
                let row = input - 1 - usize::from(inputs.weight.is_some());
                moved.rows[row] = nudged(&moved.rows[row], entry, by);
            }
        }
        let (output, _) = outcome(&moved, 0, operator);
        let above = floats(random([output.len()], 99));
        output.iter().zip(above).map(|(y, a)| f64::from(*y) * f64::from(a)).sum()
    };
    (value(step) - value(-step)) / (2.0 * f64::from(step))
}

/// All gradients against central differences, on each instruction set. `most` is the largest error, relative to
/// 1 and the slope.
pub(super) fn check_slopes<const D: usize, const W: usize>(
    inputs: &Inputs<D, W>,
    step: f32,
    most: f64,
    operator: Operator<'_, D, W>,
) {
    for isa in Isa::available() {
        isa.force(|| {
            let (_, gradients) = outcome(inputs, ALL, operator);
            for (input, gradient) in gradients.iter().enumerate() {
                let gradient = gradient.as_ref().expect("all are tracked");
                for entry in [0, gradient.len() / 2, gradient.len() - 1] {
                    let expected = slope(inputs, input, entry, step, operator);
                    let error = (f64::from(gradient[entry]) - expected).abs();
                    assert!(error < most * (1.0 + expected.abs()), "{isa:?} {input} {entry}: {error}");
                }
            }
        });
    }
}

/// Values that are not finite spread as in Burn's operator; `what` names the case.
pub(super) fn compare_poisoned<const D: usize, const W: usize>(
    inputs: &Inputs<D, W>,
    tracked: u32,
    operator: Operator<'_, D, W>,
    what: &str,
) {
    let (expected, expected_gradients) = with_stock(|| outcome(inputs, tracked, operator));
    for isa in Isa::available() {
        let (found, gradients) = isa.force(|| outcome(inputs, tracked, operator));
        assert_like(&found, &expected, &format!("{isa:?} {what}"));
        for (index, (found, expected)) in gradients.iter().zip(&expected_gradients).enumerate() {
            if let (Some(found), Some(expected)) = (found, expected) {
                assert_like(found, expected, &format!("{isa:?} {what} gradient {index}"));
            }
        }
    }
}

/// Equal bit for bit where not finite, close elsewhere.
fn assert_like(found: &[f32], expected: &[f32], what: &str) {
    for (a, b) in found.iter().zip(expected) {
        let same = if b.is_finite() {
            (a - b).abs() < 1e-4
        } else {
            (a.is_nan() && b.is_nan()) || a.total_cmp(b).is_eq()
        };
        assert!(same, "{what}: {a} instead of {b}");
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
