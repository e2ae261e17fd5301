//! The loop: batch after batch of the plan, made, written, counted.

use std::time::Instant;

use super::make::Maker;
use super::plan::{Plan, Task};
use super::{AuditError, CLEAN, Counts, Pictures, PredictionLog, Stage, TargetChoice};
use crate::Seed;
use crate::attacks::Attack;
use crate::models::{Cost, Victim};
use crate::run::StopFlag;

/// How an attack is audited.
#[derive(Clone, Debug)]
pub struct AuditOptions {
    /// Most pictures attacked at once. It has no influence on the rows, but for rounding in the last digits.
    pub batch_size: usize,
    /// Whether the untargeted attack is made.
    pub untargeted: bool,
    /// Targets of each image.
    pub targets: TargetChoice,
    /// Seed of the run.
    pub seed: Seed,
    /// What the rows call the attack; its own name when absent. An attack that is made with several
    /// budgets in one run needs a name for each.
    pub name: Option<String>,
    /// Attacks of the same log whose rows are taken over instead of being made again.
    pub inherit: Vec<Inherit>,
}

/// An attack whose rows another one takes over. That is right where whatever the first one may do, the second may do
/// too: in a larger ball of the same norm, or with more steps or restarts as the best of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inherit {
    /// What the rows call the attack.
    pub attack: String,
    /// Whether images that stood are taken over as well, because the two attacks are the same.
    pub whole: bool,
}

impl AuditOptions {
    /// Batches of 64, the untargeted attack, no targets.
    pub fn new(seed: Seed) -> Self {
        let targets = TargetChoice::None;
        Self { batch_size: 64, untargeted: true, targets, seed, name: None, inherit: Vec::new() }
    }
}

/// How far an audit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// What was just worked on.
    pub stage: Stage,
    /// Rows there are, those of an earlier process included.
    pub done: usize,
    /// Rows there will be.
    pub total: usize,
}

/// What an audit came to.
#[derive(Clone, Debug)]
pub struct AuditOutcome {
    /// Counts of the clean rows and of the rows of this attack, those of an earlier process included.
    pub counts: Counts,
    /// False when it was asked to stop before the end; call it again with the same log to go on.
    pub finished: bool,
    /// Pictures that were attacked in this call, each target counted.
    pub attacks: u64,
    /// What the attack asked of the victim in this call, without the forwards that check its result.
    pub cost: Cost,
    /// Seconds that this call took.
    pub seconds: f64,
}

/// Attacks all pictures and appends a row for each attack made to the log; what the log has already is
/// not made again.
///
/// First comes every picture unchanged, unless the log has it from another attack. An image that is
/// misclassified unchanged needs no untargeted attack: its row repeats the clean prediction, at distance
/// 0, and counts as not robust. It is attacked with a target like any other.
///
/// No picture of an attack is believed: each is checked to be a picture and to be admitted by the attack,
/// and scored by a forward pass of its own. Between batches the stop flag is looked at. The attack gets
/// one seed for all targets, so an image starts from the same random point for each of them.
///
/// The pictures have the shape that the victim takes. `progress` hears after each batch how far the audit is, with the
/// counts so far.
///
/// # Errors
/// [`AuditError`]; the rows of the batches before are in the log.
pub fn audit(
    victim: &Victim,
    pictures: Pictures,
    attack: &dyn Attack,
    options: &AuditOptions,
    log: &mut PredictionLog,
    stop: &StopFlag,
    progress: &mut dyn FnMut(Progress, &Counts),
) -> Result<AuditOutcome, AuditError> {
    let started = Instant::now();
    let name = options.name.as_deref().unwrap_or_else(|| attack.name());
    let plan = Plan::new(pictures, options, name, victim.classes())?;
    let mut maker = Maker::new(victim, pictures, attack, options, name);
    let mut counts = Counts::new(plan.classes);
    let done = plan.done(log.path(), |image, row| {
        if row.attack == CLEAN {
            maker.learn_clean(image, row);
        }
        counts.add(row)
    })?;
    let inherited = plan.inherited(log.path())?;
    let mut at =
        Progress { stage: Stage::Clean, done: done.iter().filter(|is| **is).count(), total: plan.total() };
    let mut finished = true;
    'stages: for stage in Stage::ALL {
        at.stage = stage;
        for places in plan.batches(stage) {
            let mut tasks = plan.tasks(stage, places);
            tasks.retain(|task: &Task| !done[task.index]);
            if tasks.is_empty() {
                continue;
            }
            if stop.requested() {
                finished = false;
                break 'stages;
            }
            let rows = maker.rows(stage, &tasks, &inherited)?;
            log.append(&rows)?;
            for row in &rows {
                counts.add(row)?;
            }
            at.done += rows.len();
            progress(at, &counts);
        }
    }
    let Maker { attacks, cost, .. } = maker;
    Ok(AuditOutcome { counts, finished, attacks, cost, seconds: started.elapsed().as_secs_f64() })
}

#[cfg(test)]
mod tests;
