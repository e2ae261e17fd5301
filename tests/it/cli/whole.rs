//! The main way through the program.

use std::fs;
use std::path::Path;

use super::{SMALL, faces, run, succeed, text, trained};

#[test]
fn help_names_every_command_and_no_command_is_a_usage_error() {
    let help = succeed(&["--help"]);
    for command in
        ["demo", "data", "train", "attack", "audit", "merge", "doctor", "experiment", "report", "show"]
    {
        assert!(help.contains(command), "{help}");
    }
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["trian"]).status.code(), Some(2));
}

#[test]
fn a_training_leaves_a_model_a_log_and_its_configuration() {
    let run = trained();
    for file in [
        "config.toml",
        "events.jsonl",
        "model/model.safetensors",
        "model/config.json",
        "checkpoints/a/state.json",
    ] {
        assert!(run.join(file).is_file(), "{file} is missing");
    }
    let log = fs::read_to_string(run.join("events.jsonl")).expect("log");
    let kinds: Vec<String> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["kind"].to_string())
        // How many of these there are depends on the clock.
        .filter(|kind| kind != "\"step\"" && kind != "\"validation\"")
        .collect();
    assert_eq!(kinds, ["\"train_start\"", "\"epoch\"", "\"epoch\"", "\"train_end\""]);
    let first = log.lines().next().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let commit = first.expect("a line")["data"]["git_commit"].as_str().expect("text").to_owned();
    let digits = commit.trim_end_matches("-modified");
    assert!(commit == "unknown" || digits.len() == 40, "{commit}");
    let config = fs::read_to_string(run.join("config.toml")).expect("configuration");
    assert!(config.contains("kind = \"sy-far\"") && config.contains("data_hash"), "{config}");
}

#[test]
fn an_audit_writes_rows_matrices_and_figures_and_can_be_shown() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("audit");
    let model = trained().join("model");
    let words =
        ["audit", "--model", text(&model), "--data", faces(), "--out", text(&out), "--set", "attack.steps=3"];
    let printed = succeed(&words);
    assert!(printed.contains("robust accuracy") && printed.contains("gradient evaluations"), "{printed}");
    for file in [
        "predictions.csv.gz",
        "confusion_clean.csv",
        "confusion_eyeglasses.csv",
        "success_eyeglasses.csv",
        "pairs.csv",
        "classes.csv",
        "groups.csv",
        "report.html",
        "metrics.json",
        "checks.json",
    ] {
        assert!(out.join(file).is_file(), "{file} is missing");
    }
    let json = fs::read_to_string(out.join("metrics.json")).expect("figures");
    let figures: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    // A picture of each of the worst pairs is kept, by its name and as it went in and came out, and is on the page.
    let read = |file: &str| fs::read_to_string(out.join(file)).expect("a file");
    let kept: serde_json::Value = serde_json::from_str(&read("examples/examples.json")).expect("JSON");
    let kept = kept["examples"].as_array().expect("a list");
    assert!((1..=6).contains(&kept.len()), "{kept:?}");
    for example in kept {
        let number = example["number"].as_u64().expect("a number");
        let picture =
            |kind: &str| image::open(out.join(format!("examples/{number}-{kind}.png"))).expect("a picture");
        let (clean, attacked) = (picture("clean").to_rgb8(), picture("attacked").to_rgb8());
        assert_eq!((clean.dimensions(), attacked.dimensions()), ((32, 32), (32, 32)));
        assert!(clean != attacked, "{example}");
        let name = example["image"].as_str().expect("a name");
        assert!(Path::new(faces()).join(name).is_file(), "{name}");
        assert_ne!(example["from"], example["to"]);
    }
    let page = read("report.html");
    assert_eq!(page.matches("<img ").count(), 3 * kept.len(), "clean, attacked and the change");
    // The training of the model is found beside it, and what was run is on the page.
    assert!(page.contains("Accuracy in training") && page.contains("syfar audit --model"), "{page}");
    // 4 people with 2 test pictures each, every other person as target.
    assert_eq!(figures["clean"]["images"], 8);
    assert_eq!(figures["targeted"]["attacks"], 8 * 3);
    assert_eq!(figures["targeted"]["pairs_tried"], 12);
    let shown = succeed(&["show", text(&out), text(&out), "--markdown"]);
    assert!(shown.contains('|') && shown.contains("robust accuracy"), "{shown}");
}

#[test]
fn the_same_seed_gives_the_same_model_and_another_seed_another() {
    let place = tempfile::tempdir().expect("temporary directory");
    let weights = |name: &str, seed: &str| {
        let out = place.path().join(name);
        succeed(&super::train(text(&out), &["--seed", seed]));
        fs::read(out.join("model/model.safetensors")).expect("weights")
    };
    let first = weights("a", "0");
    assert!(first == weights("b", "0"), "two runs of one seed differ");
    assert!(first != weights("c", "1"), "two seeds give the same weights");
}

#[test]
fn print_config_shows_every_key_and_can_be_read_again() {
    let place = tempfile::tempdir().expect("temporary directory");
    let printed = succeed(&["train", "--print-config"]);
    let file = place.path().join("all.toml");
    fs::write(&file, &printed).expect("written");
    assert_eq!(printed, succeed(&["train", "--print-config", "--config", text(&file)]));
    let audit = succeed(&["audit", "--print-config", "--attack", "pgd", "--set", "attack.steps=7"]);
    assert!(audit.contains("kind = \"pgd\"") && audit.contains("steps = 7"), "{audit}");
}

#[test]
fn a_head_for_other_people_is_trained_on_an_old_body() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (others, out) = (place.path().join("others"), place.path().join("out"));
    succeed(&["data", "synthetic-faces", "--people", "3", "--images", "10", "--out", text(&others)]);
    let from = format!("model.from={}", text(&trained().join("model")));
    let fixed = ["train", "--data", text(&others), "--out", text(&out), "--set", &from];
    let more = [
        "--set",
        "model.new_head=true",
        "--set",
        "train.trainable=head",
        "--set",
        "train.weight_perturbation={}",
        "--set",
        "train.averaging.decay=0.9",
    ];
    succeed(&[&fixed[..], &SMALL, &more].concat());
    let config = fs::read_to_string(out.join("model/config.json")).expect("the model");
    assert_eq!(config.matches("\"p00").count(), 3, "{config}");
    let run = fs::read_to_string(out.join("config.toml")).expect("the configuration");
    assert!(run.contains("gamma = 0.01") && run.contains("decay = 0.9"), "{run}");
}
