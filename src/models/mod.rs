//! Classifiers, and the victim that attacks see.

mod classifier;
mod face_cnn;
mod victim;

pub use classifier::Classifier;
pub use face_cnn::{FaceCnn, FaceCnnConfig};
pub use victim::{Cost, InputGradient, Victim};
