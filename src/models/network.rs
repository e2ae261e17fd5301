//! The architectures that a model directory can name.

use std::collections::HashSet;

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};

use super::weights::KeyMap;
use super::{Blueprint, Classifier, FaceCnn, PreActResNet, ResNet, Vgg, Vit, WideResNet};
use crate::Seed;
use crate::nn::{Frozen, Precision};

/// Name of an architecture, as written in `config.json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// See [`FaceCnn`].
    #[default]
    FaceCnn,
    /// See [`Vgg`]; with the small head.
    #[serde(rename = "vgg16")]
    Vgg16,
    /// See [`PreActResNet`].
    #[serde(rename = "resnet18", alias = "preact_resnet18")]
    PreActResnet18,
    /// See [`Vit`] and [`VitConfig::tiny`](super::VitConfig::tiny).
    VitTiny,
    /// See [`VitConfig::small`](super::VitConfig::small).
    VitSmall,
    /// See [`VitConfig::base`](super::VitConfig::base).
    VitBase,
    /// See [`Vgg`].
    #[serde(rename = "vgg11_torchvision")]
    Vgg11Torchvision,
    /// See [`Vgg`].
    #[serde(rename = "vgg13_torchvision")]
    Vgg13Torchvision,
    /// See [`Vgg`].
    #[serde(rename = "vgg16_torchvision")]
    Vgg16Torchvision,
    /// See [`Vgg`].
    #[serde(rename = "vgg11_face")]
    Vgg11Face,
    /// See [`Vgg`].
    #[serde(rename = "vgg13_face")]
    Vgg13Face,
    /// See [`Vgg`].
    #[serde(rename = "vgg16_face")]
    Vgg16Face,
    /// See [`ResNet`].
    #[serde(rename = "resnet18_imagenet")]
    Resnet18Imagenet,
    /// See [`ResNet`].
    #[serde(rename = "resnet34_imagenet")]
    Resnet34Imagenet,
    /// See [`ResNet`].
    #[serde(rename = "resnet50_imagenet")]
    Resnet50Imagenet,
    /// See [`ResNet`].
    #[serde(rename = "resnet18_cifar")]
    Resnet18Cifar,
    /// See [`ResNet`].
    #[serde(rename = "resnet34_cifar")]
    Resnet34Cifar,
    /// See [`ResNet`].
    #[serde(rename = "resnet50_cifar")]
    Resnet50Cifar,
    /// See [`WideResNet`].
    #[serde(rename = "wide_resnet28_10")]
    WideResnet28x10,
    /// See [`WideResNet`].
    #[serde(rename = "wide_resnet34_10")]
    WideResnet34x10,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::FaceCnn,
        Self::Vgg16,
        Self::Vgg11Torchvision,
        Self::Vgg13Torchvision,
        Self::Vgg16Torchvision,
        Self::Vgg11Face,
        Self::Vgg13Face,
        Self::Vgg16Face,
        Self::PreActResnet18,
        Self::Resnet18Cifar,
        Self::Resnet34Cifar,
        Self::Resnet50Cifar,
        Self::Resnet18Imagenet,
        Self::Resnet34Imagenet,
        Self::Resnet50Imagenet,
        Self::WideResnet28x10,
        Self::WideResnet34x10,
        Self::VitTiny,
        Self::VitSmall,
        Self::VitBase,
    ];

    /// The smallest side of its input; any other is a multiple of the second number.
    pub fn sides(self) -> (usize, usize) {
        match self {
            Self::FaceCnn | Self::VitTiny | Self::VitSmall | Self::VitBase => (16, 16),
            Self::Vgg16 => (32, 16),
            Self::PreActResnet18 | Self::WideResnet28x10 | Self::WideResnet34x10 => (8, 8),
            Self::Resnet18Cifar | Self::Resnet34Cifar | Self::Resnet50Cifar => (8, 1),
            Self::Vgg11Torchvision
            | Self::Vgg13Torchvision
            | Self::Vgg16Torchvision
            | Self::Vgg11Face
            | Self::Vgg13Face
            | Self::Vgg16Face
            | Self::Resnet18Imagenet
            | Self::Resnet34Imagenet
            | Self::Resnet50Imagenet => (32, 1),
        }
    }

    /// The side that published weights are for, or that the architecture is usually trained with.
    pub fn usual_side(self) -> usize {
        match self {
            Self::FaceCnn => 64,
            Self::Vgg16 => 112,
            Self::PreActResnet18
            | Self::Resnet18Cifar
            | Self::Resnet34Cifar
            | Self::Resnet50Cifar
            | Self::WideResnet28x10
            | Self::WideResnet34x10 => 32,
            _ => 224,
        }
    }
}

