//! The rectangular occlusion attack (Wu, Tong and Vorobeychik, "Defending against physically realizable
//! attacks on image classification", ICLR 2020).
//!
//! One rectangle of a fixed size, anywhere in the picture, holds any pixels. First the place: where a
//! grey rectangle raises the goal loss most, among all places (exhaustive) or among those with the largest
//! sum of squared gradients. Then the contents: starting from grey, `x <- clip(x + step * sign(g))` inside.
//! The published search leaves out the last row and column of places; here they are always in.

mod place;

use burn::tensor::{Int, Tensor};

use super::ascent::{Ascent, Iterate};
use super::config::{at_least_one, at_most_one, positive};
use super::steps::signed_inside;
use super::threat::{host, is_changed, is_pixel};
use super::{Attack, AttackConfigError, Goal, Magnitude};
use crate::Seed;
use crate::data::{Batch, ImageId};
use crate::models::Victim;

/// The size of the rectangle, and how to search.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoaConfig {
    /// Height of the rectangle in pixels; 20 by default, for faces of 64x64.
    pub height: usize,
    /// Width of the rectangle in pixels; 20 by default.
    pub width: usize,
    /// Distance between neighbouring places in pixels; 4 by default. The last place is always among
    /// them.
    pub stride: usize,
    /// How the place is found; by the gradient with 6 candidates by default.
    pub search: Search,
    /// One place for all pictures, as of a sticker. `stride` and `search` have no meaning then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Gradient steps on the contents, at least 1; 10 by default.
    pub steps: usize,
    /// Length of a step in units of pixels in `[0, 1]`; 24/255 by default.
    pub step_size: Magnitude,
    /// Whether to leave an image alone once its goal is reached; on by default. Off for training.
    pub early_stop: bool,
}

/// How the place of the rectangle is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Search {
    /// Try grey at every place: one forward pass each.
    Exhaustive,
    /// Try grey at some places, and then at all places near the best of them. How rarely that misses the place of the
    /// exhaustive search, and what it costs, is measured in `docs/attacks.md`.
    CoarseToFine {
        /// Every how many places, in both directions, one is tried first; at least 1. With a stride of 2 and a spacing of 3
        /// these are 6 pixels from each other.
        #[serde(default = "three")]
        spacing: usize,
        /// Around how many of the best ones all are tried, at least 1.
        #[serde(default = "two")]
        best: usize,
    },
    /// Try grey at the places with the largest sum of squared gradients.
    Gradient {
        /// How many of them, at least 1.
        candidates: usize,
    },
}

/// Where a sticker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Row of its upper edge, from 0.
    pub top: usize,
    /// Column of its left edge, from 0.
    pub left: usize,
}

impl Default for RoaConfig {
    fn default() -> Self {
        Self {
            height: 20,
            width: 20,
            stride: 4,
            search: Search::Gradient { candidates: 6 },
            place: None,
            steps: 10,
            step_size: Magnitude::levels(24),
            early_stop: true,
        }
    }
}

fn three() -> usize {
    3
}

fn two() -> usize {
    2
}

impl RoaConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first value that cannot be meant, such as a stride of 0.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        at_least_one("height", self.height)?;
        at_least_one("width", self.width)?;
        at_least_one("stride", self.stride)?;
        match self.search {
            Search::Exhaustive => {}
            Search::CoarseToFine { spacing, best } => {
                at_least_one("search.coarse-to-fine.spacing", spacing)?;
                at_least_one("search.coarse-to-fine.best", best)?;
            }
            Search::Gradient { candidates } => at_least_one("search.gradient.candidates", candidates)?,
        }
        at_least_one("steps", self.steps)?;
        positive("step_size", &self.step_size)?;
        at_most_one("step_size", &self.step_size)
    }

    /// The attack on pictures of this shape, `[C, H, W]`.
    ///
    /// # Errors
    /// As for [`RoaConfig::validate`], and when the rectangle is larger than the picture.
    pub fn build(&self, [_, height, width]: [usize; 3]) -> Result<Roa, AttackConfigError> {
        self.validate()?;
        fits("height", self.height, height)?;
        fits("width", self.width, width)?;
        if let Some(Place { top, left }) = self.place {
            inside("place.top", top, height - self.height)?;
            inside("place.left", left, width - self.width)?;
            return Ok(Roa {
                config: self.clone(),
                picture: [height, width],
                tops: vec![top],
                lefts: vec![left],
            });
        }
        Ok(Roa {
            config: self.clone(),
            picture: [height, width],
            tops: offsets(height, self.height, self.stride),
            lefts: offsets(width, self.width, self.stride),
        })
    }
}

