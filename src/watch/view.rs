//! The fold: events in, what can be shown out. Pure; the time of looking is an argument.

use std::collections::VecDeque;

use serde::Serialize;

use super::payload::{
    AuditBatch, AuditFigures, Checked, Checking, Epoch, Lesson, Start, Step, TrainEnd, Validating,
    Validation, data_of,
};
use super::words::{duration, share, shown};
use crate::metrics::Snapshot;
use crate::run::{Event, News};

/// Lines of the log that are kept.
const MOST_LINES: usize = 200;

/// Epochs of the history that are kept; beyond, every second one goes.
const MOST_POINTS: usize = 512;

/// A writer that has said nothing for this long may be gone. It says something every minute, or as often as a batch
/// ends.
const PATIENCE: f64 = 180.0;

/// Batches differ; silence is long when it is several times the longest so far.
const TIMES_THE_LONGEST: f64 = 4.0;

/// Whether somebody works on the run.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// There is no event yet.
    Waiting,
    /// The last event is recent.
    Running,
    /// The last event is older than one would expect, by so many seconds: its writer may have been killed.
    Silent(f64),
    /// It was stopped and can be resumed.
    Stopped,
    /// It ended with this error.
    Failed(String),
    /// It is done.
    Finished,
}

/// One validated epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Mean of each term of the loss.
    pub terms: Vec<(String, f64)>,
    /// Share of clean pictures that are recognised.
    pub clean: Option<f64>,
    /// Share of pictures that are recognised clean and under attack.
    pub robust: Option<f64>,
    /// Asymmetry under attack.
    pub a1: Option<f64>,
}

/// An audit, or one point of its curve.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AuditView {
    /// What the rows call the attack.
    pub attack: String,
    /// `clean`, `untargeted` or `targeted`.
    pub stage: String,
    /// Rows there are.
    pub done: u64,
    /// Rows there will be.
    pub total: u64,
    /// What was counted so far.
    pub figures: AuditFigures,
}

/// A line for people.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogLine {
    /// Seconds since the beginning of 1970 (UTC).
    pub time: f64,
    /// Without control characters.
    pub text: String,
}

/// What a run shows. Bounded in size, whatever the length of the log.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunView {
    /// `train`, `audit`, `attack` or `certify`, once it is known.
    pub kind: Option<String>,
    /// How it came about.
    pub start: Start,
    /// The last step.
    pub step: Option<Step>,
    /// The validation that goes on.
    pub validating: Option<Validating>,
    /// What an audit does before it attacks: the check that is being made, or how far the lessons are.
    pub preparing: Option<String>,
    /// The last finished epoch.
    pub epoch: Option<Epoch>,
    /// The last validation, and its epoch.
    pub validation: Option<(usize, Validation)>,
    /// The epoch of the best model so far.
    pub best_epoch: Option<usize>,
    /// Finished epochs, thinned where there are many.
    pub history: Vec<Point>,
    /// The attack of the audit, then each point of its curve.
    pub audits: Vec<AuditView>,
    /// The matrix to look at, with what it is of.
    pub matrix: Option<(String, Snapshot)>,
    /// Steps, images or rows a second, with the unit.
    pub speed: Option<(f64, &'static str)>,
    /// Seconds until the end, as of `last`.
    pub seconds_left: Option<f64>,
    /// The end of the log.
    pub log: VecDeque<LogLine>,
    /// Whole lines of the log that are no events.
    pub damaged: usize,
    /// Time of the first event.
    pub first: Option<f64>,
    /// Time of the last event.
    pub last: Option<f64>,
    /// The longest time between two events of one sitting.
    longest_silence: f64,
    ended: Option<Status>,
    /// Epochs between two points of the history.
    stride: usize,
    /// Whether no epoch has ended in this sitting yet, so that the next one may be told again.
    may_go_back: bool,
}

impl RunView {
    /// Takes in what a follower found.
    pub fn take_all(&mut self, news: &News) {
        if news.restarted {
            *self = Self::default();
        }
        self.damaged += news.damaged;
        for event in &news.events {
            self.take(event);
        }
    }

