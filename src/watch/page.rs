//! What the page shows, as JSON: names and numbers that need no more thought.

use serde::Serialize;

use super::terminal::{Look, now, status};
use super::view::{AuditView, LogLine, Point, RunView, Status};
use super::words::{share, shown};
use crate::metrics::Cells;

/// The state of a page. All text in it may be shown as text.
#[derive(Serialize)]
struct Page<'a> {
    name: String,
    kind: Option<&'a str>,
    /// `waiting`, `running`, `silent`, `stopped`, `failed` or `finished`.
    status: &'static str,
    status_words: String,
    now: String,
    /// In `[0, 1]`.
    progress: Option<f64>,
    /// Name, value and a remark.
    figures: Vec<[String; 3]>,
    history: &'a [Point],
    matrix: Option<Matrix>,
    log: Vec<&'a LogLine>,
}

#[derive(Serialize)]
struct Matrix {
    of: String,
    classes: usize,
    a1: Option<f64>,
    a1_by_chance: Option<f64>,
    /// Empty where there are no cells.
    names: Vec<String>,
    /// Counts and of how many, row by row; of 0 means that nothing was counted.
    cells: Vec<Vec<[u64; 2]>>,
    pairs: Vec<Pair>,
}

#[derive(Serialize)]
struct Pair {
    from: String,
    to: String,
    forward: [u64; 2],
    backward: [u64; 2],
}

/// The state of the page, a JSON text in one line.
pub fn page_state(view: &RunView, look: &Look) -> String {
    let found = view.status(look.now);
    let code = match &found {
        Status::Waiting => "waiting",
        Status::Running => "running",
        Status::Silent(_) => "silent",
        Status::Stopped => "stopped",
        Status::Failed(_) => "failed",
        Status::Finished => "finished",
    };
    let page = Page {
        name: shown(look.name),
        kind: view.kind.as_deref(),
        status: code,
        status_words: status(&found).0,
        now: now(view).join(" · "),
        progress: view.progress(),
        figures: figures(view),
        history: &view.history,
        matrix: matrix(view),
        log: view.log.iter().rev().collect(),
    };
    // Keys are text and numbers are finite or null, so there always is a JSON form.
    serde_json::to_string(&page).unwrap_or_default()
}

fn figures(view: &RunView) -> Vec<[String; 3]> {
    let mut figures = Vec::new();
    let terms = view.step.as_ref().map(|step| &step.terms).or(view.epoch.as_ref().map(|epoch| &epoch.terms));
    for (name, value) in terms.into_iter().flatten() {
        figures.push([shown(name), format!("{value:.4}"), "loss".to_owned()]);
    }
    if let Some((epoch, validation)) = view.validation {
        let remark = format!("{} validation pictures, epoch {epoch}", validation.images);
        figures.push(["clean accuracy".to_owned(), share(validation.clean_accuracy), remark.clone()]);
        figures.push(["robust accuracy".to_owned(), share(validation.robust_accuracy), remark]);
    }
    if let Some(best) = view.best_epoch {
        figures.push(["best epoch so far".to_owned(), best.to_string(), String::new()]);
    }
    for AuditView { attack, figures: counted, .. } in &view.audits {
        let counts = [
            ("clean accuracy", counted.clean),
            ("robust accuracy", counted.robust),
            ("targeted success", counted.targeted),
        ];
        for (name, counts) in counts {
            let Some([count, of]) = counts else { continue };
            figures.push([
                name.to_owned(),
                share(Cells::share([count, of])),
                format!("{count} of {of}, {}", shown(attack)),
            ]);
        }
    }
    figures
}

fn matrix(view: &RunView) -> Option<Matrix> {
    let (of, snapshot) = view.matrix.as_ref()?;
    let cells = snapshot.cells.as_ref();
    let sides = cells.map_or(0, |cells| cells.counts.len());
    let cell = |label, other| cells.and_then(|cells| cells.counted(label, other));
    let row = |label| (0..sides).map(|other| cell(label, other).unwrap_or_default()).collect();
    let pairs = snapshot.pairs.iter().map(|pair| Pair {
        from: view.class(pair.from),
        to: view.class(pair.to),
        forward: pair.forward,
        backward: pair.backward,
    });
    Some(Matrix {
        of: of.clone(),
        classes: snapshot.classes,
        a1: snapshot.a1,
        a1_by_chance: snapshot.a1_by_chance,
        names: (0..sides).map(|class| view.class(class)).collect(),
        cells: (0..sides).map(row).collect(),
        pairs: pairs.collect(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::Seed;
    use crate::metrics::{Snapshot, SuccessMatrix};
    use crate::run::Event;

    #[test]
    fn the_state_of_a_training_and_of_nothing() {
        let mut counts = SuccessMatrix::new(2);
        counts.add(0, 1, true);
        counts.add(1, 0, false);
        let mut view = RunView::default();
        let look = Look { name: "runs/\u{202e}a", now: 12.0, colours: false };
        let empty: Value = serde_json::from_str(&page_state(&view, &look)).expect("JSON");
        assert_eq!((&empty["status"], &empty["matrix"]), (&json!("waiting"), &Value::Null));
        let classes = json!({"classes": ["</script>", "B"], "command": "syfar train"});
        let epoch = json!({"epoch": 1, "terms": [["loss", 0.5]], "best": true,
            "validation": {"images": 4, "clean_accuracy": 0.75, "robust_accuracy": 0.5},
            "confusion": Snapshot::of_success(&counts, Seed::new(0))});
        for (kind, data) in [("train_start", classes), ("epoch", epoch)] {
            view.take(&Event { time: 10.0, kind: kind.to_owned(), data });
        }
        let text = page_state(&view, &look);
        assert!(!text.contains('\n'), "an event of the stream is one line");
        let state: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&state["name"], &state["status"]), (&json!("runs/·a"), &json!("running")));
        assert_eq!(
            state["figures"][2],
            json!(["robust accuracy", "0.500", "4 validation pictures, epoch 1"])
        );
        assert_eq!(state["matrix"]["cells"], json!([[[0, 0], [1, 1]], [[0, 1], [0, 0]]]));
        assert_eq!(state["matrix"]["pairs"][0]["from"], json!("</script>"));
        assert_eq!(state["history"][0]["robust"], json!(0.5));
        assert_eq!(
            state["log"][0]["text"],
            json!("epoch 1  loss 0.500  clean 0.750  robust 0.500  best so far")
        );
    }
}
