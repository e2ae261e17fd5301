//! Classifiers, their directories on disk, and the victim that attacks see.

mod classifier;
mod directory;
mod face_api;
mod face_cnn;
mod face_net;
#[cfg(test)]
mod fixtures;
mod network;
mod pre_act_resnet;
mod vgg;
mod victim;
mod vit;

pub use crate::nn::{Precision, PrecisionError};
pub use crate::preprocessing::{Channels, Crop, Framing, Interpolation, Preprocessing, Preset};
pub use classifier::Classifier;
pub use directory::{Model, ModelConfig, ModelError};
pub use face_api::read_face_api;
pub use face_cnn::{FaceCnn, FaceCnnConfig};
pub use face_net::{FaceNet, FaceNetConfig};
pub use network::{Architecture, Network, Trainable};
pub use pre_act_resnet::{PreActResNet, PreActResNetConfig};
pub use vgg::{Vgg, VggConfig};
pub use victim::{Cost, InputGradient, Shown, Victim};
pub use vit::{Vit, VitConfig};