    /// Takes in one event. What is unknown is a line of the log and nothing else.
    pub fn take(&mut self, event: &Event) {
        let starts = event.kind.ends_with("_start");
        if let Some(last) = self.last.filter(|_| !starts && self.ended.is_none()) {
            self.longest_silence = self.longest_silence.max(event.time - last);
        }
        self.first.get_or_insert(event.time);
        self.last = Some(event.time);
        let ends = event.kind.ends_with("_end") || ["stopped", "failed"].contains(&event.kind.as_str());
        if ends {
            // Nothing is under way any more.
            (self.validating, self.speed, self.seconds_left) = (None, None, None);
        } else {
            self.ended = None;
        }
        self.preparing = None;
        let line = match event.kind.as_str() {
            "check" => {
                let Checking { name, number } = data_of(event);
                self.preparing = Some(format!("check {number}: {}", shown(&name)));
                None
            }
            "checks" => Some(checked(&data_of(event))),
            "lesson" => {
                let Lesson { done, total } = data_of(event);
                self.preparing = Some(format!("learning, {done}/{total} textures"));
                None
            }
            "step" => self.take_step(data_of(event)),
            "validation" => {
                self.validating = Some(data_of(event));
                None
            }
            "epoch" => {
                let epoch: Epoch = data_of(event);
                Some(if self.may_follow(epoch.epoch) {
                    self.take_epoch(epoch)
                } else {
                    format!("epoch {}, which cannot be here, is left out", epoch.epoch)
                })
            }
            "audit_batch" => self.take_batch(data_of(event)),
            "stopped" => {
                self.ended = Some(Status::Stopped);
                Some("stopped; go on with --resume".to_owned())
            }
            "failed" => {
                let cause = event.data["error"].as_str().map_or_else(|| "no reason given".to_owned(), shown);
                self.ended = Some(Status::Failed(cause.clone()));
                Some(format!("failed: {cause}"))
            }
            kind if starts => Some(self.take_start(kind, data_of(event))),
            kind if ends => Some(self.take_end(kind, event)),
            kind => Some(format!("{} {}", shown(kind), shown(&event.data.to_string()))),
        };
        if let Some(text) = line {
            self.log.push_back(LogLine { time: event.time, text });
            while self.log.len() > MOST_LINES {
                self.log.pop_front();
            }
        }
    }

    /// Whether somebody works on it, as of `now` (seconds since 1970, UTC). A clock that is behind the writer's makes
    /// no event old.
    pub fn status(&self, now: f64) -> Status {
        let (Some(last), None) = (self.last, &self.ended) else {
            return self.ended.clone().unwrap_or(Status::Waiting);
        };
        let silence = now - last;
        if silence > PATIENCE.max(TIMES_THE_LONGEST * self.longest_silence) {
            Status::Silent(silence)
        } else {
            Status::Running
        }
    }

    /// The name of a class, fit to be shown; its number where there is no name.
    pub fn class(&self, class: usize) -> String {
        self.start.classes.get(class).map_or_else(|| format!("class {class}"), |name| shown(name))
    }

    /// How much is done, in `[0, 1]`, as far as it is known.
    pub fn progress(&self) -> Option<f64> {
        if self.ended == Some(Status::Finished) {
            return Some(1.0);
        }
        if let Some(audit) = self.audits.last() {
            return (audit.total > 0).then(|| (audit.done as f64 / audit.total as f64).min(1.0));
        }
        let step = self.step.as_ref().filter(|step| step.epochs > 0 && step.steps > 0)?;
        let epochs = step.epoch.saturating_sub(1) as f64 + step.step as f64 / step.steps as f64;
        Some((epochs / step.epochs as f64).min(1.0))
    }

    fn take_start(&mut self, kind: &str, start: Start) -> String {
        let kind = kind.trim_end_matches("_start");
        let again = self.kind.is_some();
        self.kind = Some(shown(kind));
        // What was under way in an earlier sitting is not any more.
        (self.step, self.validating, self.speed, self.seconds_left) = (None, None, None, None);
        // Another machine may work on it now.
        (self.longest_silence, self.may_go_back) = (0.0, true);
        self.start = start;
        let command = shown(&self.start.command);
        if again { format!("{kind} goes on: {command}") } else { format!("{kind} begins: {command}") }
    }

    fn take_step(&mut self, step: Step) -> Option<String> {
        self.validating = None;
        self.speed = step.images_per_second.map(|speed| (speed, "images/s"));
        self.seconds_left = step.seconds_left;
        self.step = Some(step);
        None
    }

    /// Epochs are counted from 1 and come in order; a training that goes on tells some again.
    fn may_follow(&self, epoch: usize) -> bool {
        epoch > 0 && (self.may_go_back || self.history.last().is_none_or(|last| last.epoch < epoch))
    }

