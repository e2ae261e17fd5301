//! Attacks as a person configures them.

use std::path::Path;

use super::apgd::ApgdConfig;
use super::apgd_t::ApgdTConfig;
use super::autoattack::AutoAttackConfig;
use super::eyeglasses::EyeglassConfig;
use super::fab::FabConfig;
use super::face_mask::FaceMaskConfig;
use super::fgsm::FgsmConfig;
use super::frame::MaskError;
use super::momentum::MomentumConfig;
use super::pgd::PgdConfig;
use super::roa::RoaConfig;
use super::square::SquareConfig;
use super::taught::{Taught, needs_lessons};
use super::universal_patch::UniversalPatchConfig;
use super::{Attack, Magnitude, Norm};
use crate::data::DataError;

/// Any attack: a table with the key `kind` and the keys of that attack.
///
/// ```
/// use syfar::attacks::AttackConfig;
/// let config: AttackConfig = toml::from_str("kind = \"pgd\"\nepsilon = \"4/255\"\nsteps = 20").unwrap();
/// let attack = config.build([3, 64, 64]).unwrap();
/// assert_eq!(attack.name(), "pgd");
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum AttackConfig {
    /// Auto-PGD: no step size to choose.
    Apgd(ApgdConfig),
    /// Auto-PGD against the nearest classes.
    ApgdT(ApgdTConfig),
    /// Several attacks in a row, each on the images that still stand.
    Autoattack(AutoAttackConfig),
    /// The fast adaptive boundary attack.
    FabT(FabConfig),
    /// One step of the length of the budget.
    Fgsm(FgsmConfig),
    /// Projected gradient descent with momentum in a ball.
    MomentumPgd(MomentumConfig),
    /// Projected gradient descent in a ball.
    Pgd(PgdConfig),
    /// A rectangle that covers a part of the picture.
    Roa(RoaConfig),
    /// Random search with squares: no gradients.
    Square(SquareConfig),
    /// The frame of a pair of eyeglasses.
    Eyeglasses(EyeglassConfig),
    /// A mask over nose, mouth and chin.
    FaceMask(FaceMaskConfig),
    /// One square for all pictures, anywhere: it learns from pictures of another split.
    UniversalPatch(UniversalPatchConfig),
}

/// Why an attack cannot be made from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum AttackConfigError {
    /// A value that cannot be meant.
    #[error("attack: `{key}` is {found}, expected {expected}; {advice}")]
    Value {
        /// The key in the configuration.
        key: &'static str,
        /// Its value.
        found: String,
        /// What it may be.
        expected: String,
        /// What to do.
        advice: String,
    },
    /// The picture of the region that may be written to is of no use.
    #[error("attack: {0}")]
    Mask(#[from] MaskError),
    /// The landmarks of the faces are of no use.
    #[error("attack, landmarks: {0}; expected the CSV that docs/attacks.md describes")]
    Landmarks(#[from] DataError),
    /// Pictures to learn from cannot be loaded.
    #[error("attack: the pictures to learn from cannot be loaded: {0}")]
    Lesson(Box<dyn std::error::Error + Send + Sync>),
    /// There is nothing to learn from.
    #[error(
        "attack: found no picture to learn a texture for {person} from, expected one that is recognised, has landmarks if they are given, and is not of the target's class; choose another split, or an attack that learns nothing"
    )]
    NoLesson {
        /// Who was to wear it.
        person: String,
    },
}

