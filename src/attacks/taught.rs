//! Attacks with textures that are learned from other pictures than those they are worn on: one texture for
//! all pictures of a person (Sharif et al., CCS 2016), or one for everybody (a universal patch).
//!
//! Each texture is learned once, from pictures of one split, and put on pictures of another, which it has
//! never seen: in a place that it has never seen either, if it moves. So the result for a picture depends
//! on the pictures that were learned from, and on none that it is judged with.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use image::{Rgba, RgbaImage};
use rand::Rng;

use super::config::at_least_one;
use super::print::PrintConfig;
use super::texture::{Brush, climb};
use super::wear::{MotionConfig, Wear};
use super::{Attack, AttackConfigError, Goal};
use crate::Seed;
use crate::data::{Batch, ImageId};
use crate::models::Victim;

/// One texture for all pictures of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PersonConfig {
    /// Most pictures of a person that a texture is learned from, at least 1; 32 by default.
    pub pictures: usize,
}

impl Default for PersonConfig {
    fn default() -> Self {
        Self { pictures: 32 }
    }
}

impl PersonConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// When there are no pictures to learn from.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        at_least_one("person.pictures", self.pictures)
    }

    /// Checks it with the terms that go along with it, where they are given.
    pub(super) fn validate_with(
        person: Option<&Self>,
        print: Option<&PrintConfig>,
        motion: Option<&MotionConfig>,
    ) -> Result<(), AttackConfigError> {
        person.map_or(Ok(()), Self::validate)?;
        print.map_or(Ok(()), PrintConfig::validate)?;
        motion.map_or(Ok(()), MotionConfig::validate)
    }

    /// Refuses textures of a person where there is nothing to learn from.
    pub(super) fn refuse(person: Option<&Self>) -> Result<(), AttackConfigError> {
        match person {
            None => Ok(()),
            Some(_) => Err(needs_lessons("person")),
        }
    }
}

/// An attack that learns, where none can be taught.
pub(super) fn needs_lessons(key: &'static str) -> AttackConfigError {
    AttackConfigError::Value {
        key,
        found: "an attack that learns from a set of pictures".to_owned(),
        expected: "one that attacks each picture by itself here".to_owned(),
        advice: "use it in `syfar audit`, which teaches it first, or take another attack".to_owned(),
    }
}

/// Loads the pictures with these positions.
pub type LoadLesson<'a> = dyn Fn(&[usize]) -> Result<Batch, Box<dyn std::error::Error + Send + Sync>> + 'a;

/// The pictures to learn from. The slices have one entry for each picture.
#[derive(Clone, Copy)]
pub struct School<'a> {
    /// Class indices.
    pub labels: &'a [usize],
    /// Stable ids.
    pub ids: &'a [ImageId],
    /// Loads pixels on the victim's device.
    pub load: &'a LoadLesson<'a>,
}

/// What a texture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TextureKey {
    /// The class that wears it; everybody if absent.
    pub person: Option<usize>,
    /// The class that it aims at; any error if absent.
    pub target: Option<usize>,
}

/// Who wears a texture.
#[derive(Clone, Copy, Debug)]
enum Wearers {
    /// A person each; learned from that many of their pictures at most.
    Person(usize),
    /// Everybody; learned from that many pictures at most.
    Everybody(usize),
}

/// An attack with learned textures. It is made untaught by
/// [`super::AttackConfig::build_taught`]; [`Taught::learn`] teaches it one texture after another. A picture
/// for which it has no texture stays as it is.
#[derive(Clone, Debug)]
pub struct Taught {
    name: &'static str,
    wear: Wear,
    brush: Brush,
    wearers: Wearers,
    textures: BTreeMap<TextureKey, Vec<f32>>,
}

impl Taught {
    pub(super) fn of_people(name: &'static str, wear: Wear, brush: Brush, person: PersonConfig) -> Self {
        Self { name, wear, brush, wearers: Wearers::Person(person.pictures), textures: BTreeMap::new() }
    }

    pub(super) fn of_everybody(name: &'static str, wear: Wear, brush: Brush, pictures: usize) -> Self {
        Self { name, wear, brush, wearers: Wearers::Everybody(pictures), textures: BTreeMap::new() }
    }

    /// All textures that some goals need: nothing for any error, or a target. Nobody aims at themselves.
    pub fn keys(&self, classes: usize, goals: &[Option<usize>]) -> Vec<TextureKey> {
        match self.wearers {
            Wearers::Everybody(_) => {
                goals.iter().map(|&target| TextureKey { person: None, target }).collect()
            }
            Wearers::Person(_) => (0..classes)
                .flat_map(|person| {
                    let others = goals.iter().filter(move |goal| **goal != Some(person));
                    others.map(move |&target| TextureKey { person: Some(person), target })
                })
                .collect(),
        }
    }

