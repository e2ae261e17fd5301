//! What a check came to.

use serde::{Deserialize, Serialize};

use super::Check;

/// Outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing suspicious was seen.
    Passed,
    /// Look at it before you believe the figures.
    Warning,
    /// The figures must not be believed.
    Failed,
    /// The check has no meaning for this model or attack.
    NotApplicable,
}

/// A check that was made, with everything that a reader needs to judge it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Which check.
    pub id: Check,
    /// What counts as a failure or a warning.
    pub threshold: String,
    /// What was seen, with the number of images.
    pub seen: String,
    /// The outcome.
    pub status: Status,
    /// What it means when the check does not pass.
    pub meaning: String,
    /// What to do; absent where there is nothing to do.
    pub advice: Option<String>,
}

impl Verdict {
    /// A verdict with the texts of the catalogue.
    pub fn new(id: Check, status: Status, seen: impl Into<String>) -> Self {
        let to_do = matches!(status, Status::Warning | Status::Failed);
        Self {
            id,
            threshold: id.threshold().to_owned(),
            seen: seen.into(),
            status,
            meaning: id.meaning(status).to_owned(),
            advice: to_do.then(|| id.advice(status).to_owned()),
        }
    }

    /// Failed or passed.
    pub(super) fn unless(failed: bool, id: Check, seen: impl Into<String>) -> Self {
        Self::new(id, if failed { Status::Failed } else { Status::Passed }, seen)
    }

    /// A check that has no meaning here.
    pub(super) fn not_applicable(id: Check, why: &str) -> Self {
        Self::new(id, Status::NotApplicable, why)
    }
}

/// A check that was not made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Which check.
    pub id: Check,
    /// Why.
    pub why: String,
}

/// All checks of a model under an attack: the contents of `checks.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckReport {
    /// Version of this layout.
    pub schema_version: u32,
    /// Name of the attack.
    pub attack: String,
    /// Images of the sample that the checks were made on.
    pub images: usize,
    /// The checks that were made, passed ones too.
    pub checks: Vec<Verdict>,
    /// The checks that were not made.
    pub left_out: Vec<LeftOut>,
}

impl CheckReport {
    /// Version of the layout that this program writes.
    pub const SCHEMA_VERSION: u32 = 1;

    /// How many checks have this outcome.
    pub fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|verdict| verdict.status == status).count()
    }
}
