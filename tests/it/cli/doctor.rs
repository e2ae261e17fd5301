//! Checks of a model and an attack.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{events, faces, fail, run, succeed, text, trained};

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("checks")).expect("JSON")
}

fn doctor<'a>(model: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["doctor", "--model", text(model), "--data", faces()][..], more].concat()
}

#[test]
fn the_doctor_says_what_it_saw_and_fails_when_a_check_does() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (model, file) = (trained().join("model"), place.path().join("checks.json"));
    let words = doctor(&model, &["--quick", "--images", "4", "--json", text(&file)]);
    let output = run(&words);
    let printed = String::from_utf8_lossy(&output.stdout);
    let checks = read(&file);
    assert_eq!((&checks["attack"], &checks["images"]), (&Value::from("pgd"), &Value::from(4)));
    let made = checks["checks"].as_array().expect("a list");
    assert_eq!((made.len(), checks["left_out"].as_array().map(Vec::len)), (15, Some(9)));
    for check in made {
        let id = check["id"].as_str().expect("a name");
        assert!(printed.contains(id) && printed.contains(check["seen"].as_str().expect("text")), "{printed}");
        assert!(check["threshold"].is_string() && check["meaning"].is_string(), "{check}");
        let to_do = check["status"] == "failed" || check["status"] == "warning";
        assert_eq!(check["advice"].is_string(), to_do, "{check}");
    }
    let failed = made.iter().any(|check| check["status"] == "failed");
    assert_eq!(output.status.code(), Some(if failed { 3 } else { 0 }), "{printed}");
    assert!(printed.contains("Left out: epsilon, steps"), "{printed}");
}

#[test]
fn a_budget_that_paints_everything_grey_ends_in_code_3() {
    let model = trained().join("model");
    let message = fail(
        3,
        &doctor(&model, &["--quick", "--images", "4", "--attack", "pgd", "--set", "attack.epsilon=0.6"]),
    );
    assert!(message.contains("failed:") && message.contains("budget"), "{message}");
}

#[test]
fn an_audit_makes_the_cheap_checks_or_says_that_it_made_none() {
    let place = tempfile::tempdir().expect("temporary directory");
    let model = trained().join("model");
    let audit = |out: &str, more: &[&str]| {
        let out = place.path().join(out);
        let words =
            ["audit", "--model", text(&model), "--data", faces(), "--out", text(&out), "--attack", "pgd"];
        let printed =
            succeed(&[&words[..], &["--targets", "none", "--set", "attack.steps=2"], more].concat());
        (printed, read(&out.join("checks.json")), ["check", "checks"].map(|kind| events(&out, kind)))
    };
    let (printed, checks, [begun, made]) = audit("cheap", &["--set", "checks.images=3"]);
    assert!(printed.contains("Checks of pgd on 3 pictures"), "{printed}");
    let checks = checks["checks"].as_array().expect("a list");
    assert_eq!(checks.len(), 15);
    let names = |list: &[Value], key| list.iter().map(|one| one[key].clone()).collect::<Vec<_>>();
    assert_eq!(names(&begun, "name"), names(checks, "id"));
    assert_eq!(names(&begun, "number"), (1..=15).map(Value::from).collect::<Vec<_>>());
    let passed = checks.iter().filter(|check| check["status"] == "passed").count();
    assert_eq!((made.len(), &made[0]["passed"]), (1, &Value::from(passed)));
    let (printed, checks, events) = audit("off", &["--set", "checks.depth=off"]);
    assert!(!printed.contains("Checks of"), "{printed}");
    assert_eq!(checks["left_out"].as_array().map(Vec::len), Some(24));
    assert!(events.concat().is_empty(), "{events:?}");
}

#[test]
fn a_sample_of_nothing_is_refused() {
    let model = trained().join("model");
    assert!(fail(2, &doctor(&model, &["--images", "0"])).contains("at least 1"));
    let place = tempfile::tempdir().expect("temporary directory");
    let out = place.path().join("out");
    let words = ["audit", "--model", text(&model), "--data", faces(), "--out", text(&out)];
    let message = fail(2, &[&words[..], &["--set", "checks.images=0"]].concat());
    assert!(message.contains("checks.images is 0") && message.contains("checks.depth"), "{message}");
    // The run had begun, so its log says how it ended.
    let told = events(&out, "failed");
    assert!(told[0]["error"].as_str().is_some_and(|told| message.contains(told)), "{told:?}");
    assert!(fail(2, &["doctor", "--data", faces()]).contains("--model"));
}
