//! What is measured on a picture, on the host and in plain loops, so that it cannot depend on the batch.

use burn::tensor::Tensor;

use super::AuditError;

/// Values outside `[0, 1]` by no more than this are rounding.
const SLACK: f32 = 1e-6;

/// What the logits of one picture say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Score {
    /// The first class with the largest logit.
    pub prediction: usize,
    /// Logit of the label minus the largest other logit.
    pub margin: f32,
}

/// The score of `K` logits; `None` when one of them is not finite.
pub(super) fn score(logits: &[f32], label: usize) -> Option<Score> {
    if !logits.iter().all(|logit| logit.is_finite()) {
        return None;
    }
    let mut prediction = 0;
    let mut other = f32::NEG_INFINITY;
    for (class, &logit) in logits.iter().enumerate() {
        if logit > logits[prediction] {
            prediction = class;
        }
        if class != label {
            other = other.max(logit);
        }
    }
    Some(Score { prediction, margin: logits[label] - other })
}

/// How far an adversarial picture is from the clean one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Distance {
    /// Largest change of any value.
    pub linf: f32,
    /// Euclidean length of the change.
    pub l2: f32,
    /// Share of the pixels that changed in any channel.
    pub changed: f32,
}

/// The distance of two pictures `[C, H, W]`, given as their values and `H * W`.
pub(super) fn distance(clean: &[f32], adversarial: &[f32], pixels: usize) -> Distance {
    let mut linf = 0.0_f32;
    let mut squares = 0.0_f64;
    for (before, after) in clean.iter().zip(adversarial) {
        let change = (after - before).abs();
        linf = linf.max(change);
        squares += f64::from(change) * f64::from(change);
    }
    let differs = |pixel: &usize| {
        (*pixel..clean.len())
            .step_by(pixels)
            .any(|index| clean[index].to_bits() != adversarial[index].to_bits())
    };
    let changed = (0..pixels).filter(differs).count();
    Distance { linf, l2: squares.sqrt() as f32, changed: (changed as f64 / pixels as f64) as f32 }
}

/// What keeps some values from being a picture.
pub(super) fn flaw(values: &[f32]) -> Option<String> {
    let is_pixel = |value: &&f32| !(-SLACK..=1.0 + SLACK).contains(*value);
    values.iter().find(is_pixel).map(|value| format!("it has the value {value}, outside [0, 1]"))
}

/// The values of a tensor, row by row.
pub(super) fn values<const D: usize>(tensor: &Tensor<D>) -> Result<Vec<f32>, AuditError> {
    tensor.try_to_vec_as::<f32>().map_err(|error| AuditError::Device(format!("{error:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_that_of_the_label() {
        assert_eq!(score(&[1.0, 4.0, 3.0], 1), Some(Score { prediction: 1, margin: 1.0 }));
        assert_eq!(score(&[1.0, 4.0, 3.0], 0), Some(Score { prediction: 1, margin: -3.0 }));
        // Of equals the first is predicted.
        assert_eq!(score(&[2.0, 2.0], 1), Some(Score { prediction: 0, margin: 0.0 }));
        assert_eq!(score(&[1.0, f32::NAN], 0), None);
        assert_eq!(score(&[f32::INFINITY, 0.0], 0), None);
    }

    #[test]
    fn distances_by_hand() {
        // Two channels of three pixels: the first pixel changes in both channels, the last in one.
        let clean = [0.0, 0.5, 1.0, 0.0, 0.5, 1.0];
        let adversarial = [0.3, 0.5, 1.0, 0.4, 0.5, 0.0];
        let found = distance(&clean, &adversarial, 3);
        assert!((found.linf - 1.0).abs() < 1e-6);
        assert!((found.l2 - 1.25_f32.sqrt()).abs() < 1e-6);
        assert!((found.changed - 2.0 / 3.0).abs() < 1e-6);
        assert_eq!(distance(&clean, &clean, 3), Distance { linf: 0.0, l2: 0.0, changed: 0.0 });
    }

    #[test]
    fn a_value_that_is_no_pixel_is_found() {
        assert_eq!(flaw(&[0.0, 0.5, 1.0, -1e-7]), None);
        for value in [f32::NAN, f32::INFINITY, -0.1, 1.1] {
            assert!(flaw(&[0.5, value]).is_some_and(|flaw| flaw.contains(&value.to_string())));
        }
    }
}
