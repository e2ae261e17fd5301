//! Judging the gradients: are they there, are they true, and is the loss smooth around the pictures?

use super::probe::DIFFERENCES;
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

/// Whether changes of a loss that the gradient predicts are those that are measured. `pairs` gives both for changes of so
/// many grey levels. Where the directions agree and the sizes do not, the loss may only be bent: gradients that are true for
/// a shorter change are a warning, because each of them leads an attack only so far.
pub(super) fn finite_differences(pairs: impl Fn(f32) -> Vec<(f64, f64)>) -> Verdict {
    let [long, short] = DIFFERENCES;
    let found = Agreement::of(&pairs(long), long);
    if found.cosine >= COSINE && !found.holds() {
        let nearer = Agreement::of(&pairs(short), short);
        let status = if nearer.holds() { Status::Warning } else { Status::Failed };
        return Verdict::new(
            Check::FiniteDifferences,
            status,
            format!("{}; {}", found.seen(), nearer.seen()),
        );
    }
    found.verdict()
}

/// How well predicted and measured changes agree.
struct Agreement {
    grey_levels: f32,
    directions: usize,
    cosine: f64,
    /// Measured over predicted size.
    ratio: f64,
    /// Whether nothing is predicted and nothing measured.
    constant: bool,
}

impl Agreement {
    fn of(pairs: &[(f64, f64)], grey_levels: f32) -> Self {
        let sum = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>();
        let (product, predicted, measured) = (sum(|p| p.0 * p.1), sum(|p| p.0 * p.0), sum(|p| p.1 * p.1));
        Self {
            grey_levels,
            directions: pairs.len(),
            cosine: product / (predicted * measured).sqrt(),
            ratio: (measured / predicted).sqrt(),
            constant: predicted == 0.0 && measured == 0.0,
        }
    }

    fn holds(&self) -> bool {
        self.cosine >= COSINE && (RATIO.recip()..=RATIO).contains(&self.ratio)
    }

    fn verdict(&self) -> Verdict {
        if self.constant {
            let why = "gradient and loss are constant; see gradient-dlr";
            return Verdict::not_applicable(Check::FiniteDifferences, why);
        }
        Verdict::unless(!self.holds(), Check::FiniteDifferences, self.seen())
    }

    fn seen(&self) -> String {
        let number =
            |value: f64| if value.is_finite() { format!("{value:.3}") } else { "undefined".to_owned() };
        let Self { grey_levels, directions, .. } = self;
        let (cosine, ratio) = (number(self.cosine), number(self.ratio));
        format!(
            "cosine {cosine}, measured over predicted {ratio}, {directions} directions of {grey_levels} grey levels"
        )
    }
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
        let judge = |pairs: &[(f64, f64)]| finite_differences(|_| pairs.to_vec()).status;
        assert_eq!(judge(&[(1.0, 1.1), (-2.0, -1.9)]), Status::Passed);
        assert_eq!(judge(&[(1.0, -1.0), (2.0, -2.0)]), Status::Failed, "the wrong sign");
        assert_eq!(judge(&[(1.0, 2.0), (2.0, 4.0)]), Status::Failed, "half the size");
        assert_eq!(judge(&[(1.0, 0.0), (2.0, 0.0)]), Status::Failed, "nothing moves");
        assert_eq!(judge(&[(0.0, 1.0), (0.0, 1.0)]), Status::Failed, "no gradient where there is a slope");
        assert_eq!(judge(&[(0.0, 0.0)]), Status::NotApplicable);
        // cosine = (1 + 4) / sqrt(5 * 8.84) = 0.752
        let seen = finite_differences(|_| vec![(1.0, 1.0), (2.0, 2.0), (0.0, 1.96)]).seen;
        assert!(seen.contains("0.752") && seen.contains("0.4 grey"), "{seen}");
    }

    #[test]
    fn a_bent_loss_is_measured_nearer_and_a_rough_one_is_not() {
        // The second number is the change at 0.4 and at 0.1 grey levels.
        let judge = |changes: [(f64, f64); 2]| {
            finite_differences(|step| vec![if step > 0.2 { changes[0] } else { changes[1] }; 3])
        };
        assert_eq!(judge([(4.0, 3.6), (1.0, 0.1)]).status, Status::Passed);
        let (bent, rough) = (judge([(4.0, 2.4), (1.0, 0.95)]), judge([(4.0, 2.4), (1.0, 0.6)]));
        assert_eq!((bent.status, rough.status), (Status::Warning, Status::Failed));
        assert!(bent.meaning.contains("bent") && rough.meaning.contains("shattered"), "{bent:#?} {rough:#?}");
        assert!(bent.advice != rough.advice);
        assert_eq!(judge([(4.0, -1.0), (1.0, 1.0)]).status, Status::Failed);
    }

    #[test]
    fn noise_is_relative_to_the_margins() {
        let judge = |images: &[(f64, f64)]| loss_noise(images).status;
        assert_eq!(judge(&[(5.0, 0.1), (-0.01, 0.1)]), Status::Passed, "0.04");
        assert_eq!(judge(&[(1.0, 0.2), (1.0, 0.1)]), Status::Warning, "0.15");
        assert_eq!(judge(&[(0.0, 0.0)]), Status::NotApplicable);
    }
}
