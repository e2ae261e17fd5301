//! Square attack (Andriushchenko, Croce, Flammarion and Hein, "Square attack: a query-efficient black-box
//! adversarial attack via random search", ECCV 2020), in an L-inf or L2 ball, and its form for L1 (Croce and
//! Hein, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers", ICML 2021), as
//! `AutoAttack` sets it.
//!
//! It sees logits only. Each query changes one random square of each image, and the change stays if it
//! raises the goal's margin. L-inf: start from vertical stripes of `+-epsilon`; a square gets `+-epsilon` for
//! each channel. L2: start from a grid of bumps on the border of the ball; one window gives its change up to
//! another, which gets a bump of a random sign added to what it has. L1 is as L2 with lengths in L1, bumps
//! that fall off with the fourth power instead of the second, and the exact projection on the ball within
//! the range of pixels (see `projection`) instead of scaling and clipping. The window gets `C` times the
//! length that the two of its channel have, because the projection takes away again what is too long. The
//! share of the picture that a square covers is 0.8 at first and is halved after queries 10, 50, 200, 500,
//! 1000, 2000, 4000, 6000 and 8000, whatever the number of queries.
//!
//! Differences from the reference implementation, on purpose:
//! - Every image has its own squares and signs, from its own key. The reference draws one square for the whole
//!   L-inf batch, so its results depend on the batch.
//! - The last row and column can hold a square; the reference never starts one there.
//! - L2: the length that a window has is measured in each channel, as in the paper; the reference measures
//!   it over all channels and lets the final scaling hide it.
//! - With a target the margin is that of the target, and success is that the prediction is the target.

use burn::tensor::Tensor;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::iter::{IntoParallelRefMutIterator, ParallelIterator};

use super::ascent::Ascent;
use super::config::{at_least_one, at_most_one, within};
use super::loss::Loss;
use super::projection::onto_ball;
use super::threat::host;
use super::{Attack, AttackConfigError, Goal, Magnitude, Norm, ThreatModel};
use crate::Seed;
use crate::data::Batch;
use crate::models::Victim;

/// After how many queries the share of a square is halved.
const HALVINGS: [usize; 9] = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000];

/// Which ball, and how long to search it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SquareConfig {
    /// How distance is measured: `linf` (default), `l2` or `l1`.
    pub norm: Norm,
    /// Radius of the ball in units of pixels in `[0, 1]`; 8/255 by default. At most 1 for L-inf.
    pub epsilon: Magnitude,
    /// Pictures shown to the classifier after the first, at least 1; 5000 by default.
    pub queries: usize,
    /// Share of the picture that the first squares cover, in `[0, 1]`; 0.8 by default.
    pub share: f32,
    /// Whether to leave an image alone once its goal is reached; on by default.
    pub early_stop: bool,
}

impl Default for SquareConfig {
    fn default() -> Self {
        Self { norm: Norm::Linf, epsilon: Magnitude::levels(8), queries: 5000, share: 0.8, early_stop: true }
    }
}

impl SquareConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first value that cannot be meant, such as an L-inf epsilon of 8.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        if self.norm == Norm::Linf {
            at_most_one("epsilon", &self.epsilon)?;
        }
        within("share", self.share, 0.0..=1.0)?;
        at_least_one("queries", self.queries)
    }

    /// The attack.
    ///
    /// # Errors
    /// The same as [`SquareConfig::validate`].
    pub fn build(&self) -> Result<Square, AttackConfigError> {
        self.validate()?;
        Ok(Square { config: self.clone(), epsilon: self.epsilon.value() })
    }
}

/// The square attack, made by [`SquareConfig::build`].
#[derive(Clone, Debug)]
pub struct Square {
    config: SquareConfig,
    epsilon: f32,
}

impl Attack for Square {
    fn name(&self) -> &'static str {
        "square"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        let seed = seed.purpose("square");
        Ascent::run(victim, batch, goal, self.config.early_stop, |ascent| {
            let shape = ascent.batch.shape();
            let size = shape[1..].iter().product();
            let clean = host(ascent.batch.images.clone());
            let mut searches: Vec<Search> = clean
                .chunks(size)
                .zip(&ascent.batch.ids)
                .map(|(clean, id)| {
                    let shape = [shape[1], shape[2], shape[3]];
                    Search::new(self.config.norm, self.epsilon, shape, clean, seed.at(id.0).rng())
                })
                .collect();
            Self::look(ascent, &mut searches);
            for query in 0..self.config.queries {
                if searches.is_empty() {
                    return;
                }
                let share = share(self.config.share, query);
                searches.par_iter_mut().for_each(|search| search.propose(share));
                Self::look(ascent, &mut searches);
            }
        })
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        ThreatModel::Ball { norm: self.config.norm, epsilon: self.epsilon }.contains(clean, adversarial)
    }
}

