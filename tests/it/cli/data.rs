//! Folders of classes, other framings and models without a head through the binary.

use std::fs;

use super::{SMALL, faces, fail, succeed, text, trained};
use burn::tensor::Device;
use syfar::Seed;
use syfar::models::{Architecture, Model, ModelConfig, Preprocessing};

#[test]
fn a_folder_of_classes_is_divided_and_the_run_keeps_how() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (set, run) = (place.path().join("set"), place.path().join("run"));
    let flat = format!("{}/train", faces());
    let words = ["data", "split", "--from", &flat, "--max-classes", "3", "--seed", "5", "--out", text(&set)];
    let said = succeed(&words);
    assert!(said.contains("3 classes (1 left out)"), "{said}");
    assert!(fail(1, &words).contains("exists and is not empty"));
    let small = [&["train", "--data", text(&set), "--out", text(&run)][..], &SMALL].concat();
    succeed(&[&small[..], &["--set", "train.epochs=1"]].concat());
    let kept = fs::read_to_string(run.join("splits.csv")).expect("kept");
    assert_eq!(kept, fs::read_to_string(set.join("splits.csv")).expect("written"));
    assert!(
        fail(1, &["data", "split", "--from", &flat, "--min-images", "2", "--out", "x"])
            .contains("min-images")
    );
}

#[test]
fn a_model_can_be_trained_on_another_crop_and_its_directory_says_so() {
    let place = tempfile::tempdir().expect("temporary directory");
    let run = place.path().join("run");
    let from = format!("model.from={}", trained().join("model").display());
    let words = ["train", "--data", faces(), "--out", text(&run), "--set", &from, "--set"];
    let crop = |crop| [&words[..], &[crop], &SMALL[2..], &["--set", "train.epochs=1"]].concat();
    let outside = "model.crop={kind='box', width=5000, height=20}";
    assert!(fail(1, &crop(outside)).contains("preprocessing.crop asks for 5000x20"));
    succeed(&crop("model.crop={kind='centre', share=0.8}"));
    let config = fs::read_to_string(run.join("model/config.json")).expect("written");
    assert!(config.contains(r#""kind": "centre""#) && config.contains("0.8"), "{config}");
}

#[test]
fn an_embedding_is_no_classifier() {
    let place = tempfile::tempdir().expect("temporary directory");
    let config = ModelConfig::new(
        Architecture::FaceNet,
        Vec::new(),
        Preprocessing { side: 150, ..Preprocessing::default() },
    );
    let network = config.build(Seed::new(0), &Device::default());
    Model { config, network }.save(place.path()).expect("saved");
    let out = place.path().join("out");
    let words = ["audit", "--model", text(place.path()), "--data", faces(), "--out", text(&out)];
    let message = fail(1, &words);
    assert!(message.contains("gives embeddings") && message.contains("model.new_head=true"), "{message}");
}

#[test]
fn presets_and_pickles_are_understood_as_they_are_meant() {
    let printed =
        succeed(&["train", "--print-config", "--set", "model.preprocessing={preset='vgg-face', side=96}"]);
    for line in ["side = 96", "channels = \"bgr\"", "range = 255.0"] {
        assert!(printed.contains(line), "{printed}");
    }
    let place = tempfile::tempdir().expect("temporary directory");
    let folder = place.path().join("cifar-10-batches-py");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("data_batch_1"), "\u{80}").expect("written");
    let out = place.path().join("out");
    let message = fail(1, &["data", "cifar10", "--from", text(&folder), "--out", text(&out)]);
    assert!(message.contains("a pickle, which may hold programs"), "{message}");
}
