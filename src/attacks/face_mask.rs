//! The face mask attack of FACESEC (Tong, Chen, Ni, Cheng, Song, Chen and Vorobeychik, CVPR 2021): any
//! colours on a mask over nose, mouth and chin, on a coarse grid.
//!
//! The texture is a grid of 8 x 16 colours, each a square of 10 x 10 texels. Its left and its right half are
//! seen in perspective, as the mask folds over the nose; the corners of the halves, given for pictures of 224
//! pixels, are scaled to the size of the pictures. From grey: `grid <- clip(grid + step * sign(g))`, with
//! `g` the gradient of the goal loss brought back through the warp, which is linear and therefore exact.
//! Differences from the published code, on purpose:
//! - The grid stays in `[0, 1]`. The published one is kept within a distance of 0, negative colours included,
//!   until the final picture is clipped.
//! - Pixels are rounded to 8 bits and the gradient is passed straight through. One port of the attack
//!   differentiates through the rounding, so that its gradient is zero everywhere.
//! - Edges are binary: a pixel shows the mask or the face, never a mixture.
//! - The best picture is kept instead of the last one.
//!
//! There is no printing in it unless `print` and `motion` say so: a digital claim.

use std::path::PathBuf;

use burn::tensor::Tensor;

use super::config::{at_least_one, at_most_one, positive, within};
use super::geometry::{Homography, Point, Similarity};
use super::landmarks::{FIVE_POINTS, places};
use super::print::{Grid, PrintConfig};
use super::taught::{PersonConfig, Taught};
use super::texture::{Brush, Direction};
use super::wear::{Motion, MotionConfig, Origin, Thing, Wear};
use super::{Attack, AttackConfigError, Goal, Magnitude};
use crate::Seed;
use crate::data::{Batch, ImageId};
use crate::models::Victim;

/// Rows and columns of colours.
const GRID: [usize; 2] = [8, 16];
/// Side of a colour in texels, after FACESEC's enlargement to 80 x 160.
const CELL: usize = 10;
/// Width and height of the pictures that the corners are given for.
const SIDE: f64 = 224.0;
/// Corners of the left half: bridge of the nose to the left cheek and down; in the order of the corners of
/// a picture, from the upper left one clockwise. They are where FACESEC's first homography takes
/// (0, 0), (80, 0), (80, 80) and (0, 80).
const LEFT: [Point; 4] = [(32.0, 112.0), (112.0, 100.0), (112.0, 224.0), (32.0, 192.0)];
/// The same for the right half, of which the upper left corner is (80, 0) in the texture.
const RIGHT: [Point; 4] = [(112.0, 100.0), (192.0, 112.0), (192.0, 192.0), (112.0, 224.0)];

/// How to search the colours of the mask.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FaceMaskConfig {
    /// Gradient steps, at least 1; 50 by default. (FACESEC takes 200; a colour is at an end after 32.)
    pub steps: usize,
    /// Length of a step in units of pixels in `[0, 1]`; 4/255 by default.
    pub step_size: Magnitude,
    /// Share of the last change that is repeated, in `[0, 1]`; 0 by default.
    pub momentum: f32,
    /// Whether to leave an image alone once its goal is reached; on by default. Off for training.
    pub early_stop: bool,
    /// CSV with the landmarks of each picture, which bring the mask to its face; without it all faces are
    /// in the place of FACESEC's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landmarks: Option<PathBuf>,
    /// What a printer can show; nothing is asked by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub print: Option<PrintConfig>,
    /// How the mask moves on the face; not at all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub motion: Option<MotionConfig>,
    /// One mask for all pictures of a person, learned from other pictures; one for each picture by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonConfig>,
}

impl Default for FaceMaskConfig {
    fn default() -> Self {
        Self {
            steps: 50,
            step_size: Magnitude::levels(4),
            momentum: 0.0,
            early_stop: true,
            landmarks: None,
            print: None,
            motion: None,
            person: None,
        }
    }
}

