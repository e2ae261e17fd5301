//! Objectives as a person configures them.

use super::{
    AdversarialConfig, FaalConfig, MartConfig, Objective, SpecNormConfig, Standard, StandardConfig,
    SyFarConfig, TradesConfig,
};
use crate::attacks::AttackConfigError;

/// Any objective: a table with the key `kind` and the keys of that objective. A method that changes
/// another objective has it in its table `base`.
///
/// ```
/// use syfar::objectives::ObjectiveConfig;
/// let config: ObjectiveConfig =
///     toml::from_str("kind = \"sy-far\"\nsymmetry_weight = 2.0\nbase = { kind = \"trades\" }").unwrap();
/// assert_eq!(config.build([3, 64, 64], 40).unwrap().name(), "sy-far");
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ObjectiveConfig {
    /// Cross-entropy of the clean pictures.
    Standard(StandardConfig),
    /// Adversarial training.
    Adversarial(AdversarialConfig),
    /// Clean cross-entropy and the divergence of the attacked pictures.
    Trades(TradesConfig),
    /// Boosted cross-entropy and a divergence that looks at misclassified pictures.
    Mart(MartConfig),
    /// The symmetry penalty on a base.
    SyFar(SyFarConfig),
    /// Class weights by distributionally robust optimisation on a base.
    Faal(FaalConfig),
    /// Regularisation of the confusion matrix's spectral norm on a base.
    SpecNorm(SpecNormConfig),
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self::SyFar(SyFarConfig::default())
    }
}

/// Why an objective cannot be made from its configuration.
#[derive(Debug, thiserror::Error)]
pub enum ObjectiveConfigError {
    /// A weight or constant that cannot be meant.
    #[error("objective: `{key}` is {found}, expected {expected}")]
    Value {
        /// The key in the configuration.
        key: &'static str,
        /// Its value.
        found: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// Its attack cannot be made.
    #[error("objective.{0}")]
    Attack(#[from] AttackConfigError),
}

impl ObjectiveConfig {
    /// The objective for pictures of this shape, `[C, H, W]`, and so many classes.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn build(
        &self,
        input_shape: [usize; 3],
        classes: usize,
    ) -> Result<Box<dyn Objective>, ObjectiveConfigError> {
        Ok(match self {
            Self::Standard(StandardConfig {}) => Box::new(Standard),
            Self::Adversarial(config) => Box::new(config.build(input_shape)?),
            Self::Trades(config) => Box::new(config.build(input_shape)?),
            Self::Mart(config) => Box::new(config.build(input_shape)?),
            Self::SyFar(config) => Box::new(config.build(input_shape, classes)?),
            Self::Faal(config) => Box::new(config.build(input_shape, classes)?),
            Self::SpecNorm(config) => Box::new(config.build(input_shape, classes)?),
        })
    }
}

pub(super) fn positive(key: &'static str, found: f64) -> Result<f64, ObjectiveConfigError> {
    if found.is_finite() && found > 0.0 {
        return Ok(found);
    }
    Err(ObjectiveConfigError::Value { key, found, expected: "a number above 0" })
}

pub(super) fn not_negative(key: &'static str, found: f64) -> Result<f64, ObjectiveConfigError> {
    if found.is_finite() && found >= 0.0 {
        return Ok(found);
    }
    Err(ObjectiveConfigError::Value { key, found, expected: "0 or more" })
}

pub(super) fn at_least_one(key: &'static str, found: usize) -> Result<(), ObjectiveConfigError> {
    if found >= 1 {
        return Ok(());
    }
    Err(ObjectiveConfigError::Value { key, found: found as f64, expected: "at least 1" })
}