impl AttackConfig {
    /// Checks everything that can be checked without knowing the pictures.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        match self {
            Self::Apgd(config) => config.validate(),
            Self::ApgdT(config) => config.validate(),
            Self::Autoattack(config) => config.validate(),
            Self::FabT(config) => config.validate(),
            Self::Fgsm(config) => config.validate(),
            Self::Square(config) => config.validate(),
            Self::MomentumPgd(config) => config.validate(),
            Self::Pgd(config) => config.validate(),
            Self::Roa(config) => config.validate(),
            Self::Eyeglasses(config) => config.validate(),
            Self::FaceMask(config) => config.validate(),
            Self::UniversalPatch(config) => config.validate(),
        }
    }

    /// The same attack without early stopping: training wants the strongest picture and not the first
    /// one that succeeds.
    #[must_use]
    pub fn for_training(&self) -> Self {
        let mut config = self.clone();
        match &mut config {
            Self::Apgd(config) => config.early_stop = false,
            Self::ApgdT(config) => config.early_stop = false,
            Self::Autoattack(config) => config.early_stop = false,
            Self::FabT(config) => config.early_stop = false,
            Self::Fgsm(config) => config.early_stop = false,
            Self::Square(config) => config.early_stop = false,
            Self::MomentumPgd(config) => config.early_stop = false,
            Self::Pgd(config) => config.early_stop = false,
            Self::Roa(config) => config.early_stop = false,
            Self::Eyeglasses(config) => config.early_stop = false,
            Self::FaceMask(config) => config.early_stop = false,
            Self::UniversalPatch(_) => (),
        }
        config
    }

    /// The attack on pictures of this shape, `[C, H, W]`. Files that it needs are read here.
    ///
    /// # Errors
    /// As for [`AttackConfig::validate`], when the attack does not fit the pictures, and when it has to be
    /// taught ([`AttackConfig::build_taught`]).
    pub fn build(&self, input_shape: [usize; 3]) -> Result<Box<dyn Attack>, AttackConfigError> {
        Ok(match self {
            Self::Apgd(config) => Box::new(config.build()?),
            Self::ApgdT(config) => Box::new(config.build()?),
            Self::Autoattack(config) => Box::new(config.build()?),
            Self::FabT(config) => Box::new(config.build()?),
            Self::Fgsm(config) => Box::new(config.build()?),
            Self::Square(config) => Box::new(config.build()?),
            Self::MomentumPgd(config) => Box::new(config.build()?),
            Self::Pgd(config) => Box::new(config.build()?),
            Self::Roa(config) => Box::new(config.build(input_shape)?),
            Self::Eyeglasses(config) => Box::new(config.build(input_shape)?),
            Self::FaceMask(config) => Box::new(config.build(input_shape)?),
            Self::UniversalPatch(config) => {
                config.build_taught(input_shape)?;
                return Err(needs_lessons("kind"));
            }
        })
    }

    /// The attack on pictures of this shape, `[C, H, W]`, that is yet to be taught; none for attacks that learn
    /// nothing.
    ///
    /// # Errors
    /// As for [`AttackConfig::validate`], and when the attack does not fit the pictures.
    pub fn build_taught(&self, input_shape: [usize; 3]) -> Result<Option<Taught>, AttackConfigError> {
        match self {
            Self::Eyeglasses(config) => config.build_taught(input_shape),
            Self::FaceMask(config) => config.build_taught(input_shape),
            Self::UniversalPatch(config) => config.build_taught(input_shape).map(Some),
            _ => Ok(None),
        }
    }

    /// The CSV with the landmarks of the pictures, if the attack needs them.
    pub fn landmarks(&self) -> Option<&Path> {
        match self {
            Self::Eyeglasses(config) => config.landmarks.as_deref(),
            Self::FaceMask(config) => config.landmarks.as_deref(),
            _ => None,
        }
    }

    /// The files that decide where the attack may write.
    pub fn files(&self) -> Vec<&Path> {
        let mask = match self {
            Self::Eyeglasses(config) => config.mask.as_deref(),
            _ => None,
        };
        mask.into_iter().chain(self.landmarks()).collect()
    }
}

/// Refuses a budget of pixels above 1, which is nearly always meant in grey levels.
pub(super) fn at_most_one(key: &'static str, magnitude: &Magnitude) -> Result<(), AttackConfigError> {
    if magnitude.value() <= 1.0 {
        return Ok(());
    }
    Err(AttackConfigError::Value {
        key,
        found: magnitude.to_string(),
        expected: "at most 1, because pixels are in [0, 1]".to_owned(),
        advice: format!("for so many of 255 grey levels write {key} = \"{}/255\"", magnitude.value()),
    })
}

