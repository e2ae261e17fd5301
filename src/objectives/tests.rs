//! What holds for every objective.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;

use super::{
    AdversarialConfig, BatConfig, CfaConfig, DafaConfig, FaalConfig, FaalVariant, FrlConfig, Loss,
    MartConfig, NearbyConfig, ObjectiveConfig, Pictures, Sides, SpecNormConfig, SpecNormVariant,
    StandardConfig, SyFarConfig, TargetedSymmetryConfig, TradesConfig, WatConfig, Whole,
};
use crate::Seed;
use crate::attacks::{AttackConfig, Goal, Magnitude, PgdConfig, RoaConfig};
use crate::data::{Batch, ImageId};
use crate::models::{FaceCnn, FaceCnnConfig, Victim};

const SHAPE: [usize; 3] = [3, 16, 16];
const CLASSES: usize = 3;

fn model() -> FaceCnn {
    let config = FaceCnnConfig { side: 16, ..FaceCnnConfig::new(CLASSES) };
    FaceCnn::new(&config, Seed::new(0), &Device::default().autodiff())
}

/// Nine pictures, each with the colour of its class and noise.
fn batch() -> Batch {
    let mut rng = Seed::new(1).rng();
    let labels: Vec<usize> = (0..9).map(|image| image % CLASSES).collect();
    let mut pixels = Vec::new();
    for label in &labels {
        for channel in 0..3 {
            let shade = if channel == *label { 0.7 } else { 0.4 };
            pixels.extend((0..256).map(|_| shade + rng.random_range(-0.3..0.3_f32)));
        }
    }
    let images = Tensor::from_data(TensorData::new(pixels, [9, 3, 16, 16]), &Device::default());
    Batch { images: images.clamp(0.0, 1.0), labels, ids: (0..9).map(ImageId).collect(), radius_scale: None }
}

fn roa() -> AttackConfig {
    AttackConfig::Roa(RoaConfig { height: 5, width: 5, steps: 3, ..RoaConfig::default() })
}

fn sy_far(symmetry_weight: f64) -> ObjectiveConfig {
    ObjectiveConfig::SyFar(SyFarConfig { symmetry_weight, base: base(), ..SyFarConfig::default() })
}

fn base() -> Box<ObjectiveConfig> {
    Box::new(ObjectiveConfig::Adversarial(AdversarialConfig {
        attack: roa(),
        ..AdversarialConfig::default()
    }))
}

fn search() -> NearbyConfig {
    NearbyConfig { steps: 3, ..NearbyConfig::default() }
}

fn trades() -> TradesConfig {
    TradesConfig { search: search(), ..TradesConfig::default() }
}

fn every_objective() -> Vec<ObjectiveConfig> {
    let on_trades = || Box::new(ObjectiveConfig::Trades(trades()));
    let faal = FaalConfig { base: on_trades(), ..FaalConfig::default() };
    let class_loss = FaalConfig { variant: FaalVariant::ClassLoss, radius: None, base: base() };
    let original = SpecNormConfig { base: on_trades(), ..SpecNormConfig::default() };
    let batch = SpecNormConfig { variant: SpecNormVariant::Batch, base: base(), ..SpecNormConfig::default() };
    let all = SyFarConfig { base: Box::new(ObjectiveConfig::Faal(faal.clone())), ..SyFarConfig::default() };
    vec![
        ObjectiveConfig::Standard(StandardConfig {}),
        *base(),
        ObjectiveConfig::Trades(trades()),
        ObjectiveConfig::Trades(TradesConfig { attack: Some(roa()), ..trades() }),
        ObjectiveConfig::Mart(MartConfig { search: search(), ..MartConfig::default() }),
        sy_far(1.0),
        ObjectiveConfig::Faal(faal),
        ObjectiveConfig::Faal(class_loss),
        ObjectiveConfig::SpecNorm(original),
        ObjectiveConfig::SpecNorm(batch),
        ObjectiveConfig::SyFar(all),
    ]
    .into_iter()
    .chain(class_wise())
    .collect()
}

