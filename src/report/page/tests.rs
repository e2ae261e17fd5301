//! What a page says, read back from its HTML.

use serde_json::{Value, json};

use super::{CheckLine, Checks, Counts, Example, Page, RunSource, Thresholds, TrainingEpoch, html};
use crate::Seed;
use crate::metrics::{AuditCounts, ConfusionMatrix, FairnessReport, GroupColumn, SuccessMatrix};

/// Names that a careless page would run, turn round or choke on.
pub(super) fn hostile() -> Vec<String> {
    [
        "<script>document.title = 'owned'</script>".to_owned(),
        "</script><img src=x onerror=alert(1)>".to_owned(),
        "\u{202e}שלום\" onmouseover=\"alert(2)".to_owned(),
        "👩🏽‍🦰🧑‍🚀".to_owned(),
        "x".repeat(200),
        "{{ 7 * 7 }}{% raw %}".to_owned(),
    ]
    .to_vec()
}

/// A run with every section, `classes` of ten pictures each.
pub(super) fn run(classes: Vec<String>) -> RunSource {
    let number = classes.len();
    let (mut clean, mut untargeted) = (ConfusionMatrix::new(number), ConfusionMatrix::new(number));
    let mut targeted = SuccessMatrix::new(number);
    for label in 0..number {
        clean.add_images(label, label, 9);
        clean.add_images(label, (label + 1) % number, 1);
        untargeted.add_images(label, label, 4);
        untargeted.add_images(label, (label + 1) % number, 5);
        untargeted.add_images(label, (label * 7 + 3) % number, 1);
        for target in (0..number).filter(|&target| target != label) {
            (0..4).for_each(|attack| targeted.add(label, target, attack < (2 * label + target) % 5));
        }
    }
    let of_class = (0..number).map(|class| ["<b>odd</b>", "even"][class % 2].to_owned()).collect();
    let counts = AuditCounts {
        classes,
        attack: "glasses & <more>".into(),
        clean: clean.clone(),
        untargeted: Some(untargeted.clone()),
        targeted: Some(targeted.clone()),
        outcomes: None,
        groups: vec![GroupColumn { name: "parity".into(), of_class }],
    };
    let draws = if number > 50 { 0 } else { 100 };
    let mut metrics =
        serde_json::to_value(FairnessReport::compute(&counts, Seed::new(1), draws)).expect("JSON");
    metrics["curves"] = json!([
        {"axis": "epsilon", "value": "2/255", "attack": "a", "robust": {"value": 0.7, "successes": 7, "n": 10, "low": 0.4, "high": 0.9}},
        {"axis": "epsilon", "value": "8/255", "attack": "b", "robust": {"value": 0.4, "successes": 4, "n": 10, "low": 0.17, "high": 0.69}},
    ]);
    RunSource {
        name: "runs/a".into(),
        metrics: Some(metrics),
        counts: Counts { clean: Some(clean), untargeted: Some(untargeted), targeted: Some(targeted) },
        checks: Some(Checks {
            images: 8,
            lines: ["passed", "failed", "warning", "not_applicable"].map(check).to_vec(),
            left_out: vec![("steps".into(), "only the cheap checks are made".into())],
        }),
        origin: vec![("command".into(), "syfar audit --out 'a b'".into())],
        config: "seed = 0\n# </pre>".into(),
        training: vec![epoch(1), epoch(2)],
        examples: vec![Example { from: 1, to: 0, image: "a".into(), pictures: [vec![1], vec![2], vec![3]] }],
        unfinished: false,
        notes: Vec::new(),
    }
}

fn check(status: &str) -> CheckLine {
    CheckLine {
        name: format!("noise-{status}"),
        status: status.into(),
        seen: "2 < 3".into(),
        threshold: "more than 1".into(),
        meaning: "Weak.".into(),
        advice: (status == "failed").then(|| "Use another.".into()),
    }
}

fn epoch(epoch: usize) -> TrainingEpoch {
    TrainingEpoch {
        epoch,
        terms: vec![("clean".into(), 1.0 / epoch as f64)],
        train_accuracy: Some(0.5),
        clean_accuracy: Some(0.7),
        robust_accuracy: None,
    }
}

fn page(runs: &[RunSource]) -> String {
    html(&Page::of(runs, &Thresholds::default())).expect("the template is whole")
}

