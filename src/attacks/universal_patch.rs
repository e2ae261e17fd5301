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
