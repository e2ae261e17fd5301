//! Rows: a batch of tasks through the attack, checked and scored.

use burn::tensor::Tensor;

use super::measure::{Distance, Score, distance, flaw, score, values};
use super::plan::{Inherited, Task};
use super::{AuditError, AuditOptions, CLEAN, Pictures, Row, Stage};
use crate::Seed;
use crate::attacks::{Attack, Goal};
use crate::data::Batch;
use crate::models::{Cost, Victim};

/// The seed that an attack gets in a run.
pub fn attack_seed(run: Seed, attack: &dyn Attack) -> Seed {
    run.purpose("audit").purpose(attack.name())
}

/// Makes rows of one attack.
pub(super) struct Maker<'a> {
    victim: &'a Victim,
    pictures: Pictures<'a>,
    attack: &'a dyn Attack,
    name: &'a str,
    seed: Seed,
    /// What is known of each unchanged picture.
    clean: Vec<Option<Score>>,
    /// Pictures that were attacked, each target counted.
    pub attacks: u64,
    /// What the attack asked of the victim.
    pub cost: Cost,
}

impl<'a> Maker<'a> {
    /// `name` is what the rows call the attack.
    pub fn new(
        victim: &'a Victim,
        pictures: Pictures<'a>,
        attack: &'a dyn Attack,
        options: &AuditOptions,
        name: &'a str,
    ) -> Self {
        let clean = vec![None; pictures.labels.len()];
        let seed = attack_seed(options.seed, attack);
        Self { victim, pictures, attack, name, seed, clean, attacks: 0, cost: Cost::default() }
    }

    /// What the row of an unchanged picture says about it.
    pub fn learn_clean(&mut self, image: usize, row: &Row) {
        self.clean[image] = Some(Score { prediction: row.prediction, margin: row.margin });
    }

    /// Whether an unchanged picture was scored.
    pub fn knows_clean(&self, image: usize) -> bool {
        self.clean[image].is_some()
    }

    /// The rows of a batch of tasks of one stage. Those of other attacks that are taken over, and untargeted ones of
    /// images that are wrong unchanged, need no attack.
    pub fn rows(
        &mut self,
        stage: Stage,
        tasks: &[Task],
        inherited: &Inherited,
    ) -> Result<Vec<Row>, AuditError> {
        if stage == Stage::Clean {
            return self.clean_rows(tasks);
        }
        let known: Vec<Option<Row>> = tasks.iter().map(|task| self.known_row(task, inherited)).collect();
        let left: Vec<Task> =
            tasks.iter().zip(&known).filter(|(_, row)| row.is_none()).map(|(task, _)| *task).collect();
        let made = if left.is_empty() { Vec::new() } else { self.attacked_rows(&left)? };
        let mut made = made.into_iter();
        Ok(known.into_iter().filter_map(|row| row.or_else(|| made.next())).collect())
    }

    /// The row of a task that needs no attack.
    fn known_row(&self, task: &Task, inherited: &Inherited) -> Option<Row> {
        if let Some(row) = inherited.get(task.index) {
            return Some(Row { attack: self.name.to_owned(), ..row.clone() });
        }
        let clean = self.clean(task.image);
        let is_wrong = clean.prediction != self.pictures.labels[task.image];
        (task.target.is_none() && is_wrong).then(|| self.row(task, self.name, clean, Distance::default()))
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
