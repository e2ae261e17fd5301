//! What a gradient attack raises: cross-entropy, the difference of logits ratio (Croce and Hein, "Reliable
//! evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks", ICML 2020),
//! or the plain margin.
//!
//! With the logits `z`, sorted from the largest as `z(1), z(2), ..`, and the label `y`:
//! - away from the label: `(max_{i != y} z_i - z_y) / (z(1) - z(3))`;
//! - to a target `t`: `(z_t - max_{i != t} z_i) / (z(1) - (z(3) + z(4)) / 2)`, above 0 exactly when the
//!   prediction is the target;
//! - with a class `t` against the label: `(z_t - z_y) / (z(1) - (z(3) + z(4)) / 2)`. This is what AutoAttack
//!   calls targeted: success there is any prediction but the label, and `t` is only a direction.
//!
//! The ratio does not change when the logits are shifted or scaled, so a saturated softmax cannot hide the
//! gradient. With three classes `z(4)` is missing and `z(3)` takes its place. With two classes there is no
//! third logit, and `z(1) - z(2)` would make the ratio constant, so it is the margin there. Published code
//! fails on an index for fewer than three or four classes.

use burn::tensor::Tensor;

use super::Goal;
use super::goal::cross_entropy;
use crate::data::class_tensor;

/// Keeps the ratio finite where the denominator vanishes.
const TINY: f32 = 1e-12;

/// What an attack raises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// The cross-entropy of the label, or minus that of the target.
    #[default]
    Ce,
    /// The difference of logits ratio.
    Dlr,
    /// The numerator of the ratio alone.
    Margin,
}

/// A difference of two logits with the scale to divide it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// `z(1) - z(3)`.
    Third,
    /// `z(1) - (z(3) + z(4)) / 2`.
    ThirdAndFourth,
}

impl Loss {
    /// The loss that is raised to reach a goal, for each image: positive margins and ratios mean that it
    /// is reached.
    ///
    /// # Shapes
    /// - `logits`: `[N, K]`, `labels`: `N`
    /// - output: `[N]`
    pub fn of_goal(self, goal: &Goal, logits: Tensor<2>, labels: &[usize]) -> Tensor<1> {
        if self == Self::Ce {
            return goal.loss(logits, labels);
        }
        let ranks = ranks(&logits);
        let others = |but: &[usize]| -> Vec<usize> {
            ranks.iter().zip(but).map(|(order, &but)| order[usize::from(order[0] == but)]).collect()
        };
        match goal {
            Goal::Untargeted => self.ratio(&logits, &ranks, &others(labels), labels, Scale::Third),
            Goal::Targeted(targets) => {
                self.ratio(&logits, &ranks, targets, &others(targets), Scale::ThirdAndFourth)
            }
        }
    }

    /// The loss that is raised to bring one class of each image above its label.
    ///
    /// # Shapes
    /// As for [`Loss::of_goal`]; `classes`: `N`.
    pub fn against_label(self, logits: Tensor<2>, labels: &[usize], classes: &[usize]) -> Tensor<1> {
        if self == Self::Ce {
            return cross_entropy(logits, classes).neg();
        }
        let ranks = ranks(&logits);
        self.ratio(&logits, &ranks, classes, labels, Scale::ThirdAndFourth)
    }

    fn ratio(
        self,
        logits: &Tensor<2>,
        ranks: &[Vec<usize>],
        raised: &[usize],
        lowered: &[usize],
        scale: Scale,
    ) -> Tensor<1> {
        let difference = pick(logits, raised) - pick(logits, lowered);
        let classes = logits.dims()[1];
        if self == Self::Margin || classes < 3 {
            return difference;
        }
        let at = |rank: usize| pick(logits, &ranks.iter().map(|order| order[rank]).collect::<Vec<_>>());
        let low = match scale {
            Scale::ThirdAndFourth if classes > 3 => (at(2) + at(3)).mul_scalar(0.5),
            _ => at(2),
        };
        difference / (at(0) - low).add_scalar(TINY)
    }
}

/// For each row of logits the classes from the largest logit to the smallest; of equals the first comes
/// first.
pub(super) fn ranks(logits: &Tensor<2>) -> Vec<Vec<usize>> {
    let classes = logits.dims()[1];
    let values: Vec<f32> = logits.clone().without_autodiff().to_data().iter::<f32>().collect();
    let order = |row: &[f32]| {
        let mut order: Vec<usize> = (0..classes).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]));
        order
    };
    values.chunks(classes.max(1)).map(order).collect()
}

