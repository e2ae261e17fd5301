//! Classifiers, their directories on disk, and the victim that attacks see.

mod blueprint;
mod classifier;
mod directory;
mod face_api;
mod face_cnn;
mod face_net;
#[cfg(test)]
mod fixtures;
mod network;
#[cfg(test)]
mod parity;
mod pre_act_resnet;
mod resnet;
mod size;
mod vgg;
mod victim;
mod vit;
mod weights;
mod wide_resnet;

pub use crate::nn::{Precision, PrecisionError};
pub use crate::preprocessing::{Channels, Crop, Framing, Interpolation, Preprocessing, Preset};
pub use blueprint::Blueprint;
pub use classifier::{Classifier, prediction};
pub use directory::{Model, ModelConfig, ModelError};
pub use face_api::read_face_api;
pub use face_cnn::{FaceCnn, FaceCnnConfig};
pub use face_net::{FaceNet, FaceNetConfig};
pub use network::{Architecture, Network, Trainable};
pub use pre_act_resnet::{PreActResNet, PreActResNetConfig};
pub use resnet::{ResNet, ResNetConfig, Stem};
pub use size::Size;
pub use vgg::{Vgg, VggConfig, VggHead};
pub use victim::{Cost, InputGradient, Shown, Victim};
pub use vit::{Vit, VitConfig};
pub use weights::{ImportOptions, Imported, WeightFile};
pub use wide_resnet::WideResNetConfig;
