//! Figures of robustness and symmetry. Pure: no tensor, no file, no error.

mod confusion;

pub use confusion::ConfusionMatrix;
