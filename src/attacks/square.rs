//! Square attack (Andriushchenko, Croce, Flammarion and Hein, "Square attack: a query-efficient black-box
//! adversarial attack via random search", ECCV 2020), in an L-inf or L2 ball, as `AutoAttack` sets it.
//!
//! It sees logits only. Each query changes one random square of each image, and the change stays if it
//! raises the goal's margin. L-inf: start from vertical stripes of `+-epsilon`; a square gets `+-epsilon` for
//! each channel. L2: start from a grid of bumps on the border of the ball; one window gives its change up to
//! another, which gets a bump of a random sign added to what it has. The share of the picture that a square
//! covers is 0.8 at first and is halved after queries 10, 50, 200, 500, 1000, 2000, 4000, 6000 and 8000,
//! whatever the number of queries.
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

use super::ascent::Ascent;
use super::config::{at_least_one, at_most_one, no_l1, within};
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
    /// How distance is measured: `linf` (default) or `l2`.
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
        no_l1("square", self.norm)?;
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
                for search in &mut searches {
                    search.propose(share);
                }
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
    let side = if norm == Norm::L2 { side.max(3) | 1 } else { side.max(1) };
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
            Norm::L2 => bumps(shape, &mut rng),
            Norm::Linf | Norm::L1 => stripes(shape, epsilon, &mut rng),
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
        if self.norm == Norm::L2 {
            let source = self.window(side);
            self.move_bump(&mut change, window, source);
        } else {
            for channel in 0..self.shape[0] {
                let value = self.epsilon * sign(&mut self.rng);
                window.places(self.shape, channel).for_each(|place| change[place] = value);
            }
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

    /// Clears a window and gives its length, and what the budget leaves, to another.
    fn move_bump(&mut self, change: &mut [f32], window: Window, source: Window) {
        let channels = self.shape[0];
        let squares = |change: &[f32], places: &mut dyn Iterator<Item = usize>| -> f64 {
            places.map(|place| f64::from(change[place]).powi(2)).sum()
        };
        let whole = squares(change, &mut (0..change.len()));
        let spare = (f64::from(self.epsilon).powi(2) - whole).max(0.0) / channels as f64;
        let bump = bump(window.side, self.rng.random());
        for channel in 0..channels {
            let own = squares(change, &mut window.places(self.shape, channel)).sqrt();
            let both = window
                .places(self.shape, channel)
                .chain(source.places(self.shape, channel).filter(|place| !window.holds(self.shape, *place)));
            let length = (spare + squares(change, &mut both.into_iter())).sqrt();
            let sign = sign(&mut self.rng);
            let mut values: Vec<f32> = window
                .places(self.shape, channel)
                .zip(&bump)
                .map(|(place, bump)| sign * bump + change[place] / (own as f32 + 1e-12))
                .collect();
            let norm = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt() + 1e-12;
            for value in &mut values {
                *value *= (length / norm) as f32;
            }
            source.places(self.shape, channel).for_each(|place| change[place] = 0.0);
            window.places(self.shape, channel).zip(values).for_each(|(place, value)| change[place] = value);
        }
    }
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
fn bumps(shape: [usize; 3], rng: &mut ChaCha8Rng) -> Vec<f32> {
    let [channels, height, width] = shape;
    let side = (height / 5).max(1);
    let mut change = vec![0.0; channels * height * width];
    let first = (height - (side * 5).min(height)) / 2;
    for top in (first..=height - side).step_by(side) {
        for left in
            (first.min(width.saturating_sub(side))..).step_by(side).take_while(|left| left + side <= width)
        {
            let bump = bump(side, rng.random());
            for channel in 0..channels {
                let sign = sign(rng);
                let places = Window { top, left, side }.places(shape, channel);
                places.zip(&bump).for_each(|(place, bump)| change[place] += sign * bump);
            }
        }
    }
    change
}

/// A bump and its negative side by side (or one above the other), of Euclidean length 1.
fn bump(side: usize, turned: bool) -> Vec<f32> {
    let upper = side / 2;
    let mut values = half_bump(upper, side);
    values.extend(half_bump(side - upper, side).into_iter().map(|value| -value));
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    for value in &mut values {
        *value /= length;
    }
    if !turned {
        return values;
    }
    (0..side * side).map(|place| values[place % side * side + place / side]).collect()
}

/// Rectangles around the middle, each one larger than the one before and weaker by `1 / n^2`.
fn half_bump(height: usize, width: usize) -> Vec<f32> {
    let (middle_y, middle_x) = (height / 2 + 1, width / 2 + 1);
    let mut values = vec![0.0_f32; height * width];
    for ring in 0..middle_y.max(middle_x) {
        let weight = 1.0 / ((ring + 1) * (ring + 1)) as f32;
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
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    for value in &mut values {
        *value /= length;
    }
    values
}

#[cfg(test)]
mod tests;
