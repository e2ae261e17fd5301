//! What the events of a run hold, as far as whoever watches it needs to know. `docs/events.md` describes all of them.
//!
//! Reading is lenient: a key that is missing is absent, one that is not known is passed over, so that a log of an
//! older or a newer version shows what it can.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::metrics::Snapshot;
use crate::run::Event;

/// The data of an event; nothing, where they are not what they should be.
pub fn data_of<T: DeserializeOwned + Default>(event: &Event) -> T {
    serde_json::from_value(event.data.clone()).unwrap_or_default()
}

/// A run begins or goes on: `train_start`, `audit_start`, `attack_start`, `certify_start`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Start {
    /// As it was typed.
    pub command: String,
    /// Version of the program.
    pub syfar_version: String,
    /// What it computes on.
    pub device: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// Passes over the training pictures.
    pub epochs: Option<usize>,
    /// Name of the training method.
    pub objective: Option<String>,
    /// Name of the attack of an audit.
    pub attack: Option<String>,
}

/// One step of training: `step`. Not every step has an event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Step {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Step of the epoch, from 1.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Terms of the loss of this step.
    pub terms: Vec<(String, f64)>,
    /// Images a second, over the steps since the last event.
    pub images_per_second: Option<f64>,
    /// Seconds until the last epoch ends, at the speed of this sitting so far, validations included.
    pub seconds_left: Option<f64>,
}

/// Part of a validation: `validation`. Not every batch has an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Validating {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Pictures that were attacked.
    pub done: u64,
    /// Pictures in all.
    pub total: u64,
}

/// The end of an epoch: `epoch`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Epoch {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Learning rate of its last step.
    pub learning_rate: Option<f64>,
    /// Mean of each term of the loss.
    pub terms: Vec<(String, f64)>,
    /// Share of the training pictures that were recognised.
    pub train_accuracy: Option<f64>,
    /// Figures of held-out pictures.
    pub validation: Option<Validation>,
    /// Their predictions under attack.
    pub confusion: Option<Snapshot>,
    /// Whether this epoch's model is the best so far.
    pub best: bool,
    /// Training images a second.
    pub images_per_second: Option<f64>,
}

/// Figures of one validation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Validation {
    /// Images.
    pub images: u64,
    /// Share of clean pictures that are recognised.
    pub clean_accuracy: Option<f64>,
    /// Share of pictures that are recognised clean and under attack.
    pub robust_accuracy: Option<f64>,
    /// Mean cross-entropy of the clean pictures.
    pub clean_loss: Option<f64>,
    /// Mean cross-entropy of the attacked pictures.
    pub robust_loss: Option<f64>,
}

/// A check begins, before an audit: `check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Checking {
    /// Name of the check.
    pub name: String,
    /// The how manieth it is, from 1.
    pub number: usize,
}

/// The checks are made: `checks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Checked {
    /// How many passed.
    pub passed: usize,
    /// How many warn.
    pub warnings: usize,
    /// How many failed.
    pub failed: usize,
    /// Those that warn or failed.
    pub remarked: Vec<Checking>,
}

/// An attack that has to learn is about to learn one more texture: `lesson`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Lesson {
    /// Textures that were learned.
    pub done: usize,
    /// Textures in all.
    pub total: usize,
}

/// Part of an audit: `audit_batch`. Not every batch has an event, the last one has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditBatch {
    /// What the rows call the attack.
    pub attack: String,
    /// `clean`, `untargeted` or `targeted`.
    pub stage: String,
    /// Rows there are, those of an earlier process included.
    pub done: u64,
    /// Rows there will be.
    pub total: u64,
    /// Rows a second, in this sitting.
    pub rows_per_second: Option<f64>,
    /// Seconds until all rows are there, at the speed of this sitting so far.
    pub seconds_left: Option<f64>,
    /// What was counted so far.
    #[serde(flatten)]
    pub figures: AuditFigures,
}

/// Counts of an audit, unfinished or finished: in `audit_batch` and `audit_end`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditFigures {
    /// Unchanged pictures that are recognised, of how many.
    pub clean: Option<[u64; 2]>,
    /// Pictures that are recognised clean and under the untargeted attack, of how many.
    pub robust: Option<[u64; 2]>,
    /// Targeted attacks that reached their target, of how many.
    pub targeted: Option<[u64; 2]>,
    /// Predictions under the untargeted attack.
    pub confusion: Option<Snapshot>,
    /// Outcomes of the targeted attacks.
    pub success: Option<Snapshot>,
}

impl AuditFigures {
    /// The matrix to look at: of the targeted attacks as soon as there are any.
    pub fn matrix(&self) -> Option<(&'static str, &Snapshot)> {
        let success = self.success.as_ref().map(|found| ("targeted success", found));
        success.or_else(|| self.confusion.as_ref().map(|found| ("predictions under attack", found)))
    }
}

/// The end of training: `train_end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TrainEnd {
    /// Epoch of the model that was kept, from 1.
    pub best_epoch: Option<usize>,
    /// Seconds of training, over all sittings.
    pub seconds: Option<f64>,
}
