//! One attack on a split, with progress, until it is done or somebody stops it.

use burn::tensor::Device;

use super::audit::AuditRunConfig;
use super::progress::Progress;
use super::{Context, Interrupted};
use crate::Seed;
use crate::attacks::Attack;
use crate::audit::{self, AuditOptions, AuditOutcome, Counts, Pictures, PredictionLog, Save};
use crate::data::Split;
use crate::metrics::Snapshot;
use crate::models::{Model, Victim};
use crate::run::{EventLog, Layout, Pace, RunError};
use crate::watch::{AuditBatch, AuditFigures};

/// What an attack is made on, and where its rows go.
pub(super) struct Sitting<'a> {
    pub config: &'a AuditRunConfig,
    pub model: &'a Model,
    pub split: &'a Split,
    pub layout: &'a Layout,
    pub context: &'a Context,
    /// Where adversarial pictures go, if they are kept.
    pub save: Option<&'a Save<'a>>,
}

impl Sitting<'_> {
    /// The options of the audit's own attack.
    pub fn options(&self) -> AuditOptions {
        AuditOptions {
            batch_size: self.config.batch_size,
            untargeted: self.config.untargeted,
            targets: self.config.targets.clone(),
            ..AuditOptions::new(Seed::new(self.config.seed))
        }
    }

    /// Makes the rows that the log does not have yet; `name` is that of the progress bar. An interruption is an error.
    pub fn make(
        &self,
        attack: &dyn Attack,
        options: &AuditOptions,
        name: &str,
        events: &mut EventLog,
    ) -> anyhow::Result<AuditOutcome> {
        let (split, device) = (self.split, Device::default());
        let load = |rows: &[usize]| split.batch(rows, &device).map_err(Into::into);
        let (labels, ids, names) = (split.labels(), split.ids(), split.paths());
        let pictures = Pictures { labels, ids, names, load: &load, save: self.save };
        let mut log = PredictionLog::open(&self.layout.predictions())?;
        let victim = Victim::with_precision(&self.model.network, self.config.attack_precision)?;
        let rows = options.name.as_deref().unwrap_or_else(|| attack.name());
        let mut teller = Teller::new(name, rows, options.seed, events);
        let mut progress = |now: audit::Progress, counts: &Counts| teller.batch(now, counts);
        let stop = &self.context.stop;
        let outcome = audit::audit(&victim, pictures, attack, options, &mut log, stop, &mut progress);
        let told = teller.finish();
        let outcome = outcome?;
        told?;
        if outcome.finished {
            return Ok(outcome);
        }
        Err(Interrupted { resume: super::resume_command() }.into())
    }
}

/// What was counted of an attack, with matrices as small as they have to be.
pub(super) fn figures(counts: &Counts, attack: &str, seed: Seed, cells: bool) -> AuditFigures {
    let of_attack = counts.attacks.get(attack);
    let (untargeted, targeted) =
        (of_attack.and_then(|of| of.untargeted.as_ref()), of_attack.and_then(|of| of.targeted.as_ref()));
    let seed = seed.purpose("snapshot");
    let sized = |found: Snapshot| if cells { found } else { found.without_cells() };
    AuditFigures {
        clean: Some([counts.clean.correct(), counts.clean.total()]),
        robust: untargeted.map(|matrix| [matrix.correct(), matrix.total()]),
        targeted: targeted.map(|matrix| [matrix.total_successes(), matrix.total_attempts()]),
        confusion: untargeted.map(|matrix| sized(Snapshot::of_confusion(matrix, seed))),
        success: targeted.map(|matrix| sized(Snapshot::of_success(matrix, seed))),
    }
}

/// Tells the progress bar and the log how far an attack is.
struct Teller<'a> {
    /// Name of the progress bar.
    name: &'a str,
    /// What the rows call the attack.
    attack: &'a str,
    seed: Seed,
    events: &'a mut EventLog,
    bar: Option<Progress>,
    lines: Pace,
    matrices: Pace,
    /// The first event that could not be written.
    failure: Option<RunError>,
}

impl<'a> Teller<'a> {
    fn new(name: &'a str, attack: &'a str, seed: Seed, events: &'a mut EventLog) -> Self {
        let (lines, matrices) = (Pace::of_lines(), Pace::of_matrices());
        Self { name, attack, seed, events, bar: None, lines, matrices, failure: None }
    }

    fn batch(&mut self, now: audit::Progress, counts: &Counts) {
        let (done, total) = (now.done as u64, now.total as u64);
        let bar = self.bar.get_or_insert_with(|| Progress::new(self.name, total, done));
        let stage = format!("{:?}", now.stage).to_lowercase();
        bar.set(done, &stage);
        let last = done == total;
        if !(self.lines.due() || last) || self.failure.is_some() {
            return;
        }
        let cells = self.matrices.due() || last;
        let batch = AuditBatch {
            attack: self.attack.to_owned(),
            stage,
            done,
            total,
            rows_per_second: bar.speed(),
            seconds_left: bar.seconds_left(),
            figures: figures(counts, self.attack, self.seed, cells),
        };
        self.failure = self.events.append("audit_batch", &batch).err();
    }

    fn finish(self) -> Result<(), RunError> {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
        self.failure.map_or(Ok(()), Err)
    }
}
