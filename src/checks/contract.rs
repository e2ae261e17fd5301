//! Judging the model: are its outputs logits, does it give the same answer twice, does it see the right pixels?

use super::{Check, Status, Verdict};

/// Rounding that a probability may have.
const PROBABILITY: f32 = 1e-5;
/// Largest difference of repeated logits at length 1.
const REPEATED: f32 = 1e-4;
/// Largest difference of logits at length 1 between an image alone and in a batch, where kernels may round in
/// another order.
const BATCHED: f32 = 1e-3;
/// How much better another range of pixels must be.
const BETTER: f64 = 0.1;

/// Whether outputs, row by row, are logits.
pub(super) fn logits(rows: &[Vec<f32>]) -> Verdict {
    let (n, values) = (rows.len(), || rows.iter().flatten());
    if !values().all(|value| value.is_finite()) {
        return Verdict::new(Check::Logits, Status::Failed, format!("outputs that are not finite, n {n}"));
    }
    let inside = values().all(|value| (-PROBABILITY..=1.0 + PROBABILITY).contains(value));
    let sums = rows.iter().all(|row| (row.iter().sum::<f32>() - 1.0).abs() <= PROBABILITY);
    let (low, high) = values()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(*value), high.max(*value)));
    let probabilities = n > 0 && inside && sums;
    let sums = if probabilities { ", every row sums to 1" } else { "" };
    Verdict::unless(probabilities, Check::Logits, format!("outputs from {low:.4} to {high:.4}{sums}, n {n}"))
}

/// What several passes over the same images gave: logits row by row, and correct predictions.
#[derive(Clone, Debug)]
pub(super) struct Passes {
    pub logits: Vec<Vec<Vec<f32>>>,
    pub correct: Vec<usize>,
}

/// Whether passes agree.
pub(super) fn deterministic(passes: &Passes) -> Verdict {
    let first = passes.logits.first().map_or(&[][..], Vec::as_slice);
    let gap = passes.logits.iter().map(|pass| largest_gap(first, pass)).fold(0.0, f32::max);
    let same = passes.correct.windows(2).all(|pair| pair[0] == pair[1]);
    let seen = format!(
        "{} passes differ by {gap:.1e}, accuracies {}, n {}",
        passes.logits.len(),
        if same { "are equal" } else { "differ" },
        first.len()
    );
    Verdict::unless(!within(gap, REPEATED) || !same, Check::Deterministic, seen)
}

/// Whether an image's logits depend on other images, or on gradients that were computed before: rows in a batch, one by
/// one, and again after input gradients. `random` when the passes above differ already.
pub(super) fn evaluation_mode(
    together: &[Vec<f32>],
    alone: &[Vec<f32>],
    after: &[Vec<f32>],
    random: bool,
) -> Verdict {
    if random {
        return Verdict::not_applicable(Check::EvaluationMode, "the model is random");
    }
    let (alone, after) = (largest_gap(&together[..alone.len()], alone), largest_gap(together, after));
    let seen = format!("alone {alone:.1e}, after gradients {after:.1e}, n {}", together.len());
    let failed = !within(alone, BATCHED) || !within(after, BATCHED);
    Verdict::unless(failed, Check::EvaluationMode, seen)
}

/// Whether another range of pixels is understood better: the names of ranges with the correct predictions in each,
/// `[0, 1]` first.
pub(super) fn pixel_range(ranges: &[(&str, usize)], n: usize) -> Verdict {
    let Some(((_, own), others)) = ranges.split_first() else {
        return Verdict::not_applicable(Check::PixelRange, "nothing was tried");
    };
    let (name, best) = others.iter().max_by_key(|(_, correct)| *correct).unwrap_or(&ranges[0]);
    let gain = best.saturating_sub(*own);
    let failed = gain > 2 && gain as f64 > BETTER * n as f64;
    let seen = format!("{own} of {n} right in [0, 1]; at best {best} in another range ({name})");
    Verdict::unless(failed, Check::PixelRange, seen)
}

