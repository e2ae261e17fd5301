//! Ranks as threads: several train as one does.

use std::path::Path;
use std::sync::{Arc, Barrier, Mutex};

use burn::module::Module;
use burn::tensor::Device;

use super::*;
use crate::Seed;
use crate::models::{Architecture, Model, ModelConfig, Preprocessing};
use crate::objectives::{
    CfaConfig, DafaConfig, FaalConfig, FrlConfig, MartConfig, ObjectiveConfig, SpecNormConfig,
    SpecNormVariant, SyFarConfig, WatConfig,
};
use crate::run::{RunError, StopFlag};
use crate::train::exchange::checksum;
use crate::train::tests::{
    PEOPLE, SIDE, adversarial, faces, kept, model, options, pgd, search, sy_far, trades, values,
};
use crate::train::{
    AveragingConfig, EpochReport, Job, Observer, OptimizerConfig, PerturbationConfig, Sgd, StepReport,
    TrainConfig, TrainError, TrainOutcome, train,
};

/// A rank that is a thread.
struct Member {
    rank: usize,
    room: Arc<Room>,
}

struct Room {
    barrier: Barrier,
    said: Mutex<Vec<Vec<u8>>>,
    counted: Mutex<Vec<Vec<f32>>>,
}

impl Member {
    fn all(size: usize) -> Vec<Self> {
        let (said, counted) = (Mutex::new(vec![Vec::new(); size]), Mutex::new(vec![Vec::new(); size]));
        let room = Arc::new(Room { barrier: Barrier::new(size), said, counted });
        (0..size).map(|rank| Self { rank, room: Arc::clone(&room) }).collect()
    }
}

impl Team for Member {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.room.said.lock().expect("whole").len()
    }

    fn sum(&self, values: &mut [f32]) {
        self.room.counted.lock().expect("whole")[self.rank] = values.to_vec();
        self.room.barrier.wait();
        values.fill(0.0);
        for given in self.room.counted.lock().expect("whole").iter() {
            values.iter_mut().zip(given).for_each(|(sum, value)| *sum += value);
        }
        self.room.barrier.wait();
    }

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        self.room.said.lock().expect("whole")[self.rank] = own.to_vec();
        self.room.barrier.wait();
        let all = self.room.said.lock().expect("whole").clone();
        self.room.barrier.wait();
        all
    }

    fn broadcast(&self, own: Vec<u8>) -> Vec<u8> {
        self.gather(&own).swap_remove(0)
    }
}

/// Stops after so many steps, and keeps what the log would have.
struct Watch {
    steps_left: usize,
    stop: StopFlag,
    epochs: Vec<EpochReport>,
}

impl Observer for Watch {
    fn step(&mut self, _report: &StepReport) -> Result<(), RunError> {
        self.steps_left = self.steps_left.saturating_sub(1);
        if self.steps_left == 0 {
            self.stop.request();
        }
        Ok(())
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<(), RunError> {
        self.epochs.push(report.clone());
        Ok(())
    }
}

/// A network without batch normalisation, so that its results do not depend on who else is in the batch.
fn transformer() -> Model {
    let preprocessing = Preprocessing { side: SIDE, ..Preprocessing::default() };
    let config = ModelConfig::new(Architecture::VitTiny, faces().classes.clone(), preprocessing);
    let network = config.build(Seed::new(3), &Device::default().autodiff());
    Model { config, network }
}

struct Task<'a> {
    model: fn() -> Model,
    objective: &'a ObjectiveConfig,
    config: TrainConfig,
    /// Rank 0 asks to stop after so many steps.
    stop_after: usize,
}

impl<'a> Task<'a> {
    fn new(objective: &'a ObjectiveConfig) -> Self {
        // Adam divides by the size of a gradient, so that rounding of one near zero becomes a whole step.
        let optimizer = OptimizerConfig::Sgd(Sgd { learning_rate: 0.02, momentum: 0.9, weight_decay: 0.0 });
        let config = TrainConfig { optimizer, ..options() };
        Self { model: transformer, objective, config, stop_after: usize::MAX }
    }

    fn run(&self, team: &dyn Team, place: &Path) -> (Result<TrainOutcome, TrainError>, Vec<EpochReport>) {
        let mut objective = self.objective.build([3, SIDE, SIDE], PEOPLE).expect("valid");
        let attack = pgd().build([3, SIDE, SIDE]).expect("valid");
        let stop = StopFlag::default();
        let steps_left = if team.rank() == 0 { self.stop_after } else { usize::MAX };
        let mut watch = Watch { steps_left, stop: stop.clone(), epochs: Vec::new() };
        let job = Job {
            model: (self.model)(),
            data: faces(),
            objective: objective.as_mut(),
            validation_attack: attack.as_ref(),
            config: &self.config,
            seed: Seed::new(7),
            model_directory: &place.join("model"),
            checkpoint_directory: &place.join("checkpoints"),
            team,
        };
        let outcome = train(job, &stop, &mut watch);
        (outcome, watch.epochs)
    }

