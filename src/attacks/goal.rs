//! What an attack is after.

use burn::tensor::{Bool, Tensor};

use crate::data::class_tensor;

/// The aim of an attack on a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Any prediction but the label.
    Untargeted,
    /// For each image the class that it should be taken for. Success is prediction == target, nothing
    /// else.
    Targeted(Vec<usize>),
}

impl Goal {
    /// The loss that the attack *raises*, for each image: the cross-entropy of the label, or minus the
    /// cross-entropy of the target. (The published targeted eyeglass attack raises the target's
    /// cross-entropy and so runs away from its target.)
    ///
    /// # Shapes
    /// - `logits`: `[N, K]`, `labels`: `N`
    /// - output: `[N]`
    pub fn loss(&self, logits: Tensor<2>, labels: &[usize]) -> Tensor<1> {
        match self {
            Self::Untargeted => cross_entropy(logits, labels),
            Self::Targeted(targets) => cross_entropy(logits, targets).neg(),
        }
    }

    /// Whether a prediction is what the attack is after.
    pub fn reached(&self, row: usize, prediction: usize, label: usize) -> bool {
        match self {
            Self::Untargeted => prediction != label,
            Self::Targeted(targets) => prediction == targets[row],
        }
    }

    /// Whether each row of logits is classified as the attack wants: `[N, K]` to `[N]`.
    pub(super) fn reached_by(&self, logits: Tensor<2>, labels: &[usize]) -> Tensor<1, Bool> {
        let device = logits.device();
        let prediction = logits.argmax(1).squeeze_dim::<1>(1);
        match self {
            Self::Untargeted => prediction.not_equal(class_tensor(labels, &device)),
            Self::Targeted(targets) => prediction.equal(class_tensor(targets, &device)),
        }
    }

    /// The goal of some rows of the batch.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        match self {
            Self::Untargeted => Self::Untargeted,
            Self::Targeted(targets) => Self::Targeted(rows.iter().map(|&row| targets[row]).collect()),
        }
    }
}

/// Cross-entropy of each image, `[N, K]` logits and `N` classes to `[N]`.
pub fn cross_entropy(logits: Tensor<2>, classes: &[usize]) -> Tensor<1> {
    let device = logits.device().without_autodiff();
    let index = class_tensor(classes, &device).unsqueeze_dim::<2>(1);
    burn::tensor::activation::log_softmax(logits, 1).gather(1, index).squeeze_dim::<1>(1).neg()
}