/// Refuses L1 for an attack that has no steps for it.
pub(super) fn no_l1(attack: &str, norm: Norm) -> Result<(), AttackConfigError> {
    if norm != Norm::L1 {
        return Ok(());
    }
    Err(AttackConfigError::Value {
        key: "norm",
        found: "l1".to_owned(),
        expected: format!("linf or l2 for {attack}"),
        advice: "for L1 use kind = \"apgd\", \"apgd-t\", \"fab-t\", \"square\" or \"autoattack\"".to_owned(),
    })
}

/// Refuses a step of nothing.
pub(super) fn positive(key: &'static str, magnitude: &Magnitude) -> Result<(), AttackConfigError> {
    if magnitude.value() > 0.0 {
        return Ok(());
    }
    Err(AttackConfigError::Value {
        key,
        found: magnitude.to_string(),
        expected: "a number above 0".to_owned(),
        advice: format!("write for example {key} = \"2/255\""),
    })
}

/// Refuses a count of zero.
pub(super) fn at_least_one(key: &'static str, count: usize) -> Result<(), AttackConfigError> {
    if count > 0 {
        return Ok(());
    }
    Err(AttackConfigError::Value {
        key,
        found: "0".to_owned(),
        expected: "a whole number of at least 1".to_owned(),
        advice: format!("write for example {key} = 10"),
    })
}

