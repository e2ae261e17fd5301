//! The eyeglass attack (Sharif, Bhagavatula, Bauer and Reiter, "Accessorize to a crime", CCS 2016), in the
//! digital form of Wu, Tong and Vorobeychik (ICLR 2020): any colours on the frame of a pair of eyeglasses.
//!
//! Start from the best of five plain colours. Then `r <- momentum * r + step * g / max|g|` and
//! `colours <- clip(colours + r)`, where `g` is the gradient of the goal loss on the frame: its size
//! counts, not only its sign. Differences from the published code, on purpose:
//! - Targeted means towards the target. The published targeted attack adds the gradient of the target's
//!   cross-entropy and so runs away from it.
//! - The published code sets colours and momentum that would overflow to zero change, and rounds at each
//!   step. Here real-valued colours are clipped and the momentum is kept. The victim is shown the colours
//!   rounded to 8 bits, and the gradient there is applied to the unrounded ones (straight through), so what
//!   is judged and returned is a picture that can be saved.
//! - The best picture is kept, and a zero gradient moves nothing instead of dividing by zero.
//!
//! Without the options below there is no printing or motion in it: a digital claim. `print` holds the colours
//! to what can be printed, `motion` moves the frame, `person` makes one frame for all pictures of a person, and
//! `landmarks` bring it to each face. With any of them the colours are a texture that is worn (`texture`,
//! `wear`); the starts, steps and momentum are the same.

use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::ascent::{Ascent, Iterate, normalise};
use super::config::{at_least_one, at_most_one, positive, within};
use super::frame::{FrameConfig, mask_from_png, mask_resampled_from_png};
use super::landmarks::places;
use super::print::{Grid, PrintConfig};
use super::steps::{added_inside, combined, masked, rounded_inside};
use super::taught::{PersonConfig, Taught};
use super::texture::{Brush, Direction};
use super::threat::writable;
use super::wear::{Motion, MotionConfig, Origin, Thing, Wear};
use super::{Attack, AttackConfigError, Goal, Magnitude, ThreatModel};
use crate::Seed;
use crate::data::{Batch, ImageId};
use crate::models::Victim;

/// The plain frames to start from, RGB in 8 bits: the colours of Sharif et al.
const COLOURS: [[u8; 3]; 5] =
    [[128, 128, 128], [220, 130, 0], [160, 105, 55], [200, 175, 30], [220, 210, 50]];

/// The frame, and how to search its colours.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EyeglassConfig {
    /// Measures of the frame to draw; the default frame when neither this nor `mask` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<FrameConfig>,
    /// A PNG of the size of the pictures, white where the attack may write, instead of a drawn frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<PathBuf>,
    /// Whether a mask of another size is resampled (nearest pixel); off by default: it is refused.
    #[serde(skip_serializing_if = "is_off")]
    pub resample: bool,
    /// Gradient steps, at least 1; 40 by default.
    pub steps: usize,
    /// Largest change of a value in a step (before momentum), in units of pixels in `[0, 1]`; 20/255 by
    /// default.
    pub step_size: Magnitude,
    /// Share of the last change that is repeated, in `[0, 1]`; 0.4 by default.
    pub momentum: f32,
    /// Whether to leave an image alone once its goal is reached; on by default. Off for training.
    pub early_stop: bool,
    /// CSV with the landmarks of each picture: the frame goes where its eyes are. Without it all faces are in
    /// the same place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landmarks: Option<PathBuf>,
    /// What a printer can show; nothing is asked by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub print: Option<PrintConfig>,
    /// How the frame moves on the face; not at all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub motion: Option<MotionConfig>,
    /// One frame for all pictures of a person, learned from other pictures; one for each picture by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub person: Option<PersonConfig>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde calls it.
fn is_off(flag: &bool) -> bool {
    !flag
}

