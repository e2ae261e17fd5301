//! Every mistake gives one paragraph that says what was found, what was expected and what to do.

use std::fs;
use std::path::Path;

use super::{faces, fail, succeed, text, train, trained};

fn audit<'a>(model: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["audit", "--model", text(model), "--data", faces(), "--out", text(out)][..], more].concat()
}

#[test]
fn mistakes_in_the_configuration() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    let message = |code, set: &str| fail(code, &train(text(&out), &["--set", set]));
    let unknown = message(2, "train.epoch=3");
    assert!(unknown.contains("`epoch`") && unknown.contains("Did you mean `epochs`"), "{unknown}");
    let unknown = message(2, "objective.symetry_weight=3");
    assert!(unknown.contains("Did you mean `symmetry_weight`"), "{unknown}");
    let wrong_type = message(2, "train.epochs=many");
    assert!(wrong_type.contains("train.epochs") && wrong_type.contains("many"), "{wrong_type}");
    let kind = message(2, "objective.kind=syfar");
    assert!(kind.contains("sy-far"), "{kind}");
    let zero = message(2, "train.batch_size=1");
    assert!(zero.contains("train.batch_size") && zero.contains("at least 2"), "{zero}");
    let weight = message(2, "objective.symmetry_weight=-1");
    assert!(weight.contains("symmetry_weight") && weight.contains("0 or more"), "{weight}");
    assert!(!out.exists(), "a run was begun");
    let file = place.path().join("broken.toml");
    fs::write(&file, "seed = \n").expect("written");
    let syntax = fail(2, &train(text(&out), &["--config", text(&file)]));
    assert!(syntax.contains("broken.toml"), "{syntax}");
    let missing = fail(2, &train(text(&out), &["--config", "/nowhere/a.toml"]));
    assert!(missing.contains("/nowhere/a.toml"), "{missing}");
}

#[test]
fn budgets_above_one_are_asked_for_in_grey_levels() {
    let place = tempfile::tempdir().expect("temporary directory");
    let model = trained().join("model");
    let out = place.path().join("out");
    let message = fail(2, &audit(&model, &out, &["--attack", "pgd", "--set", "attack.epsilon=8"]));
    assert!(message.contains("epsilon") && message.contains("8/255"), "{message}");
}

#[test]
fn missing_and_mismatched_directories() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    let no_data = fail(1, &["train", "--data", "/nowhere/faces", "--out", text(&out)]);
    assert!(no_data.contains("/nowhere/faces") && no_data.contains("train/"), "{no_data}");
    assert!(fail(2, &["train", "--out", text(&out)]).contains("--data"));
    let no_model = fail(1, &audit(Path::new("/nowhere/model"), &out, &[]));
    assert!(no_model.contains("/nowhere/model"), "{no_model}");
    let others = place.path().join("others");
    succeed(&["data", "synthetic-faces", "--people", "3", "--images", "10", "--out", text(&others)]);
    let model = trained().join("model");
    let classes = fail(1, &["audit", "--model", text(&model), "--data", text(&others), "--out", text(&out)]);
    assert!(classes.contains("4 classes") && classes.contains('3'), "{classes}");
    let from = format!("model.from={}", text(&model));
    let head = fail(1, &["train", "--data", text(&others), "--out", text(&out), "--set", &from]);
    assert!(head.contains("4 classes") && head.contains("model.new_head=true"), "{head}");
    let nothing = fail(2, &train(text(&out), &["--set", "model.new_head=true"]));
    assert!(nothing.contains("model.from"), "{nothing}");
    fs::write(others.join("train/p000/broken.png"), b"no picture").expect("written");
    let picture = fail(1, &["train", "--data", text(&others), "--out", text(&out)]);
    assert!(picture.contains("broken.png"), "{picture}");
}

#[test]
fn masks_that_do_not_fit() {
    let place = tempfile::tempdir().expect("temporary directory");
    let model = trained().join("model");
    let out = place.path().join("out");
    let refused = |width, shade| {
        let mask = place.path().join("mask.png");
        image::GrayImage::from_pixel(width, 32, image::Luma([shade])).save(&mask).expect("written");
        let set = format!("attack.mask={}", text(&mask));
        fail(2, &audit(&model, &out, &["--attack", "eyeglasses", "--set", &set]))
    };
    let size = refused(48, 255);
    assert!(size.contains("mask.png") && size.contains("48") && size.contains("32"), "{size}");
    let black = refused(32, 0);
    assert!(black.contains("mask.png") && black.contains("brightness"), "{black}");
}

#[test]
fn weights_that_are_not_numbers() {
    let place = tempfile::tempdir().expect("temporary directory");
    let model = place.path().join("model");
    fs::create_dir(&model).expect("made");
    fs::copy(trained().join("model/config.json"), model.join("config.json")).expect("copied");
    let mut bytes = fs::read(trained().join("model/model.safetensors")).expect("weights");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(model.join("model.safetensors"), &bytes).expect("written");
    let message = fail(1, &audit(&model, &place.path().join("out"), &[]));
    assert!(message.contains("model.safetensors") && message.contains("NaN"), "{message}");
}

#[test]
fn a_loss_that_is_not_a_number_stops_the_training_and_keeps_the_model() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    let set = "train.optimizer={kind='sgd', learning_rate=1e30, momentum=0.0, weight_decay=0.0}";
    let message = fail(1, &train(text(&out), &["--set", set, "--set", "train.clip_norm=1e30"]));
    assert!(message.contains("diverged") && message.contains("not finite"), "{message}");
}

/// A limit on the size of files stands in for a full disk: writing fails in the same places.
#[cfg(unix)]
#[test]
fn a_full_disk_is_said_and_what_was_there_stays() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    let limited = |arguments: &[&str]| {
        std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_syfar")])
            .args(arguments)
            .output()
            .expect("sh exists")
    };
    let output = limited(&train(text(&out), &[]));
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("model") && message.contains("full") && !message.contains("panicked"),
        "{message}"
    );
    // With room again the run goes on.
    succeed(&train(text(&out), &["--resume"]));
    assert!(out.join("model/model.safetensors").is_file());
}