/// Whether a model does better than guessing. `low` is the lower end of the interval of its accuracy.
pub(super) fn clean_accuracy(correct: usize, n: usize, low: f64, classes: usize) -> Verdict {
    let chance = 1.0 / classes as f64;
    let status = if low > chance { Status::Passed } else { Status::Warning };
    let seen = format!("{correct} of {n} right, lower end of the interval {low:.3}, chance {chance:.3}");
    Verdict::new(Check::CleanAccuracy, status, seen)
}

/// Whether a gap is small; one that is not a number is not.
fn within(gap: f32, limit: f32) -> bool {
    gap <= limit
}

/// The largest Euclidean distance of two rows that are scaled to length 1 first.
fn largest_gap(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let unit = |row: &[f32]| -> Vec<f32> {
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        row.iter().map(|value| value / length).collect()
    };
    let gap =
        |a: &[f32], b: &[f32]| unit(a).iter().zip(unit(b)).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt();
    // A gap that is not a number is as good as an infinite one.
    let gaps = a.iter().zip(b).map(|(a, b)| gap(a, b));
    gaps.fold(0.0, |most, gap| if gap.is_nan() { f32::INFINITY } else { most.max(gap) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[[f32; 3]]) -> Vec<Vec<f32>> {
        values.iter().map(|row| row.to_vec()).collect()
    }

    #[test]
    fn probabilities_are_told_from_logits() {
        let status = |values: &[[f32; 3]]| logits(&rows(values)).status;
        assert_eq!(status(&[[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]), Status::Failed);
        assert_eq!(status(&[[0.2, 0.3, 0.5], [1.1, -0.1, 0.0]]), Status::Passed, "outside [0, 1]");
        assert_eq!(status(&[[0.2, 0.3, 0.5], [0.9, 0.2, 0.0]]), Status::Passed, "another sum");
        assert_eq!(status(&[[f32::NAN, 0.0, 1.0]]), Status::Failed);
    }

    #[test]
    fn passes_must_agree_in_direction_and_accuracy() {
        let judge = |second: [f32; 3], correct: [usize; 2]| {
            let logits = vec![rows(&[[3.0, 4.0, 0.0]]), rows(&[second])];
            deterministic(&Passes { logits, correct: correct.to_vec() }).status
        };
        assert_eq!(judge([3.0, 4.0, 0.0], [1, 1]), Status::Passed);
        assert_eq!(judge([3.0, 4.0, 0.0004], [1, 1]), Status::Passed, "8e-5 of the length");
        assert_eq!(judge([3.0, 4.0, 0.0006], [1, 1]), Status::Failed, "1.2e-4 of the length");
        assert_eq!(judge([3.0, 4.0, 0.0], [1, 0]), Status::Failed);
        assert_eq!(judge([f32::NAN, 4.0, 0.0], [1, 1]), Status::Failed);
    }

    #[test]
    fn an_image_must_not_depend_on_its_batch() {
        let (a, b) = (rows(&[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), rows(&[[1.0, 0.01, 0.0], [0.0, 1.0, 0.0]]));
        assert_eq!(evaluation_mode(&a, &a[..1], &a, false).status, Status::Passed);
        assert_eq!(evaluation_mode(&a, &b[..1], &a, false).status, Status::Failed);
        assert_eq!(evaluation_mode(&a, &a[..1], &b, false).status, Status::Failed);
        assert_eq!(evaluation_mode(&a, &b, &b, true).status, Status::NotApplicable);
    }

    #[test]
    fn another_range_must_be_clearly_better() {
        let judge = |own, other, n| pixel_range(&[("[0, 1]", own), ("[0, 255]", other)], n).status;
        assert_eq!(judge(20, 64, 64), Status::Failed);
        assert_eq!(judge(60, 64, 64), Status::Passed, "6 points");
        assert_eq!(judge(0, 2, 4), Status::Passed, "two images");
        assert!(pixel_range(&[("[0, 1]", 1), ("[0, 255]", 9)], 9).seen.contains("[0, 255]"));
    }

    #[test]
    fn guessing_is_noticed() {
        assert_eq!(clean_accuracy(50, 64, 0.66, 4).status, Status::Passed);
        assert_eq!(clean_accuracy(16, 64, 0.16, 4).status, Status::Warning);
    }
}