/// One logit of each row: `[N, K]` to `[N]`.
fn pick(logits: &Tensor<2>, classes: &[usize]) -> Tensor<1> {
    let device = logits.device().without_autodiff();
    let index = class_tensor(classes, &device).unsqueeze_dim::<2>(1);
    logits.clone().gather(1, index).squeeze_dim(1)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::values;
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn tensor(rows: &[&[f32]]) -> Tensor<2> {
        let shape = [rows.len(), rows[0].len()];
        Tensor::from_data(TensorData::new(rows.concat(), shape), &Device::default())
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }

    fn logits() -> Tensor<2> {
        tensor(&[&[1.0, 4.0, 2.5, -1.0, 0.5], &[3.0, -2.0, 0.25, 2.0, 1.0], &[0.0, 0.1, 0.2, 0.3, 5.0]])
    }

    #[test]
    fn ratios_agree_with_the_reference_implementation() {
        // pyautoattack 0.2.0:
        //   apgd = APGDAttack(lambda x: x, norm="Linf", eps=.1, device="cpu")
        //   apgd.dlr_loss(z, torch.tensor([1, 3, 0]))
        //   apgd = APGDAttack_targeted(...); apgd.y_target = torch.tensor([2, 1, 3])
        //   apgd.dlr_loss_targeted(z, torch.tensor([1, 3, 0]))
        let labels = [1, 3, 0];
        let away = Loss::Dlr.of_goal(&Goal::Untargeted, logits(), &labels);
        assert_close(&values(away), &[-0.5, 0.5, 1.041_666_6]);
        let towards = Loss::Dlr.against_label(logits(), &labels, &[2, 1, 3]);
        assert_close(&values(towards), &[-0.461_538_46, -1.684_210_5, 0.061_855_67]);
    }

    #[test]
    fn the_ratio_of_a_true_target_by_hand() {
        let goal = Goal::Targeted(vec![2, 0, 1]);
        let found = values(Loss::Dlr.of_goal(&goal, logits(), &[1, 3, 0]));
        // (2.5 - 4) / (4 - 0.75), (3 - 2) / (3 - 0.625), (0.1 - 5) / (5 - 0.15)
        assert_close(&found, &[-1.5 / 3.25, 1.0 / 2.375, -4.9 / 4.85]);
        let margin = values(Loss::Margin.of_goal(&goal, logits(), &[1, 3, 0]));
        assert_close(&margin, &[-1.5, 1.0, -4.9]);
    }

    #[test]
    fn two_and_three_classes_have_a_meaning() {
        let three = tensor(&[&[1.0, 4.0, 2.5]]);
        let away = |logits: &Tensor<2>| values(Loss::Dlr.of_goal(&Goal::Untargeted, logits.clone(), &[1]));
        let to =
            |logits: &Tensor<2>| values(Loss::Dlr.of_goal(&Goal::Targeted(vec![0]), logits.clone(), &[1]));
        let against = |logits: &Tensor<2>| values(Loss::Dlr.against_label(logits.clone(), &[1], &[0]));
        assert_close(&away(&three), &[-1.5 / 3.0]);
        assert_close(&to(&three), &[-3.0 / 3.0]);
        assert_close(&against(&three), &[-3.0 / 3.0]);
        let two = tensor(&[&[1.0, 4.0]]);
        for found in [away(&two), to(&two), against(&two)] {
            assert_close(&found, &[-3.0]);
        }
    }

    #[test]
    fn a_ratio_does_not_see_the_scale_of_the_logits() {
        let large = logits().mul_scalar(1000.0).add_scalar(7.0);
        for goal in [Goal::Untargeted, Goal::Targeted(vec![2, 0, 1])] {
            let loss = |logits| values(Loss::Dlr.of_goal(&goal, logits, &[1, 3, 0]));
            let gaps = loss(logits()).into_iter().zip(loss(large.clone())).map(|(a, b)| (a - b).abs());
            assert!(gaps.fold(0.0, f32::max) < 1e-3);
        }
    }

    #[test]
    fn equal_logits_have_finite_losses_and_gradients() {
        let device = Device::default().autodiff();
        let flat = Tensor::<2>::zeros([2, 5], &device).require_grad();
        for loss in [Loss::Ce, Loss::Dlr, Loss::Margin] {
            let found = loss.of_goal(&Goal::Untargeted, flat.clone(), &[0, 3]);
            assert!(
                values(found.clone().without_autodiff()).iter().all(|value| value.is_finite()),
                "{loss:?}"
            );
            let gradient = flat.grad(&found.sum().backward()).expect("a gradient");
            assert!(values(gradient).iter().all(|value| value.is_finite()), "{loss:?}");
        }
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let device = Device::default().autodiff();
        let rows = values(logits());
        let goal = Goal::Targeted(vec![2, 0, 1]);
        let losses: [(&str, &dyn Fn(Tensor<2>) -> Tensor<1>); 3] = [
            ("away", &|z| Loss::Dlr.of_goal(&Goal::Untargeted, z, &[1, 3, 0])),
            ("target", &|z| Loss::Dlr.of_goal(&goal, z, &[1, 3, 0])),
            ("against", &|z| Loss::Dlr.against_label(z, &[1, 3, 0], &[2, 1, 3])),
        ];
        for (name, loss) in losses {
            let leaf = Tensor::<2>::from_data(TensorData::new(rows.clone(), [3, 5]), &device).require_grad();
            let gradient = values(leaf.grad(&loss(leaf.clone()).sum().backward()).expect("a gradient"));
            for index in 0..rows.len() {
                let moved = |by: f32| {
                    let mut rows = rows.clone();
                    rows[index] += by;
                    let logits = Tensor::from_data(TensorData::new(rows, [3, 5]), &Device::default());
                    values(loss(logits)).iter().sum::<f32>()
                };
                let expected = (moved(1e-2) - moved(-1e-2)) / 2e-2;
                assert!((gradient[index] - expected).abs() < 1e-3, "{name} {index}");
            }
        }
    }
}
