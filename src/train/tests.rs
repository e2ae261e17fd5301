//! The loop on small drawn faces: what survives a stop, and what its options do.

use std::collections::HashSet;
use std::path::Path;
use std::sync::OnceLock;

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor};

use super::*;
use crate::Seed;
use crate::attacks::{AttackConfig, Magnitude, PgdConfig};
use crate::data::{Dataset, SyntheticConfig, write_synthetic_faces};
use crate::models::{Architecture, Model, ModelConfig, Network, Preprocessing, Trainable};
use crate::objectives::{
    AdversarialConfig, BatConfig, CfaConfig, DafaConfig, FaalConfig, FrlConfig, MartConfig, NearbyConfig,
    ObjectiveConfig, SpecNormConfig, SyFarConfig, TargetedSymmetryConfig, TradesConfig, WatConfig, Whole,
};
use crate::run::{RunError, StopFlag};

pub(super) const SIDE: usize = 16;
pub(super) const PEOPLE: usize = 3;

/// Three people with six training and two validation pictures each.
pub(super) fn faces() -> &'static Dataset {
    static FACES: OnceLock<(tempfile::TempDir, Dataset)> = OnceLock::new();
    let (_, data) = FACES.get_or_init(|| {
        let place = tempfile::tempdir().expect("temporary directory");
        let config = SyntheticConfig { people: PEOPLE, images: 10, side: SIDE, ..SyntheticConfig::default() };
        let out = place.path().join("faces");
        write_synthetic_faces(&out, &config).expect("drawn");
        let data = Dataset::open(&out, SIDE).expect("a data set");
        (place, data)
    });
    data
}

pub(super) fn pgd() -> AttackConfig {
    AttackConfig::Pgd(PgdConfig { epsilon: Magnitude::levels(4), steps: 2, ..PgdConfig::default() })
}

pub(super) fn adversarial() -> Box<ObjectiveConfig> {
    Box::new(ObjectiveConfig::Adversarial(AdversarialConfig {
        attack: pgd(),
        ..AdversarialConfig::default()
    }))
}

pub(super) fn search() -> NearbyConfig {
    NearbyConfig { epsilon: Magnitude::levels(4), steps: 2, ..NearbyConfig::default() }
}

pub(super) fn trades() -> Box<ObjectiveConfig> {
    Box::new(ObjectiveConfig::Trades(TradesConfig { search: search(), ..TradesConfig::default() }))
}

pub(super) fn sy_far() -> SyFarConfig {
    SyFarConfig {
        warmup_epochs: 2,
        running_decay: Some(0.5),
        targeted: Some(TargetedSymmetryConfig { attack: pgd(), ..TargetedSymmetryConfig::default() }),
        base: adversarial(),
        ..SyFarConfig::default()
    }
}

/// Objectives that learn over epochs, each with something to learn within two.
fn learning() -> Vec<ObjectiveConfig> {
    let spec_norm = SpecNormConfig { base: adversarial(), ..SpecNormConfig::default() };
    vec![
        ObjectiveConfig::SyFar(SyFarConfig {
            base: Box::new(ObjectiveConfig::SpecNorm(spec_norm)),
            ..sy_far()
        }),
        ObjectiveConfig::Frl(FrlConfig {
            delta: 0.0,
            margin_rate: 0.5,
            base: trades(),
            ..FrlConfig::default()
        }),
        ObjectiveConfig::Cfa(CfaConfig { begin: 1, base: trades(), ..CfaConfig::default() }),
        ObjectiveConfig::Wat(WatConfig { base: trades(), ..WatConfig::default() }),
        ObjectiveConfig::Dafa(DafaConfig { warmup_epochs: 1, base: trades(), ..DafaConfig::default() }),
    ]
}

pub(super) fn model() -> Model {
    let preprocessing = Preprocessing { side: SIDE, ..Preprocessing::default() };
    let config = ModelConfig::new(Architecture::FaceCnn, faces().classes.clone(), preprocessing);
    let network = config.build(Seed::new(3), &Device::default().autodiff());
    Model { config, network }
}

pub(super) fn options() -> TrainConfig {
    TrainConfig { epochs: 2, batch_size: 6, ..TrainConfig::default() }
}

/// Stops a training after so many steps, and keeps what the log would have.
struct Watch {
    stop_after: usize,
    steps: usize,
    stop: StopFlag,
    epochs: Vec<EpochReport>,
}

