//! Figures of robustness and symmetry. Pure: no tensor, no file, no error.

mod confusion;
mod success;

pub use confusion::ConfusionMatrix;
pub use success::SuccessMatrix;