impl Default for EyeglassConfig {
    fn default() -> Self {
        Self {
            frame: None,
            mask: None,
            resample: false,
            steps: 40,
            step_size: Magnitude::levels(20),
            momentum: 0.4,
            early_stop: true,
            landmarks: None,
            print: None,
            motion: None,
            person: None,
        }
    }
}

impl EyeglassConfig {
    /// Checks the values, without opening a file.
    ///
    /// # Errors
    /// Names the first value that cannot be meant.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        if let Some(frame) = &self.frame {
            frame.validate()?;
            if let Some(mask) = &self.mask {
                return Err(AttackConfigError::Value {
                    key: "mask",
                    found: mask.display().to_string(),
                    expected: "either a mask or the measures of a frame".to_owned(),
                    advice: "remove `mask` or the table `frame`".to_owned(),
                });
            }
        }
        at_least_one("steps", self.steps)?;
        positive("step_size", &self.step_size)?;
        at_most_one("step_size", &self.step_size)?;
        within("momentum", self.momentum, 0.0..=1.0)?;
        PersonConfig::validate_with(self.person.as_ref(), self.print.as_ref(), self.motion.as_ref())?;
        let wrong = |key, found: &str, expected: &str, advice: &str| {
            let [found, expected, advice] = [found, expected, advice].map(str::to_owned);
            Err(AttackConfigError::Value { key, found, expected, advice })
        };
        if self.landmarks.is_some() && self.mask.is_some() {
            return wrong(
                "landmarks",
                "given with a mask",
                "a frame, whose eyes are known",
                "remove `landmarks` or `mask`",
            );
        }
        if self.resample && self.mask.is_none() {
            return wrong("resample", "true", "a mask to resample", "give `mask`, or remove `resample`");
        }
        Ok(())
    }

    /// Whether the frame is more than pixels of one picture.
    pub(super) fn is_worn(&self) -> bool {
        self.landmarks.is_some() || self.print.is_some() || self.motion.is_some() || self.person.is_some()
    }

    /// Where the attack may write in pictures of this shape, `[C, H, W]`: row by row, as drawn or read.
    ///
    /// # Errors
    /// As for [`EyeglassConfig::validate`], and when the mask cannot be used or nothing of the frame is
    /// inside the picture.
    pub fn region(&self, [_, height, width]: [usize; 3]) -> Result<Vec<bool>, AttackConfigError> {
        self.validate()?;
        let mask = match &self.mask {
            Some(path) if self.resample => mask_resampled_from_png(path, height, width)?,
            Some(path) => mask_from_png(path, height, width)?,
            None => self.frame.unwrap_or_default().draw(height, width),
        };
        if mask.contains(&true) {
            return Ok(mask);
        }
        Err(AttackConfigError::Value {
            key: "frame",
            found: "outside the picture".to_owned(),
            expected: format!("a frame that covers some of {height} x {width} pixels"),
            advice: "leave its measures out to get the default".to_owned(),
        })
    }

    /// The attack on pictures of this shape, `[C, H, W]`.
    ///
    /// # Errors
    /// As for [`EyeglassConfig::region`], when the landmarks cannot be used, and for a frame of a person,
    /// which has to be taught.
    pub fn build(&self, shape: [usize; 3]) -> Result<Eyeglasses, AttackConfigError> {
        let region = self.region(shape)?;
        PersonConfig::refuse(self.person.as_ref())?;
        let worn = if self.is_worn() { Some(self.wear(shape)?) } else { None };
        let mask = region.into_iter().map(f32::from).collect();
        Ok(Eyeglasses { config: self.clone(), mask: TensorData::new(mask, [1, 1, shape[1], shape[2]]), worn })
    }

    /// The attack with one frame for each person, which is yet to be taught; none where each picture has
    /// its own.
    ///
    /// # Errors
    /// As for [`EyeglassConfig::region`], and when the landmarks cannot be used.
    pub fn build_taught(&self, shape: [usize; 3]) -> Result<Option<Taught>, AttackConfigError> {
        let Some(person) = self.person else { return Ok(None) };
        let wear = self.wear(shape)?;
        let brush = self.brush(wear.grid(), shape[0]);
        Ok(Some(Taught::of_people("eyeglasses", wear, brush, person)))
    }

    /// The frame as a thing that is worn.
    fn wear(&self, shape: [usize; 3]) -> Result<Wear, AttackConfigError> {
        let part = self.region(shape)?;
        let [_, height, width] = shape;
        let eyes = self.frame.unwrap_or_default().eyes([height, width]);
        let places = places(self.landmarks.as_deref(), [height, width], &eyes)?;
        let fine = Grid { rows: height, columns: width, part };
        let thing = Thing { picture: [height, width], fine, cell: 1, origin: Origin::Same };
        Ok(Wear::new(thing, self.motion.map_or(Motion::Still, Motion::Around), places))
    }

    fn brush(&self, grid: &Grid, channels: usize) -> Brush {
        let start = |colour| {
            let values = levels(colour, channels).into_iter().map(|level| level / 255.0);
            values.flat_map(|value| vec![value; grid.texels()]).collect()
        };
        Brush {
            grid: grid.clone(),
            channels,
            starts: COLOURS.map(start).to_vec(),
            steps: self.steps,
            step_size: self.step_size.value(),
            direction: Direction::Proportional,
            momentum: self.momentum,
            print: self.print.clone().unwrap_or_default(),
            early_stop: self.early_stop,
        }
    }
}

