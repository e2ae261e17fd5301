//! The loop: tasks in full batches through the attack, checked, scored, written, counted.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use burn::tensor::Tensor;

use super::measure::{Distance, Score, distance, flaw, score, values};
use super::plan::{Plan, Task};
use super::{AuditError, CLEAN, Counts, Pictures, PredictionLog, Row, Stage, TargetChoice};
use crate::Seed;
use crate::attacks::{Attack, Goal};
use crate::data::Batch;
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

/// The seed that an attack gets in a run.
pub fn attack_seed(run: Seed, attack: &dyn Attack) -> Seed {
    run.purpose("audit").purpose(attack.name())
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
    let mut clean = vec![None; pictures.labels.len()];
    let mut counts = Counts::new(plan.classes);
    let done = plan.done(log.path(), |image, row| {
        if row.attack == CLEAN {
            clean[image] = Some(Score { prediction: row.prediction, margin: row.margin });
        }
        counts.add(row)
    })?;
    let inherited = plan.inherited(log.path())?;
    let mut work = Work {
        victim,
        pictures,
        attack,
        name,
        seed: attack_seed(options.seed, attack),
        batch_size: options.batch_size,
        log,
        stop,
        progress,
        clean,
        counts,
        inherited,
        done: done.iter().filter(|is| **is).count(),
        total: plan.total(),
        attacks: 0,
        cost: Cost::default(),
    };
    let finished = work.all(&plan, &done)?;
    Ok(AuditOutcome {
        counts: work.counts,
        finished,
        attacks: work.attacks,
        cost: work.cost,
        seconds: started.elapsed().as_secs_f64(),
    })
}

/// An audit at work.
struct Work<'a> {
    victim: &'a Victim,
    pictures: Pictures<'a>,
    attack: &'a dyn Attack,
    name: &'a str,
    seed: Seed,
    batch_size: usize,
    log: &'a mut PredictionLog,
    stop: &'a StopFlag,
    progress: &'a mut dyn FnMut(Progress, &Counts),
    /// What is known of each unchanged picture.
    clean: Vec<Option<Score>>,
    counts: Counts,
    /// Rows of other attacks, by task.
    inherited: HashMap<usize, Row>,
    done: usize,
    total: usize,
    attacks: u64,
    cost: Cost,
}

/// Makes the rows of a batch of tasks of one stage.
type MakeRows<'a> = fn(&mut Work<'a>, &[Task]) -> Result<Vec<Row>, AuditError>;

impl<'a> Work<'a> {
    /// All tasks that are not done. Gives false when it was asked to stop.
    fn all(&mut self, plan: &Plan, done: &[bool]) -> Result<bool, AuditError> {
        let left = |stage| plan.tasks(stage).filter(|task: &Task| !done[task.index]);
        if !self.pass(Stage::Clean, left(Stage::Clean), Self::clean_rows)? {
            return Ok(false);
        }
        let labels = self.pictures.labels;
        let wrong: Vec<bool> =
            (0..labels.len()).map(|image| self.clean(image).prediction != labels[image]).collect();
        let known: HashSet<usize> = self.inherited.keys().copied().collect();
        let new = |stage| left(stage).filter(|task| !known.contains(&task.index));
        let old = |stage| left(stage).filter(|task| known.contains(&task.index));
        let spared = new(Stage::Untargeted).filter(|task| wrong[task.image]);
        let attacked = new(Stage::Untargeted).filter(|task| !wrong[task.image]);
        Ok(self
            .pass(Stage::Untargeted, old(Stage::Untargeted), |work, tasks| Ok(work.inherited_rows(tasks)))?
            && self.pass(Stage::Untargeted, spared, |work, tasks| Ok(work.spared_rows(tasks)))?
            && self.pass(Stage::Untargeted, attacked, Self::attacked_rows)?
            && self
                .pass(Stage::Targeted, old(Stage::Targeted), |work, tasks| Ok(work.inherited_rows(tasks)))?
            && self.pass(Stage::Targeted, new(Stage::Targeted), Self::attacked_rows)?)
    }

    /// Some tasks of a stage in full batches. Gives false when it was asked to stop.
    fn pass(
        &mut self,
        stage: Stage,
        mut tasks: impl Iterator<Item = Task>,
        make_rows: MakeRows<'a>,
    ) -> Result<bool, AuditError> {
        loop {
            let batch: Vec<Task> = tasks.by_ref().take(self.batch_size).collect();
            if batch.is_empty() {
                return Ok(true);
            }
            if self.stop.requested() {
                return Ok(false);
            }
            let rows = make_rows(self, &batch)?;
            self.log.append(&rows)?;
            for row in &rows {
                self.counts.add(row)?;
            }
            self.done += rows.len();
            (self.progress)(Progress { stage, done: self.done, total: self.total }, &self.counts);
        }
    }

    /// Unchanged pictures.
    fn clean_rows(&mut self, tasks: &[Task]) -> Result<Vec<Row>, AuditError> {
        let scores = self.scores(self.load(tasks)?.images, tasks, CLEAN)?;
        for (task, score) in tasks.iter().zip(&scores) {
            self.clean[task.image] = Some(*score);
        }
        let unchanged = tasks.iter().zip(scores);
        Ok(unchanged.map(|(task, score)| self.row(task, CLEAN, score, Distance::default())).collect())
    }

    /// Pictures that are misclassified without any change.
    fn spared_rows(&self, tasks: &[Task]) -> Vec<Row> {
        let row = |task: &Task| self.row(task, self.name, self.clean(task.image), Distance::default());
        tasks.iter().map(row).collect()
    }