impl Observer for Watch {
    fn step(&mut self, _report: &StepReport) -> Result<(), RunError> {
        self.steps += 1;
        if self.steps == self.stop_after {
            self.stop.request();
        }
        Ok(())
    }

    fn validating(&mut self, progress: ValidationProgress) -> Result<(), RunError> {
        assert!(progress.epoch >= 1 && (1..=progress.total).contains(&progress.done), "{progress:?}");
        Ok(())
    }

    fn epoch(&mut self, report: &EpochReport) -> Result<(), RunError> {
        if let (Some(all), Some(confusion)) = (report.validation, &report.confusion) {
            let cells = confusion.cells.as_ref().expect("few classes");
            let right: u64 = (0..PEOPLE).map(|person| cells.counts[person][person]).sum();
            assert_eq!((confusion.classes, confusion.n), (PEOPLE, all.images as u64));
            assert!((right as f64 / all.images as f64 - all.robust_accuracy).abs() < 1e-12, "{confusion:?}");
        }
        self.epochs.push(report.clone());
        Ok(())
    }
}

fn run_from(
    model: Model,
    objective: &ObjectiveConfig,
    config: &TrainConfig,
    place: &Path,
    stop_after: usize,
) -> (Result<TrainOutcome, TrainError>, Vec<EpochReport>) {
    let mut objective = objective.build([3, SIDE, SIDE], PEOPLE).expect("valid");
    let attack = pgd().build([3, SIDE, SIDE]).expect("valid");
    let mut watch = Watch { stop_after, steps: 0, stop: StopFlag::default(), epochs: Vec::new() };
    let job = Job {
        model,
        data: faces(),
        objective: objective.as_mut(),
        validation_attack: attack.as_ref(),
        config,
        seed: Seed::new(7),
        model_directory: &place.join("model"),
        checkpoint_directory: &place.join("checkpoints"),
        team: &Alone,
    };
    let stop = watch.stop.clone();
    let outcome = train(job, &stop, &mut watch);
    (outcome, watch.epochs)
}

fn run(
    objective: &ObjectiveConfig,
    config: &TrainConfig,
    place: &Path,
    stop_after: usize,
) -> Vec<EpochReport> {
    let (outcome, epochs) = run_from(model(), objective, config, place, stop_after);
    outcome.expect("trained");
    epochs
}

/// All parameters and buffers.
pub(super) fn values(network: &Network) -> Vec<(bool, Vec<f32>)> {
    struct Values(HashSet<ParamId>, Vec<(bool, Vec<f32>)>);
    impl ModuleVisitor for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let values = param.val().try_to_vec_as::<f32>().expect("f32");
            self.1.push((self.0.contains(&param.id), values));
        }
    }
    let head = network.parameters_at(|path| path.iter().any(|name| name == "head"));
    let mut values = Values(head, Vec::new());
    network.visit(&mut values);
    values.1
}

pub(super) fn kept(place: &Path) -> Vec<(bool, Vec<f32>)> {
    values(&Model::load(&place.join("model"), &Device::default()).expect("kept").network)
}

/// A run that was stopped in the middle of its second epoch, and resumed, against one that was not.
fn survives(objective: &ObjectiveConfig, config: &TrainConfig) {
    let (whole, parts) = (tempfile::tempdir().expect("place"), tempfile::tempdir().expect("place"));
    let expected = run(objective, config, whole.path(), usize::MAX);
    let mut found = run(objective, config, parts.path(), 4);
    found.extend(run(objective, config, parts.path(), usize::MAX));
    let terms = |epochs: &[EpochReport]| {
        epochs.iter().map(|epoch| (epoch.terms.clone(), epoch.validation)).collect::<Vec<_>>()
    };
    assert_eq!(terms(&expected), terms(&found), "{objective:?}");
    assert!(kept(whole.path()) == kept(parts.path()), "{objective:?}: the models differ");
}

#[test]
fn what_methods_learn_over_epochs_survives_a_stop() {
    for objective in learning() {
        survives(&objective, &options());
    }
}

#[test]
fn perturbation_and_averages_survive_a_stop() {
    let step = AveragingConfig { decay: 0.8, ..AveragingConfig::default() };
    let epoch = AveragingConfig { every: AverageEvery::Epoch, least_worst_class: Some(0.0), ..step };
    let weight_perturbation = Some(PerturbationConfig { gamma: 0.01, warmup_epochs: 1 });
    survives(&adversarial(), &TrainConfig { weight_perturbation, averaging: Some(step), ..options() });
    survives(&adversarial(), &TrainConfig { averaging: Some(epoch), ..options() });
}

