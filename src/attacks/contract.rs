//! One table of all attacks, and what holds for each of them. A check is a function that says what is
//! wrong, so that attacks which are broken on purpose show that it would be noticed.

mod broken;
mod learned;
mod radius;
mod stopping;

use burn::module::{ModuleVisitor, Param};

use super::fixtures::{LinearModel, SHAPE, SIZE, batch, network, values};
use super::*;
use crate::data::Batch;
use crate::models::{Classifier, FaceCnn};

type Checked = Result<(), String>;

const CLASSES: usize = 3;
const COUNT: usize = 6;

/// All attacks, small.
fn table() -> Vec<AttackConfig> {
    in_the_l1_ball().into_iter().chain(elsewhere()).collect()
}

fn in_the_l1_ball() -> [AttackConfig; 4] {
    let (norm, epsilon) = (Norm::L1, "12".parse::<Magnitude>().expect("a magnitude"));
    let (apgd, apgd_t) = (ApgdConfig::default(), ApgdTConfig::default());
    let (square, autoattack) = (SquareConfig::default(), AutoAttackConfig::default());
    [
        AttackConfig::Apgd(ApgdConfig { norm, epsilon: epsilon.clone(), ..apgd }),
        AttackConfig::ApgdT(ApgdTConfig {
            norm,
            epsilon: epsilon.clone(),
            loss: Loss::Ce,
            targets: 2,
            ..apgd_t
        }),
        AttackConfig::Square(SquareConfig { norm, epsilon: epsilon.clone(), ..square }),
        AttackConfig::Autoattack(AutoAttackConfig { norm, epsilon, ..autoattack }),
    ]
}

fn elsewhere() -> Vec<AttackConfig> {
    let pgd = PgdConfig { step_size: Some(Magnitude::levels(2)), steps: 4, ..PgdConfig::default() };
    let roa = RoaConfig { height: 6, width: 5, stride: 3, steps: 4, ..RoaConfig::default() };
    let l2 = PgdConfig {
        norm: Norm::L2,
        epsilon: "1.5".parse().expect("a magnitude"),
        step_size: Some("0.3".parse().expect("a magnitude")),
        ..pgd.clone()
    };
    let momentum = MomentumConfig { step_size: Some(Magnitude::levels(2)), ..MomentumConfig::default() };
    let fgsm = FgsmConfig::default();
    let apgd = ApgdConfig::default();
    let (fab, wide) = (FabConfig::default(), "200".parse::<Magnitude>().expect("a magnitude"));
    let apgd_t = ApgdTConfig { targets: 2, ..ApgdTConfig::default() };
    vec![
        AttackConfig::Apgd(ApgdConfig { norm: Norm::L2, epsilon: l2.epsilon.clone(), ..apgd.clone() }),
        AttackConfig::Apgd(ApgdConfig { loss: Loss::Dlr, restarts: 2, ..apgd.clone() }),
        AttackConfig::Apgd(apgd),
        AttackConfig::ApgdT(ApgdTConfig { norm: Norm::L2, epsilon: l2.epsilon.clone(), ..apgd_t.clone() }),
        AttackConfig::ApgdT(ApgdTConfig { loss: Loss::Ce, ..apgd_t }),
        AttackConfig::Autoattack(AutoAttackConfig::default()),
        AttackConfig::Autoattack(AutoAttackConfig {
            version: Version::Plus,
            norm: Norm::L2,
            epsilon: l2.epsilon.clone(),
            ..AutoAttackConfig::default()
        }),
        // Wide, because only what lies within the budget is judged.
        AttackConfig::FabT(FabConfig { epsilon: "0.5".parse().expect("a magnitude"), ..fab.clone() }),
        AttackConfig::FabT(FabConfig { norm: Norm::L1, epsilon: wide.clone(), restarts: 2, ..fab.clone() }),
        AttackConfig::FabT(FabConfig { norm: Norm::L2, epsilon: wide, nearest: true, ..fab }),
        AttackConfig::Square(SquareConfig::default()),
        AttackConfig::Square(SquareConfig {
            norm: Norm::L2,
            epsilon: l2.epsilon.clone(),
            ..SquareConfig::default()
        }),
        AttackConfig::Fgsm(FgsmConfig { norm: Norm::L2, epsilon: l2.epsilon.clone(), ..fgsm.clone() }),
        AttackConfig::Fgsm(FgsmConfig { random_start: true, ..fgsm.clone() }),
        AttackConfig::Fgsm(fgsm),
        AttackConfig::MomentumPgd(MomentumConfig {
            norm: Norm::L2,
            epsilon: l2.epsilon.clone(),
            step_size: l2.step_size.clone(),
            ..momentum.clone()
        }),
        AttackConfig::MomentumPgd(MomentumConfig { loss: Loss::Dlr, ..momentum.clone() }),
        AttackConfig::MomentumPgd(momentum),
        AttackConfig::Pgd(PgdConfig { loss: Loss::Margin, ..pgd.clone() }),
        AttackConfig::Pgd(PgdConfig { restarts: 2, ..pgd.clone() }),
        AttackConfig::Pgd(PgdConfig { random_start: false, ..pgd }),
        AttackConfig::Pgd(l2.clone()),
        AttackConfig::Pgd(PgdConfig { random_start: false, ..l2 }),
        AttackConfig::Roa(RoaConfig { place: Some(Place { top: 10, left: 11 }), ..roa.clone() }),
        AttackConfig::Roa(RoaConfig { search: Search::Exhaustive, ..roa.clone() }),
        AttackConfig::Roa(RoaConfig { search: Search::CoarseToFine { spacing: 2, best: 2 }, ..roa.clone() }),
        AttackConfig::Roa(roa),
        AttackConfig::Eyeglasses(EyeglassConfig {
            print: Some(PrintConfig { total_variation: Magnitude::levels(1), ..PrintConfig::default() }),
            ..EyeglassConfig::default()
        }),
        AttackConfig::Eyeglasses(EyeglassConfig {
            motion: Some(MotionConfig { draws: 3, ..MotionConfig::default() }),
            ..EyeglassConfig::default()
        }),
        AttackConfig::Eyeglasses(EyeglassConfig { steps: 4, ..EyeglassConfig::default() }),
        AttackConfig::FaceMask(FaceMaskConfig { momentum: 0.4, ..FaceMaskConfig::default() }),
        AttackConfig::FaceMask(FaceMaskConfig::default()),
    ]
}

