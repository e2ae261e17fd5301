//! The adversarial patch (Brown, Mané, Roy, Abadi and Gilmer, "Adversarial patch", 2017): one square of any
//! colours that works on every picture, wherever it lies.
//!
//! The patch is learned on one set of pictures, each in some random places, sizes and turns (expectation
//! over transformations), and judged on other pictures in other places. In a fixed place it would be no
//! patch but a rectangle with any contents. From grey: `patch <- clip(patch + step * sign(g))`, with `g` the mean
//! over all views of the normalised gradient of the goal loss. Differences from published code, on purpose:
//! - One port divides the gradient by its largest value instead of the largest absolute one, and so goes the
//!   wrong way where all values are negative.
//! - A patch without a target raises the cross-entropy of each picture's own label.
//! - Pictures of the target's class are neither learned from nor judged.
//! - The whole patch is always inside the picture.

use super::config::{at_least_one, at_most_one, positive, within};
use super::print::{Grid, PrintConfig};
use super::taught::Taught;
use super::texture::{Brush, Direction};
use super::wear::{Motion, Origin, Thing, Wear, half_extent};
use super::{AttackConfigError, Magnitude};

/// The size of the patch, where it may be, and how it is learned.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UniversalPatchConfig {
    /// Share of the picture that the patch covers at size 1, in `[0.002, 0.5]`; 0.1 by default. (Brown et al.
    /// look at 0.05 to 0.25.)
    pub area: f32,
    /// Least size of its side, relative to that of `area`; 0.8 by default.
    pub smallest: f32,
    /// Largest size of its side; 1.2 by default.
    pub largest: f32,
    /// Largest turn in degrees, in either direction, at most 180; 22.5 by default.
    pub rotation: f32,
    /// Most pictures that it is learned from, at least 1; 128 by default.
    pub pictures: usize,
    /// Random places of each of them, at least 1; 2 by default.
    pub draws: usize,
    /// Gradient steps, at least 1; 100 by default.
    pub steps: usize,
    /// Length of a step in units of pixels in `[0, 1]`; 4/255 by default.
    pub step_size: Magnitude,
    /// Share of the last change that is repeated, in `[0, 1]`; 0 by default.
    pub momentum: f32,
    /// What a printer can show; nothing is asked by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub print: Option<PrintConfig>,
}

impl Default for UniversalPatchConfig {
    fn default() -> Self {
        Self {
            area: 0.1,
            smallest: 0.8,
            largest: 1.2,
            rotation: 22.5,
            pictures: 128,
            draws: 2,
            steps: 100,
            step_size: Magnitude::levels(4),
            momentum: 0.0,
            print: None,
        }
    }
}

