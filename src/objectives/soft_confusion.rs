//! The soft confusion matrix of a batch, and the Sy-FAR penalty on its asymmetry.
//!
//! Row `i` is the mean softmax of the images of class `i`; it is the differentiable cousin of the
//! confusion matrix. The penalty of Sy-FAR (arXiv 2509.12939) is
//!
//! ```text
//! L_sym = sum over i < j of |a - b| / (a + b + eps) * (a + b),    a = C_ij, b = C_ji
//! ```
//!
//! that is, each gap |a - b| times a gate s / (s + eps) with s = a + b. Four choices are ours:
//!
//! - **Absent classes.** In a batch, many classes have no image. For a pair with one class absent the
//!   published code takes the missing rate as 0, so its term punishes every confusion into that class:
//!   not an asymmetry. Here such a pair is left out by default.
//! - **Reduction.** Rows of `C` sum to one, so the sum over pairs grows with the number of rows. Divided
//!   by the rows that are present it stays in [0, 1] and one weight suits 10 classes and 40.
//! - **Temperature.** The softmax of a network whose probabilities can be believed is symmetric whatever the
//!   classes: for equally frequent classes with densities `p_i` the mean of `p(j | x)` over class `i` is
//!   the integral of `p_i p_j / sum_k p_k`, the same both ways. Cross-entropy already leads there, while
//!   the predictions of the same network may be as asymmetric as can be. A temperature below 1 brings `C`
//!   near to what is predicted.
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

/// Which of the two rates of a pair the penalty moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sides {
    /// Both, as published: the larger falls, and the smaller rises (levelling down), fully once their sum is
    /// well above eps.
    #[default]
    Both,
    /// The larger alone; the smaller is a constant for the gradient. The value is the same.
    Larger,
}

/// How the asymmetry of a soft confusion matrix is punished.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Symmetry {
    /// The eps of the gate, above 0; `1/K` makes it independent of the number of classes.
    pub epsilon: f64,
    /// Pairs with one class absent.
    pub absent_pairs: AbsentPairs,
    /// How terms become one number.
    pub reduction: Reduction,
    /// Which rates move.
    pub sides: Sides,
    /// What logits are divided by before the softmax, above 0; 1 as published.
    pub temperature: f64,
}

impl Symmetry {
    /// The penalty of a batch, `[1]`, differentiable with respect to the logits.
    ///
    /// # Shapes
    /// - `logits`: `[N, K]`
    /// - `labels`: `N`
    pub fn penalty(&self, logits: Tensor<2>, labels: &[usize]) -> Tensor<1> {
        let present = present_classes(labels);
        let rows = self.rows(logits, labels, &present);
        let mut total = self.among(&rows, &present);
        if self.absent_pairs == AbsentPairs::AsZero {
            let outside = rows.clone() * columns_outside(&present, &rows);
            total = total + gated(outside.clone(), outside, self.epsilon).sum();
        }
        self.reduce(total, present.len())
    }

    /// The soft confusion matrix of the classes that are present, `[P, K]`.
    pub(super) fn rows(&self, logits: Tensor<2>, labels: &[usize], present: &[usize]) -> Tensor<2> {
        let device = logits.device().without_autodiff();
        let mut weights = vec![0.0_f32; present.len() * labels.len()];
        for (row, class) in present.iter().enumerate() {
            let count = labels.iter().filter(|label| *label == class).count();
            for (column, _) in labels.iter().enumerate().filter(|(_, label)| *label == class) {
                weights[row * labels.len() + column] = 1.0 / count as f32;
            }
        }
        let average = TensorData::new(weights, [present.len(), labels.len()]);
        Tensor::<2>::from_data(average, &device).matmul(self.probabilities(logits))
    }

    /// What is averaged: `[N, K]`.
    pub(super) fn probabilities(&self, logits: Tensor<2>) -> Tensor<2> {
        softmax(logits.div_scalar(self.temperature), 1)
    }

    /// The terms of the pairs of classes in the batch, summed. `rows` are those of `present`: `[P, K]`.
    pub(super) fn among(&self, rows: &Tensor<2>, present: &[usize]) -> Tensor<1> {
        let device = rows.device().without_autodiff();
        let square = rows.clone().select(1, class_tensor(present, &device));
        // Both triangles hold each pair once, so half of their sum counts it once; the diagonal is zero.
        self.terms(square.clone(), square.transpose()).sum().mul_scalar(0.5)
    }

    /// The term of each pair of rates.
    pub(super) fn terms(&self, a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
        let (a, b) = match self.sides {
            Sides::Both => (a, b),
            Sides::Larger => {
                let (fixed_a, fixed_b) = (a.clone().without_autodiff(), b.clone().without_autodiff());
                let first = fixed_a.clone().greater(fixed_b.clone()).float();
                let second = first.clone().neg().add_scalar(1.0);
                let larger_a = a * first.clone() + fixed_a * second.clone();
                (larger_a, b * second + fixed_b * first)
            }
        };
        gated((a.clone() - b.clone()).abs(), a + b, self.epsilon)
    }

