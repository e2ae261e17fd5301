//! From the events of a run to series of values.

use std::collections::BTreeMap;

use super::message::{Value, event, version};
use super::{Picture, heat_map, record};
use crate::metrics::{Cells, Snapshot};
use crate::run::Event;
use crate::watch::{AuditBatch, AuditFigures, Epoch, Step, data_of};

/// Most heat maps of a series; TensorBoard keeps ten unless it is told otherwise.
const MOST_PICTURES: usize = 20;

/// The value of a tag.
struct Point {
    time: f64,
    step: u64,
    held: Held,
}

/// A value, or what a heat map is made of once it is known that it is kept.
enum Held {
    Value(Value),
    Cells(Cells),
}

/// All values by tag.
#[derive(Default)]
struct Series {
    tags: BTreeMap<String, Vec<Point>>,
}

impl Series {
    /// A value. A run that was resumed may tell of a step again: the later value counts, as in the run.
    fn add(&mut self, at: (f64, u64), tag: String, held: Held) {
        let points = self.tags.entry(tag).or_default();
        while points.last().is_some_and(|point| point.step >= at.1) {
            points.pop();
        }
        points.push(Point { time: at.0, step: at.1, held });
    }

    /// A number, where there is one.
    fn scalar(&mut self, at: (f64, u64), tag: impl Into<String>, value: Option<f64>) {
        if let Some(value) = value {
            self.add(at, tag.into(), Held::Value(Value::Scalar(value)));
        }
    }

    fn matrix(&mut self, at: (f64, u64), tag: &str, matrix: Option<&Snapshot>) {
        let Some(matrix) = matrix else { return };
        self.scalar(at, format!("{tag}/a1"), matrix.a1);
        self.scalar(at, format!("{tag}/a1_normalised"), matrix.a1_normalised);
        self.scalar(at, format!("{tag}/a1_by_chance"), matrix.a1_by_chance);
        if let Some(cells) = &matrix.cells {
            self.add(at, format!("{tag}/rates"), Held::Cells(cells.clone()));
        }
    }

    fn step(&mut self, time: f64, step: &Step) {
        let at = (
            time,
            (step.epoch.saturating_sub(1) as u64)
                .saturating_mul(step.steps as u64)
                .saturating_add(step.step as u64),
        );
        for (name, value) in &step.terms {
            self.scalar(at, format!("steps/{name}"), Some(*value));
        }
        self.scalar(at, "steps/images_per_second", step.images_per_second);
    }

    fn epoch(&mut self, time: f64, epoch: &Epoch) {
        let at = (time, epoch.epoch as u64);
        for (name, value) in &epoch.terms {
            self.scalar(at, format!("training/{name}"), Some(*value));
        }
        self.scalar(at, "training/accuracy", epoch.train_accuracy);
        self.scalar(at, "training/learning_rate", epoch.learning_rate);
        self.scalar(at, "training/images_per_second", epoch.images_per_second);
        if let Some(found) = &epoch.validation {
            self.scalar(at, "validation/clean_accuracy", found.clean_accuracy);
            self.scalar(at, "validation/robust_accuracy", found.robust_accuracy);
            self.scalar(at, "validation/clean_loss", found.clean_loss);
            self.scalar(at, "validation/robust_loss", found.robust_loss);
        }
        self.matrix(at, "validation", epoch.confusion.as_ref());
    }

    /// Figures of an attack. `own`: it is the attack of the audit, not a point of its curve.
    fn audit(&mut self, at: (f64, u64), attack: &str, own: bool, figures: &AuditFigures) {
        let share = |counts: Option<[u64; 2]>| counts.and_then(Cells::share);
        if own {
            self.scalar(at, "audit/clean_accuracy", share(figures.clean));
        }
        self.scalar(at, format!("audit/{attack}/robust_accuracy"), share(figures.robust));
        self.scalar(at, format!("audit/{attack}/targeted_success"), share(figures.targeted));
        self.matrix(at, &format!("audit/{attack}/untargeted"), figures.confusion.as_ref());
        self.matrix(at, &format!("audit/{attack}/targeted"), figures.success.as_ref());
    }

    /// Keeps a few heat maps of each tag, evenly spaced, the last one among them.
    fn thin(&mut self) {
        for points in self.tags.values_mut() {
            let pictures = points.iter().filter(|point| matches!(point.held, Held::Cells(_))).count();
            if pictures <= MOST_PICTURES {
                continue;
            }
            // A tag has values of one kind.
            let kept =
                |index: usize| (index + 1) * MOST_PICTURES / pictures > index * MOST_PICTURES / pictures;
            let mut index = 0;
            points.retain(|_| {
                index += 1;
                kept(index - 1)
            });
        }
    }
}

/// An event file of TensorBoard in the making: events are taken one after another, and the values in them are kept.
/// Events that are not known, and values that are absent, are passed over.
///
/// Steps of `training` and `validation` are epochs, those of `steps` are steps of the training, those of `audit` are
/// rows. Rows of an audit are counted for each attack by itself, so the end of the audit and the pictures stand at the
/// last row of its own attack, not of its curve.
#[derive(Default)]
pub struct EventFile {
    series: Series,
    /// The attack of the audit, and its last row.
    own: Option<(String, u64)>,
    /// The times of the first and of the last event.
    first: Option<f64>,
    last: f64,
}

impl EventFile {
    /// The next event of a log.
    pub fn take(&mut self, told: &Event) {
        let (time, series) = (told.time, &mut self.series);
        match told.kind.as_str() {
            "step" => series.step(time, &data_of::<Step>(told)),
            "epoch" => series.epoch(time, &data_of::<Epoch>(told)),
            "audit_batch" => {
                let batch: AuditBatch = data_of(told);
                let (attack, row) = self.own.get_or_insert_with(|| (batch.attack.clone(), batch.done));
                let is_own = *attack == batch.attack;
                if is_own {
                    *row = batch.done;
                }
                series.audit((time, batch.done), &batch.attack, is_own, &batch.figures);
            }
            "audit_end" => {
                if let Some((attack, row)) = &self.own {
                    series.audit((time, *row), attack, true, &data_of(told));
                }
            }
            _ => {}
        }
        self.first.get_or_insert(time);
        self.last = time;
    }

    /// The file, with `pictures` by tag besides what the events said.
    pub fn finish(self, pictures: Vec<(String, Picture)>) -> Vec<u8> {
        let first = self.first.unwrap_or_default();
        let mut series = self.with_pictures(pictures);
        series.thin();
        let mut points: Vec<(&String, &Point)> = series
            .tags
            .iter()
            .flat_map(|(tag, points)| points.iter().map(move |point| (tag, point)))
            .collect();
        points.sort_by(|a, b| a.1.time.total_cmp(&b.1.time));
        let mut file = Vec::new();
        record::append(&mut file, &version(first));
        for (tag, point) in points {
            let value = match &point.held {
                Held::Value(value) => Some(value.clone()),
                Held::Cells(cells) => heat_map(cells).map(Value::Picture),
            };
            if let Some(value) = value {
                record::append(&mut file, &event(point.time, point.step, tag, &value));
            }
        }
        file
    }

    fn with_pictures(self, pictures: Vec<(String, Picture)>) -> Series {
        let row = self.own.map_or(0, |(_, row)| row);
        let mut series = self.series;
        for (tag, picture) in pictures {
            series.add((self.last, row), tag, Held::Value(Value::Picture(picture)));
        }
        series
    }
}

#[cfg(test)]
mod tests;