/// The eyeglass attack, made by [`EyeglassConfig::build`].
#[derive(Clone, Debug)]
pub struct Eyeglasses {
    config: EyeglassConfig,
    /// `[1, 1, H, W]`.
    mask: TensorData,
    /// The frame as a thing that is worn, where it has to be.
    worn: Option<Wear>,
}

impl Eyeglasses {
    /// The region of the frame in its own place, on a device. With landmarks or motion it is elsewhere.
    pub fn threat_model(&self, device: &Device) -> ThreatModel {
        ThreatModel::Region { mask: Tensor::from_data(self.mask.clone(), device) }
    }
}

impl Attack for Eyeglasses {
    fn name(&self) -> &'static str {
        "eyeglasses"
    }

    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        if let Some(worn) = &self.worn {
            let brush = self.config.brush(worn.grid(), batch.shape()[1]);
            return worn.perturb(victim, batch, goal, seed.purpose("eyeglasses"), &brush);
        }
        Ascent::run(victim, batch, goal, self.config.early_stop, |ascent| {
            let mask = Tensor::from_data(self.mask.clone(), &ascent.batch.images.device());
            let mut images = best_plain_frame(ascent, &mask);
            if let Some(kept) = ascent.drop_reached() {
                images = images.select(0, kept);
            }
            if ascent.is_done() {
                return;
            }
            let change = images.zeros_like();
            ascent.climb(Coloured { config: &self.config, mask, images, change }, self.config.steps);
        })
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        match &self.worn {
            Some(worn) => worn.admits(clean, adversarial),
            None => self.threat_model(&clean.device()).contains(clean, adversarial),
        }
    }

    fn covered(&self, ids: &[ImageId], seed: Seed) -> Option<Vec<Vec<bool>>> {
        let mask = || self.mask.iter::<f32>().map(|value| value > 0.5).collect();
        Some(match &self.worn {
            Some(worn) => worn.covered(ids, seed.purpose("eyeglasses")),
            None => vec![mask(); ids.len()],
        })
    }
}

