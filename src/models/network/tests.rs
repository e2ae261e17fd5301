use burn::tensor::Device;

use super::*;
use crate::models::fixtures::narrow_blueprint;
use crate::models::{ModelConfig, Victim};
use crate::preprocessing::{Crop, Interpolation};

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().expect("f32")
}

/// Two pictures without symmetry.
fn pictures(side: usize) -> Tensor<4> {
    let pixel = |i: usize| (0.5 + 0.5 * (0.37 * i as f64 + 0.0001 * (i * i) as f64).sin()) as f32;
    let pixels: Vec<f32> = (0..2 * 3 * side * side).map(pixel).collect();
    Tensor::from_data(TensorData::new(pixels, [2, 3, side, side]), &Device::default())
}

#[test]
fn blue_first_is_red_first_on_pictures_with_red_and_blue_exchanged() {
    for architecture in Architecture::ALL {
        let side = architecture.sides().0.max(32);
        // The mean is that of the channels as they come, so it is turned around with them.
        let network = |mean: [f32; 3], channels| {
            let blueprint = narrow_blueprint(architecture, 3, side, mean);
            blueprint.build(Seed::new(5), &Device::default()).with_channels(channels).valid()
        };
        let red = network([0.5, 0.4, 0.3], Channels::Rgb);
        let blue = network([0.3, 0.4, 0.5], Channels::Bgr);
        let images = pictures(side);
        let turned = images.clone().flip([1]);
        let expected = numbers(red.forward(images.clone()));
        assert_eq!(numbers(blue.forward(turned.clone())), expected, "{architecture}");
        assert_ne!(numbers(blue.forward(images.clone())), expected, "{architecture}");
        // The form that is attacked.
        let ask = |network: &Network, images| {
            Victim::new(network).input_gradient(images, |logits| logits.slice([0..2, 0..1]).squeeze_dim(1))
        };
        let (red, blue) = (ask(&red, images), ask(&blue, turned));
        let largest = |values: &[f32]| values.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        let close = |a: Vec<f32>, b: Vec<f32>| {
            let apart: Vec<f32> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
            assert!(largest(&apart) <= 1e-5 * largest(&b), "{architecture}: {}", largest(&apart));
        };
        close(numbers(red.logits), numbers(blue.logits));
        close(numbers(red.gradient), numbers(blue.gradient.flip([1])));
    }
}

#[test]
fn the_order_of_a_configuration_reaches_the_network() {
    let logits = |channels, images| {
        let preprocessing = Preprocessing { side: 16, channels, ..Preprocessing::default() };
        let classes = vec!["anna".to_owned(), "ben".to_owned()];
        let config = ModelConfig::new(Architecture::FaceCnn, classes, preprocessing);
        numbers(config.build(Seed::new(1), &Device::default()).valid().forward(images))
    };
    let images = pictures(16);
    let expected = logits(Channels::Rgb, images.clone());
    assert_eq!(logits(Channels::Bgr, images.clone().flip([1])), expected);
    assert_ne!(logits(Channels::Bgr, images), expected);
}

#[test]
fn each_family_has_the_preprocessing_of_its_published_weights() {
    use Architecture as A;
    let (centre, bicubic) = (|share| Crop::Centre { share }, Interpolation::Bicubic);
    let usual = |side, mean, std| Preprocessing { side, mean, std, ..Preprocessing::default() };
    let own = |side| usual(side, [0.5; 3], [0.25; 3]);
    // RobustBench: pixels in [0, 1] as they are.
    let robust_bench = || usual(32, [0.0; 3], [1.0; 3]);
    // Resize(256), CenterCrop(224), Normalize of torchvision's weights.
    let imagenet = Preprocessing {
        crop: centre(224.0 / 256.0),
        ..usual(224, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    };
    // timm.get_pretrained_cfg("vit_tiny_patch16_224.augreg_in21k_ft_in1k")
    let timm = Preprocessing { crop: centre(0.9), interpolation: bicubic, ..usual(224, [0.5; 3], [0.5; 3]) };
    // vgg_face_torch of the authors: mean of blue, green, red 93.5940, 104.7624, 129.1863, white 255.
    let vgg_face = Preprocessing {
        channels: Channels::Bgr,
        range: 255.0,
        ..usual(224, [129.1863, 104.7624, 93.594], [1.0; 3])
    };
    // dlib, input_rgb_image_sized<150>.
    let dlib = Preprocessing { range: 255.0, ..usual(150, [122.782, 117.001, 104.298], [256.0; 3]) };
    for architecture in Architecture::ALL {
        let expected = match architecture {
            A::FaceCnn => own(64),
            A::Vgg16 => own(112),
            A::FaceNet => dlib.clone(),
            A::Vgg11Face | A::Vgg13Face | A::Vgg16Face => vgg_face.clone(),
            A::VitTiny | A::VitSmall | A::VitBase => timm.clone(),
            A::Vgg11Torchvision
            | A::Vgg13Torchvision
            | A::Vgg16Torchvision
            | A::Resnet18Imagenet
            | A::Resnet34Imagenet
            | A::Resnet50Imagenet => imagenet.clone(),
            A::PreActResnet18
            | A::Resnet18Cifar
            | A::Resnet34Cifar
            | A::Resnet50Cifar
            | A::WideResnet28x10
            | A::WideResnet34x10 => robust_bench(),
        };
        let found = architecture.usual_preprocessing();
        assert_eq!(found, expected, "{architecture}");
        assert_eq!(found.check(), Ok(()));
    }
}

#[test]
fn the_last_layer_has_the_inputs_of_the_published_ones() {
    use Architecture as A;
    let inputs = |architecture: A| architecture.head_inputs(architecture.usual_side());
    for (architecture, expected) in [
        (A::Vgg16, 1024),
        (A::Vgg11Torchvision, 4096),
        (A::Vgg16Face, 4096),
        (A::PreActResnet18, 512),
        (A::Resnet34Imagenet, 512),
        (A::Resnet50Cifar, 2048),
        (A::WideResnet34x10, 640),
        (A::VitTiny, 192),
        (A::VitBase, 768),
        (A::FaceNet, 128),
    ] {
        assert_eq!(inputs(architecture), expected, "{architecture}");
    }
    // Its features are not averaged.
    assert_eq!(A::FaceCnn.head_inputs(32) * 4, A::FaceCnn.head_inputs(64));
    assert!(A::FaceCnn.check_side(usize::MAX).expect_err("large").contains("from 16 to 4096"));
    assert_eq!(A::FaceCnn.check_side(4096), Ok(()));
}
