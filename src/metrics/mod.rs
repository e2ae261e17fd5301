//! Figures of robustness and symmetry. Pure: no tensor, no file, no error.
//!
//! Each section of a report is a function of counts alone ([`Robustness::of`], [`SourceFigures::of`], ..),
//! so whatever draws other counts (a bootstrap, a paired test) calls the same functions.

mod confusion;
mod extremes;
mod groups;
mod headline;
mod interval;
mod levelling;
mod noise;
mod parts;
mod rates;
mod report;
mod robustness;
mod source;
mod success;
mod symmetry;
mod target;
mod targeted;
#[cfg(test)]
mod theorem;

pub use confusion::ConfusionMatrix;
pub use groups::{FlowGap, GroupAccuracy, GroupColumn, GroupFigures, GroupFlow, GroupSpread};
pub use headline::{HEADLINE, Headline, NamedFigure, Spread};
pub use interval::{ClassFigure, ClassRate, Figure, Rate};
pub use levelling::Levelling;
pub use noise::NoiseFloor;
pub use parts::{PartCounts, PartFigures};
pub use rates::RateMatrix;
pub use report::{AuditCounts, ConfusionFigures, FairnessReport, GroupReport, SCHEMA_VERSION};
pub use robustness::Robustness;
pub use source::SourceFigures;
pub use success::SuccessMatrix;
pub use symmetry::{PairGap, SymmetryFigures, penalty};
pub use target::TargetFigures;
pub use targeted::TargetedFigures;
