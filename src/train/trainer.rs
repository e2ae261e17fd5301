//! The loop: batch, attack, loss, update; after each epoch a validation under attack.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Device;

use super::averaging::{AverageEvery, averaged};
use super::checkpoint::{self, EpochSums, Saved, State};
use super::exchange::{average_statistics, broadcast_weights, checksum, sum_gradients};
use super::observer::{EpochReport, Observer, StepReport, ValidationProgress};
use super::optimizer::clip_by_global_norm;
use super::team::{Student, Team};
use super::validate::{self, Manner, validate};
use super::weight_perturbation::Perturbation;
use super::{TrainConfig, Validation};
use crate::Seed;
use crate::attacks::Attack;
use crate::data::{Batch, DataError, Dataset, ImageId, augment, epoch_batches};
use crate::metrics::Snapshot;
use crate::models::{Cost, Model, ModelError, Network, Victim};
use crate::objectives::{Loss, Objective, Pictures, Whole};
use crate::run::{RunError, StopFlag};

/// A killed training loses at most this much work.
const CHECKPOINT_EVERY: Duration = Duration::from_mins(1);

/// Why training ended early.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A picture could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model could not be written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A checkpoint could not be written or read.
    #[error("checkpoint {}: {reason}", path.display())]
    Checkpoint {
        /// The file or directory.
        path: PathBuf,
        /// What happened and what to do.
        reason: String,
    },
    /// The loss or its gradient is not a number any more.
    #[error(
        "training diverged in epoch {epoch}, step {step}: {what} is not finite. The best model so far and the last \
         good checkpoint are kept. Start a new run with a lower learning rate, a lower weight of that term, or a \
         smaller train.clip_norm."
    )]
    Diverged {
        /// Epoch, from 1.
        epoch: usize,
        /// Step of the epoch, from 1.
        step: usize,
        /// The term, or the gradient.
        what: String,
    },
    /// The constants of the loop cannot be meant.
    #[error("configuration: {0}")]
    Config(String),
    /// The ranks are not at the same point.
    #[error(
        "{what} of rank {rank} is not that of rank 0. Run the same program on the same files everywhere, on \
         processors of one kind, and go on from the last checkpoint with --resume."
    )]
    Apart {
        /// What differs.
        what: &'static str,
        /// The first rank that differs.
        rank: usize,
    },
    /// The log could not be written.
    #[error(transparent)]
    Log(#[from] RunError),
}

/// What to train, on what, and where to put it.
pub struct Job<'a> {
    /// The model to start from, with its parameters on an autodiff device.
    pub model: Model,
    /// Its pictures.
    pub data: &'a Dataset,
    /// The training method.
    pub objective: &'a mut dyn Objective,
    /// The attack of the validation.
    pub validation_attack: &'a dyn Attack,
    /// Constants of the loop.
    pub config: &'a TrainConfig,
    /// Key of all random draws.
    pub seed: Seed,
    /// Where the best model goes.
    pub model_directory: &'a Path,
    /// Where the state to resume from goes.
    pub checkpoint_directory: &'a Path,
    /// Who trains: [`Alone`](super::Alone), or one of several ranks. Rank 0 alone writes; the others read the
    /// checkpoint from the same directory.
    pub team: &'a dyn Team,
}

/// How training ended.
#[derive(Clone, Debug)]
pub enum TrainOutcome {
    /// All epochs are done.
    Finished {
        /// Epoch of the model that was kept, from 1.
        best_epoch: usize,
        /// Its validation.
        validation: Validation,
        /// Seconds of training, over all sittings.
        seconds: f64,
    },
    /// A stop was asked for; the state is saved.
    Stopped {
        /// Epoch in progress, from 1.
        epoch: usize,
    },
}

/// Trains, from the checkpoint if there is one.
///
/// # Errors
/// [`TrainError`]; the last checkpoint and the best model stay.
pub fn train(job: Job, stop: &StopFlag, observer: &mut dyn Observer) -> Result<TrainOutcome, TrainError> {
    Loop::start(job)?.run(stop, observer)
}

struct Loop<'a> {
    job: Job<'a>,
    optimizer: ModuleOptimizer,
    /// The average of the weights, once there is one, on the plain device.
    average: Option<Network>,
    state: State,
    device: Device,
    saved: Instant,
    /// Seconds of exchange up to the last epoch.
    exchanged: f64,
}

