//! Frames of whole runs, as a person would see them.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::*;
use crate::Seed;
use crate::metrics::{ConfusionMatrix, SuccessMatrix};
use crate::run::Event;
use crate::watch::{AuditBatch, AuditFigures};

const LOOK: Look = Look { name: "runs/a", now: 1_000_010.0, colours: false };

fn view(events: &[(f64, &str, serde_json::Value)]) -> RunView {
    let mut view = RunView::default();
    for (time, kind, data) in events {
        view.take(&Event { time: 1_000_000.0 + time, kind: (*kind).to_owned(), data: data.clone() });
    }
    view
}

fn training(classes: &[&str]) -> RunView {
    let counts: ConfusionMatrix = [[3, 1, 0], [0, 4, 0], [2, 0, 2]].into();
    let start = json!({"command": "syfar train", "classes": classes, "epochs": 3, "objective": "sy-far"});
    let epoch = |number: usize, robust: f64| {
        json!({
            "epoch": number, "terms": [["adversarial", 2.0 / number as f64], ["symmetry", 0.25]], "best": true,
            "validation": {"images": 12, "clean_accuracy": 0.9, "robust_accuracy": robust},
            "confusion": Snapshot::of_confusion(&counts, Seed::new(0)),
        })
    };
    let step = json!({"epoch": 3, "epochs": 3, "step": 1, "steps": 4, "terms": [["adversarial", 0.5], ["symmetry", 0.125]],
        "images_per_second": 120.0, "seconds_left": 95.0});
    view(&[
        (-30.0, "train_start", start),
        (-20.0, "epoch", epoch(1, 0.5)),
        (-10.0, "epoch", epoch(2, 0.75)),
        (0.0, "step", step),
    ])
}