/// Refuses a side of the rectangle that is longer than the picture's.
fn fits(key: &'static str, side: usize, available: usize) -> Result<(), AttackConfigError> {
    if side <= available {
        return Ok(());
    }
    Err(AttackConfigError::Value {
        key,
        found: side.to_string(),
        expected: format!("at most {available}, the {key} of the model's pictures"),
        advice: "choose a smaller rectangle".to_owned(),
    })
}

/// Refuses a place from which the rectangle would reach out of the picture.
fn inside(key: &'static str, place: usize, last: usize) -> Result<(), AttackConfigError> {
    if place <= last {
        return Ok(());
    }
    Err(AttackConfigError::Value {
        key,
        found: place.to_string(),
        expected: format!("at most {last}, so that the rectangle is inside the model's pictures"),
        advice: "move it, or choose a smaller rectangle".to_owned(),
    })
}

/// Every `stride`th offset of a window, and the last one.
fn offsets(size: usize, window: usize, stride: usize) -> Vec<usize> {
    let last = size - window;
    let mut offsets: Vec<usize> = (0..=last).step_by(stride).collect();
    if !last.is_multiple_of(stride) {
        offsets.push(last);
    }
    offsets
}

/// The rectangular occlusion attack, made by [`RoaConfig::build`].
#[derive(Clone, Debug)]
pub struct Roa {
    config: RoaConfig,
    /// Height and width of the pictures.
    picture: [usize; 2],
    tops: Vec<usize>,
    lefts: Vec<usize>,
}

/// Upper left corner of a rectangle: row and column.
type Corner = (usize, usize);

impl Attack for Roa {
    fn name(&self) -> &'static str {
        "roa"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        Ascent::run(victim, batch, goal, self.config.early_stop, |ascent| {
            let mut inside = self.place(ascent, seed.purpose("roa"));
            if let Some(kept) = ascent.drop_reached() {
                inside = inside.select(0, kept);
            }
            if ascent.is_done() {
                return;
            }
            let images = place::grey(ascent.batch.images.clone(), &inside);
            let step_size = self.config.step_size.value();
            ascent.climb(InRectangle { images, inside, step_size }, self.config.steps);
        })
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        let [_, channels, height, width] = clean.dims();
        let size = channels * height * width;
        let (clean, adversarial) = (host(clean), host(adversarial));
        let rows = clean.chunks(size).zip(adversarial.chunks(size));
        rows.map(|(before, after)| {
            let changed: Vec<Corner> = (0..size)
                .filter(|&index| is_changed(before[index], after[index]))
                .map(|index| (index / width % height, index % width))
                .collect();
            extent(changed.iter().map(|corner| corner.0)) <= self.config.height
                && extent(changed.iter().map(|corner| corner.1)) <= self.config.width
                && after.iter().all(|value| is_pixel(*value))
        })
        .collect()
    }

    /// The place, if it is not looked for.
    fn covered(&self, ids: &[ImageId], _seed: Seed) -> Option<Vec<Vec<bool>>> {
        let Place { top, left } = self.config.place?;
        let [height, width] = self.picture;
        let covers = |pixel: usize| {
            (top..top + self.config.height).contains(&(pixel / width))
                && (left..left + self.config.width).contains(&(pixel % width))
        };
        Some(vec![(0..height * width).map(covers).collect(); ids.len()])
    }
}

