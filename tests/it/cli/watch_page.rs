//! The page of `syfar watch --http` in a browser.
//!
//! The browser asks a stand-in that passes everything on to the server, so that the page can be put into a frame of any
//! width (a window is never narrower than 500 pixels) and tell what it shows, see `watch_page_check.js`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use syfar::Seed;
use syfar::metrics::{ConfusionMatrix, Snapshot};

use super::page::{SEEN_ERRORS, browser};
use super::watch::{LATER, Serving, serve};
use super::{PATIENCE, text};

/// An event of a time when it is never old.
fn line(kind: &str, data: &Value) -> String {
    json!({"time": LATER, "kind": kind, "data": data}).to_string() + "\n"
}

/// The log of a training that goes on. A name and a term are what a careless page would run.
fn log() -> String {
    let mut counts = ConfusionMatrix::new(2);
    for (label, prediction, images) in [(0, 0, 3), (0, 1, 1), (1, 1, 4)] {
        counts.add_images(label, prediction, images);
    }
    let hostile = "<img src=x onerror=\"document.title = 'owned'\">";
    let start =
        json!({"command": "syfar train", "classes": [hostile, "B"], "epochs": 4, "objective": "sy-far"});
    let epoch = |number: usize, robust: f64| {
        json!({"epoch": number, "terms": [["</script>", 0.5]], "best": true,
            "validation": {"images": 8, "clean_accuracy": 0.875, "robust_accuracy": robust},
            "confusion": Snapshot::of_confusion(&counts, Seed::new(0))})
    };
    let step = json!({"epoch": 3, "epochs": 4, "step": 1, "steps": 2, "terms": [["</script>", 0.25]],
        "images_per_second": 120.0, "seconds_left": 95.0});
    [
        line("train_start", &start),
        line("epoch", &epoch(1, 0.5)),
        line("epoch", &epoch(2, 0.75)),
        line("step", &step),
    ]
    .concat()
}

/// A browser that shows the page of a run in a frame, and what it tells of it.
struct Visit {
    browser: Serving,
    errors: std::path::PathBuf,
    seen: Receiver<Value>,
}

impl Visit {
    fn start(browser: &Path, place: &Path, server: &str, width: u32, flags: &[&str]) -> Self {
        let (address, seen) = stand_in(server, width);
        let errors = place.join(format!("browser-{width}.txt"));
        let browser = Command::new(browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--hide-scrollbars"])
            .args(["--window-size=1400,1000", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", place.join(format!("profile-{width}")).display()))
            .args(flags)
            .arg(format!("http://{address}/frame"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors).expect("a file"))
            .spawn()
            .expect("the browser starts");
        Self { browser: Serving(browser), errors, seen }
    }

    /// Waits until the page shows what is wanted.
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let (since, mut last) = (Instant::now(), Value::Null);
        loop {
            match self.seen.recv_timeout(Duration::from_secs(1)) {
                Ok(seen) if wanted(&seen) => return seen,
                Ok(seen) => last = seen,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => panic!("the stand-in is gone"),
            }
            let ended = self.browser.0.try_wait().expect("it can be asked");
            let errors = || fs::read_to_string(&self.errors).unwrap_or_default();
            assert!(ended.is_none() && since.elapsed() < PATIENCE, "{ended:?}: {last:#}\n{}", errors());
        }
    }
}

/// Starts a server that passes requests on to `server`.
fn stand_in(server: &str, width: u32) -> (SocketAddr, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("an address");
    let (told, seen) = channel();
    let server = server.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (told, server) = (told.clone(), server.clone());
            // A browser may hang up at any time.
            std::thread::spawn(move || pass_on(stream, &server, width, &told));
        }
    });
    (address, seen)
}

