//! The program through its binary: what a user types, what comes back.

mod attack;
mod bad_input;
mod certify;
mod curve;
mod data;
mod doctor;
mod experiment;
mod page;
mod precision;
mod resume;
mod shards;
mod tables;
mod watch;
mod watch_page;
mod weights;
mod whole;
mod worn;

use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

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

/// How long a test waits for something that must happen. On a machine that does anything else it takes seconds; this is
/// there so that a test that would hang fails, and says what it saw.
pub const PATIENCE: Duration = Duration::from_mins(10);

/// Looks until what is seen is as wanted, and returns it.
pub fn wait_for<T: std::fmt::Display>(look: impl Fn() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let since = Instant::now();
    loop {
        let seen = look();
        if wanted(&seen) {
            return seen;
        }
        assert!(since.elapsed() < PATIENCE, "after {PATIENCE:?} this is still all there is:\n{seen}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Starts a command, waits until a file exists, sends a signal (`-TERM`) and returns the exit code: 0 where the command
/// was done before the signal came. What it said is in the output of the test.
pub fn interrupt(arguments: &[&str], when: &Path, signal: &str) -> Option<i32> {
    let mut errors = tempfile::tempfile().expect("temporary file");
    let copy = errors.try_clone().expect("a second handle");
    let mut child = syfar(arguments).stdout(Stdio::null()).stderr(copy).spawn().expect("the binary starts");
    let since = Instant::now();
    let mut ended = None;
    while ended.is_none() && !when.exists() && since.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
        ended = child.try_wait().expect("it can be asked");
    }
    let in_time = when.exists();
    if ended.is_none() {
        // One that has ended in between is there until somebody waits for it.
        let signal = if in_time { signal } else { "-KILL" };
        let sent =
            Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill exists");
        assert!(sent.success());
    }
    let code = child.wait().expect("it ends").code();
    let mut said = String::new();
    errors.rewind().and_then(|()| errors.read_to_string(&mut said)).expect("readable");
    eprintln!("syfar {} ended with {code:?}:\n{said}", arguments.join(" "));
    assert!(in_time, "{} was never there", when.display());
    code
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

/// The data of the events of one kind in the log of a run.
pub fn events(run: &Path, kind: &str) -> Vec<Value> {
    let log = std::fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    let lines = whole.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter(|event| event["kind"] == kind).map(|event| event["data"].clone()).collect()
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
