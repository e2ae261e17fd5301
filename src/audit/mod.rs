//! The audit: attacks every picture, writes one row for each attack made, and counts the rows.
//!
//! The rows on disk ([`PredictionLog`]) are the only result; all figures are made from them
//! ([`Counts`]), so a report needs no model. They are streamed: what stays in memory is one batch, the
//! clean prediction of each image, one bit of "done" for each task, and the counts.

mod counts;
mod error;
mod measure;
mod perform;
mod pictures;
mod plan;
mod predictions;
mod remake;
mod targets;

pub use counts::{AttackCounts, Counts};
pub use error::AuditError;
pub use perform::{AuditOptions, AuditOutcome, Inherit, Progress, attack_seed, audit};
pub use pictures::{Pictures, Save};
pub use plan::Stage;
pub use predictions::{CLEAN, PredictionLog, Row, Rows, read_rows};
pub use remake::{Picked, Remade, remake};
pub use targets::{TargetChoice, TargetFile};