    /// A sum over pairs as one number, for so many classes in the batch.
    pub(super) fn reduce(&self, total: Tensor<1>, present: usize) -> Tensor<1> {
        match self.reduction {
            Reduction::Sum => total,
            Reduction::PerClass => total.div_scalar(present.max(1) as f64),
        }
    }
}

/// `gap * sum / (sum + eps)`.
fn gated(gap: Tensor<2>, sum: Tensor<2>, epsilon: f64) -> Tensor<2> {
    let gate = sum.clone() / sum.add_scalar(epsilon);
    gap * gate
}

/// The classes with an image in the batch, in ascending order.
pub(super) fn present_classes(labels: &[usize]) -> Vec<usize> {
    let classes: std::collections::BTreeSet<usize> = labels.iter().copied().collect();
    classes.into_iter().collect()
}

/// 1 in the columns of the classes without an image, 0 elsewhere: `[1, K]`.
fn columns_outside(present: &[usize], rows: &Tensor<2>) -> Tensor<2> {
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
    use rand::RngExt;

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
        let symmetry =
            Symmetry { epsilon: 0.1, absent_pairs: absent, reduction, sides: Sides::Both, temperature: 1.0 };
        let value = f64::from(symmetry.penalty(logits(probabilities), labels).into_scalar::<f32>());
        let larger = Symmetry { sides: Sides::Larger, ..symmetry };
        let other = f64::from(larger.penalty(logits(probabilities), labels).into_scalar::<f32>());
        assert!((value - other).abs() < 1e-6, "the side changes the gradient alone");
        value
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

    const PUBLISHED: Symmetry = Symmetry {
        epsilon: 0.1,
        absent_pairs: AbsentPairs::Skip,
        reduction: Reduction::Sum,
        sides: Sides::Both,
        temperature: 1.0,
    };

    fn leaf(values: &[f32]) -> Tensor<2> {
        let data = TensorData::new(values.to_vec(), [values.len() / 3, 3]);
        Tensor::<2>::from_data(data, &Device::default()).autodiff().require_grad()
    }

    #[test]
    fn gradient_agrees_with_finite_differences() {
        let values: Vec<f32> = ROWS.iter().flatten().map(|p| p.ln()).collect();
        for temperature in [1.0, 0.4] {
            let symmetry = Symmetry { temperature, ..PUBLISHED };
            let at = |values: &[f32]| symmetry.penalty(leaf(values).without_autodiff(), &[0, 1, 2]);
            let leaf = leaf(&values);
            let loss = symmetry.penalty(leaf.clone(), &[0, 1, 2]);
            let gradient = leaf.grad(&loss.backward()).expect("the penalty depends on the logits");
            for (index, found) in gradient.try_to_vec_as::<f32>().expect("f32").into_iter().enumerate() {
                let moved = |delta: f32| {
                    let mut moved = values.clone();
                    moved[index] += delta;
                    at(&moved).into_scalar::<f32>()
                };
                let expected = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                assert!((found - expected).abs() < 2e-3, "{temperature}, {index}: {found} {expected}");
            }
        }
    }

    #[test]
    fn a_low_temperature_compares_predictions() {
        let images = [[0.45, 0.55, 0.0001], [0.6, 0.3, 0.1], [0.3, 0.6, 0.1], [0.1, 0.2, 0.7]];
        let cold = Symmetry { temperature: 0.005, ..PUBLISHED };
        let found = cold.penalty(logits(&images), &[0, 0, 1, 2]).into_scalar::<f32>();
        // One of the two images of class 0 is taken for class 1, none the other way.
        assert!((found - 0.5 * 0.5 / 0.6).abs() < 1e-4, "{found}");
    }

    /// Probabilities that can be believed are symmetric already, the predictions made from them are not.
    #[test]
    fn the_posterior_of_even_classes_is_symmetric_and_its_predictions_are_not() {
        let (classes, places) = (5, 40);
        let mut rng = crate::Seed::new(7).rng();
        // Density of each class over the places that there are.
        let density: Vec<Vec<f64>> = (0..classes)
            .map(|_| {
                let masses: Vec<f64> = (0..places).map(|_| rng.random::<f64>().powi(3)).collect();
                let sum: f64 = masses.iter().sum();
                masses.iter().map(|mass| mass / sum).collect()
            })
            .collect();
        let rate = |of: &dyn Fn(usize, usize) -> f64, i: usize, j: usize| -> f64 {
            (0..places).map(|x| density[i][x] * of(j, x)).sum()
        };
        let posterior = |j: usize, x: usize| density[j][x] / density.iter().map(|p| p[x]).sum::<f64>();
        let prediction = |j: usize, x: usize| {
            let likeliest = (0..classes).max_by(|&a, &b| density[a][x].total_cmp(&density[b][x]));
            f64::from(u8::from(likeliest == Some(j)))
        };
        let asymmetry = |of: &dyn Fn(usize, usize) -> f64| -> f64 {
            let pairs = (0..classes).flat_map(|i| (0..i).map(move |j| (i, j)));
            pairs.map(|(i, j)| (rate(of, i, j) - rate(of, j, i)).abs()).sum()
        };
        assert!(asymmetry(&posterior) < 1e-12, "{}", asymmetry(&posterior));
        assert!(asymmetry(&prediction) > 0.1, "{}", asymmetry(&prediction));
    }

    /// With respect to the rates: `d/da = s/(s+eps) + (a-b) eps/(s+eps)^2` for the larger, and for the
    /// smaller `-s/(s+eps) + (a-b) eps/(s+eps)^2`, or nothing.
    #[test]
    fn one_sided_only_the_larger_rate_of_a_pair_moves() {
        let gradient = |sides| {
            let rates = leaf(&[0.0, 0.2, 0.1, 0.05, 0.0, 0.15, 0.4, 0.1, 0.0]);
            let symmetry = Symmetry { sides, ..PUBLISHED };
            let total = symmetry.among(&rates, &[0, 1, 2]);
            let gradient = rates.grad(&total.backward()).expect("tracked");
            gradient.try_to_vec_as::<f32>().expect("f32")
        };
        let slope = |a: f32, b: f32| {
            let (s, eps) = (a + b, 0.1);
            let common = (a - b) * eps / (s + eps).powi(2);
            (s / (s + eps) + common, -s / (s + eps) + common)
        };
        let (both, larger) = (gradient(Sides::Both), gradient(Sides::Larger));
        for (high, low, a, b) in [(1, 3, 0.2, 0.05), (6, 2, 0.4, 0.1), (5, 7, 0.15, 0.1)] {
            let (up, down) = slope(a, b);
            assert!((both[high] - up).abs() < 1e-5 && (both[low] - down).abs() < 1e-5, "{both:?}");
            assert!((larger[high] - up).abs() < 1e-5 && larger[low].abs() < 1e-7, "{larger:?}");
        }
    }

    /// The whole matrix, pair by pair, for very many classes: rows of absent classes are zero.
    fn dense(rows: &[(usize, Vec<f64>)], classes: usize, absent: AbsentPairs) -> f64 {
        let mut row_of = vec![None; classes];
        for (class, row) in rows {
            row_of[*class] = Some(row);
        }
        let mut total = 0.0;
        for i in 0..classes {
            for j in i + 1..classes {
                let term = |a: f64, b: f64| (a - b).abs() / (a + b + 0.1) * (a + b);
                total += match (row_of[i], row_of[j], absent) {
                    (Some(first), Some(second), _) => term(first[j], second[i]),
                    (Some(row), None, AbsentPairs::AsZero) => term(row[j], 0.0),
                    (None, Some(row), AbsentPairs::AsZero) => term(0.0, row[i]),
                    _ => 0.0,
                };
            }
        }
        total
    }

    #[test]
    fn ten_thousand_classes_give_what_the_whole_matrix_gives() {
        let classes = 10_000;
        let labels = [17, 9_999, 4_242, 17];
        // Most of the mass is on the classes of the batch, so that its pairs matter.
        let mut values = vec![0.0_f32; labels.len() * classes];
        for (image, row) in values.chunks_mut(classes).enumerate() {
            for (other, class) in labels.iter().enumerate() {
                row[*class] = 8.0 + (image * 3 + other * 2) as f32 % 5.0;
            }
            row[image * 1_000 + 5] = 7.0;
        }
        let logits = Tensor::<2>::from_data(TensorData::new(values, [4, classes]), &Device::default());
        // The same softmax on both sides: in f32 the sum of so many small numbers depends on their order.
        let rates: Vec<f64> = softmax(logits.clone(), 1).into_data().iter::<f64>().collect();
        let mut soft: Vec<Vec<f64>> = rates.chunks(classes).map(<[f64]>::to_vec).collect();
        let last = soft.pop().expect("four");
        soft[0].iter_mut().zip(last).for_each(|(first, last)| *first = f64::midpoint(*first, last));
        let rows: Vec<(usize, Vec<f64>)> = labels.into_iter().zip(soft).collect();
        for absent_pairs in [AbsentPairs::Skip, AbsentPairs::AsZero] {
            let symmetry = Symmetry { absent_pairs, ..PUBLISHED };
            let found = f64::from(symmetry.penalty(logits.clone(), &labels).into_scalar::<f32>());
            let expected = dense(&rows, classes, absent_pairs);
            assert!((found - expected).abs() < 1e-5 && expected > 0.01, "{found} {expected}");
        }
    }

    /// A matrix of a million classes squared would need four terabytes.
    #[test]
    fn memory_grows_with_the_classes_and_not_with_their_square() {
        let classes = 1_000_000;
        let values = TensorData::new(vec![0.0_f32; 3 * classes], [3, classes]);
        let logits = Tensor::<2>::from_data(values, &Device::default());
        let found = PUBLISHED.penalty(logits, &[0, 999_999, 3]).into_scalar::<f32>();
        assert!(found.abs() < 1e-9, "{found}");
    }
}
