//! Event files of TensorBoard from the log of a run.
//!
//! `events.jsonl` is the one record of a run; this makes what TensorBoard reads of it, as often as wanted. The format
//! is small: records with checksums (`record`) that hold a few messages of protocol buffers (`message`).

mod heat_map;
mod message;
mod record;
mod series;

pub use heat_map::heat_map;
pub use message::{Picture, Value};
pub use series::EventFile;
