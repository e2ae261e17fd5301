//! Interrupted runs.

use std::fs;
use std::path::Path;

use super::{faces, fail, interrupt, succeed, text, train, trained};

#[cfg(unix)]
#[test]
fn a_stopped_training_ends_in_the_same_numbers_as_one_that_was_not() {
    let place = tempfile::tempdir().expect("temporary directory");
    let stop = |epochs: u32| {
        let (out, more) = (place.path().join(format!("stopped-{epochs}")), format!("train.epochs={epochs}"));
        // The first checkpoint comes after the first epoch.
        let checkpoint = out.join("checkpoints/b/state.json");
        let code = interrupt(&train(text(&out), &["--set", &more]), &checkpoint, "-TERM");
        assert!([Some(130), Some(0)].contains(&code), "interrupted and resumable, or done: {code:?}");
        (code == Some(130)).then_some((out, more))
    };
    // A training that was done before the signal came has to be longer.
    let (stopped, more) = [6, 24, 96, 384].into_iter().find_map(stop).expect("one is interrupted");
    let (whole, more) = (place.path().join("whole"), ["--set", &more]);
    succeed(&train(text(&whole), &more));
    succeed(&train(text(&stopped), &[&more[..], &["--resume"]].concat()));
    let weights = |run: &Path| fs::read(run.join("model/model.safetensors")).expect("weights");
    assert!(weights(&whole) == weights(&stopped), "the weights differ");
    assert_eq!(epochs(&whole), epochs(&stopped));
}

/// What the log says of each epoch, apart from times.
fn epochs(run: &Path) -> Vec<String> {
    let log = fs::read_to_string(run.join("events.jsonl")).expect("log");
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    lines
        .filter(|event| event["kind"] == "epoch")
        .map(|event| {
            format!("{} {} {}", event["data"]["epoch"], event["data"]["terms"], event["data"]["validation"])
        })
        .collect()
}

#[cfg(unix)]
#[test]
fn a_stopped_audit_ends_in_the_same_rows_as_one_that_was_not() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (whole, stopped) = (place.path().join("whole"), place.path().join("stopped"));
    let model = trained().join("model");
    let words = |out| {
        let fixed = [
            "audit",
            "--model",
            text(&model),
            "--data",
            faces(),
            "--set",
            "batch_size=2",
            "--set",
            "attack.steps=20",
        ];
        [&fixed[..], &["--out", out]].concat()
    };
    succeed(&words(text(&whole)));
    let code = interrupt(&words(text(&stopped)), &stopped.join("predictions.csv.gz"), "-TERM");
    assert!(code == Some(130) || code == Some(0), "interrupted, or just done: {code:?}");
    succeed(&[&words(text(&stopped))[..], &["--resume"]].concat());
    for file in ["metrics.json", "success_eyeglasses.csv", "confusion_eyeglasses.csv"] {
        let read = |run: &Path| fs::read_to_string(run.join(file)).expect("file");
        assert_eq!(read(&whole), read(&stopped), "{file}");
    }
}

#[test]
fn a_run_is_not_overwritten_and_not_continued_with_another_configuration() {
    let place = tempfile::tempdir().expect("temporary directory");
    let run = &place.path().join("run");
    succeed(&train(text(run), &[]));
    let before = fs::read(run.join("model/model.safetensors")).expect("weights");
    let exists = fail(1, &train(text(run), &[]));
    assert!(exists.contains("--resume"), "{exists}");
    let differs = fail(1, &train(text(run), &["--resume", "--set", "train.epochs=3"]));
    assert!(differs.contains("train.epochs") && differs.contains('2') && differs.contains('3'), "{differs}");
    let after = fs::read(run.join("model/model.safetensors")).expect("weights");
    assert!(before == after, "the model was touched");
    // A finished run with the same configuration has nothing to do.
    let printed = succeed(&train(text(run), &["--resume"]));
    assert!(printed.contains("Kept epoch"), "{printed}");
}
