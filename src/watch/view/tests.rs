//! Logs of every kind, and what is shown of them.

use serde_json::{Value, json};

use super::*;
use crate::metrics::{ConfusionMatrix, SuccessMatrix};
use crate::{Seed, run};

fn event(time: f64, kind: &str, data: Value) -> Event {
    Event { time, kind: kind.to_owned(), data }
}

fn view(events: &[Event]) -> RunView {
    let mut view = RunView::default();
    for event in events {
        view.take(event);
    }
    view
}

fn epoch(time: f64, number: usize, best: bool) -> Event {
    let counts: ConfusionMatrix = [[3, 1], [0, 4]].into();
    let data = json!({
        "epoch": number, "learning_rate": 0.1, "terms": [["adversarial", 1.5], ["symmetry", 0.25]],
        "train_accuracy": 0.5, "best": best, "images_per_second": 80.0,
        "validation": {"images": 8, "clean_accuracy": 0.9, "robust_accuracy": 0.875, "clean_loss": 0.1, "robust_loss": 0.2},
        "confusion": Snapshot::of_confusion(&counts, Seed::new(0)),
    });
    event(time, "epoch", data)
}

fn training() -> Vec<Event> {
    let start = json!({"command": "syfar train", "classes": ["ANNA", "BO"], "epochs": 3, "device": "flex"});
    let step = |time, epoch, step| {
        let data = json!({"epoch": epoch, "epochs": 3, "step": step, "steps": 4, "terms": [["adversarial", 2.0]],
            "images_per_second": 120.0, "seconds_left": 30.0});
        event(time, "step", data)
    };
    vec![event(100.0, "train_start", start), step(102.0, 1, 1), epoch(110.0, 1, true), step(112.0, 2, 2)]
}

#[test]
fn the_end_of_an_epoch_is_its_last_step() {
    let events = [training(), vec![epoch(120.0, 2, false)]].concat();
    let view = view(&events);
    let step = view.step.as_ref().expect("a step");
    assert_eq!((step.epoch, step.step, step.terms[0].1), (2, 4, 1.5));
    assert_eq!(view.progress(), Some(2.0 / 3.0));
}

#[test]
fn a_training_that_goes_on() {
    let view = view(&training());
    assert_eq!(view.kind.as_deref(), Some("train"));
    let step = view.step.as_ref().expect("a step");
    assert_eq!((step.epoch, step.step, step.terms[0].1), (2, 2, 2.0));
    let (number, validation) = view.validation.expect("an epoch");
    assert_eq!((number, validation.robust_accuracy, view.best_epoch), (1, Some(0.875), Some(1)));
    assert_eq!(view.progress(), Some((1.0 + 2.0 / 4.0) / 3.0));
    assert_eq!((view.speed, view.seconds_left), (Some((120.0, "images/s")), Some(30.0)));
    let (of, matrix) = view.matrix.as_ref().expect("a matrix");
    assert_eq!((of.as_str(), matrix.pairs[0].forward), ("validation pictures under attack, epoch 1", [1, 4]));
    assert_eq!((view.class(0), view.class(7)), ("ANNA".to_owned(), "class 7".to_owned()));
    assert_eq!(view.history.len(), 1);
    assert_eq!(view.history[0].a1, Some(0.25));
    assert_eq!(view.status(115.0), Status::Running);
    let lines: Vec<&str> = view.log.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(lines[0], "train begins: syfar train");
    assert_eq!(
        lines[1],
        "epoch 1  adversarial 1.500  symmetry 0.250  clean 0.900  robust 0.875  best so far"
    );
}

#[test]
fn a_writer_that_says_nothing_may_be_gone() {
    let mut log = training();
    let now = |log: &[Event], now| view(log).status(now);
    assert_eq!(now(&log, 112.0 + PATIENCE), Status::Running);
    assert_eq!(now(&log, 113.0 + PATIENCE), Status::Silent(PATIENCE + 1.0));
    // The clock of a copy's machine may be behind.
    assert_eq!(now(&log, 0.0), Status::Running);
    // Where a batch took five minutes, three more say nothing.
    log.push(event(412.0, "step", json!({"epoch": 2})));
    assert_eq!(now(&log, 413.0 + PATIENCE), Status::Running);
    assert_eq!(now(&log, 412.0 + 4.0 * 300.0 + 1.0), Status::Silent(1201.0));
    // The time between two sittings is no silence.
    log.push(event(90_000.0, "train_start", json!({})));
    assert_eq!(now(&log, 91_300.0), Status::Silent(1300.0));
    // Nor does a pause of the last sitting say anything of this one.
    assert_eq!(now(&log, 90_001.0 + PATIENCE), Status::Silent(PATIENCE + 1.0));
    assert_eq!(view(&[]).status(5.0), Status::Waiting);
}

