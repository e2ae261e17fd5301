//! Every attack against a linear classifier of two classes, where the best one has a closed form.
//!
//! With the margin `m(x) = w . x`, `w` the other class's weights minus the label's, no picture has a higher
//! margin than
//! - L-inf: `clip(x + epsilon * sign(w))`, coordinate by coordinate;
//! - L2, where nothing is clipped: `x + epsilon * w / |w|`;
//! - L1, within the range of pixels: the values of the largest `|w|` are moved as far as they go, until the
//!   budget is spent;
//! - a region: 1 where `w > 0` and 0 where `w < 0`, inside it.
//!
//! Both goals are to raise the margin, and the cross-entropies are monotone in it.

use super::fixtures::{LinearModel, SHAPE, SIDE, SIZE, batch, values};
use super::threat::ThreatModel;
use super::*;
use crate::models::Victim;
use burn::tensor::Device;

const COUNT: usize = 8;

/// For each image the weights of the margin and the clean picture.
struct Problem {
    model: LinearModel,
    batch: Batch,
}

impl Problem {
    /// Pixels stay away from 0 and 1, so that a small L2 ball is not clipped.
    fn new() -> Self {
        Self { model: LinearModel::new(2, 1), batch: batch(COUNT, 2, 0.2) }
    }

    /// `w` of an image.
    fn weights(&self, image: usize) -> Vec<f32> {
        let label = self.batch.labels[image];
        self.model.weights().chunks(2).map(|pair| pair[1 - label] - pair[label]).collect()
    }

    fn clean(&self, image: usize) -> Vec<f32> {
        values(self.batch.images.clone())[image * SIZE..][..SIZE].to_vec()
    }

    fn margin(&self, image: usize, picture: &[f32]) -> f32 {
        self.weights(image).iter().zip(picture).map(|(w, x)| w * x).sum()
    }

    /// The largest margin that a threat model allows.
    fn optimum(&self, image: usize, threat: &ThreatModel) -> f32 {
        let (weights, clean) = (self.weights(image), self.clean(image));
        let pairs = weights.iter().zip(&clean);
        let picture: Vec<f32> = match threat {
            ThreatModel::Ball { norm: Norm::Linf, epsilon } => {
                pairs.map(|(w, x)| (x + epsilon * w.signum()).clamp(0.0, 1.0)).collect()
            }
            ThreatModel::Ball { norm: Norm::L2, epsilon } => {
                let length = weights.iter().map(|w| w * w).sum::<f32>().sqrt();
                pairs.map(|(w, x)| x + epsilon * w / length).collect()
            }
            ThreatModel::Ball { norm: Norm::L1, epsilon } => spend(&weights, &clean, *epsilon),
            ThreatModel::Balls { .. } => panic!("the table has no attack on a batch with radii of its own"),
            ThreatModel::Region { mask } => {
                let mask = values(mask.clone());
                let fill = |index: usize, (w, x): (&f32, &f32)| {
                    if mask[index % (SIDE * SIDE)] > 0.5 { f32::from(*w > 0.0) } else { *x }
                };
                pairs.enumerate().map(|(index, pair)| fill(index, pair)).collect()
            }
        };
        self.margin(image, &picture)
    }

    /// The largest margin over all rectangles.
    fn best_rectangle(&self, image: usize, height: usize, width: usize) -> f32 {
        let corners = (0..=SIDE - height).flat_map(|top| (0..=SIDE - width).map(move |left| (top, left)));
        corners
            .map(|(top, left)| {
                let mask: Vec<f32> = (0..SIDE * SIDE)
                    .map(|index| (index / SIDE, index % SIDE))
                    .map(|(y, x)| {
                        f32::from((top..top + height).contains(&y) && (left..left + width).contains(&x))
                    })
                    .collect();
                let data = burn::tensor::TensorData::new(mask, [1, 1, SIDE, SIDE]);
                let mask = Tensor::from_data(data, &Device::default());
                self.optimum(image, &ThreatModel::Region { mask })
            })
            .fold(f32::NEG_INFINITY, f32::max)
    }