impl Square {
    /// Shows what is proposed to the victim; images that are done leave.
    fn look(ascent: &mut Ascent, searches: &mut Vec<Search>) {
        let images = ascent.pictures(searches.iter().map(|search| search.proposed.as_slice()));
        let logits = ascent.logits(images.clone());
        let margins = Loss::Margin.of_goal(&ascent.goal, logits.clone(), &ascent.batch.labels).to_data();
        for (search, margin) in searches.iter_mut().zip(margins.iter::<f32>()) {
            search.judge(margin);
        }
        ascent.offer(images, logits);
        ascent.drop_reached_from(searches);
    }
}

/// The share of the picture that a square covers.
fn share(first: f32, query: usize) -> f32 {
    let halvings = HALVINGS.iter().filter(|&&after| query > after).count();
    first / 2.0_f32.powi(halvings as i32)
}

/// The side of a square that covers a share of the picture.
fn side(norm: Norm, share: f32, [_, height, width]: [usize; 3]) -> usize {
    let side = (share * (height * width) as f32).sqrt().round() as usize;
    let side = if norm == Norm::Linf { side.max(1) } else { side.max(3) | 1 };
    side.min(height).min(width)
}

/// One image on its way.
struct Search {
    norm: Norm,
    epsilon: f32,
    /// `[C, H, W]`.
    shape: [usize; 3],
    clean: Vec<f32>,
    best: Vec<f32>,
    best_margin: f32,
    proposed: Vec<f32>,
    rng: ChaCha8Rng,
}

/// A square window by its first row and column and its side.
#[derive(Clone, Copy, Debug)]
struct Window {
    top: usize,
    left: usize,
    side: usize,
}

impl Search {
    /// Proposes the first picture.
    fn new(norm: Norm, epsilon: f32, shape: [usize; 3], clean: &[f32], mut rng: ChaCha8Rng) -> Self {
        let change = match norm {
            Norm::L2 | Norm::L1 => bumps(norm, shape, &mut rng),
            Norm::Linf => stripes(shape, epsilon, &mut rng),
        };
        let mut search = Self {
            norm,
            epsilon,
            shape,
            clean: clean.to_vec(),
            best: clean.to_vec(),
            best_margin: f32::NEG_INFINITY,
            proposed: Vec::new(),
            rng,
        };
        search.proposed = search.picture(change);
        search
    }

    /// The picture with a change, which for L2 is first scaled to the length of the budget.
    fn picture(&self, mut change: Vec<f32>) -> Vec<f32> {
        if self.norm == Norm::L2 {
            let length = change.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            let factor = self.epsilon / (length as f32).max(1e-12);
            for value in &mut change {
                *value *= factor;
            }
        }
        let mut picture: Vec<f32> =
            self.clean.iter().zip(change).map(|(clean, change)| clean + change).collect();
        onto_ball(self.norm, &self.clean, self.epsilon, &mut picture);
        picture
    }

    fn judge(&mut self, margin: f32) {
        if margin > self.best_margin {
            self.best_margin = margin;
            std::mem::swap(&mut self.best, &mut self.proposed);
        }
    }

    fn propose(&mut self, share: f32) {
        let side = side(self.norm, share, self.shape);
        let mut change: Vec<f32> =
            self.best.iter().zip(&self.clean).map(|(best, clean)| best - clean).collect();
        let window = self.window(side);
        if self.norm == Norm::Linf {
            for channel in 0..self.shape[0] {
                let value = self.epsilon * sign(&mut self.rng);
                window.places(self.shape, channel).for_each(|place| change[place] = value);
            }
        } else {
            let source = self.window(side);
            let bump = bump(self.norm, side, self.rng.random());
            let signs: Vec<f32> = (0..self.shape[0]).map(|_| sign(&mut self.rng)).collect();
            self.move_bump(&mut change, window, source, &bump, &signs);
        }
        self.proposed = self.picture(change);
    }

    fn window(&mut self, side: usize) -> Window {
        let [_, height, width] = self.shape;
        Window {
            top: self.rng.random_range(0..=height - side),
            left: self.rng.random_range(0..=width - side),
            side,
        }
    }

    /// Clears the source and gives its length, and what the budget leaves, to a window, as a bump with a sign
    /// for each channel on top of what the window has.
    fn move_bump(&self, change: &mut [f32], window: Window, source: Window, bump: &[f32], signs: &[f32]) {
        let Self { norm, shape, .. } = *self;
        let sum = |change: &[f32], places: &mut dyn Iterator<Item = usize>| -> f64 {
            places.map(|place| power(norm, change[place])).sum()
        };
        let whole = sum(change, &mut (0..change.len()));
        let spare = (power(norm, self.epsilon) - whole).max(0.0) / shape[0] as f64;
        let upscale = if norm == Norm::L1 { shape[0] as f64 } else { 1.0 };
        for (channel, sign) in signs.iter().enumerate() {
            let own = root(norm, sum(change, &mut window.places(shape, channel)));
            let both = window
                .places(shape, channel)
                .chain(source.places(shape, channel).filter(|place| !window.holds(shape, *place)));
            let length = upscale * root(norm, spare + sum(change, &mut both.into_iter()));
            let mut values: Vec<f32> = window
                .places(shape, channel)
                .zip(bump)
                .map(|(place, bump)| sign * bump + change[place] / (own as f32 + 1e-12))
                .collect();
            let found = root(norm, values.iter().map(|value| power(norm, *value)).sum()) + 1e-12;
            for value in &mut values {
                *value *= (length / found) as f32;
            }
            source.places(shape, channel).for_each(|place| change[place] = 0.0);
            window.places(shape, channel).zip(values).for_each(|(place, value)| change[place] = value);
        }
    }
}