impl FaceMaskConfig {
    /// Checks the values, without opening a file.
    ///
    /// # Errors
    /// Names the first value that cannot be meant.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        at_least_one("steps", self.steps)?;
        positive("step_size", &self.step_size)?;
        at_most_one("step_size", &self.step_size)?;
        within("momentum", self.momentum, 0.0..=1.0)?;
        PersonConfig::validate_with(self.person.as_ref(), self.print.as_ref(), self.motion.as_ref())
    }

    /// The attack on pictures of this shape, `[C, H, W]`, each by itself.
    ///
    /// # Errors
    /// As for [`FaceMaskConfig::validate`], when the landmarks cannot be used, when the mask covers no
    /// pixel, and for a mask of a person, which has to be taught.
    pub fn build(&self, shape: [usize; 3]) -> Result<FaceMask, AttackConfigError> {
        PersonConfig::refuse(self.person.as_ref())?;
        Ok(FaceMask { wear: self.wear(shape)?, config: self.clone(), channels: shape[0] })
    }

    /// The attack with one mask for each person, which is yet to be taught; none where each picture has
    /// its own.
    ///
    /// # Errors
    /// As for [`FaceMaskConfig::build`].
    pub fn build_taught(&self, shape: [usize; 3]) -> Result<Option<Taught>, AttackConfigError> {
        let Some(person) = self.person else { return Ok(None) };
        let wear = self.wear(shape)?;
        let brush = self.brush(wear.grid(), shape[0]);
        Ok(Some(Taught::of_people("face-mask", wear, brush, person)))
    }

    fn wear(&self, [_, height, width]: [usize; 3]) -> Result<Wear, AttackConfigError> {
        self.validate()?;
        let thing = thing([height, width]).ok_or_else(|| AttackConfigError::Value {
            key: "kind",
            found: "face-mask".to_owned(),
            expected: format!("a mask that covers some of {height} x {width} pixels"),
            advice: "use larger pictures".to_owned(),
        })?;
        let own = FIVE_POINTS.map(|(x, y)| (x * width as f64, y * height as f64));
        let places = places(self.landmarks.as_deref(), [height, width], &own)?;
        let motion = self.motion.map_or(Motion::Still, Motion::Around);
        Ok(Wear::new(thing, motion, places))
    }

    fn brush(&self, grid: &Grid, channels: usize) -> Brush {
        Brush {
            grid: grid.clone(),
            channels,
            starts: vec![vec![0.5; channels * grid.texels()]],
            steps: self.steps,
            step_size: self.step_size.value(),
            direction: Direction::Sign,
            momentum: self.momentum,
            print: self.print.clone().unwrap_or_default(),
            early_stop: self.early_stop,
        }
    }
}

/// The mask on pictures of a height and width; none when they are too small to show it.
fn thing([height, width]: [usize; 2]) -> Option<Thing> {
    let [rows, columns] = GRID.map(|count| count * CELL);
    let (tall, half) = (rows as f64, columns as f64 / 2.0);
    let scaled =
        |corners: [Point; 4]| corners.map(|(x, y)| (x * width as f64 / SIDE, y * height as f64 / SIDE));
    let left = [(0.0, 0.0), (half, 0.0), (half, tall), (0.0, tall)];
    let thing = Thing {
        picture: [height, width],
        fine: Grid { rows, columns, part: vec![true; rows * columns] },
        cell: CELL,
        origin: Origin::Halves {
            fold: width as f64 / 2.0,
            left: Homography::between(scaled(LEFT), left)?,
            right: Homography::between(scaled(RIGHT), left.map(|(x, y)| (x + half, y)))?,
        },
    };
    let covered = !thing.warp(&Similarity::IDENTITY).pixels().is_empty();
    covered.then_some(thing)
}

/// The face mask attack, made by [`FaceMaskConfig::build`].
#[derive(Clone, Debug)]
pub struct FaceMask {
    config: FaceMaskConfig,
    channels: usize,
    wear: Wear,
}

#[cfg(test)]
impl FaceMask {
    /// How the grid looks on every picture, without landmarks and motion.
    pub(super) fn warp(&self) -> super::warp::Warp {
        self.wear.worn(ImageId(0), Seed::new(0)).expect("no landmarks")
    }
}

