//! Planted faults: the checks flag each of them, and are silent on a sound model.

use std::sync::atomic::{AtomicU64, Ordering};

use burn::module::{Module, Param};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use super::*;
use crate::Seed;
use crate::attacks::{Attack, AttackConfig, Goal, Magnitude, Norm, ThreatModel};
use crate::data::{Batch, ImageId};
use crate::models::{Classifier, Victim};
use crate::run::StopFlag;

const SIDE: usize = 8;
const SHAPE: [usize; 3] = [3, SIDE, SIDE];
const SIZE: usize = 3 * SIDE * SIDE;
const HIDDEN: usize = 32;
const CLASSES: usize = 4;
const IMAGES: usize = 48;

/// What is wrong with a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    Softmax,
    Dropout,
    Quantised,
    NoGradient,
    OtherPixels,
    Saturated,
    RandomLayer,
    BatchStatistics,
    WrongGradient,
    Oscillating,
}

const FAULTS: [Fault; 11] = [
    Fault::Nothing,
    Fault::Softmax,
    Fault::Dropout,
    Fault::Quantised,
    Fault::NoGradient,
    Fault::OtherPixels,
    Fault::Saturated,
    Fault::RandomLayer,
    Fault::BatchStatistics,
    Fault::WrongGradient,
    Fault::Oscillating,
];

/// A network of one hidden layer with one fault, its number in [`FAULTS`].
#[derive(Module, Debug)]
struct Planted {
    first: Param<Tensor<2>>,
    second: Param<Tensor<2>>,
    fault: usize,
}

/// Numbers that differ at each call, as those of a layer that nobody seeds.
fn unseeded(shape: [usize; 2], device: &Device) -> Tensor<2> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let mut rng = Seed::new(CALLS.fetch_add(1, Ordering::Relaxed)).rng();
    let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| rng.random_range(0.0..1.0)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

impl Planted {
    fn new(fault: Fault) -> Self {
        let mut rng = Seed::new(11).rng();
        let mut weight = |rows: usize, columns: usize| {
            let bound = (3.0 / rows as f32).sqrt();
            let values: Vec<f32> = (0..rows * columns).map(|_| rng.random_range(-bound..bound)).collect();
            let data = TensorData::new(values, [rows, columns]);
            Param::from_tensor(Tensor::from_data(data, &Device::default().autodiff()))
        };
        let fault = FAULTS.iter().position(|known| *known == fault).expect("it is listed");
        Self { first: weight(SIZE, HIDDEN), second: weight(HIDDEN, CLASSES), fault }
    }

    fn input(&self, images: Tensor<4>) -> Tensor<4> {
        match FAULTS[self.fault] {
            Fault::OtherPixels => images.sub_scalar(127.5).div_scalar(63.75),
            Fault::Quantised => normal(images.mul_scalar(15.0).round().div_scalar(15.0)),
            // Gradients of another function: those of the picture upside down.
            Fault::WrongGradient => {
                let value = images.clone().without_autodiff();
                let wrong = images.flip([2, 3]);
                let back = Tensor::from_inner(value - wrong.clone().without_autodiff());
                normal(if wrong.is_require_grad() || wrong.device().is_autodiff() {
                    wrong.clone() + back.to_device(&wrong.device())
                } else {
                    wrong.clone() + back.without_autodiff()
                })
            }
            // A ripple of half a grey level that changes the sign of every slope.
            Fault::Oscillating => normal(images.clone() + images.mul_scalar(800.0).sin().mul_scalar(0.06)),
            _ => normal(images),
        }
    }
}

fn normal(images: Tensor<4>) -> Tensor<4> {
    images.sub_scalar(0.5).div_scalar(0.25)
}

