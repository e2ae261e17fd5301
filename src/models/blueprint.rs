//! From the name of an architecture to its configuration: what is built, and what it costs.

use burn::tensor::Device;

use super::{
    Architecture, FaceCnn, FaceCnnConfig, FaceNet, FaceNetConfig, Network, PreActResNet, PreActResNetConfig,
    ResNet, ResNetConfig, Size, Stem, Vgg, VggConfig, VggHead, Vit, VitConfig, WideResNetConfig,
};
use crate::Seed;

/// The configuration of a network of any known architecture.
#[derive(Clone, Debug, PartialEq)]
pub enum Blueprint {
    /// See [`FaceCnn`].
    FaceCnn(FaceCnnConfig),
    /// See [`Vgg`].
    Vgg(VggConfig),
    /// See [`PreActResNet`].
    PreActResNet(PreActResNetConfig),
    /// See [`Vit`].
    Vit(VitConfig),
    /// See [`ResNet`].
    ResNet(ResNetConfig),
    /// See [`WideResNetConfig`].
    WideResNet(WideResNetConfig),
    /// See [`FaceNet`].
    FaceNet(FaceNetConfig),
}

impl Blueprint {
    /// The configuration of a named architecture for `classes` classes and pictures of a side, one of
    /// [`Architecture::sides`], which are normalised first.
    pub fn new(
        architecture: Architecture,
        classes: usize,
        side: usize,
        mean: [f32; 3],
        std: [f32; 3],
    ) -> Self {
        use Architecture as A;
        let vgg =
            |convs, head| Self::Vgg(VggConfig { mean, std, side, convs, head, ..VggConfig::new(classes) });
        let resnet = |blocks, bottleneck, stem| {
            let new = ResNetConfig::new(classes);
            Self::ResNet(ResNetConfig { mean, std, side, blocks, bottleneck, stem, ..new })
        };
        let wide = |depth, widen| {
            let new = WideResNetConfig::new(classes);
            Self::WideResNet(WideResNetConfig { mean, std, side, depth, widen, ..new })
        };
        let vit = |new| Self::Vit(VitConfig { mean, std, side, ..new });
        match architecture {
            A::FaceCnn => Self::FaceCnn(FaceCnnConfig { classes, mean, std, side }),
            A::Vgg16 => vgg(VggConfig::DEPTH_16, VggHead::Small),
            A::Vgg11Torchvision => vgg(VggConfig::DEPTH_11, VggHead::Torchvision),
            A::Vgg13Torchvision => vgg(VggConfig::DEPTH_13, VggHead::Torchvision),
            A::Vgg16Torchvision => vgg(VggConfig::DEPTH_16, VggHead::Torchvision),
            A::Vgg11Face => vgg(VggConfig::DEPTH_11, VggHead::Face),
            A::Vgg13Face => vgg(VggConfig::DEPTH_13, VggHead::Face),
            A::Vgg16Face => vgg(VggConfig::DEPTH_16, VggHead::Face),
            A::PreActResnet18 => {
                let new = PreActResNetConfig::new(classes);
                Self::PreActResNet(PreActResNetConfig { mean, std, side, ..new })
            }
            A::Resnet18Imagenet => resnet(ResNetConfig::DEPTH_18, false, Stem::Imagenet),
            A::Resnet34Imagenet => resnet(ResNetConfig::DEPTH_34, false, Stem::Imagenet),
            A::Resnet50Imagenet => resnet(ResNetConfig::DEPTH_34, true, Stem::Imagenet),
            A::Resnet18Cifar => resnet(ResNetConfig::DEPTH_18, false, Stem::Cifar),
            A::Resnet34Cifar => resnet(ResNetConfig::DEPTH_34, false, Stem::Cifar),
            A::Resnet50Cifar => resnet(ResNetConfig::DEPTH_34, true, Stem::Cifar),
            A::FaceNet => Self::FaceNet(FaceNetConfig { mean, std, side, ..FaceNetConfig::new(classes) }),
            A::WideResnet28x10 => wide(28, 10),
            A::WideResnet34x10 => wide(34, 10),
            A::VitTiny => vit(VitConfig::tiny(classes)),
            A::VitSmall => vit(VitConfig::small(classes)),
            A::VitBase => vit(VitConfig::base(classes)),
        }
    }

    /// The network with weights drawn from a seed.
    pub fn build(&self, seed: Seed, device: &Device) -> Network {
        match self {
            Self::FaceCnn(config) => Network::FaceCnn(FaceCnn::new(config, seed, device)),
            Self::Vgg(config) => Network::Vgg(Vgg::new(config, seed, device)),
            Self::PreActResNet(config) => Network::PreActResNet(PreActResNet::new(config, seed, device)),
            Self::Vit(config) => Network::Vit(Vit::new(config, seed, device)),
            Self::ResNet(config) => Network::ResNet(ResNet::new(config, seed, device)),
            Self::WideResNet(config) => Network::WideResNet(config.build(seed, device)),
            Self::FaceNet(config) => Network::FaceNet(FaceNet::new(config, seed, device)),
        }
    }

    /// Parameters and the cost of one picture.
    pub fn size(&self) -> Size {
        match self {
            Self::FaceCnn(config) => config.size(),
            Self::Vgg(config) => config.size(),
            Self::PreActResNet(config) => config.size(),
            Self::Vit(config) => config.size(),
            Self::ResNet(config) => config.size(),
            Self::WideResNet(config) => config.size(),
            Self::FaceNet(config) => config.size(),
        }
    }
}
