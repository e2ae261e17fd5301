//! Training: an explicit loop around an objective.

mod averaging;
mod checkpoint;
mod config;
mod exchange;
mod observer;
mod optimizer;
mod schedule;
mod team;
#[cfg(test)]
mod tests;
mod trainer;
mod validate;
mod weight_perturbation;

pub use averaging::{AverageEvery, AveragingConfig};
pub use config::TrainConfig;
pub use observer::{EpochReport, Observer, StepReport, ValidationProgress};
pub use optimizer::{AdamW, OptimizerConfig, Sgd};
pub use schedule::Schedule;
pub use team::{Alone, Team};
pub use trainer::{Job, TrainError, TrainOutcome, train};
pub use validate::Validation;
pub use weight_perturbation::PerturbationConfig;
