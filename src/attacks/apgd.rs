//! Auto-PGD (Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
//! parameter-free attacks", ICML 2020, algorithm 1; for L1 "Mind the box: l1-APGD for sparse adversarial
//! attacks on image classifiers", ICML 2021).
//!
//! In the L-inf and L2 balls a step has momentum, `x' <- project(x + eta d)`,
//! `x <- project(x + 0.75 (x' - x) + 0.25 (x - x_before))`, and `eta` starts at `2 epsilon`. After 22 % of
//! the steps, and then after windows that shrink by 3 % of the steps to no less than 6 %, an image's `eta`
//! is halved and it goes back to its best point if the loss rose in at most 75 % of the window's steps, or
//! if `eta` was kept at the last check and the best loss has not risen since. In the L1 ball a step goes
//! along the signs of the largest entries of the gradient; every 4 % of the steps their number follows how
//! sparse the best change is.
//!
//! Differences from the reference implementation, on purpose:
//! - The first window counts its first step as a rise when the loss is above that of the start. The
//!   reference compares it with an element of its history that is not written yet (0).
//! - With a target it is a true targeted attack: what is raised is the target's part, and success is that
//!   the prediction is the target. The reference's "targeted" variant is `apgd-t`.
//! - All pictures count that were shown to the victim, not only the last misclassified one.

use burn::tensor::Tensor;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::iter::{IntoParallelRefMutIterator, ParallelIterator};

use super::ascent::Ascent;
use super::config::{at_least_one, at_most_one};
use super::loss::Loss;
use super::projection::{distance, onto_ball, sign};
use super::threat::{gaussian, host};
use super::{Attack, AttackConfigError, Goal, Magnitude, Norm, ThreatModel};
use crate::Seed;
use crate::data::Batch;
use crate::models::Victim;

/// Which ball, and how long to search it. There is no step size.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApgdConfig {
    /// How distance is measured: `linf` (default), `l2` or `l1`.
    pub norm: Norm,
    /// Radius of the ball in units of pixels in `[0, 1]`; 8/255 by default. At most 1 for L-inf.
    pub epsilon: Magnitude,
    /// What is raised; `ce` by default.
    pub loss: Loss,
    /// Gradient steps of each restart, at least 1; 100 by default.
    pub steps: usize,
    /// Runs from different random starts, at least 1; 1 by default.
    pub restarts: usize,
    /// Evaluations whose gradients are averaged at each step, at least 1; 1 by default. More than one is
    /// for classifiers that are random (expectation over transformation).
    pub eot: usize,
    /// Whether to leave an image alone once its goal is reached; on by default. Off for training.
    pub early_stop: bool,
}

impl Default for ApgdConfig {
    fn default() -> Self {
        Self {
            norm: Norm::Linf,
            epsilon: Magnitude::levels(8),
            loss: Loss::Ce,
            steps: 100,
            restarts: 1,
            eot: 1,
            early_stop: true,
        }
    }
}

impl ApgdConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first value that cannot be meant, such as an L-inf epsilon of 8.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        if self.norm == Norm::Linf {
            at_most_one("epsilon", &self.epsilon)?;
        }
        at_least_one("steps", self.steps)?;
        at_least_one("restarts", self.restarts)?;
        at_least_one("eot", self.eot)
    }

    /// The attack.
    ///
    /// # Errors
    /// The same as [`ApgdConfig::validate`].
    pub fn build(&self) -> Result<Apgd, AttackConfigError> {
        self.validate()?;
        Ok(Apgd { config: self.clone() })
    }
}

/// Auto-PGD, made by [`ApgdConfig::build`].
#[derive(Clone, Debug)]
pub struct Apgd {
    config: ApgdConfig,
}

impl Attack for Apgd {
    fn name(&self) -> &'static str {
        "apgd"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        let seed = seed.purpose("apgd");
        let ApgdConfig { norm, loss, steps, eot, .. } = self.config;
        let climb = Climb { norm, epsilon: self.config.epsilon.value(), loss, steps, eot };
        Ascent::run(victim, batch, goal, self.config.early_stop, |ascent| {
            for restart in 0..self.config.restarts {
                if ascent.is_done() {
                    return;
                }
                climb.run(ascent, None, seed.at(restart as u64));
            }
        })
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        let epsilon = self.config.epsilon.value();
        ThreatModel::Ball { norm: self.config.norm, epsilon }.contains(clean, adversarial)
    }
}

