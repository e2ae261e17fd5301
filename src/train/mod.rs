//! Training: an explicit loop around an objective.

mod checkpoint;
mod config;
mod optimizer;
mod schedule;
mod trainer;
mod validate;

pub use config::TrainConfig;
pub use optimizer::{AdamW, OptimizerConfig, Sgd};
pub use schedule::Schedule;
pub use trainer::{EpochReport, Job, Observer, StepReport, TrainError, TrainOutcome, train};
pub use validate::Validation;
