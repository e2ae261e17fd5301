//! `syfar report`: the file, and what a browser makes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use syfar::Seed;
use syfar::metrics::{AuditCounts, ConfusionMatrix, FairnessReport, GroupColumn, SuccessMatrix};
use syfar::report::csv;

use super::{fail, succeed, text};

/// Names that a careless page would run, turn round or choke on.
fn hostile() -> Vec<String> {
    let long = "x".repeat(200);
    [
        "<script>document.title = 'owned'</script>",
        "</script><img src=x onerror=\"document.title = 'owned'\">",
        "\u{202e}שלום\" onmouseover=\"alert(2)",
        "👩🏽‍🦰🧑‍🚀",
        &long,
        "plain",
    ]
    .map(ToOwned::to_owned)
    .to_vec()
}

/// How many of the attacks from one class to another succeeded, of [`TRIES`].
fn successes(from: usize, to: usize) -> u64 {
    if (from, to) == (2, 4) { TRIES } else { ((3 * from + 2 * to) % 5) as u64 }
}

const TRIES: u64 = 7;

/// A run directory as an audit leaves it, without its rows.
fn hand_made(root: &Path, classes: &[String]) -> AuditCounts {
    let number = classes.len();
    let (mut clean, mut untargeted) = (ConfusionMatrix::new(number), ConfusionMatrix::new(number));
    let mut targeted = SuccessMatrix::new(number);
    for from in 0..number {
        clean.add_images(from, from, TRIES);
        untargeted.add_images(from, from, 3);
        untargeted.add_images(from, (from + 1) % number, 4);
        for to in (0..number).filter(|&to| to != from) {
            targeted.add_attacks(from, to, TRIES, successes(from, to));
        }
    }
    let of_class = (0..number).map(|class| ["one", "two"][class % 2].to_owned()).collect();
    let counts = AuditCounts {
        classes: classes.to_vec(),
        attack: "pgd".into(),
        clean,
        untargeted: Some(untargeted),
        targeted: Some(targeted),
        outcomes: None,
        groups: vec![GroupColumn { name: "parity".into(), of_class }],
    };
    let draws = if number > 100 { 0 } else { 200 };
    let report = FairnessReport::compute(&counts, Seed::new(3), draws);
    fs::create_dir_all(root).expect("a directory");
    let file = |name: &str| fs::File::create(root.join(name)).expect("a file");
    fs::write(root.join("config.toml"), "seed = 3\n").expect("written");
    serde_json::to_writer(file("metrics.json"), &report).expect("written");
    csv::write_confusion(file("confusion_clean.csv"), classes, &counts.clean).expect("written");
    let attacked = counts.untargeted.as_ref().expect("attacked");
    csv::write_confusion(file("confusion_pgd.csv"), classes, attacked).expect("written");
    csv::write_pairs(file("pairs.csv"), classes, counts.targeted.as_ref().expect("attacked"))
        .expect("written");
    counts
}

/// A chromium, if there is one; a line says so if there is not.
pub(super) fn browser() -> Option<PathBuf> {
    let given = std::env::var_os("SYFAR_BROWSER").map(PathBuf::from);
    let places = || std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = || {
        places().into_iter().flat_map(|place| names.map(|name| place.join(name))).find(|path| path.is_file())
    };
    let browser = given.or_else(found);
    if browser.is_none() {
        eprintln!("SKIPPED: no chromium. scripts/fetch-browser installs one; SYFAR_BROWSER names another.");
    }
    browser
}

/// A script that stands before all others and keeps what goes wrong.
pub(super) const SEEN_ERRORS: &str = "window.seenErrors = [];\
    addEventListener('error', (event) => seenErrors.push(String(event.message)), true);\
    addEventListener('securitypolicyviolation', (event) => seenErrors.push(event.violatedDirective));\
    for (const level of ['error', 'warn']) console[level] = (...words) => seenErrors.push(words.join(' '));";