impl Architecture {
    /// Mean and standard deviation of pixels in `[0, 1]` that published weights are for, or that the
    /// architecture is usually trained with. Nothing for VGG-Face, whose ports differ in it.
    pub fn usual_mean_and_std(self) -> Option<([f32; 3], [f32; 3])> {
        let default = Preprocessing::default();
        match self {
            Self::FaceCnn | Self::Vgg16 => Some((default.mean, default.std)),
            Self::VitTiny | Self::VitSmall | Self::VitBase => Some(([0.5; 3], [0.5; 3])),
            // RobustBench's networks take pixels as they are.
            Self::PreActResnet18
            | Self::Resnet18Cifar
            | Self::Resnet34Cifar
            | Self::Resnet50Cifar
            | Self::WideResnet28x10
            | Self::WideResnet34x10 => Some(([0.0; 3], [1.0; 3])),
            Self::Vgg11Torchvision
            | Self::Vgg13Torchvision
            | Self::Vgg16Torchvision
            | Self::Resnet18Imagenet
            | Self::Resnet34Imagenet
            | Self::Resnet50Imagenet => Some(([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])),
            Self::Vgg11Face | Self::Vgg13Face | Self::Vgg16Face => None,
        }
    }
}

impl std::fmt::Display for Architecture {
    /// The name in `config.json`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        serde::Serialize::serialize(self, f)
    }
}

/// What a picture goes through before the first convolution.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocessing {
    /// Side of the square input in pixels.
    pub side: usize,
    /// Mean of each channel (red, green, blue), in units of pixels in `[0, 1]`.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, in the same units.
    pub std: [f32; 3],
}

impl Default for Preprocessing {
    /// 64 x 64, mean 0.5, standard deviation 0.25.
    fn default() -> Self {
        Self { side: 64, mean: [0.5; 3], std: [0.25; 3] }
    }
}

/// A classifier of any known architecture.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // There is one network, not an array of them.
pub enum Network {
    /// See [`FaceCnn`].
    FaceCnn(FaceCnn),
    /// See [`Vgg`].
    Vgg(Vgg),
    /// See [`PreActResNet`].
    PreActResNet(PreActResNet),
    /// See [`Vit`].
    Vit(Vit),
    /// See [`ResNet`].
    ResNet(ResNet),
    /// See [`WideResNet`].
    WideResNet(WideResNet),
}

impl Network {
    /// A network for `classes` classes with weights drawn from a seed. `preprocessing.side` is one of
    /// [`Architecture::sides`].
    pub fn new(
        architecture: Architecture,
        classes: usize,
        preprocessing: &Preprocessing,
        seed: Seed,
        device: &Device,
    ) -> Self {
        let Preprocessing { side, mean, std } = *preprocessing;
        Blueprint::new(architecture, classes, side, mean, std).build(seed, device)
    }
}

/// Which parameters are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trainable {
    /// All.
    #[default]
    All,
    /// Those of the last layer. Everything before it stays as it is, and its BatchNorm uses its running
    /// statistics and does not change them.
    Head,
}

impl Network {
    /// The network with only these parameters trainable.
    #[must_use]
    pub fn trained_in(self, trainable: Trainable) -> Self {
        match trainable {
            Trainable::All => self,
            Trainable::Head => {
                let head = self.head();
                self.map(&mut FreezeBody(head))
            }
        }
    }

    /// The network with the body of another of the same architecture, whatever that one's classes: all but
    /// the last layer.
    pub(super) fn with_body_of(self, other: &Self) -> Self {
        let mut body = BodyValues { head: other.head(), values: Vec::new() };
        other.visit(&mut body);
        let head = self.head();
        self.map(&mut PutBody { head, values: body.values.into_iter() })
    }

