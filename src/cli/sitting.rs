//! One attack on a split, with progress, until it is done or somebody stops it.

use burn::tensor::Device;

use super::audit::AuditRunConfig;
use super::progress::Progress;
use super::{Context, Interrupted};
use crate::Seed;
use crate::attacks::Attack;
use crate::audit::{self, AuditOptions, AuditOutcome, Pictures, PredictionLog, Save};
use crate::data::Split;
use crate::models::{Model, Victim};
use crate::run::Layout;

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
    ) -> anyhow::Result<AuditOutcome> {
        let (split, device) = (self.split, Device::default());
        let load = |rows: &[usize]| split.batch(rows, &device).map_err(Into::into);
        let (labels, ids, names) = (split.labels(), split.ids(), split.paths());
        let pictures = Pictures { labels, ids, names, load: &load, save: self.save };
        let mut log = PredictionLog::open(&self.layout.predictions())?;
        let victim = Victim::with_precision(&self.model.network, self.config.attack_precision)?;
        let mut bar: Option<Progress> = None;
        let mut progress = |now: audit::Progress| {
            let bar = bar.get_or_insert_with(|| Progress::new(name, now.total as u64, now.done as u64));
            bar.set(now.done as u64, &format!("{:?}", now.stage).to_lowercase());
        };
        let stop = &self.context.stop;
        let outcome = audit::audit(&victim, pictures, attack, options, &mut log, stop, &mut progress);
        if let Some(bar) = &bar {
            bar.finish();
        }
        let outcome = outcome?;
        if outcome.finished {
            Ok(outcome)
        } else {
            Err(Interrupted { resume: super::resume_command() }.into())
        }
    }
}
