//! Judging robust accuracies: does an attack get stronger when it may do more, and is it stronger than what is
//! weaker than it?

use super::{Check, Status, Verdict};

/// Share of the images by which robust accuracies may differ by accident.
const SLACK: f64 = 0.01;
/// Share of the images that a search without gradients may turn after the attack.
const BLACK_BOX: f64 = 0.002;
/// Share of the images that the margin may turn more than cross-entropy: warning, failure.
const MASKED: [f64; 2] = [0.02, 0.03];

/// A share of `n` images that is more than accident: more than 1 % and more than one image.
fn matters(images: usize, n: usize) -> bool {
    images > 1 && images as f64 > SLACK * n as f64
}

fn of(standing: usize, n: usize) -> String {
    format!("{:.3} ({standing} of {n})", standing as f64 / n.max(1) as f64)
}

/// A budget of 0: the images whose correctness changed.
pub(super) fn zero_budget(changed: usize, n: usize) -> Verdict {
    let seen = format!("{changed} of {n} images change their prediction");
    Verdict::unless(changed > 0, Check::ZeroBudget, seen)
}

/// Images left standing by the whole attack and by one step.
pub(super) fn single_step(all_steps: usize, one_step: usize, n: usize) -> Verdict {
    let failed = matters(all_steps.saturating_sub(one_step), n);
    let seen = format!("robust accuracy {} with all steps, {} with one", of(all_steps, n), of(one_step, n));
    Verdict::unless(failed, Check::SingleStep, seen)
}

/// Images that random changes turn although the attack does not.
pub(super) fn noise(turned: usize, standing: usize, n: usize) -> Verdict {
    let seen = format!("noise turns {turned} of the {standing} images that stand, n {n}");
    Verdict::unless(turned > 0, Check::Noise, seen)
}

/// Images left standing as the attack returned them, and as 8-bit pictures.
pub(super) fn eight_bit(standing: usize, rounded: usize, n: usize) -> Verdict {
    let lost = matters(rounded.saturating_sub(standing), n);
    let status = if lost { Status::Warning } else { Status::Passed };
    let seen = format!("robust accuracy {}, {} in 8 bits", of(standing, n), of(rounded, n));
    Verdict::new(Check::EightBit, status, seen)
}

/// Images left standing with growing radii, written as people write them.
pub(super) fn epsilons(points: &[(String, usize)], n: usize) -> Verdict {
    let (rises, _) = turns(points, n);
    Verdict::unless(rises, Check::Epsilon, listed(points, n))
}

/// Images left standing with more and more steps or restarts.
pub(super) fn work(id: Check, points: &[(String, usize)], n: usize) -> Verdict {
    let (rises, still_falls) = turns(points, n);
    let status = match (rises, still_falls) {
        (true, _) => Status::Failed,
        (false, true) => Status::Warning,
        (false, false) => Status::Passed,
    };
    Verdict::new(id, status, listed(points, n))
}

/// Whether a curve rises anywhere, and whether its last piece falls.
fn turns(points: &[(String, usize)], n: usize) -> (bool, bool) {
    let rises = points.windows(2).any(|pair| matters(pair[1].1.saturating_sub(pair[0].1), n));
    let last = points.len().saturating_sub(2);
    let falls = points[last..].windows(2).any(|pair| matters(pair[0].1.saturating_sub(pair[1].1), n));
    (rises, falls)
}

fn listed(points: &[(String, usize)], n: usize) -> String {
    let points: Vec<String> =
        points.iter().map(|(name, standing)| format!("{name}: {}", of(*standing, n))).collect();
    format!("robust accuracy {}", points.join(", "))
}

/// Images left standing when everything is allowed.
pub(super) fn unbounded(standing: usize, n: usize) -> Verdict {
    let seen = format!("robust accuracy {}", of(standing, n));
    Verdict::unless(matters(standing, n), Check::Unbounded, seen)
}

/// Images that a search without gradients turned after the attack.
pub(super) fn black_box(turned: usize, standing: usize, n: usize) -> Verdict {
    let failed = turned as f64 > BLACK_BOX * n as f64;
    let seen = format!("Square turns {turned} of the {standing} images that stand, n {n}");
    Verdict::unless(failed, Check::BlackBox, seen)
}

/// Images left standing by the same attack on cross-entropy and on the margin.
pub(super) fn margin_versus_ce(ce: usize, margin: usize, n: usize) -> Verdict {
    let gap = ce.saturating_sub(margin);
    let above = |index: usize| gap > index + 2 && gap as f64 > MASKED[index] * n as f64;
    let status = match (above(1), above(0)) {
        (true, _) => Status::Failed,
        (false, true) => Status::Warning,
        (false, false) => Status::Passed,
    };
    let seen =
        format!("robust accuracy {} under cross-entropy, {} under the margin", of(ce, n), of(margin, n));
    Verdict::new(Check::MarginVersusCe, status, seen)
}

