//! The verdict: what was found, beside the thresholds that it is held against.

use serde::Serialize;
use serde_json::Value;

use super::source::Checks;
use super::{PlacedFigure, groups};
use crate::report::p_words;

/// What figures are held against. They are conventions, not laws: a use of a classifier may need others.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Thresholds {
    /// Robust accuracy is at least this, in `[0, 1]`.
    pub robust: f64,
    /// Asymmetry is called more than chance below this p-value. Above it nothing is shown, neither way.
    pub significance: f64,
    /// The worst group has at least this part of the best group's robust accuracy, in `[0, 1]`.
    pub ratio: f64,
}

impl Default for Thresholds {
    /// Half of the pictures; 5 %; and four fifths, the rule of the US Uniform Guidelines on Employee Selection
    /// Procedures (29 CFR 1607.4), which audits of classifiers use.
    fn default() -> Self {
        Self { robust: 0.5, significance: 0.05, ratio: 0.8 }
    }
}

/// What the page says first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Verdict {
    /// Name of the attack.
    pub attack: Option<String>,
    /// Checks that failed, by name.
    pub failed: Vec<String>,
    /// Clean accuracy.
    pub clean: Option<PlacedFigure>,
    /// Robust accuracy.
    pub robust: Option<PlacedFigure>,
    /// Share of all errors without a counterpart, of targeted attacks if there are any.
    pub asymmetry: Option<PlacedFigure>,
    /// Whether `asymmetry` is of targeted attacks.
    pub targeted: bool,
    /// The conditions.
    pub conditions: Vec<Condition>,
}

/// A figure and what it is held against.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Condition {
    /// What is asked.
    pub asked: String,
    /// What was found, in words; `None` if it is not known.
    pub found: Option<String>,
    /// Whether it is met.
    pub met: Option<bool>,
}

/// Where the scale-free asymmetry stands.
const ASYMMETRY: [(&str, bool); 2] =
    [("/targeted/symmetry/a1_normalised", true), ("/untargeted/symmetry/a1_normalised", false)];

impl Verdict {
    /// Of a run, `metrics` being absent where there is no audit.
    pub fn of(metrics: &Value, checks: Option<&Checks>, thresholds: &Thresholds) -> Self {
        let failed: Vec<String> = checks
            .iter()
            .flat_map(|checks| &checks.lines)
            .filter(|line| line.status == "failed")
            .map(|line| line.name.clone())
            .collect();
        let robust = PlacedFigure::at(metrics, "/untargeted/robustness/micro_accuracy");
        let asymmetry =
            ASYMMETRY.iter().find_map(|(path, targeted)| Some((PlacedFigure::at(metrics, path)?, *targeted)));
        let (asymmetry, targeted) =
            asymmetry.map_or((None, false), |(figure, targeted)| (Some(figure), targeted));
        let mut conditions = vec![
            of_checks(checks, &failed),
            of_robust(robust.as_ref(), thresholds),
            of_asymmetry(asymmetry.as_ref(), thresholds),
        ];
        conditions.extend(of_groups(metrics, thresholds));
        Self {
            attack: metrics.get("attack").and_then(Value::as_str).map(ToOwned::to_owned),
            clean: PlacedFigure::at(metrics, "/clean/robustness/micro_accuracy"),
            failed,
            robust,
            asymmetry,
            targeted,
            conditions,
        }
    }
}

fn of_checks(checks: Option<&Checks>, failed: &[String]) -> Condition {
    let made = checks.map(|checks| checks.lines.len()).filter(|&made| made > 0);
    Condition {
        asked: "No check of the model and the attack failed".to_owned(),
        found: made.map(|made| match failed {
            [] => format!("none of {made} failed"),
            names => format!("{} of {made} failed: {}", names.len(), names.join(", ")),
        }),
        met: made.map(|_| failed.is_empty()),
    }
}

/// A rate reaches a threshold when its interval lies above, misses it when it lies below, and is undecided between.
fn reaches(low: f64, high: f64, asked: f64) -> Option<bool> {
    if low >= asked {
        Some(true)
    } else if high < asked {
        Some(false)
    } else {
        None
    }
}

/// What is said of a figure whose interval holds its threshold.
const OPEN: &str = "; with so few pictures it is open";

fn of_robust(robust: Option<&PlacedFigure>, thresholds: &Thresholds) -> Condition {
    let asked = thresholds.robust;
    let (low, high) = robust.map_or((None, None), |figure| {
        (figure.number.low.or(Some(figure.number.value)), figure.number.high.or(Some(figure.number.value)))
    });
    let met = low.zip(high).and_then(|(low, high)| reaches(low, high, asked));
    let found = robust.map(|figure| {
        let open = if met.is_none() { OPEN } else { "" };
        match figure.number.low.zip(figure.number.high) {
            Some((low, high)) => {
                format!("{:.3}, 95 % interval {low:.3} to {high:.3}{open}", figure.number.value)
            }
            None => format!("{:.3}", figure.number.value),
        }
    });
    Condition { asked: format!("Robust accuracy is at least {asked}"), found, met }
}

