//! Every architecture against PyTorch, on narrow networks whose weights are a formula.
//!
//! `scripts/parity/models.py goldens assets/parity/models` made the values with PyTorch 2.13, torchvision 0.28 and timm
//! 1.0.31.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;

use super::weights::{ImportOptions, KeyMap, WeightFile, Writer, import};
use super::{
    Classifier, PreActResNet, PreActResNetConfig, ResNet, ResNetConfig, Stem, Vgg, VggConfig, VggHead,
    Victim, Vit, VitConfig, WideResNetConfig, wide_resnet,
};
use crate::Seed;

pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/parity/models")
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

/// Values of tensor `index` in the order of names, as `by_formula` of the script makes them.
pub(super) fn by_formula(name: &str, shape: &[usize], index: usize) -> Vec<f32> {
    let count = shape.iter().product();
    let value = |i: usize| {
        let u = 43758.5453 * (12.9898 * i as f64 + 78.233 * index as f64).sin();
        let u = 2.0 * (u - u.floor()) - 1.0;
        if name.ends_with("running_var") {
            1.0 + 0.4 * u
        } else if shape.len() > 1 && shape[0] > 1 {
            u * (4.8 / shape[1..].iter().product::<usize>() as f64).sqrt()
        } else if shape.len() == 1 && name.ends_with("weight") {
            1.0 + 0.5 * u
        } else {
            0.2 * u
        }
    };
    (0..count).map(|i| value(i) as f32).collect()
}

/// A safetensors file with the tensors of a case.
fn file(case: &Value, folder: &Path) -> WeightFile {
    let tensors = case["tensors"].as_object().expect("tensors");
    let shape = |shape: &Value| numbers(shape).into_iter().map(|side| side as usize).collect();
    let shapes: BTreeMap<String, Vec<usize>> =
        tensors.iter().map(|(name, sides)| (name.clone(), shape(sides))).collect();
    let path = folder.join("weights.safetensors");
    let mut writer = Writer::new(std::fs::File::create(&path).expect("made"), &shapes).expect("written");
    for (index, (name, shape)) in shapes.iter().enumerate() {
        assert_eq!(writer.next_name().as_ref(), Some(name));
        writer.write(&by_formula(name, shape, index)).expect("written");
    }
    writer.finish().expect("all written").flush().expect("written");
    WeightFile::open(&path).expect("opened")
}

/// Imports the case's weights into a network and compares with PyTorch's answers.
fn compare<M: Module + Classifier + 'static>(name: &str, case: &Value, network: M, maps: &[KeyMap]) {
    let place = tempfile::tempdir().expect("temporary directory");
    let file = file(case, place.path());
    let (network, _) = import(network, maps, &file, &ImportOptions::default()).expect(name);
    let side = network.input_shape()[1];
    let pixel = |i: usize| (0.5 + 0.5 * (0.37 * i as f64 + 0.0001 * (i * i) as f64).sin()) as f32;
    let pixels: Vec<f32> = (0..2 * 3 * side * side).map(pixel).collect();
    let images = Tensor::from_data(TensorData::new(pixels, [2, 3, side, side]), &Device::default());
    let plain = network.valid().forward(images.clone()).try_into_vec_as::<f32>().expect("f32");
    let found = Victim::new(&network).input_gradient(images, |logits| {
        let least = logits.clone().argmin(1);
        -log_softmax(logits, 1).gather(1, least).squeeze_dim::<1>(1)
    });
    let expected = numbers(&case["logits"]);
    let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    for logits in [plain, found.logits.try_into_vec_as::<f32>().expect("f32")] {
        let gap = logits.iter().zip(&expected).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(gap < 1e-4 * largest, "{name}: {logits:?} {expected:?}");
    }
    let gradient = found.gradient.try_into_vec_as::<f32>().expect("f32");
    let norm = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    let expected_norm = case["gradient_norm"].as_f64().expect("a number");
    assert!(
        (norm(&gradient) / expected_norm - 1.0).abs() < 1e-3,
        "{name}: {} {expected_norm}",
        norm(&gradient)
    );
    let step = case["gradient_step"].as_u64().expect("a number") as usize;
    let sample: Vec<f32> = gradient.into_iter().step_by(step).collect();
    let expected = numbers(&case["gradient"]);
    assert_eq!(sample.len(), expected.len());
    let apart: Vec<f32> = sample.iter().zip(&expected).map(|(a, b)| a - b).collect();
    assert!(norm(&apart) < 1e-3 * norm(&expected), "{name}: {} of {}", norm(&apart), norm(&expected));
}

