//! Who is easy to attack from: the spread of accuracy over true classes.

use serde::{Deserialize, Serialize};

use super::extremes::extremes;
use super::robustness::class_accuracies;
use super::split_half::split_half;
use super::spread::{Proportion, spread_intervals};
use super::{ClassRate, ConfusionMatrix, Figure, Inequality, Rate};
use crate::Seed;

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
    /// The lowest accuracy, with an interval of the lowest true accuracy, whichever class has it.
    pub lowest: Option<Figure>,
    /// The worst class chosen on one half of the images and measured on the other, the mean over random
    /// halves: free of the bias of choosing and measuring on the same images, but the class is chosen on
    /// half of them and so not always the worst. In `[0, 1]`. `None` without draws or without two images
    /// of a class.
    pub worst_split_half: Option<Figure>,
    /// Accuracy of the best class minus that of the worst, in `[0, 1]`.
    pub gap: Option<Figure>,
    /// How unequal the accuracies are.
    pub inequality: Option<Inequality>,
}

impl SourceFigures {
    /// From counts. Intervals come from `draws` redrawn accuracies; with 0 there are none.
    pub fn of(counts: &ConfusionMatrix, seed: Seed, draws: u32) -> Self {
        Self::of_rates(class_accuracies(counts), seed, draws)
    }

    /// From the accuracy of each class.
    pub fn of_rates(per_class: Vec<Option<Rate>>, seed: Seed, draws: u32) -> Self {
        let found = extremes(per_class.iter().map(|rate| Some(rate.as_ref()?.value)));
        let at = |class: usize| per_class[class].map(|rate| ClassRate { class, rate });
        let images = per_class.iter().flatten().map(|rate| rate.n).sum();
        let known: Vec<f64> = per_class.iter().flatten().map(|rate| rate.value).collect();
        let worst = found.as_ref().and_then(|found| at(found.lowest));
        let mut figures = Self {
            worst,
            best: found.as_ref().and_then(|found| at(found.highest)),
            lowest: worst.map(|worst| Figure::new(worst.rate.value, images)),
            worst_split_half: (draws > 0)
                .then(|| split_half(&per_class, seed.purpose("split half"), draws))
                .flatten(),
            gap: found.map(|found| Figure::new(found.gap, images)),
            inequality: Inequality::of(&known, images),
            per_class,
        };
        if draws > 0 && !known.is_empty() {
            figures.add_intervals(seed.purpose("interval"), draws);
        }
        figures
    }

    fn add_intervals(&mut self, seed: Seed, draws: u32) {
        let proportion = |rate: &Rate| Proportion { share: rate.value, trials: rate.n };
        let proportions: Vec<Proportion> = self.per_class.iter().flatten().map(proportion).collect();
        let found = spread_intervals(&proportions, spread_values, seed, draws);
        let mut figures = vec![self.lowest.as_mut(), self.gap.as_mut()];
        if let Some(inequality) = &mut self.inequality {
            figures.extend(inequality.figures_mut());
        }
        for (figure, (low, high)) in figures.into_iter().zip(found) {
            if let Some(figure) = figure {
                figure.set_interval(low, high);
            }
        }
    }
}

/// The figures that have intervals, in their order. A figure that needs a mean above 0 is 0 without.
fn spread_values(shares: &[f64]) -> [f64; 8] {
    let mut values = [0.0; 8];
    let (low, high) = shares.iter().fold((1.0_f64, 0.0_f64), |(low, high), &x| (low.min(x), high.max(x)));
    (values[0], values[1]) = (low, high - low);
    if let Some(mut inequality) = Inequality::of(shares, 0) {
        for (value, figure) in values[2..].iter_mut().zip(inequality.figures_mut()) {
            *value = figure.map_or(0.0, |figure| figure.value);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worst_and_best_are_among_the_classes_with_images() {
        let found = SourceFigures::of(&[[0, 0, 0], [1, 3, 0], [0, 3, 1]].into(), Seed::new(0), 0);
        assert_eq!(found.per_class[0], None);
        assert_eq!(found.worst.unwrap().class, 2);
        assert_eq!((found.best.unwrap().class, found.best.unwrap().rate.n), (1, 4));
        assert!((found.gap.unwrap().value - 0.5).abs() < 1e-12);
    }

    #[test]
    fn without_images_there_is_no_worst_class() {
        let found = SourceFigures::of(&ConfusionMatrix::new(2), Seed::new(0), 9);
        assert_eq!((found.worst, found.gap), (None, None));
    }

    #[test]
    fn every_figure_of_spread_has_an_interval() {
        let found = SourceFigures::of(&[[5, 5, 0], [1, 9, 0], [2, 2, 6]].into(), Seed::new(0), 200);
        let mut inequality = found.inequality.unwrap();
        for figure in inequality.figures_mut().into_iter().chain([found.gap.as_ref().copied().as_mut()]) {
            let figure = figure.unwrap();
            assert!(figure.low.unwrap() <= figure.high.unwrap());
        }
    }
}
