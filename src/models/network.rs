//! The architectures that a model directory can name.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};

use super::{Classifier, FaceCnn, FaceCnnConfig, Vit, VitConfig};
use crate::Seed;

/// Name of an architecture, as written in `config.json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// See [`FaceCnn`].
    #[default]
    FaceCnn,
    /// See [`Vit`] and [`VitConfig::tiny`].
    VitTiny,
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
    /// See [`Vit`].
    VitTiny(Vit),
}

impl Network {
    /// A network for `classes` classes with weights drawn from a seed. `preprocessing.side` is a positive
    /// multiple of 16.
    pub fn new(
        architecture: Architecture,
        classes: usize,
        preprocessing: &Preprocessing,
        seed: Seed,
        device: &Device,
    ) -> Self {
        let Preprocessing { side, mean, std } = *preprocessing;
        match architecture {
            Architecture::FaceCnn => {
                let config = FaceCnnConfig { classes, mean, std, side };
                Self::FaceCnn(FaceCnn::new(&config, seed, device))
            }
            Architecture::VitTiny => {
                let config = VitConfig { mean, std, side, ..VitConfig::tiny(classes) };
                Self::VitTiny(Vit::new(&config, seed, device))
            }
        }
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
            Self::VitTiny(network) => network.forward(images),
        }
    }

    fn classes(&self) -> usize {
        match self {
            Self::FaceCnn(network) => network.classes(),
            Self::VitTiny(network) => network.classes(),
        }
    }

    fn input_shape(&self) -> [usize; 3] {
        match self {
            Self::FaceCnn(network) => network.input_shape(),
            Self::VitTiny(network) => network.input_shape(),
        }
    }
}
