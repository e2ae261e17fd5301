//! What the directory of a cell says of it.

use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::super::show;
use super::plan::{Cell, Plan};
use crate::report::{FlatFigure, FlatFigures};
use crate::run::{Layout, read_events, write_file};
use crate::train::{TrainConfig, Validation};

/// How far a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing was begun.
    Missing,
    /// Begun: it goes on where it was.
    Partly,
    Done,
    /// A trial that diverged: it counts as tried.
    Failed,
}

/// What the log says at the end of a training.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TrainEnd {
    pub best_epoch: usize,
    pub validation: Validation,
    /// Seconds of all training steps, over all sittings, without the validations.
    pub seconds: f64,
}

/// The end of a cell's training, if it has one.
///
/// # Errors
/// When the log cannot be read.
pub(super) fn train_end(cell: &Path) -> anyhow::Result<Option<TrainEnd>> {
    let Ok(layout) = Layout::open(&cell.join("train")) else { return Ok(None) };
    if !layout.events().is_file() || !layout.model().is_dir() {
        return Ok(None);
    }
    let mut last = None;
    for event in read_events(&layout.events())? {
        last = Some(event?).filter(|event| event.kind == "train_end").or(last);
    }
    let Some(end) = last else { return Ok(None) };
    let end = serde_json::from_value(end.data)
        .with_context(|| format!("{}: a `train_end` of another version", layout.events().display()))?;
    Ok(Some(end))
}

/// Whether an audit is finished.
pub(super) fn audited(place: &Path) -> bool {
    place.join("metrics.json").is_file()
}

/// Why a trial has no result.
pub(super) fn failure(cell: &Path) -> Option<String> {
    let text = std::fs::read_to_string(cell.join("failed.txt")).ok()?;
    Some(text.trim().to_owned())
}

/// Remembers that a trial diverged, so that it is not tried for ever.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write_failure(cell: &Path, why: &str) -> anyhow::Result<()> {
    Ok(write_file(&cell.join("failed.txt"), format!("{why}\n").as_bytes())?)
}

/// Wall-clock seconds of a cell over all sittings, as far as they were not killed.
pub(super) fn seconds(cell: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(cell.join("seconds.txt")).ok()?;
    text.trim().parse().ok().filter(|seconds: &f64| seconds.is_finite())
}

/// Adds a sitting.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn add_seconds(cell: &Path, more: f64) -> anyhow::Result<()> {
    let sum = seconds(cell).unwrap_or(0.0) + more;
    Ok(write_file(&cell.join("seconds.txt"), format!("{sum:.3}\n").as_bytes())?)
}

/// How far a cell is, after checking that what is there was made with the configuration of today.
///
/// # Errors
/// When a key differs; the message says which, and what to do.
pub(super) fn of(plan: &Plan, cell: &Cell) -> anyhow::Result<State> {
    let place = plan.place(cell);
    let train = place.join("train");
    let begun = Layout::open(&train).is_ok();
    let Some(config) = plan.train_config(cell)? else {
        // The trials are not done. What is there was made with values that were chosen once.
        return Ok(if begun { State::Partly } else { State::Missing });
    };
    unchanged(plan, &train, &config)?;
    let audits = plan.audits(cell)?;
    for job in &audits {
        unchanged(plan, &job.place, &job.config)?;
    }
    if cell.trial.is_some() && failure(&place).is_some() {
        return Ok(State::Failed);
    }
    Ok(match (train_end(&place)?.is_some(), begun) {
        (true, _) if audits.iter().all(|job| audited(&job.place)) => State::Done,
        (false, false) => State::Missing,
        _ => State::Partly,
    })
}

/// Refuses a run that was made with another configuration. Paths may differ: a finished experiment can be moved.
fn unchanged(plan: &Plan, place: &Path, config: &impl Serialize) -> anyhow::Result<()> {
    let Ok(layout) = Layout::open(place) else { return Ok(()) };
    let differences: Vec<String> = layout
        .differences(&toml::to_string(config)?)?
        .into_iter()
        .filter(|line| {
            let key = line.split(':').next().unwrap_or_default();
            !["data", "model", "model.from"].contains(&key) && !key.starts_with("provenance")
        })
        .collect();
    anyhow::ensure!(
        differences.is_empty(),
        "{} changed since {} was made:\n  {}\nNothing was touched. Put these keys back, or choose another --out, or \
         remove the directories of the cells that are to be made again.",
        plan.path.display(),
        place.display(),
        differences.join("\n  ")
    );
    Ok(())
}

/// The figures of an audit by their JSON names; those of clean pictures begin with `clean.`, those of a named attack
/// with its name and a dot.
///
/// # Errors
/// When the audit has no report that this version reads.
pub(super) fn figures_of(attack: &str, place: &Path) -> anyhow::Result<FlatFigures> {
    let report = show::read(place)?;
    let mut attacked = report.untargeted.as_ref().map(FlatFigures::of_confusion).unwrap_or_default();
    if let Some(targeted) = &report.targeted {
        attacked.add_targeted(targeted);
    }
    for group in &report.groups {
        if let Some(found) = &group.untargeted {
            attacked.add_groups(&group.column, found);
        }
    }
    let clean = FlatFigures::of_confusion(&report.clean).0;
    let clean = clean.into_iter().map(|(name, figure)| (format!("clean.{name}"), figure));
    let prefix = if attack.is_empty() { String::new() } else { format!("{attack}.") };
    let attacked = attacked.0.into_iter().map(|(name, figure)| (format!("{prefix}{name}"), figure));
    Ok(FlatFigures(clean.chain(attacked).collect()))
}

/// All figures of a finished cell, those of its training included.
///
/// # Errors
/// When something cannot be read.
pub(super) fn figures(plan: &Plan, cell: &Cell) -> anyhow::Result<FlatFigures> {
    let mut all = FlatFigures::default();
    for job in plan.audits(cell)? {
        for (name, figure) in figures_of(&job.name, &job.place)?.0 {
            if all.get(&name).is_none() {
                all.0.push((name, figure));
            }
        }
    }
    if let Some(end) = train_end(&plan.place(cell))? {
        let epochs =
            plan.train_config(cell)?.map_or(TrainConfig::default().epochs, |config| config.train.epochs);
        let mut push =
            |name: &str, value: f64| all.0.push((format!("train.{name}"), FlatFigure::from(value)));
        push("seconds_per_epoch", end.seconds / epochs as f64);
        push("seconds", end.seconds);
        push("best_epoch", end.best_epoch as f64);
        push("validation_clean_accuracy", end.validation.clean_accuracy);
        push("validation_robust_accuracy", end.validation.robust_accuracy);
    }
    Ok(all)
}
