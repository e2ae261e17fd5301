//! Things that are worn: a texture, its place on a face, and how that place moves.
//!
//! A thing is drawn once in its own place on a picture. Landmarks bring it to the face of each picture by
//! a similarity. Motion (Sharif et al., CCS 2016) shifts and turns it there: the texture is optimised for
//! some random movements of each picture, keyed by its id, and the picture that comes out wears it in
//! one more movement, which was not among them. A patch (Brown et al., 2017) may be anywhere.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use rand::{Rng, RngExt};

use super::AttackConfigError;
use super::Goal;
use super::ascent::Ascent;
use super::config::{at_least_one, within};
use super::geometry::{Homography, Point, Similarity};
use super::print::Grid;
use super::texture::{Brush, View, climb};
use super::threat::{host, is_changed, is_pixel};
use super::warp::Warp;
use crate::Seed;
use crate::data::{Batch, ImageId};
use crate::models::Victim;

/// How far a thing moves on a face.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MotionConfig {
    /// Largest shift in each direction as a fraction of the picture's width, at most 0.25; 0.018 by
    /// default: the 4 pixels of Sharif et al. in their pictures of 224.
    pub shift: f32,
    /// Largest turn in degrees, in either direction, at most 45; 4 by default, as theirs.
    pub rotation: f32,
    /// Random movements of each picture that a texture is optimised for, at least 1; 8 by default.
    pub draws: usize,
}

impl Default for MotionConfig {
    fn default() -> Self {
        Self { shift: 0.018, rotation: 4.0, draws: 8 }
    }
}

impl MotionConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first value that cannot be meant.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        within("motion.shift", self.shift, 0.0..=0.25)?;
        within("motion.rotation", self.rotation, 0.0..=45.0)?;
        at_least_one("motion.draws", self.draws)
    }
}

/// Where a point of a picture comes from on a thing that is in its own place.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    /// The texture is as large as the picture.
    Same,
    /// Two halves of a texture that meet on a vertical line (its `x`), each seen in perspective.
    Halves { fold: f64, left: Homography, right: Homography },
}

/// A texture with its place on a picture.
#[derive(Clone, Debug)]
pub(super) struct Thing {
    /// Height and width of the pictures.
    pub picture: [usize; 2],
    /// The texels that pixels are sampled from.
    pub fine: Grid,
    /// How many of them, in each direction, share a colour.
    pub cell: usize,
    pub origin: Origin,
}

impl Thing {
    /// The texture that is painted: one texel for each colour.
    pub fn grid(&self) -> Grid {
        let (rows, columns) = (self.fine.rows / self.cell, self.fine.columns / self.cell);
        let inside = |texel: usize| {
            let first = texel / columns * self.cell * self.fine.columns + texel % columns * self.cell;
            self.fine.part[first]
        };
        Grid { rows, columns, part: (0..rows * columns).map(inside).collect() }
    }

    /// How it looks after its own place has been moved.
    pub fn warp(&self, place: &Similarity) -> Warp {
        self.warp_around(place, 0)
    }

    /// The same on a picture with a margin on all sides, in pixels.
    fn warp_around(&self, place: &Similarity, margin: usize) -> Warp {
        let origin = |(x, y): Point| {
            let point = place.undo((x - margin as f64, y - margin as f64));
            match &self.origin {
                Origin::Same => Some(point),
                Origin::Halves { fold, left, right } => {
                    let half = if point.0 < *fold { left } else { right };
                    let (x, y) = half.apply(point);
                    // Each half ends at the fold of the texture.
                    let middle = self.fine.columns as f64 / 2.0;
                    ((x < middle) == (point.0 < *fold)).then_some((x, y))
                }
            }
        };
        let fine = [self.fine.rows, self.fine.columns];
        let picture = self.picture.map(|length| length + 2 * margin);
        let warp = Warp::new(picture, fine, |texel| self.fine.part[texel], origin);
        if self.cell == 1 {
            return warp;
        }
        let columns = self.fine.columns / self.cell;
        let cell = |texel: usize| {
            texel / self.fine.columns / self.cell * columns + texel % self.fine.columns / self.cell
        };
        warp.gathered(cell)
    }
}

/// How the place of a thing varies.
#[derive(Clone, Debug)]
pub(super) enum Motion {
    /// Not at all.
    Still,
    /// Around its place on the face.
    Around(MotionConfig),
    /// Anywhere in the picture, as a whole: side and turn (in degrees) up to a limit.
    Anywhere { sizes: [f32; 2], rotation: f32, draws: usize },
}

/// A thing, where it is on each picture, and how it moves.
#[derive(Clone, Debug)]
pub(super) struct Wear {
    thing: Thing,
    grid: Grid,
    motion: Motion,
    /// From its own place to the face of each picture; none when all faces are in the same place.
    places: Option<BTreeMap<ImageId, Similarity>>,
    /// Pixels that it may cover on any picture.
    reach: Vec<bool>,
    /// Most pixels that it covers on one.
    most: usize,
}

