//! Parity with the reference implementation of `AutoAttack` on shared weights: a small convolutional network
//! for Fashion-MNIST, trained adversarially by `scripts/parity/parity.py`. `docs/parity.md` has the whole table;
//! the golden here is its first pictures.

use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::module::{Module, Param};
use burn::tensor::activation::relu;
use burn::tensor::module::conv2d;
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, TensorData};
use serde::{Deserialize, Serialize};

use super::*;
use crate::data::ImageId;
use crate::models::Classifier;

const PIXELS: usize = 28 * 28;

/// Two convolutions of stride 2 and a linear layer.
#[derive(Module, Debug)]
struct Net {
    conv1: Param<Tensor<4>>,
    bias1: Param<Tensor<4>>,
    conv2: Param<Tensor<4>>,
    bias2: Param<Tensor<4>>,
    head: Param<Tensor<4>>,
    bias: Param<Tensor<4>>,
}

impl Classifier for Net {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let options = || ConvOptions::new([2, 2], [1, 1], [1, 1], 1);
        let first = relu(conv2d(images, self.conv1.val(), None, options()) + self.bias1.val());
        let second = relu(conv2d(first, self.conv2.val(), None, options()) + self.bias2.val());
        let head = self.head.val().reshape([10, PIXELS]).transpose();
        second.flatten::<2>(1, 3).matmul(head) + self.bias.val().reshape([1, 10])
    }

    fn classes(&self) -> usize {
        10
    }

    fn input_shape(&self) -> [usize; 3] {
        [1, 28, 28]
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn network(folder: &Path) -> Net {
    let bytes = read(&folder.join("weights.bin"));
    let mut values = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().expect("four")));
    let device = Device::default().autodiff();
    let mut next = |count: usize| values.by_ref().take(count).collect::<Vec<f32>>();
    let mut wide = |shape: [usize; 4]| {
        let data = TensorData::new(next(shape.iter().product()), shape);
        Param::from_tensor(Tensor::<4>::from_data(data, &device))
    };
    let (conv1, bias1) = (wide([8, 1, 3, 3]), wide([1, 8, 1, 1]));
    let (conv2, bias2) = (wide([16, 8, 3, 3]), wide([1, 16, 1, 1]));
    // PyTorch's [outputs, inputs].
    let (head, bias) = (wide([10, PIXELS, 1, 1]), wide([1, 10, 1, 1]));
    Net { conv1, bias1, conv2, bias2, head, bias }
}

fn pictures(folder: &Path) -> Batch {
    let bytes = read(&folder.join("images.bin"));
    let rows: Vec<&[u8]> = bytes.chunks_exact(PIXELS + 1).collect();
    let pixels: Vec<f32> =
        rows.iter().flat_map(|row| row[..PIXELS].iter().map(|byte| f32::from(*byte) / 255.0)).collect();
    Batch {
        images: Tensor::from_data(TensorData::new(pixels, [rows.len(), 1, 28, 28]), &Device::default()),
        labels: rows.iter().map(|row| usize::from(row[PIXELS])).collect(),
        ids: (0..rows.len() as u64).map(ImageId).collect(),
        radius_scale: None,
    }
}

/// Which pictures stand after one part, run alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PartRun {
    norm: Norm,
    epsilon: f64,
    part: String,
    stands: Vec<bool>,
    #[serde(default)]
    seconds: f64,
}

#[derive(Serialize, Deserialize)]
struct Runs {
    clean: Vec<bool>,
    parts: Vec<PartRun>,
}

fn runs(path: &Path) -> Runs {
    serde_json::from_slice(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn attack(run: &PartRun) -> Box<dyn Attack> {
    let (norm, epsilon) = (run.norm, run.epsilon.to_string().parse().expect("a magnitude"));
    let restarts = if norm == Norm::L1 { 5 } else { 1 };
    let targets = if norm == Norm::L1 { 5 } else { 9 };
    let config = match run.part.as_str() {
        "apgd-ce" => AttackConfig::Apgd(ApgdConfig { norm, epsilon, restarts, ..ApgdConfig::default() }),
        "apgd-dlr" => AttackConfig::Apgd(ApgdConfig {
            norm,
            epsilon,
            restarts,
            loss: Loss::Dlr,
            ..ApgdConfig::default()
        }),
        "apgd-t" => AttackConfig::ApgdT(ApgdTConfig { norm, epsilon, targets, ..ApgdTConfig::default() }),
        "fab-t" => AttackConfig::FabT(FabConfig { norm, epsilon, ..FabConfig::default() }),
        "square" => AttackConfig::Square(SquareConfig { norm, epsilon, ..SquareConfig::default() }),
        other => panic!("no part {other}"),
    };
    config.build([1, 28, 28]).expect("valid")
}

fn standing(victim: &Victim, images: Tensor<4>, labels: &[usize]) -> Vec<bool> {
    let fallen = Goal::Untargeted.reached_by(victim.logits(images), labels);
    fallen.to_data().iter::<bool>().map(|fallen| !fallen).collect()
}

fn share(stands: &[bool]) -> f64 {
    stands.iter().filter(|stands| **stands).count() as f64 / stands.len() as f64
}

#[test]
#[ignore = "needs the files of scripts/parity/parity.py and some minutes"]
fn every_part_turns_as_many_pictures_as_the_reference() {
    let folder =
        PathBuf::from(std::env::var("SYFAR_PARITY").expect("SYFAR_PARITY is the folder of parity.py"));
    let victim = Victim::new(&network(&folder));
    let pictures = pictures(&folder);
    let reference = runs(&folder.join("reference.json"));
    let clean = standing(&victim, pictures.images.clone(), &pictures.labels);
    assert_eq!(clean, reference.clean, "the weights are not the same");
    let mut found = Runs { clean, parts: Vec::new() };
    for expected in reference.parts {
        let begun = Instant::now();
        let attack = attack(&expected);
        let images = attack.perturb(&victim, &pictures, &Goal::Untargeted, Seed::new(0));
        assert!(attack.admits(pictures.images.clone(), images.clone()).iter().all(|inside| *inside));
        let stands = standing(&victim, images, &pictures.labels);
        let (seconds, both) = (begun.elapsed().as_secs_f64(), [share(&expected.stands), share(&stands)]);
        println!("{:?} {} {}: {both:?} in {seconds:.0} s", expected.norm, expected.epsilon, expected.part);
        found.parts.push(PartRun { stands, seconds, ..expected });
        let json = serde_json::to_vec(&found).expect("JSON");
        std::fs::write(folder.join("syfar.json"), json).expect("written");
    }
}

#[test]
fn the_first_pictures_fall_as_in_the_reference() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/parity");
    let victim = Victim::new(&network(&folder));
    let pictures = pictures(&folder);
    let reference = runs(&folder.join("reference.json"));
    assert_eq!(standing(&victim, pictures.images.clone(), &pictures.labels), reference.clean);
    for expected in reference.parts {
        // 5000 queries are left to the whole comparison.
        if expected.part == "square" {
            continue;
        }
        let images = attack(&expected).perturb(&victim, &pictures, &Goal::Untargeted, Seed::new(0));
        let stands = standing(&victim, images, &pictures.labels);
        let differ =
            stands.iter().zip(&expected.stands).filter(|(found, expected)| found != expected).count();
        assert!(differ <= 1, "{:?} {}: {differ} pictures differ", expected.norm, expected.part);
    }
}