    /// Asserts that an attack gains at least a share of what the optimum gains over the clean margin, for
    /// both goals, and therefore succeeds where that share is enough.
    fn assert_gains(&self, attack: &dyn Attack, share: f32, optimum: impl Fn(usize) -> f32) {
        let targets = self.batch.labels.iter().map(|label| 1 - label).collect();
        for goal in [Goal::Untargeted, Goal::Targeted(targets)] {
            let victim = Victim::new(&self.model);
            let found = values(attack.perturb(&victim, &self.batch, &goal, Seed::new(0)));
            for (image, picture) in found.chunks(SIZE).enumerate() {
                let (clean, best) = (self.margin(image, &self.clean(image)), optimum(image));
                let gained = self.margin(image, picture) - clean;
                assert!(gained <= (best - clean) * 1.001 + 1e-4, "{}: above the optimum", attack.name());
                assert!(
                    gained >= share * (best - clean) - 1e-5,
                    "{} {goal:?}, image {image}: gained {gained} of {}",
                    attack.name(),
                    best - clean
                );
            }
        }
    }

    /// Asserts that an attack which stops early has success wherever that share of the optimum's gain
    /// suffices, and that there are such images.
    fn assert_succeeds(&self, attack: &dyn Attack, share: f32, optimum: impl Fn(usize) -> f32) {
        let victim = Victim::new(&self.model);
        let found = values(attack.perturb(&victim, &self.batch, &Goal::Untargeted, Seed::new(0)));
        let mut reachable = 0;
        for (image, picture) in found.chunks(SIZE).enumerate() {
            let clean = self.margin(image, &self.clean(image));
            if clean + share * (optimum(image) - clean) > 1e-4 {
                reachable += 1;
                assert!(self.margin(image, picture) > 0.0, "{} misses image {image}", attack.name());
            }
        }
        assert!(reachable >= COUNT / 2, "the test should be about something: {reachable}");
    }
}

/// The clean picture after its most important values have moved as far as an L1 budget lets them.
fn spend(weights: &[f32], clean: &[f32], budget: f32) -> Vec<f32> {
    let mut order: Vec<usize> = (0..SIZE).collect();
    order.sort_by(|&a, &b| weights[b].abs().total_cmp(&weights[a].abs()));
    let (mut picture, mut left) = (clean.to_vec(), budget);
    for index in order {
        let end = f32::from(weights[index] > 0.0);
        let change = (end - clean[index]).abs().min(left);
        picture[index] += change * weights[index].signum();
        left -= change;
    }
    picture
}

fn pgd(norm: Norm, epsilon: &str, early_stop: bool) -> Pgd {
    let epsilon = epsilon.parse().expect("a magnitude");
    PgdConfig { norm, epsilon, early_stop, ..PgdConfig::default() }.build().expect("valid")
}

fn radius(epsilon: &str) -> f32 {
    epsilon.parse::<Magnitude>().expect("a magnitude").value()
}

#[test]
fn pgd_in_the_linf_ball_reaches_the_optimum() {
    let problem = Problem::new();
    for epsilon in ["0.01", "8/255", "0.5"] {
        let ball = ThreatModel::Ball { norm: Norm::Linf, epsilon: radius(epsilon) };
        problem.assert_gains(&pgd(Norm::Linf, epsilon, false), 0.999, |image| problem.optimum(image, &ball));
    }
    let ball = ThreatModel::Ball { norm: Norm::Linf, epsilon: 0.5 };
    problem.assert_succeeds(&pgd(Norm::Linf, "0.5", true), 0.999, |image| problem.optimum(image, &ball));
}

#[test]
fn pgd_in_the_l2_ball_reaches_the_optimum() {
    let problem = Problem::new();
    for epsilon in ["0.1", "1.0", "2.5"] {
        let ball = ThreatModel::Ball { norm: Norm::L2, epsilon: radius(epsilon) };
        problem.assert_gains(&pgd(Norm::L2, epsilon, false), 0.97, |image| problem.optimum(image, &ball));
    }
    let ball = ThreatModel::Ball { norm: Norm::L2, epsilon: 2.5 };
    problem.assert_succeeds(&pgd(Norm::L2, "2.5", true), 0.97, |image| problem.optimum(image, &ball));
}

