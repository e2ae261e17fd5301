//! The architectures that a model directory can name.

use std::collections::HashSet;

use burn::module::{Flag, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};

use super::{
    Classifier, FaceCnn, FaceCnnConfig, FaceNet, FaceNetConfig, PreActResNet, PreActResNetConfig, Vgg,
    VggConfig, Vit, VitConfig,
};
use crate::Seed;
use crate::nn::{Frozen, Precision};
use crate::preprocessing::{Channels, Preprocessing};

/// Name of an architecture, as written in `config.json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// See [`FaceCnn`].
    #[default]
    FaceCnn,
    /// See [`Vgg`].
    #[serde(rename = "vgg16")]
    Vgg16,
    /// See [`PreActResNet`].
    #[serde(rename = "resnet18")]
    Resnet18,
    /// See [`Vit`] and [`VitConfig::tiny`].
    VitTiny,
    /// See [`FaceNet`].
    FaceNet,
}

impl Architecture {
    /// The smallest side of its input; any other is a multiple of the second number.
    pub fn sides(self) -> (usize, usize) {
        match self {
            Self::FaceCnn | Self::VitTiny => (16, 16),
            Self::Vgg16 => (32, 16),
            Self::Resnet18 => (8, 8),
            Self::FaceNet => (FaceNetConfig::LEAST_SIDE, 1),
        }
    }

    /// Whether it can be without a head: with no classes its logits are an embedding.
    pub fn embeds(self) -> bool {
        self == Self::FaceNet
    }
}

/// A classifier of any known architecture.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // There is one network, not an array of them.
pub enum Network {
    /// See [`FaceCnn`].
    FaceCnn(FaceCnn),
    /// See [`Vgg`].
    Vgg16(Vgg),
    /// See [`PreActResNet`].
    Resnet18(PreActResNet),
    /// See [`Vit`].
    VitTiny(Vit),
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
        let side = preprocessing.side;
        let (mean, std) = preprocessing.unit_mean_and_std();
        let network = match architecture {
            Architecture::FaceCnn => {
                let config = FaceCnnConfig { classes, mean, std, side };
                Self::FaceCnn(FaceCnn::new(&config, seed, device))
            }
            Architecture::Vgg16 => {
                let config = VggConfig { mean, std, side, ..VggConfig::new(classes) };
                Self::Vgg16(Vgg::new(&config, seed, device))
            }
            Architecture::Resnet18 => {
                let config = PreActResNetConfig { mean, std, side, ..PreActResNetConfig::new(classes) };
                Self::Resnet18(PreActResNet::new(&config, seed, device))
            }
            Architecture::VitTiny => {
                let config = VitConfig { mean, std, side, ..VitConfig::tiny(classes) };
                Self::VitTiny(Vit::new(&config, seed, device))
            }
            Architecture::FaceNet => {
                let config = FaceNetConfig { mean, std, side, ..FaceNetConfig::new(classes) };
                Self::FaceNet(FaceNet::new(&config, seed, device))
            }
        };
        network.with_channels(preprocessing.channels)
    }

    /// The network with its first layer handing on the channels in this order.
    fn with_channels(mut self, channels: Channels) -> Self {
        let normalize = match &mut self {
            Self::FaceCnn(network) => &mut network.normalize,
            Self::Vgg16(network) => &mut network.normalize,
            Self::Resnet18(network) => &mut network.normalize,
            Self::VitTiny(network) => &mut network.normalize,
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

impl Classifier for Network {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        match self {
            Self::FaceCnn(network) => network.forward(images),
            Self::Vgg16(network) => network.forward(images),
            Self::Resnet18(network) => network.forward(images),
            Self::VitTiny(network) => network.forward(images),
            Self::FaceNet(network) => network.forward(images),
        }
    }

    fn frozen(&self, precision: Precision) -> Option<Frozen> {
        match self {
            Self::FaceCnn(network) => network.frozen(precision),
            Self::Vgg16(network) => network.frozen(precision),
            Self::Resnet18(network) => network.frozen(precision),
            Self::VitTiny(network) => network.frozen(precision),
            Self::FaceNet(network) => network.frozen(precision),
        }
    }

    fn classes(&self) -> usize {
        match self {
            Self::FaceCnn(network) => network.classes(),
            Self::Vgg16(network) => network.classes(),
            Self::Resnet18(network) => network.classes(),
            Self::VitTiny(network) => network.classes(),
            Self::FaceNet(network) => network.classes(),
        }
    }

    fn input_shape(&self) -> [usize; 3] {
        match self {
            Self::FaceCnn(network) => network.input_shape(),
            Self::Vgg16(network) => network.input_shape(),
            Self::Resnet18(network) => network.input_shape(),
            Self::VitTiny(network) => network.input_shape(),
            Self::FaceNet(network) => network.input_shape(),
        }
    }
}