/// The `<data>` elements of a page: place in `metrics.json`, value and text.
fn numbers(html: &str) -> Vec<(String, f64, String)> {
    html.split("<data value=\"")
        .skip(1)
        .map(|rest| {
            let (value, rest) = rest.split_once('"').expect("a value");
            let (path, rest) =
                rest.split_once("data-path=\"").and_then(|(_, rest)| rest.split_once('"')).expect("a path");
            let text = rest.split_once('>').and_then(|(_, rest)| rest.split_once('<')).expect("a text").0;
            (path.replace("&#x2f;", "/"), value.parse().expect("a number"), text.to_owned())
        })
        .collect()
}

/// Every number of a page is that of `metrics.json`, and its text is the number rounded. Gives how many there were.
fn numbers_are_those_of(html: &str, metrics: &Value) -> usize {
    let found = numbers(html);
    for (path, value, text) in &found {
        let there = metrics
            .pointer(path)
            .and_then(Value::as_f64)
            .unwrap_or_else(|| panic!("{path} is not in metrics.json"));
        assert_eq!(value.to_bits(), there.to_bits(), "{path}");
        let forms = [
            format!("{value:.3}"),
            format!("{:.1} %", 100.0 * value),
            format!("{value}"),
            format!("p {value:.3}"),
        ];
        assert!(
            forms.contains(text) || (text == "p &lt; 0.001" && *value < 0.001),
            "{path}: {value} is shown as {text}"
        );
    }
    found.len()
}

#[test]
fn every_number_equals_metrics_json() {
    let run = run(hostile());
    let html = page(std::slice::from_ref(&run));
    let count = numbers_are_those_of(&html, run.metrics.as_ref().expect("there"));
    assert!(count > 100, "{count} numbers");
}

#[test]
fn hostile_names_are_shown_and_not_run() {
    let classes = hostile();
    let html = page(&[run(classes.clone())]);
    assert_eq!(html.matches("<script").count(), 2, "the data and the script of the page");
    assert_eq!(html.matches("</script").count(), 2);
    let (shown, data) = html.split_once("id=\"data\">").expect("the data");
    assert!(!html.contains("<img src=x") && !html.contains("<b>odd") && !shown.contains("\" onmouseover"));
    assert!(html.contains("{{ 7 * 7 }}{% raw %}"), "a name is no template");
    assert!(html.contains("&lt;script&gt;document.title"));
    assert!(html.contains(&"x".repeat(200)) && html.contains("👩🏽‍🦰🧑‍🚀"));
    let data: Value = serde_json::from_str(data.split_once("</script>").expect("its end").0).expect("JSON");
    assert_eq!(data["classes"], json!(classes), "and come back whole");
}

#[test]
fn the_data_are_the_counts() {
    let run = run(hostile());
    let page = Page::of(std::slice::from_ref(&run), &Thresholds::default());
    let targeted = run.counts.targeted.as_ref().expect("there");
    let cells = &page.data.maps[0].cells["all"];
    for from in 0..6 {
        for to in (0..6).filter(|&to| to != from) {
            assert_eq!(cells.hits[from * 6 + to], targeted.successes(from, to));
            assert_eq!(cells.tries[from], targeted.attempts(from, to));
        }
    }
    assert_eq!(
        page.data.maps.iter().map(|map| map.key).collect::<Vec<_>>(),
        ["targeted", "untargeted", "clean"]
    );
}