fn pass_on(stream: TcpStream, server: &str, width: u32, told: &Sender<Value>) -> std::io::Result<()> {
    let mut asked = BufReader::new(stream.try_clone()?);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if asked.read_until(b'\n', &mut head)? == 0 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let mut stream = stream;
    match head.split(' ').nth(1).unwrap_or_default() {
        "/frame" => {
            let body = format!("<body><iframe src=/ style='border:0;width:{width}px;height:900px'></iframe>");
            let kind = "Content-Type: text/html\r\nConnection: close";
            write!(stream, "HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
        "/seen" => {
            let length = head.split_once("content-length:").and_then(|(_, rest)| rest.lines().next());
            let mut body = vec![0; length.and_then(|text| text.trim().parse().ok()).unwrap_or(0)];
            asked.read_exact(&mut body)?;
            let _ = told.send(serde_json::from_slice(&body)?);
            write!(stream, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        }
        path => {
            let mut there = TcpStream::connect(server)?;
            write!(there, "GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n")?;
            if path != "/" {
                return std::io::copy(&mut there, &mut stream).map(|_| ());
            }
            let mut answer = String::new();
            there.read_to_string(&mut answer)?;
            stream.write_all(with_checks(&answer).as_bytes())
        }
    }
}

/// The page with the scripts of the test, which may be framed. Its policy is otherwise what the server says.
fn with_checks(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    let first = format!("<html lang=\"en\"><script>{SEEN_ERRORS}</script>");
    let last = concat!("<script>", include_str!("watch_page_check.js"), "</script></html>");
    let checked = body.replacen("<html lang=\"en\">", &first, 1).replace("</html>", last);
    assert_eq!(checked.len() + 23, body.len() + first.len() + last.len(), "both scripts found their place");
    let mut framed = head.to_owned();
    let lengths = [body.len(), checked.len()].map(|length| format!("Content-Length: {length}"));
    for (from, to) in
        [("frame-ancestors 'none'", "frame-ancestors 'self'"), (lengths[0].as_str(), lengths[1].as_str())]
    {
        assert!(framed.contains(from), "no {from} in\n{head}");
        framed = framed.replace(from, to);
    }
    format!("{framed}\r\n\r\n{checked}")
}

#[test]
fn a_browser_shows_a_run_and_how_it_ends() {
    let Some(browser) = browser() else { return };
    let place = tempfile::tempdir().expect("temporary directory");
    let path = place.path().join("events.jsonl");
    fs::write(&path, log()).expect("written");
    let (server, address) = serve(&path, &["127.0.0.1:0"]);
    let mut visit = Visit::start(&browser, place.path(), address.trim_end_matches('/'), 1280, &[]);
    let seen = visit.until(|seen| seen["state"] == "running");
    assert_eq!(seen["title"], format!("{} · running", text(&path)));
    assert_eq!(seen["now"], "sy-far · epoch 3/4 · step 1/2 · 120 images/s · 1 min 35 s left");
    assert_eq!((&seen["progress"], &seen["curves"]), (&json!(0.625), &json!(true)));
    assert_eq!(seen["figures"][0], json!(["</script>", "0.2500", "loss"]));
    assert_eq!(seen["figures"][2], json!(["robust accuracy", "0.750", "8 validation pictures, epoch 2"]));
    assert_eq!(seen["of"], "Matrix: validation pictures under attack, epoch 2");
    let name = "<img src=x onerror=\"document.title = 'owned'\">";
    assert_eq!(seen["cell"], format!("{name} → B: 1 of 4 (25.0 %)"));
    assert_eq!(seen["pairs"], json!([[format!("{name} → B"), "1 of 4", "back 0 of 4"]]));
    // A quarter, half way between the second of seven colours and the third.
    assert_eq!(seen["colour"], json!([60, 72, 110, 255]));
    assert_eq!(seen["log"].as_array().map(Vec::len), Some(3));
    assert_eq!((&seen["dark"], &seen["unnamed"]), (&json!(false), &json!(0)));

    let failed = line("failed", &json!({"error": "diverged"}));
    let mut log = fs::File::options().append(true).open(&path).expect("log");
    log.write_all(failed.as_bytes()).expect("written");
    let seen = visit.until(|seen| seen["state"] == "failed");
    assert_eq!(seen["status"], "failed: diverged");
    assert_eq!(seen["now"], "sy-far · epoch 3/4 · step 1/2");
    assert_eq!(seen["log"].as_array().map(Vec::len), Some(4));

    drop(server);
    let seen = visit.until(|seen| seen["status"] == "the server does not answer");
    assert_eq!((&seen["errors"], &seen["scroll"]), (&json!([]), &json!(1280)));
    let fetched = seen["fetched"].as_array().expect("a list");
    assert!(fetched.iter().all(|path| path == "/events"), "{fetched:?}");
}

#[test]
fn a_narrow_and_dark_window_shows_all_of_a_run() {
    let Some(browser) = browser() else { return };
    let place = tempfile::tempdir().expect("temporary directory");
    let path = place.path().join("events.jsonl");
    fs::write(&path, log()).expect("written");
    let (_server, address) = serve(&path, &["127.0.0.1:0"]);
    let dark = ["--blink-settings=preferredColorScheme=0"];
    let mut visit = Visit::start(&browser, place.path(), address.trim_end_matches('/'), 390, &dark);
    let seen = visit.until(|seen| seen["state"] == "running");
    assert_eq!((&seen["width"], &seen["scroll"]), (&json!(390), &json!(390)), "nothing sticks out");
    assert_eq!((&seen["dark"], &seen["paper"]), (&json!(true), &json!("rgb(20, 24, 28)")));
    assert_eq!(seen["errors"], json!([]));
}