impl Attack for FaceMask {
    fn name(&self) -> &'static str {
        "face-mask"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        let brush = self.config.brush(self.wear.grid(), self.channels);
        self.wear.perturb(victim, batch, goal, seed.purpose("face-mask"), &brush)
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        self.wear.admits(clean, adversarial)
    }

    fn covered(&self, ids: &[ImageId], seed: Seed) -> Option<Vec<Vec<bool>>> {
        Some(self.wear.covered(ids, seed.purpose("face-mask")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::coverage;
    use super::super::fixtures::{SHAPE, SIZE, batch, network, values};
    use super::super::texture::climb;
    use super::*;

    /// The homographies that FACESEC publishes, row by row with the last entry 1.
    const PUBLISHED: [[f64; 8]; 2] = [
        [0.50323, 0.0, 32.0, -0.59355, 1.0, 112.0, -0.004_435_5, 0.0],
        [5.1556, 0.0, -163.56, 2.0444, 3.4444, 58.667, 0.015_278, 0.0],
    ];

    #[test]
    fn the_corners_are_those_of_the_published_homographies() {
        for (half, (h, corners)) in PUBLISHED.iter().zip([LEFT, RIGHT]).enumerate() {
            let left = 80.0 * half as f64;
            let texture = [(left, 0.0), (left + 80.0, 0.0), (left + 80.0, 80.0), (left, 80.0)];
            let ours = Homography::between(texture, corners).expect("no three on a line");
            for (x, y) in texture.into_iter().chain([(left + 20.0, 30.0), (left + 55.0, 61.0)]) {
                let w = h[6] * x + h[7] * y + 1.0;
                let (u, v) = ((h[0] * x + h[1] * y + h[2]) / w, (h[3] * x + h[4] * y + h[5]) / w);
                let found = ours.apply((x, y));
                // Five digits are published.
                assert!((found.0 - u).abs() < 0.05 && (found.1 - v).abs() < 0.05, "{found:?} ({u}, {v})");
            }
        }
    }

    #[test]
    fn a_mask_of_sixteen_greys_looks_as_pytorch_draws_it() {
        // scripts/parity/worn.py: numpy's inverse of each half's matrix, and PyTorch's grid_sample.
        let golden = include_bytes!("../../assets/parity/face-mask.pgm");
        let golden = image::load_from_memory(golden).expect("a PGM").into_luma8();
        let warp = thing([64, 64]).expect("large enough").warp(&Similarity::IDENTITY);
        let grey = |cell: usize| ((5 * (cell / 16) + 3 * (cell % 16)) % 16 + 1) as f32 / 16.0;
        let grid: Vec<f32> = (0..8 * 16).map(grey).collect();
        let mut picture = vec![0.0; 64 * 64];
        warp.paint(&grid, &mut picture, 1);
        for (index, (found, expected)) in picture.iter().zip(golden.pixels()).enumerate() {
            let level = (found * 255.0).round() as i32;
            let gap = (level - i32::from(expected.0[0])).abs();
            assert!(gap <= 1, "row {}, column {}: {level} {}", index / 64, index % 64, expected.0[0]);
        }
    }

    #[test]
    fn the_mask_is_symmetric_and_covers_the_lower_face_at_any_size() {
        for side in [16, 48, 64, 112, 224] {
            let warp = thing([side, side]).expect("large enough").warp(&Similarity::IDENTITY);
            let mask = warp.mask(side * side);
            let share = coverage(&mask);
            assert!((0.32..0.38).contains(&share), "{side}: {share}");
            let rows: Vec<&[bool]> = mask.chunks(side).collect();
            assert!(rows.iter().all(|row| row.iter().eq(row.iter().rev())), "{side}");
            assert!(rows[..side * 2 / 5].iter().all(|row| !row.contains(&true)), "{side}: over the eyes");
        }
        assert!(thing([1, 1]).is_none());
    }

    #[test]
    fn every_colour_of_the_grid_is_seen_at_64_pixels() {
        let warp = thing([64, 64]).expect("large enough").warp(&Similarity::IDENTITY);
        let seen = warp.pull_back(&vec![1.0; 64 * 64], 1, 8 * 16);
        assert!(seen.iter().all(|weight| *weight > 0.5), "{seen:?}");
        let sum: f32 = seen.iter().sum();
        assert!((sum - warp.pixels().len() as f32).abs() < 0.1, "weights sum to one for each pixel");
        // Neighbouring halves meet at the fold: a grid of one colour leaves no gap.
        let mut picture = vec![0.0; 64 * 64];
        warp.paint(&[1.0; 8 * 16], &mut picture, 1);
        let row: Vec<f32> = picture[45 * 64..46 * 64].to_vec();
        assert!(row[10..54].iter().all(|value| *value > 0.99), "{row:?}");
    }

    /// How many of six images are closer to their targets after one step from the grey mask.
    fn closer_after_one_step(direction: f32) -> usize {
        let attack = FaceMaskConfig::default().build(SHAPE).expect("valid");
        let victim = Victim::new(&network(3));
        let batch = batch(6, 3, 0.0);
        let goal = Goal::Targeted(batch.labels.iter().map(|label| (label + 1) % 3).collect());
        let losses = |steps: usize| {
            let step_size = direction * 4.0 / 255.0;
            let brush = attack.config.brush(attack.wear.grid(), 3);
            let brush = Brush { steps, step_size, early_stop: false, ..brush };
            let sets = (0..6).map(|row| attack.wear.views(batch.ids[row], row, Seed::new(0))).collect();
            let textures = climb(&victim, &batch, &goal, sets, &brush);
            let textures: Vec<Option<&[f32]>> =
                textures.iter().map(|texture| Some(texture.as_slice())).collect();
            let worn = attack.wear.put_on(&batch, &textures, Seed::new(0));
            values(goal.loss(victim.logits(worn), &batch.labels))
        };
        losses(0).iter().zip(losses(1)).filter(|(before, after)| after > before).count()
    }

    #[test]
    fn one_step_goes_towards_the_target_and_a_flipped_sign_would_not() {
        assert_eq!(closer_after_one_step(1.0), 6);
        // The grey mask stays the best one.
        assert_eq!(closer_after_one_step(-1.0), 0);
    }

    #[test]
    fn pixels_are_eight_bit_levels_and_the_eyes_are_untouched() {
        let attack = FaceMaskConfig { steps: 5, ..FaceMaskConfig::default() }.build(SHAPE).expect("valid");
        let clean = batch(3, 3, 0.0);
        let goal = Goal::Targeted(vec![1, 2, 0]);
        let found = attack.perturb(&Victim::new(&network(3)), &clean, &goal, Seed::new(0));
        let mask = attack.warp().mask(SIZE / 3);
        let mut changed = 0;
        for (index, (before, after)) in values(clean.images).into_iter().zip(values(found)).enumerate() {
            if !mask[index % (SIZE / 3)] {
                assert!((before - after).abs() < 1e-9);
            } else if (before - after).abs() > 1e-9 {
                assert!((after * 255.0 - (after * 255.0).round()).abs() < 1e-4);
                changed += 1;
            }
        }
        assert!(changed > 0);
    }
}