    /// What each of so many ranks reports.
    fn ranks(&self, size: usize, place: &Path) -> Vec<(Result<TrainOutcome, TrainError>, Vec<EpochReport>)> {
        if size == 1 {
            return vec![self.run(&Alone, place)];
        }
        std::thread::scope(|scope| {
            let threads: Vec<_> = Member::all(size)
                .into_iter()
                .map(|member| scope.spawn(move || self.run(&member, place)))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        })
    }
}

fn assert_near(name: &str, alone: &[EpochReport], several: &[EpochReport], tolerance: f64) {
    assert_eq!(alone.len(), several.len());
    for (one, other) in alone.iter().zip(several) {
        for ((term, a), (_, b)) in one.terms.iter().zip(&other.terms) {
            assert!((a - b).abs() < tolerance * (1.0 + a.abs()), "{name}, {term}: {a} {b}");
        }
        assert_eq!(one.train_accuracy.to_bits(), other.train_accuracy.to_bits(), "{name}");
        assert_eq!(one.attack_cost, other.attack_cost, "{name}");
        assert_eq!(one.confusion, other.confusion, "{name}");
    }
}

/// Trains alone and as `size` ranks, and compares every weight.
fn same_as_alone(task: &Task, size: usize, tolerance: f64) {
    let (one, other) = (tempfile::tempdir().expect("place"), tempfile::tempdir().expect("place"));
    let name = format!("{:?}, {size} ranks", task.objective);
    let alone = task.ranks(1, one.path()).swap_remove(0);
    alone.0.expect("trained");
    for (outcome, epochs) in task.ranks(size, other.path()) {
        outcome.expect("trained");
        assert_near(&name, &alone.1, &epochs, tolerance);
    }
    let gap = kept(one.path())
        .iter()
        .zip(&kept(other.path()))
        .flat_map(|(a, b)| a.1.iter().zip(&b.1))
        .map(|(a, b)| (a - b).abs())
        .fold(0.0_f32, f32::max);
    assert!(f64::from(gap) < tolerance, "{name}: weights differ by {gap}");
}

#[test]
fn several_ranks_end_in_the_numbers_of_one() {
    let targeted = SyFarConfig { warmup_epochs: 0, ..sy_far() };
    let sy_far = SyFarConfig { targeted: None, symmetry_weight: 10.0, ..targeted.clone() };
    let twenty_steps = TrainConfig { epochs: 7, validate_every: 7, ..Task::new(&adversarial()).config };
    let faal = FaalConfig { base: adversarial(), ..FaalConfig::default() };
    let spec_norm =
        SpecNormConfig { variant: SpecNormVariant::Batch, base: adversarial(), ..SpecNormConfig::default() };
    let objectives = [
        ObjectiveConfig::SyFar(sy_far),
        ObjectiveConfig::SyFar(targeted),
        ObjectiveConfig::Faal(faal),
        ObjectiveConfig::SpecNorm(spec_norm),
    ];
    for objective in &objectives {
        same_as_alone(&Task { config: twenty_steps.clone(), ..Task::new(objective) }, 2, 1e-5);
    }
    // Shares of different lengths.
    same_as_alone(&Task::new(&objectives[0]), 4, 1e-5);
    same_as_alone(&Task::new(&objectives[1]), 4, 1e-5);
    // Of three pictures at least one is without a partner, and its rank has nothing to send anywhere.
    same_as_alone(
        &Task {
            config: TrainConfig { batch_size: 3, ..Task::new(&objectives[1]).config },
            ..Task::new(&objectives[1])
        },
        3,
        1e-5,
    );
}

#[test]
fn every_method_looks_at_the_pictures_of_all_ranks() {
    let original = SpecNormConfig {
        variant: SpecNormVariant::Original,
        base: adversarial(),
        ..SpecNormConfig::default()
    };
    let frl = FrlConfig { delta: 0.0, margin_rate: 0.5, base: trades(), ..FrlConfig::default() };
    let objectives = [
        ObjectiveConfig::SpecNorm(original),
        ObjectiveConfig::Frl(frl),
        ObjectiveConfig::Cfa(CfaConfig { begin: 1, base: trades(), ..CfaConfig::default() }),
        ObjectiveConfig::Wat(WatConfig { base: trades(), ..WatConfig::default() }),
        ObjectiveConfig::Dafa(DafaConfig { warmup_epochs: 1, base: trades(), ..DafaConfig::default() }),
        ObjectiveConfig::Mart(MartConfig { search: search(), ..MartConfig::default() }),
    ];
    // The search of TRADES goes by the signs of gradients, some of which rounding turns.
    let tolerance = 1e-3;
    for objective in &objectives {
        same_as_alone(&Task::new(objective), 2, tolerance);
    }
    let weight_perturbation = Some(PerturbationConfig::default());
    let averaging = Some(AveragingConfig::default());
    let base = adversarial();
    let task = Task::new(&base);
    same_as_alone(
        &Task { config: TrainConfig { weight_perturbation, averaging, ..task.config.clone() }, ..task },
        2,
        tolerance,
    );
}

