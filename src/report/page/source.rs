//! What a run directory says, read by the command line and told in plain values.

use serde_json::Value;

use crate::metrics::{ConfusionMatrix, SuccessMatrix};

/// One run.
#[derive(Clone, Debug, Default)]
pub struct RunSource {
    /// What the reader knows it by, such as its path.
    pub name: String,
    /// `metrics.json`, of whatever version; `None` where there is no audit.
    pub metrics: Option<Value>,
    /// The matrices behind it.
    pub counts: Counts,
    /// `checks.json`.
    pub checks: Option<Checks>,
    /// How the run came about, such as its command: name and value.
    pub origin: Vec<(String, String)>,
    /// `config.toml`; empty where there is none.
    pub config: String,
    /// The training of the model that was audited.
    pub training: Vec<TrainingEpoch>,
    /// Pictures of the worst pairs.
    pub examples: Vec<Example>,
    /// Whether the audit goes on: its figures are those of the rows so far.
    pub unfinished: bool,
    /// What a reader has to know about this run: that it is not finished, or that a file could not be read.
    pub notes: Vec<String>,
}

/// Matrices of one run; all have the same classes, or are absent.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Predictions on clean images.
    pub clean: Option<ConfusionMatrix>,
    /// Predictions under the untargeted attack.
    pub untargeted: Option<ConfusionMatrix>,
    /// Outcomes of the targeted attack.
    pub targeted: Option<SuccessMatrix>,
}

/// The checks of an audit.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Checks {
    /// Images that they were made on.
    pub images: usize,
    /// Those that were made, passed ones too.
    pub lines: Vec<CheckLine>,
    /// Those that were not made: name and reason.
    pub left_out: Vec<(String, String)>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct CheckLine {
    /// Its name.
    pub name: String,
    /// `passed`, `warning`, `failed` or `not_applicable`.
    pub status: String,
    /// What was seen.
    pub seen: String,
    /// What counts as a failure or a warning.
    pub threshold: String,
    /// What it means when the check does not pass.
    pub meaning: String,
    /// What to do, where there is something to do.
    pub advice: Option<String>,
}

/// One epoch of training.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingEpoch {
    /// From 1.
    pub epoch: usize,
    /// Mean of each term of the loss.
    pub terms: Vec<(String, f64)>,
    /// Share of the training pictures, as the method made them, that were recognised.
    pub train_accuracy: Option<f64>,
    /// Clean accuracy in validation.
    pub clean_accuracy: Option<f64>,
    /// Robust accuracy in validation.
    pub robust_accuracy: Option<f64>,
}

/// A picture before and after an attack.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// Its class.
    pub from: usize,
    /// What it was taken for under the attack.
    pub to: usize,
    /// What the picture is called.
    pub image: String,
    /// PNG files: clean, under attack, and the change ten times as large.
    pub pictures: [Vec<u8>; 3],
}