#[test]
fn what_ended_says_how() {
    let mut log = training();
    log.push(event(113.0, "stopped", json!({})));
    assert_eq!(view(&log).status(1e9), Status::Stopped);
    log.push(event(500.0, "train_start", json!({"command": "syfar train --resume"})));
    let resumed = view(&log);
    assert_eq!((resumed.status(501.0), resumed.step.is_none()), (Status::Running, true));
    assert_eq!(
        resumed.log.back().map(|line| line.text.as_str()),
        Some("train goes on: syfar train --resume")
    );
    log.push(event(502.0, "failed", json!({"error": "diverged\u{1b}[31m"})));
    assert_eq!(view(&log).status(1e9), Status::Failed("diverged·[31m".to_owned()));
    log.pop();
    log.push(event(502.0, "train_end", json!({"best_epoch": 2, "seconds": 61.0})));
    let done = view(&log);
    assert_eq!((done.status(1e9), done.progress(), done.best_epoch), (Status::Finished, Some(1.0), Some(2)));
    assert_eq!(
        done.log.back().map(|line| line.text.as_str()),
        Some("train is done in 1 min 01 s; kept epoch 2")
    );
}

#[test]
fn what_ended_has_neither_speed_nor_time_left() {
    let batch = json!({"attack": "pgd", "done": 1, "total": 2, "rows_per_second": 2.0, "seconds_left": 9.0});
    let audit = vec![event(1.0, "audit_start", json!({})), event(2.0, "audit_batch", batch)];
    for (log, end) in [
        (training(), "stopped"),
        (training(), "failed"),
        (training(), "train_end"),
        (audit.clone(), "audit_end"),
        (audit, "stopped"),
    ] {
        let before = view(&log);
        assert!(before.speed.is_some() && before.seconds_left.is_some());
        let after = view(&[log, vec![event(113.0, end, json!({}))]].concat());
        assert_eq!((after.speed, after.seconds_left), (None, None), "{end}");
    }
}

#[test]
fn a_validation_is_told_of_until_something_else_goes_on() {
    let validation = event(111.0, "validation", json!({"epoch": 2, "done": 64, "total": 200}));
    let log = [training(), vec![validation]].concat();
    let found = view(&log);
    assert_eq!(found.validating, Some(Validating { epoch: 2, done: 64, total: 200 }));
    assert_eq!(found.log.len(), 2, "no line of the log");
    for next in [epoch(120.0, 2, false), log[1].clone(), event(120.0, "stopped", json!({})), log[0].clone()] {
        assert_eq!(view(&[log.clone(), vec![next]].concat()).validating, None);
    }
}

#[test]
fn what_an_audit_does_before_it_attacks_is_shown() {
    let mut log = vec![event(1.0, "audit_start", json!({}))];
    let preparing = |log: &[Event]| view(log).preparing;
    log.push(event(2.0, "check", json!({"name": "loss-noise", "number": 9})));
    assert_eq!(preparing(&log).as_deref(), Some("check 9: loss-noise"));
    let remarked = json!([{"name": "noise", "status": "failed", "seen": "much"}, {"name": "budget"}]);
    let checks =
        json!({"attack": "pgd", "images": 32, "passed": 9, "warnings": 1, "failed": 1, "remarked": remarked});
    log.push(event(3.0, "checks", checks));
    let found = view(&log);
    assert_eq!(found.preparing, None);
    let lines: Vec<&str> = found.log.iter().skip(1).map(|line| line.text.as_str()).collect();
    assert_eq!(lines, ["checks: 9 passed, 1 warn, 1 failed: noise, budget"]);
    log.push(event(4.0, "lesson", json!({"done": 2, "total": 12})));
    assert_eq!(preparing(&log).as_deref(), Some("learning, 2/12 textures"));
    for next in [event(5.0, "lessons", json!({"textures": 12})), event(5.0, "failed", json!({}))] {
        assert_eq!(preparing(&[log.clone(), vec![next]].concat()), None);
    }
}

#[test]
fn an_epoch_that_cannot_be_there_leaves_the_history_alone() {
    let mut log = vec![training()[0].clone()];
    log.extend((1..=3).map(|number| epoch(100.0 + number as f64, number, false)));
    let epochs = |log: &[Event]| view(log).history.iter().map(|point| point.epoch).collect::<Vec<_>>();
    for odd in [epoch(110.0, 0, true), epoch(110.0, 2, true), event(110.0, "epoch", json!([1]))] {
        let log = [log.clone(), vec![odd]].concat();
        assert_eq!(epochs(&log), [1, 2, 3]);
        let found = view(&log);
        assert_eq!((found.validation.map(|(epoch, _)| epoch), found.best_epoch), (Some(3), None));
        let line = &found.log.back().expect("a line").text;
        assert!(line.contains("left out"), "{line}");
    }
    // A training that goes on tells of an epoch again, and of the later ones in order.
    log.push(event(110.0, "train_start", json!({})));
    log.push(epoch(111.0, 2, false));
    assert_eq!(epochs(&log), [1, 2]);
    log.extend([epoch(112.0, 3, false), epoch(113.0, 1, false)]);
    assert_eq!(epochs(&log), [1, 2, 3]);
}

