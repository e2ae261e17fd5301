//! Training over MPI, from outside: the same numbers as one process, and what happens when a rank fails.

mod hosts;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use syfar::models::Model;

use super::cli::{faces, succeed, text};

/// A network without batch normalisation, trained without Adam, which turns rounding into steps.
const TRAINING: [&str; 12] = [
    "--set",
    "model.architecture=vit_tiny",
    "--set",
    "model.preprocessing.side=16",
    "--set",
    "train.batch_size=6",
    "--set",
    "train.optimizer={kind='sgd', learning_rate=0.02, momentum=0.9}",
    "--set",
    "objective={kind='sy-far', symmetry_weight=10.0, base={kind='adversarial', attack={kind='pgd', steps=2}}}",
    "--set",
    "validation.attack={kind='pgd', steps=2}",
];

fn words<'a>(data: &'a str, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--data", data, "--out", text(out)][..], &TRAINING, more].concat()
}

/// `mpirun` with so many ranks of a thread each, below a `timeout` of two minutes.
fn mpirun(ranks: usize, words: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    let ranks = ranks.to_string();
    let options = ["--oversubscribe", "--bind-to", "none", "-n", &ranks];
    command.args(["--kill-after=5", "120", "mpirun"]).args(options).arg(env!("CARGO_BIN_EXE_syfar-mpi"));
    command.args(words);
    command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    // Containers often forbid processes to read each other's memory.
    command.envs([("OMPI_MCA_btl_vader_single_copy_mechanism", "none"), ("RAYON_NUM_THREADS", "1")]);
    command
}

fn run(ranks: usize, words: &[&str]) -> Output {
    mpirun(ranks, words).output().expect("timeout and mpirun start")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// All weights of the model of a run.
fn weights(run: &Path) -> Vec<f32> {
    struct Values(Vec<f32>);
    impl ModuleVisitor for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().try_to_vec_as::<f32>().expect("f32"));
        }
    }
    let mut values = Values(Vec::new());
    Model::load(&run.join("model"), &Device::default()).expect("a model").network.visit(&mut values);
    values.0
}

fn gap(a: &Path, b: &Path) -> f32 {
    weights(a).iter().zip(&weights(b)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn two_ranks_end_in_the_weights_of_one_process() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (one, two) = (place.path().join("one"), place.path().join("two"));
    let more = ["--set", "train.epochs=5"];
    succeed(&words(faces(), &one, &more));
    let output = run(2, &words(faces(), &two, &more));
    assert!(output.status.success(), "{}", errors(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.matches("Kept epoch").count(), 1, "one rank speaks: {said}");
    let gap = gap(&one, &two);
    assert!(gap < 1e-5, "weights differ by {gap}");
    let log = fs::read_to_string(two.join("events.jsonl")).expect("log");
    assert!(log.contains("\"ranks\":2") && log.contains("exchange_seconds"), "{log}");
}

/// A job is to end ten seconds after a rank has; a machine with other work gets more.
const SOON: Duration = Duration::from_secs(30);

/// Waits for the first whole checkpoint of a run.
fn checkpoint(out: &Path) {
    let patience = Instant::now() + Duration::from_secs(90);
    while !out.join("checkpoints/b/state.json").exists() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts a training of two ranks, waits for its first checkpoint, does something to it and gives what it said
/// and how long it took to end after that.
fn disturbed(out: &Path, epochs: &str, disturb: impl FnOnce(&Child)) -> (Output, Duration) {
    let child = mpirun(2, &words(faces(), out, &["--set", epochs]))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout and mpirun start");
    checkpoint(out);
    disturb(&child);
    let start = Instant::now();
    let output = child.wait_with_output().expect("it ends");
    (output, start.elapsed())
}

/// Process ids of the ranks that write or read a run.
fn ranks_of(out: &Path) -> Vec<String> {
    let found =
        Command::new("pgrep").args(["-f", &format!("^[^ ]*syfar-mpi train .*{}", text(out))]).output();
    String::from_utf8_lossy(&found.expect("pgrep exists").stdout).lines().map(str::to_owned).collect()
}

/// Whether the ranks end within some seconds: `timeout` and `mpirun` may be gone a moment before them.
fn everybody_leaves(out: &Path) -> bool {
    let patience = Instant::now() + Duration::from_secs(10);
    while !ranks_of(out).is_empty() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(50));
    }
    ranks_of(out).is_empty()
}

#[test]
fn a_killed_rank_ends_the_job_and_resume_goes_on() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (whole, broken) = (place.path().join("whole"), place.path().join("broken"));
    let epochs = "train.epochs=6";
    let (output, took) = disturbed(&broken, epochs, |_| {
        let ranks = ranks_of(&broken);
        assert_eq!(ranks.len(), 2, "{ranks:?}");
        let last = ranks.last().expect("two");
        assert!(Command::new("kill").args(["-9", last]).status().expect("kill exists").success());
    });
    let said = errors(&output);
    assert!(!output.status.success() && took < SOON, "{took:?}\n{said}");
    assert!(said.contains("rank ") && said.contains("signal 9"), "{said}");
    assert!(everybody_leaves(&broken), "nobody is left");
    let output = run(2, &words(faces(), &broken, &["--set", epochs, "--resume"]));
    assert!(output.status.success(), "{}", errors(&output));
    let output = run(2, &words(faces(), &whole, &["--set", epochs]));
    assert!(output.status.success(), "{}", errors(&output));
    assert_eq!(gap(&whole, &broken).to_bits(), 0.0_f32.to_bits(), "the same numbers, bit by bit");
}

#[test]
fn a_stopped_job_ends_soon() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("run");
    let (output, took) = disturbed(&out, "train.epochs=200", |child| {
        // `timeout` passes it on to `mpirun`.
        assert!(
            Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill").success()
        );
    });
    assert!(!output.status.success() && took < SOON, "{took:?}\n{}", errors(&output));
    assert!(everybody_leaves(&out), "nobody is left");
    assert!(out.join("checkpoints").exists());
}

#[test]
fn a_rank_that_cannot_read_a_picture_is_named() {
    let place = tempfile::tempdir().expect("temporary directory");
    let data = place.path().join("faces");
    succeed(&["data", "synthetic-faces", "--people", "2", "--images", "10", "--out", text(&data)]);
    let train = data.join("train");
    let person = fs::read_dir(&train).expect("people").next().expect("one").expect("entry").path();
    let picture = fs::read_dir(&person).expect("pictures").next().expect("one").expect("entry").path();
    let bytes = fs::read(&picture).expect("bytes");
    fs::write(&picture, &bytes[..bytes.len() / 2]).expect("written");
    let out = place.path().join("run");
    let output = run(2, &words(text(&data), &out, &[]));
    let said = errors(&output);
    assert!(!output.status.success() && said.contains(" of 2: ") && said.contains(".png"), "{said}");
}

#[test]
fn what_ranks_cannot_do_together_is_said_once() {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("run");
    let refused = |ranks, words: &[&str], wanted: &str| {
        let output = run(ranks, words);
        let said = errors(&output);
        assert!(!output.status.success() && said.matches(wanted).count() == 1, "{said}");
    };
    refused(2, &words(faces(), &out, &["--set", "train.batch_size=0"]), "rank 0 of 2: ");
    refused(3, &words(faces(), &out, &["--set", "train.batch_size=2"]), "there are 3 ranks");
    refused(
        2,
        &["audit", "--model", "x", "--data", "y", "--out", text(&out)],
        "several ranks can only train",
    );
    refused(2, &["train", "--nonsense"], "--nonsense");
    refused(2, &words("/no/such/data", &out, &[]), "/no/such/data");
}