/// Images that stand without a target and how many of them fall to one, and images that fall without one and how
/// many of them do not reach the class that they fell to once it is their target.
pub(super) fn targets([standing, turned]: [usize; 2], [fallen, missed]: [usize; 2], n: usize) -> Verdict {
    let above = |index: usize| turned > index + 2 && turned as f64 > MASKED[index] * n as f64;
    let status = if above(1) || (missed > 1 && 2 * missed > fallen) {
        Status::Failed
    } else if above(0) || matters(missed, n) {
        Status::Warning
    } else {
        Status::Passed
    };
    let seen = format!(
        "targets turn {turned} of the {standing} images that stand without, and miss {missed} of the {fallen} that fall \
         without, n {n}"
    );
    Verdict::new(Check::Targets, status, seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(standing: &[usize]) -> Vec<(String, usize)> {
        standing.iter().enumerate().map(|(index, standing)| (index.to_string(), *standing)).collect()
    }

    #[test]
    fn a_weaker_attack_that_does_more_is_noticed() {
        assert_eq!(zero_budget(0, 64).status, Status::Passed);
        assert_eq!(zero_budget(1, 64).status, Status::Failed);
        assert_eq!(single_step(10, 20, 64).status, Status::Passed);
        assert_eq!(single_step(10, 9, 64).status, Status::Passed, "one image is accident");
        assert_eq!(single_step(10, 8, 64).status, Status::Failed);
        assert_eq!(single_step(310, 306, 1000).status, Status::Passed, "0.4 %");
        assert_eq!(noise(0, 10, 64).status, Status::Passed);
        assert_eq!(noise(1, 10, 64).status, Status::Failed);
    }

    #[test]
    fn curves_may_not_rise_and_should_come_to_rest() {
        assert_eq!(epsilons(&curve(&[60, 40, 10]), 64).status, Status::Passed);
        assert_eq!(epsilons(&curve(&[60, 10, 12]), 64).status, Status::Failed);
        let steps = |standing: &[usize]| work(Check::Steps, &curve(standing), 64).status;
        assert_eq!(steps(&[60, 10, 9]), Status::Passed);
        assert_eq!(steps(&[60, 10, 8]), Status::Warning);
        assert_eq!(steps(&[10, 12, 12]), Status::Failed);
        assert_eq!(steps(&[10]), Status::Passed);
        assert!(epsilons(&curve(&[60]), 64).seen.contains("0: 0.938 (60 of 64)"));
    }

    #[test]
    fn what_hidden_gradients_leave_behind_is_noticed() {
        assert_eq!(unbounded(0, 64).status, Status::Passed);
        assert_eq!(unbounded(1, 64).status, Status::Passed);
        assert_eq!(unbounded(2, 64).status, Status::Failed);
        assert_eq!(black_box(0, 10, 64).status, Status::Passed);
        assert_eq!(black_box(1, 10, 64).status, Status::Failed, "1.6 %");
        assert_eq!(black_box(1, 100, 1000).status, Status::Passed, "0.1 %");
        let margin = |gap: usize, n| margin_versus_ce(30, 30 - gap, n).status;
        assert_eq!(margin(0, 64), Status::Passed);
        assert_eq!(margin(2, 64), Status::Passed, "3.1 %, but two images");
        assert_eq!(margin(3, 64), Status::Warning, "4.7 %, but three images");
        assert_eq!(margin(4, 64), Status::Failed);
        assert_eq!(margin(25, 1000), Status::Warning, "2.5 %");
        assert_eq!(margin_versus_ce(10, 30, 64).status, Status::Passed, "the other way round");
    }

    #[test]
    fn rounding_that_undoes_successes_is_a_warning() {
        assert_eq!(eight_bit(10, 10, 64).status, Status::Passed);
        assert_eq!(eight_bit(10, 9, 64).status, Status::Passed);
        assert_eq!(eight_bit(10, 12, 64).status, Status::Warning);
    }

    #[test]
    fn attacks_with_and_without_a_target_that_disagree_are_noticed() {
        let judge = |stand, fall| targets(stand, fall, 64).status;
        assert_eq!(judge([20, 0], [40, 0]), Status::Passed);
        assert_eq!(judge([20, 2], [40, 1]), Status::Passed, "accident");
        assert_eq!(judge([20, 3], [40, 0]), Status::Warning);
        assert_eq!(judge([20, 4], [40, 0]), Status::Failed);
        assert_eq!(targets([400, 25], [40, 0], 1000).status, Status::Warning, "2.5 %");
        assert_eq!(judge([20, 0], [40, 2]), Status::Warning);
        assert_eq!(judge([20, 0], [40, 20]), Status::Warning, "half");
        assert_eq!(judge([20, 0], [40, 21]), Status::Failed);
        assert_eq!(judge([63, 0], [1, 1]), Status::Passed, "one image is accident");
    }
}