fn batch(stage: &str, done: u64, success: Option<&SuccessMatrix>, cells: bool) -> Value {
    let success = success.map(|counts| Snapshot::of_success(counts, Seed::new(0)));
    let figures = AuditFigures {
        clean: Some([7, 8]),
        robust: Some([3, 4]),
        targeted: success.as_ref().map(|found| [1, found.n]),
        confusion: None,
        success: success.map(|found| if cells { found } else { found.without_cells() }),
    };
    let batch = AuditBatch {
        attack: "pgd".into(),
        stage: stage.into(),
        done,
        total: 40,
        figures,
        ..AuditBatch::default()
    };
    serde_json::to_value(batch).expect("JSON")
}

#[test]
fn an_audit_keeps_the_cells_between_two_matrices() {
    let mut counts = SuccessMatrix::new(2);
    counts.add(0, 1, true);
    counts.add(1, 0, false);
    let mut log = vec![
        event(1.0, "audit_start", json!({"classes": ["A", "B"]})),
        event(2.0, "audit_batch", batch("clean", 8, None, false)),
        event(3.0, "audit_batch", batch("targeted", 20, Some(&counts), true)),
        event(4.0, "audit_batch", batch("targeted", 30, Some(&counts), false)),
    ];
    let found = view(&log);
    assert_eq!((found.progress(), found.audits.len()), (Some(0.75), 1));
    assert_eq!(found.audits[0].figures.robust, Some([3, 4]));
    let (of, matrix) = found.matrix.as_ref().expect("a matrix");
    assert_eq!(of, "targeted success, pgd");
    assert_eq!(matrix.cells.as_ref().and_then(|cells| cells.rate(0, 1)), Some(1.0));
    let lines: Vec<&str> = found.log.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(lines[1..], ["pgd: clean pictures, 8 of 40 rows", "pgd: targeted pictures, 20 of 40 rows"]);
    let figures = AuditFigures { clean: Some([8, 8]), ..AuditFigures::default() };
    log.push(event(5.0, "audit_end", serde_json::to_value(figures).expect("JSON")));
    let found = view(&log);
    assert_eq!((found.status(1e9), found.audits[0].figures.clean), (Status::Finished, Some([8, 8])));
}

#[test]
fn unknown_and_malformed_events_are_lines_and_no_errors() {
    let odd = [
        event(1.0, "coffee", json!({"cups": 2})),
        event(2.0, "epoch", json!("no object")),
        event(3.0, "step", json!({"epoch": -1, "steps": "many"})),
        event(4.0, "audit_batch", json!([1, 2])),
        event(5.0, "epoch", json!({"epoch": 3, "confusion": {"cells": {"counts": [[1]], "attempts": [[]]}}})),
        event(f64::NAN, "failed", Value::Null),
    ];
    let found = view(&odd);
    assert_eq!(found.log[0].text, "coffee {\"cups\":2}");
    assert_eq!(found.epoch.as_ref().map(|epoch| epoch.epoch), Some(3));
    assert_eq!(found.status(1e9), Status::Failed("no reason given".to_owned()));
    assert_eq!(found.progress(), None);
}

#[test]
fn a_long_run_takes_no_more_room_than_a_short_one() {
    let mut found = RunView::default();
    for number in 1..=5_000 {
        found.take(&epoch(number as f64, number, false));
    }
    assert!(found.history.len() <= MOST_POINTS && found.history.len() > MOST_POINTS / 4);
    assert_eq!(found.history.last().map(|point| point.epoch), Some(5_000));
    assert!(found.history.is_sorted_by(|a, b| a.epoch < b.epoch));
    assert_eq!(found.log.len(), MOST_LINES);
}

/// A log that was cut in the middle of a line, as its writer was killed, and then copied.
#[test]
fn a_truncated_copy_shows_what_it_has() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("copy.jsonl");
    let lines: Vec<String> =
        training().iter().map(|event| serde_json::to_string(event).expect("JSON") + "\n").collect();
    let whole = lines.concat();
    std::fs::write(&path, format!("{}nonsense\n{}", lines[0], &whole[lines[0].len()..whole.len() - 9]))
        .expect("written");
    let mut found = RunView::default();
    found.take_all(&run::EventFollower::new(&path).news().expect("readable"));
    // The last line, the second step, has no end.
    assert_eq!(found.step.as_ref().map(|step| step.epoch), Some(1));
    assert_eq!((found.damaged, found.validation.is_some()), (1, true));
    assert!(matches!(found.status(110.0 + 3600.0), Status::Silent(_)));
}
