//! What is read of a run directory, file by file.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::{card, read};
use crate::audit::{CLEAN, PredictionLog, Row};
use crate::report::CARD_MARK;
use crate::run::EventLog;

/// A run directory with a configuration and a log.
fn run(place: &Path, config: &str, events: &[(&str, serde_json::Value)]) -> PathBuf {
    let run = place.join("run");
    fs::create_dir_all(&run).expect("a directory");
    fs::write(run.join("config.toml"), config).expect("written");
    log(&run.join("events.jsonl"), events);
    run
}

fn log(path: &Path, events: &[(&str, serde_json::Value)]) {
    let mut log = EventLog::open(path).expect("a log");
    for (kind, data) in events {
        log.append(kind, data).expect("written");
    }
}

fn row(image: usize, attack: &str, prediction: usize) -> Row {
    Row::plain(&format!("{image}.png"), 0, attack, None, prediction)
}

/// An audit in the middle: four clean pictures, two of them attacked, and a point of a curve that stands before the attack in the
/// order of names.
fn begun(place: &Path) -> PathBuf {
    let start = |attack: &str| ("audit_start", json!({"attack": attack, "classes": ["a", "b"]}));
    let run = run(place, "seed = 0\n", &[start("old"), start("pgd")]);
    let mut rows = PredictionLog::open(&run.join("predictions.csv.gz")).expect("a file");
    let clean: Vec<Row> = (0..4).map(|image| row(image, CLEAN, 0)).collect();
    rows.append(&clean).expect("written");
    rows.append(&[row(0, "a point", 1), row(1, "a point", 1)]).expect("written");
    rows.append(&[row(0, "pgd", 0), row(1, "pgd", 1)]).expect("written");
    run
}

#[test]
fn an_unfinished_audit_has_the_figures_of_its_own_attack_so_far_and_no_card() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let run = begun(place.path());
    let found = read::source(&run).expect("a run");
    let metrics = found.metrics.as_ref().expect("rows");
    assert_eq!((found.unfinished, &metrics["attack"]), (true, &json!("pgd")));
    assert_eq!(metrics["untargeted"]["robustness"]["micro_accuracy"]["value"], json!(0.5));
    assert_eq!(metrics["targeted"], json!(null));
    assert_eq!(found.counts.untargeted.as_ref().map(|counts| counts.row(0).to_vec()), Some(vec![1, 1]));
    let note = found.notes.join(" ");
    for part in ["not finished", "of the 4 clean pictures", "groups", "targeted", "--resume"] {
        assert!(note.contains(part), "{part}: {note}");
    }
    let compared = read::compared(&run).expect("a run");
    assert_eq!(
        (&compared.metrics, &compared.notes, compared.unfinished),
        (&found.metrics, &found.notes, true)
    );
    assert!(compared.counts.clean.is_none() && compared.config.is_empty(), "what a comparison does not need");
    let refused = card::write(&run, &found).expect_err("not finished");
    assert!(refused.to_string().contains("no finished audit"), "{refused}");
}

#[test]
fn the_attack_of_an_older_log_is_the_first_by_name() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let run = begun(place.path());
    log(&run.join("events.jsonl"), &[("audit_start", json!({"classes": ["a", "b"]}))]);
    assert_eq!(read::source(&run).expect("a run").metrics.expect("rows")["attack"], json!("a point"));
}

#[test]
fn too_many_classes_or_pictures_are_a_note() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let many: Vec<String> = (0..=20_000).map(|class| class.to_string()).collect();
    let run = run(place.path(), "", &[("audit_start", json!({"classes": many, "attack": "pgd"}))]);
    let write = |file: &str, content: &str| fs::write(run.join(file), content).expect("written");
    let told = |part: &str| {
        let found = read::source(&run).expect("a run");
        assert!(found.notes.iter().any(|note| note.contains(part)), "{part}: {:?}", found.notes);
        found
    };
    assert!(told("The log names 20001 classes, expected at most 20000").metrics.is_none());
    write("metrics.json", &json!({"classes": many}).to_string());
    assert!(told("metrics.json names 20001 classes, expected at most 20000").metrics.is_none());
    let metrics = json!({"classes": ["a", "b"], "attack": "pgd", "targeted": {}, "untargeted": {}});
    write("metrics.json", &metrics.to_string());
    // 2^40 is the most, so the second file has one too many.
    write("confusion_clean.csv", "true\\predicted,a,b\na,1099511627775,1\nb,0,0\n");
    write("confusion_pgd.csv", "true\\predicted,a,b\na,1099511627775,1\nb,0,1\n");
    write(
        "pairs.csv",
        "class_i,class_j,success_ij,n_ij,success_ji,n_ji\na,b,0.5,18446744073709551615,0.5,2\n",
    );
    let found = told("confusion_pgd.csv: its counts are 1099511627777 and more together");
    assert!(found.counts.untargeted.is_none());
    assert_eq!(found.counts.clean.map(|counts| counts.total()), Some(1 << 40));
    assert!(told("pairs.csv: in the column n_ij: its counts are").counts.targeted.is_none());
}

