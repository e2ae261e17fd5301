//! How often the prediction is right.

use serde::{Deserialize, Serialize};

use super::{ConfusionMatrix, Figure, Rate};

/// Accuracy of all images together: clean accuracy on clean pictures, robust accuracy on attacked ones.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Robustness {
    /// Share of images that are taken for what they are.
    pub micro_accuracy: Option<Rate>,
    /// Mean over the classes that have images of the class's accuracy: every class weighs the same.
    pub macro_accuracy: Option<Figure>,
}

impl Robustness {
    /// From counts.
    pub fn of(counts: &ConfusionMatrix) -> Self {
        let per_class: Vec<Rate> = class_accuracies(counts).into_iter().flatten().collect();
        Self {
            micro_accuracy: Rate::of(counts.correct(), counts.total()),
            macro_accuracy: Figure::mean_of(&per_class, counts.total()),
        }
    }
}

/// Accuracy of each class; `None` for a class without images.
pub(super) fn class_accuracies(counts: &ConfusionMatrix) -> Vec<Option<Rate>> {
    (0..counts.classes()).map(|class| Rate::of(counts.count(class, class), counts.row_total(class))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // import numpy as np
    // c = np.array([[8, 2, 0, 0], [1, 4, 0, 0], [0, 0, 0, 0], [3, 0, 1, 1]])
    // n = c.sum(1); print(c.trace() / c.sum(), (c.diagonal()[n > 0] / n[n > 0]).mean())
    // 0.65 0.6
    #[test]
    fn classes_without_images_do_not_lower_the_mean() {
        let counts = [[8, 2, 0, 0], [1, 4, 0, 0], [0, 0, 0, 0], [3, 0, 1, 1]].into();
        let robustness = Robustness::of(&counts);
        assert!((robustness.micro_accuracy.unwrap().value - 0.65).abs() < 1e-12);
        assert!((robustness.macro_accuracy.unwrap().value - 0.6).abs() < 1e-12);
        assert_eq!(class_accuracies(&counts)[2], None);
    }

    #[test]
    fn no_image_is_no_accuracy() {
        let robustness = Robustness::of(&ConfusionMatrix::new(3));
        assert_eq!((robustness.micro_accuracy, robustness.macro_accuracy), (None, None));
    }
}