/// Methods that adapt to the classes over epochs.
fn class_wise() -> Vec<ObjectiveConfig> {
    let on_trades = || Box::new(ObjectiveConfig::Trades(trades()));
    vec![
        ObjectiveConfig::Bat(BatConfig { search: search(), ..BatConfig::default() }),
        ObjectiveConfig::Frl(FrlConfig { margin_rate: 0.2, base: on_trades(), ..FrlConfig::default() }),
        ObjectiveConfig::Frl(FrlConfig { base: base(), ..FrlConfig::default() }),
        ObjectiveConfig::Cfa(CfaConfig { base: on_trades(), ..CfaConfig::default() }),
        ObjectiveConfig::Wat(WatConfig { base: on_trades(), ..WatConfig::default() }),
        ObjectiveConfig::Dafa(DafaConfig { base: on_trades(), ..DafaConfig::default() }),
        ObjectiveConfig::Dafa(DafaConfig { margins: false, base: base(), ..DafaConfig::default() }),
    ]
}

/// The options that the paper does not have, and what Sy-FAR is combined with.
fn variants_of_sy_far() -> Vec<ObjectiveConfig> {
    let on = |base: ObjectiveConfig| SyFarConfig { base: Box::new(base), ..SyFarConfig::default() };
    let targeted = TargetedSymmetryConfig { attack: roa(), ..TargetedSymmetryConfig::default() };
    let spec_norm = SpecNormConfig { base: base(), ..SpecNormConfig::default() };
    let faal = FaalConfig { base: base(), ..FaalConfig::default() };
    vec![
        SyFarConfig { sides: Sides::Larger, base: base(), ..SyFarConfig::default() },
        SyFarConfig { running_decay: Some(0.9), base: base(), ..SyFarConfig::default() },
        SyFarConfig { targeted: Some(targeted), base: base(), ..SyFarConfig::default() },
        on(ObjectiveConfig::Trades(trades())),
        on(ObjectiveConfig::SpecNorm(spec_norm)),
        on(ObjectiveConfig::Faal(faal)),
    ]
    .into_iter()
    .map(ObjectiveConfig::SyFar)
    .collect()
}

fn loss(config: &ObjectiveConfig, model: &FaceCnn) -> Loss {
    let mut objective = config.build(SHAPE, CLASSES).expect("valid configuration");
    objective.loss(model, &Victim::new(model), &batch(), Seed::new(2))
}

/// All gradients of a loss in the order of the parameters.
fn gradient(loss: &Loss, model: &FaceCnn) -> Vec<f32> {
    struct Collect<'a>(&'a GradientsParams, Vec<f32>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.0.get::<D>(param.id) {
                self.1.extend(gradient.try_into_vec_as::<f32>().expect("f32"));
            }
        }
    }
    let gradients = GradientsParams::from_grads(loss.total.backward(), model);
    let mut collect = Collect(&gradients, Vec::new());
    model.visit(&mut collect);
    collect.1
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_symmetry_weight_changes_the_gradient_in_proportion() {
    let at = |weight| {
        let model = model();
        gradient(&loss(&sy_far(weight), &model), &model)
    };
    let (none, one, three) = (at(0.0), at(1.0), at(3.0));
    let step: Vec<f32> = one.iter().zip(&none).map(|(one, none)| one - none).collect();
    let thrice: Vec<f32> = three.iter().zip(&none).map(|(three, none)| (three - none) / 3.0).collect();
    let largest = step.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    assert!(largest > 1e-4, "the penalty gives no gradient");
    assert!(difference(&step, &thrice) < 0.02 * largest, "{} {largest}", difference(&step, &thrice));
}

#[test]
fn the_clean_and_the_adversarial_weight_change_the_gradient() {
    let at = |clean_weight, adversarial_weight| {
        let model = model();
        let config = AdversarialConfig { clean_weight, adversarial_weight, attack: roa() };
        gradient(&loss(&ObjectiveConfig::Adversarial(config), &model), &model)
    };
    let base = at(0.1, 1.0);
    assert!(difference(&base, &at(0.5, 1.0)) > 1e-4);
    assert!(difference(&base, &at(0.1, 2.0)) > 1e-4);
}

