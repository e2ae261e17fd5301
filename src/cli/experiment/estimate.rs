//! `--dry-run`: which cells are there, and about how long the others take.
//!
//! Where cells of the same kind (data, model, method; trial or not) are finished, their mean wall-clock time counts.
//! Elsewhere two training steps, one batch of the validation and one of each audit are made and timed, and
//! multiplied. The attacks are timed without early stopping, so this is an upper bound, apart from other load.

use std::collections::BTreeMap;
use std::time::Instant;

use burn::tensor::Device;

use super::super::{Context, Interrupted, resume_command, say, train};
use super::pictures;
use super::plan::{Cell, Plan};
use super::state::{self, State};
use crate::Seed;
use crate::attacks::{AttackConfig, Goal};
use crate::data::{Dataset, Split};
use crate::models::Victim;
use crate::report::{Align, Table};
use crate::run::{RunError, StopFlag};
use crate::train::{EpochReport, Job, Observer, StepReport};
use crate::watch::duration;

/// Data, model, method, and whether it is a trial.
type Kind = (usize, usize, usize, bool);

/// Seconds of a cell, and where that comes from.
#[derive(Clone)]
enum Estimate {
    /// Mean of finished cells.
    Finished(f64, usize),
    /// From timed steps.
    Timed(f64),
    /// Why there is none.
    Unknown(String),
}

/// Prints the cells and the estimate.
///
/// # Errors
/// When a file changed, or a stop was asked for.
pub(super) fn dry_run(plan: &Plan, cells: &[Cell], context: &Context) -> anyhow::Result<()> {
    let states: Vec<State> = cells.iter().map(|cell| state::of(plan, cell)).collect::<anyhow::Result<_>>()?;
    let estimates = estimates(plan, cells, &states, context)?;
    let mut table = Table::new([("cell", Align::Left), ("state", Align::Left), ("estimate", Align::Left)]);
    let mut total = 0.0;
    let mut unknown = 0;
    for (cell, now) in cells.iter().zip(&states) {
        let word = match now {
            State::Missing => "missing",
            State::Partly => "partly done",
            State::Done => "done",
            State::Failed => "diverged",
        };
        let cell_estimate = match (now, estimates.get(&kind(cell))) {
            (State::Done | State::Failed, _) | (_, None) => String::new(),
            (_, Some(Estimate::Finished(seconds, n))) => {
                total += seconds;
                format!("{} (mean of {n} finished)", duration(*seconds))
            }
            (_, Some(Estimate::Timed(seconds))) => {
                total += seconds;
                format!("{} (timed, at most)", duration(*seconds))
            }
            (_, Some(Estimate::Unknown(why))) => {
                unknown += 1;
                format!("unknown: {why}")
            }
        };
        table.row([plan.key(cell), word.to_owned(), cell_estimate]);
    }
    let count = |state: State| states.iter().filter(|other| **other == state).count();
    say(&format!(
        "{table}\n{} cells: {} done, {} partly, {} missing, {} diverged. Left: about {}{}, one cell at a time, this machine \
         otherwise idle. A cell that is partly done counts whole.\nResults: {}",
        cells.len(),
        count(State::Done),
        count(State::Partly),
        count(State::Missing),
        count(State::Failed),
        duration(total),
        if unknown > 0 { format!(" and {unknown} cells of unknown time") } else { String::new() },
        plan.root.display()
    ));
    Ok(())
}

fn kind(cell: &Cell) -> Kind {
    (cell.data, cell.model, cell.method, cell.trial.is_some())
}

fn estimates(
    plan: &Plan,
    cells: &[Cell],
    states: &[State],
    context: &Context,
) -> anyhow::Result<BTreeMap<Kind, Estimate>> {
    let mut found = BTreeMap::new();
    for (cell, now) in cells.iter().zip(states) {
        let kind = kind(cell);
        if matches!(now, State::Done | State::Failed) || found.contains_key(&kind) {
            continue;
        }
        if context.stop.requested() {
            return Err(Interrupted { resume: resume_command() }.into());
        }
        let finished: Vec<f64> = cells
            .iter()
            .zip(states)
            .filter(|(other, now)| self::kind(other) == kind && **now == State::Done)
            .filter_map(|(other, _)| state::seconds(&plan.place(other)))
            .collect();
        let estimate = if finished.is_empty() {
            match timed(plan, cell) {
                Ok(seconds) => Estimate::Timed(seconds),
                Err(error) => {
                    Estimate::Unknown(format!("{error:#}").lines().next().unwrap_or_default().to_owned())
                }
            }
        } else {
            Estimate::Finished(finished.iter().sum::<f64>() / finished.len() as f64, finished.len())
        };
        found.insert(kind, estimate);
    }
    Ok(found)
}