impl Classifier for Planted {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let fault = FAULTS[self.fault];
        let hidden = self.input(images).flatten(1, 3).matmul(self.first.val());
        let shape = hidden.dims();
        let device = hidden.device();
        let hidden = match fault {
            Fault::Dropout => hidden * unseeded(shape, &device).greater_elem(0.3).float(),
            Fault::BatchStatistics => {
                let centred = hidden.clone() - hidden.mean_dim(0);
                let deviation = centred.clone().square().mean_dim(0).add_scalar(1e-5).sqrt();
                centred / deviation
            }
            Fault::NoGradient => Tensor::from_data(hidden.to_data(), &device),
            _ => hidden,
        };
        let logits = relu(hidden).matmul(self.second.val());
        match fault {
            Fault::Softmax => softmax(logits, 1),
            Fault::Saturated => logits.mul_scalar(1e4),
            Fault::RandomLayer => {
                let noise = unseeded(logits.dims(), &device).mul_scalar(0.05);
                logits + noise
            }
            _ => logits,
        }
    }

    fn classes(&self) -> usize {
        CLASSES
    }

    fn input_shape(&self) -> [usize; 3] {
        SHAPE
    }
}

/// Random pictures on 8-bit levels, with the labels that the sound model gives, four of them wrong.
fn pictures() -> Batch {
    let mut rng = Seed::new(4).rng();
    let pixels: Vec<f32> =
        (0..IMAGES * SIZE).map(|_| f32::from(rng.random_range(30..226_u8)) / 255.0).collect();
    let data = TensorData::new(pixels, [IMAGES, 3, SIDE, SIDE]);
    let images = Tensor::from_data(data, &Device::default());
    let logits = probe::rows(&Victim::new(&Planted::new(Fault::Nothing)).logits(images.clone()));
    let labels = logits.iter().map(|row| probe::prediction(row)).enumerate();
    let labels = labels.map(|(image, class)| if image < 4 { (class + 1) % CLASSES } else { class }).collect();
    Batch { images, labels, ids: (0..IMAGES as u64).map(ImageId).collect(), radius_scale: None }
}

fn report(fault: Fault, subject: &dyn Subject) -> CheckReport {
    let victim = Victim::new(&Planted::new(fault));
    let options = CheckOptions { depth: Depth::Full, batch_size: 16, seed: Seed::new(0) };
    let stop = StopFlag::default();
    examine(&victim, &pictures(), subject, "pgd", &options, &stop, &mut |_| ()).expect("nobody stops it")
}

fn pgd(more: &str) -> ConfiguredAttack {
    let text = format!("kind = \"pgd\"\nepsilon = \"2/255\"\nsteps = 40\nloss = \"margin\"\n{more}");
    let config: AttackConfig = toml::from_str(&text).expect("valid");
    ConfiguredAttack::new(&config, SHAPE).expect("valid")
}

fn status(report: &CheckReport, id: Check) -> Status {
    report.checks.iter().find(|verdict| verdict.id == id).expect("made").status
}

#[track_caller]
fn flags(fault: Fault, expected: &[Check]) {
    let report = report(fault, &pgd(""));
    for &id in expected {
        assert_eq!(status(&report, id), Status::Failed, "{fault:?} {id}: {report:#?}");
    }
}

#[test]
fn a_sound_model_and_attack_pass_everything() {
    let report = report(Fault::Nothing, &pgd(""));
    assert_eq!(report.checks.len(), Check::ALL.len());
    for verdict in &report.checks {
        let expected = if verdict.id == Check::Mask { Status::NotApplicable } else { Status::Passed };
        assert_eq!(verdict.status, expected, "{verdict:#?}");
        assert!(verdict.advice.is_none() && !verdict.seen.is_empty());
    }
    // The attack is neither idle nor all-powerful, so the checks had something to see.
    let seen = &report.checks.iter().find(|verdict| verdict.id == Check::Epsilon).expect("made").seen;
    assert!(!seen.contains("1 x: 0.000") && !seen.contains("1 x: 0.917"), "{seen}");
}

#[test]
fn probabilities_are_flagged() {
    flags(Fault::Softmax, &[Check::Logits]);
}

#[test]
fn dropout_that_was_left_on_is_flagged() {
    flags(Fault::Dropout, &[Check::Deterministic]);
}

#[test]
fn a_random_layer_is_flagged() {
    flags(Fault::RandomLayer, &[Check::Deterministic]);
}

#[test]
fn a_quantised_input_layer_is_flagged() {
    flags(Fault::Quantised, &[Check::GradientCe, Check::GradientDlr, Check::BlackBox]);
}

#[test]
fn a_layer_without_gradient_is_flagged() {
    flags(
        Fault::NoGradient,
        &[Check::GradientCe, Check::GradientDlr, Check::FiniteDifferences, Check::BlackBox, Check::Unbounded],
    );
}

