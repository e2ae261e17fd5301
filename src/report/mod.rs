//! Reports: figures as text for people and as tables for programs. Knows `metrics` and nothing else.
//!
//! Words: figures are compared, a model is never called fair.

mod card;
mod comparison;
pub mod csv;
mod curves;
mod document;
#[cfg(test)]
mod example;
mod experiment;
mod flat;
mod headline;
mod markdown;
mod official;
pub mod page;
mod parts;
mod table;
mod terminal;

pub use card::{CARD_MARK, CardModel, card};
pub use curves::curves;
pub use document::{
    METRICS_SCHEMA, METRICS_SCHEMA_VERSION, MetricsDocument, PartGroups, PartReport, flat_cell,
};
pub use experiment::{
    Better, Cell, ExperimentInput, ExperimentTable, Family, FigureLine, MethodRuns, experiment_csv,
    experiment_markdown, experiment_terminal,
};
pub use flat::{FlatFigure, FlatFigures, p_words};
pub use headline::{headline, headline_markdown};
pub use markdown::comparison as markdown_comparison;
pub use official::OfficialReport;
pub use parts::parts;
pub use table::{Align, Table};
pub use terminal::{comparison, summary};