/// Each image with the plain frame that has the highest goal loss, the first one among equals.
fn best_plain_frame(ascent: &mut Ascent, mask: &Tensor<4>) -> Tensor<4> {
    let clean = ascent.batch.images.clone();
    let shape = clean.dims();
    let mut best = clean.clone();
    let mut highest = Tensor::<1>::full([shape[0]], f32::NEG_INFINITY, &clean.device());
    for colour in COLOURS {
        let colour = plain(colour, shape[1], &clean.device()).expand(shape);
        let images = clean.clone().mask_where(writable(mask, shape), colour);
        let logits = ascent.logits(images.clone());
        let loss = ascent.loss(logits.clone());
        ascent.offer(images.clone(), logits);
        let better = loss.clone().greater(highest.clone());
        highest = highest.mask_where(better.clone(), loss);
        best = best.mask_where(better.reshape([shape[0], 1, 1, 1]).expand(shape), images);
    }
    best
}

/// A colour as `[1, C, 1, 1]`: red, green and blue, or its mean in every channel of other pictures.
fn plain(colour: [u8; 3], channels: usize, device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(levels(colour, channels), [1, channels, 1, 1]), device)
        .div_scalar(255.0)
}

/// The level of a colour in each channel.
fn levels(colour: [u8; 3], channels: usize) -> Vec<f32> {
    let grey = (colour.iter().map(|level| f32::from(*level)).sum::<f32>() / 3.0).round();
    match channels {
        3 => colour.map(f32::from).to_vec(),
        _ => vec![grey; channels],
    }
}

struct Coloured<'a> {
    config: &'a EyeglassConfig,
    /// `[1, 1, H, W]`.
    mask: Tensor<4>,
    /// The pictures with unrounded colours on the frame.
    images: Tensor<4>,
    /// The last change, with what momentum carried over.
    change: Tensor<4>,
}

