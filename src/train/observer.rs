//! What a training tells of itself while it goes on.

use super::Validation;
use crate::metrics::Snapshot;
use crate::models::Cost;
use crate::objectives::Term;
use crate::run::RunError;

/// One step, for a progress line.
#[derive(Clone, Debug)]
pub struct StepReport<'a> {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Step of the epoch, from 1.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Images of this step.
    pub images: usize,
    /// Terms of the loss.
    pub terms: &'a [Term],
    /// Seconds that the step took.
    pub seconds: f64,
}

/// One epoch, for the log.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EpochReport {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Learning rate of its last step.
    pub learning_rate: f64,
    /// Mean of each term of the loss over the images.
    pub terms: Vec<(String, f64)>,
    /// Share of the training pictures, as the objective made them, that were recognised.
    pub train_accuracy: f64,
    /// Validation, in the epochs that have one.
    pub validation: Option<Validation>,
    /// Predictions of the validation pictures under attack, in the epochs that have a validation. A picture that is
    /// misclassified unchanged counts as its clean prediction.
    pub confusion: Option<Snapshot>,
    /// Whether this epoch's model is the best so far.
    pub best: bool,
    /// Passes that the attacks of the epoch took.
    pub attack_cost: Cost,
    /// Seconds of the training steps.
    pub seconds: f64,
    /// Training images a second.
    pub images_per_second: f64,
    /// Seconds since the epoch before in which rank 0 talked with other ranks or waited for them; absent for one rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange_seconds: Option<f64>,
}

/// How far the validation of an epoch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ValidationProgress {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Pictures that were attacked.
    pub done: usize,
    /// Pictures in all.
    pub total: usize,
}

/// Who is told of progress. An error, where a log cannot be written, ends the training.
pub trait Observer {
    /// After each step.
    ///
    /// # Errors
    /// Where the log cannot be written.
    fn step(&mut self, report: &StepReport) -> Result<(), RunError>;
    /// After each batch of a validation.
    ///
    /// # Errors
    /// Where the log cannot be written.
    fn validating(&mut self, progress: ValidationProgress) -> Result<(), RunError> {
        let _ = progress;
        Ok(())
    }
    /// After each epoch.
    ///
    /// # Errors
    /// Where the log cannot be written.
    fn epoch(&mut self, report: &EpochReport) -> Result<(), RunError>;
}