impl<'a> Loop<'a> {
    fn start(mut job: Job<'a>) -> Result<Self, TrainError> {
        job.config.check().map_err(TrainError::Config)?;
        can_share(&job)?;
        let mut optimizer = job.config.optimizer.build();
        let (mut state, mut average) = (State::default(), None);
        job.model.network = job.model.network.trained_in(job.config.trainable);
        if let Some(found) = checkpoint::load(job.checkpoint_directory, &job.model.network, &optimizer)? {
            Saved { network: job.model.network, average, optimizer, state } = found;
            job.objective.restore(&state.objective).map_err(|reason| TrainError::Checkpoint {
                path: job.checkpoint_directory.to_owned(),
                reason: format!("{reason}; start a new run"),
            })?;
        }
        job.model.network = broadcast_weights(job.team, job.model.network);
        let started = serde_json::to_vec(&state).unwrap_or_default();
        agree(job.team, "the checkpoint (its directory must be one that all ranks share)", &started)?;
        let exchanged = job.team.seconds();
        Ok(Self {
            job,
            optimizer,
            average,
            state,
            device: Device::default(),
            saved: Instant::now(),
            exchanged,
        })
    }

    fn run(mut self, stop: &StopFlag, observer: &mut dyn Observer) -> Result<TrainOutcome, TrainError> {
        let config = self.job.config;
        while self.state.epoch < config.epochs {
            let seed = self.job.seed.at(self.state.epoch as u64);
            let labels = self.job.data.train.labels();
            let batches = epoch_batches(labels, config.batch_size, config.order, seed.purpose("order"));
            while self.state.step < batches.len() {
                if self.job.team.any(stop.requested()) {
                    self.save()?;
                    return Ok(TrainOutcome::Stopped { epoch: self.state.epoch + 1 });
                }
                self.step(&batches, seed, observer)?;
                if self.job.team.any(self.saved.elapsed() > CHECKPOINT_EVERY) {
                    self.save()?;
                }
            }
            let report = self.end_epoch(batches.len(), observer)?;
            self.save()?;
            observer.epoch(&report)?;
        }
        let (epoch, validation) = self.state.best.expect("the last epoch always has a validation");
        Ok(TrainOutcome::Finished { best_epoch: epoch + 1, validation, seconds: self.state.seconds })
    }

    fn save(&mut self) -> Result<(), TrainError> {
        self.stay_finite()?;
        self.saved = Instant::now();
        self.state.saves += 1;
        self.state.objective = self.job.objective.state();
        let Job { checkpoint_directory, model, team, .. } = &self.job;
        if team.rank() > 0 {
            return Ok(());
        }
        checkpoint::save(
            checkpoint_directory,
            &model.network,
            self.average.as_ref(),
            &self.optimizer,
            &self.state,
        )
    }

    /// Keeps weights that are not numbers out of checkpoints and models.
    fn stay_finite(&self) -> Result<(), TrainError> {
        match self.job.model.network.non_finite_tensors() {
            0 => Ok(()),
            _ => Err(self.diverged("a weight of the network".to_owned())),
        }
    }

    fn diverged(&self, what: String) -> TrainError {
        TrainError::Diverged { epoch: self.state.epoch + 1, step: self.state.step + 1, what }
    }

    fn step(
        &mut self,
        batches: &[Vec<usize>],
        seed: Seed,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let start = Instant::now();
        let (team, rows) = (self.job.team, &batches[self.state.step]);
        let split = &self.job.data.train;
        let labels: Vec<usize> = rows.iter().map(|&row| split.labels()[row]).collect();
        let ids: Vec<ImageId> = rows.iter().map(|&row| split.ids()[row]).collect();
        let own = team.share(rows.len());
        let whole = Whole::new(&labels, &ids, own.start);
        let batch = split.batch(&rows[own], &self.device)?;
        let batch = augment(&batch, &self.job.config.augment, seed.purpose("augment"));
        let network = &self.job.model.network;
        let victim = Victim::with_precision(network, self.job.config.attack_precision)
            .map_err(|error| TrainError::Config(error.to_string()))?;
        let pictures = self.job.objective.attack(&victim, &batch, &whole, seed.purpose("attack"));
        // Its filters take several times the memory of the network, and the update needs its own.
        let cost = victim.cost();
        drop(victim);
        let rate = self.learning_rate(self.state.step, batches.len());
        // The student answers for the pictures of all ranks.
        let batch = Batch { labels, ids, ..batch };
        let loss = self.learn(&batch, pictures, rate)?;
        if self.job.config.averaging.is_some_and(|averaging| averaging.every == AverageEvery::Step) {
            self.move_average();
        }
        let seconds = start.elapsed().as_secs_f64();
        self.state.step += 1;
        self.state.seconds += seconds;
        self.state.sums.add(&batch.labels, &loss, whole_cost(team, cost), seconds);
        observer.step(&StepReport {
            epoch: self.state.epoch + 1,
            epochs: self.job.config.epochs,
            step: self.state.step,
            steps: batches.len(),
            images: batch.len(),
            terms: &loss.terms,
            seconds,
        })?;
        Ok(())
    }

