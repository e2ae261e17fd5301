//! The soft confusion matrix of a batch, and the Sy-FAR penalty on its asymmetry.
//!
//! Row `i` is the mean softmax of the images of class `i`; it is the differentiable cousin of the
//! confusion matrix. The penalty of Sy-FAR (arXiv 2509.12939) is
//!
//! ```text
//! L_sym = sum over i < j of |a - b| / (a + b + eps) * (a + b),    a = C_ij, b = C_ji
//! ```
//!
//! that is, each gap |a - b| times a gate s / (s + eps) with s = a + b. Three choices are ours:
//!
//! - **Absent classes.** In a batch, many classes have no image. For a pair with one class absent the
//!   published code takes the missing rate as 0, so its term punishes every confusion into that class:
//!   not an asymmetry. Here such a pair is left out by default.
//! - **Reduction.** Rows of `C` sum to one, so the sum over pairs grows with the number of rows. Divided
//!   by the rows that are present it stays in [0, 1] and one weight suits 10 classes and 40.
//! - **Cost.** Only rows of classes in the batch are formed: `O(batch^2 + batch x K)`, never `K^2`.

use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};

use crate::data::class_tensor;

/// What a pair of classes adds when only one of them has an image in the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AbsentPairs {
    /// Nothing: its asymmetry is not known.
    #[default]
    Skip,
    /// The term with the missing rate as 0, as the published code has it.
    AsZero,
}

/// How the terms of the pairs become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// The sum over pairs, divided by the number of classes in the batch: in [0, 1] for any `K`.
    #[default]
    PerClass,
    /// The sum over pairs, as published: it grows with the number of classes.
    Sum,
}

/// The penalty of a batch, `[1]`, differentiable with respect to the logits.
///
/// # Shapes
/// - `logits`: `[N, K]`
/// - `labels`: `N`
///
/// `epsilon` is positive; `1/K` makes the gate independent of the number of classes.
pub fn symmetry_penalty(
    logits: Tensor<2>,
    labels: &[usize],
    epsilon: f64,
    absent: AbsentPairs,
    reduction: Reduction,
) -> Tensor<1> {
    let present = present_classes(labels);
    let rows = soft_confusion_rows(logits, labels, &present);
    let device = rows.device().without_autodiff();
    let square = rows.clone().select(1, class_tensor(&present, &device));
    // Both triangles hold each pair once, so half of their sum counts it once; the diagonal is zero.
    let sum = square.clone() + square.clone().transpose();
    let gap = (square.clone() - square.transpose()).abs();
    let mut total = gated(gap, sum, epsilon).sum().mul_scalar(0.5);
    if absent == AbsentPairs::AsZero {
        let outside = rows.clone() * absent_columns(&present, &rows);
        total = total + gated(outside.clone(), outside, epsilon).sum();
    }
    match reduction {
        Reduction::Sum => total,
        Reduction::PerClass => total.div_scalar(present.len() as f64),
    }
}

/// `gap * sum / (sum + eps)`.
fn gated(gap: Tensor<2>, sum: Tensor<2>, epsilon: f64) -> Tensor<2> {
    let gate = sum.clone() / sum.add_scalar(epsilon);
    gap * gate
}

/// The classes with an image in the batch, in ascending order.
fn present_classes(labels: &[usize]) -> Vec<usize> {
    let classes: std::collections::BTreeSet<usize> = labels.iter().copied().collect();
    classes.into_iter().collect()
}

/// Mean softmax of each present class: `[P, K]`.
fn soft_confusion_rows(logits: Tensor<2>, labels: &[usize], present: &[usize]) -> Tensor<2> {
    let device = logits.device().without_autodiff();
    let mut weights = vec![0.0_f32; present.len() * labels.len()];
    for (row, class) in present.iter().enumerate() {
        let count = labels.iter().filter(|label| *label == class).count();
        for (column, _) in labels.iter().enumerate().filter(|(_, label)| *label == class) {
            weights[row * labels.len() + column] = 1.0 / count as f32;
        }
    }
    let average = TensorData::new(weights, [present.len(), labels.len()]);
    Tensor::<2>::from_data(average, &device).matmul(softmax(logits, 1))
}

