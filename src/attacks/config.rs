//! Attacks as a person configures them.

use super::eyeglasses::EyeglassConfig;
use super::frame::MaskError;
use super::pgd::PgdConfig;
use super::roa::RoaConfig;
use super::{Attack, Magnitude};

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
    /// Projected gradient descent in a ball.
    Pgd(PgdConfig),
    /// A rectangle that covers a part of the picture.
    Roa(RoaConfig),
    /// The frame of a pair of eyeglasses.
    Eyeglasses(EyeglassConfig),
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
}

impl AttackConfig {
    /// Checks everything that can be checked without knowing the pictures.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn validate(&self) -> Result<(), AttackConfigError> {
        match self {
            Self::Pgd(config) => config.validate(),
            Self::Roa(config) => config.validate(),
            Self::Eyeglasses(config) => config.validate(),
        }
    }

    /// The same attack with every step made on every image, for training: an image that the attack has
    /// already turned is worth making worse.
    #[must_use]
    pub fn for_training(mut self) -> Self {
        let early_stop = match &mut self {
            Self::Pgd(config) => &mut config.early_stop,
            Self::Roa(config) => &mut config.early_stop,
            Self::Eyeglasses(config) => &mut config.early_stop,
        };
        *early_stop = false;
        self
    }

    /// The attack on pictures of this shape, `[C, H, W]`. Files that it needs are read here.
    ///
    /// # Errors
    /// As for [`AttackConfig::validate`], and when the attack does not fit the pictures.
    pub fn build(&self, input_shape: [usize; 3]) -> Result<Box<dyn Attack>, AttackConfigError> {
        Ok(match self {
            Self::Pgd(config) => Box::new(config.build()?),
            Self::Roa(config) => Box::new(config.build(input_shape)?),
            Self::Eyeglasses(config) => Box::new(config.build(input_shape)?),
        })
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