/// What a browser without network sees and does in a page, see `page_check.js`.
///
/// A window is never narrower than 500 pixels, so a narrow page is a frame in one.
fn visit(browser: &Path, page: &Path, width: u32, flags: &[&str]) -> Value {
    let place = page.parent().expect("a directory");
    let html = fs::read_to_string(page).expect("a page");
    let watch = format!("<head><script>{SEEN_ERRORS}</script>");
    let check = concat!("<script>", include_str!("page_check.js"), "</script>\n</body>");
    let watched = html.replacen("<head>", &watch, 1).replace("\n</body>", check);
    assert!(watched.len() > html.len() + check.len(), "both scripts found their place");
    let copy = place.join("watched.html");
    fs::write(&copy, watched).expect("written");
    let frame = place.join("frame.html");
    let outer = format!(
        "<body><iframe src=watched.html style='border:0;width:{width}px;height:900px'></iframe><script>\
         const frame = document.querySelector('iframe');\
         frame.onload = () => document.body.append(frame.contentDocument.getElementById('seen').cloneNode(true));\
         </script>"
    );
    fs::write(&frame, outer).expect("written");
    let profile = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"])
        .args(["--window-size=1400,1000", "--allow-file-access-from-files", "--hide-scrollbars"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(flags)
        .arg(format!("file://{}", frame.display()))
        .output()
        .expect("the browser starts");
    let dom = String::from_utf8_lossy(&output.stdout);
    let seen = dom.split_once("<pre id=\"seen\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    let errors = String::from_utf8_lossy(&output.stderr);
    let (seen, _) = seen.unwrap_or_else(|| panic!("the check did not end: {errors}"));
    let mut bytes = Vec::new();
    let mut rest = seen.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let digits = std::str::from_utf8(&after[..2]).expect("digits");
            bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
            rest = &after[2..];
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    serde_json::from_slice(&bytes).expect("JSON")
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(|one| one.as_str().expect("text").to_owned()).collect()
}

#[test]
fn a_browser_shows_the_counts_and_sorts_and_runs_no_name() {
    let Some(browser) = browser() else { return };
    let place = tempfile::tempdir().expect("temporary directory");
    let run = place.path().join("run");
    let classes = hostile();
    hand_made(&run, &classes);
    succeed(&["report", text(&run)]);
    let seen = visit(&browser, &run.join("report.html"), 1280, &[]);
    assert_eq!(seen["errors"], json!([]));
    assert_eq!(seen["fetched"], json!([]));
    assert!(seen["title"].as_str().expect("text").ends_with("· syfar"), "{}", seen["title"]);
    // The data, the script, and the two of the test.
    assert_eq!((&seen["scripts"], &seen["unnamed"]), (&json!(4), &json!(0)));

    let order_by_name = |texts: &[String]| -> Vec<usize> {
        let diagonal = (0..classes.len()).map(|cell| &texts[cell * classes.len() + cell]);
        diagonal
            .map(|text| {
                classes
                    .iter()
                    .position(|name| text.starts_with(&format!("\u{2068}{name}\u{2069} ")))
                    .expect("a class")
            })
            .collect()
    };
    for order in ["name", "cluster", "gap"] {
        let texts = strings(&seen["texts"][order]);
        let places = order_by_name(&texts);
        for (row, &from) in places.iter().enumerate() {
            for (column, &to) in places.iter().enumerate().filter(|&(_, &to)| to != from) {
                let text = &texts[row * classes.len() + column];
                let hits = successes(from, to);
                let rate = syfar::metrics::Rate::of(hits, TRIES).expect("attacks");
                let expected = format!(
                    "{hits} of {TRIES} attacks succeeded ({:.3}, 95 % interval {:.3} to {:.3})",
                    rate.value, rate.low, rate.high
                );
                let (there, back) = text.split_once("Back: ").expect("both directions");
                assert!(there.contains(&expected), "{order}: {text}");
                assert!(back.starts_with(&format!("{} of {TRIES}", successes(to, from))), "{order}: {text}");
            }
        }
    }
    let gap = |i: usize, j: usize| successes(i, j).abs_diff(successes(j, i));
    let largest = |class: usize| {
        (0..classes.len()).filter(|&other| other != class).map(|other| gap(class, other)).max()
    };
    let by_gap: Vec<Option<u64>> =
        order_by_name(&strings(&seen["texts"]["gap"])).into_iter().map(largest).collect();
    assert!(by_gap.is_sorted_by(|a, b| a >= b), "{by_gap:?}");

    let by_name = order_by_name(&strings(&seen["texts"]["name"]));
    let keys = seen["keys"].as_str().expect("text");
    assert!(
        keys.starts_with(&format!(
            "\u{2068}{}\u{2069} → \u{2068}{}\u{2069}",
            classes[by_name[1]], classes[by_name[1]]
        )),
        "{keys}"
    );
    let brightest = by_name.iter().position(|&class| class == 2).expect("there") * classes.len()
        + by_name.iter().position(|&class| class == 4).expect("there");
    assert_eq!(seen["colours"][brightest], json!([255, 234, 70]), "the largest rate has the last colour");
    assert!(seen["errorsMap"].as_str().expect("text").contains("pictures taken for it"));
}

#[test]
fn a_narrow_or_a_dark_window_shows_all_of_the_page() {
    let Some(browser) = browser() else { return };
    let place = tempfile::tempdir().expect("temporary directory");
    let run = place.path().join("run");
    hand_made(&run, &hostile());
    succeed(&["report", text(&run), text(&run)]);
    let page = run.join("report.html");
    let narrow = visit(&browser, &page, 390, &[]);
    assert_eq!(narrow["width"], json!(390));
    assert_eq!(narrow["scroll"], json!(390), "nothing sticks out");
    assert!(narrow["verdict"].as_u64() <= Some(390), "{} is not within the window", narrow["verdict"]);
    let dark = visit(&browser, &page, 1280, &["--blink-settings=preferredColorScheme=0"]);
    assert_eq!((&dark["dark"], &dark["paper"]), (&json!(true), &json!("rgb(20, 23, 27)")));
    assert_eq!((&narrow["errors"], &dark["errors"]), (&json!([]), &json!([])));
    // The largest gap has the light end of the scale, one of half its size (3 of 7 against 6 of 7) is half way there, and faint
    // because it is within the noise floor.
    let names = strings(&dark["texts"]["name"]);
    let classes = hostile();
    let place = |class: usize| {
        let own = |at: usize| {
            names[at * classes.len() + at].starts_with(&format!("\u{2068}{}\u{2069} ", classes[class]))
        };
        (0..classes.len()).find(|&at| own(at)).expect("a class")
    };
    let colour = |from: usize, to: usize| &dark["gaps"][place(from) * classes.len() + place(to)];
    assert_eq!(colour(2, 4), &json!([241, 163, 64]));
    assert_eq!((successes(0, 2), successes(2, 0)), (4, 1));
    let mix = |from: [f64; 3], to: [f64; 3], part: f64| {
        [0, 1, 2].map(|level: usize| (from[level] + (to[level] - from[level]) * part).round())
    };
    let ground = [29.0, 34.0, 40.0];
    let half = (4.0 / 7.0 - 1.0 / 7.0) / (1.0 - 1.0 / 7.0);
    let faint = mix(ground, mix(ground, [241.0, 163.0, 64.0], half), 0.35).map(|level| level as u8);
    assert_eq!(colour(0, 2), &json!(faint));
}

#[test]
fn a_page_of_many_classes_works() {
    let Some(browser) = browser() else { return };
    let place = tempfile::tempdir().expect("temporary directory");
    let run = place.path().join("run");
    let classes: Vec<String> = (0..230).map(|class| format!("person {class}")).collect();
    hand_made(&run, &classes);
    succeed(&["report", text(&run)]);
    let seen = visit(&browser, &run.join("report.html"), 1280, &[]);
    assert_eq!(seen["errors"], json!([]));
    // Blocks of two classes: four pairs of seven attacks.
    let texts = strings(&seen["texts"]["name"]);
    assert!(texts.iter().all(|text| !text.contains("by chance")), "blocks have no noise floor");
    let hits: u64 = [(0, 2), (0, 3), (1, 2), (1, 3)].into_iter().map(|(from, to)| successes(from, to)).sum();
    assert!(
        texts[1].contains("person 0 … person 1") && texts[1].contains(&format!("{hits} of 28 attacks")),
        "{}",
        texts[1]
    );
}

#[test]
fn figures_and_a_model_card_are_written_when_asked_for() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (run, plots, model) =
        (place.path().join("run"), place.path().join("plots"), place.path().join("faces/model"));
    hand_made(&run, &hostile());
    let words = ["report", text(&run), "--figures", text(&plots), "--model-card"];
    assert!(fail(1, &words).contains("is not there"), "no model");
    assert!(fs::read_to_string(plots.join("targeted_rate.svg")).expect("a figure").starts_with("<svg"));
    // The map, its title, names and scale, at two pixels a unit.
    let map = image::open(plots.join("targeted_rate.png")).expect("a figure").to_rgb8();
    assert_eq!(map.dimensions(), (1400, 1224));
    assert!(map.pixels().any(|pixel| pixel.0 == [255, 234, 70]), "the largest rate has the last colour");
    fs::create_dir_all(&model).expect("a directory");
    fs::write(model.join("config.json"), "{\"architecture\": \"face_cnn\"}").expect("written");
    fs::write(run.join("config.toml"), format!("model = {:?}\n", text(&model))).expect("written");
    for _ in 0..2 {
        succeed(&words);
    }
    let card = fs::read_to_string(model.join("README.md")).expect("a card");
    assert!(card.contains("- name: \"faces\"") && card.contains("`face_cnn`"), "{card}");
    // A path that leaves out the directories above names the same model.
    fs::remove_file(model.join("README.md")).expect("removed");
    fs::write(run.join("config.toml"), "model = \"model\"\n").expect("written");
    let above = model.parent().expect("a directory");
    let relative = super::syfar(&["report", text(&run), "--model-card"]).current_dir(above).output();
    assert!(relative.expect("the binary starts").status.success());
    let card = fs::read_to_string(model.join("README.md")).expect("a card");
    assert!(card.contains("- name: \"faces\""), "{card}");
    fs::write(run.join("config.toml"), format!("model = {:?}\n", text(&model))).expect("written");
    fs::write(model.join("README.md"), "mine").expect("written");
    assert!(fail(1, &words).contains("was not written by this program"));
}

#[test]
fn what_is_no_run_is_an_error_and_what_is_damaged_is_a_note() {
    let place = tempfile::tempdir().expect("temporary directory");
    let run = place.path().join("run");
    assert!(fail(1, &["report", text(&run)]).contains("holds no run"));
    hand_made(&run, &hostile());
    let refused = super::run(&["report", text(&run), "--min-robust", "1.5"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not between 0 and 1"));
    for (file, content) in [
        ("pairs.csv", "class_i,class_j\na,b\n"),
        ("confusion_pgd.csv", "true\\predicted,a\na,-1\n"),
        ("checks.json", "{}"),
        ("events.jsonl", "nonsense\n"),
    ] {
        fs::write(run.join(file), content).expect("written");
        let printed = succeed(&["report", text(&run)]);
        assert!(printed.contains(file) && printed.contains("Note: "), "{file}: {printed}");
    }
    fs::write(run.join("metrics.json"), "{").expect("written");
    assert!(succeed(&["report", text(&run)]).contains("is not JSON"));
    fs::remove_file(run.join("metrics.json")).expect("removed");
    fs::remove_file(run.join("events.jsonl")).expect("removed");
    assert!(succeed(&["report", text(&run)]).contains("without an audit"));
    let page = fs::read_to_string(run.join("report.html")).expect("a page");
    assert!(page.contains("There are no figures in this run"));
}

/// Sizes and times for the table of docs/report.md; it asserts the size alone.
#[test]
#[ignore = "measures: run it in a release build on a quiet machine, with --nocapture"]
fn sizes_and_times() {
    let place = tempfile::tempdir().expect("temporary directory");
    for number in [10, 40, 100, 1000] {
        let run = place.path().join(number.to_string());
        hand_made(&run, &(0..number).map(|class| format!("person {class:04}")).collect::<Vec<_>>());
        let start = std::time::Instant::now();
        succeed(&["report", text(&run)]);
        let written = start.elapsed().as_secs_f64();
        let page = run.join("report.html");
        let size = fs::metadata(&page).expect("a page").len();
        let seen = browser().map(|browser| visit(&browser, &page, 1280, &[]));
        let drawn = seen.map_or_else(|| "no browser".to_owned(), |seen| format!("{} ms", seen["drawn"]));
        println!("K {number}: {size} bytes, written in {written:.2} s, parsed and drawn after {drawn}");
        assert!(size < 2_000_000, "{size} bytes");
    }
}