/// The mean over ranks of a penalty that each computes on its own pictures is another number.
#[test]
fn the_symmetry_terms_are_those_of_the_whole_batch() {
    let objective = ObjectiveConfig::SyFar(SyFarConfig { running_decay: None, warmup_epochs: 0, ..sy_far() });
    let task =
        Task { config: TrainConfig { epochs: 1, ..Task::new(&objective).config }, ..Task::new(&objective) };
    let place = tempfile::tempdir().expect("place");
    let terms = |epochs: &[EpochReport]| {
        ["symmetry", "targeted_symmetry"]
            .map(|wanted| epochs[0].terms.iter().find(|(name, _)| name == wanted).expect("it has one").1)
    };
    let alone = terms(&task.ranks(1, &place.path().join("one"))[0].1);
    let together = terms(&task.ranks(2, &place.path().join("two"))[0].1);
    // Two ranks that do not talk: each with batches of half the size, and the mean of what they report.
    let halves = TrainConfig { batch_size: task.config.batch_size / 2, ..task.config.clone() };
    let apart = terms(&Task { config: halves, ..task }.ranks(1, &place.path().join("apart"))[0].1);
    for ((alone, together), apart) in alone.into_iter().zip(together).zip(apart) {
        assert!((alone - together).abs() < 1e-5 * alone, "{alone} {together}");
        assert!((alone - apart).abs() > 1e-2 * alone, "{alone} {apart}");
    }
}

#[test]
fn running_statistics_are_the_same_on_all_ranks() {
    let base = adversarial();
    let task = Task { model, ..Task::new(&base) };
    let place = tempfile::tempdir().expect("place");
    let reports = task.ranks(3, place.path());
    // Networks that differ would have stopped with an error after the first epoch.
    for (outcome, epochs) in &reports {
        assert!(outcome.is_ok(), "{outcome:?}");
        assert_eq!(epochs.last().expect("an epoch").validation, reports[0].1.last().expect("one").validation);
    }
    let fresh = model().network;
    let moved = values(&fresh).iter().zip(&kept(place.path())).filter(|(a, b)| a.1 != b.1).count();
    assert_eq!(moved, values(&fresh).len(), "weights and statistics were trained");
}

#[test]
fn a_stop_that_one_rank_hears_stops_all_and_is_resumed() {
    let base = adversarial();
    let (whole, parts) = (tempfile::tempdir().expect("place"), tempfile::tempdir().expect("place"));
    let task = |stop_after| Task { model, stop_after, ..Task::new(&base) };
    let expected = task(usize::MAX).ranks(2, whole.path());
    for (outcome, _) in task(4).ranks(2, parts.path()) {
        assert!(matches!(outcome, Ok(TrainOutcome::Stopped { epoch: 2 })), "{outcome:?}");
    }
    let found = task(usize::MAX).ranks(2, parts.path());
    let last = |reports: &[(_, Vec<EpochReport>)]| {
        let epoch = reports[1].1.last().expect("an epoch");
        (epoch.terms.clone(), epoch.validation, epoch.attack_cost)
    };
    assert_eq!(last(&expected), last(&found));
    assert!(kept(whole.path()) == kept(parts.path()));
    // Others may go on with it.
    let other = tempfile::tempdir().expect("place");
    task(4).ranks(2, other.path());
    for (outcome, epochs) in task(usize::MAX).ranks(3, other.path()) {
        assert!(matches!(outcome, Ok(TrainOutcome::Finished { .. })), "{outcome:?}");
        assert_eq!(epochs.len(), 1, "the first epoch was made before");
    }
}

#[test]
fn what_ranks_cannot_do_is_refused_on_all() {
    let place = tempfile::tempdir().expect("place");
    for (outcome, _) in Task::new(&adversarial()).ranks(7, place.path()) {
        let error = outcome.expect_err("refused").to_string();
        assert!(error.contains("there are 7 ranks: start at most 6"), "{error}");
    }
}

#[test]
fn ranks_that_differ_are_named() {
    let found = std::thread::scope(|scope| {
        let threads: Vec<_> = Member::all(3)
            .into_iter()
            .map(|member| {
                scope.spawn(move || {
                    let team: &dyn Team = &member;
                    let own = if team.rank() == 1 { "other" } else { "same" };
                    (team.others_than_first(own.as_bytes()), team.share(10), team.any(team.rank() == 2))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert_eq!(found, [(vec![1], 0..3, true), (vec![1], 3..6, true), (vec![1], 6..10, true)]);
    let network = model().network;
    assert_eq!(checksum(&network), checksum(&network.clone()));
    assert_ne!(checksum(&network), checksum(&transformer().network.fork(&Device::default())));
}