/// Configurations that differ in the weight of one term.
fn pairs_of_weights() -> Vec<(&'static str, ObjectiveConfig, ObjectiveConfig)> {
    let of_trades =
        |clean_weight, beta| ObjectiveConfig::Trades(TradesConfig { clean_weight, beta, ..trades() });
    let mart = |beta| ObjectiveConfig::Mart(MartConfig { beta, search: search(), ..MartConfig::default() });
    let bat =
        |beta, uniform_weight| ObjectiveConfig::Bat(BatConfig { beta, uniform_weight, search: search() });
    let spec_norm = |weight| {
        let variant = SpecNormVariant::Batch;
        ObjectiveConfig::SpecNorm(SpecNormConfig {
            variant,
            weight: Some(weight),
            base: base(),
            ..SpecNormConfig::default()
        })
    };
    let on = |base| ObjectiveConfig::SyFar(SyFarConfig { base: Box::new(base), ..SyFarConfig::default() });
    let targeted = |weight| {
        let targeted = Some(TargetedSymmetryConfig { weight, attack: roa() });
        ObjectiveConfig::SyFar(SyFarConfig { targeted, base: base(), ..SyFarConfig::default() })
    };
    let running = |symmetry_weight| {
        ObjectiveConfig::SyFar(SyFarConfig {
            symmetry_weight,
            running_decay: Some(0.9),
            base: base(),
            ..SyFarConfig::default()
        })
    };
    let faal = |radius| {
        ObjectiveConfig::Faal(FaalConfig { radius: Some(radius), base: base(), ..FaalConfig::default() })
    };
    vec![
        ("clean of TRADES", of_trades(1.0, 6.0), of_trades(2.0, 6.0)),
        ("beta of TRADES", of_trades(1.0, 6.0), of_trades(1.0, 3.0)),
        ("beta of MART", mart(6.0), mart(3.0)),
        ("beta of BAT", bat(6.0, 1.0), bat(3.0, 1.0)),
        ("doubt of BAT", bat(6.0, 1.0), bat(6.0, 3.0)),
        ("SpecNorm", spec_norm(1.0), spec_norm(10.0)),
        ("Sy-FAR on TRADES", on(of_trades(1.0, 6.0)), on(of_trades(1.0, 3.0))),
        ("Sy-FAR on SpecNorm", on(spec_norm(1.0)), on(spec_norm(10.0))),
        ("Sy-FAR on FAAL", on(faal(0.0)), on(faal(0.5))),
        ("targeted Sy-FAR", targeted(1.0), targeted(20.0)),
        ("running Sy-FAR", running(1.0), running(3.0)),
    ]
}

#[test]
fn the_weight_of_every_term_changes_the_gradient() {
    for (term, first, second) in pairs_of_weights() {
        let of = |config: &ObjectiveConfig| {
            let model = model();
            gradient(&loss(config, &model), &model)
        };
        let change = difference(&of(&first), &of(&second));
        assert!(change > 1e-5, "{term}: {change}");
    }
}

/// The pictures are made first and the losses are taken on them as constants; whatever the attack did, the
/// gradient is that of the losses on those pictures alone, taken by a model that was never attacked.
#[test]
fn no_attack_leaves_a_trace_in_an_update() {
    for config in every_objective().into_iter().chain(variants_of_sy_far()) {
        let attacked = model();
        let found = gradient(&loss(&config, &attacked), &attacked);
        let plain = model();
        let mut objective = config.build(SHAPE, CLASSES).expect("valid configuration");
        let pictures = objective.attack(&Victim::new(&model()), &batch(), &Whole::of(&batch()), Seed::new(2));
        let expected = gradient(&objective.loss_on(&plain, &batch(), pictures), &plain);
        assert!(difference(&found, &expected) < 1e-6, "{config:?}");
    }
}

/// And those pictures are the attack's own: the adversarial loss is the standard loss of them.
#[test]
fn the_adversarial_loss_is_the_loss_of_the_pictures_of_the_attack() {
    let config = AdversarialConfig { clean_weight: 0.0, adversarial_weight: 1.0, attack: roa() };
    let attacked = model();
    let found = gradient(&loss(&ObjectiveConfig::Adversarial(config), &attacked), &attacked);

    let plain = model();
    let attack = roa().for_training().build(SHAPE).expect("valid configuration");
    let pictures = attack.perturb(&Victim::new(&plain), &batch(), &Goal::Untargeted, Seed::new(2));
    let fixed = Batch { images: pictures, ..batch() };
    let mut standard = ObjectiveConfig::Standard(StandardConfig {}).build(SHAPE, CLASSES).expect("valid");
    let expected = gradient(&standard.loss(&plain, &Victim::new(&plain), &fixed, Seed::new(2)), &plain);
    assert!(difference(&found, &expected) < 1e-5, "{}", difference(&found, &expected));
}