#[test]
fn a_model_of_other_pixels_is_flagged() {
    flags(Fault::OtherPixels, &[Check::PixelRange]);
}

#[test]
fn saturated_logits_are_flagged() {
    let report = report(Fault::Saturated, &pgd(""));
    assert_eq!(status(&report, Check::GradientCe), Status::Failed);
    assert_eq!(status(&report, Check::GradientDlr), Status::Passed, "the ratio sees through it");
    assert_eq!(status(&report, Check::MarginVersusCe), Status::Failed);
}

#[test]
fn an_attack_without_a_target_that_sees_no_gradient_is_flagged() {
    // The label's cross-entropy is flat, a target's is not.
    let config = "kind = \"pgd\"\nepsilon = \"2/255\"\nsteps = 40";
    let config: AttackConfig = toml::from_str(config).expect("valid");
    let report = report(Fault::Saturated, &ConfiguredAttack::new(&config, SHAPE).expect("valid"));
    assert_eq!(status(&report, Check::Targets), Status::Failed, "{report:#?}");
}

#[test]
fn batch_norm_that_trains_is_flagged() {
    flags(Fault::BatchStatistics, &[Check::EvaluationMode]);
}

#[test]
fn gradients_of_another_function_are_flagged() {
    flags(Fault::WrongGradient, &[Check::FiniteDifferences, Check::BlackBox]);
}

// The loss noise that is planted is that of this fault, and of no other: the period of its ripple is two grey levels, so random
// changes of up to eight move the margin up and down, while over a tenth of a grey level its slopes still hold.
#[test]
fn a_rough_loss_is_flagged() {
    let report = report(Fault::Oscillating, &pgd(""));
    assert_eq!(status(&report, Check::FiniteDifferences), Status::Warning, "{report:#?}");
    assert_eq!(status(&report, Check::LossNoise), Status::Warning, "{report:#?}");
}

#[test]
fn a_budget_in_the_wrong_unit_is_flagged() {
    // 8/255 of a grey level: divided by 255 twice.
    let config: AttackConfig =
        toml::from_str("kind = \"pgd\"\nepsilon = 0.000123\nsteps = 40").expect("valid");
    let report = report(Fault::Nothing, &ConfiguredAttack::new(&config, SHAPE).expect("valid"));
    assert_eq!(status(&report, Check::Budget), Status::Warning);
}

/// A random walk in the ball whose result is where it ends, or what a test wants of it.
struct Walk {
    epsilon: f32,
    steps: usize,
    /// How far it goes, in budgets.
    reach: f32,
}

impl Attack for Walk {
    fn name(&self) -> &'static str {
        "walk"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, _: &Goal, seed: Seed) -> Tensor<4> {
        let ball = ThreatModel::Ball { norm: Norm::Linf, epsilon: self.epsilon * self.reach };
        (0..self.steps).fold(batch.images.clone(), |_, step| {
            let next = ball.random_start(batch.images.clone(), &batch.ids, seed.at(step as u64));
            victim.logits(next.clone());
            next
        })
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        ThreatModel::Ball { norm: Norm::Linf, epsilon: self.epsilon }.contains(clean, adversarial)
    }
}

impl Subject for Walk {
    fn budget(&self) -> Option<(Norm, f32)> {
        Some((Norm::Linf, self.epsilon))
    }

    fn steps(&self) -> Option<usize> {
        Some(self.steps)
    }

    fn restarts(&self) -> Option<usize> {
        None
    }

    fn threat_model(&self, _: &Device) -> Option<ThreatModel> {
        Some(ThreatModel::Ball { norm: Norm::Linf, epsilon: self.epsilon })
    }

    fn searches_without_gradients(&self) -> bool {
        false
    }

    fn tuned(&self, tuning: &Tuning) -> Option<Box<dyn Attack>> {
        let epsilon = tuning.epsilon.unwrap_or(self.epsilon);
        Some(Box::new(Self { epsilon, steps: tuning.steps.unwrap_or(self.steps), reach: self.reach }))
    }
}

