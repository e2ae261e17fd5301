//! The figures that models are compared by, and their mean and standard deviation over seeds.

use serde::{Deserialize, Serialize};

use super::{ConfusionFigures, FairnessReport, Figure, Rate, SymmetryFigures};

/// One figure over runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean over the runs that have the figure.
    pub mean: f64,
    /// Standard deviation with `n - 1`; `None` for one run.
    pub sd: Option<f64>,
    /// Number of runs that have it.
    pub runs: usize,
}

impl Spread {
    /// `None` when no run has the figure.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (!values.is_empty()).then(|| Self {
            mean,
            sd: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()),
            runs: values.len(),
        })
    }
}

/// A figure of one report, with what is known of its noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Headline {
    /// The figure.
    pub value: f64,
    /// Its 95 % interval, if it is a rate.
    pub interval: Option<(f64, f64)>,
    /// What it would be by chance if the truth were symmetric, if it is an asymmetry.
    pub chance: Option<f64>,
}

impl From<Rate> for Headline {
    fn from(rate: Rate) -> Self {
        Self { value: rate.value, interval: Some((rate.low, rate.high)), chance: None }
    }
}

impl From<Figure> for Headline {
    fn from(figure: Figure) -> Self {
        let chance = figure.noise.map(|noise| noise.expected);
        Self { value: figure.value, interval: figure.low.zip(figure.high), chance }
    }
}

impl From<f64> for Headline {
    fn from(value: f64) -> Self {
        Self { value, interval: None, chance: None }
    }
}

/// A figure of a report by name.
pub struct NamedFigure {
    /// As tables show it.
    pub name: &'static str,
    /// Where it is in a report.
    pub of: fn(&FairnessReport) -> Option<Headline>,
}

/// The figures that models are compared by at a glance. Asymmetry never comes without accuracy.
pub const HEADLINE: [NamedFigure; 16] = [
    figure("clean accuracy", |r| Some(r.clean.robustness.micro_accuracy?.into())),
    figure("robust accuracy", |r| Some(attacked(r)?.robustness.micro_accuracy?.into())),
    figure("robust accuracy, worst class", |r| Some(attacked(r)?.source.worst?.rate.value.into())),
    figure("source gap (best - worst class)", |r| Some(attacked(r)?.source.gap?.into())),
    figure("largest share of all errors", |r| Some(attacked(r)?.target.largest_share?.rate.into())),
    figure("largest exposure of a target", |r| Some(attacked(r)?.target.largest_exposure?.figure.into())),
    figure("asymmetry, sum A1", |r| Some(confusions(r)?.a1.into())),
    figure("asymmetry, scale-free A1n", |r| Some(confusions(r)?.a1_normalised?.into())),
    figure("Sy-FAR penalty, eps = 1/K", |r| Some(confusions(r)?.penalty_evaluation.into())),
    figure("targeted success, mean of pairs", |r| Some(r.targeted.as_ref()?.macro_success?.into())),
    figure("targeted success, worst target", |r| Some(r.targeted.as_ref()?.worst_target?.figure.into())),
    figure("targeted success, worst source", |r| Some(r.targeted.as_ref()?.worst_source?.figure.into())),
    figure("targeted asymmetry, sum A1", |r| Some(successes(r)?.a1.into())),
    figure("targeted asymmetry, scale-free A1n", |r| Some(successes(r)?.a1_normalised?.into())),
    figure("targeted Sy-FAR penalty, eps = 1/K", |r| Some(successes(r)?.penalty_evaluation.into())),
    figure("group disparity, robust accuracy", |r| {
        Some(r.groups.first()?.untargeted.as_ref()?.class_macro?.disparity.into())
    }),
];

const fn figure(name: &'static str, of: fn(&FairnessReport) -> Option<Headline>) -> NamedFigure {
    NamedFigure { name, of }
}

fn attacked(report: &FairnessReport) -> Option<&ConfusionFigures> {
    report.untargeted.as_ref()
}

fn confusions(report: &FairnessReport) -> Option<&SymmetryFigures> {
    attacked(report)?.symmetry.as_ref()
}

fn successes(report: &FairnessReport) -> Option<&SymmetryFigures> {
    report.targeted.as_ref()?.symmetry.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_standard_deviation() {
        // numpy: np.mean([1, 2, 4]), np.std([1, 2, 4], ddof=1)
        let spread = Spread::of(&[1.0, 2.0, 4.0]).expect("three runs");
        assert!((spread.mean - 7.0 / 3.0).abs() < 1e-12);
        assert!((spread.sd.expect("three runs") - 1.527_525_231_651_946_7).abs() < 1e-12);
        assert_eq!(Spread::of(&[3.0]).expect("one run").sd, None);
        assert_eq!(Spread::of(&[]), None);
    }
}
