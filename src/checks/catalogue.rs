//! What each check asks, what its failure means, and what to do about it.

use serde::{Deserialize, Serialize};

use super::Status;

/// A check by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// The model gives logits, not probabilities.
    Logits,
    /// Five passes give the same logits.
    Deterministic,
    /// A picture's logits depend on the picture alone.
    EvaluationMode,
    /// The model expects pixels in `[0, 1]`.
    PixelRange,
    /// The model is better than guessing.
    CleanAccuracy,
    /// The gradient of the cross-entropy is there and finite.
    GradientCe,
    /// The gradient of the difference of logits ratio is there and finite.
    GradientDlr,
    /// Gradients agree with finite differences.
    FiniteDifferences,
    /// The loss is smooth around the pictures.
    LossNoise,
    /// The budget is in the units of the picture, used and not exceeded.
    Budget,
    /// The region is binary and covers a part of the picture.
    Mask,
    /// A budget of 0 gives the clean accuracy.
    ZeroBudget,
    /// Many steps beat one.
    SingleStep,
    /// The attack beats random noise.
    Noise,
    /// What succeeded does so as an 8-bit picture.
    EightBit,
    /// Robust accuracy falls with the radius.
    Epsilon,
    /// Robust accuracy falls with the steps, and has come to rest.
    Steps,
    /// Robust accuracy falls with the restarts, and has come to rest.
    Restarts,
    /// Without a limit every picture falls.
    Unbounded,
    /// Gradients beat search without gradients.
    BlackBox,
    /// Margin and cross-entropy find the same pictures.
    MarginVersusCe,
    /// With and without a target the same pictures fall.
    Targets,
    /// The loss is at rest at the end.
    Converged,
    /// What succeeded on the way is returned.
    BestIterate,
}

impl Check {
    /// All checks, in the order in which they are made.
    pub const ALL: [Self; 24] = [
        Self::Logits,
        Self::Deterministic,
        Self::EvaluationMode,
        Self::PixelRange,
        Self::CleanAccuracy,
        Self::GradientCe,
        Self::GradientDlr,
        Self::FiniteDifferences,
        Self::LossNoise,
        Self::Budget,
        Self::Mask,
        Self::ZeroBudget,
        Self::SingleStep,
        Self::Noise,
        Self::EightBit,
        Self::Epsilon,
        Self::Steps,
        Self::Restarts,
        Self::Unbounded,
        Self::BlackBox,
        Self::MarginVersusCe,
        Self::Targets,
        Self::Converged,
        Self::BestIterate,
    ];

    /// Whether the check costs no more than attacking the sample once or twice.
    pub fn is_cheap(self) -> bool {
        self < Self::Epsilon
    }