/// An attack of the table with another number of steps.
fn with(config: &AttackConfig, steps: usize, early_stop: bool) -> Box<dyn Attack> {
    let mut config = config.clone();
    match &mut config {
        AttackConfig::Apgd(config) => config.steps = steps,
        AttackConfig::ApgdT(config) => config.steps = steps,
        AttackConfig::Autoattack(config) => (config.steps, config.queries) = (steps, 10 * steps),
        AttackConfig::FabT(config) => config.steps = steps,
        AttackConfig::Square(config) => config.queries = 40 * steps,
        AttackConfig::Fgsm(_) => (),
        AttackConfig::MomentumPgd(config) => config.steps = steps,
        AttackConfig::Pgd(config) => config.steps = steps,
        AttackConfig::Roa(config) => config.steps = steps,
        AttackConfig::Eyeglasses(config) => config.steps = steps,
        AttackConfig::FaceMask(config) => config.steps = steps,
        AttackConfig::UniversalPatch(_) => unreachable!("it has to be taught: see `learned`"),
    }
    let config = if early_stop { config } else { config.for_training() };
    config.build(SHAPE).expect("the table is valid")
}

/// Whether more steps of an attack go on raising the goal loss. One that looks for the boundary stays
/// there, one made of parts leaves the picture to the part that came first, and a margin or a ratio of
/// logits can rise where the cross-entropy does not.
fn climbs(config: &AttackConfig) -> bool {
    match config {
        AttackConfig::Fgsm(_)
        | AttackConfig::FabT(_)
        | AttackConfig::Square(_)
        | AttackConfig::Autoattack(_) => false,
        AttackConfig::Apgd(config) => config.loss == Loss::Ce,
        AttackConfig::ApgdT(config) => config.loss == Loss::Ce,
        AttackConfig::MomentumPgd(config) => config.loss == Loss::Ce,
        _ => true,
    }
}

/// Whether what an attack gives is judged in another place than those that it was optimised for. Then
/// neither success nor loss there can be promised by any single step.
fn is_judged_elsewhere(config: &AttackConfig) -> bool {
    matches!(config, AttackConfig::Eyeglasses(EyeglassConfig { motion: Some(_), .. }))
}

/// Whether an attack with more steps begins like one with fewer. Restarts of FAB begin where the run before
/// them ended.
fn is_prefix(config: &AttackConfig) -> bool {
    match config {
        AttackConfig::FabT(config) => config.restarts == 1,
        AttackConfig::Autoattack(config) => config.version != Version::Plus,
        _ => !is_judged_elsewhere(config),
    }
}