impl Wear {
    pub fn new(thing: Thing, motion: Motion, places: Option<BTreeMap<ImageId, Similarity>>) -> Self {
        let [height, width] = thing.picture;
        let mut wear =
            Self { grid: thing.grid(), thing, motion, places, reach: Vec::new(), most: height * width };
        wear.reach = match wear.motion {
            Motion::Anywhere { sizes, .. } => {
                let side = wear.thing.fine.columns as f32 * sizes[1];
                wear.most = ((side + 2.0).powi(2) as usize).min(height * width);
                vec![true; height * width]
            }
            Motion::Still => wear.all_places(0),
            Motion::Around(motion) => {
                // What is outside the picture can come in.
                let slack = wear.slack(motion);
                let margin = slack.ceil() as usize;
                let wide = widened(&wear.all_places(margin), width + 2 * margin, slack);
                let rows = wide.chunks(width + 2 * margin).skip(margin).take(height);
                rows.flat_map(|row| row[margin..margin + width].to_vec()).collect()
            }
        };
        wear
    }

    /// The texture that is painted.
    pub fn grid(&self) -> &Grid {
        &self.grid
    }

    /// What it covers on any of the pictures when it does not move, with a margin on all sides.
    fn all_places(&self, margin: usize) -> Vec<bool> {
        let [height, width] = self.thing.picture;
        let mut reach = vec![false; (height + 2 * margin) * (width + 2 * margin)];
        let still = BTreeMap::from([(ImageId(0), Similarity::IDENTITY)]);
        for place in self.places.as_ref().unwrap_or(&still).values() {
            let warp = self.thing.warp_around(place, margin);
            warp.pixels().iter().for_each(|pixel| reach[*pixel as usize] = true);
        }
        reach
    }

    /// How far a movement can bring any of its points, in pixels, and one for the rounding to pixels.
    fn slack(&self, motion: MotionConfig) -> f64 {
        let [height, width] = self.thing.picture.map(|length| length as f64);
        let shift = f64::from(motion.shift) * width * std::f64::consts::SQRT_2;
        // The thing is turned around the middle of a face, which landmarks can bring to a corner.
        let radius = height.hypot(width) * if self.places.is_some() { 1.0 } else { 0.5 };
        let turn = 2.0 * (f64::from(motion.rotation).to_radians() / 2.0).sin() * radius;
        shift + turn + 1.0
    }

    /// The place on a picture without motion; none where it has no landmarks.
    fn place(&self, id: ImageId) -> Option<Similarity> {
        match &self.places {
            None => Some(Similarity::IDENTITY),
            Some(places) => places.get(&id).copied(),
        }
    }

    /// Whether it has a place on a picture.
    pub fn is_placed(&self, id: ImageId) -> bool {
        self.place(id).is_some()
    }

    /// One movement of a place.
    fn moved(&self, place: Similarity, seed: Seed) -> Similarity {
        let mut rng = seed.rng();
        let [height, width] = self.thing.picture.map(|length| length as f64);
        match self.motion {
            Motion::Still => place,
            Motion::Around(motion) => {
                let centre = place.apply((width / 2.0, height / 2.0));
                let shift = f64::from(motion.shift) * width;
                let to = (centre.0 + spread(&mut rng, shift), centre.1 + spread(&mut rng, shift));
                let angle = spread(&mut rng, f64::from(motion.rotation).to_radians());
                place.then(Similarity::about(centre, angle, 1.0, to))
            }
            Motion::Anywhere { sizes, rotation, .. } => {
                let side = self.thing.fine.columns as f64;
                let size = rng.random_range(f64::from(sizes[0])..=f64::from(sizes[1]));
                let angle = spread(&mut rng, f64::from(rotation).to_radians());
                let half = half_extent(side * size, angle);
                let mut at = |length: f64| {
                    rng.random_range(half.min(length / 2.0)..=(length - half).max(length / 2.0))
                };
                let to = (at(width), at(height));
                Similarity::about((side / 2.0, side / 2.0), angle, size, to)
            }
        }
    }

    /// The views of a picture that a texture is optimised for; none where it has no landmarks.
    pub fn views(&self, id: ImageId, row: usize, seed: Seed) -> Vec<View> {
        let draws = match self.motion {
            Motion::Still => 1,
            Motion::Around(MotionConfig { draws, .. }) | Motion::Anywhere { draws, .. } => draws,
        };
        let Some(place) = self.place(id) else { return Vec::new() };
        let seed = seed.purpose("movements").at(id.0);
        let view =
            |draw: usize| View { row, warp: self.thing.warp(&self.moved(place, seed.at(draw as u64))) };
        (0..draws).map(view).collect()
    }