/// Refuses a fraction outside an interval.
pub(super) fn within(
    key: &'static str,
    value: f32,
    allowed: std::ops::RangeInclusive<f32>,
) -> Result<(), AttackConfigError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(AttackConfigError::Value {
        key,
        found: value.to_string(),
        expected: format!("a number from {} to {}", allowed.start(), allowed.end()),
        advice: "leave it out to get the default".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AttackConfig, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// The error of a configuration that can be read and makes no sense.
    fn refused(text: &str) -> String {
        let config = read(text).expect(text);
        config.build([3, 64, 64]).err().unwrap_or_else(|| panic!("{text} is accepted")).to_string()
    }

    #[test]
    fn every_kind_has_usable_defaults() {
        for kind in [
            "apgd",
            "apgd-t",
            "autoattack",
            "fab-t",
            "fgsm",
            "momentum-pgd",
            "pgd",
            "roa",
            "square",
            "eyeglasses",
            "face-mask",
        ] {
            let config = read(&format!("kind = \"{kind}\"")).expect(kind);
            assert_eq!(config.build([3, 64, 64]).expect(kind).name(), kind);
            let written = toml::to_string(&config).expect("serialisable");
            assert_eq!(read(&written).expect(&written), config);
            let json = serde_json::to_string(&config).expect("serialisable");
            assert_eq!(serde_json::from_str::<AttackConfig>(&json).expect(&json), config);
        }
    }

    #[test]
    fn all_keys_are_read() {
        let text = "kind = \"roa\"\nsearch = \"exhaustive\"\nstep_size = 0.1\nheight = 9";
        let AttackConfig::Roa(roa) = read(text).expect(text) else { panic!("roa") };
        assert_eq!(
            (roa.search, roa.height, roa.step_size.to_string()),
            (crate::attacks::Search::Exhaustive, 9, "0.1".to_owned())
        );
        let text = "kind = \"eyeglasses\"\nmomentum = 0.1\n[frame]\neye_line = 0.4";
        let AttackConfig::Eyeglasses(eyeglasses) = read(text).expect(text) else { panic!("eyeglasses") };
        assert_eq!(eyeglasses.frame.map(|frame| frame.eye_line), Some(0.4));
    }

    #[test]
    fn unknown_keys_and_kinds_are_refused() {
        for text in [
            "kind = \"pgd\"\nepsilom = 0.1",
            "kind = \"roa\"\nepsilon = 0.1",
            "kind = \"roa\"\nsearch = { gradient = { candidate = 3 } }",
            "kind = \"eyeglasses\"\n[frame]\neye_lines = 0.1",
        ] {
            assert!(read(text).expect_err(text).contains("unknown field"), "{text}");
        }
        assert!(read("kind = \"pdg\"").expect_err("unknown kind").contains("pgd"));
        assert!(read("epsilon = 0.1").expect_err("no kind").contains("kind"));
    }

    #[test]
    fn grey_levels_without_a_denominator_are_refused_with_the_right_spelling() {
        let error = refused("kind = \"pgd\"\nepsilon = 8");
        assert!(error.contains("`epsilon` is 8") && error.contains("\"8/255\""), "{error}");
        let error = refused("kind = \"eyeglasses\"\nstep_size = 20");
        assert!(error.contains("`step_size` is 20") && error.contains("\"20/255\""), "{error}");
        let two = read("kind = \"pgd\"\nnorm = \"l2\"\nepsilon = 2").expect("L2");
        two.validate().expect("an L2 budget may be above 1");
    }

    #[test]
    fn values_that_cannot_be_meant_are_refused() {
        for (text, key) in [
            ("kind = \"pgd\"\nsteps = 0", "steps"),
            ("kind = \"pgd\"\nnorm = \"l1\"", "norm"),
            ("kind = \"apgd\"\neot = 0", "eot"),
            ("kind = \"apgd-t\"\ntargets = 0", "targets"),
            ("kind = \"autoattack\"\nqueries = 0", "queries"),
            ("kind = \"autoattack\"\nepsilon = 8", "epsilon"),
            ("kind = \"fab-t\"\nrestarts = 0", "restarts"),
            ("kind = \"fgsm\"\nnorm = \"l1\"", "norm"),
            ("kind = \"square\"\nshare = 2.0", "share"),
            ("kind = \"fgsm\"\nepsilon = 8", "epsilon"),
            ("kind = \"momentum-pgd\"\nsteps = 0", "steps"),
            ("kind = \"momentum-pgd\"\ndecay = -1.0", "decay"),
            ("kind = \"pgd\"\nrestarts = 0", "restarts"),
            ("kind = \"pgd\"\nrestarts = 3\nrandom_start = false", "restarts"),
            ("kind = \"pgd\"\nstep_size = 0", "step_size"),
            ("kind = \"roa\"\nheight = 65", "height"),
            ("kind = \"roa\"\nwidth = 100", "width"),
            ("kind = \"roa\"\nwidth = 0", "width"),
            ("kind = \"roa\"\nstride = 0", "stride"),
            ("kind = \"roa\"\nsearch = { gradient = { candidates = 0 } }", "candidates"),
            ("kind = \"eyeglasses\"\nmomentum = 1.5", "momentum"),
            ("kind = \"eyeglasses\"\nmask = \"a.png\"\n[frame]", "mask"),
            ("kind = \"eyeglasses\"\nmask = \"does-not-exist.png\"", "does-not-exist.png"),
            ("kind = \"eyeglasses\"\n[frame]\neye_line = 2.0", "eye_line"),
            ("kind = \"eyeglasses\"\nmask = \"a.png\"\nlandmarks = \"b.csv\"", "landmarks"),
            ("kind = \"eyeglasses\"\nlandmarks = \"does-not-exist.csv\"", "does-not-exist.csv"),
            ("kind = \"eyeglasses\"\nresample = true", "resample"),
            ("kind = \"eyeglasses\"\n[motion]\ndraws = 0", "motion.draws"),
            ("kind = \"eyeglasses\"\n[motion]\nshift = 4", "motion.shift"),
            ("kind = \"eyeglasses\"\n[print]\ntotal_variation = 3", "print.total_variation"),
            ("kind = \"eyeglasses\"\n[person]\npictures = 3", "person"),
            ("kind = \"face-mask\"\nsteps = 0", "steps"),
            ("kind = \"face-mask\"\nstep_size = 4", "step_size"),
            ("kind = \"face-mask\"\n[person]\npictures = 0", "person"),
            ("kind = \"roa\"\nplace = { top = 60, left = 0 }", "place.top"),
            ("kind = \"universal-patch\"", "syfar audit"),
            ("kind = \"universal-patch\"\narea = 0.5", "area"),
            ("kind = \"universal-patch\"\nsmallest = 2.0", "largest"),
            ("kind = \"universal-patch\"\ndraws = 0", "draws"),
        ] {
            let error = refused(text);
            assert!(error.contains(key) && error.contains("expected"), "{text}: {error}");
        }
    }
}
