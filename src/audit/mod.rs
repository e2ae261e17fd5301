//! The audit: attacks every picture, writes one row for each attack made, and counts the rows.
//!
//! The rows on disk ([`PredictionLog`]) are the only result; all figures are made from them
//! ([`Counts`]), so a report needs no model. They are streamed: what stays in memory is one batch, the
//! clean prediction of each image, one bit of "done" for each task, and the counts.
//!
//! An audit can be made in pieces ([`audit_shard`]) by many processes, and merged ([`Parts`]): the rows are the same.

mod counts;
mod error;
#[cfg(test)]
mod fixtures;
mod make;
mod measure;
mod merge;
mod perform;
mod pictures;
mod pieces;
mod plan;
mod predictions;
mod remake;
mod shard;
mod targets;

pub use counts::{AttackCounts, Counts};
pub use error::AuditError;
pub use make::attack_seed;
pub use merge::{MissingPiece, Parts, Survey};
pub use perform::{AuditOptions, AuditOutcome, Inherit, Progress, audit};
pub use pictures::{Load, Pictures, Save};
pub use pieces::PieceFolder;
pub use plan::Stage;
pub use predictions::{CLEAN, PredictionLog, Row, Rows, read_rows};
pub use remake::{Picked, Remade, remake};
pub use shard::{Shard, ShardOutcome, Tally, audit_shard, goals_left};
pub use targets::{TargetChoice, TargetFile};
