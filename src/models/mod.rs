//! Classifiers, their directories on disk, and the victim that attacks see.

mod classifier;
mod directory;
mod face_cnn;
#[cfg(test)]
mod fixtures;
mod network;
mod pre_act_resnet;
mod vgg;
mod victim;
mod vit;

pub use crate::nn::{Precision, PrecisionError};
pub use classifier::Classifier;
pub use directory::{Model, ModelConfig, ModelError};
pub use face_cnn::{FaceCnn, FaceCnnConfig};
pub use network::{Architecture, Network, Preprocessing, Trainable};
pub use pre_act_resnet::{PreActResNet, PreActResNetConfig};
pub use vgg::{Vgg, VggConfig};
pub use victim::{Cost, InputGradient, Shown, Victim};
pub use vit::{Vit, VitConfig};
