//! Attacks whose gradients are in numbers of 16 bits.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{run, succeed, text};

/// Budgets from hardly any effect to nearly all.
const BUDGETS: &str = "curve.epsilon=['1/255', '2/255', '4/255', '8/255', '16/255']";

/// Robust accuracy at each budget, and the number of pictures.
fn robust(audit: &Path) -> (Vec<f64>, f64) {
    let json: Value =
        serde_json::from_slice(&fs::read(audit.join("metrics.json")).expect("figures")).expect("JSON");
    let curve = json["curves"].as_array().expect("a list");
    let figure = |point: &Value, key: &str| point["robust"][key].as_f64().expect("a number");
    (curve.iter().map(|point| figure(point, "value")).collect(), figure(&curve[0], "n"))
}

#[test]
fn attacks_in_sixteen_bits_are_as_strong() {
    let place = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str| text(&place.path().join(name)).to_owned();
    let (faces, model) = (at("faces"), at("run"));
    succeed(&["data", "synthetic-faces", "--people", "4", "--images", "60", "--out", &faces]);
    let training = ["--set", "model.preprocessing.side=32", "--set", "train.epochs=4", "--set"];
    let objective = "objective={kind='standard'}";
    succeed(&[&["train", "--data", &faces, "--out", &model][..], &training, &[objective]].concat());
    let model = format!("{model}/model");
    let audit = |out: &str, precision: &str| {
        let fixed = ["audit", "--model", &model, "--data", &faces, "--attack", "pgd", "--targets", "none"];
        let set = [BUDGETS, precision, "attack.steps=10", "checks.depth=off"];
        let set = set.iter().flat_map(|set| ["--set", set]);
        run(&fixed.into_iter().chain(["--out", out]).chain(set).collect::<Vec<_>>())
    };
    let full = at("full");
    assert!(audit(&full, "attack_precision=full").status.success());
    let (full, n) = robust(full.as_ref());
    assert!(full.iter().any(|rate| (0.1..0.9).contains(rate)), "no budget tells anything: {full:?}");
    for (precision, instructions) in [("half", "AVX-512 FP16"), ("bfloat16", "AVX-512 BF16")] {
        let short = at(precision);
        let output = audit(&short, &format!("attack_precision={precision}"));
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.contains(instructions), "{errors}");
            continue;
        }
        for (full, short) in full.iter().zip(&robust(short.as_ref()).0) {
            // The same pictures and the same start: far below the noise of two samples.
            let noise = (0.25 / n).sqrt();
            assert!(
                (full - short).abs() <= noise,
                "{full:?} in full, {short:?} in {precision}, noise {noise}"
            );
        }
    }
}