#[test]
fn weight_perturbation_changes_the_update_and_is_taken_back() {
    let place = tempfile::tempdir().expect("place");
    let config = |gamma, warmup_epochs| TrainConfig {
        epochs: 1,
        weight_perturbation: Some(PerturbationConfig { gamma, warmup_epochs }),
        ..options()
    };
    let trained = |name: &str, config: &TrainConfig| {
        run(&adversarial(), config, &place.path().join(name), usize::MAX);
        kept(&place.path().join(name))
    };
    let plain = trained("plain", &TrainConfig { epochs: 1, ..options() });
    assert!(trained("later", &config(0.01, 1)) == plain, "nothing is perturbed in the warm-up");
    let gap = |a: &[(bool, Vec<f32>)], b: &[(bool, Vec<f32>)]| {
        let pairs = a.iter().zip(b).flat_map(|(a, b)| a.1.iter().zip(&b.1));
        pairs.map(|(a, b)| (a - b).abs()).fold(0.0_f32, f32::max)
    };
    // As gamma falls to nothing, so does its effect: what was added is taken away.
    let (far, near) =
        (gap(&plain, &trained("far", &config(0.05, 0))), gap(&plain, &trained("near", &config(1e-6, 0))));
    assert!(far > 1e-3 && near < 0.1 * far, "{far} {near}");
}

/// The step has the length `gamma |w|` in each layer with weights, along the gradient, and moves nothing else.
#[test]
fn the_perturbation_of_a_layer_has_the_length_of_a_share_of_its_weights() {
    use super::weight_perturbation::Perturbation;
    use crate::models::Victim;
    let network = model().network;
    let batch = faces().train.batch(&[0, 1, 6, 7, 12, 13], &Device::default()).expect("pictures");
    let mut objective = adversarial().build([3, SIDE, SIDE], PEOPLE).expect("valid");
    let pictures = objective.attack(&Victim::new(&network), &batch, &Whole::of(&batch), Seed::new(0));
    let before = values(&network);
    let step = Perturbation::find(0.01, &network, &Alone, objective.as_mut(), &batch, pictures.clone());
    assert!(values(&network) == before, "finding it changes nothing, running statistics included");
    let loss = |network: &Network| {
        // A copy, because a training pass moves the running statistics.
        let copy = network.valid().train();
        let mut objective = adversarial().build([3, SIDE, SIDE], PEOPLE).expect("valid");
        objective.plain_loss(&copy, &batch, pictures.clone()).into_scalar::<f32>()
    };
    let at_rest = loss(&network);
    let moved = step.moved(network, 1.0);
    assert!(loss(&moved) > at_rest, "it goes up the loss");
    let mut changed = 0;
    for ((_, before), (_, after)) in before.iter().zip(&values(&moved)) {
        let length =
            |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v * v)).sum::<f64>().sqrt();
        let step = length(&mut before.iter().zip(after).map(|(a, b)| b - a));
        if step > 0.0 {
            changed += 1;
            let share = step / length(&mut before.iter().copied());
            assert!((share - 0.01).abs() < 1e-4, "{share}");
        }
    }
    assert_eq!(changed, 5, "four convolutions and the head");
    let back = values(&step.moved(moved, -1.0));
    let gap = before.iter().zip(&back).flat_map(|(a, b)| a.1.iter().zip(&b.1)).map(|(a, b)| (a - b).abs());
    assert!(gap.fold(0.0, f32::max) < 1e-6);
}

#[test]
fn the_average_is_what_is_kept_and_has_statistics_of_its_own() {
    use super::averaging::averaged;
    let first = model().network;
    // A parameter is known by its id, which a copy keeps.
    let second = first.valid().map(&mut Double);
    let average = averaged(Some(averaged(None, &first, 0.0)), &second, 0.75);
    for (((_, one), (_, two)), (_, mean)) in
        values(&first).iter().zip(&values(&second)).zip(&values(&average))
    {
        for ((one, two), mean) in one.iter().zip(two).zip(mean) {
            assert!((0.75 * one + 0.25 * two - mean).abs() < 1e-6);
        }
    }
    assert!(values(&first) == values(&model().network), "the network is left as it is");

    let place = tempfile::tempdir().expect("place");
    let config = TrainConfig {
        averaging: Some(AveragingConfig { decay: 0.9, ..AveragingConfig::default() }),
        ..options()
    };
    run(&adversarial(), &config, &place.path().join("average"), usize::MAX);
    run(&adversarial(), &options(), &place.path().join("plain"), usize::MAX);
    assert!(kept(&place.path().join("average")) != kept(&place.path().join("plain")));
    // A worst class that is never good enough leaves the network itself.
    let never = AveragingConfig {
        every: AverageEvery::Epoch,
        least_worst_class: Some(1.0),
        ..AveragingConfig::default()
    };
    run(
        &adversarial(),
        &TrainConfig { averaging: Some(never), epochs: 1, ..options() },
        &place.path().join("never"),
        usize::MAX,
    );
    run(&adversarial(), &TrainConfig { epochs: 1, ..options() }, &place.path().join("one"), usize::MAX);
    assert!(kept(&place.path().join("never")) == kept(&place.path().join("one")));
}

