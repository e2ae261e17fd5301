//! Watching runs, and what goes to which stream.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{PATIENCE, events, faces, fail, run, succeed, syfar, text, train, trained, wait_for};

/// More epochs than a test waits for.
const ENDLESS: &str = "train.epochs=100000";

/// A moment of the year 2100: an event of then is never old, however long a test takes.
pub(super) const LATER: f64 = 4_102_444_800.0;

/// A line of a log with another time.
fn at(line: &str, time: f64) -> String {
    line.replacen("\"time\":", &format!("\"time\":{time:.1},\"was\":"), 1)
}

/// Arguments of a small audit.
fn audit<'a>(model: &'a Path, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let fixed =
        ["audit", "--model", text(model), "--data", faces(), "--out", text(out), "--set", "attack.steps=2"];
    // Neither checks nor intervals are what these tests are about.
    let quick = ["--set", "checks.depth=off", "--set", "noise_draws=20"];
    [&fixed[..], &quick, more].concat()
}

fn audited() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("audit");
    succeed(&audit(&trained().join("model"), &out, &[]));
    (place, out)
}

#[test]
fn a_finished_training_as_text() {
    let shown = succeed(&["watch", text(trained())]);
    let epoch = events(trained(), "epoch").pop().expect("an epoch");
    let robust = epoch["validation"]["robust_accuracy"].as_f64().expect("a number");
    for words in
        ["train  finished", "epoch 2/2", "100 %", &format!("robust accuracy  {robust:.3}"), "train is done"]
    {
        assert!(shown.contains(words), "no {words:?} in\n{shown}");
    }
    assert!(!shown.contains('\u{1b}'), "text has no colours");
    assert_eq!(
        succeed(&["watch", "--once", text(&trained().join("events.jsonl"))]).lines().count(),
        shown.lines().count()
    );
}

#[test]
fn an_audit_as_text_and_as_a_copy_that_was_cut() {
    let (place, run) = audited();
    let shown = succeed(&["watch", text(&run)]);
    let counts = |figures: &Value, key: &str| format!("{} of {}", figures[key][0], figures[key][1]);
    let end = events(&run, "audit_end").pop().expect("an end");
    let metrics: Value =
        serde_json::from_str(&fs::read_to_string(run.join("metrics.json")).expect("figures")).expect("JSON");
    let robust = &metrics["untargeted"]["robustness"]["micro_accuracy"];
    assert_eq!([&end["robust"][0], &end["robust"][1]], [&robust["successes"], &robust["n"]]);
    assert_eq!(end["success"]["a1"], metrics["targeted"]["symmetry"]["a1"]["value"]);
    for words in [
        "audit  finished",
        &counts(&end, "robust"),
        &counts(&end, "targeted"),
        "targeted success, eyeglasses",
    ] {
        assert!(shown.contains(words), "no {words:?} in\n{shown}");
    }
    // Half a log, a line that is none, and half a line: somewhere else, without anything beside it.
    let log = fs::read_to_string(run.join("events.jsonl")).expect("log");
    let first = log.lines().next().expect("a line");
    let copy = place.path().join("copy.jsonl");
    let first = &at(first, LATER);
    fs::write(&copy, format!("{first}\nnonsense\n{}", &first[..first.len() / 2])).expect("written");
    let shown = succeed(&["watch", text(&copy)]);
    assert!(shown.contains("1 damaged lines") && shown.contains("audit  running"), "{shown}");
    fs::write(&copy, format!("{}\n", at(first, 1.5))).expect("written");
    let shown = succeed(&["watch", text(&copy)]);
    assert!(shown.contains("its writer may have been killed"), "{shown}");
}

#[test]
fn what_cannot_be_watched_says_why() {
    let place = tempfile::tempdir().expect("temporary directory");
    assert!(fail(2, &["watch", "/no/such/run"]).contains("/no/such/run does not exist"));
    assert!(fail(2, &["watch", text(place.path())]).contains("has no events.jsonl"));
    assert!(fail(2, &["tensorboard", text(place.path())]).contains("has no events.jsonl"));
    let refused = fail(2, &["watch", text(trained()), "--http", "0.0.0.0:0"]);
    assert!(refused.contains("--allow-remote") && refused.contains("127.0.0.1"), "{refused}");
    assert_eq!(run(&["watch", text(trained()), "--http", "localhost"]).status.code(), Some(2));
    // A run that has just begun has no log yet.
    fs::write(place.path().join("config.toml"), "").expect("written");
    assert!(succeed(&["watch", text(place.path())]).contains("no event yet"));
}

