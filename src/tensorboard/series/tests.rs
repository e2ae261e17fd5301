//! A file that TensorBoard's own reader has read, and what goes into one.

use serde_json::{Value as Json, json};

use super::*;

/// What comes of [`log`] and [`dot`]. `scripts/tensorboard/read.py` read it with TensorBoard 2.21.0 and
/// printed `golden.txt`.
const GOLDEN: &[u8] = include_bytes!("../../../assets/tensorboard/golden.tfevents");

/// A picture of one red pixel.
fn dot() -> Picture {
    let png = include_bytes!("../../../assets/tensorboard/dot.png").to_vec();
    Picture { width: 1, height: 1, png }
}

fn taken(events: &[Event]) -> EventFile {
    let mut file = EventFile::default();
    for event in events {
        file.take(event);
    }
    file
}

fn occurrence(time: f64, kind: &str, data: Json) -> Event {
    Event { time, kind: kind.to_owned(), data }
}

fn epoch(time: f64, number: u64, robust: Option<f64>) -> Event {
    let validation =
        robust.map(|robust| json!({"images": 8, "clean_accuracy": 0.75, "robust_accuracy": robust}));
    let data = json!({"epoch": number, "terms": [["adversarial", 1.5], ["größe", 0.25]], "learning_rate": 0.1,
        "validation": validation});
    occurrence(time, "epoch", data)
}

fn log() -> Vec<Event> {
    let step = json!({"epoch": 2, "steps": 100, "step": 50, "terms": [["adversarial", 2.0]]});
    let figures = AuditFigures { clean: Some([7, 8]), robust: Some([3, 4]), ..AuditFigures::default() };
    let batch = AuditBatch { attack: "pgd".into(), done: 300, figures, ..AuditBatch::default() };
    vec![
        occurrence(1_700_000_000.25, "train_start", json!({})),
        epoch(1_700_000_001.0, 1, Some(0.5)),
        occurrence(1_700_000_002.0, "step", step),
        epoch(1_700_000_003.0, 2, None),
        occurrence(1_700_000_004.0, "coffee", json!(1)),
        occurrence(1_700_000_005.0, "audit_batch", serde_json::to_value(batch).expect("JSON")),
    ]
}

#[test]
fn the_file_that_tensorboard_read() {
    let found = taken(&log()).finish(vec![("worst_pair/clean".to_owned(), dot())]);
    if let Some(place) = std::env::var_os("SYFAR_WRITE_GOLDEN") {
        std::fs::write(place, &found).expect("written");
    }
    assert!(found == GOLDEN, "{} bytes, expected {}", found.len(), GOLDEN.len());
}

fn steps(series: &Series, tag: &str) -> Vec<u64> {
    series.tags[tag].iter().map(|point| point.step).collect()
}

#[test]
fn a_step_that_is_told_again_replaces_what_came_after_it() {
    let mut series = Series::default();
    for (time, number) in [(1.0, 1), (2.0, 2), (3.0, 3), (9.0, 2), (10.0, 3)] {
        series.scalar((time, number), "loss", Some(time));
    }
    assert_eq!(steps(&series, "loss"), [1, 2, 3]);
    assert_eq!(series.tags["loss"][1].time.to_bits(), 9.0_f64.to_bits());
    series.scalar((11.0, 4), "loss", None);
    assert_eq!(steps(&series, "loss").len(), 3);
}

/// An audit of which two points of a curve are told after its own rows, then its end.
#[test]
fn points_of_a_curve_leave_the_series_of_the_audit_alone() {
    let batch = |time: f64, attack: &str, done: u64, robust: u64| {
        let figures =
            AuditFigures { clean: Some([7, 8]), robust: Some([robust, 8]), ..AuditFigures::default() };
        let batch = AuditBatch { attack: attack.to_owned(), done, figures, ..AuditBatch::default() };
        occurrence(time, "audit_batch", serde_json::to_value(batch).expect("JSON"))
    };
    let end = AuditFigures { clean: Some([7, 8]), robust: Some([3, 8]), ..AuditFigures::default() };
    let log = [
        batch(1.0, "pgd", 100, 5),
        batch(2.0, "pgd", 300, 4),
        batch(3.0, "pgd-epsilon-2of255", 50, 6),
        batch(4.0, "pgd-epsilon-16of255", 20, 2),
        batch(5.0, "pgd-epsilon-16of255", 60, 1),
        occurrence(6.0, "audit_end", serde_json::to_value(end).expect("JSON")),
    ];
    let series = taken(&log).with_pictures(vec![("worst_pair/clean".to_owned(), dot())]);
    for tag in ["audit/clean_accuracy", "audit/pgd/robust_accuracy"] {
        assert_eq!(steps(&series, tag), [100, 300], "{tag}");
    }
    assert_eq!(steps(&series, "audit/pgd-epsilon-2of255/robust_accuracy"), [50]);
    assert_eq!(steps(&series, "audit/pgd-epsilon-16of255/robust_accuracy"), [20, 60]);
    assert_eq!(steps(&series, "worst_pair/clean"), [300]);
    // The end counts once more, at the last row.
    let Held::Value(Value::Scalar(robust)) = series.tags["audit/pgd/robust_accuracy"][1].held else {
        panic!("a number")
    };
    assert!((robust - 3.0 / 8.0).abs() < 1e-12, "{robust}");
}

#[test]
fn numbers_of_any_size_are_steps() {
    let step = json!({"epoch": u64::MAX, "steps": u64::MAX, "step": u64::MAX, "terms": [["loss", 1.0]]});
    assert_eq!(steps(&taken(&[occurrence(0.0, "step", step)]).series, "steps/loss"), [u64::MAX]);
}

#[test]
fn heat_maps_are_thinned_and_the_last_is_kept() {
    let mut series = Series::default();
    let cells = Some(Cells { counts: vec![vec![1, 1], vec![0, 2]], attempts: None });
    let matrix = Snapshot { classes: 2, cells, ..Snapshot::default() };
    for number in 1..=50 {
        series.matrix((0.0, number), "validation", Some(&matrix));
    }
    series.thin();
    let found = steps(&series, "validation/rates");
    assert_eq!((found.len(), found.last()), (MOST_PICTURES, Some(&50)));
    assert!(found.windows(2).all(|pair| (2..=3).contains(&(pair[1] - pair[0]))), "{found:?}");
}

#[test]
fn nothing_and_nonsense_make_an_empty_file() {
    let empty = taken(&[]).finish(Vec::new());
    let odd = [
        occurrence(0.0, "epoch", json!("x")),
        occurrence(0.0, "step", Json::Null),
        occurrence(0.0, "audit_end", json!(3)),
    ];
    assert_eq!(taken(&odd).finish(Vec::new()), empty);
    assert_eq!(empty.len(), 8 + 4 + 9 + 15 + 4);
}
