//! The architectures that a model directory can name.

use std::collections::HashSet;

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};

use super::weights::KeyMap;
use super::{
    Blueprint, Classifier, FaceCnn, FaceNet, FaceNetConfig, PreActResNet, ResNet, Vgg, Vit, wide_resnet,
};
use crate::Seed;
use crate::nn::{Frozen, Precision};
use crate::preprocessing::{Channels, LARGEST_SIDE, Preprocessing, Preset};

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
    /// See [`WideResNetConfig`](super::WideResNetConfig).
    #[serde(rename = "wide_resnet28_10")]
    WideResnet28x10,
    /// See [`WideResNetConfig`](super::WideResNetConfig).
    #[serde(rename = "wide_resnet34_10")]
    WideResnet34x10,
    /// See [`FaceNet`].
    FaceNet,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::FaceCnn,
        Self::FaceNet,
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
            Self::FaceNet => (FaceNetConfig::LEAST_SIDE, 1),
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
            Self::FaceNet => 150,
            Self::PreActResnet18
            | Self::Resnet18Cifar
            | Self::Resnet34Cifar
            | Self::Resnet50Cifar
            | Self::WideResnet28x10
            | Self::WideResnet34x10 => 32,
            _ => 224,
        }
    }

    /// What published weights expect of pictures, or how the architecture is usually trained.
    pub fn usual_preprocessing(self) -> Preprocessing {
        let usual = match self {
            Self::FaceCnn | Self::Vgg16 => Preprocessing::default(),
            Self::FaceNet => {
                let std = [FaceNetConfig::STD; 3];
                Preprocessing { mean: FaceNetConfig::MEAN, std, range: 255.0, ..Preprocessing::default() }
            }
            Self::VitTiny | Self::VitSmall | Self::VitBase => Preset::Timm.preprocessing(),
            // RobustBench's networks take pixels as they are.
            Self::PreActResnet18
            | Self::Resnet18Cifar
            | Self::Resnet34Cifar
            | Self::Resnet50Cifar
            | Self::WideResnet28x10
            | Self::WideResnet34x10 => {
                Preprocessing { mean: [0.0; 3], std: [1.0; 3], ..Preprocessing::default() }
            }
            Self::Vgg11Torchvision
            | Self::Vgg13Torchvision
            | Self::Vgg16Torchvision
            | Self::Resnet18Imagenet
            | Self::Resnet34Imagenet
            | Self::Resnet50Imagenet => Preset::Imagenet.preprocessing(),
            Self::Vgg11Face | Self::Vgg13Face | Self::Vgg16Face => Preset::VggFace.preprocessing(),
        };
        Preprocessing { side: self.usual_side(), ..usual }
    }

    /// What is wrong with a side: what was found, what was expected.
    ///
    /// # Errors
    /// A sentence.
    pub fn check_side(self, side: usize) -> Result<(), String> {
        let (least, multiple) = self.sides();
        if side >= least && side.is_multiple_of(multiple) && side <= LARGEST_SIDE {
            return Ok(());
        }
        Err(format!("side is {side}, expected a multiple of {multiple} from {least} to {LARGEST_SIDE}"))
    }

    /// Inputs of the last layer for pictures of a side that it takes: for each class it has so many weights and a
    /// bias.
    pub fn head_inputs(self, side: usize) -> usize {
        let parameters = |classes| Blueprint::new(self, classes, side, [0.0; 3], [1.0; 3]).size().parameters;
        (parameters(3) - parameters(2)) as usize - 1
    }

    /// Whether it can be without a head: with no classes its logits are an embedding.
    pub fn embeds(self) -> bool {
        self == Self::FaceNet
    }
}

impl std::fmt::Display for Architecture {
    /// The name in `config.json`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        serde::Serialize::serialize(self, f)
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
    /// See [`WideResNetConfig`](super::WideResNetConfig).
    WideResNet(PreActResNet),
    /// See [`FaceNet`].
    FaceNet(FaceNet),
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
        let (mean, std) = preprocessing.unit_mean_and_std();
        let blueprint = Blueprint::new(architecture, classes, preprocessing.side, mean, std);
        blueprint.build(seed, device).with_channels(preprocessing.channels)
    }

    /// The network with its first layer handing on the channels in this order.
    fn with_channels(mut self, channels: Channels) -> Self {
        let normalize = match &mut self {
            Self::FaceCnn(network) => &mut network.normalize,
            Self::Vgg(network) => &mut network.normalize,
            Self::PreActResNet(network) | Self::WideResNet(network) => &mut network.normalize,
            Self::Vit(network) => &mut network.normalize,
            Self::ResNet(network) => &mut network.normalize,
            Self::FaceNet(network) => &mut network.normalize,
        };
        normalize.reverse_channels(channels == Channels::Bgr);
        self
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
        self.parameters_at(|path| path.iter().any(|name| name == "head"))
    }

    /// The ids of the parameters and buffers at some paths: the names of the modules around one from the outside in, and
    /// its own.
    pub(crate) fn parameters_at(&self, wanted: impl Fn(&[String]) -> bool) -> HashSet<ParamId> {
        let mut found = IdsAt { wanted, path: Vec::new(), ids: HashSet::new() };
        self.visit(&mut found);
        found.ids
    }
}

/// Collects what is at wanted paths.
struct IdsAt<F> {
    wanted: F,
    path: Vec<String>,
    ids: HashSet<ParamId>,
}

impl<F: Fn(&[String]) -> bool> ModuleVisitor for IdsAt<F> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if (self.wanted)(&self.path) {
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
            Self::WideResNet(network) => wide_resnet::key_maps(network),
            Self::FaceNet(network) => network.key_maps(),
        }
    }
}

impl Classifier for Network {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Self::FaceCnn(network) => network.forward(images),
            Self::Vgg(network) => network.forward(images),
            Self::PreActResNet(network) | Self::WideResNet(network) => network.forward(images),
            Self::Vit(network) => network.forward(images),
            Self::ResNet(network) => network.forward(images),
            Self::FaceNet(network) => network.forward(images),
        }
    }

    fn frozen(&self, precision: Precision) -> Option<Frozen> {
        match self {
            Self::FaceCnn(network) => network.frozen(precision),
            Self::Vgg(network) => network.frozen(precision),
            Self::PreActResNet(network) | Self::WideResNet(network) => network.frozen(precision),
            Self::Vit(network) => network.frozen(precision),
            Self::ResNet(network) => network.frozen(precision),
            Self::FaceNet(network) => network.frozen(precision),
        }
    }

    fn classes(&self) -> usize {
        match self {
            Self::FaceCnn(network) => network.classes(),
            Self::Vgg(network) => network.classes(),
            Self::PreActResNet(network) | Self::WideResNet(network) => network.classes(),
            Self::Vit(network) => network.classes(),
            Self::ResNet(network) => network.classes(),
            Self::FaceNet(network) => network.classes(),
        }
    }

    fn input_shape(&self) -> [usize; 3] {
        match self {
            Self::FaceCnn(network) => network.input_shape(),
            Self::Vgg(network) => network.input_shape(),
            Self::PreActResNet(network) | Self::WideResNet(network) => network.input_shape(),
            Self::Vit(network) => network.input_shape(),
            Self::ResNet(network) => network.input_shape(),
            Self::FaceNet(network) => network.input_shape(),
        }
    }
}

#[cfg(test)]
mod tests;