struct Double;
impl burn::module::ModuleMapper for Double {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.mul_scalar(2.0))
    }
}

#[test]
fn training_the_head_leaves_the_body_and_its_statistics_alone() {
    let place = tempfile::tempdir().expect("place");
    let config = TrainConfig { trainable: Trainable::Head, ..options() };
    survives(&adversarial(), &config);
    let before = values(&model().network);
    run(&adversarial(), &config, place.path(), usize::MAX);
    for ((head, before), (_, after)) in before.iter().zip(&kept(place.path())) {
        assert_eq!(*head, before != after, "the head is trained, and nothing else");
    }
}

#[test]
fn a_new_head_has_its_own_classes_on_the_old_body() {
    let place = tempfile::tempdir().expect("place");
    let old = model();
    old.save(place.path()).expect("saved");
    let classes = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
    let device = Device::default().autodiff();
    let new =
        Model::load_with_new_head(place.path(), classes.clone(), Seed::new(8), &device).expect("loaded");
    assert_eq!(new.config.classes, classes);
    for ((head, old), (_, new)) in values(&old.network).iter().zip(&values(&new.network)) {
        assert_eq!(*head, old != new, "the body is the old one");
    }
    let one = vec!["a".to_owned()];
    assert!(Model::load_with_new_head(place.path(), one, Seed::new(8), &device).is_err());
}

/// A loss that is not a number stops the training with the name of the term, and nothing is lost.
#[test]
fn a_loss_that_is_not_a_number_stops_with_its_term_and_keeps_what_was_good() {
    let place = tempfile::tempdir().expect("place");
    run(&adversarial(), &TrainConfig { epochs: 1, ..options() }, place.path(), usize::MAX);
    let good = kept(place.path());
    for objective in [*adversarial(), *trades(), ObjectiveConfig::SyFar(sy_far())] {
        let broken = Model { network: model().network.map(&mut Poison), ..model() };
        let place = tempfile::tempdir().expect("place");
        let (outcome, _) = run_from(broken, &objective, &options(), place.path(), usize::MAX);
        let error = outcome.expect_err("diverged").to_string();
        assert!(error.contains("the term `") && error.contains("kept"), "{error}");
        assert!(!place.path().join("checkpoints").exists(), "no checkpoint of numbers that are none");
    }
    assert!(kept(place.path()) == good);
}

struct Poison;
impl burn::module::ModuleMapper for Poison {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.without_autodiff().mul_scalar(f32::NAN).autodiff().require_grad())
    }
}

/// The smallest form of the claim that every method trains a robust classifier: above chance under attack.
#[test]
fn every_method_trains_drawn_faces_to_above_chance_under_attack() {
    let mut objectives = learning();
    objectives.push(ObjectiveConfig::Mart(MartConfig { search: search(), ..MartConfig::default() }));
    objectives.push(ObjectiveConfig::Bat(BatConfig { search: search(), ..BatConfig::default() }));
    objectives.push(ObjectiveConfig::Faal(FaalConfig { base: adversarial(), ..FaalConfig::default() }));
    objectives.push(*trades());
    objectives.push(*adversarial());
    for objective in objectives {
        let place = tempfile::tempdir().expect("place");
        let config = TrainConfig { epochs: 6, validate_every: 3, ..options() };
        let epochs = run(&objective, &config, place.path(), usize::MAX);
        let validation = epochs.last().and_then(|epoch| epoch.validation).expect("the last epoch has one");
        assert!(
            validation.robust_accuracy > 0.4,
            "{}: {validation:?}",
            objective.build([3, SIDE, SIDE], PEOPLE).expect("valid").name()
        );
    }
}
