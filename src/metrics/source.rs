//! Who is easy to attack from: the spread of accuracy over true classes.

use serde::{Deserialize, Serialize};

use super::extremes::extremes;
use super::robustness::class_accuracies;
use super::{ClassRate, ConfusionMatrix, Figure, Rate};

/// Figures of classes as the source of errors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceFigures {
    /// Accuracy of each class; `None` for a class without images.
    pub per_class: Vec<Option<Rate>>,
    /// The class with the lowest accuracy. Its interval is that of a class chosen in advance: the lowest
    /// of many looks worse than it is.
    pub worst: Option<ClassRate>,
    /// The class with the highest accuracy.
    pub best: Option<ClassRate>,
    /// Accuracy of the best class minus that of the worst, in `[0, 1]`.
    pub gap: Option<Figure>,
}

impl SourceFigures {
    /// From counts.
    pub fn of(counts: &ConfusionMatrix) -> Self {
        let per_class = class_accuracies(counts);
        let found = extremes(per_class.iter().map(|rate| Some(rate.as_ref()?.value)));
        let at = |class: usize| per_class[class].map(|rate| ClassRate { class, rate });
        Self {
            worst: found.as_ref().and_then(|found| at(found.lowest)),
            best: found.as_ref().and_then(|found| at(found.highest)),
            gap: found.map(|found| Figure::new(found.gap, counts.total())),
            per_class,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_and_best_are_among_the_classes_with_images() {
        let found = SourceFigures::of(&[[0, 0, 0], [1, 3, 0], [0, 3, 1]].into());
        assert_eq!(found.per_class[0], None);
        assert_eq!(found.worst.unwrap().class, 2);
        assert_eq!((found.best.unwrap().class, found.best.unwrap().rate.n), (1, 4));
        assert!((found.gap.unwrap().value - 0.5).abs() < 1e-12);
    }

    #[test]
    fn without_images_there_is_no_worst_class() {
        let found = SourceFigures::of(&ConfusionMatrix::new(2));
        assert_eq!((found.worst, found.gap), (None, None));
    }
}