impl Iterate for Coloured<'_> {
    fn pictures(&self) -> Tensor<4> {
        rounded_inside(&self.images, &self.mask)
    }

    fn step(self, gradient: Tensor<4>) -> Self {
        let gradient = normalise(masked(&gradient, &self.mask));
        let (momentum, length) = (self.config.momentum, self.config.step_size.value());
        let change = combined(&self.change, momentum, &gradient, length);
        Self { images: added_inside(&self.images, &change, &self.mask), change, ..self }
    }

    fn select(self, rows: Tensor<1, Int>) -> Self {
        Self {
            images: self.images.select(0, rows.clone()),
            change: self.change.select(0, rows),
            mask: self.mask,
            config: self.config,
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // Equal values are meant.
mod tests {
    use super::super::fixtures::{SHAPE, SIDE, batch, network, values};
    use super::*;

    fn targets(batch: &Batch) -> Goal {
        Goal::Targeted(batch.labels.iter().map(|label| (label + 1) % 3).collect())
    }

    /// Goes the other way: the sign error of the published targeted attack.
    struct Flipped<I>(I);

    impl<I: Iterate> Iterate for Flipped<I> {
        fn pictures(&self) -> Tensor<4> {
            self.0.pictures()
        }

        fn step(self, gradient: Tensor<4>) -> Self {
            Self(self.0.step(gradient.neg()))
        }

        fn select(self, rows: Tensor<1, Int>) -> Self {
            Self(self.0.select(rows))
        }
    }

    /// How many of six images are closer to their targets after one step from a plain frame.
    fn closer_after_one_step(flipped: bool) -> usize {
        let config = EyeglassConfig::default();
        let attack = config.build(SHAPE).expect("valid");
        let victim = Victim::new(&network(3));
        let (batch, goal) = (batch(6, 3, 0.0), targets(&batch(6, 3, 0.0)));
        let mut closer = 0;
        Ascent::run(&victim, &batch, &goal, false, |ascent| {
            let mask = Tensor::from_data(attack.mask.clone(), &batch.images.device());
            let images = best_plain_frame(ascent, &mask);
            let change = images.zeros_like();
            let start = Coloured { config: &config, mask, images: images.clone(), change };
            let gradient = ascent.gradient(start.pictures());
            let moved = if flipped {
                Flipped(start).step(gradient).pictures()
            } else {
                start.step(gradient).pictures()
            };
            let loss = |images| values(ascent.loss(ascent.logits(images)));
            closer = loss(images).iter().zip(loss(moved)).filter(|(before, after)| after > before).count();
        });
        closer
    }

    #[test]
    fn one_step_goes_towards_the_target_and_a_flipped_sign_would_not() {
        assert_eq!(closer_after_one_step(false), 6);
        assert_eq!(closer_after_one_step(true), 0);
    }

    #[test]
    fn the_frame_is_made_of_eight_bit_colours_and_the_face_is_untouched() {
        let attack = EyeglassConfig { steps: 5, ..EyeglassConfig::default() }.build(SHAPE).expect("valid");
        let mask: Vec<f32> = attack.mask.iter::<f32>().collect();
        let clean = batch(3, 3, 0.0);
        let found = attack.perturb(&Victim::new(&network(3)), &clean, &targets(&clean), Seed::new(0));
        let mut changed = 0;
        for (index, (before, after)) in values(clean.images).iter().zip(values(found)).enumerate() {
            if mask[index % (SIDE * SIDE)] < 0.5 {
                assert_eq!(*before, after);
            } else if *before != after {
                // Exactly the value that a decoder gives for the level.
                assert_eq!(after, f32::from((after * 255.0).round() as u8) / 255.0);
                changed += 1;
            }
        }
        assert!(changed > 0);
    }

    #[test]
    fn steps_are_in_proportion_to_the_gradient_and_momentum_carries_over() {
        let config = EyeglassConfig { step_size: "0.1".parse().expect("0.1"), ..EyeglassConfig::default() };
        let device = Device::default();
        let row = |values: [f32; 4]| Tensor::<4>::from_data([[[values]]], &device);
        // The last pixel is not on the frame; the gradient there is the largest.
        let mask = row([1.0, 1.0, 1.0, 0.0]);
        let images = row([0.5, 0.5, 0.95, 0.5]);
        let start = Coloured { config: &config, mask, change: images.zeros_like(), images };
        let once = start.step(row([0.2, -0.1, 0.2, 1.0]));
        let close = |found: &Tensor<4>, expected: [f32; 4]| {
            let gap: f32 = (found.clone() - row(expected)).abs().max().into_scalar();
            assert!(gap < 1e-6, "{found}");
        };
        close(&once.images, [0.6, 0.45, 1.0, 0.5]);
        let twice = once.step(row([0.0; 4]));
        close(&twice.images, [0.64, 0.43, 1.0, 0.5]);
    }

    #[test]
    fn a_mask_from_a_file_takes_the_place_of_the_frame() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("mask.png");
        let half = image::GrayImage::from_fn(16, 16, |x, _| image::Luma([if x < 8 { 255 } else { 0 }]));
        half.save(&path).expect("written");
        let config = EyeglassConfig { mask: Some(path), ..EyeglassConfig::default() };
        let mask = config.region(SHAPE).expect("a mask");
        assert!(mask.iter().enumerate().all(|(index, inside)| *inside == (index % SIDE < 8)));
        let clean = batch(1, 3, 0.1).images;
        let left = clean.clone().slice_fill([0..1, 0..3, 0..16, 0..8], 0.0);
        let attack = config.build(SHAPE).expect("valid");
        assert_eq!(attack.admits(clean.clone(), left), [true]);
        assert_eq!(attack.admits(clean.clone(), clean.zeros_like()), [false]);
        assert!(config.build([3, 32, 32]).is_err(), "the mask has another size");
    }

    #[test]
    fn grey_pictures_get_grey_frames() {
        let found = values(plain([220, 130, 0], 1, &Device::default()));
        assert_eq!(found, [117.0 / 255.0]);
        assert_eq!(values(plain([220, 130, 0], 3, &Device::default())), [220.0 / 255.0, 130.0 / 255.0, 0.0]);
    }
}