#[test]
fn logits_and_input_gradients_are_those_of_pytorch() {
    let cases: Value =
        serde_json::from_slice(&std::fs::read(folder().join("models.json")).expect("read")).expect("json");
    let device = Device::default();
    let mut compared = 0;
    for (name, case) in cases.as_object().expect("cases") {
        let Some(side) = case["side"].as_u64().map(|side| side as usize) else { continue };
        let [mean, std] =
            ["mean", "std"].map(|key| <[f32; 3]>::try_from(numbers(&case[key])).expect("three"));
        let seed = Seed::new(7);
        let vgg = |convs, head| {
            let config = VggConfig { mean, std, side, convs, head, width: 1, ..VggConfig::new(5) };
            let network = Vgg::new(&config, seed, &device);
            let maps = network.key_maps();
            compare(name, case, network, &maps);
        };
        let resnet = |blocks, bottleneck, stem| {
            let config =
                ResNetConfig { mean, std, side, blocks, bottleneck, stem, width: 2, ..ResNetConfig::new(5) };
            let network = ResNet::new(&config, seed, &device);
            let maps = network.key_maps();
            compare(name, case, network, &maps);
        };
        let wide = |depth| {
            let config = WideResNetConfig { mean, std, side, depth, widen: 1, ..WideResNetConfig::new(5) };
            let network = config.build(seed, &device);
            let maps = wide_resnet::key_maps(&network);
            compare(name, case, network, &maps);
        };
        let vit = |heads| {
            let config =
                VitConfig { mean, std, side, heads, width: 8 * heads, depth: 2, ..VitConfig::tiny(5) };
            let network = Vit::new(&config, seed, &device);
            let maps = network.key_maps();
            compare(name, case, network, &maps);
        };
        match name.as_str() {
            "vgg11_torchvision" => vgg(VggConfig::DEPTH_11, VggHead::Torchvision),
            "vgg13_torchvision" => vgg(VggConfig::DEPTH_13, VggHead::Torchvision),
            "vgg16_torchvision" => vgg(VggConfig::DEPTH_16, VggHead::Torchvision),
            "vgg11_face" => vgg(VggConfig::DEPTH_11, VggHead::Face),
            "vgg13_face" => vgg(VggConfig::DEPTH_13, VggHead::Face),
            "vgg16_face" => vgg(VggConfig::DEPTH_16, VggHead::Face),
            "resnet18_imagenet" => resnet(ResNetConfig::DEPTH_18, false, Stem::Imagenet),
            "resnet34_imagenet" => resnet(ResNetConfig::DEPTH_34, false, Stem::Imagenet),
            "resnet50_imagenet" => resnet(ResNetConfig::DEPTH_34, true, Stem::Imagenet),
            "resnet18_cifar" => resnet(ResNetConfig::DEPTH_18, false, Stem::Cifar),
            "resnet34_cifar" => resnet(ResNetConfig::DEPTH_34, false, Stem::Cifar),
            "resnet50_cifar" => resnet(ResNetConfig::DEPTH_34, true, Stem::Cifar),
            "preact_resnet18" => {
                let new = PreActResNetConfig::new(5);
                let config = PreActResNetConfig { mean, std, side, width: 2, ..new };
                let network = PreActResNet::new(&config, seed, &device);
                let maps = network.key_maps();
                compare(name, case, network, &maps);
            }
            "wide_resnet28_10" => wide(10),
            "wide_resnet34_10" => wide(16),
            "vit_tiny" => vit(3),
            "vit_small" => vit(6),
            "vit_base" => vit(12),
            other => panic!("no network for {other}"),
        }
        compared += 1;
    }
    assert_eq!(compared, 18);
}