/// A small p-value shows asymmetry. A large one shows nothing: pictures may be too few to tell.
fn of_asymmetry(asymmetry: Option<&PlacedFigure>, thresholds: &Thresholds) -> Condition {
    let p = asymmetry.and_then(|figure| figure.number.p_value);
    let shown = p.map(|p| p < thresholds.significance);
    let open = if shown == Some(false) { ", not shown either way" } else { "" };
    Condition {
        asked: format!(
            "Asymmetry is no more than chance would show (p at least {})",
            thresholds.significance
        ),
        found: p.map(|p| format!("{}{open}", p_words(p))),
        met: shown.filter(|&shown| shown).map(|_| false),
    }
}

/// The ratio has no interval of its own: that of the difference between the two groups, over the best group's accuracy, stands
/// in for it. So a difference that may be 0 never misses a threshold.
fn of_groups(metrics: &Value, thresholds: &Thresholds) -> Vec<Condition> {
    let condition = |table: groups::GroupTable| {
        let disparity = table.disparity[1].as_ref().map(|figure| figure.number);
        let ends = disparity
            .zip(table.best)
            .and_then(|(disparity, best)| Some((1.0 - disparity.high? / best, 1.0 - disparity.low? / best)));
        let met = table.ratio.and_then(|ratio| {
            let (low, high) = ends.unwrap_or((ratio, ratio));
            reaches(low, high, thresholds.ratio)
        });
        let open = if met.is_none() { OPEN } else { "" };
        Condition {
            asked: format!(
                "{}: the worst group has at least {} of the best one's robust accuracy",
                table.column, thresholds.ratio
            ),
            found: table.ratio.map(|ratio| format!("{ratio:.3}{open}")),
            met,
        }
    };
    groups::tables(metrics).into_iter().map(condition).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::example::{clean_only, plain, sy_far};
    use crate::report::page::CheckLine;

    fn verdict(report: &crate::metrics::FairnessReport, checks: Option<&Checks>) -> Verdict {
        Verdict::of(&serde_json::to_value(report).expect("JSON"), checks, &Thresholds::default())
    }

    #[test]
    fn figures_are_held_against_thresholds() {
        let found = verdict(&plain(), None);
        assert_eq!(
            found.conditions.iter().map(|one| one.met).collect::<Vec<_>>(),
            [None, Some(false), Some(false), None]
        );
        assert_eq!(found.attack.as_deref(), Some("glasses"));
        assert!(found.targeted);
        // Robust 15 of 30: the interval holds the threshold.
        let open = verdict(&sy_far(), None);
        assert_eq!(open.conditions[1].met, None);
        assert!(open.conditions[1].found.as_ref().expect("attacked").contains("it is open"));
        assert_eq!(open.conditions[2].met, None, "no draws, no p-value");
    }

    #[test]
    fn what_may_be_chance_is_open_and_never_met_or_missed() {
        let found = |p: f64, [low, high]: [f64; 2]| {
            let mut metrics = serde_json::to_value(plain()).expect("JSON");
            metrics["targeted"]["symmetry"]["a1_normalised"]["noise"]["p_value"] = p.into();
            let disparity = &mut metrics["groups"][0]["untargeted"]["class_macro"]["disparity"];
            (disparity["low"], disparity["high"]) = (low.into(), high.into());
            let conditions = Verdict::of(&metrics, None, &Thresholds::default()).conditions;
            ((conditions[2].found.clone().expect("p"), conditions[2].met), conditions[3].met)
        };
        // The best group has 0.5, so four fifths of it are missed by a difference above 0.1.
        assert_eq!(found(0.049, [0.2, 0.5]), (("p 0.049".to_owned(), Some(false)), Some(false)));
        assert_eq!(found(0.05, [0.0, 0.5]), (("p 0.050, not shown either way".to_owned(), None), None));
        assert_eq!(found(0.0, [0.0, 0.05]), (("p < 0.001".to_owned(), Some(false)), Some(true)));
    }

    #[test]
    fn a_failed_check_is_named() {
        let line = |name: &str, status: &str| CheckLine {
            name: name.into(),
            status: status.into(),
            seen: String::new(),
            threshold: String::new(),
            meaning: String::new(),
            advice: None,
        };
        let checks = Checks {
            images: 8,
            lines: vec![line("noise", "failed"), line("logits", "passed")],
            left_out: vec![],
        };
        let found = verdict(&plain(), Some(&checks));
        assert_eq!(
            (found.failed.as_slice(), found.conditions[0].met),
            (&["noise".to_owned()][..], Some(false))
        );
        assert_eq!(found.conditions[0].found.as_deref(), Some("1 of 2 failed: noise"));
    }

    #[test]
    fn nothing_attacked_is_nothing_met() {
        let found = verdict(&clean_only(), None);
        assert!(found.robust.is_none() && found.asymmetry.is_none());
        assert!(found.conditions.iter().all(|one| one.met.is_none()));
        let none = Verdict::of(&Value::Null, None, &Thresholds::default());
        assert!(none.clean.is_none() && none.attack.is_none());
    }
}