/// How many rows (or columns) there are from the first to the last one.
fn extent(positions: impl Iterator<Item = usize> + Clone) -> usize {
    match (positions.clone().min(), positions.max()) {
        (Some(first), Some(last)) => last - first + 1,
        _ => 0,
    }
}

struct InRectangle {
    images: Tensor<4>,
    /// `[N, 1, H, W]`.
    inside: Tensor<4>,
    step_size: f32,
}

impl Iterate for InRectangle {
    fn pictures(&self) -> Tensor<4> {
        self.images.clone()
    }

    fn step(self, gradient: Tensor<4>) -> Self {
        Self { images: signed_inside(&self.images, &gradient, &self.inside, self.step_size), ..self }
    }

    fn select(self, rows: Tensor<1, Int>) -> Self {
        Self {
            images: self.images.select(0, rows.clone()),
            inside: self.inside.select(0, rows),
            step_size: self.step_size,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{SHAPE, SIDE, SIZE, batch, network, values};
    use burn::tensor::TensorData;

    use super::*;

    fn small(search: Search) -> Roa {
        let config = RoaConfig { height: 6, width: 5, stride: 4, search, ..RoaConfig::default() };
        config.build(SHAPE).expect("fits")
    }

    #[test]
    fn the_last_place_is_always_tried() {
        assert_eq!(offsets(16, 6, 4), [0, 4, 8, 10]);
        assert_eq!(offsets(16, 6, 5), [0, 5, 10]);
        assert_eq!(offsets(16, 16, 4), [0]);
        assert_eq!(offsets(64, 20, 100), [0, 44]);
    }

    #[test]
    fn a_sticker_stays_in_its_place() {
        let place = Some(Place { top: 9, left: 2 });
        let config = RoaConfig { height: 6, width: 5, place, ..RoaConfig::default() };
        let attack = config.build(SHAPE).expect("inside");
        let clean = batch(3, 3, 0.1);
        let victim = Victim::new(&network(3));
        let found = values(attack.perturb(&victim, &clean, &Goal::Untargeted, Seed::new(0)));
        let covered = attack.covered(&clean.ids, Seed::new(0)).expect("a fixed place");
        assert_eq!(covered[0].iter().filter(|is| **is).count(), 30);
        assert!(covered[2][9 * SIDE + 2] && covered[2][14 * SIDE + 6] && !covered[2][15 * SIDE + 6]);
        let changed = values(clean.images).into_iter().zip(found).enumerate();
        let changed: Vec<usize> =
            changed.filter(|(_, (a, b))| (a - b).abs() > 1e-6).map(|(index, _)| index).collect();
        assert!(!changed.is_empty());
        assert!(changed.iter().all(|index| covered[index / SIZE][index % (SIDE * SIDE)]));
        assert_eq!(small(Search::Exhaustive).covered(&clean.ids, Seed::new(0)), None);
    }

    #[test]
    fn a_change_that_fits_in_no_rectangle_is_not_admitted() {
        let attack = small(Search::Exhaustive);
        let clean = batch(1, 3, 0.1).images;
        let with = |changes: &[(usize, usize)]| {
            let mut pixels = values(clean.clone());
            for (y, x) in changes {
                pixels[SIDE * SIDE + y * SIDE + x] = 0.0;
            }
            attack.admits(
                clean.clone(),
                Tensor::from_data(TensorData::new(pixels, [1, 3, SIDE, SIDE]), &clean.device()),
            )
        };
        assert_eq!(with(&[]), [true]);
        assert_eq!(with(&[(3, 3), (8, 7)]), [true], "6 rows and 5 columns");
        assert_eq!(with(&[(3, 3), (9, 7)]), [false], "7 rows");
        assert_eq!(with(&[(3, 3), (8, 8)]), [false], "6 columns");
        assert_eq!(attack.admits(clean.clone(), clean.clone().mul_scalar(f32::NAN)), [false]);
        assert_eq!(attack.admits(clean.clone(), clean.clone().mul_scalar(2.0)), [false]);
    }
}