#[test]
fn one_step_reaches_the_optimum() {
    let problem = Problem::new();
    for (norm, epsilon) in [(Norm::Linf, "8/255"), (Norm::L2, "1.0")] {
        let ball = ThreatModel::Ball { norm, epsilon: radius(epsilon) };
        let epsilon: Magnitude = epsilon.parse().expect("a magnitude");
        let fgsm = FgsmConfig { norm, epsilon: epsilon.clone(), early_stop: false, ..FgsmConfig::default() };
        let fgsm = fgsm.build().expect("valid");
        problem.assert_gains(&fgsm, 0.999, |image| problem.optimum(image, &ball));
        let momentum = MomentumConfig { norm, epsilon, early_stop: false, ..MomentumConfig::default() };
        let momentum = momentum.build().expect("valid");
        problem.assert_gains(&momentum, 0.999, |image| problem.optimum(image, &ball));
    }
}

#[test]
fn auto_pgd_reaches_the_optimum() {
    let problem = Problem::new();
    // Half of the sparse steps that are needed to spend the larger budget go along values of less weight.
    for (norm, epsilon, share) in [
        (Norm::Linf, "8/255", 0.999),
        (Norm::Linf, "0.5", 0.999),
        (Norm::L2, "1.0", 0.999),
        (Norm::L1, "2", 0.95),
        (Norm::L1, "40", 0.95),
    ] {
        let ball = ThreatModel::Ball { norm, epsilon: radius(epsilon) };
        let epsilon: Magnitude = epsilon.parse().expect("a magnitude");
        for loss in [Loss::Ce, Loss::Dlr] {
            let config = ApgdConfig {
                norm,
                epsilon: epsilon.clone(),
                loss,
                early_stop: false,
                ..ApgdConfig::default()
            };
            let attack = config.build().expect("valid");
            problem.assert_gains(&attack, share, |image| problem.optimum(image, &ball));
        }
        let config = ApgdTConfig { norm, epsilon, early_stop: false, ..ApgdTConfig::default() };
        let attack = config.build().expect("valid");
        problem.assert_gains(&attack, share, |image| problem.optimum(image, &ball));
    }
}

#[test]
fn random_search_reaches_a_part_of_the_optimum() {
    let problem = Problem::new();
    // The weights are white noise, where squares are of little help: 2000 queries for 768 values.
    for (norm, epsilon, share) in [(Norm::Linf, "8/255", 0.45), (Norm::L2, "1.0", 0.1), (Norm::L1, "12", 0.4)]
    {
        let ball = ThreatModel::Ball { norm, epsilon: radius(epsilon) };
        let epsilon = epsilon.parse().expect("a magnitude");
        let config =
            SquareConfig { norm, epsilon, queries: 2000, early_stop: false, ..SquareConfig::default() };
        let attack = config.build().expect("valid");
        problem.assert_gains(&attack, share, |image| problem.optimum(image, &ball));
    }
}

#[test]
fn boundary_and_combined_attacks_succeed_wherever_the_optimum_does() {
    let problem = Problem::new();
    for (norm, epsilon) in [(Norm::Linf, "0.1"), (Norm::L2, "2.5"), (Norm::L1, "40")] {
        let ball = ThreatModel::Ball { norm, epsilon: radius(epsilon) };
        let epsilon: Magnitude = epsilon.parse().expect("a magnitude");
        // A step of FAB goes 5 % beyond the boundary, so it takes a little more than the optimum.
        for nearest in [false, true] {
            let config = FabConfig { norm, epsilon: epsilon.clone(), nearest, ..FabConfig::default() };
            let fab = config.build().expect("valid");
            problem.assert_succeeds(&fab, 0.94, |image| problem.optimum(image, &ball));
        }
        for version in [Version::Standard, Version::Plus] {
            let epsilon = epsilon.clone();
            let config =
                AutoAttackConfig { version, norm, epsilon, queries: 100, ..AutoAttackConfig::default() };
            let attack = config.build().expect("valid");
            problem.assert_succeeds(&attack, 0.99, |image| problem.optimum(image, &ball));
        }
    }
}

