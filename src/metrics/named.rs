//! The figures of one confusion matrix as a flat list of names: for tables, conditions and comparisons.

use super::inequality::Inequality;
use super::interval::Figure;
use super::target::evenness;
use super::{ConfusionFigures, Headline, RateMatrix, extremes::extremes, spectral, symmetry::Asymmetry};

/// Every figure that exists, by the name of its field in the JSON form. Where two sections have a field of
/// the same name, or the name says too little, the list has: `worst_class` and `best_class` (lowest and
/// highest accuracy of a class) and `source_gap`.
pub fn named_figures(found: &ConfusionFigures) -> Vec<(&'static str, Headline)> {
    let (robustness, source, target) = (&found.robustness, &found.source, &found.target);
    let inequality = source.inequality.as_ref();
    let symmetry = found.symmetry.as_ref();
    let of = |figure: Option<Figure>| figure.map(Headline::from);
    let list = [
        ("micro_accuracy", robustness.micro_accuracy.map(Headline::from)),
        ("macro_accuracy", of(robustness.macro_accuracy)),
        ("worst_class", of(source.lowest)),
        ("worst_split_half", of(source.worst_split_half)),
        ("best_class", source.best.map(|best| best.rate.value.into())),
        ("source_gap", of(source.gap)),
        ("worst_tenth", of(inequality.map(|found| found.worst_tenth))),
        ("sd", of(inequality.map(|found| found.sd))),
        ("cv", of(inequality.and_then(|found| found.cv))),
        ("gini", of(inequality.and_then(|found| found.gini))),
        ("theil", of(inequality.and_then(|found| found.theil))),
        ("worst_over_mean", of(inequality.and_then(|found| found.worst_over_mean))),
        ("largest_share", target.largest_share.map(|largest| largest.rate.into())),
        ("share_gap", of(target.share_gap)),
        ("share_entropy", of(target.share_entropy)),
        ("largest_exposure", of(target.largest_exposure.map(|largest| largest.figure))),
        ("smallest_exposure", of(target.smallest_exposure.map(|smallest| smallest.figure))),
        ("exposure_gap", of(target.exposure_gap)),
        ("a1", of(symmetry.map(|found| found.a1))),
        ("a1_normalised", of(symmetry.and_then(|found| found.a1_normalised))),
        ("largest_gap", of(symmetry.map(|found| found.largest_gap.gap))),
        ("penalty_training", of(symmetry.map(|found| found.penalty_training))),
        ("penalty_evaluation", of(symmetry.map(|found| found.penalty_evaluation))),
        ("log_penalty", of(symmetry.map(|found| found.log_penalty))),
        ("frobenius_ratio", of(symmetry.and_then(|found| found.frobenius_ratio))),
        ("spectral_norm", of(symmetry.map(|found| found.spectral_norm))),
    ];
    list.into_iter().filter_map(|(name, figure)| Some((name, figure?))).collect()
}

