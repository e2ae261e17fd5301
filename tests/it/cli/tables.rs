//! `syfar metrics` and `syfar compare` on files of other programs.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{fail, run, succeed, text};

/// A folder and the files that tests put there.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("temporary directory"))
    }

    fn put(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, contents).expect("written");
        path
    }
}

const MATRIX: &str = ",anna,ben,carl\nanna,12,5,3\nben,1,18,1\ncarl,8,0,12\n";

/// Thirty images of each of three classes; those with a number below `wrong` are taken for the next class.
fn rows(wrong: usize) -> String {
    let row = |class: usize, image: usize| {
        let prediction = if image < wrong + class { (class + 1) % 3 } else { class };
        format!("{class}-{image},{class},{prediction},{}\n", ["f", "m", "m"][class])
    };
    let all: String = (0..3).flat_map(|class| (0..30).map(move |image| row(class, image))).collect();
    format!("id,label,prediction,gender\n{all}")
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(&[arguments, &["--json"]].concat())).expect("JSON")
}

#[test]
fn a_confusion_matrix_in_every_form() {
    let place = Place::new();
    let matrix = place.put("cm.csv", MATRIX);
    let groups = place.put("groups.csv", "class,gender,hair\nanna,f,dark\nben,m,dark|long\ncarl,m,long\n");
    let input = [
        "metrics",
        "--confusion",
        text(&matrix),
        "--groups",
        text(&groups),
        "--intersections",
        "--draws",
        "50",
    ];
    let table = succeed(&input);
    for part in
        ["micro_accuracy", "0.700 [", "n 60", "chance", "carl > anna", "gender x hair", "weakest classes"]
    {
        assert!(table.contains(part), "{part}: {table}");
    }
    let found = json(&input);
    assert_eq!((&found["schema"], &found["schema_version"]), (&"syfar-metrics".into(), &1.into()));
    let part = &found["parts"][0];
    let value =
        |name: &str| part["figures"][name]["value"].as_f64().unwrap_or_else(|| panic!("{name}: {part}"));
    // Worst class 12 / 20; |5 - 1| + |3 - 8| + |1 - 0| = 10 of 18 errors, 20 images each.
    for (name, expected) in
        [("worst_class", 0.6), ("a1", 0.5), ("a1_normalised", 5.0 / 9.0), ("largest_gap", 0.25)]
    {
        assert!((value(name) - expected).abs() < 1e-12, "{name} is {}", value(name));
    }
    assert_eq!(part["groups"].as_array().map(Vec::len), Some(3));
    assert_eq!((&part["groups"][1]["overlap"], &part["groups"][0]["overlap"]), (&true.into(), &false.into()));
    assert!((value("gender_worst_group") - 0.6).abs() < 1e-12);
    let markdown = succeed(&[&input[..], &["--markdown"]].concat());
    assert!(markdown.contains("| micro\\_accuracy | 0.700 ["), "{markdown}");
    let csv = succeed(&[&input[..], &["--csv"]].concat());
    assert!(csv.starts_with("part,figure,value,low,high,n,chance,p_value\nall,micro_accuracy,0.7,"), "{csv}");
    assert_eq!(json(&input), found, "the same twice");
}

#[test]
fn the_official_format_has_the_keys_of_the_script() {
    let place = Place::new();
    let matrix = place.put("cm.csv", "12,5,3\n1,18,1\n8,0,12\n");
    let found = succeed(&["metrics", "--confusion", text(&matrix), "--format", "official"]);
    let found: Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(found["class_names"], serde_json::json!(["0", "1", "2"]));
    assert!((found["overall_acc"].as_f64().expect("number") - 0.7).abs() < 1e-8);
    assert_eq!(found["max_asymmetry_gap"]["pair"], serde_json::json!([0, 2]));
    assert!(found["subgroup_metrics"]["warning"].is_string());
}

#[test]
fn rates_have_figures_without_intervals_and_say_so() {
    let place = Place::new();
    let matrix = place.put("cm.csv", "0.6,0.25,0.15\n0.05,0.9,0.05\n0.4,0,0.6\n");
    let arguments = ["metrics", "--confusion", text(&matrix)];
    assert!(succeed(&arguments).contains("rates without counts"));
    let found = json(&arguments);
    let figures = &found["parts"][0]["figures"];
    assert!((figures["a1"]["value"].as_f64().expect("number") - 0.5).abs() < 1e-12, "{figures}");
    assert!(figures["a1"]["low"].is_null() && figures["worst_class"]["n"].is_null(), "{figures}");
}