#[test]
fn sections_stand_in_the_order_that_readers_expect() {
    let html = page(&[run(hostile()), run(hostile())]);
    let at =
        |id: &str| html.find(&format!("<section id=\"{id}\"")).unwrap_or_else(|| panic!("no section {id}"));
    let order = [
        "verdict",
        "checks",
        "accuracy",
        "pairs-map",
        "sources",
        "groups",
        "curves",
        "comparison",
        "reproduce",
        "limits",
    ];
    assert!(order.map(at).is_sorted());
    for part in [
        "noise-failed",
        "Use another.",
        "only the cheap checks",
        "polyline",
        "dumbbell",
        "png;base64,AQ==",
        "syfar audit",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(html.contains("Do not believe these figures: 1 check failed"));
}

#[test]
fn what_is_missing_is_said_and_the_rest_is_shown() {
    let whole = run(hostile());
    let without = |keys: &[&str]| {
        let mut run = whole.clone();
        let metrics = run.metrics.as_mut().and_then(Value::as_object_mut).expect("there");
        for key in keys {
            metrics.insert((*key).to_owned(), Value::Null);
        }
        run
    };
    let mut untargeted = without(&["targeted"]);
    untargeted.counts.targeted = None;
    let mut clean = without(&["targeted", "untargeted"]);
    clean.counts = Counts { clean: whole.counts.clean.clone(), ..Counts::default() };
    let mut foreign = whole.clone();
    foreign.counts.targeted = Some(SuccessMatrix::new(2));
    let cases: [(&str, RunSource, &[&str]); 6] = [
        (
            "no targeted attack",
            untargeted,
            &["No targeted attacks were made", "still recognises", "Errors from one class"],
        ),
        ("nothing attacked", clean, &["was not measured", "Nothing was attacked"]),
        ("no groups", without(&["groups"]), &["No groups of classes were given"]),
        ("matrices of other classes", foreign, &["still recognises", "Errors under the untargeted attack"]),
        (
            "no audit",
            RunSource { metrics: None, counts: Counts::default(), ..whole.clone() },
            &["There are no figures", "Accuracy in training", "no matrices"],
        ),
        (
            "nothing",
            RunSource { name: "empty".into(), notes: vec!["not finished".into()], ..RunSource::default() },
            &["There are no figures", "not finished", "no log"],
        ),
    ];
    for (name, run, expected) in cases {
        let html = page(std::slice::from_ref(&run));
        for text in expected {
            assert!(html.contains(text), "{name}: {text}");
        }
        numbers_are_those_of(&html, run.metrics.as_ref().unwrap_or(&Value::Null));
    }
    assert!(page(&[]).contains("There are no figures"));
}

#[test]
fn what_an_unfinished_audit_has_not_yet_is_not_said_to_be_left_out() {
    let mut begun = run(hostile());
    begun.unfinished = true;
    begun.counts.targeted = None;
    let metrics = begun.metrics.as_mut().expect("there");
    (metrics["targeted"], metrics["groups"]) = (Value::Null, Value::Null);
    let html = page(&[begun]);
    assert!(html.contains("no targeted attacks yet") && html.contains("when the audit is finished"));
    assert!(!html.contains("--targets all") && !html.contains("No groups of classes were given"));
}

#[test]
fn accuracies_beside_those_of_groups_are_of_all_classes_whatever_else_is_missing() {
    let mut old = run(hostile());
    let metrics = old.metrics.as_mut().expect("there");
    for goal in ["clean", "untargeted"] {
        metrics[goal]["robustness"]["micro_accuracy"] = Value::Null;
    }
    let html = page(&[old]);
    let row = html
        .split("<tr class=\"overall\">")
        .nth(1)
        .and_then(|rest| rest.split("</tr>").next())
        .expect("a row");
    for (cell, path) in [(2, "clean/robustness/macro"), (3, "untargeted/robustness/macro"), (6, "not known")]
    {
        let text = row.split("<td>").nth(cell).expect("a cell").replace("&#x2f;", "/");
        assert!(text.contains(path), "{cell}: {text}");
    }
}

#[test]
fn one_class_has_a_page() {
    let mut one = run(vec!["alone".into()]);
    one.examples.clear();
    let html = page(std::slice::from_ref(&one));
    assert!(html.contains("There is one class"));
    numbers_are_those_of(&html, one.metrics.as_ref().expect("there"));
}

#[test]
fn an_older_report_shows_what_it_has() {
    let mut old = run(hostile());
    let metrics = old.metrics.as_mut().expect("there");
    metrics["schema_version"] = json!(1);
    // Bare numbers, and figures that there were not yet.
    metrics["groups"][0]["untargeted"]["flow"]["largest_gap"]["gap"] = json!(0.25);
    metrics["untargeted"]["symmetry"] = json!({"a1": {"value": 2.0, "n": 60}});
    metrics["targeted"]["symmetry"] = Value::Null;
    let html = page(std::slice::from_ref(&old));
    assert!(html.contains("schema version 1"));
    assert!(html.contains("2.000") && html.contains("0.250"));
    numbers_are_those_of(&html, old.metrics.as_ref().expect("there"));
}

#[test]
fn runs_of_other_classes_are_compared_in_what_they_share() {
    let mut other = run((0..4).map(|class| format!("other {class}")).collect());
    other.name = "runs/b".into();
    let html = page(&[run(hostile()), other]);
    assert!(html.contains("do not have the same classes") && html.contains("runs&#x2f;b"));
    assert!(!html.contains("Asymmetry of errors, sum"));
}

#[test]
fn a_thousand_classes_fit_in_two_megabytes() {
    for number in [40, 1000] {
        let html = page(&[run((0..number).map(|class| format!("person {class:04}")).collect())]);
        assert!(html.len() < 2_000_000, "{number} classes: {} bytes", html.len());
    }
}
