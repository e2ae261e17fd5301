//! Change of robustness relative to a baseline.

use super::ConfusionMatrix;
use super::extremes::extremes;
use super::robustness::class_accuracies;

/// The relative change of the worst class's accuracy plus that of the mean over classes,
/// `(worst - worst_b) / worst_b + (mean - mean_b) / mean_b`: what WAT and DAFA call rho. Above 0 the
/// candidate gains more on one of them than it loses on the other; 0 for the baseline itself. Values are
/// comparable only for the same baseline, and a baseline whose worst class is hardly ever right makes it
/// huge. `None` where a class or its accuracy in the baseline is missing or 0.
pub fn relative_rho(candidate: &ConfusionMatrix, base: &ConfusionMatrix) -> Option<f64> {
    let (worst, mean) = worst_and_mean(candidate)?;
    let (base_worst, base_mean) = worst_and_mean(base)?;
    (base_worst > 0.0).then(|| (worst - base_worst) / base_worst + (mean - base_mean) / base_mean)
}

fn worst_and_mean(counts: &ConfusionMatrix) -> Option<(f64, f64)> {
    let accuracies: Vec<f64> = class_accuracies(counts).iter().flatten().map(|rate| rate.value).collect();
    let lowest = extremes(accuracies.iter().copied().map(Some))?.lowest;
    Some((accuracies[lowest], accuracies.iter().sum::<f64>() / accuracies.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Worst 0.4 to 0.5: 1/4. Mean 0.6 to 0.55: -1/12.
        let (base, candidate) = ([[8, 2], [6, 4]].into(), [[5, 5], [4, 6]].into());
        assert!((relative_rho(&candidate, &base).unwrap() - 1.0 / 6.0).abs() < 1e-12);
        assert!(relative_rho(&base, &base).unwrap().abs() < 1e-12);
    }

    #[test]
    fn a_worst_class_that_is_never_right_is_no_baseline() {
        let (base, candidate) = ([[10, 0], [10, 0]].into(), [[5, 5], [4, 6]].into());
        assert_eq!(relative_rho(&candidate, &base), None);
        assert_eq!(relative_rho(&candidate, &ConfusionMatrix::new(2)), None);
    }
}