/// One run of Auto-PGD on all images that an ascent works on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Climb {
    pub norm: Norm,
    pub epsilon: f32,
    pub loss: Loss,
    pub steps: usize,
    pub eot: usize,
}

impl Climb {
    /// Climbs from a random start: towards the goal, or, where `classes` are given (one for each image that
    /// is worked on), to bring that class above the label.
    pub fn run(&self, ascent: &mut Ascent, classes: Option<&[usize]>, seed: Seed) {
        let size = ascent.batch.shape()[1..].iter().product();
        let clean = host(ascent.batch.images.clone());
        let images = clean.chunks(size).zip(&ascent.batch.ids).enumerate();
        let mut paths: Vec<Path> = images
            .map(|(row, (clean, id))| {
                let mut rng = seed.at(id.0).rng();
                let start = random_start(self.norm, clean, self.epsilon, &mut rng);
                Path::new(clean, start, classes.map(|classes| classes[row]))
            })
            .collect();
        for (radius, steps) in phases(self.norm, self.steps) {
            if paths.is_empty() {
                return;
            }
            let rules = Rules { norm: self.norm, epsilon: radius * self.epsilon, steps };
            self.phase(ascent, &mut paths, rules);
        }
    }

    /// Climbs within one radius.
    fn phase(&self, ascent: &mut Ascent, paths: &mut Vec<Path>, rules: Rules) {
        for path in paths.iter_mut() {
            path.begin(&rules);
        }
        self.look(ascent, paths, true);
        let mut checks = checkpoints(rules.norm, rules.steps).into_iter().peekable();
        let mut before = 0;
        for step in 0..rules.steps {
            if paths.is_empty() {
                return;
            }
            paths.par_iter_mut().for_each(|path| path.step(&rules, step == 0));
            // The gradient of the last point is not used by anything.
            self.look(ascent, paths, step + 1 < rules.steps);
            if checks.next_if_eq(&(step + 1)).is_some() {
                for path in paths.iter_mut() {
                    path.check(&rules, step + 1 - before);
                }
                before = step + 1;
            }
        }
    }

    /// Shows the present points to the victim, which judges them; images that are done leave.
    fn look(&self, ascent: &mut Ascent, paths: &mut Vec<Path>, differentiate: bool) {
        let images = ascent.pictures(paths.iter().map(|path| path.current.as_slice()));
        let classes: Option<Vec<usize>> = paths.iter().map(|path| path.class).collect();
        let (goal, labels) = (ascent.goal.clone(), ascent.batch.labels.clone());
        let raised = |logits| match &classes {
            Some(classes) => self.loss.against_label(logits, &labels, classes),
            None => self.loss.of_goal(&goal, logits, &labels),
        };
        for evaluation in 0..self.eot {
            let share = 1.0 / self.eot as f32;
            let logits = if differentiate {
                let (slope, logits) = ascent.slope(images.clone(), raised);
                let size = paths[0].clean.len();
                let found = slope.losses.iter().zip(slope.gradients.chunks(size));
                for (path, (&loss, gradient)) in paths.iter_mut().zip(found) {
                    path.see(evaluation == 0, share, loss, Some(gradient));
                }
                logits
            } else {
                let logits = ascent.logits(images.clone());
                let losses: Vec<f32> = raised(logits.clone()).to_data().iter::<f32>().collect();
                for (path, loss) in paths.iter_mut().zip(losses) {
                    path.see(evaluation == 0, share, loss, None);
                }
                logits
            };
            if evaluation + 1 == self.eot {
                ascent.offer_within(images.clone(), logits, self.norm, self.epsilon);
            }
        }
        paths.iter_mut().for_each(Path::record);
        ascent.drop_reached_from(paths);
    }
}

/// What a step must know.
#[derive(Clone, Copy, Debug)]
struct Rules {
    norm: Norm,
    epsilon: f32,
    steps: usize,
}

/// The radii, in budgets, and the steps within each: in the L1 ball the search begins outside it.
fn phases(norm: Norm, steps: usize) -> Vec<(f32, usize)> {
    if norm != Norm::L1 {
        return vec![(1.0, steps)];
    }
    let part = steps * 3 / 10;
    [(3.0, part), (2.0, part), (1.0, steps - 2 * part)].into_iter().filter(|(_, steps)| *steps > 0).collect()
}

