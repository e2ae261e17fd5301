//! Judging the search of an attack: its budget, its region, and the way to its result.

use super::{Check, Status, Verdict};
use crate::attacks::Norm;

/// One grey level.
const LEVEL: f64 = 1.0 / 255.0;
/// What rounding may add to a distance.
const SLACK: f64 = 1e-5;
/// From this radius on an L-inf ball holds a grey picture for every picture.
const GREY: f64 = 0.5;
/// From this radius on an L-inf change is anything but small.
const LARGE: f64 = 0.25;
/// Rise at the end, as a share of the whole, that says that the search was not done.
const STILL_RISING: f64 = 0.05;
/// Evaluations that are the end of a search.
const END: usize = 10;

/// How far the attack may go and went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    pub norm: Norm,
    /// The radius.
    pub epsilon: f64,
    /// Values in a picture.
    pub size: usize,
    /// The largest distance of any picture.
    pub farthest: f64,
    /// Whether the attack's own check admits all pictures.
    pub admitted: bool,
    /// Images that stand.
    pub standing: usize,
}

impl Reach {
    /// Distance of a picture in which every value changes by `change`.
    fn of_change(&self, change: f64) -> f64 {
        match self.norm {
            Norm::Linf => change,
            Norm::L2 => change * (self.size as f64).sqrt(),
            Norm::L1 => change * self.size as f64,
        }
    }
}

/// Whether a radius is in the units of the picture, kept and used.
pub(super) fn budget(reach: &Reach) -> Verdict {
    let Reach { norm, epsilon, farthest, admitted, standing, .. } = *reach;
    let exceeded = !admitted || farthest > epsilon * (1.0 + SLACK) + SLACK;
    let unused = standing > 0 && farthest < 0.5 * epsilon;
    let (status, note) = if exceeded {
        (Status::Failed, ", more than the budget")
    } else if epsilon >= reach.of_change(GREY) {
        (Status::Failed, "; every picture can be painted grey")
    } else if epsilon >= reach.of_change(LARGE) {
        (Status::Warning, "; a quarter of the range or more")
    } else if epsilon > 0.0 && epsilon < LEVEL {
        (Status::Warning, "; less than one grey level: was it divided by 255 twice?")
    } else if unused {
        (Status::Warning, "; most of the budget is not used")
    } else {
        (Status::Passed, "")
    };
    let name = match norm {
        Norm::Linf => "L-inf",
        Norm::L2 => "L2",
        Norm::L1 => "L1",
    };
    let levels =
        if norm == Norm::Linf { format!(" = {:.2} grey levels", epsilon / LEVEL) } else { String::new() };
    let seen = format!("{name} radius {epsilon:.5}{levels}, farthest picture {farthest:.5}{note}");
    Verdict::new(Check::Budget, status, seen)
}

/// Whether a mask is binary and leaves something of the picture.
pub(super) fn mask(values: &[f32]) -> Verdict {
    let binary = values.iter().all(|value| [0.0_f32, 1.0].iter().any(|bit| bit.to_bits() == value.to_bits()));
    let covered = values.iter().filter(|value| **value > 0.5).count() as f64 / values.len().max(1) as f64;
    let status = match covered {
        _ if !binary => Status::Failed,
        covered if covered >= 1.0 => Status::Failed,
        covered if covered > 0.5 => Status::Warning,
        _ => Status::Passed,
    };
    let kind = if binary { "binary" } else { "not binary" };
    Verdict::new(Check::Mask, status, format!("{kind}, covers {:.1} % of the picture", 100.0 * covered))
}

/// The search for one image: whether each evaluated picture was an admissible success, its loss, and whether the
/// returned one succeeds.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    /// In the order of evaluation; what is raised, such as the margin of the goal.
    pub losses: Vec<f64>,
    /// Whether any admissible picture on the way reached the goal.
    pub found: bool,
    /// Whether the returned picture reaches it.
    pub returned: bool,
}

/// Whether every success on the way is returned.
pub(super) fn best_iterate(traces: &[Trace]) -> Verdict {
    let lost = traces.iter().filter(|trace| trace.found && !trace.returned).count();
    let found = traces.iter().filter(|trace| trace.found).count();
    let seen = format!("{lost} of {found} successes on the way are lost, n {}", traces.len());
    Verdict::unless(lost > 0, Check::BestIterate, seen)
}

/// Whether the loss of the images that stand has come to rest.
pub(super) fn converged(traces: &[Trace]) -> Verdict {
    let rises: Vec<f64> =
        traces.iter().filter(|trace| !trace.found).filter_map(|trace| late_rise(&trace.losses)).collect();
    if rises.is_empty() {
        return Verdict::not_applicable(
            Check::Converged,
            "no traced image stands, or the attack has too few steps",
        );
    }
    let mean = rises.iter().sum::<f64>() / rises.len() as f64;
    let status = if mean > STILL_RISING { Status::Warning } else { Status::Passed };
    let seen = format!("{:.1} % of the rise comes at the end, mean of {} images", 100.0 * mean, rises.len());
    Verdict::new(Check::Converged, status, seen)
}