/// What is added up for the length of a change in L2 or L1.
fn power(norm: Norm, value: f32) -> f64 {
    let size = f64::from(value.abs());
    if norm == Norm::L2 { size * size } else { size }
}

/// The length whose summed powers are given.
fn root(norm: Norm, sum: f64) -> f64 {
    if norm == Norm::L2 { sum.sqrt() } else { sum }
}

impl Window {
    /// Its places in one channel of a picture, row by row.
    fn places(self, [_, height, width]: [usize; 3], channel: usize) -> impl Iterator<Item = usize> {
        let rows = self.top..self.top + self.side;
        rows.flat_map(move |y| {
            (self.left..self.left + self.side).map(move |x| (channel * height + y) * width + x)
        })
    }

    fn holds(self, [_, height, width]: [usize; 3], place: usize) -> bool {
        let (y, x) = (place / width % height, place % width);
        (self.top..self.top + self.side).contains(&y) && (self.left..self.left + self.side).contains(&x)
    }
}

/// -1 or 1.
fn sign(rng: &mut ChaCha8Rng) -> f32 {
    if rng.random() { 1.0 } else { -1.0 }
}

/// A sign for each column of each channel.
fn stripes([channels, height, width]: [usize; 3], epsilon: f32, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..channels)
        .flat_map(|_| {
            let row: Vec<f32> = (0..width).map(|_| epsilon * sign(rng)).collect();
            row.repeat(height)
        })
        .collect()
}

/// A grid of bumps of a fifth of the picture's height, with a sign for each channel.
fn bumps(norm: Norm, shape: [usize; 3], rng: &mut ChaCha8Rng) -> Vec<f32> {
    let [channels, height, width] = shape;
    let side = (height / 5).max(1);
    let mut change = vec![0.0; channels * height * width];
    let first = (height - (side * 5).min(height)) / 2;
    for top in (first..=height - side).step_by(side) {
        for left in
            (first.min(width.saturating_sub(side))..).step_by(side).take_while(|left| left + side <= width)
        {
            let bump = bump(norm, side, rng.random());
            for channel in 0..channels {
                let sign = sign(rng);
                let places = Window { top, left, side }.places(shape, channel);
                places.zip(&bump).for_each(|(place, bump)| change[place] += sign * bump);
            }
        }
    }
    change
}

/// A bump and its negative side by side (or one above the other), of length 1.
fn bump(norm: Norm, side: usize, turned: bool) -> Vec<f32> {
    let upper = side / 2;
    let mut values = half_bump(norm, upper, side);
    values.extend(half_bump(norm, side - upper, side).into_iter().map(|value| -value));
    to_length_one(norm, &mut values);
    if !turned {
        return values;
    }
    (0..side * side).map(|place| values[place % side * side + place / side]).collect()
}

/// Rectangles around the middle, each one larger than the one before and weaker by `1 / n^2` (L2) or
/// `1 / n^4` (L1).
fn half_bump(norm: Norm, height: usize, width: usize) -> Vec<f32> {
    let (middle_y, middle_x) = (height / 2 + 1, width / 2 + 1);
    let fall = if norm == Norm::L2 { 2 } else { 4 };
    let mut values = vec![0.0_f32; height * width];
    for ring in 0..middle_y.max(middle_x) {
        let weight = 1.0 / ((ring + 1) as f32).powi(fall);
        let span = |middle: usize, end: usize| {
            let first = (middle - 1).cast_signed() - ring.cast_signed();
            let last = (first + 2 * ring.cast_signed() + 1).clamp(0, end.cast_signed());
            first.max(0).cast_unsigned()..last.cast_unsigned()
        };
        for y in span(middle_y, height) {
            for x in span(middle_x, width) {
                values[y * width + x] += weight;
            }
        }
    }
    to_length_one(norm, &mut values);
    values
}

/// Scales a change that is not zero to the length 1.
fn to_length_one(norm: Norm, values: &mut [f32]) {
    let length = root(norm, values.iter().map(|value| power(norm, *value)).sum()) as f32;
    for value in values {
        *value /= length.max(f32::MIN_POSITIVE);
    }
}

#[cfg(test)]
mod tests;
