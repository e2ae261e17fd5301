//! Reports: figures as text for people and as tables for programs. Knows `metrics` and nothing else.
//!
//! Words: figures are compared, a model is never called fair.

mod comparison;
pub mod csv;
#[cfg(test)]
mod example;
mod headline;
mod markdown;
mod parts;
mod table;
mod terminal;

pub use headline::{headline, headline_markdown};
pub use markdown::comparison as markdown_comparison;
pub use parts::parts;
pub use table::{Align, Table};
pub use terminal::{comparison, summary};
