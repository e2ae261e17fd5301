//! Figures over several runs: mean and standard deviation over seeds.

use serde::{Deserialize, Serialize};

use super::{FairnessReport, SymmetryFigures};

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

/// A figure of a report by name.
pub struct NamedFigure {
    /// As tables show it.
    pub name: &'static str,
    /// Where it is in a report.
    pub of: fn(&FairnessReport) -> Option<f64>,
}

/// The figures that runs are compared by. Asymmetry never comes without accuracy.
pub const HEADLINE: [NamedFigure; 18] = [
    NamedFigure { name: "clean accuracy", of: |r| Some(r.clean.robustness.micro_accuracy?.value) },
    NamedFigure {
        name: "robust accuracy",
        of: |r| Some(r.untargeted.as_ref()?.robustness.micro_accuracy?.value),
    },
    NamedFigure {
        name: "worst class, robust accuracy",
        of: |r| Some(r.untargeted.as_ref()?.source.worst?.rate.value),
    },
    NamedFigure { name: "source gap", of: |r| Some(r.untargeted.as_ref()?.source.gap?.value) },
    NamedFigure {
        name: "largest share of errors",
        of: |r| Some(r.untargeted.as_ref()?.target.largest_share?.rate.value),
    },
    NamedFigure { name: "target share gap", of: |r| Some(r.untargeted.as_ref()?.target.share_gap?.value) },
    NamedFigure {
        name: "untargeted asymmetry A1",
        of: |r| Some(r.untargeted.as_ref()?.symmetry.as_ref()?.a1.value),
    },
    NamedFigure {
        name: "untargeted asymmetry, scale-free",
        of: |r| scale_free(r.untargeted.as_ref()?.symmetry.as_ref()?),
    },
    NamedFigure {
        name: "  its excess over the noise floor",
        of: |r| excess(r.untargeted.as_ref()?.symmetry.as_ref()?),
    },
    NamedFigure {
        name: "untargeted penalty, eps = 1/K",
        of: |r| Some(r.untargeted.as_ref()?.symmetry.as_ref()?.penalty_evaluation),
    },
    NamedFigure { name: "targeted success", of: |r| Some(r.targeted.as_ref()?.macro_success?.value) },
    NamedFigure {
        name: "worst target, success",
        of: |r| Some(r.targeted.as_ref()?.worst_target?.figure.value),
    },
    NamedFigure {
        name: "worst source, success",
        of: |r| Some(r.targeted.as_ref()?.worst_source?.figure.value),
    },
    NamedFigure {
        name: "targeted asymmetry A1",
        of: |r| Some(r.targeted.as_ref()?.symmetry.as_ref()?.a1.value),
    },
    NamedFigure {
        name: "targeted asymmetry, scale-free",
        of: |r| scale_free(r.targeted.as_ref()?.symmetry.as_ref()?),
    },
    NamedFigure {
        name: "  its excess over the noise floor",
        of: |r| excess(r.targeted.as_ref()?.symmetry.as_ref()?),
    },
    NamedFigure {
        name: "targeted penalty, eps = 1/K",
        of: |r| Some(r.targeted.as_ref()?.symmetry.as_ref()?.penalty_evaluation),
    },
    NamedFigure {
        name: "group disparity, robust accuracy",
        of: |r| Some(r.groups.first()?.untargeted.as_ref()?.class_macro?.disparity.value),
    },
];

fn scale_free(symmetry: &SymmetryFigures) -> Option<f64> {
    Some(symmetry.a1_normalised?.value)
}

fn excess(symmetry: &SymmetryFigures) -> Option<f64> {
    Some(symmetry.a1_normalised?.noise?.excess)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_standard_deviation() {
        // numpy: np.mean([1, 2, 4]), np.std([1, 2, 4], ddof=1)
        let spread = Spread::of(&[1.0, 2.0, 4.0]).expect("three runs");
        assert!((spread.mean - 2.333_333_333_333_333_5).abs() < 1e-12);
        assert!((spread.sd.expect("three runs") - 1.527_525_231_651_946_7).abs() < 1e-12);
        assert_eq!(Spread::of(&[3.0]).expect("one run").sd, None);
        assert_eq!(Spread::of(&[]), None);
    }
}
