//! Attacks that are broken in the ways of published code: the contract notices each of them.

use super::*;

/// PGD as it should not be: it may go the wrong way, and it returns the last iterate, wherever that is.
struct Broken {
    direction: f32,
    steps: usize,
    step_size: f32,
    epsilon: f32,
}

impl Attack for Broken {
    fn name(&self) -> &'static str {
        "broken"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, _seed: Seed) -> Tensor<4> {
        let ball = ThreatModel::Ball { norm: Norm::Linf, epsilon: self.epsilon };
        (0..self.steps).fold(batch.images.clone(), |images, _| {
            let found = victim.input_gradient(images.clone(), |logits| goal.loss(logits, &batch.labels));
            let step = found.gradient.sign().mul_scalar(self.direction * self.step_size);
            ball.project(batch.images.clone(), images + step)
        })
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        // Half of what it does, to show that leaving the threat model is noticed.
        ThreatModel::Ball { norm: Norm::Linf, epsilon: self.epsilon / 2.0 }.contains(clean, adversarial)
    }
}

#[test]
fn an_attack_that_runs_away_from_its_target_fails_the_contract() {
    let with = |direction, steps| Broken { direction, steps, step_size: 0.01, epsilon: 0.1 };
    for scene in Scene::targeted() {
        approaches_the_target(&with(1.0, 1), &with(1.0, 3), &scene).expect("the right way");
        let error = approaches_the_target(&with(-1.0, 1), &with(-1.0, 3), &scene).expect_err("the wrong way");
        assert!(error.contains("does not raise"), "{error}");
        never_loses(&with(-1.0, 3), &scene).expect_err("the wrong way");
    }
}

#[test]
fn an_attack_that_returns_its_last_iterate_fails_the_contract() {
    let attacks: Vec<Box<dyn Attack>> = (1..9)
        .map(|steps| {
            Box::new(Broken { direction: 1.0, steps, step_size: 0.5, epsilon: 1.0 }) as Box<dyn Attack>
        })
        .collect();
    let scene = Scene::new(&network(CLASSES), Scene::towards_the_next_class());
    more_steps_never_hurt(&attacks, &scene).expect_err("the last iterate is not the best one");
}

#[test]
fn an_attack_that_leaves_its_threat_model_fails_the_contract() {
    let attack = Broken { direction: 1.0, steps: 1, step_size: 0.1, epsilon: 0.1 };
    stays_inside(&attack, &Scene::all()[0]).expect_err("it changes twice as much as it admits");
}

/// An attack that goes round the victim and shows its pictures to the model in training mode, as published
/// code does that forgets to switch to evaluation mode.
struct Trains(FaceCnn);

impl Attack for Trains {
    fn name(&self) -> &'static str {
        "trains"
    }

    fn perturb(&self, _: &Victim, batch: &Batch, _: &Goal, _: Seed) -> Tensor<4> {
        self.0.forward(batch.images.clone().autodiff());
        batch.images.clone()
    }

    fn admits(&self, clean: Tensor<4>, _: Tensor<4>) -> Vec<bool> {
        vec![true; clean.dims()[0]]
    }
}

#[test]
fn an_attack_that_lets_batch_norm_train_fails_the_contract() {
    let model = network(CLASSES);
    // Clones of a model share their running statistics.
    let attack = Trains(model.clone());
    let error = leaves_the_model_alone(&attack, &model).expect_err("the running statistics moved");
    assert!(error.contains("statistics"), "{error}");
}