    /// The ids of the parameters of the last layer.
    fn head(&self) -> HashSet<ParamId> {
        let mut head = HeadIds { path: Vec::new(), ids: HashSet::new() };
        self.visit(&mut head);
        head.ids
    }
}

/// Collects what is called head.
struct HeadIds {
    path: Vec<String>,
    ids: HashSet<ParamId>,
}

impl ModuleVisitor for HeadIds {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.path.iter().any(|name| name == "head") {
            self.ids.insert(param.id);
        }
    }
}

/// Freezes parameters outside the head, and all flags: a head has no BatchNorm.
struct FreezeBody(HashSet<ParamId>);

impl ModuleMapper for FreezeBody {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.0.contains(&param.id) { param } else { param.set_require_grad(false) }
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        flag.with_value(false)
    }
}

/// The values of parameters and buffers outside the head, in their order.
struct BodyValues {
    head: HashSet<ParamId>,
    values: Vec<TensorData>,
}

impl ModuleVisitor for BodyValues {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !self.head.contains(&param.id) {
            self.values.push(param.val().without_autodiff().into_data());
        }
    }
}

/// Puts them into another network.
struct PutBody {
    head: HashSet<ParamId>,
    values: std::vec::IntoIter<TensorData>,
}

impl ModuleMapper for PutBody {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.head.contains(&param.id) {
            return param;
        }
        let Some(data) = self.values.next() else { return param };
        param.map(|old| {
            let (tracked, device) = (old.is_require_grad(), old.device());
            let plain = Tensor::from_data(data, &device.clone().without_autodiff());
            if device.is_autodiff() { plain.autodiff().set_require_grad(tracked) } else { plain }
        })
    }
}

impl Network {
    /// How many parameters and buffers hold a value that is NaN or infinite.
    pub fn non_finite_tensors(&self) -> usize {
        struct Count(usize);
        impl ModuleVisitor for Count {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let finite = param.val().without_autodiff().is_finite().all().into_scalar::<bool>();
                self.0 += usize::from(!finite);
            }
        }
        let mut count = Count(0);
        self.visit(&mut count);
        count.0
    }
}

impl Network {
    /// The names of its layers in PyTorch, in every naming that is known; the first is that of exports.
    pub(super) fn key_maps(&self) -> Vec<KeyMap> {
        match self {
            Self::FaceCnn(network) => network.key_maps(),
            Self::Vgg(network) => network.key_maps(),
            Self::PreActResNet(network) => network.key_maps(),
            Self::Vit(network) => network.key_maps(),
            Self::ResNet(network) => network.key_maps(),
            Self::WideResNet(network) => network.key_maps(),
        }
    }
}

impl Classifier for Network {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Self::FaceCnn(network) => network.forward(images),
            Self::Vgg(network) => network.forward(images),
            Self::PreActResNet(network) => network.forward(images),
            Self::Vit(network) => network.forward(images),
            Self::ResNet(network) => network.forward(images),
            Self::WideResNet(network) => network.forward(images),
        }
    }

    fn frozen(&self, precision: Precision) -> Option<Frozen> {
        match self {
            Self::FaceCnn(network) => network.frozen(precision),
            Self::Vgg(network) => network.frozen(precision),
            Self::PreActResNet(network) => network.frozen(precision),
            Self::Vit(network) => network.frozen(precision),
            Self::ResNet(network) => network.frozen(precision),
            Self::WideResNet(network) => network.frozen(precision),
        }
    }

    fn classes(&self) -> usize {
        match self {
            Self::FaceCnn(network) => network.classes(),
            Self::Vgg(network) => network.classes(),
            Self::PreActResNet(network) => network.classes(),
            Self::Vit(network) => network.classes(),
            Self::ResNet(network) => network.classes(),
            Self::WideResNet(network) => network.classes(),
        }
    }

    fn input_shape(&self) -> [usize; 3] {
        match self {
            Self::FaceCnn(network) => network.input_shape(),
            Self::Vgg(network) => network.input_shape(),
            Self::PreActResNet(network) => network.input_shape(),
            Self::Vit(network) => network.input_shape(),
            Self::ResNet(network) => network.input_shape(),
            Self::WideResNet(network) => network.input_shape(),
        }
    }
}