#[test]
fn an_attack_that_keeps_its_last_iterate_is_flagged() {
    let report = report(Fault::Nothing, &Walk { epsilon: 0.15, steps: 40, reach: 1.0 });
    assert_eq!(status(&report, Check::BestIterate), Status::Failed, "{report:#?}");
    // It is also weaker than what is weaker than an attack.
    assert_eq!(status(&report, Check::SingleStep), Status::Failed);
    assert_eq!(status(&report, Check::Noise), Status::Failed);
}

#[test]
fn an_attack_that_leaves_its_budget_is_flagged() {
    let report = report(Fault::Nothing, &Walk { epsilon: 2.0 / 255.0, steps: 2, reach: 2.0 });
    assert_eq!(status(&report, Check::Budget), Status::Failed);
}

/// A sound attack without a target; with one it goes the other way, as published code does.
struct Fleeing(ConfiguredAttack);

/// The attack that it makes.
struct Flees(Box<dyn Attack>);

impl Attack for Flees {
    fn name(&self) -> &'static str {
        "flees"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        if *goal == Goal::Untargeted {
            return self.0.perturb(victim, batch, goal, seed);
        }
        let ball = ThreatModel::Ball { norm: Norm::Linf, epsilon: 2.0 / 255.0 };
        (0..40).fold(batch.images.clone(), |images, _| {
            let found = victim.input_gradient(images.clone(), |logits| goal.loss(logits, &batch.labels));
            let away = images - found.gradient.sign().mul_scalar(0.5 / 255.0);
            ball.project(batch.images.clone(), away)
        })
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        self.0.admits(clean, adversarial)
    }
}

impl Subject for Fleeing {
    fn budget(&self) -> Option<(Norm, f32)> {
        self.0.budget()
    }

    fn steps(&self) -> Option<usize> {
        self.0.steps()
    }

    fn restarts(&self) -> Option<usize> {
        self.0.restarts()
    }

    fn threat_model(&self, device: &Device) -> Option<ThreatModel> {
        self.0.threat_model(device)
    }

    fn searches_without_gradients(&self) -> bool {
        false
    }

    fn tuned(&self, tuning: &Tuning) -> Option<Box<dyn Attack>> {
        Some(Box::new(Flees(self.0.tuned(tuning)?)))
    }
}

#[test]
fn an_attack_that_runs_away_from_its_target_is_flagged() {
    let report = report(Fault::Nothing, &Fleeing(pgd("")));
    let failed: Vec<Check> =
        Check::ALL.into_iter().filter(|id| status(&report, *id) == Status::Failed).collect();
    assert_eq!(failed, [Check::Targets], "nothing else looks at targets: {report:#?}");
}

#[test]
fn cheap_checks_leave_the_others_out_and_say_so() {
    let victim = Victim::new(&Planted::new(Fault::Nothing));
    let (batch, stop) = (pictures(), StopFlag::default());
    let run = |depth| {
        let options = CheckOptions { depth, batch_size: 64, seed: Seed::new(0) };
        examine(&victim, &batch, &pgd(""), "pgd", &options, &stop, &mut |_| ()).expect("nobody stops it")
    };
    let cheap = run(Depth::Cheap);
    assert_eq!((cheap.checks.len(), cheap.left_out.len()), (15, 9));
    assert!(cheap.left_out.iter().all(|left| left.why.contains("syfar doctor")));
    let off = run(Depth::Off);
    assert_eq!((off.checks.len(), off.left_out.len()), (0, 24));
    let json = serde_json::to_string(&cheap).expect("JSON");
    assert_eq!(serde_json::from_str::<CheckReport>(&json).expect("the same layout"), cheap);
    assert!(json.contains("\"id\":\"gradient-ce\"") && json.contains("\"status\":\"not_applicable\""));
}

#[test]
fn a_region_has_checks_of_its_own() {
    let config: AttackConfig = toml::from_str("kind = \"eyeglasses\"\nsteps = 5").expect("valid");
    let report = report(Fault::Nothing, &ConfiguredAttack::new(&config, SHAPE).expect("valid"));
    assert_eq!(status(&report, Check::Mask), Status::Passed, "{report:#?}");
    for id in [Check::Budget, Check::ZeroBudget, Check::Unbounded, Check::BlackBox] {
        assert_eq!(status(&report, id), Status::NotApplicable, "{id}");
    }
    assert_eq!(Magnitude::levels(8), "8/255".parse().expect("a magnitude"));
}