/// A process that ends with the test.
pub(super) struct Serving(pub Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server and returns it with the address that it printed.
pub(super) fn serve(run: &Path, more: &[&str]) -> (Serving, String) {
    let mut child =
        syfar(&["watch", text(run), "--http"]).args(more).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    let address =
        line.split_once("http://").expect(&line).1.split(' ').next().expect("an address").to_owned();
    (Serving(child), address)
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_page_for_this_machine_and_one_behind_a_token() {
    let (_here, address) = serve(trained(), &["127.0.0.1:0"]);
    let address = address.trim_end_matches('/');
    let answer = get(address, "/state.json");
    let state: Value = serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("JSON");
    assert_eq!((&state["status"], &state["progress"]), (&Value::from("finished"), &Value::from(1.0)));
    let (_there, address) = serve(trained(), &["0.0.0.0:0", "--allow-remote"]);
    let (address, token) = address.split_once("/?token=").expect("a token");
    assert!(token.len() == 32 && token.chars().all(|c| c.is_ascii_hexdigit()), "{token}");
    let address = address.replace("0.0.0.0", "127.0.0.1");
    for (query, code) in [(String::new(), "401"), (format!("?token={token}"), "200")] {
        let answer = get(&address, &format!("/state.json{query}"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
    }
}

#[test]
fn events_go_to_standard_output_and_all_else_to_standard_error() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (first, second) = (place.path().join("train"), place.path().join("audit"));
    let model = first.join("model");
    let cases = [
        (train(text(&first), &["--json"]), &first, "Kept epoch"),
        (audit(&model, &second, &["--json"]), &second, "Results:"),
    ];
    for (words, out, remark) in cases {
        let since = Instant::now();
        let output = run(&words);
        let seconds = since.elapsed().as_secs();
        let errors = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.status.success(), "{errors}");
        let log = fs::read(out.join("events.jsonl")).expect("log");
        assert!(output.stdout == log, "{}", String::from_utf8_lossy(&output.stdout));
        assert!(errors.contains(remark) && !errors.contains(['\u{1b}', '\r']), "{errors}");
        // Outside a terminal progress is a line every ten seconds.
        let lines = errors.lines().filter(|line| line.contains(" left")).count() as u64;
        assert!(lines <= seconds / 10, "{lines} lines in {seconds} s:\n{errors}");
    }
    // Whoever reads may stop reading.
    let third = place.path().join("again");
    let mut child = syfar(&train(text(&third), &["--json"]))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
    assert_eq!(events(&third, "epoch").len(), 2);
}

#[cfg(unix)]
#[test]
fn a_stopped_and_a_failed_training_say_so() {
    let place = tempfile::tempdir().expect("temporary directory");
    let stopped = place.path().join("stopped");
    let more = ["--set", ENDLESS];
    let code =
        super::interrupt(&train(text(&stopped), &more), &stopped.join("checkpoints/b/state.json"), "-TERM");
    assert_eq!(code, Some(130));
    assert!(succeed(&["watch", text(&stopped)]).contains("stopped; --resume goes on"));
    let failed = place.path().join("failed");
    let rate = ["--set", "train.optimizer.learning_rate=1e30", "--set", "train.clip_norm=0"];
    fail(1, &train(text(&failed), &rate));
    let shown = succeed(&["watch", text(&failed)]);
    assert!(shown.contains("failed: training diverged"), "{shown}");
}

#[test]
fn tensorboard_gets_a_file_beside_the_log() {
    let (_place, run) = audited();
    let printed = succeed(&["tensorboard", text(trained()), text(&run)]);
    let files: Vec<&str> = printed.lines().collect();
    assert_eq!(files.len(), 2);
    let holds = |file: &str, words: &str| {
        fs::read(file).expect("a file").windows(words.len()).any(|bytes| bytes == words.as_bytes())
    };
    assert!(holds(files[0], "validation/robust_accuracy") && holds(files[0], "validation/rates"));
    assert!(holds(files[1], "audit/eyeglasses/targeted/a1") && holds(files[1], "brain.Event:2"));
    // Writing it again replaces it.
    assert_eq!(succeed(&["tensorboard", text(&run)]).trim(), files[1]);
}

/// The last epoch among the lines of the log on a screen.
fn last_epoch(screen: &str) -> Option<usize> {
    // Elsewhere the number is followed by `/` or a comma.
    let numbers = screen.split("epoch ").skip(1).filter_map(|rest| rest.split_once("  ")?.0.parse().ok());
    numbers.max()
}

/// A session of tmux that ends with the test.
struct Tmux {
    socket: PathBuf,
}

impl Tmux {
    /// Runs `command` in a window of 110 x 36. Each session has a server of its own: one that was told to end
    /// still listens for a while.
    fn start(place: &Path, name: &str, command: &str) -> Self {
        let tmux = Self { socket: place.join(name) };
        let output = tmux
            .command(&["-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "36", command])
            .stderr(Stdio::piped())
            .output()
            .expect("tmux starts");
        assert!(output.status.success(), "tmux says {}", String::from_utf8_lossy(&output.stderr));
        tmux
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(words).stderr(Stdio::null());
        command
    }

    fn screen(&self) -> String {
        let output = self.command(&["capture-pane", "-p", "-e"]).output().expect("tmux runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until the screen is as wanted.
    fn until(&self, wanted: impl Fn(&str) -> bool) -> String {
        wait_for(|| self.screen(), |screen| wanted(screen))
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]).status();
    }
}

#[cfg(unix)]
#[test]
fn a_live_training_on_a_terminal() {
    if Command::new("tmux").arg("-V").output().is_err() {
        eprintln!("skipped: there is no tmux");
        return;
    }
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("run");
    let words = train(text(&out), &["--set", ENDLESS]);
    let mut training =
        syfar(&words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Serving).expect("it starts");
    let epochs = || events(&out, "epoch").len();
    wait_for(epochs, |known| *known > 0);
    let watch = |environment: &str| {
        format!(
            "{environment} '{}' watch '{}'; echo it has ended; cat",
            env!("CARGO_BIN_EXE_syfar"),
            text(&out)
        )
    };
    let plain = |screen: &str| {
        // Without the codes for colours, which are what the numbers in between end with `m`.
        let parts: Vec<&str> = screen.split('\u{1b}').collect();
        parts
            .iter()
            .map(|part| {
                part.split_once('m').filter(|(code, _)| code.starts_with('[')).map_or(*part, |(_, rest)| rest)
            })
            .collect::<String>()
    };
    let tmux = Tmux::start(place.path(), "colours", &watch("env -u NO_COLOR"));
    // The epoch that the log tells of at the moment, or a later one, twice.
    for _ in 0..2 {
        let known = epochs();
        tmux.until(|screen| last_epoch(&plain(screen)) >= Some(known));
        wait_for(epochs, |now| *now > known);
    }
    tmux.until(|screen| {
        let words = plain(screen);
        screen.contains("\u{1b}[38;5;6mrunning")
            && words.contains("robust accuracy")
            && words.contains("images/s")
    });
    // A killed writer leaves half a line, which the screen outlives; when the line is whole it is shown.
    training.0.kill().expect("killed");
    training.0.wait().expect("it ends");
    let mut log = fs::File::options().append(true).open(out.join("events.jsonl")).expect("log");
    let line = format!("{}\n", at("{\"time\":0.0,\"kind\":\"coffee\",\"data\":2}", LATER));
    let (half, rest) = line.split_at(9);
    log.write_all(half.as_bytes()).expect("written");
    // Long enough for the half to be read on most machines; on others the test is weaker and no less right.
    std::thread::sleep(Duration::from_secs(1));
    log.write_all(rest.as_bytes()).expect("written");
    let screen = tmux.until(|screen| plain(screen).contains("coffee 2"));
    assert!(screen.contains("running") && !screen.contains("damaged"), "{screen}");
    assert!(tmux.command(&["send-keys", "q"]).status().expect("tmux runs").success());
    let screen = tmux.until(|screen| screen.contains("it has ended"));
    assert!(!screen.contains("robust accuracy"), "the screen is as it was before:\n{screen}");
    drop(tmux);
    let tmux = Tmux::start(place.path(), "plain", &watch("env NO_COLOR=1"));
    let screen = tmux.until(|screen| plain(screen).contains("running"));
    assert!(!screen.contains("38;5;") && !screen.contains("48;5;"), "colours\n{screen}");
}
