//! Certificates to figures. Pure.

use serde::{Deserialize, Serialize};

use crate::metrics::Rate;

/// What became of one picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Its class.
    pub label: usize,
    /// What the smoothed classifier says; none for an abstention.
    pub prediction: Option<usize>,
    /// Certified L2 radius; 0 for an abstention.
    pub radius: f64,
}

/// Certified accuracy at one radius: the share of all pictures that are predicted correctly with at least that
/// radius. An abstention is not correct at any radius.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CertifiedAccuracy {
    /// L2 radius in units of pixels in `[0, 1]`.
    pub radius: f64,
    /// `None` without pictures.
    pub accuracy: Option<Rate>,
}

/// Figures of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassCertificates {
    /// Index of the class.
    pub class: usize,
    /// Share of its pictures that are abstained from; `None` without pictures.
    pub abstained: Option<Rate>,
    /// Certified accuracy of its pictures, radius by radius.
    pub certified: Vec<CertifiedAccuracy>,
}

/// All figures of a smoothed classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SmoothedFigures {
    /// Number of pictures.
    pub images: u64,
    /// Share of the pictures that are abstained from.
    pub abstained: Option<Rate>,
    /// Certified accuracy, radius by radius.
    pub certified: Vec<CertifiedAccuracy>,
    /// The same for each class.
    pub classes: Vec<ClassCertificates>,
    /// For each class and each prediction, and in a last column for abstentions, the number of pictures.
    pub pairs: Vec<Vec<u64>>,
}

impl SmoothedFigures {
    /// From the outcomes of pictures of `classes` classes, at some radii.
    pub fn of(outcomes: &[Outcome], classes: usize, radii: &[f64]) -> Self {
        let all: Vec<&Outcome> = outcomes.iter().collect();
        let mut pairs = vec![vec![0; classes + 1]; classes];
        for outcome in outcomes {
            pairs[outcome.label][outcome.prediction.unwrap_or(classes)] += 1;
        }
        let of_class = |class: usize| {
            let own: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.label == class).collect();
            ClassCertificates { class, abstained: abstained(&own), certified: certified(&own, radii) }
        };
        Self {
            images: outcomes.len() as u64,
            abstained: abstained(&all),
            certified: certified(&all, radii),
            classes: (0..classes).map(of_class).collect(),
            pairs,
        }
    }
}

fn abstained(outcomes: &[&Outcome]) -> Option<Rate> {
    let count = outcomes.iter().filter(|outcome| outcome.prediction.is_none()).count();
    Rate::of(count as u64, outcomes.len() as u64)
}

fn certified(outcomes: &[&Outcome], radii: &[f64]) -> Vec<CertifiedAccuracy> {
    let at = |radius: f64| {
        let holds =
            |outcome: &&&Outcome| outcome.prediction == Some(outcome.label) && outcome.radius >= radius;
        let count = outcomes.iter().filter(holds).count();
        CertifiedAccuracy { radius, accuracy: Rate::of(count as u64, outcomes.len() as u64) }
    };
    radii.iter().map(|&radius| at(radius)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abstentions_and_wrong_classes_are_never_certified() {
        let outcome = |label, prediction, radius| Outcome { label, prediction, radius };
        let outcomes = [
            outcome(0, Some(0), 0.6),
            outcome(0, Some(0), 0.2),
            outcome(0, None, 0.0),
            outcome(1, Some(0), 0.9),
        ];
        let figures = SmoothedFigures::of(&outcomes, 3, &[0.0, 0.2, 0.5, 1.0]);
        let counts = |certified: &[CertifiedAccuracy]| -> Vec<u64> {
            certified.iter().filter_map(|at| at.accuracy.map(|rate| rate.successes)).collect()
        };
        assert_eq!(counts(&figures.certified), [2, 2, 1, 0]);
        assert_eq!(counts(&figures.classes[0].certified), [2, 2, 1, 0]);
        assert_eq!(counts(&figures.classes[1].certified), [0, 0, 0, 0]);
        assert_eq!(figures.abstained.map(|rate| (rate.successes, rate.n)), Some((1, 4)));
        assert!(figures.classes[2].abstained.is_none() && counts(&figures.classes[2].certified).is_empty());
        assert_eq!(figures.pairs, [[2, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]);
    }
}