    fn take_epoch(&mut self, epoch: Epoch) -> String {
        self.validating = None;
        self.speed = epoch.images_per_second.map(|speed| (speed, "images/s"));
        // Not every step has an event; the last one of the epoch is done.
        if let Some(step) = self.step.as_mut().filter(|step| step.epoch <= epoch.epoch) {
            (step.epoch, step.step) = (epoch.epoch, step.steps);
            step.terms.clone_from(&epoch.terms);
        }
        if epoch.best {
            self.best_epoch = Some(epoch.epoch);
        }
        if let Some(validation) = epoch.validation {
            self.validation = Some((epoch.epoch, validation));
        }
        if let Some(confusion) = &epoch.confusion {
            let of = format!("validation pictures under attack, epoch {}", epoch.epoch);
            self.matrix = Some((of, confusion.clone()));
        }
        self.remember(Point {
            epoch: epoch.epoch,
            terms: epoch.terms.clone(),
            clean: epoch.validation.and_then(|found| found.clean_accuracy),
            robust: epoch.validation.and_then(|found| found.robust_accuracy),
            a1: epoch.confusion.as_ref().and_then(|found| found.a1),
        });
        let mut words = vec![format!("epoch {}", epoch.epoch)];
        words.extend(epoch.terms.iter().map(|(name, value)| format!("{} {value:.3}", shown(name))));
        if let Some(found) = epoch.validation {
            words.push(format!("clean {}", share(found.clean_accuracy)));
            words.push(format!("robust {}", share(found.robust_accuracy)));
        }
        if epoch.best {
            words.push("best so far".to_owned());
        }
        self.epoch = Some(epoch);
        words.join("  ")
    }

    /// Adds a point. A training that was resumed may tell of an epoch again.
    fn remember(&mut self, point: Point) {
        self.may_go_back = false;
        self.history.retain(|old| old.epoch < point.epoch);
        self.stride = self.stride.max(1);
        // The last point stays only where it is one of the thinned ones.
        if let Some(last) = self.history.last()
            && last.epoch % self.stride != 0
        {
            self.history.pop();
        }
        self.history.push(point);
        if self.history.len() > MOST_POINTS {
            self.stride *= 2;
            let (stride, newest) = (self.stride, self.history.last().map_or(0, |point| point.epoch));
            self.history.retain(|point| point.epoch % stride == 0 || point.epoch == newest);
        }
    }

    fn take_batch(&mut self, batch: AuditBatch) -> Option<String> {
        let AuditBatch { attack, stage, done, total, rows_per_second, seconds_left, figures } = batch;
        self.speed = rows_per_second.map(|speed| (speed, "rows/s"));
        self.seconds_left = seconds_left;
        let new = self.audits.last().is_none_or(|audit| audit.attack != attack || audit.stage != stage);
        let line =
            new.then(|| format!("{}: {} pictures, {done} of {total} rows", shown(&attack), shown(&stage)));
        self.audits.retain(|audit| audit.attack != attack);
        // Points of a curve are many, and each has a matrix: the earlier ones keep their figures alone.
        for audit in &mut self.audits {
            (audit.figures.confusion, audit.figures.success) = (None, None);
        }
        self.audits.truncate(MOST_LINES);
        // Between two matrices there are events without one.
        if let Some((of, matrix)) = figures.matrix().filter(|(_, matrix)| matrix.classes > 0) {
            let of = format!("{of}, {}", shown(&attack));
            let cells = match &self.matrix {
                Some((before, old)) if *before == of && matrix.cells.is_none() => old.cells.clone(),
                _ => None,
            };
            let matrix = Snapshot { cells: matrix.cells.clone().or(cells), ..matrix.clone() };
            self.matrix = Some((of, matrix));
        }
        self.audits.push(AuditView { attack, stage, done, total, figures });
        line
    }

    fn take_end(&mut self, kind: &str, event: &Event) -> String {
        self.ended = Some(Status::Finished);
        let kind = shown(kind.trim_end_matches("_end"));
        if kind == "train" {
            let end: TrainEnd = data_of(event);
            self.best_epoch = end.best_epoch.or(self.best_epoch);
            let best = end.best_epoch.map_or_else(String::new, |epoch| format!("; kept epoch {epoch}"));
            let time = end.seconds.map_or_else(String::new, |seconds| format!(" in {}", duration(seconds)));
            return format!("train is done{time}{best}");
        }
        let figures: AuditFigures = data_of(event);
        if let Some((of, matrix)) = figures.matrix() {
            // The attack of the audit is the first; the points of its curve came after it.
            let attack =
                self.audits.first().map_or_else(String::new, |audit| format!(", {}", shown(&audit.attack)));
            self.matrix = Some((format!("{of}{attack}"), matrix.clone()));
        }
        if figures.clean.is_some() {
            match self.audits.first_mut() {
                Some(first) => first.figures = figures,
                None => self.audits.push(AuditView { figures, ..AuditView::default() }),
            }
        }
        format!("{kind} is done")
    }
}

/// The outcome of the checks in a line.
fn checked(checks: &Checked) -> String {
    let Checked { passed, warnings, failed, remarked } = checks;
    let names: Vec<String> = remarked.iter().map(|check| shown(&check.name)).collect();
    let names = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
    format!("checks: {passed} passed, {warnings} warn, {failed} failed{names}")
}

#[cfg(test)]
mod tests;
