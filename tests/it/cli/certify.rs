//! Randomised smoothing.

use std::fs;

use serde_json::Value;

use super::{events, faces, fail, succeed, text, trained};

#[test]
fn certificates_are_written_row_by_row_and_resumed() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (model, out) = (trained().join("model"), place.path().join("out"));
    let fixed =
        ["certify", "--model", text(&model), "--data", faces(), "--out", text(&out), "--sigma", "0.1"];
    let words = [&fixed[..], &["--set", "smoothing.samples=200", "--set", "smoothing.selection=20"]].concat();
    let printed = succeed(&words);
    assert!(printed.contains("certified accuracy") && printed.contains("says nothing of L-inf"), "{printed}");
    let (csv, json) = (out.join("certificates.csv"), out.join("certified.json"));
    let (rows, figures) =
        (fs::read_to_string(&csv).expect("rows"), fs::read_to_string(&json).expect("figures"));
    assert_eq!(rows.lines().next(), Some("image,class,prediction,radius,votes"));
    assert_eq!(rows.lines().count(), 9);
    let found: Value = serde_json::from_str(&figures).expect("JSON");
    assert_eq!(found["figures"]["images"], 8);
    assert_eq!(found["figures"]["certified"].as_array().map(Vec::len), Some(5));
    for row in rows.lines().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        let radius: f64 = cells[3].parse().expect("a radius");
        // The most that 200 samples of noise 0.1 can certify: 0.1 * quantile(0.001^(1/200)) = 0.183.
        assert!(radius <= 0.184 && (cells[2].is_empty() == (radius == 0.0)), "{row}");
    }
    // Cut in the middle of a row, it ends in the same rows.
    fs::write(&csv, &rows[..rows.len() / 2]).expect("written");
    succeed(&[&words[..], &["--resume"]].concat());
    assert_eq!(fs::read_to_string(&csv).expect("rows"), rows);
    assert_eq!(fs::read_to_string(&json).expect("figures"), figures);
    fs::write(&csv, "image,class,prediction,radius,votes\nother.png,0,,0,0\n").expect("written");
    assert!(fail(1, &[&words[..], &["--resume"]].concat()).contains("other.png"));
    let told = events(&out, "failed");
    assert!(told.len() == 1 && told[0]["error"].to_string().contains("other.png"), "{told:?}");
}

#[test]
fn noise_that_makes_no_sense_is_refused() {
    let place = tempfile::tempdir().expect("temporary directory");
    let (model, out) = (trained().join("model"), place.path().join("out"));
    let message = |more: &[&str]| {
        let fixed = ["certify", "--model", text(&model), "--data", faces(), "--out", text(&out)];
        fail(2, &[&fixed[..], more].concat())
    };
    assert!(message(&["--sigma", "0"]).contains("smoothing.sigma"));
    assert!(message(&["--sigma", "64"]).contains("0.25"));
    assert!(message(&["--set", "smoothing.alpha=1.5"]).contains("alpha"));
    assert!(message(&["--set", "smoothing.samples=0"]).contains("samples"));
    assert!(message(&["--set", "radii=[-1.0]"]).contains("radii"));
    assert!(!out.exists(), "a run was begun");
}