#[test]
fn eyeglasses_reach_nine_tenths_of_the_optimum() {
    let problem = Problem::new();
    // A step is in proportion to the gradient, so the least important values are still on their way.
    let attack =
        |early_stop| EyeglassConfig { early_stop, ..EyeglassConfig::default() }.build(SHAPE).expect("valid");
    let region = attack(false).threat_model(&Device::default());
    problem.assert_gains(&attack(false), 0.9, |image| problem.optimum(image, &region));
    problem.assert_succeeds(&attack(true), 0.9, |image| problem.optimum(image, &region));
}

#[test]
fn worn_eyeglasses_reach_the_same_optimum_unless_they_move() {
    let problem = Problem::new();
    let still = MotionConfig { shift: 0.0, rotation: 0.0, draws: 2 };
    let attack = |print, motion| {
        let config = EyeglassConfig { print, motion, early_stop: false, ..EyeglassConfig::default() };
        config.build(SHAPE).expect("valid")
    };
    let region = attack(None, None).threat_model(&Device::default());
    problem.assert_gains(&attack(Some(PrintConfig::default()), None), 0.9, |image| {
        problem.optimum(image, &region)
    });
    problem.assert_gains(&attack(None, Some(still)), 0.9, |image| problem.optimum(image, &region));
}

#[test]
fn a_face_mask_reaches_the_best_colours_of_its_grid() {
    let problem = Problem::new();
    for early_stop in [false, true] {
        let attack = FaceMaskConfig { early_stop, ..FaceMaskConfig::default() }.build(SHAPE).expect("valid");
        // The margin is linear in the grid as well: each colour is at one of its ends.
        let optimum = |image: usize| {
            let slopes = attack.warp().pull_back(&problem.weights(image), SHAPE[0], 8 * 16);
            let grid: Vec<f32> = slopes.into_iter().map(|slope| f32::from(slope > 0.0)).collect();
            let mut picture = problem.clean(image);
            attack.warp().paint(&grid, &mut picture, SHAPE[0]);
            problem.margin(image, &picture)
        };
        if early_stop {
            problem.assert_succeeds(&attack, 0.99, optimum);
        } else {
            problem.assert_gains(&attack, 0.99, optimum);
        }
    }
}

#[test]
fn a_texture_of_a_person_reaches_the_optimum_on_pictures_that_it_never_saw() {
    let problem = Problem::new();
    let config = EyeglassConfig {
        person: Some(PersonConfig::default()),
        early_stop: false,
        ..EyeglassConfig::default()
    };
    let mut taught = config.build_taught(SHAPE).expect("valid").expect("it learns");
    let lessons = batch(2 * COUNT, 2, 0.1).select(&(COUNT..2 * COUNT).collect::<Vec<_>>());
    let load = |rows: &[usize]| Ok(lessons.select(rows));
    let school = School { labels: &lessons.labels, ids: &lessons.ids, load: &load };
    let keys = taught.keys(2, &[None, Some(0), Some(1)]);
    assert_eq!(keys.len(), 4, "nobody aims at themselves");
    for key in keys {
        let pictures = taught.learn(key, &Victim::new(&problem.model), school, Seed::new(0));
        assert_eq!(pictures.expect("there are pictures"), COUNT / 2);
    }
    // The best colours are the same for all pictures of a label, because the margin is linear.
    let plain = EyeglassConfig::default().build(SHAPE).expect("valid");
    let region = plain.threat_model(&Device::default());
    problem.assert_gains(&taught, 0.9, |image| problem.optimum(image, &region));
}

#[test]
fn a_rectangle_reaches_two_thirds_of_the_best_one() {
    let problem = Problem::new();
    let searches = [
        Search::Exhaustive,
        Search::CoarseToFine { spacing: 2, best: 2 },
        Search::Gradient { candidates: 6 },
    ];
    for search in searches {
        // The place is the best one for grey, which need not be the best one for all contents.
        let attack = |early_stop| {
            let config =
                RoaConfig { height: 8, width: 6, stride: 1, search, early_stop, ..RoaConfig::default() };
            config.build(SHAPE).expect("valid")
        };
        problem.assert_gains(&attack(false), 0.67, |image| problem.best_rectangle(image, 8, 6));
        problem.assert_succeeds(&attack(true), 0.67, |image| problem.best_rectangle(image, 8, 6));
    }
}