/// 1 in the columns of the classes without an image, 0 elsewhere: `[1, K]`.
fn absent_columns(present: &[usize], rows: &Tensor<2>) -> Tensor<2> {
    let classes = rows.dims()[1];
    let mut keep = vec![1.0_f32; classes];
    for &class in present {
        keep[class] = 0.0;
    }
    Tensor::from_data(TensorData::new(keep, [1, classes]), &rows.device().without_autodiff())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// Logits whose softmax is the given rows.
    fn logits(probabilities: &[[f32; 3]]) -> Tensor<2> {
        let values: Vec<f32> = probabilities.iter().flatten().map(|p| p.ln()).collect();
        Tensor::from_data(TensorData::new(values, [probabilities.len(), 3]), &Device::default())
    }

    fn penalty(
        probabilities: &[[f32; 3]],
        labels: &[usize],
        absent: AbsentPairs,
        reduction: Reduction,
    ) -> f64 {
        f64::from(
            symmetry_penalty(logits(probabilities), labels, 0.1, absent, reduction).into_scalar::<f32>(),
        )
    }

    /// The formula as the paper's code states it, pair by pair:
    ///
    /// ```python
    /// def sym(C, eps=0.1):
    ///     return sum(abs(C[i][j] - C[j][i]) / (C[i][j] + C[j][i] + eps) * (C[i][j] + C[j][i])
    ///                for i in range(3) for j in range(i + 1, 3))
    /// ```
    fn by_pairs(rows: [[f64; 3]; 3]) -> f64 {
        let pairs = [(0, 1), (0, 2), (1, 2)].map(|(i, j): (usize, usize)| (rows[i][j], rows[j][i]));
        pairs.iter().map(|(a, b)| (a - b).abs() / (a + b + 0.1) * (a + b)).sum()
    }

    const ROWS: [[f32; 3]; 3] = [[0.7, 0.2, 0.1], [0.05, 0.8, 0.15], [0.4, 0.1, 0.5]];

    #[test]
    fn agrees_with_the_formula() {
        // Worked by hand: pairs (0.2, 0.05), (0.1, 0.4), (0.15, 0.1) give
        // 0.15*0.25/0.35 + 0.3*0.5/0.6 + 0.05*0.25/0.35 = 0.392857142857...
        let expected = 0.392_857_142_857;
        let found = penalty(&ROWS, &[0, 1, 2], AbsentPairs::Skip, Reduction::Sum);
        assert!((found - expected).abs() < 1e-6, "{found}");
        assert!((by_pairs(ROWS.map(|row| row.map(f64::from))) - expected).abs() < 1e-6);
        let reduced = penalty(&ROWS, &[0, 1, 2], AbsentPairs::Skip, Reduction::PerClass);
        assert!((reduced - expected / 3.0).abs() < 1e-6);
    }

    #[test]
    fn rows_are_means_over_the_images_of_a_class() {
        let images = [[0.9, 0.05, 0.05], [0.5, 0.35, 0.15], ROWS[1], ROWS[2]];
        let found = penalty(&images, &[0, 0, 1, 2], AbsentPairs::Skip, Reduction::Sum);
        assert!((found - 0.392_857_142_857).abs() < 1e-6, "{found}");
    }

    #[test]
    fn a_pair_with_an_absent_class_is_left_out_or_counts_as_zero() {
        let two = [ROWS[0], ROWS[1]];
        let skipped = penalty(&two, &[0, 1], AbsentPairs::Skip, Reduction::Sum);
        assert!((skipped - 0.15 * 0.25 / 0.35).abs() < 1e-6);
        let as_zero = penalty(&two, &[0, 1], AbsentPairs::AsZero, Reduction::Sum);
        let published = by_pairs([[0.7, 0.2, 0.1], [0.05, 0.8, 0.15], [0.0, 0.0, 0.0]]);
        assert!((as_zero - published).abs() < 1e-6, "{as_zero} {published}");
    }

    #[test]
    fn symmetric_confusion_has_no_penalty_and_one_class_neither() {
        let symmetric = [[0.6, 0.3, 0.1], [0.3, 0.5, 0.2], [0.1, 0.2, 0.7]];
        assert!(penalty(&symmetric, &[0, 1, 2], AbsentPairs::Skip, Reduction::Sum) < 1e-6);
        assert!(penalty(&ROWS[..1], &[2], AbsentPairs::Skip, Reduction::PerClass) < 1e-6);
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let device = Device::default();
        let values: Vec<f32> = ROWS.iter().flatten().map(|p| p.ln()).collect();
        let at = |values: &[f32]| {
            let logits = Tensor::<2>::from_data(TensorData::new(values.to_vec(), [3, 3]), &device);
            symmetry_penalty(logits, &[0, 1, 2], 0.1, AbsentPairs::Skip, Reduction::Sum)
        };
        let leaf = Tensor::<2>::from_data(TensorData::new(values.clone(), [3, 3]), &device)
            .autodiff()
            .require_grad();
        let loss = symmetry_penalty(leaf.clone(), &[0, 1, 2], 0.1, AbsentPairs::Skip, Reduction::Sum);
        let gradient = leaf.grad(&loss.backward()).expect("the penalty depends on the logits");
        for (index, found) in gradient.try_to_vec_as::<f32>().expect("f32").into_iter().enumerate() {
            let moved = |delta: f32| {
                let mut moved = values.clone();
                moved[index] += delta;
                at(&moved).into_scalar::<f32>()
            };
            let expected = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            assert!((found - expected).abs() < 2e-3, "{index}: {found} {expected}");
        }
    }
}