#[test]
fn a_training_on_a_terminal() {
    let mut terminal = Terminal::new(TestBackend::new(100, 28)).expect("a terminal");
    let view = training(&["ANNA", "BO", "\u{1b}[31mCY\u{202e}"]);
    terminal.draw(|frame| draw(&view, &LOOK, frame.area(), frame.buffer_mut())).expect("a frame");
    insta::assert_snapshot!(terminal.backend(), @r#"
    "runs/a  train  running                                                                              "
    "sy-far · epoch 3/3 · step 1/4 · 120 images/s · 1 min 35 s left                                      "
    "█████████████████████████████████████████████░░░░░░░░░░░░░░░  75 %                                  "
    "┌ figures ─────────────────────────────────┐┌ validation pictures under attack, epoch 2 ───────────┐"
    "│adversarial      0.500   █▁               ││ANNA       \ 2 .                                      │"
    "│symmetry         0.125   ▄▄               ││BO         . \ .                                      │"
    "│clean accuracy   0.900   ▄▄               ││·[31mCY·   5 . \                                      │"
    "│robust accuracy  0.750   ▁█               ││row to column, tenths: . none, X all                  │"
    "│  12 pictures, epoch 2; best: epoch 2     ││                                                      │"
    "│asymmetry A1     0.750   (chance 0.48) ▄▄ ││                                                      │"
    "│worst pairs                               ││                                                      │"
    "│  ·[31mCY· → ANNA  2/4, back 0/4          ││                                                      │"
    "│  ANNA → BO  1/4, back 0/4                ││                                                      │"
    "│                                          ││                                                      │"
    "│                                          ││                                                      │"
    "│                                          ││                                                      │"
    "│                                          ││                                                      │"
    "│                                          ││                                                      │"
    "│                                          ││                                                      │"
    "└──────────────────────────────────────────┘└──────────────────────────────────────────────────────┘"
    "┌ log (UTC) ───────────────────────────────────────────────────────────────────────────────────────┐"
    "│13:46:10 train begins: syfar train                                                                │"
    "│13:46:20 epoch 1  adversarial 2.000  symmetry 0.250  clean 0.900  robust 0.500  best so far       │"
    "│13:46:30 epoch 2  adversarial 1.000  symmetry 0.250  clean 0.900  robust 0.750  best so far       │"
    "│                                                                                                  │"
    "│                                                                                                  │"
    "│                                                                                                  │"
    "└──────────────────────────────────────────────────────────────────────────────────────────────────┘"
    "#);
}

#[test]
fn an_audit_as_text() {
    let mut counts = SuccessMatrix::new(2);
    (0..4).for_each(|image| counts.add(0, 1, image < 3));
    (0..4).for_each(|image| counts.add(1, 0, image < 1));
    let figures = AuditFigures {
        clean: Some([7, 8]),
        robust: Some([3, 8]),
        targeted: Some([4, 8]),
        confusion: None,
        success: Some(Snapshot::of_success(&counts, Seed::new(0))),
    };
    let batch = AuditBatch {
        attack: "eyeglasses".to_owned(),
        stage: "targeted".to_owned(),
        done: 24,
        total: 32,
        rows_per_second: Some(2.0),
        seconds_left: Some(4.0),
        figures,
    };
    let start = json!({"command": "syfar audit", "classes": ["ANNA", "ZOË"], "attack": "eyeglasses"});
    let view = view(&[
        (0.0, "audit_start", start),
        (9.0, "audit_batch", serde_json::to_value(batch).expect("JSON")),
    ]);
    insta::assert_snapshot!(text(&view, &LOOK, 90, 26), @r"
    runs/a  audit  running
    eyeglasses · eyeglasses targeted, 24/32 rows · 2.0 rows/s · 4 s left
    █████████████████████████████████████████████░░░░░░░░░░░░░░░  75 %
    ┌ figures ─────────────────────────────────┐┌ targeted success, eyeglasses ──────────────┐
    │clean accuracy   0.875   7 of 8           ││ANNA       \ 7                              │
    │robust accuracy  0.375   3 of 8           ││ZOË        2 \                              │
    │targeted success 0.500   4 of 8           ││row to column, tenths: . none, X all        │
    │asymmetry A1     0.500   (chance 0.30)    ││                                            │
    │worst pairs                               ││                                            │
    │  ANNA → ZOË  3/4, back 1/4               ││                                            │
    │                                          ││                                            │
    │                                          ││                                            │
    │                                          ││                                            │
    │                                          ││                                            │
    │                                          ││                                            │
    │                                          ││                                            │
    │                                          ││                                            │
    └──────────────────────────────────────────┘└────────────────────────────────────────────┘
    ┌ log (UTC) ─────────────────────────────────────────────────────────────────────────────┐
    │13:46:40 audit begins: syfar audit                                                      │
    │13:46:49 eyeglasses: targeted pictures, 24 of 32 rows                                   │
    │                                                                                        │
    │                                                                                        │
    │                                                                                        │
    │                                                                                        │
    └────────────────────────────────────────────────────────────────────────────────────────┘
    ");
}

#[test]
fn any_size_and_any_log_can_be_drawn() {
    let many: Vec<String> = (0..40).map(|class| format!("名前 {class} 😀")).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut large = training(&names);
    let mut counts = ConfusionMatrix::new(40);
    (0..40).for_each(|label| counts.add(label, (label * 3) % 40));
    large.matrix = Some(("many".to_owned(), Snapshot::of_confusion(&counts, Seed::new(0))));
    for view in [RunView::default(), training(&[]), large] {
        for (width, height) in [(1, 1), (20, 5), (40, 24), (80, 24), (200, 60), (400, 3)] {
            let shown = text(&view, &LOOK, width, height);
            assert_eq!(shown.lines().count(), usize::from(height));
            let widest = shown.lines().map(|line| Span::raw(line).width()).max();
            assert!(widest <= Some(usize::from(width)), "{width}: {shown}");
        }
    }
}

#[test]
fn the_status_says_what_to_do() {
    let view = training(&[]);
    let late = Look { now: 1_003_600.0, ..LOOK };
    let shown = text(&view, &late, 100, 24);
    assert!(
        shown.contains("no event for 1 h 00 min: its writer may have been killed; --resume goes on"),
        "{shown}"
    );
    assert!(text(&RunView::default(), &LOOK, 100, 24).contains("no event yet"));
}

#[test]
fn colours_only_where_they_may_be_used() {
    let coloured = |colours: bool| {
        let area = Rect::new(0, 0, 100, 28);
        let mut buffer = Buffer::empty(area);
        draw(&training(&[]), &Look { colours, ..LOOK }, area, &mut buffer);
        buffer.content.iter().filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset).count()
    };
    assert_eq!(coloured(false), 0);
    assert!(coloured(true) > 9);
}
