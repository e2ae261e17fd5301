//! Watching a run: its events folded into what can be shown, and the ways to show it.
//!
//! Everything comes from `events.jsonl`, which is read and never written, so a run can be watched while it goes on,
//! after its end, and as a copy on another machine.

mod heat;
mod http;
mod page;
mod payload;
mod terminal;
mod view;
mod words;

pub use http::{Access, Server};
pub use page::page_state;
pub use payload::{
    AuditBatch, AuditFigures, Checked, Checking, Epoch, Lesson, Start, Step, TrainEnd, Validating,
    Validation, data_of,
};
pub use terminal::{Look, draw, text};
pub use view::{AuditView, LogLine, Point, RunView, Status};
pub use words::duration;