    /// Pictures that another attack has dealt with.
    fn inherited_rows(&self, tasks: &[Task]) -> Vec<Row> {
        let row = |task: &Task| Row { attack: self.name.to_owned(), ..self.inherited[&task.index].clone() };
        tasks.iter().map(row).collect()
    }

    /// Pictures under the attack.
    fn attacked_rows(&mut self, tasks: &[Task]) -> Result<Vec<Row>, AuditError> {
        let batch = self.load(tasks)?;
        let targets: Option<Vec<usize>> = tasks.iter().map(|task| task.target).collect();
        let goal = targets.map_or(Goal::Untargeted, Goal::Targeted);
        let before = self.victim.cost();
        let (adversarial, parts) = self.attack.perturb_by_parts(self.victim, &batch, &goal, self.seed);
        let adversarial = adversarial.without_autodiff();
        self.cost = self.cost + (self.victim.cost() - before);
        self.attacks += tasks.len() as u64;

        let adversarial = match self.pictures.save {
            Some(save) => {
                // What is no picture cannot be saved, and is the attack's fault.
                self.inspect(&batch, &adversarial, tasks)?;
                let targets: Vec<Option<usize>> = tasks.iter().map(|task| task.target).collect();
                save(&batch, &targets, adversarial).map_err(AuditError::Pictures)?
            }
            None => adversarial,
        };
        let distances = self.inspect(&batch, &adversarial, tasks)?;
        let scores = self.scores(adversarial, tasks, self.name)?;
        let names = self.attack.parts();
        let found = tasks.iter().zip(scores).zip(distances).enumerate();
        Ok(found
            .map(|(index, ((task, score), distance))| {
                let mut row = self.row(task, self.name, score, distance);
                // A part is believed no more than the attack: it counts where the picture has success.
                let part = parts.get(index).copied().flatten().filter(|_| row.success);
                row.part = part.and_then(|part| names.get(part)).map(|name| (*name).to_owned());
                row
            })
            .collect())
    }

    /// Checks that the attack kept its rules, and measures how far it went.
    fn inspect(
        &self,
        batch: &Batch,
        adversarial: &Tensor<4>,
        tasks: &[Task],
    ) -> Result<Vec<Distance>, AuditError> {
        let violation = |task: &Task, cause: String| AuditError::Violation {
            image: self.pictures.names[task.image].clone(),
            attack: self.name.to_owned(),
            cause,
        };
        let [_, channels, height, width] = batch.shape();
        if adversarial.dims() != batch.shape() {
            let cause = format!("the batch has shape {:?}, not {:?}", adversarial.dims(), batch.shape());
            return Err(violation(&tasks[0], cause));
        }
        let admitted = self.attack.admits(batch.images.clone(), adversarial.clone());
        let (clean, adversarial) = (values(&batch.images)?, values(adversarial)?);
        let size = channels * height * width;
        let pairs = clean.chunks(size).zip(adversarial.chunks(size));
        tasks
            .iter()
            .zip(pairs)
            .enumerate()
            .map(|(row, (task, (clean, adversarial)))| match flaw(adversarial) {
                Some(flaw) => Err(violation(task, flaw)),
                None if admitted.get(row) == Some(&true) => Ok(distance(clean, adversarial, height * width)),
                None => Err(violation(task, "it is outside its threat model".to_owned())),
            })
            .collect()
    }

    /// The pictures of some tasks, each loaded once.
    fn load(&self, tasks: &[Task]) -> Result<Batch, AuditError> {
        // Tasks come image by image, so equal images are neighbours.
        let mut images: Vec<usize> = tasks.iter().map(|task| task.image).collect();
        images.dedup();
        let batch = (self.pictures.load)(&images).map_err(AuditError::Pictures)?;
        if images.len() == tasks.len() {
            return Ok(batch);
        }
        let mut position = 0;
        let positions: Vec<usize> = tasks
            .iter()
            .map(|task| {
                position += usize::from(images[position] != task.image);
                position
            })
            .collect();
        Ok(batch.select(&positions))
    }

    fn scores(&self, images: Tensor<4>, tasks: &[Task], stage: &str) -> Result<Vec<Score>, AuditError> {
        let logits = self.victim.logits(images);
        let classes = logits.dims()[1];
        let rows = values(&logits)?;
        tasks
            .iter()
            .zip(rows.chunks(classes))
            .map(|(task, logits)| {
                score(logits, self.pictures.labels[task.image]).ok_or_else(|| AuditError::Logits {
                    image: self.pictures.names[task.image].clone(),
                    stage: stage.to_owned(),
                })
            })
            .collect()
    }

    fn clean(&self, image: usize) -> Score {
        self.clean[image].expect("every unchanged picture is scored before the first attack")
    }

    fn row(&self, task: &Task, attack: &str, score: Score, distance: Distance) -> Row {
        let label = self.pictures.labels[task.image];
        let success = match task.target {
            Some(target) => score.prediction == target,
            None => attack != CLEAN && score.prediction != label,
        };
        Row {
            image: self.pictures.names[task.image].clone(),
            label,
            attack: attack.to_owned(),
            target: task.target,
            clean_prediction: self.clean(task.image).prediction,
            prediction: score.prediction,
            success,
            margin: score.margin,
            linf: distance.linf,
            l2: distance.l2,
            changed: distance.changed,
            part: None,
        }
    }
}

#[cfg(test)]
mod tests;