/// After which steps the step sizes are reviewed.
fn checkpoints(norm: Norm, steps: usize) -> Vec<usize> {
    let share = |percent: usize| (percent * steps / 100).max(1);
    let (mut window, shrink, least) = match norm {
        Norm::L1 => (share(4), 0, share(4)),
        Norm::Linf | Norm::L2 => (share(22), share(3), share(6)),
    };
    let (mut checks, mut at) = (Vec::new(), window);
    while at <= steps {
        checks.push(at);
        window = window.saturating_sub(shrink).max(least);
        at += window;
    }
    checks
}

/// A point on the border of the ball, as the reference draws it: the largest change is `epsilon` (L-inf), the
/// direction is Gaussian (L2), or a Gaussian point is projected (L1). Then it is clipped to `[0, 1]`.
pub(super) fn random_start(norm: Norm, clean: &[f32], epsilon: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let drawn: Vec<f32> = match norm {
        Norm::Linf => clean.iter().map(|_| rng.random_range(-1.0_f32..1.0)).collect(),
        Norm::L2 | Norm::L1 => clean.iter().map(|_| gaussian(rng)).collect(),
    };
    let length = distance(norm, &vec![0.0; drawn.len()], &drawn).max(f32::MIN_POSITIVE);
    let factor = if norm == Norm::L1 { 1.0 } else { epsilon / length };
    let mut point: Vec<f32> = clean.iter().zip(&drawn).map(|(clean, drawn)| clean + factor * drawn).collect();
    onto_ball(norm, clean, epsilon, &mut point);
    point
}

/// One image on its way.
#[derive(Clone, Debug)]
struct Path {
    clean: Vec<f32>,
    /// The class to bring above the label; none when the goal itself is climbed.
    class: Option<usize>,
    current: Vec<f32>,
    previous: Vec<f32>,
    best: Vec<f32>,
    gradient: Vec<f32>,
    best_gradient: Vec<f32>,
    /// Loss at the present point, and at the one before.
    loss: f32,
    last_loss: f32,
    best_loss: f32,
    /// The best loss at the last review.
    reviewed_loss: f32,
    /// Steps of the window in which the loss rose.
    rises: usize,
    /// Whether the step size was halved at the last review; true at first, so that a window must pass
    /// before a best loss that stands still counts.
    halved: bool,
    step_size: f32,
    /// L1: share of the values that a step moves, and changed values of the best point at the last review.
    share: f32,
    changed: f32,
}

impl Path {
    fn new(clean: &[f32], start: Vec<f32>, class: Option<usize>) -> Self {
        Self {
            clean: clean.to_vec(),
            class,
            previous: start.clone(),
            best: start.clone(),
            current: start,
            gradient: Vec::new(),
            best_gradient: Vec::new(),
            loss: 0.0,
            last_loss: 0.0,
            best_loss: f32::NEG_INFINITY,
            reviewed_loss: f32::NEG_INFINITY,
            rises: 0,
            halved: true,
            step_size: 0.0,
            share: 0.2,
            changed: 0.0,
        }
    }

    /// Forgets everything but the best point, which is brought into the radius.
    fn begin(&mut self, rules: &Rules) {
        let mut start = std::mem::take(&mut self.best);
        onto_ball(rules.norm, &self.clean, rules.epsilon, &mut start);
        let clean = std::mem::take(&mut self.clean);
        *self = Self::new(&clean, start, self.class);
        self.step_size = if rules.norm == Norm::L1 { rules.epsilon } else { 2.0 * rules.epsilon };
        if rules.norm == Norm::L1 {
            self.changed = changed(&self.clean, &self.current);
            self.share = self.changed / clean.len() as f32 / 1.5;
        }
    }

    /// Takes in an evaluation of the present point.
    fn see(&mut self, first: bool, share: f32, loss: f32, gradient: Option<&[f32]>) {
        if first {
            self.last_loss = self.loss;
            self.loss = 0.0;
            self.gradient = vec![0.0; if gradient.is_some() { self.clean.len() } else { 0 }];
        }
        self.loss += share * loss;
        for (sum, value) in self.gradient.iter_mut().zip(gradient.unwrap_or_default()) {
            *sum += share * value;
        }
    }

