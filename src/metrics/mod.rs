//! Figures of robustness and symmetry. Pure: no tensor, no file, no error.
//!
//! Each section of a report is a function of counts alone ([`Robustness::of`], [`SourceFigures::of`], ..),
//! so whatever draws other counts (a bootstrap, a paired test) calls the same functions.

mod binomial;
mod confusion;
#[cfg(test)]
mod coverage;
mod curve;
mod dense;
mod difference;
mod draws;
mod extremes;
mod groups;
mod headline;
mod inequality;
mod interval;
mod inversion;
mod levelling;
mod marginal;
mod mass;
mod mcnemar;
mod multinomial;
mod multiplicity;
mod named;
mod noise;
mod outcomes;
mod over_seeds;
mod pair_bootstrap;
mod paired;
mod pairs;
mod parts;
mod rates;
mod relative;
mod report;
mod robustness;
mod significance;
mod snapshot;
mod source;
mod sparse;
mod spectral;
mod split_half;
mod spread;
mod success;
mod symmetry;
mod tabulated;
mod target;
mod targeted;
#[cfg(test)]
mod theorem;

pub use confusion::ConfusionMatrix;
pub use curve::CurvePoint;
pub use difference::{NamedDifference, unpaired_differences};
pub use groups::{FlowGap, GroupAccuracy, GroupColumn, GroupFigures, GroupFlow, GroupSpread};
pub use headline::{HEADLINE, Headline, NamedFigure, Spread};
pub use inequality::Inequality;
pub use interval::{ClassFigure, ClassRate, Figure, Rate};
pub use levelling::Levelling;
pub use mcnemar::McNemar;
pub use multiplicity::{benjamini_hochberg, holm};
pub use named::{named_figures, named_of_rates};
pub use noise::NoiseFloor;
pub use outcomes::ImageOutcomes;
pub use over_seeds::{SeedDifference, SeedFigure};
pub use paired::{ClassComparison, PairedComparison, PairedCounts};
pub use pairs::PairCounts;
pub use parts::{PartCounts, PartFigures};
pub use rates::RateMatrix;
pub use relative::relative_rho;
pub use report::{AuditCounts, ConfusionFigures, FairnessReport, GroupReport, SCHEMA_VERSION};
pub use robustness::Robustness;
pub use significance::{ChiSquare, PairTest, SymmetryTests};
pub use snapshot::{Cells, DirectedPair, MOST_SNAPSHOT_CLASSES, Snapshot};
pub use source::SourceFigures;
pub use sparse::{SparseCell, SparseMatrix};
pub use success::SuccessMatrix;
pub use symmetry::{PairGap, SymmetryFigures, log_penalty, penalty, spectral_norm};
pub use target::{ColumnRates, TargetFigures, conditional_targets};
pub use targeted::TargetedFigures;