/// The figures of [`named_figures`] that rates alone determine, every class weighing the same. Without
/// counts there are no intervals, and `micro_accuracy` is not known; `largest_share`, `share_gap` and
/// `share_entropy` are those of classes with equally many images.
pub fn named_of_rates(rates: &RateMatrix) -> Vec<(&'static str, f64)> {
    let classes = 0..rates.classes();
    let accuracies: Vec<f64> = classes.clone().filter_map(|class| rates.rate(class, class)).collect();
    let column = |class: usize| -> Vec<f64> {
        classes.clone().filter(|&label| label != class).filter_map(|label| rates.rate(label, class)).collect()
    };
    let columns: Vec<Vec<f64>> = classes.clone().map(column).collect();
    let mean =
        |values: &Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let sums: Vec<f64> = columns.iter().map(|column| column.iter().sum()).collect();
    let errors: f64 = sums.iter().sum();
    let shares: Vec<f64> = sums.iter().map(|sum| sum / errors).collect();
    let ends = |values: &[f64]| {
        let found = extremes(values.iter().copied().map(Some))?;
        Some([values[found.lowest], values[found.highest], found.gap])
    };
    let accuracy = ends(&accuracies);
    let share = ends(&shares).filter(|_| errors > 0.0);
    let exposure = ends(&columns.iter().filter_map(mean).collect::<Vec<_>>());
    let inequality = Inequality::of(&accuracies, 0);
    let symmetry = Asymmetry::of(rates.classes(), rates.pairs());
    let spectral = symmetry.as_ref().map(|_| spectral::of_pairs(rates.classes(), rates.pairs()));
    let value = |figure: Option<Figure>| figure.map(|figure| figure.value);
    let list = [
        ("macro_accuracy", mean(&accuracies)),
        ("worst_class", accuracy.map(|ends| ends[0])),
        ("best_class", accuracy.map(|ends| ends[1])),
        ("source_gap", accuracy.map(|ends| ends[2])),
        ("worst_tenth", value(inequality.map(|found| found.worst_tenth))),
        ("sd", value(inequality.map(|found| found.sd))),
        ("cv", value(inequality.and_then(|found| found.cv))),
        ("gini", value(inequality.and_then(|found| found.gini))),
        ("theil", value(inequality.and_then(|found| found.theil))),
        ("worst_over_mean", value(inequality.and_then(|found| found.worst_over_mean))),
        ("largest_share", share.map(|ends| ends[1])),
        ("share_gap", share.map(|ends| ends[2])),
        ("share_entropy", evenness(&shares).filter(|_| errors > 0.0)),
        ("largest_exposure", exposure.map(|ends| ends[1])),
        ("smallest_exposure", exposure.map(|ends| ends[0])),
        ("exposure_gap", exposure.map(|ends| ends[2])),
        ("a1", symmetry.as_ref().map(|found| found.a1)),
        ("a1_normalised", symmetry.as_ref().and_then(Asymmetry::normalised)),
        ("largest_gap", symmetry.as_ref().map(Asymmetry::largest_gap)),
        ("penalty_training", symmetry.as_ref().map(|found| found.penalty_training)),
        ("penalty_evaluation", symmetry.as_ref().map(|found| found.penalty_evaluation)),
        ("log_penalty", symmetry.as_ref().map(|found| found.log_penalty)),
        ("frobenius_ratio", symmetry.as_ref().and_then(Asymmetry::frobenius_ratio)),
        ("spectral_norm", spectral),
    ];
    list.into_iter().filter_map(|(name, figure)| Some((name, figure?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use crate::metrics::ConfusionMatrix;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rates_of_equally_many_images_give_the_figures_of_their_counts(
            errors in prop::array::uniform4(prop::array::uniform4(0_u64..10)),
        ) {
            let mut counts = errors;
            for (class, row) in counts.iter_mut().enumerate() {
                row[class] = 0;
                row[class] = 40 - row.iter().sum::<u64>();
            }
            let counts = ConfusionMatrix::from(counts);
            let figures = ConfusionFigures::of(&counts, Seed::new(0), 0);
            let of_counts = named_figures(&figures);
            let of_rates = named_of_rates(&RateMatrix::of_confusion(&counts));
            // Without draws there is no split half; rates know no images.
            let names: Vec<&str> =
                of_counts.iter().map(|(name, _)| *name).filter(|name| *name != "micro_accuracy").collect();
            prop_assert_eq!(names, of_rates.iter().map(|(name, _)| *name).collect::<Vec<_>>());
            for (name, value) in of_rates {
                let counted = of_counts.iter().find(|(other, _)| *other == name).unwrap().1.value;
                prop_assert!((counted - value).abs() < 1e-12, "{} {} {}", name, counted, value);
            }
        }
    }

    #[test]
    fn nothing_known_is_an_empty_list() {
        assert!(named_of_rates(&RateMatrix::from_rates(2, vec![None; 4]).unwrap()).is_empty());
        assert!(named_of_rates(&RateMatrix::from_rates(0, Vec::new()).unwrap()).is_empty());
        let none = ConfusionFigures::of(&ConfusionMatrix::new(2), Seed::new(0), 5);
        assert!(named_figures(&none).is_empty());
    }
}