    /// How the thing looks on a picture that is judged.
    pub fn worn(&self, id: ImageId, seed: Seed) -> Option<Warp> {
        let place = self.place(id)?;
        Some(self.thing.warp(&self.moved(place, seed.purpose("worn").at(id.0))))
    }

    /// Puts textures on pictures; a picture without a texture or without landmarks stays as it is.
    pub fn put_on(&self, batch: &Batch, textures: &[Option<&[f32]>], seed: Seed) -> Tensor<4> {
        let shape = batch.shape();
        let mut pictures = host(batch.images.clone());
        let size = (shape[1] * shape[2] * shape[3]).max(1);
        for ((picture, texture), id) in pictures.chunks_mut(size).zip(textures).zip(&batch.ids) {
            if let (Some(texture), Some(warp)) = (texture, self.worn(*id, seed)) {
                warp.paint(texture, picture, shape[1]);
            }
        }
        Tensor::from_data(TensorData::new(pictures, shape), &batch.images.device())
    }

    /// A texture of its own for each picture. What is worn competes with the clean picture.
    pub fn perturb(
        &self,
        victim: &Victim,
        batch: &Batch,
        goal: &Goal,
        seed: Seed,
        brush: &Brush,
    ) -> Tensor<4> {
        Ascent::run(victim, batch, goal, brush.early_stop, |ascent| {
            let (batch, goal) = (ascent.batch.clone(), ascent.goal.clone());
            let views = (0..batch.len()).map(|row| self.views(batch.ids[row], row, seed));
            let (rows, sets): (Vec<usize>, Vec<Vec<View>>) =
                views.enumerate().filter(|(_, views)| !views.is_empty()).unzip();
            let found = climb(victim, &batch, &goal, sets, brush);
            let mut textures = vec![None; batch.len()];
            rows.iter().zip(&found).for_each(|(row, texture)| textures[*row] = Some(texture.as_slice()));
            let images = self.put_on(&batch, &textures, seed);
            let logits = ascent.logits(images.clone());
            ascent.offer(images, logits);
        })
    }

    /// Whether each picture differs only where the thing may be, and in no more pixels than it covers.
    pub fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        let [_, channels, height, width] = clean.dims();
        let area = height * width;
        let (clean, adversarial) = (host(clean), host(adversarial));
        let rows = clean.chunks(channels * area).zip(adversarial.chunks(channels * area));
        rows.map(|(before, after)| {
            let changed = |pixel: &usize| {
                (0..channels).any(|channel| {
                    let index = channel * area + pixel;
                    is_changed(before[index], after[index])
                })
            };
            let changed: Vec<usize> = (0..area).filter(changed).collect();
            changed.len() <= self.most
                && changed.iter().all(|pixel| self.reach[*pixel])
                && after.iter().all(|value| is_pixel(*value))
        })
        .collect()
    }

    /// Covered pixels of the pictures that are judged, row by row; nothing is covered where there are no
    /// landmarks.
    pub fn covered(&self, ids: &[ImageId], seed: Seed) -> Vec<Vec<bool>> {
        let area = self.thing.picture.iter().product();
        let mask = |id: &ImageId| self.worn(*id, seed).map_or(vec![false; area], |warp| warp.mask(area));
        ids.iter().map(mask).collect()
    }
}

/// Half the width of the upright square around a turned one.
pub(super) fn half_extent(side: f64, angle: f64) -> f64 {
    side / 2.0 * (angle.cos().abs() + angle.sin().abs())
}

/// Uniform in `[-limit, limit]`.
fn spread(rng: &mut impl Rng, limit: f64) -> f64 {
    rng.random_range(-limit..=limit)
}

/// All pixels within a distance of those of a mask.
fn widened(mask: &[bool], width: usize, distance: f64) -> Vec<bool> {
    let height = mask.len() / width;
    let reach = distance.floor() as isize;
    let mut wide = mask.to_vec();
    for pixel in (0..mask.len()).filter(|&pixel| mask[pixel]) {
        let (row, column) = ((pixel / width) as isize, (pixel % width) as isize);
        for y in (row - reach).max(0)..=(row + reach).min(height as isize - 1) {
            let across = (distance * distance - ((y - row) as f64).powi(2)).max(0.0).sqrt().floor() as isize;
            let left = (column - across).max(0) as usize;
            let right = (column + across).min(width as isize - 1) as usize;
            wide[y as usize * width + left..=y as usize * width + right].fill(true);
        }
    }
    wide
}

#[cfg(test)]
mod tests {
    use super::super::FrameConfig;
    use super::*;

