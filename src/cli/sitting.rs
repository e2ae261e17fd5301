//! One attack on a split, with progress, until it is done or somebody stops it.

use burn::tensor::Device;

use super::audit::AuditRunConfig;
use super::progress::Progress;
use super::{Context, Interrupted};
use crate::Seed;
use crate::attacks::Attack;
use crate::audit::{
    self, AuditOptions, AuditOutcome, Counts, Load, Pictures, PieceFolder, PredictionLog, Save, Shard,
    ShardOutcome, Tally,
};
use crate::data::{Batch, Split};
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
        let mut log = PredictionLog::open(&self.layout.predictions())?;
        let (victim, stop) = (self.victim()?, &self.context.stop);
        let rows = options.name.as_deref().unwrap_or_else(|| attack.name());
        let mut teller = Teller::new(name, rows, events);
        let mut progress = |now: audit::Progress, counts: &Counts| {
            teller.batch(now, &|cells| figures(counts, rows, options.seed, cells));
        };
        let load = self.load();
        let pictures = self.pictures(&load);
        let outcome = audit::audit(&victim, pictures, attack, options, &mut log, stop, &mut progress);
        let told = teller.finish();
        let outcome = outcome?;
        told?;
        unless_stopped(outcome.finished)?;
        Ok(outcome)
    }

    /// Makes the pieces of a shard that the folder does not have yet. An interruption is an error.
    pub fn make_shard(
        &self,
        attack: &dyn Attack,
        options: &AuditOptions,
        folder: &PieceFolder,
        shard: Shard,
        events: &mut EventLog,
    ) -> anyhow::Result<ShardOutcome> {
        let (victim, stop) = (self.victim()?, &self.context.stop);
        let rows = options.name.as_deref().unwrap_or_else(|| attack.name());
        let mut teller = Teller::new(rows, rows, events);
        let mut progress =
            |now: audit::Progress, tally: &Tally| teller.batch(now, &|_| figures_of_shard(tally));
        let load = self.load();
        let pictures = self.pictures(&load);
        let outcome =
            audit::audit_shard(&victim, pictures, attack, options, folder, shard, stop, &mut progress);
        let told = teller.finish();
        let outcome = outcome?;
        told?;
        unless_stopped(outcome.finished)?;
        Ok(outcome)
    }

    fn victim(&self) -> anyhow::Result<Victim> {
        Ok(Victim::with_precision(&self.model.network, self.config.attack_precision)?)
    }

    /// Loads pictures of the split.
    pub fn load(&self) -> impl Fn(&[usize]) -> Loaded {
        let device = Device::default();
        move |rows| self.split.batch(rows, &device).map_err(Into::into)
    }

    /// The pictures of the split.
    pub fn pictures<'a>(&'a self, load: &'a Load<'a>) -> Pictures<'a> {
        let (labels, ids, names) = (self.split.labels(), self.split.ids(), self.split.paths());
        Pictures { labels, ids, names, load, save: self.save }
    }
}

/// A batch of pictures, or why there is none.
type Loaded = Result<Batch, Box<dyn std::error::Error + Send + Sync>>;

/// Turns an interruption into an error.
fn unless_stopped(finished: bool) -> Result<(), Interrupted> {
    if finished { Ok(()) } else { Err(Interrupted { resume: super::resume_command() }) }
}

/// What a shard has counted so far. It has no matrices.
pub(super) fn figures_of_shard(tally: &Tally) -> AuditFigures {
    let some = |counts: [u64; 2]| (counts[1] > 0).then_some(counts);
    AuditFigures {
        clean: some(tally.clean),
        robust: some(tally.robust),
        targeted: some(tally.targeted),
        confusion: None,
        success: None,
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
    events: &'a mut EventLog,
    bar: Option<Progress>,
    lines: Pace,
    matrices: Pace,
    /// The first event that could not be written.
    failure: Option<RunError>,
}

impl<'a> Teller<'a> {
    fn new(name: &'a str, attack: &'a str, events: &'a mut EventLog) -> Self {
        let (lines, matrices) = (Pace::of_lines(), Pace::of_matrices());
        Self { name, attack, events, bar: None, lines, matrices, failure: None }
    }

    /// `figures` are asked for with matrices or without.
    fn batch(&mut self, now: audit::Progress, figures: &dyn Fn(bool) -> AuditFigures) {
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
            figures: figures(cells),
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