    /// What counts as a failure or a warning.
    pub fn threshold(self) -> &'static str {
        match self {
            Self::Logits => {
                "every row within 1e-5 of [0, 1] with a sum within 1e-5 of 1, or not finite: failed"
            }
            Self::Deterministic => {
                "5 passes whose logits, at length 1, differ by more than 1e-4, or whose accuracies differ: failed"
            }
            Self::EvaluationMode => {
                "logits, at length 1, that differ by more than 1e-3 alone and in a batch, or before and after gradients: failed"
            }
            Self::PixelRange => {
                "accuracy higher by more than 10 points (and 2 images) on pixels in another range: failed"
            }
            Self::CleanAccuracy => "95 % interval of clean accuracy not above 1 / classes: warning",
            Self::GradientCe | Self::GradientDlr => {
                "any correctly classified image with a gradient that is zero everywhere or not finite: failed"
            }
            Self::FiniteDifferences => {
                "cosine of predicted and measured changes below 0.9, or their ratio outside 0.8 to 1.25: failed; the ratio inside only for changes of 0.1 grey levels: warning"
            }
            Self::LossNoise => {
                "mean relative change of the margin under 100 random changes of up to 8/255 above 0.1: warning"
            }
            Self::Budget => {
                "exceeded, or enough to paint every picture grey: failed; below one grey level, a quarter of the range \
                 or more, or less than half of it used while images stand: warning"
            }
            Self::Mask => "not binary or covering everything: failed; covering more than half: warning",
            Self::ZeroBudget => "any image that changes its prediction: failed",
            Self::SingleStep => {
                "one step turning more images than all steps, by more than 1 % and 1 image: failed"
            }
            Self::Noise => "any image turned by 20 random changes that the attack leaves standing: failed",
            Self::EightBit => "successes lost on rounding above 1 % of the images and 1 image: warning",
            Self::Epsilon => "robust accuracy rising with the radius by more than 1 % and 1 image: failed",
            Self::Steps | Self::Restarts => {
                "robust accuracy rising with more of them by more than 1 % and 1 image: failed; still falling by as much: \
                 warning"
            }
            Self::Unbounded => "more than 1 % and 1 image standing when everything is allowed: failed",
            Self::BlackBox => "Square turning more than 0.2 % of the images after the attack: failed",
            Self::MarginVersusCe => {
                "margin turning more than 2 % (warning) or 3 % (failed) of the images more than cross-entropy, and more \
                 than 2 or 3 images"
            }
            Self::Targets => {
                "one of the 9 nearest classes as a target turning more than 2 % (warning) or 3 % (failed) of the images that \
                 stand without one, and more than 2 or 3 images; of those that fall without one, more than 1 % of the \
                 images and 1 image (warning) or more than half and 1 image (failed) not reaching their class as a target"
            }
            Self::Converged => {
                "best loss rising by more than 5 % of its range at the end (last 10 evaluations, at most a fifth): warning"
            }
            Self::BestIterate => {
                "any image with an admissible success on the way and none at the end: failed"
            }
        }
    }

    /// What it means when the check does not pass; for one that can fail in two ways, what this outcome means.
    pub fn meaning(self, status: Status) -> &'static str {
        match self {
            Self::Logits => {
                "Cross-entropy of probabilities is a softmax of a softmax: gradients shrink and attacks look weaker than they are."
            }
            Self::Deterministic => {
                "The model is random, so one success or failure of an attack says little and robust accuracy is overestimated."
            }
            Self::EvaluationMode => {
                "The model is in training mode: batch statistics or dropout are on, and an image's result depends on its batch."
            }
            Self::PixelRange => {
                "The model was trained on other pixels, so clean accuracy is wrong and a budget has another size than it says."
            }
            Self::CleanAccuracy => {
                "The model does not know these classes; robust accuracy of a guess means nothing."
            }
            Self::GradientCe => {
                "Gradient attacks on cross-entropy see a flat loss: the softmax is saturated, or a layer has no gradient."
            }
            Self::GradientDlr => {
                "Gradient attacks on the logits see a flat loss: a layer has no gradient (rounding, a lookup, a detour)."
            }
            Self::FiniteDifferences if status == Status::Warning => {
                "Gradients are true over short changes only: the loss is bent, and each step of an attack gains less than it should."
            }
            Self::FiniteDifferences => {
                "Gradients do not say how the model changes: they are shattered or replaced, and attacks go the wrong way."
            }
            Self::LossNoise => "The loss is rough at the scale of a budget, so single gradients mislead.",
            Self::Budget => "The attack has another budget than the one that will be reported.",
            Self::Mask => "The region is not what a wearable attack may change.",
            Self::ZeroBudget => "Attack and clean evaluation see different pictures or different models.",
            Self::SingleStep => {
                "The iterative attack does not optimise: masked gradients, bad steps, or the wrong direction."
            }
            Self::Noise => "The attack is weaker than chance: robust accuracy is an overestimate.",
            Self::EightBit => {
                "Some successes exist between grey levels only and vanish when the picture is saved."
            }
            Self::Epsilon => "A larger ball holds the smaller one, so the attack misses pictures that exist.",
            Self::Steps => {
                "The attack finds less with more work, or has not come to rest: robust accuracy is an overestimate."
            }
            Self::Restarts => "The result hangs on the random start: robust accuracy is an overestimate.",
            Self::Unbounded => {
                "With every picture allowed an attack must succeed; that it does not means that gradients are hidden."
            }
            Self::BlackBox => "Search without gradients finds what gradients miss: they are masked.",
            Self::MarginVersusCe => {
                "Cross-entropy hides successes that the margin finds: its gradients are masked."
            }
            Self::Targets => {
                "A picture that reaches a target is wrong, and a wrong picture has reached its class: where the two attacks \
                 disagree, the weaker one misses pictures that exist, and its figures are off."
            }
            Self::Converged => {
                "The attack was stopped while it still gained: robust accuracy is an overestimate."
            }
            Self::BestIterate => "The attack found adversarial pictures and threw them away.",
        }
    }

    /// What to do when the check does not pass; for one that can fail in two ways, what to do about this outcome.
    pub fn advice(self, status: Status) -> &'static str {
        match self {
            Self::Logits => {
                "Return what goes into the softmax; if the outputs are not finite, check the weights."
            }
            Self::Deterministic => {
                "Switch randomness off, or attack the average: AutoAttack `version = \"rand\"`, APGD with `eot = 20`."
            }
            Self::EvaluationMode => "Use running statistics and no dropout when evaluating.",
            Self::PixelRange => {
                "Put the normalisation into the model, with the mean and standard deviation of its training."
            }
            Self::CleanAccuracy => {
                "Check the order of the classes, the cropping of the pictures and the weights."
            }
            Self::GradientCe => {
                "Attack with `loss = \"dlr\"` or `\"margin\"`; see whether gradient-dlr passes."
            }
            Self::FiniteDifferences if status == Status::Warning => {
                "Use more and smaller steps, and Square, which needs no gradient; see whether black-box passes."
            }
            Self::GradientDlr | Self::FiniteDifferences => {
                "Attack through a differentiable stand-in for the layer (BPDA) and with Square, which needs no gradient."
            }
            Self::LossNoise => "Average gradients (`eot`), use more restarts, and Square.",
            Self::Budget => {
                "Write the budget in units of the picture in [0, 1], such as epsilon = \"8/255\"."
            }
            Self::Mask => "Give a black and white mask of the accessory in the size of the model's pictures.",
            Self::ZeroBudget => "Compare preprocessing and mode of the two evaluations.",
            Self::SingleStep => {
                "Use a smaller step (2.5 epsilon / steps), keep the best iterate, check the sign of the loss."
            }
            Self::Noise | Self::BlackBox => {
                "Do not believe the robust accuracy; use AutoAttack, other losses and more restarts."
            }
            Self::EightBit => {
                "Report the accuracy of saved pictures (`syfar attack`) if they are what counts."
            }
            Self::Epsilon => {
                "Use more steps and restarts at the larger radius; `syfar audit` keeps successes of smaller ones."
            }
            Self::Steps => "Use more steps until the robust accuracy stands still.",
            Self::Restarts => "Use more restarts until the robust accuracy stands still.",
            Self::Unbounded => "Do not believe the robust accuracy; look for the layer that hides gradients.",
            Self::MarginVersusCe => "Attack with `loss = \"margin\"` or `\"dlr\"`, or with AutoAttack.",
            Self::Targets => {
                "Where targets find more, take robust accuracy from another loss, `apgd-t` or AutoAttack; where they find \
                 less, check the sign of the targeted loss and use more steps."
            }
            Self::Converged => "Use more steps.",
            Self::BestIterate => "Return the best picture of each image, not the last.",
        }
    }
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_complete_and_in_order() {
        assert!(Check::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        let names: Vec<String> = Check::ALL.iter().map(ToString::to_string).collect();
        assert_eq!((names[0].as_str(), names[20].as_str()), ("logits", "margin-versus-ce"));
        for check in Check::ALL {
            for status in [Status::Warning, Status::Failed] {
                let (meaning, advice) = (check.meaning(status), check.advice(status));
                assert!(meaning.ends_with('.') && advice.ends_with('.'), "{check}");
            }
            assert!(!check.threshold().ends_with('.'), "{check}");
        }
        assert_eq!(Check::ALL.iter().filter(|check| check.is_cheap()).count(), 15);
    }

    #[test]
    fn every_check_is_documented() {
        let text = include_str!("../../docs/doctor.md");
        for check in Check::ALL {
            assert!(text.contains(&format!("| `{check}` |")), "{check} is not in docs/doctor.md");
        }
    }
}