    /// The second half of a step: losses, with perturbed weights if so configured, and the update.
    fn learn(&mut self, batch: &Batch, pictures: Pictures, rate: f64) -> Result<Loss, TrainError> {
        let Job { model, objective, config, team, .. } = &mut self.job;
        let team = *team;
        let due = config.weight_perturbation.filter(|awp| self.state.epoch >= awp.warmup_epochs);
        let perturbation = due.map(|awp| {
            Perturbation::find(awp.gamma, &model.network, team, &mut **objective, batch, pictures.clone())
        });
        if let Some(perturbation) = &perturbation {
            model.network = perturbation.moved(model.network.clone(), 1.0);
        }
        let loss = objective.loss_on(&Student { network: &model.network, team }, batch, pictures);
        self.update(&loss, rate)?;
        if let Some(perturbation) = &perturbation {
            let network = &mut self.job.model.network;
            *network = perturbation.moved(network.clone(), -1.0);
        }
        Ok(loss)
    }

    fn move_average(&mut self) {
        if let Some(averaging) = &self.job.config.averaging {
            let decay = averaging.decay_after(self.state.averages);
            self.average = Some(averaged(self.average.take(), &self.job.model.network, decay));
            self.state.averages += 1;
        }
    }

    fn learning_rate(&self, step: usize, steps: usize) -> f64 {
        let config = self.job.config;
        let epoch = self.state.epoch as f64 + step as f64 / steps as f64;
        config.optimizer.learning_rate() * config.schedule.factor(epoch, config.epochs, config.warmup_epochs)
    }

    fn update(&mut self, loss: &Loss, rate: f64) -> Result<(), TrainError> {
        if let Some(term) = loss.terms.iter().find(|term| !term.value.is_finite()) {
            return Err(self.diverged(format!("the term `{}` of the loss", term.name)));
        }
        let network = &self.job.model.network;
        let mut gradients = GradientsParams::from_grads(loss.total.backward(), network);
        sum_gradients(self.job.team, &mut gradients, network);
        let norm = clip_by_global_norm(&mut gradients, network, self.job.config.clip_norm);
        if !norm.is_finite() {
            return Err(self.diverged("the gradient of the loss".to_owned()));
        }
        let updated = self.optimizer.step(rate, network.clone(), gradients);
        self.job.model.network = average_statistics(self.job.team, updated);
        Ok(())
    }

    fn end_epoch(&mut self, steps: usize, observer: &mut dyn Observer) -> Result<EpochReport, TrainError> {
        let config = self.job.config;
        let epoch = self.state.epoch;
        if self.job.team.size() > 1 {
            agree(self.job.team, "the network", &checksum(&self.job.model.network))?;
        }
        let learning_rate = self.learning_rate(steps - 1, steps);
        let sums = std::mem::take(&mut self.state.sums);
        let due = (epoch + 1).is_multiple_of(config.validate_every) || epoch + 1 == config.epochs;
        self.end_average(due, observer)?;
        let (found, best) = if due {
            let found = self.validate(observer)?;
            self.job.objective.end_epoch(Some(&found.classes));
            let best = self.keep_if_best(epoch, found.all)?;
            (Some(found), best)
        } else {
            self.job.objective.end_epoch(None);
            (None, false)
        };
        let seed = self.job.seed.purpose("snapshot");
        self.state.epoch += 1;
        self.state.step = 0;
        let right = sums.predictions.iter().filter(|(label, prediction)| label == prediction).count();
        Ok(EpochReport {
            epoch: epoch + 1,
            learning_rate,
            terms: sums.terms.into_iter().map(|(name, sum)| (name, sum / sums.images as f64)).collect(),
            train_accuracy: right as f64 / sums.images as f64,
            validation: found.as_ref().map(|found| found.all),
            confusion: found.map(|found| Snapshot::of_confusion(&found.confusion, seed)),
            best,
            attack_cost: sums.cost,
            seconds: sums.seconds,
            images_per_second: sums.images as f64 / sums.seconds,
            exchange_seconds: self.exchanged(),
        })
    }