/// Times what a cell is made of.
fn timed(plan: &Plan, cell: &Cell) -> anyhow::Result<f64> {
    // While values are not chosen yet, those of the first trial: they hardly change the time.
    let trial = plan.trials(cell).first().copied();
    let config = match (plan.train_config(cell)?, trial) {
        (Some(config), _) => Some(config),
        (None, Some(trial)) => plan.train_config(&trial)?,
        (None, None) => None,
    };
    let Some(mut config) = config else { anyhow::bail!("its values are not chosen yet") };
    if config.model.from.as_ref().is_some_and(|from| !from.exists()) {
        // The network that is described beside it takes as long.
        config.model.from = None;
        config.model.new_head = false;
        config.model.crop = None;
    }
    pictures::prepare(plan, cell)?;
    let data = Dataset::open(&config.data, train::framing(&config)?)?;
    let model = train::start_model(&config, &data)?;
    let side = model.config.preprocessing.side;
    let shape = [3, side, side];
    let mut objective = config.objective.build(shape, data.classes.len())?;
    let validation = config.validation.attack.build(shape)?;
    let victim = Victim::new(&model.network);
    let mut seconds = 0.0;
    let train = &config.train;
    let validations = train.epochs.div_ceil(train.validate_every);
    seconds += validations as f64
        * per_picture(&config.validation.attack, shape, &victim, &data.val, train.batch_size)?
        * data.val.len() as f64;
    for job in plan.audits(cell)? {
        let AuditShare { attacks, split } = share(&job.config, &data);
        seconds += attacks * per_picture(&job.config.attack, shape, &victim, split, job.config.batch_size)?;
    }
    let place = tempfile::tempdir()?;
    let (models, checkpoints) = (place.path().join("model"), place.path().join("checkpoints"));
    let stop = StopFlag::default();
    let mut timer = Timer { seconds: 0.0, steps: 0, made: 0, stop: stop.clone() };
    let job = Job {
        model,
        data: &data,
        objective: objective.as_mut(),
        validation_attack: validation.as_ref(),
        config: train,
        seed: Seed::new(config.seed).purpose("train"),
        model_directory: &models,
        checkpoint_directory: &checkpoints,
        team: &crate::train::Alone,
    };
    crate::train::train(job, &stop, &mut timer)?;
    Ok(seconds + timer.seconds * (timer.steps * train.epochs) as f64)
}

/// What an audit attacks.
struct AuditShare<'a> {
    /// Number of attacks on a picture, over all pictures and targets.
    attacks: f64,
    split: &'a Split,
}

fn share<'a>(config: &super::super::audit::AuditRunConfig, data: &'a Dataset) -> AuditShare<'a> {
    let split = match config.split {
        super::super::audit::SplitName::Val => &data.val,
        super::super::audit::SplitName::Test => &data.test,
    };
    let (classes, seed) = (data.classes.len(), Seed::new(config.seed));
    let labels = split.labels().iter().zip(split.ids());
    let targets: usize = labels.map(|(label, id)| config.targets.of(*label, *id, classes, seed).len()).sum();
    let untargeted = if config.untargeted { split.len() } else { 0 };
    AuditShare { attacks: (targets + untargeted) as f64, split }
}

/// Seconds that an attack takes for one picture, in a batch, without early stopping.
fn per_picture(
    attack: &AttackConfig,
    shape: [usize; 3],
    victim: &Victim,
    split: &Split,
    batch_size: usize,
) -> anyhow::Result<f64> {
    let rows: Vec<usize> = (0..split.len().min(batch_size)).collect();
    let batch = split.batch(&rows, &Device::default())?;
    let attack = attack.for_training().build(shape)?;
    let started = Instant::now();
    let _ = attack.perturb(victim, &batch, &Goal::Untargeted, Seed::new(0)).into_data();
    Ok(started.elapsed().as_secs_f64() / rows.len() as f64)
}

/// Times the second step and stops.
struct Timer {
    seconds: f64,
    steps: usize,
    made: usize,
    stop: StopFlag,
}

impl Observer for Timer {
    fn step(&mut self, report: &StepReport) -> Result<(), RunError> {
        self.seconds = report.seconds;
        self.steps = report.steps;
        self.made += 1;
        if self.made == 2 {
            self.stop.request();
        }
        Ok(())
    }

    fn epoch(&mut self, _report: &EpochReport) -> Result<(), RunError> {
        Ok(())
    }
}