/// What weight perturbation climbs is the base at the bottom, and asking for it teaches nobody anything.
#[test]
fn plain_losses_are_those_of_the_base() {
    for (config, base) in [
        (sy_far(3.0), *base()),
        (
            ObjectiveConfig::SyFar(SyFarConfig {
                running_decay: Some(0.5),
                base: base(),
                ..SyFarConfig::default()
            }),
            *base(),
        ),
        (
            ObjectiveConfig::Cfa(CfaConfig {
                base: Box::new(sy_far(3.0)),
                margins: false,
                ..CfaConfig::default()
            }),
            *base(),
        ),
    ] {
        let mut objective = config.build(SHAPE, CLASSES).expect("valid configuration");
        let before = objective.state();
        let of = |objective: &mut dyn super::Objective| {
            let model = model();
            let pictures: Pictures =
                objective.attack(&Victim::new(&model), &batch(), &Whole::of(&batch()), Seed::new(2));
            objective.plain_loss(&model, &batch(), pictures).into_scalar::<f32>()
        };
        let found = of(objective.as_mut());
        assert_eq!(objective.state(), before, "{config:?}");
        let expected = of(base.build(SHAPE, CLASSES).expect("valid configuration").as_mut());
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}

/// TRADES without a factor on any class is TRADES: `1/(1 + beta)` of it for CFA, twice `K/(K + 1)` for WAT.
#[test]
fn class_wise_methods_start_from_their_base() {
    let on_trades = || Box::new(ObjectiveConfig::Trades(trades()));
    let of = |config: &ObjectiveConfig| {
        let model = model();
        gradient(&loss(config, &model), &model)
    };
    let plain = of(&on_trades());
    for (config, factor) in [
        (ObjectiveConfig::Cfa(CfaConfig { base: on_trades(), ..CfaConfig::default() }), 1.0 / 7.0),
        (ObjectiveConfig::Wat(WatConfig { base: on_trades(), ..WatConfig::default() }), 1.5),
        (ObjectiveConfig::Dafa(DafaConfig { base: on_trades(), ..DafaConfig::default() }), 1.0),
        (ObjectiveConfig::Frl(FrlConfig { base: on_trades(), ..FrlConfig::default() }), 1.0),
    ] {
        let expected: Vec<f32> = plain.iter().map(|value| value * factor).collect();
        assert!(difference(&of(&config), &expected) < 1e-4, "{config:?}");
    }
}

#[test]
fn every_objective_learns_and_says_what_its_loss_is_made_of() {
    for config in every_objective() {
        let mut objective = config.build(SHAPE, CLASSES).expect("valid configuration");
        let mut model = model();
        let mut optimizer = SgdConfig::new().init();
        let mut values = Vec::new();
        for step in 0..12 {
            let loss = objective.loss(&model, &Victim::new(&model), &batch(), Seed::new(step));
            assert_eq!(loss.predictions.len(), 9);
            assert!(loss.terms.iter().all(|term| term.value.is_finite()));
            values.push(f64::from(loss.total.clone().into_scalar::<f32>()));
            let gradients = GradientsParams::from_grads(loss.total.backward(), &model);
            model = optimizer.step(0.05, model, gradients);
        }
        let (first, last) = (values[0], values[11]);
        // The bonus for doubt of BAT keeps its loss high.
        let most = if matches!(config, ObjectiveConfig::Bat(_)) { 1.0 } else { 0.8 };
        assert!(last < most * first, "{config:?}: {first} to {last}");
    }
}

#[test]
fn values_that_cannot_be_meant_are_refused() {
    let refused = |config: ObjectiveConfig| config.build(SHAPE, CLASSES).err().expect("refused").to_string();
    assert!(refused(sy_far(-1.0)).contains("symmetry_weight"));
    assert!(refused(sy_far(f64::NAN)).contains("symmetry_weight"));
    let zero = SyFarConfig { epsilon: Some(0.0), base: base(), ..SyFarConfig::default() };
    assert!(refused(ObjectiveConfig::SyFar(zero)).contains("epsilon"));
    let none = AdversarialConfig { adversarial_weight: 0.0, attack: roa(), ..AdversarialConfig::default() };
    assert!(refused(ObjectiveConfig::Adversarial(none)).contains("adversarial_weight"));
    let attack = AttackConfig::Pgd(PgdConfig { steps: 0, ..PgdConfig::default() });
    let attack = AdversarialConfig { attack, ..AdversarialConfig::default() };
    let attack = ObjectiveConfig::Adversarial(attack);
    assert!(refused(attack.clone()).contains("steps"));
    let inside = FaalConfig { base: Box::new(attack), ..FaalConfig::default() };
    assert!(refused(ObjectiveConfig::Faal(inside)).contains("steps"), "a base is checked as well");
    assert!(refused(ObjectiveConfig::Trades(TradesConfig { beta: 0.0, ..trades() })).contains("beta"));
    let radius = FaalConfig { radius: Some(-0.1), base: base(), ..FaalConfig::default() };
    assert!(refused(ObjectiveConfig::Faal(radius)).contains("radius"));
    let gamma = SpecNormConfig { gamma: f64::INFINITY, base: base(), ..SpecNormConfig::default() };
    assert!(refused(ObjectiveConfig::SpecNorm(gamma)).contains("gamma"));
    for (key, config) in refusals() {
        let error = refused(config);
        assert!(error.contains(key) && error.contains("expected"), "{key}: {error}");
    }
    for search in [
        NearbyConfig { steps: 0, ..search() },
        NearbyConfig { epsilon: "0".parse().expect("a magnitude"), ..search() },
        NearbyConfig { step_size: Magnitude::levels(0), ..search() },
    ] {
        assert!(
            refused(ObjectiveConfig::Mart(MartConfig { search, ..MartConfig::default() })).contains("search")
        );
    }
}

fn refusals() -> Vec<(&'static str, ObjectiveConfig)> {
    let frl = FrlConfig { base: base(), ..FrlConfig::default() };
    let cfa = CfaConfig { base: base(), margins: false, ..CfaConfig::default() };
    let dafa = DafaConfig { base: base(), margins: false, ..DafaConfig::default() };
    let wat = WatConfig { base: base(), ..WatConfig::default() };
    let plain = SyFarConfig { base: base(), ..SyFarConfig::default() };
    let targeted = Some(TargetedSymmetryConfig { weight: 0.0, attack: roa() });
    vec![
        ("running_decay", ObjectiveConfig::SyFar(SyFarConfig { running_decay: Some(1.0), ..plain.clone() })),
        ("targeted.weight", ObjectiveConfig::SyFar(SyFarConfig { targeted, ..plain })),
        ("limit", ObjectiveConfig::Frl(FrlConfig { limit: 0.0, ..frl.clone() })),
        ("limit", ObjectiveConfig::Frl(FrlConfig { limit: 1.5, ..frl.clone() })),
        ("halve_every", ObjectiveConfig::Frl(FrlConfig { halve_every: 0, ..frl.clone() })),
        ("natural_rate", ObjectiveConfig::Frl(FrlConfig { natural_rate: -0.1, ..frl.clone() })),
        ("margin_rate", ObjectiveConfig::Frl(FrlConfig { margin_rate: 0.2, ..frl })),
        ("margin_offset", ObjectiveConfig::Cfa(CfaConfig { margin_offset: f64::NAN, ..cfa.clone() })),
        ("margins", ObjectiveConfig::Cfa(CfaConfig { margins: true, ..cfa })),
        ("lambda", ObjectiveConfig::Dafa(DafaConfig { lambda: -1.0, ..dafa.clone() })),
        ("warmup_epochs", ObjectiveConfig::Dafa(DafaConfig { warmup_epochs: 0, ..dafa.clone() })),
        ("margins", ObjectiveConfig::Dafa(DafaConfig { margins: true, ..dafa })),
        ("eta", ObjectiveConfig::Wat(WatConfig { eta: 0.0, ..wat })),
        ("uniform_weight", ObjectiveConfig::Bat(BatConfig { uniform_weight: -1.0, ..BatConfig::default() })),
    ]
}

#[test]
fn a_row_of_each_class_is_not_kept_for_very_many_classes() {
    let config = SyFarConfig { running_decay: Some(0.9), base: base(), ..SyFarConfig::default() };
    let error = ObjectiveConfig::SyFar(config).build(SHAPE, 1025).err().expect("refused").to_string();
    assert!(error.contains("running_decay") && error.contains("1024"), "{error}");
}

/// TRADES climbs the divergence, and the pictures that it makes are in the ball.
#[test]
fn the_search_raises_its_loss_inside_the_ball() {
    let victim = Victim::new(&model());
    let batch = batch();
    let search = NearbyConfig { steps: 5, ..search() };
    let clean = victim.logits(batch.images.clone());
    let apart = |logits| super::trades::divergence(clean.clone(), logits);
    let found = search.climb(&victim, &batch, Seed::new(5), apart);
    let change: f32 = (found.clone() - batch.images.clone()).abs().max().into_scalar();
    assert!(change < 8.0 / 255.0 + 1e-6 && change > 6.0 / 255.0, "{change}");
    let start = NearbyConfig { step_size: "0.0000001".parse().expect("a magnitude"), ..search };
    let start = start.climb(&victim, &batch, Seed::new(5), apart);
    let mean = |images| apart(victim.logits(images)).mean().into_scalar::<f32>();
    assert!(mean(found.clone()) > 10.0 * mean(start.clone()), "{} {}", mean(found), mean(start));
}

#[test]
fn every_objective_has_a_finite_loss_on_one_class() {
    for config in every_objective().into_iter().chain(variants_of_sy_far()) {
        let model = model();
        let mut objective = config.build(SHAPE, CLASSES).expect("valid configuration");
        let one_class = batch().select(&[0, 3, 6]);
        let loss = objective.loss(&model, &Victim::new(&model), &one_class, Seed::new(2));
        assert!(gradient(&loss, &model).iter().all(|value| value.is_finite()), "{config:?}");
    }
}

/// The gradient with weights that FAAL found is that of the weighed losses: the weights are constants.
#[test]
fn faal_weighs_the_losses_of_its_base() {
    // A new model each time: a training forward moves the running statistics that the attack sees.
    let of = |config: &ObjectiveConfig| {
        let model = model();
        gradient(&loss(config, &model), &model)
    };
    let at = |radius| {
        let config = FaalConfig { radius: Some(radius), base: base(), ..FaalConfig::default() };
        of(&ObjectiveConfig::Faal(config))
    };
    let plain = of(&base());
    assert!(difference(&at(0.0), &plain) < 1e-5, "radius 0 is the base");
    assert!(difference(&at(0.5), &plain) > 1e-3, "a larger one is not");
}

/// A batch of one class has no pair, so the penalties are zero and not NaN.
#[test]
fn a_batch_of_one_class_has_a_finite_loss() {
    let targeted = Some(TargetedSymmetryConfig { attack: roa(), ..TargetedSymmetryConfig::default() });
    let config = SyFarConfig { targeted, base: base(), ..SyFarConfig::default() };
    let model = model();
    let mut objective = config.build(SHAPE, CLASSES).expect("valid configuration");
    let one_class = batch().select(&[0, 3, 6]);
    let loss = super::Objective::loss(&mut objective, &model, &Victim::new(&model), &one_class, Seed::new(2));
    for name in ["symmetry", "targeted_symmetry"] {
        let term = loss.terms.iter().find(|term| term.name == name).expect("the term is there");
        assert!(term.value.abs() < 1e-9, "{name}: {}", term.value);
    }
    assert!(gradient(&loss, &model).iter().all(|value| value.is_finite()));
}

/// Two classes, of which one has no picture, and a step that is never taken: everything stays finite over an
/// epoch and its end.
#[test]
fn two_classes_and_a_class_without_a_picture_are_no_trouble() {
    let all = || class_wise().into_iter().chain(variants_of_sy_far());
    for (classes, config) in all().map(|config| (2, config)).chain(all().map(|config| (5, config))) {
        let shape = FaceCnnConfig { side: 16, ..FaceCnnConfig::new(classes) };
        let model = FaceCnn::new(&shape, Seed::new(0), &Device::default().autodiff());
        let mut objective = config.build(SHAPE, classes).expect("valid configuration");
        objective.end_epoch(None);
        let some = Batch { labels: vec![0, 1, 1, 0], ..batch().select(&[0, 1, 4, 3]) };
        let loss = objective.loss(&model, &Victim::new(&model), &some, Seed::new(1));
        assert!(gradient(&loss, &model).iter().all(|value| value.is_finite()), "{config:?}");
        objective.end_epoch(Some(&super::ClassFigures(vec![None; classes])));
        let state = objective.state();
        objective.restore(&state).expect("its own state");
        assert_eq!(objective.state(), state);
    }
}
