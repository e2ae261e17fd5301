//! The page of a run: one HTML file that needs no network and no script but its own.
//!
//! [`RunSource`] is what a run directory says, [`Page`] is what the page says, and [`html()`] writes it. Figures are
//! looked up in `metrics.json` by their place there ([`PlacedFigure`]), so they are its numbers and not others; each carries
//! the place into the page, where a test reads it back. What is not there is said to be missing.

mod bars;
mod build;
mod chart;
mod comparison;
mod data;
mod figures;
mod groups;
mod html;
mod matrix;
mod order;
mod pairs;
mod placed;
mod source;
#[cfg(test)]
mod tests;
mod verdict;

pub(super) use build::{limits, notes};
pub use data::Page;
pub use figures::{Figure, figures};
pub use html::html;
pub use pairs::worst_pairs;
pub use placed::PlacedFigure;
pub use source::{CheckLine, Checks, Counts, Example, RunSource, TrainingEpoch};
pub use verdict::Thresholds;