impl UniversalPatchConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first value that cannot be meant.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        within("area", self.area, 0.002..=0.5)?;
        within("smallest", self.smallest, 0.1..=10.0)?;
        within("largest", self.largest, self.smallest..=10.0)?;
        within("rotation", self.rotation, 0.0..=180.0)?;
        at_least_one("pictures", self.pictures)?;
        at_least_one("draws", self.draws)?;
        at_least_one("steps", self.steps)?;
        positive("step_size", &self.step_size)?;
        at_most_one("step_size", &self.step_size)?;
        within("momentum", self.momentum, 0.0..=1.0)?;
        self.print.as_ref().map_or(Ok(()), PrintConfig::validate)
    }

    /// The attack on pictures of this shape, `[C, H, W]`, which is yet to be taught.
    ///
    /// # Errors
    /// As for [`UniversalPatchConfig::validate`], and when the patch does not fit into the picture at its
    /// largest size, turned.
    pub fn build_taught(&self, [channels, height, width]: [usize; 3]) -> Result<Taught, AttackConfigError> {
        self.validate()?;
        let side = ((self.area * (height * width) as f32).sqrt().round() as usize).max(1);
        // A square is widest when it stands on a corner.
        let turn = f64::from(self.rotation.min(45.0)).to_radians();
        let extent = 2.0 * half_extent(side as f64 * f64::from(self.largest), turn);
        if extent > height.min(width) as f64 {
            return Err(AttackConfigError::Value {
                key: "area",
                found: format!("{}, up to {extent:.0} pixels wide when it is turned", self.area),
                expected: format!("a patch inside {height} x {width} pixels"),
                advice: "make `area`, `largest` or `rotation` smaller".to_owned(),
            });
        }
        let grid = Grid { rows: side, columns: side, part: vec![true; side * side] };
        let thing = Thing { picture: [height, width], fine: grid.clone(), cell: 1, origin: Origin::Same };
        let motion = Motion::Anywhere {
            sizes: [self.smallest, self.largest],
            rotation: self.rotation,
            draws: self.draws,
        };
        let brush = Brush {
            channels,
            starts: vec![vec![0.5; channels * grid.texels()]],
            grid,
            steps: self.steps,
            step_size: self.step_size.value(),
            direction: Direction::Sign,
            momentum: self.momentum,
            print: self.print.clone().unwrap_or_default(),
            early_stop: false,
        };
        Ok(Taught::of_everybody("universal-patch", Wear::new(thing, motion, None), brush, self.pictures))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{LinearModel, SHAPE, SIDE, SIZE, batch, values};
    use super::super::taught::{School, TextureKey};
    use super::super::{Attack, Goal};
    use super::*;
    use crate::Seed;
    use crate::data::Batch;
    use crate::models::Victim;

    /// Reddish against bluish: the best patch of two classes is known wherever it lies.
    fn model() -> LinearModel {
        LinearModel::of_channels(&[[0.02, 0.01, -0.02], [-0.02, 0.0, 0.03]])
    }

    fn config() -> UniversalPatchConfig {
        UniversalPatchConfig { steps: 40, pictures: 6, ..UniversalPatchConfig::default() }
    }

    /// Pictures with the labels that the model gives them.
    fn recognised(victim: &Victim) -> Batch {
        let mut batch = batch(24, 2, 0.0);
        let classes = victim.logits(batch.images.clone()).argmax(1).to_data();
        batch.labels = classes.iter::<i64>().map(|class| class as usize).collect();
        batch
    }

    fn taught(config: &UniversalPatchConfig, target: Option<usize>) -> (super::super::Taught, Batch, usize) {
        let victim = Victim::new(&model());
        let all = recognised(&victim);
        let (lessons, rest): (Vec<usize>, Vec<usize>) = (0..all.len()).partition(|row| row % 2 == 0);
        let (lessons, rest) = (all.select(&lessons), all.select(&rest));
        let load = |rows: &[usize]| Ok(lessons.select(rows));
        let school = School { labels: &lessons.labels, ids: &lessons.ids, load: &load };
        let mut taught = config.build_taught(SHAPE).expect("valid");
        let key = TextureKey { person: None, target };
        let count = taught.learn(key, &victim, school, Seed::new(1)).expect("pictures to learn from");
        (taught, rest, count)
    }

    #[test]
    fn the_patch_is_the_best_colour_and_works_on_pictures_and_in_places_that_it_never_saw() {
        let (taught, rest, count) = taught(&config(), Some(1));
        assert!((1..=6).contains(&count), "{count}");
        let rest = rest.select(&(0..rest.len()).filter(|row| rest.labels[*row] == 0).collect::<Vec<_>>());
        assert!(rest.len() >= 3, "the test should be about something");
        let (victim, goal) = (Victim::new(&model()), Goal::Targeted(vec![1; rest.len()]));
        let found = taught.perturb(&victim, &rest, &goal, Seed::new(2));
        let before = values(goal.loss(victim.logits(rest.images.clone()), &rest.labels));
        let after = values(goal.loss(victim.logits(found.clone()), &rest.labels));
        assert!(before.iter().zip(&after).all(|(before, after)| after > before));
        assert!(taught.admits(rest.images.clone(), found.clone()).iter().all(|is| *is));
        let masks = taught.covered(&rest.ids, Seed::new(2)).expect("a place");
        // Class 1 gains by blue and loses by red and by green.
        for (index, value) in values(found).into_iter().enumerate() {
            let (image, channel, pixel) = (index / SIZE, index / (SIDE * SIDE) % 3, index % (SIDE * SIDE));
            if masks[image][pixel] {
                assert!((value - [0.0, 0.0, 1.0][channel]).abs() < 1e-6, "{image} {channel} {pixel}");
            }
        }
        assert!(masks.windows(2).any(|pair| pair[0] != pair[1]), "it is not always in the same place");
    }

    #[test]
    fn the_whole_patch_is_inside_the_picture() {
        let config = UniversalPatchConfig { area: 0.2, rotation: 180.0, ..config() };
        let taught = config.build_taught(SHAPE).expect("it fits");
        let side = (0.2 * (SIDE * SIDE) as f64).sqrt().round();
        let ids: Vec<crate::data::ImageId> = (0..200).map(crate::data::ImageId).collect();
        let (mut least, mut most) = (usize::MAX, 0);
        for mask in taught.covered(&ids, Seed::new(0)).expect("a place") {
            let count = mask.iter().filter(|covered| **covered).count();
            (least, most) = (least.min(count), most.max(count));
        }
        // Cut off at an edge, a patch would be smaller than its smallest size.
        assert!(least as f64 > 0.85 * (0.8 * side).powi(2), "{least}");
        assert!((most as f64) < 1.15 * (1.2 * side).powi(2), "{most}");
    }

    #[test]
    fn pictures_of_the_target_are_not_learned_from_and_the_seed_decides() {
        let victim = Victim::new(&model());
        let all = recognised(&victim);
        let ones: Vec<usize> = (0..all.len()).filter(|row| all.labels[*row] == 1).collect();
        let ones = all.select(&ones);
        let load = |rows: &[usize]| Ok(ones.select(rows));
        let school = School { labels: &ones.labels, ids: &ones.ids, load: &load };
        let mut patch = config().build_taught(SHAPE).expect("valid");
        let key = TextureKey { person: None, target: Some(1) };
        let error = patch.learn(key, &victim, school, Seed::new(0)).expect_err("nothing is left").to_string();
        assert!(error.contains("everybody") && error.contains("expected"), "{error}");
        // Without a lesson nothing is put on.
        let found = patch.perturb(&victim, &ones, &Goal::Untargeted, Seed::new(0));
        assert!(values(found) == values(ones.images));
        let picture = |seed: u64| {
            let (taught, rest, _) = taught(&config(), None);
            values(taught.perturb(&victim, &rest, &Goal::Untargeted, Seed::new(seed)))
        };
        assert!(picture(3) == picture(3) && picture(3) != picture(4));
    }

    #[test]
    fn a_patch_that_does_not_fit_is_refused() {
        for config in [
            UniversalPatchConfig { area: 0.5, ..config() },
            UniversalPatchConfig { area: 0.4, rotation: 45.0, ..config() },
            UniversalPatchConfig { largest: 9.0, ..config() },
        ] {
            let error = config.build_taught(SHAPE).expect_err("too large").to_string();
            assert!(error.contains("`area`") && error.contains("16 x 16"), "{error}");
        }
        assert!(UniversalPatchConfig { area: 0.4, rotation: 0.0, ..config() }.build_taught(SHAPE).is_ok());
    }
}