    /// Keeps the present point if it is the best.
    fn record(&mut self) {
        let started = self.best_loss == f32::NEG_INFINITY;
        if started {
            self.reviewed_loss = self.loss;
        } else if self.loss > self.last_loss {
            self.rises += 1;
        }
        if started || self.loss > self.best_loss {
            self.best.clone_from(&self.current);
            self.best_gradient.clone_from(&self.gradient);
            // A start without a finite loss is worse than anything.
            self.best_loss = if self.loss.is_nan() { f32::MIN } else { self.loss.max(f32::MIN) };
        }
    }

    fn step(&mut self, rules: &Rules, first: bool) {
        let Rules { norm, epsilon, .. } = *rules;
        let mut next = self.current.clone();
        match norm {
            Norm::Linf => {
                let moves = next.iter_mut().zip(&self.gradient);
                moves.for_each(|(value, slope)| *value += self.step_size * sign(*slope));
            }
            Norm::L2 => {
                let steepest = self.gradient.iter().fold(0.0_f32, |most, slope| most.max(slope.abs()));
                let scale = if steepest > 0.0 { steepest } else { 1.0 };
                let squares = self.gradient.iter().map(|slope| f64::from(slope / scale).powi(2));
                let length = (scale * squares.sum::<f64>().sqrt() as f32).max(f32::MIN_POSITIVE);
                let moves = next.iter_mut().zip(&self.gradient);
                moves.for_each(|(value, slope)| *value += self.step_size * (slope / length));
            }
            Norm::L1 => self.sparse_step(&mut next),
        }
        onto_ball(norm, &self.clean, epsilon, &mut next);
        if norm != Norm::L1 {
            let keep = if first { 1.0 } else { 0.75 };
            for (index, value) in next.iter_mut().enumerate() {
                let (now, before) = (self.current[index], self.previous[index]);
                *value = now + keep * (*value - now) + (1.0 - keep) * (now - before);
            }
            onto_ball(norm, &self.clean, epsilon, &mut next);
        }
        self.previous = std::mem::replace(&mut self.current, next);
    }

    /// Spreads the step over the steepest values.
    fn sparse_step(&self, next: &mut [f32]) {
        let size = self.gradient.len();
        let mut steepness: Vec<f32> = self.gradient.iter().map(|slope| slope.abs()).collect();
        let rank = (((1.0 - self.share) * size as f32).max(0.0) as usize).min(size - 1);
        let least = *steepness.select_nth_unstable_by(rank, f32::total_cmp).1;
        let moved = |slope: &f32| *slope != 0.0 && slope.abs() >= least;
        let count = self.gradient.iter().filter(|slope| moved(slope)).count().max(1);
        let length = self.step_size / count as f32;
        for (value, slope) in next.iter_mut().zip(&self.gradient) {
            if moved(slope) {
                *value += length * slope.signum();
            }
        }
    }

    /// The review after a window of steps.
    fn check(&mut self, rules: &Rules, window: usize) {
        let back = if rules.norm == Norm::L1 { self.review_sparsity(rules) } else { self.review(window) };
        if back {
            self.current.clone_from(&self.best);
            self.gradient.clone_from(&self.best_gradient);
        }
        self.rises = 0;
    }

    fn review(&mut self, window: usize) -> bool {
        let oscillates = self.rises as f32 <= 0.75 * window as f32;
        let stands_still = !self.halved && self.best_loss <= self.reviewed_loss;
        self.halved = oscillates || stands_still;
        self.reviewed_loss = self.best_loss;
        if self.halved {
            self.step_size /= 2.0;
        }
        self.halved
    }

    fn review_sparsity(&mut self, rules: &Rules) -> bool {
        let changed = changed(&self.clean, &self.best);
        let sparser = changed < 0.95 * self.changed;
        self.share = changed / self.clean.len() as f32 / 1.5;
        self.changed = changed;
        self.step_size =
            if sparser { rules.epsilon } else { (self.step_size / 1.5).max(rules.epsilon / 10.0) };
        sparser
    }
}

/// How many values differ.
fn changed(clean: &[f32], point: &[f32]) -> f32 {
    clean.iter().zip(point).filter(|(clean, point)| (*point - *clean).abs() > 1e-7).count() as f32
}

#[cfg(test)]
mod tests;