/// A victim with pictures and a goal.
struct Scene {
    victim: Victim,
    batch: Batch,
    goal: Goal,
}

impl Scene {
    fn new(model: &(impl burn::module::Module + Classifier + 'static), goal: Goal) -> Self {
        Self { victim: Victim::new(model), batch: batch(COUNT, CLASSES, 0.0), goal }
    }

    /// Linear and convolutional, untargeted and targeted.
    fn all() -> [Self; 2] {
        [
            Self::new(&LinearModel::new(CLASSES, 2), Goal::Untargeted),
            Self::new(&network(CLASSES), Self::towards_the_next_class()),
        ]
    }

    fn targeted() -> [Self; 2] {
        let goal = Self::towards_the_next_class;
        [Self::new(&LinearModel::new(CLASSES, 2), goal()), Self::new(&network(CLASSES), goal())]
    }

    fn towards_the_next_class() -> Goal {
        Goal::Targeted((0..COUNT).map(|image| (image + 1) % CLASSES).collect())
    }

    fn run(&self, attack: &dyn Attack) -> Tensor<4> {
        attack.perturb(&self.victim, &self.batch, &self.goal, Seed::new(9))
    }

    /// Goal loss of each picture.
    fn losses(&self, images: Tensor<4>) -> Vec<f32> {
        values(self.goal.loss(self.victim.logits(images), &self.batch.labels))
    }

    fn reached(&self, images: Tensor<4>) -> Vec<bool> {
        let reached = self.goal.reached_by(self.victim.logits(images), &self.batch.labels);
        reached.to_data().iter::<bool>().collect()
    }
}

fn check(holds: bool, attack: &dyn Attack, what: &str) -> Checked {
    if holds { Ok(()) } else { Err(format!("{}: {what}", attack.name())) }
}

fn stays_inside(attack: &dyn Attack, scene: &Scene) -> Checked {
    let found = scene.run(attack);
    let inside = attack.admits(scene.batch.images.clone(), found.clone()).iter().all(|is| *is);
    check(inside, attack, "leaves its threat model")?;
    check(values(found).iter().all(|value| (0.0..=1.0).contains(value)), attack, "leaves the range of pixels")
}

fn is_deterministic(attack: &dyn Attack, scene: &Scene) -> Checked {
    let same = values(scene.run(attack)) == values(scene.run(attack));
    check(same, attack, "gives two results for one seed")
}

fn does_not_see_the_batch(attack: &dyn Attack, scene: &Scene) -> Checked {
    let whole = values(scene.run(attack));
    let half = |rows: &[usize]| {
        let (batch, goal) = (scene.batch.select(rows), scene.goal.select(rows));
        values(attack.perturb(&scene.victim, &batch, &goal, Seed::new(9)))
    };
    let halves = [half(&[0, 2, 4]), half(&[1, 3, 5])];
    let same = (0..COUNT).all(|image| {
        let apart = &halves[image % 2][image / 2 * SIZE..][..SIZE];
        apart.iter().zip(&whole[image * SIZE..]).all(|(a, b)| (a - b).abs() < 1e-6)
    });
    check(same, attack, "depends on the other images of the batch")
}

fn never_loses(attack: &dyn Attack, scene: &Scene) -> Checked {
    let clean = (scene.losses(scene.batch.images.clone()), scene.reached(scene.batch.images.clone()));
    let images = scene.run(attack);
    let found = (scene.losses(images.clone()), scene.reached(images));
    no_worse(&clean, &found, attack, "is worse than doing nothing")
}

/// Merits are the goal losses and whether the goals are reached.
fn no_worse(
    before: &(Vec<f32>, Vec<bool>),
    after: &(Vec<f32>, Vec<bool>),
    attack: &dyn Attack,
    what: &str,
) -> Checked {
    let holds = (0..COUNT).all(|image| {
        let gained = after.1[image] && !before.1[image];
        let lost = before.1[image] && !after.1[image];
        gained || (!lost && after.0[image] >= before.0[image] - 1e-5)
    });
    check(holds, attack, what)
}

/// The same attack with more and more steps: the best picture so far can only get better.
fn more_steps_never_hurt(attacks: &[Box<dyn Attack>], scene: &Scene) -> Checked {
    let merits: Vec<(Vec<f32>, Vec<bool>)> = attacks
        .iter()
        .map(|attack| scene.run(attack.as_ref()))
        .map(|images| (scene.losses(images.clone()), scene.reached(images)))
        .collect();
    merits.windows(2).zip(attacks).try_for_each(|(pair, attack)| {
        no_worse(&pair[0], &pair[1], attack.as_ref(), "is worse with more steps")
    })
}

/// One step towards a target makes it more probable than before, for most images.
fn starts_towards_the_target(one: &dyn Attack, scene: &Scene) -> Checked {
    let (clean, first) = (scene.losses(scene.batch.images.clone()), scene.losses(scene.run(one)));
    check(risen(&clean, &first) >= COUNT - 1, one, "a step does not raise the target's probability")
}

/// Steps that raise a margin or a ratio of logits may lower the probability; then the best picture, which
/// cross-entropy decides until one succeeds, is an earlier one. So nothing is lost.
fn loses_nothing(attack: &dyn Attack, scene: &Scene) -> Checked {
    let (clean, last) = (scene.losses(scene.batch.images.clone()), scene.losses(scene.run(attack)));
    check(risen(&last, &clean) == 0, attack, "the target's probability falls")
}

/// An attack that looks for the boundary gives only what it finds inside its budget: nothing is lost, and
/// half of the pictures come nearer.
fn looks_for_the_target(many: &dyn Attack, scene: &Scene) -> Checked {
    loses_nothing(many, scene)?;
    let (clean, last) = (scene.losses(scene.batch.images.clone()), scene.losses(scene.run(many)));
    check(risen(&clean, &last) >= COUNT / 2, many, "too few pictures come nearer to their target")
}

/// And so do the steps after it, which an attack that runs away from its target does not survive by a
/// lucky start.
fn approaches_the_target(one: &dyn Attack, three: &dyn Attack, scene: &Scene) -> Checked {
    starts_towards_the_target(one, scene)?;
    let (first, third) = (scene.losses(scene.run(one)), scene.losses(scene.run(three)));
    check(risen(&first, &third) >= COUNT - 1, three, "more steps do not raise the target's probability")
}

/// How many losses are higher than before.
fn risen(before: &[f32], after: &[f32]) -> usize {
    before.iter().zip(after).filter(|(before, after)| after > before).count()
}

/// Runs a check on every victim with every attack of the table.
fn everywhere(check: impl Fn(&Scene, &AttackConfig) -> Checked) {
    for scene in Scene::all() {
        for config in table() {
            check(&scene, &config).unwrap_or_else(|error| panic!("{config:?}: {error}"));
        }
    }
}

#[test]
fn every_attack_stays_in_its_threat_model() {
    everywhere(|scene, config| {
        stays_inside(with(config, 3, false).as_ref(), scene)?;
        stays_inside(with(config, 3, true).as_ref(), scene)
    });
}

#[test]
fn every_attack_is_a_function_of_its_seed_and_each_image() {
    everywhere(|scene, config| {
        is_deterministic(with(config, 1, false).as_ref(), scene)?;
        does_not_see_the_batch(with(config, 2, false).as_ref(), scene)?;
        does_not_see_the_batch(with(config, 2, true).as_ref(), scene)
    });
}

#[test]
fn every_attack_keeps_the_best_picture() {
    everywhere(|scene, config| {
        never_loses(with(config, 2, true).as_ref(), scene)?;
        let longer: Vec<Box<dyn Attack>> = (1..4).map(|steps| with(config, steps, false)).collect();
        never_loses(longer[0].as_ref(), scene)?;
        if is_prefix(config) { more_steps_never_hurt(&longer, scene) } else { Ok(()) }
    });
}

#[test]
fn every_targeted_attack_approaches_its_target() {
    let mut failed = Vec::new();
    for scene in Scene::targeted() {
        for config in table() {
            let (one, three) = (with(&config, 1, false), with(&config, 3, false));
            let checked = match config {
                // A face mask covers a third of the picture with grey before its first step, and a sticker
                // cannot choose its place.
                AttackConfig::FabT(_)
                | AttackConfig::FaceMask(_)
                | AttackConfig::Roa(RoaConfig { place: Some(_), .. }) => {
                    looks_for_the_target(with(&config, 30, false).as_ref(), &scene)
                }
                _ if is_judged_elsewhere(&config) => {
                    looks_for_the_target(with(&config, 30, false).as_ref(), &scene)
                }
                AttackConfig::Pgd(PgdConfig { loss: Loss::Margin, .. })
                | AttackConfig::MomentumPgd(MomentumConfig { loss: Loss::Dlr, .. }) => {
                    loses_nothing(three.as_ref(), &scene)
                }
                _ if climbs(&config) => approaches_the_target(one.as_ref(), three.as_ref(), &scene),
                _ => starts_towards_the_target(three.as_ref(), &scene),
            };
            if let Err(error) = checked {
                failed.push(format!("{config:?}: {error}"));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn early_stopping_changes_the_work_but_not_the_success() {
    for config in table() {
        for goal in [Goal::Untargeted, Scene::towards_the_next_class()] {
            let run = |stop| {
                let scene = Scene::new(&LinearModel::new(CLASSES, 2), goal.clone());
                let images = scene.run(with(&config, 4, stop).as_ref());
                let cost = scene.victim.cost();
                (scene.reached(images), cost.gradients + cost.forwards)
            };
            let ((without, all), (stopped, fewer)) = (run(false), run(true));
            assert!(without == stopped || is_judged_elsewhere(&config), "{config:?}");
            assert!(fewer < all || !stopped.contains(&true), "{config:?}: {fewer} of {all}");
        }
    }
}

#[test]
fn a_budget_of_zero_changes_nothing() {
    for mut config in table() {
        match &mut config {
            AttackConfig::Apgd(config) => config.epsilon = Magnitude::levels(0),
            AttackConfig::ApgdT(config) => config.epsilon = Magnitude::levels(0),
            AttackConfig::Autoattack(config) => config.epsilon = Magnitude::levels(0),
            AttackConfig::FabT(config) => config.epsilon = Magnitude::levels(0),
            AttackConfig::Square(config) => config.epsilon = Magnitude::levels(0),
            AttackConfig::Fgsm(config) => config.epsilon = Magnitude::levels(0),
            AttackConfig::MomentumPgd(config) => config.epsilon = Magnitude::levels(0),
            AttackConfig::Pgd(config) => config.epsilon = Magnitude::levels(0),
            // They have a region and no budget.
            AttackConfig::Roa(_)
            | AttackConfig::Eyeglasses(_)
            | AttackConfig::FaceMask(_)
            | AttackConfig::UniversalPatch(_) => continue,
        }
        let attack = with(&config, 3, false);
        for scene in Scene::all() {
            assert_eq!(values(scene.run(attack.as_ref())), values(scene.batch.images.clone()), "{config:?}");
        }
    }
}

#[test]
fn restarts_never_hurt() {
    let attacks: Vec<Box<dyn Attack>> = (1..5)
        .map(|restarts| {
            let config = PgdConfig { restarts, steps: 2, early_stop: false, ..PgdConfig::default() };
            Box::new(config.build().expect("valid")) as Box<dyn Attack>
        })
        .collect();
    for scene in Scene::all() {
        more_steps_never_hurt(&attacks, &scene).expect("contract");
    }
}

/// Every parameter and buffer of a model, and whether it is tracked.
struct Visited(Vec<(Vec<f32>, bool, bool)>);

impl ModuleVisitor for Visited {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        self.0.push((values(tensor.clone()), tensor.is_require_grad(), tensor.is_autodiff()));
    }
}

fn visit(model: &FaceCnn) -> Vec<(Vec<f32>, bool, bool)> {
    let mut visited = Visited(Vec::new());
    burn::module::Module::visit(model, &mut visited);
    visited.0
}

/// Weights and running statistics stay what they were, and the pictures bring no graph with them.
fn leaves_the_model_alone(attack: &dyn Attack, model: &FaceCnn) -> Checked {
    let before = visit(model);
    let victim = Victim::new(model);
    let images = attack.perturb(&victim, &batch(COUNT, CLASSES, 0.0), &Goal::Untargeted, Seed::new(0));
    check(!images.is_autodiff(), attack, "the pictures carry a graph into the update")?;
    check(before == visit(model), attack, "changes weights, statistics or what is tracked")
}

#[test]
fn no_attack_touches_the_model() {
    let model = network(CLASSES);
    for config in table() {
        leaves_the_model_alone(with(&config, 2, true).as_ref(), &model)
            .unwrap_or_else(|error| panic!("{config:?}: {error}"));
    }
}

#[test]
fn no_image_is_no_work() {
    let empty = batch(0, CLASSES, 0.0);
    let victim = Victim::new(&network(CLASSES));
    for config in table() {
        let found = with(&config, 2, true).perturb(&victim, &empty, &Goal::Untargeted, Seed::new(0));
        assert_eq!(found.dims(), [0, 3, SHAPE[1], SHAPE[2]]);
    }
    assert_eq!(victim.cost().gradients, 0);
}
