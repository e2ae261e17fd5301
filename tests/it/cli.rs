//! The program through its binary: what a user types, what comes back.

mod attack;
mod bad_input;
mod certify;
mod curve;
mod data;
mod doctor;
mod experiment;
mod page;
mod resume;
mod shards;
mod tables;
mod watch;
mod weights;
mod whole;
mod worn;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The binary with some arguments.
pub fn syfar(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syfar"));
    command.args(arguments);
    command
}

/// Runs to the end.
pub fn run(arguments: &[&str]) -> Output {
    syfar(arguments).output().expect("the binary starts")
}

/// Standard output of a run that must succeed.
pub fn succeed(arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "syfar {}: {errors}", arguments.join(" "));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Standard error of a run that must end with this exit code, in one paragraph and without a panic.
pub fn fail(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "syfar {}: {errors}", arguments.join(" "));
    assert!(!errors.contains("panicked"), "{errors}");
    assert!(!errors.trim().contains("\n\n"), "more than one paragraph: {errors}");
    errors
}

/// Starts a command, waits until a file exists, sends a signal (`-TERM`) and returns the exit code.
pub fn interrupt(arguments: &[&str], when: &Path, signal: &str) -> Option<i32> {
    let mut child =
        syfar(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
    let patience = Instant::now() + Duration::from_mins(2);
    while !when.exists() && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(5));
    }
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill exists");
    assert!(sent.success());
    child.wait().expect("it ends").code()
}

/// A folder of drawn faces that all tests share, made once.
pub fn faces() -> &'static str {
    static FACES: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = FACES.get_or_init(|| {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("faces");
        let words = ["data", "synthetic-faces", "--people", "4", "--images", "10", "--out"];
        succeed(&[&words[..], &[text(&path)]].concat());
        (place, path)
    });
    text(path)
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The configuration of a training that takes a second or two.
pub const SMALL: [&str; 10] = [
    "--set",
    "model.preprocessing.side=32",
    "--set",
    "train.epochs=2",
    "--set",
    "train.batch_size=6",
    "--set",
    "objective={kind='sy-far', base={kind='adversarial', attack={kind='roa', height=10, width=10, steps=2}}}",
    "--set",
    "validation.attack={kind='eyeglasses', steps=2}",
];

/// Arguments that train a small model into a directory.
pub fn train<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--data", faces(), "--out", out][..], &SMALL, more].concat()
}

/// The run directory of a small trained model that all tests share.
pub fn trained() -> &'static Path {
    static RUN: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = RUN.get_or_init(|| {
        let place = tempfile::tempdir().expect("temporary directory");
        let path = place.path().join("run");
        succeed(&train(text(&path), &[]));
        (place, path)
    });
    path
}