#[test]
fn an_array_in_fortran_order_is_the_same_matrix() {
    let place = Place::new();
    let array = |order: &str, data: [u8; 9]| {
        let header = format!("{{'descr': '|u1', 'fortran_order': {order}, 'shape': (3, 3), }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes().chain(data));
        place.put(&format!("{order}.npy"), bytes)
    };
    let files =
        [array("False", [12, 5, 3, 1, 18, 1, 8, 0, 12]), array("True", [12, 1, 8, 5, 18, 0, 3, 1, 12])];
    let [c, fortran] =
        files.map(|file| json(&["metrics", "--confusion", text(&file), "--draws", "20"])["parts"].clone());
    assert_eq!(c, fortran);
    let short = place.put("short.npy", &fs::read(place.0.path().join("True.npy")).expect("there")[..60]);
    assert!(fail(1, &["metrics", "--confusion", text(&short)]).contains("short.npy"));
}

#[test]
fn predictions_of_several_attacks_are_parts() {
    let place = Place::new();
    let mut rows = "image,label,attack,target,prediction\n".to_owned();
    for image in 0..20 {
        let class = ["anna", "ben"][image % 2];
        let other = ["ben", "anna"][image % 2];
        let fooled = if image % 4 == 0 { other } else { class };
        rows.extend([format!(
            "{image},{class},,,{class}\n{image},{class},pgd,,{fooled}\n{image},{class},pgd,{other},{fooled}\n"
        )]);
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(rows.as_bytes()).expect("memory");
    let file = place.put("rows.csv.gz", encoder.finish().expect("memory"));
    let groups = place.put("groups.csv", "class,g\nanna,x\nben,y\n");
    let arguments = ["--groups", text(&groups), "--draws", "20"];
    let found = json(&[&["metrics", "--predictions", text(&file)], &arguments[..]].concat());
    let [clean, pgd] = [0, 1].map(|part| &found["parts"][part]);
    assert_eq!((&clean["name"], &pgd["name"]), (&"clean".into(), &"pgd".into()));
    assert_eq!(clean["figures"]["micro_accuracy"]["value"], 1.0);
    assert_eq!(pgd["figures"]["worst_class"]["value"], 0.5);
    assert_eq!(pgd["figures"]["targeted_success"]["value"], 0.25);
    assert!(clean["targeted"].is_null() && pgd["targeted"].is_object());
    // Five of ten pictures of anna become ben, and none the other way.
    let flow = &pgd["figures"]["g_targeted_flow_gap"];
    assert_eq!(flow["value"], 0.5);
    let [low, high] = ["low", "high"].map(|end| flow[end].as_f64().expect("images have names"));
    assert!(0.0 < low && low < 0.5 && 0.5 < high && high < 1.0, "{low} {high}");
}

#[test]
fn a_condition_that_holds_is_exit_code_three() {
    let place = Place::new();
    let [good, bad] = [("good.csv", 2), ("bad.csv", 12)].map(|(name, wrong)| place.put(name, rows(wrong)));
    let compare = |base: &Path, candidate: &Path, conditions: &[&str]| {
        let mut arguments = vec!["compare", text(base), text(candidate), "--draws", "200"];
        for condition in conditions {
            arguments.extend(["--fail-if", condition]);
        }
        run(&arguments)
    };
    let output = compare(&good, &bad, &["worst_class < base - 0.02", "a1 > 100"]);
    assert_eq!(output.status.code(), Some(3));
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("same 90 images") && out.contains("-0.333"), "{out}");
    assert!(errors.contains("worst_class < base - 0.02: holds") && !errors.contains("a1 >"), "{errors}");
    assert_eq!(compare(&bad, &good, &["worst_class < base - 0.02"]).status.code(), Some(0));
    assert_eq!(compare(&good, &bad, &["worst_class < base if significant"]).status.code(), Some(3));
    assert_eq!(compare(&good, &good, &["worst_class <= base only if significant"]).status.code(), Some(0));
    let markdown = succeed(&["compare", text(&good), text(&bad), "--draws", "0", "--markdown"]);
    assert!(markdown.contains("| worst\\_class | "), "{markdown}");
    let unknown = compare(&good, &bad, &["worst_clas < base"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("Did you mean `worst_class`"));
    assert_eq!(compare(&good, &bad, &["worst_class < < 1"]).status.code(), Some(2));
}

#[test]
fn reports_matrices_and_predictions_compare_with_each_other() {
    let place = Place::new();
    let rows = place.put("rows.csv", rows(3));
    let matrix = place.put("cm.csv", "27,3,0\n0,26,4\n5,0,25\n");
    let report = place
        .put("report.json", succeed(&["metrics", "--predictions", text(&rows), "--json", "--draws", "9"]));
    for candidate in [&matrix, &report] {
        let found = json(&["compare", text(&rows), text(candidate), "--draws", "9"]);
        let worst = found["parts"][0]["differences"]
            .as_array()
            .expect("list")
            .iter()
            .find(|d| d["name"] == "worst_class");
        let difference = worst.and_then(|worst| worst["difference"].as_f64()).expect("a number");
        assert!(difference.abs() < 1e-12, "{found}");
    }
    let alone = fail(1, &["compare", text(&report), text(&report), "--fail-if", "a1 < base if significant"]);
    assert!(alone.contains("no interval") && alone.contains("give predictions"), "{alone}");
}

#[test]
fn mistakes_name_file_line_and_column() {
    let place = Place::new();
    let cm = |contents: &str| {
        let path = place.put("cm.csv", contents);
        fail(1, &["metrics", "--confusion", text(&path)])
    };
    assert!(cm("1,2\n3,-4\n").contains("cm.csv, line 2, column 2: -4 is negative"));
    assert!(cm("1,2,3\n4,5,6\n").contains("square"));
    let predictions = |contents: &str, more: &[&str]| {
        let path = place.put("rows.csv", contents);
        fail(1, &[&["metrics", "--predictions", text(&path)], more].concat())
    };
    let range = predictions("id,label,prediction\na,0,7\n", &["--classes", "3"]);
    assert!(
        range.contains("rows.csv, line 2, column 3 (`prediction`)") && range.contains("0 to 2"),
        "{range}"
    );
    assert!(predictions("id,label,prediction\na,0,0\na,0,0\n", &[]).contains("line 3, column 1 (`id`)"));
    let column = predictions("id,label,prediction\na,0,0\n", &["--group-column", "sex"]);
    assert!(column.contains("no column `sex`"), "{column}");
    let groups = place.put("groups.csv", "class,g\n0,a\n9,b\n");
    let unknown = predictions("id,label,prediction\na,0,0\n", &["--groups", text(&groups)]);
    assert!(unknown.contains("groups.csv, line 3, column 1 (`class`)"), "{unknown}");
    assert!(fail(1, &["metrics", "--confusion", "/nowhere/cm.csv"]).contains("/nowhere/cm.csv"));
    assert!(fail(2, &["metrics"]).contains("--confusion"));
}