    /// Seconds of exchange since this was asked last.
    fn exchanged(&mut self) -> Option<f64> {
        let team = self.job.team;
        let before = std::mem::replace(&mut self.exchanged, team.seconds());
        (team.size() > 1).then_some(self.exchanged - before)
    }

    /// Takes an epoch into an average that moves once an epoch, unless the worst class is not good enough.
    fn end_average(&mut self, due: bool, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let averaging = self.job.config.averaging.filter(|averaging| averaging.every == AverageEvery::Epoch);
        let Some(averaging) = averaging else { return Ok(()) };
        if let Some(least) = averaging.least_worst_class {
            if !due {
                return Ok(());
            }
            let found = self.validate_network(&self.job.model.network, observer)?;
            if found.classes.present().any(|(_, figure)| 1.0 - figure.robust_error < least) {
                return Ok(());
            }
        }
        self.move_average();
        Ok(())
    }

    /// Validates the model: the average of the weights, where there is one.
    fn validate(&self, observer: &mut dyn Observer) -> Result<validate::Found, TrainError> {
        self.stay_finite()?;
        self.validate_network(self.average.as_ref().unwrap_or(&self.job.model.network), observer)
    }

    fn validate_network(
        &self,
        network: &Network,
        observer: &mut dyn Observer,
    ) -> Result<validate::Found, TrainError> {
        let Job { data, validation_attack, config, seed, team, .. } = &self.job;
        // The same random starts after every epoch, so that epochs are compared under the same attack.
        let seed = seed.purpose("validation");
        let victim = Victim::new(network);
        let (epoch, total) = (self.state.epoch + 1, data.val.len());
        let mut each = |done| Ok(observer.validating(ValidationProgress { epoch, done, total })?);
        let how = Manner {
            attack: *validation_attack,
            batch_size: config.batch_size,
            device: &self.device,
            seed,
            team: *team,
        };
        validate(&victim, &data.val, &how, &mut each)
    }

    /// Saves the model if it is the best so far, and says whether it is.
    fn keep_if_best(&mut self, epoch: usize, validation: Validation) -> Result<bool, TrainError> {
        let best = self.state.best.is_none_or(|(_, best)| validation.beats(&best));
        if best {
            if self.job.team.rank() == 0 {
                let model = &self.job.model;
                let network = self.average.as_ref().unwrap_or(&model.network).clone();
                Model { config: model.config.clone(), network }.save(self.job.model_directory)?;
            }
            self.state.best = Some((epoch, validation));
        }
        Ok(best)
    }
}

/// Whether the ranks can divide every batch among them.
fn can_share(job: &Job) -> Result<(), TrainError> {
    let (size, config) = (job.team.size(), job.config);
    if size == 1 {
        return Ok(());
    }
    let labels = job.data.train.labels();
    let seed = job.seed.at(0).purpose("order");
    let batches = epoch_batches(labels, config.batch_size, config.order, seed);
    let smallest = batches.iter().map(Vec::len).min().unwrap_or(0);
    if smallest < size {
        return Err(TrainError::Config(format!(
            "the smallest batch of an epoch has {smallest} of the {} training pictures, and there are {size} ranks: \
             start at most {smallest}, or change train.batch_size ({})",
            labels.len(),
            config.batch_size
        )));
    }
    Ok(())
}

/// An error where what a rank has is not what rank 0 has.
fn agree(team: &dyn Team, what: &'static str, own: &[u8]) -> Result<(), TrainError> {
    match team.others_than_first(own).first() {
        None => Ok(()),
        Some(&rank) => Err(TrainError::Apart { what, rank }),
    }
}

/// What the attacks of all ranks cost.
fn whole_cost(team: &dyn Team, own: Cost) -> Cost {
    let all = team.gather_numbers(&[own.forwards as f64, own.gradients as f64]);
    let cost = |pair: &[f64]| Cost { forwards: pair[0] as u64, gradients: pair[1] as u64 };
    all.chunks_exact(2).map(cost).fold(Cost::default(), |sum, cost| sum + cost)
}

impl EpochSums {
    fn add(&mut self, labels: &[usize], loss: &Loss, cost: Cost, seconds: f64) {
        if self.terms.is_empty() {
            self.terms = loss.terms.iter().map(|term| (term.name.to_owned(), 0.0)).collect();
        }
        for (sum, term) in self.terms.iter_mut().zip(&loss.terms) {
            sum.1 += term.value * labels.len() as f64;
        }
        self.images += labels.len();
        self.predictions.extend(labels.iter().copied().zip(loss.predictions.iter().copied()));
        self.cost = self.cost + cost;
        self.seconds += seconds;
    }
}
