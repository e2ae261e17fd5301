//! Judging the gradients: are they there, are they true, and is the loss smooth around the pictures?

use super::{Check, Status, Verdict};

/// Smallest cosine of predicted and measured changes.
const COSINE: f64 = 0.9;
/// The ratio of measured to predicted changes may be from its reciprocal to this.
const RATIO: f64 = 1.25;
/// The usual alarm level of the loss noise.
const NOISE: f64 = 0.1;

/// What the gradients of correctly classified images are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct GradientCounts {
    /// Images.
    pub n: usize,
    /// Gradients that are zero in every value.
    pub zero: usize,
    /// Gradients with a value that is not finite.
    pub broken: usize,
}

/// Whether gradients are there and finite.
pub(super) fn present(id: Check, counts: GradientCounts) -> Verdict {
    let GradientCounts { n, zero, broken } = counts;
    if n == 0 {
        return Verdict::not_applicable(id, "no image is classified correctly");
    }
    let seen = format!("{zero} of {n} images have a zero gradient, {broken} one that is not finite");
    Verdict::unless(zero + broken > 0, id, seen)
}

/// Whether changes of a loss that the gradient predicts are those that are measured: pairs of both, for changes of so
/// many grey levels.
pub(super) fn finite_differences(pairs: &[(f64, f64)], grey_levels: f32) -> Verdict {
    let sum = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
    let (product, predicted, measured) = (sum(|p| p.0 * p.1), sum(|p| p.0 * p.0), sum(|p| p.1 * p.1));
    let n = pairs.len();
    if predicted == 0.0 && measured == 0.0 {
        let why = "gradient and loss are constant; see gradient-dlr";
        return Verdict::not_applicable(Check::FiniteDifferences, why);
    }
    let cosine = product / (predicted * measured).sqrt();
    let ratio = (measured / predicted).sqrt();
    let agrees = cosine >= COSINE && (RATIO.recip()..=RATIO).contains(&ratio);
    let number = |value: f64| if value.is_finite() { format!("{value:.3}") } else { "undefined".to_owned() };
    let (cosine, ratio) = (number(cosine), number(ratio));
    let seen = format!(
        "cosine {cosine}, measured over predicted {ratio}, {n} directions of {grey_levels} grey levels"
    );
    Verdict::unless(!agrees, Check::FiniteDifferences, seen)
}

/// How much a margin changes around the pictures: for each image its margin and the mean size of its changes.
pub(super) fn loss_noise(images: &[(f64, f64)]) -> Verdict {
    let margins: f64 = images.iter().map(|(margin, _)| margin.abs()).sum();
    let changes: f64 = images.iter().map(|(_, change)| change).sum();
    if margins == 0.0 {
        return Verdict::not_applicable(Check::LossNoise, "all margins are 0");
    }
    // A share of the margins of all images together: one image next to the boundary has no say of its own.
    let noise = (changes / margins).min(1.0);
    let status = if noise <= NOISE { Status::Passed } else { Status::Warning };
    Verdict::new(Check::LossNoise, status, format!("{noise:.4}, n {}", images.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flat_gradient_is_enough() {
        let judge = |n, zero, broken| present(Check::GradientCe, GradientCounts { n, zero, broken }).status;
        assert_eq!(judge(64, 0, 0), Status::Passed);
        assert_eq!(judge(64, 1, 0), Status::Failed);
        assert_eq!(judge(64, 0, 1), Status::Failed);
        assert_eq!(judge(0, 0, 0), Status::NotApplicable);
    }

    #[test]
    fn predicted_and_measured_changes_must_agree_in_sign_and_size() {
        let judge = |pairs: &[(f64, f64)]| finite_differences(pairs, 0.4).status;
        assert_eq!(judge(&[(1.0, 1.1), (-2.0, -1.9)]), Status::Passed);
        assert_eq!(judge(&[(1.0, -1.0), (2.0, -2.0)]), Status::Failed, "the wrong sign");
        assert_eq!(judge(&[(1.0, 2.0), (2.0, 4.0)]), Status::Failed, "half the size");
        assert_eq!(judge(&[(1.0, 0.0), (2.0, 0.0)]), Status::Failed, "nothing moves");
        assert_eq!(judge(&[(0.0, 1.0), (0.0, 1.0)]), Status::Failed, "no gradient where there is a slope");
        assert_eq!(judge(&[(0.0, 0.0)]), Status::NotApplicable);
        // cosine = (1 + 4) / sqrt(5 * 8.84) = 0.752
        assert!(finite_differences(&[(1.0, 1.0), (2.0, 2.0), (0.0, 1.96)], 0.4).seen.contains("0.752"));
    }

    #[test]
    fn noise_is_relative_to_the_margins() {
        let judge = |images: &[(f64, f64)]| loss_noise(images).status;
        assert_eq!(judge(&[(5.0, 0.1), (-0.01, 0.1)]), Status::Passed, "0.04");
        assert_eq!(judge(&[(1.0, 0.2), (1.0, 0.1)]), Status::Warning, "0.15");
        assert_eq!(judge(&[(0.0, 0.0)]), Status::NotApplicable);
    }
}