/// The share of the rise of the best loss so far that comes at the end; none for a search that is too short to have an
/// end. A search that never rises is at rest.
fn late_rise(losses: &[f64]) -> Option<f64> {
    let end = END.min(losses.len() / 5);
    if end == 0 {
        return None;
    }
    let mut best = f64::NEG_INFINITY;
    let best: Vec<f64> = losses
        .iter()
        .filter(|loss| loss.is_finite())
        .map(|loss| {
            best = best.max(*loss);
            best
        })
        .collect();
    let (first, last) = (*best.first()?, *best.last()?);
    let before = best[best.len().saturating_sub(end + 1)];
    Some(if last > first { (last - before) / (last - first) } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACH: Reach = Reach {
        norm: Norm::Linf,
        epsilon: 8.0 / 255.0,
        size: 3072,
        farthest: 8.0 / 255.0,
        admitted: true,
        standing: 9,
    };

    #[test]
    fn a_budget_in_other_units_is_noticed() {
        let judge = |reach: Reach| budget(&reach).status;
        assert_eq!(judge(REACH), Status::Passed);
        assert_eq!(judge(Reach { admitted: false, ..REACH }), Status::Failed);
        assert_eq!(judge(Reach { farthest: 9.0 / 255.0, ..REACH }), Status::Failed);
        assert_eq!(judge(Reach { epsilon: 0.5, farthest: 0.5, ..REACH }), Status::Failed, "grey");
        assert_eq!(judge(Reach { epsilon: 0.3, farthest: 0.3, ..REACH }), Status::Warning);
        let twice = 8.0 / 255.0 / 255.0;
        let divided = budget(&Reach { epsilon: twice, farthest: twice, ..REACH });
        assert!(
            divided.status == Status::Warning && divided.seen.contains("0.03 grey levels"),
            "{divided:?}"
        );
        assert_eq!(judge(Reach { farthest: 0.001, ..REACH }), Status::Warning, "not used");
        assert_eq!(judge(Reach { farthest: 0.001, standing: 0, ..REACH }), Status::Passed, "not needed");
        // sqrt(3072) / 2 = 27.7 is grey, half of it a quarter of the range.
        let l2 = |epsilon| judge(Reach { norm: Norm::L2, epsilon, farthest: epsilon, ..REACH });
        assert_eq!([l2(0.5), l2(14.0), l2(28.0)], [Status::Passed, Status::Warning, Status::Failed]);
        let l1 = |epsilon| judge(Reach { norm: Norm::L1, epsilon, farthest: epsilon, ..REACH });
        assert_eq!([l1(12.0), l1(1536.0)], [Status::Passed, Status::Failed]);
    }

    #[test]
    fn masks_are_binary_and_partial() {
        assert_eq!(mask(&[1.0, 0.0, 0.0, 0.0]).status, Status::Passed);
        assert_eq!(mask(&[1.0, 1.0, 1.0, 0.0]).status, Status::Warning);
        assert_eq!(mask(&[1.0, 1.0]).status, Status::Failed);
        assert_eq!(mask(&[0.5, 0.0]).status, Status::Failed);
    }

    fn trace(losses: &[f64], found: bool, returned: bool) -> Trace {
        Trace { losses: losses.to_vec(), found, returned }
    }

    #[test]
    fn a_success_that_is_thrown_away_is_noticed() {
        let judge = |traces: &[Trace]| best_iterate(traces).status;
        assert_eq!(judge(&[trace(&[], true, true), trace(&[], false, false)]), Status::Passed);
        assert_eq!(judge(&[trace(&[], true, true), trace(&[], true, false)]), Status::Failed);
    }

    #[test]
    fn a_loss_that_rises_at_the_end_is_noticed() {
        let rising: Vec<f64> = (0..20).map(f64::from).collect();
        // The last 4 of 20: 4 of 19.
        assert!((late_rise(&rising).expect("long enough") - 4.0 / 19.0).abs() < 1e-12);
        let resting: Vec<f64> = (0..20).map(|step| f64::from(step.min(10))).collect();
        assert_eq!(late_rise(&resting), Some(0.0));
        assert_eq!(late_rise(&[5.0, 4.0, 3.0, 2.0, 1.0]), Some(0.0), "never above its start");
        assert_eq!(late_rise(&[1.0, 2.0, 3.0]), None);
        // Of 100 evaluations the last 10.
        let long: Vec<f64> = (0..100).map(f64::from).collect();
        assert!((late_rise(&long).expect("long enough") - 10.0 / 99.0).abs() < 1e-12);
        assert_eq!(converged(&[trace(&rising, false, false)]).status, Status::Warning);
        assert_eq!(
            converged(&[trace(&resting, false, false), trace(&rising, true, true)]).status,
            Status::Passed
        );
        assert_eq!(converged(&[trace(&rising, true, true)]).status, Status::NotApplicable);
    }
}
