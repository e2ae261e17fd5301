//! Pictures, a model that has learnt nothing, and attacks that do what a test wants.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use tempfile::TempDir;

use super::measure::{score, values};
use super::{
    AuditError, AuditOptions, AuditOutcome, Counts, Pictures, PredictionLog, Progress, Row, TargetChoice,
    audit, read_rows,
};
use crate::Seed;
use crate::attacks::{Attack, Goal};
use crate::data::{Batch, ImageId};
use crate::models::{FaceCnn, FaceCnnConfig, Victim};
use crate::run::StopFlag;

pub const CLASSES: usize = 4;
pub const IMAGES: usize = 10;

/// One step along the gradient from a random start: uses everything that an attack is given.
pub struct Step {
    pub epsilon: f32,
}

impl Attack for Step {
    fn name(&self) -> &'static str {
        "step"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        let size: usize = batch.shape()[1..].iter().product();
        let noise: Vec<f32> = batch
            .ids
            .iter()
            .flat_map(|id| {
                let mut rng = seed.at(id.0).rng();
                (0..size).map(move |_| rng.random_range(-0.5..0.5)).collect::<Vec<f32>>()
            })
            .collect();
        let noise = Tensor::from_data(TensorData::new(noise, batch.shape()), &batch.images.device());
        let start = batch.images.clone() + noise * self.epsilon;
        let gradient = victim.input_gradient(start, |logits| goal.loss(logits, &batch.labels)).gradient;
        (batch.images.clone() + gradient.sign() * self.epsilon).clamp(0.0, 1.0)
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        let values = values(&(clean - adversarial).abs()).expect("host values");
        values
            .chunks(3 * 256)
            .map(|image| image.iter().all(|change| *change <= self.epsilon + 1e-6))
            .collect()
    }
}

/// An attack that does what a test wants.
pub struct Fake<F: Fn(Tensor<4>) -> Tensor<4> + Send> {
    pub paint: F,
    pub admits: bool,
}

impl<F: Fn(Tensor<4>) -> Tensor<4> + Send> Attack for Fake<F> {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn perturb(&self, _: &Victim, batch: &Batch, _: &Goal, _: Seed) -> Tensor<4> {
        (self.paint)(batch.images.clone())
    }

    fn admits(&self, clean: Tensor<4>, _: Tensor<4>) -> Vec<bool> {
        vec![self.admits; clean.dims()[0]]
    }
}

/// Pictures, a model that has learnt nothing, and a place for the rows.
pub struct Bench {
    pub victim: Victim,
    pub batch: Batch,
    pub names: Vec<String>,
    pub directory: TempDir,
}

impl Bench {
    pub fn new() -> Self {
        let device = Device::default();
        let config = FaceCnnConfig { side: 16, ..FaceCnnConfig::new(CLASSES) };
        let victim = Victim::new(&FaceCnn::new(&config, Seed::new(0), &device.clone().autodiff()));
        let mut rng = Seed::new(1).rng();
        let pixels: Vec<f32> = (0..IMAGES * 3 * 256).map(|_| rng.random_range(0.0..1.0)).collect();
        let images = Tensor::from_data(TensorData::new(pixels, [IMAGES, 3, 16, 16]), &device);
        // Labels that the model gets right, but for the last three.
        let logits = values(&victim.logits(images.clone())).expect("host values");
        let labels = logits
            .chunks(CLASSES)
            .enumerate()
            .map(|(row, logits)| {
                let prediction = score(logits, 0).expect("finite").prediction;
                if row < IMAGES - 3 { prediction } else { (prediction + 1) % CLASSES }
            })
            .collect();
        let ids = (0..IMAGES as u64).map(|id| ImageId(id * 77)).collect();
        Self {
            victim,
            batch: Batch { images, labels, ids, radius_scale: None },
            names: (0..IMAGES).map(|row| format!("{row}.png")).collect(),
            directory: tempfile::tempdir().expect("temporary directory"),
        }
    }

    pub fn log(&self, name: &str) -> PredictionLog {
        PredictionLog::open(&self.directory.path().join(name)).expect("a log")
    }

    /// Audits until `batches` batches are done.
    pub fn audit(
        &self,
        attack: &dyn Attack,
        options: &AuditOptions,
        log: &mut PredictionLog,
        batches: usize,
    ) -> Result<AuditOutcome, AuditError> {
        let load = |rows: &[usize]| {
            assert!(rows.windows(2).all(|pair| pair[0] < pair[1]), "each image is loaded once a batch");
            Ok(self.batch.select(rows))
        };
        let pictures = Pictures {
            labels: &self.batch.labels,
            ids: &self.batch.ids,
            names: &self.names,
            load: &load,
            save: None,
        };
        let stop = StopFlag::default();
        let mut count = 0;
        let mut progress = |at: Progress, _: &Counts| {
            assert!(at.done <= at.total);
            count += 1;
            if count == batches {
                stop.request();
            }
        };
        audit(&self.victim, pictures, attack, options, log, &stop, &mut progress)
    }

    pub fn whole(&self, attack: &dyn Attack, options: &AuditOptions, log: &str) -> (AuditOutcome, Vec<Row>) {
        let mut log = self.log(log);
        let outcome = self.audit(attack, options, &mut log, usize::MAX).expect("an audit");
        assert!(outcome.finished);
        (outcome, sorted(log.path()))
    }

    pub fn error(&self, attack: &dyn Attack, options: &AuditOptions) -> String {
        self.audit(attack, options, &mut self.log("error"), usize::MAX).expect_err("an error").to_string()
    }
}

/// The rows of a file in an order of their own.
pub fn sorted(path: &Path) -> Vec<Row> {
    let mut rows: Vec<Row> = read_rows(path).expect("readable").map(|row| row.expect("a row")).collect();
    rows.sort_by(|a, b| (&a.attack, a.target, &a.image).cmp(&(&b.attack, b.target, &b.image)));
    rows
}

/// Options with a batch size and targets.
pub fn options(batch_size: usize, targets: TargetChoice) -> AuditOptions {
    AuditOptions { batch_size, targets, ..AuditOptions::new(Seed::new(9)) }
}

/// One step of a fixed size.
pub const STEP: Step = Step { epsilon: 0.05 };
