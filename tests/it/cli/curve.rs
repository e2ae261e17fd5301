//! Robust accuracy over the strength of an attack.

use std::fs;

use serde_json::Value;

use super::{faces, fail, succeed, text, trained};

#[test]
fn a_curve_never_rises_and_is_resumed() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (model, out) = (trained().join("model"), place.path().join("out"));
    let words = [
        "audit",
        "--model",
        text(&model),
        "--data",
        faces(),
        "--out",
        text(&out),
        "--attack",
        "pgd",
        "--targets",
        "none",
        "--set",
        "checks.depth=off",
        "--set",
        "curve.epsilon=['1/255', '8/255', '32/255']",
        "--set",
        "curve.steps=[1, 10]",
    ];
    let printed = succeed(&words);
    assert!(printed.contains("epsilon") && printed.contains("32/255"), "{printed}");
    let json: Value =
        serde_json::from_slice(&fs::read(out.join("metrics.json")).expect("figures")).expect("JSON");
    let curve = json["curves"].as_array().expect("a list");
    let values: Vec<&str> = curve.iter().map(|point| point["value"].as_str().expect("text")).collect();
    assert_eq!(values, ["1/255", "8/255", "32/255", "1", "10"]);
    let robust: Vec<f64> =
        curve.iter().map(|point| point["robust"]["value"].as_f64().expect("a rate")).collect();
    assert!(robust[0] >= robust[1] && robust[1] >= robust[2] && robust[3] >= robust[4], "{robust:?}");
    // The points that are the attack of the audit have its figure.
    let own = &json["untargeted"]["robustness"]["micro_accuracy"]["value"];
    let own = own.as_f64().expect("robust accuracy");
    assert!((robust[4] - own).abs() < 1e-12 || robust[4] < own, "{robust:?} {own}");
    let csv = fs::read_to_string(out.join("curves.csv")).expect("a curve");
    assert_eq!(csv.lines().count(), 6);
    assert!(csv.contains("epsilon,32/255,pgd-epsilon-32of255,"), "{csv}");
    succeed(&[&words[..], &["--resume"]].concat());
    assert_eq!(fs::read_to_string(out.join("curves.csv")).expect("a curve"), csv);
    assert!(succeed(&["show", text(&out)]).contains("robust accuracy"));
}

#[test]
fn curves_that_make_no_sense_are_refused() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (model, out) = (trained().join("model"), place.path().join("out"));
    let message = |attack: &str, set: &str| {
        let fixed = ["audit", "--model", text(&model), "--data", faces(), "--out", text(&out)];
        fail(2, &[&fixed[..], &["--attack", attack, "--set", set]].concat())
    };
    assert!(message("eyeglasses", "curve.epsilon=['8/255']").contains("has no epsilon"));
    assert!(message("pgd", "curve.steps=[0]").contains("curve.steps = 0"));
    assert!(message("pgd", "curve.epsilon=[8]").contains("8/255"));
    assert!(message("pgd", "curve.radius=[8]").contains("radius"));
    assert!(!out.exists(), "a run was begun");
}