    /// A frame in pictures of 40 x 40 pixels.
    fn frame() -> Thing {
        let part = FrameConfig::default().draw(40, 40);
        Thing { picture: [40, 40], fine: Grid { rows: 40, columns: 40, part }, cell: 1, origin: Origin::Same }
    }

    fn motion(shift: f32, rotation: f32) -> Motion {
        Motion::Around(MotionConfig { shift, rotation, draws: 3 })
    }

    fn ids() -> Vec<ImageId> {
        (0..100).map(ImageId).collect()
    }

    /// Mean row and column of covered pixels.
    fn middle(mask: &[bool]) -> (f64, f64) {
        let covered: Vec<usize> = (0..mask.len()).filter(|&pixel| mask[pixel]).collect();
        let mean = |of: &dyn Fn(usize) -> usize| {
            covered.iter().map(|&pixel| of(pixel) as f64 + 0.5).sum::<f64>() / covered.len() as f64
        };
        (mean(&|pixel| pixel / 40), mean(&|pixel| pixel % 40))
    }

    #[test]
    fn without_motion_and_landmarks_it_is_in_its_own_place() {
        let wear = Wear::new(frame(), Motion::Still, None);
        assert_eq!(wear.covered(&[ImageId(3)], Seed::new(0))[0], FrameConfig::default().draw(40, 40));
        assert_eq!(wear.reach, FrameConfig::default().draw(40, 40));
        assert_eq!(wear.views(ImageId(3), 0, Seed::new(0)).len(), 1);
    }

    #[test]
    fn every_movement_is_within_reach_and_the_judged_one_is_a_new_one() {
        let corner = Similarity::about((20.0, 20.0), 0.3, 0.8, (32.0, 9.0));
        let places = ids().into_iter().map(|id| (id, corner)).collect();
        for (motion, places) in
            [(motion(0.1, 15.0), None), (motion(0.018, 4.0), None), (motion(0.1, 15.0), Some(places))]
        {
            let wear = Wear::new(frame(), motion, places);
            for (id, mask) in ids().into_iter().zip(wear.covered(&ids(), Seed::new(0))) {
                let views = wear.views(id, 7, Seed::new(0));
                assert_eq!(views.len(), 3);
                for moved in views.iter().map(|view| view.warp.mask(1600)).chain([mask.clone()]) {
                    assert!(moved.iter().zip(&wear.reach).all(|(covered, may)| !covered || *may));
                }
                let judged = wear.worn(id, Seed::new(0)).expect("a place");
                assert!(views.iter().all(|view| view.row == 7 && view.warp != judged));
            }
            assert!(wear.reach.contains(&false), "reach means something");
        }
    }

    #[test]
    fn a_shift_moves_it_as_far_as_it_says_in_both_directions() {
        let wear = Wear::new(frame(), motion(0.1, 0.0), None);
        let own = middle(&FrameConfig { thickness: 0.03, ..FrameConfig::default() }.draw(40, 40));
        let rows: Vec<f64> =
            wear.covered(&ids(), Seed::new(0)).iter().map(|mask| middle(mask).0 - own.0).collect();
        let (least, most) =
            rows.iter().fold((0.0_f64, 0.0_f64), |(low, high), row| (low.min(*row), high.max(*row)));
        assert!((-4.6..-2.5).contains(&least) && (2.5..4.6).contains(&most), "{least} {most}");
    }

    #[test]
    fn pictures_without_landmarks_stay_as_they_are() {
        let place = Similarity::about((20.0, 20.0), 0.0, 0.5, (10.0, 30.0));
        let wear = Wear::new(frame(), Motion::Still, Some(BTreeMap::from([(ImageId(1), place)])));
        let device = burn::tensor::Device::default();
        let batch = Batch {
            images: Tensor::zeros([2, 1, 40, 40], &device),
            labels: vec![0, 0],
            ids: vec![ImageId(1), ImageId(2)],
            radius_scale: None,
        };
        let white = vec![1.0; 1600];
        let found = host(wear.put_on(&batch, &[Some(&white), Some(&white)], Seed::new(0)));
        let mask: Vec<bool> = found[..1600].iter().map(|value| *value > 0.5).collect();
        // Half as large, around column 10 and what is above the middle of the picture: row 30.
        let (row, column) = middle(&mask);
        assert!((28.0..31.0).contains(&row) && (9.0..11.0).contains(&column), "{row} {column}");
        assert!(found[1600..].iter().all(|value| *value == 0.0));
        assert!(wear.views(ImageId(2), 1, Seed::new(0)).is_empty() && !wear.is_placed(ImageId(2)));
        let admitted = wear
            .admits(batch.images.clone(), Tensor::from_data(TensorData::new(found, [2, 1, 40, 40]), &device));
        assert_eq!(admitted, [true, true]);
        assert_eq!(wear.admits(batch.images.clone(), batch.images.add_scalar(0.5)), [false, false]);
    }
}