    /// The texture that a picture of a class wears for a goal.
    pub fn key(&self, label: usize, target: Option<usize>) -> TextureKey {
        TextureKey { person: matches!(self.wearers, Wearers::Person(_)).then_some(label), target }
    }

    /// Learns one texture and says from how many pictures. Pictures of the target's class are never among
    /// them; a texture for everybody learns from pictures that are recognised when they are clean.
    ///
    /// # Errors
    /// When pictures cannot be loaded, or none is left to learn from.
    pub fn learn(
        &mut self,
        key: TextureKey,
        victim: &Victim,
        school: School,
        seed: Seed,
    ) -> Result<usize, AttackConfigError> {
        let seed = seed.purpose("lesson").purpose(self.name);
        let batch = self.lesson(key, victim, school, seed)?;
        let goal = key.target.map_or(Goal::Untargeted, |target| Goal::Targeted(vec![target; batch.len()]));
        let views = (0..batch.len()).flat_map(|row| self.wear.views(batch.ids[row], row, seed)).collect();
        let texture = climb(victim, &batch, &goal, vec![views], &self.brush).swap_remove(0);
        self.textures.insert(key, texture);
        Ok(batch.len())
    }

    /// The pictures to learn a texture from, in an order that the seed decides.
    fn lesson(
        &self,
        key: TextureKey,
        victim: &Victim,
        school: School,
        seed: Seed,
    ) -> Result<Batch, AttackConfigError> {
        let wanted = |row: &usize| {
            let label = school.labels[*row];
            key.person.is_none_or(|person| person == label)
                && Some(label) != key.target
                && self.wear.is_placed(school.ids[*row])
        };
        let mut rows: Vec<usize> = (0..school.labels.len()).filter(wanted).collect();
        rows.sort_by_key(|&row| (seed.at(school.ids[row].0).rng().next_u64(), school.ids[row]));
        let load = |rows: &[usize]| (school.load)(rows).map_err(AttackConfigError::Lesson);
        let most = match self.wearers {
            Wearers::Person(most) => {
                rows.truncate(most);
                most
            }
            Wearers::Everybody(most) => {
                let mut recognised = Vec::new();
                for part in rows.chunks(most) {
                    if recognised.len() < most {
                        let batch = load(part)?;
                        let wrong = Goal::Untargeted.reached_by(victim.logits(batch.images), &batch.labels);
                        let wrong: Vec<bool> = wrong.to_data().iter::<bool>().collect();
                        recognised
                            .extend(part.iter().zip(wrong).filter(|(_, wrong)| !wrong).map(|(row, _)| *row));
                    }
                }
                rows = recognised;
                most
            }
        };
        rows.truncate(most);
        if rows.is_empty() {
            return Err(AttackConfigError::NoLesson {
                person: key.person.map_or_else(|| "everybody".to_owned(), |person| format!("class {person}")),
            });
        }
        load(&rows)
    }

    /// The learned textures as pictures, transparent where they are no part of the thing.
    pub fn pictures(&self) -> impl Iterator<Item = (TextureKey, RgbaImage)> {
        let grid = self.wear.grid();
        self.textures.iter().map(move |(key, texture)| {
            let channels = self.brush.channels;
            let picture = RgbaImage::from_fn(grid.columns as u32, grid.rows as u32, |x, y| {
                let texel = y as usize * grid.columns + x as usize;
                let level = |channel: usize| {
                    let value = texture[channel.min(channels - 1) * grid.texels() + texel];
                    (value * 255.0).round() as u8
                };
                Rgba([level(0), level(1), level(2), if grid.part[texel] { 255 } else { 0 }])
            });
            (*key, picture)
        })
    }
}

impl Attack for Taught {
    fn name(&self) -> &'static str {
        self.name
    }

    fn perturb(&self, _victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4> {
        let texture = |row: usize| {
            let target = match goal {
                Goal::Untargeted => None,
                Goal::Targeted(targets) => Some(targets[row]),
            };
            self.textures.get(&self.key(batch.labels[row], target)).map(Vec::as_slice)
        };
        let textures: Vec<Option<&[f32]>> = (0..batch.len()).map(texture).collect();
        self.wear.put_on(batch, &textures, seed.purpose(self.name))
    }

    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool> {
        self.wear.admits(clean, adversarial)
    }

    fn covered(&self, ids: &[ImageId], seed: Seed) -> Option<Vec<Vec<bool>>> {
        Some(self.wear.covered(ids, seed.purpose(self.name)))
    }
}