#[test]
fn the_training_of_the_model_and_the_origin_of_the_run_are_found() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let train = place.path().join("train");
    fs::create_dir_all(train.join("model")).expect("a directory");
    let epoch = |epoch: u64, accuracy: f64| {
        let validation = json!({"clean_accuracy": accuracy, "robust_accuracy": null});
        ("epoch", json!({"epoch": epoch, "terms": [["clean", 0.5]], "validation": validation}))
    };
    // The second epoch was made again after a stop.
    log(&train.join("events.jsonl"), &[epoch(1, 0.25), epoch(2, 0.5), epoch(2, 0.75)]);
    let config = format!(
        "model = {:?}\n[provenance]\nversion = \"0\"\n\"model.safetensors\" = \"12ab\"\n",
        train.join("model").display().to_string()
    );
    let events = [
        ("audit_start", json!({"command": "syfar audit", "seed": 7, "threads": 2, "data_hash": "ff"})),
        ("audit_end", json!({"attacks": 12, "seconds": 1.25})),
    ];
    let run = run(place.path(), &config, &events);
    let found = read::source(&run).expect("a run");
    let seen: Vec<_> = found.training.iter().map(|epoch| (epoch.epoch, epoch.clean_accuracy)).collect();
    assert_eq!(seen, [(1, Some(0.25)), (2, Some(0.75))]);
    assert_eq!(found.training[0].terms, [("clean".to_owned(), 0.5)]);
    let facts: Vec<(&str, &str)> =
        found.origin.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let expected = [
        ("Command", "syfar audit"),
        ("Seed", "7"),
        ("Hash of the data", "ff"),
        ("Threads", "2"),
        ("Work", "12 attacks in 1.2 s, in the last sitting"),
        ("SHA-256 of model.safetensors", "12ab"),
    ];
    assert_eq!(facts, expected);
    // A model that was trained elsewhere has no training to show.
    fs::remove_file(train.join("events.jsonl")).expect("removed");
    assert!(read::source(&run).expect("a run").training.is_empty());
}

#[test]
fn a_readme_of_somebody_else_stays_whatever_its_encoding() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let model = place.path().join("faces/model");
    fs::create_dir_all(&model).expect("a directory");
    let run = run(place.path(), &format!("model = {:?}\n", model.display().to_string()), &[]);
    fs::write(run.join("metrics.json"), r#"{"classes": ["a"]}"#).expect("written");
    let source = read::source(&run).expect("a run");
    let readme = model.join("README.md");
    // ISO 8859-1.
    let foreign = b"R\xe9seau de neurones\n".as_slice();
    fs::write(&readme, foreign).expect("written");
    let refused = card::write(&run, &source).expect_err("somebody else's");
    assert!(refused.to_string().contains("was not written by this program"), "{refused}");
    assert_eq!(fs::read(&readme).expect("there"), foreign);
    fs::remove_file(&readme).expect("removed");
    fs::create_dir(&readme).expect("a directory");
    let refused = card::write(&run, &source).expect_err("no file");
    assert!(refused.to_string().contains("cannot be read"), "{refused:#}");
    fs::remove_dir(&readme).expect("removed");
    // One of its own is written again, even if somebody damaged it.
    card::write(&run, &source).expect("nothing there");
    fs::write(&readme, [CARD_MARK.as_bytes(), b"\xff"].concat()).expect("written");
    card::write(&run, &source).expect("its own");
    assert!(fs::read_to_string(&readme).expect("UTF-8").contains("# faces"));
}
