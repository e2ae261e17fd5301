//! Classifiers, their directories on disk, and the victim that attacks see.

mod classifier;
mod directory;
mod face_cnn;
mod network;
mod victim;

pub use crate::nn::{Precision, PrecisionError};
pub use classifier::Classifier;
pub use directory::{Model, ModelConfig, ModelError};
pub use face_cnn::{FaceCnn, FaceCnnConfig};
pub use network::{Architecture, Network, Preprocessing};
pub use victim::{Cost, InputGradient, Victim};
