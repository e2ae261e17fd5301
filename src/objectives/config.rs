//! Objectives as a person configures them.

use super::{
    AdversarialConfig, BatConfig, CfaConfig, DafaConfig, FaalConfig, FrlConfig, MartConfig, Objective,
    SpecNormConfig, Standard, StandardConfig, SyFarConfig, TradesConfig, WatConfig,
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
    /// Balanced adversarial training: pictures just before and just behind the boundary.
    Bat(BatConfig),
    /// The symmetry penalty on a base.
    SyFar(SyFarConfig),
    /// Class weights by distributionally robust optimisation on a base.
    Faal(FaalConfig),
    /// Regularisation of the confusion matrix's spectral norm on a base.
    SpecNorm(SpecNormConfig),
    /// Class weights, and radii, by constraints on validation errors, on a base.
    Frl(FrlConfig),
    /// Radii and trade-offs by the training accuracy of each class, on a base.
    Cfa(CfaConfig),
    /// Class weights by the Hedge algorithm on validation losses, on a base.
    Wat(WatConfig),
    /// Class weights and radii by the similarity of classes, on a base.
    Dafa(DafaConfig),
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
    /// The attack of a base has no radius that a class could have more or less of.
    #[error(
        "objective: {method} gives each class a radius of its own, and the attack of its base `{base}` does not \
         follow it, expected fgsm, pgd, momentum-pgd or the search of trades, mart or bat; choose one of these, \
         or {off}"
    )]
    Radius {
        /// The method.
        method: &'static str,
        /// Its base.
        base: &'static str,
        /// How to do without.
        off: &'static str,
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
            Self::Bat(config) => Box::new(config.build()?),
            Self::SyFar(config) => Box::new(config.build(input_shape, classes)?),
            Self::Faal(config) => Box::new(config.build(input_shape, classes)?),
            Self::SpecNorm(config) => Box::new(config.build(input_shape, classes)?),
            Self::Frl(config) => Box::new(config.build(input_shape, classes)?),
            Self::Cfa(config) => Box::new(config.build(input_shape, classes)?),
            Self::Wat(config) => Box::new(config.build(input_shape, classes)?),
            Self::Dafa(config) => Box::new(config.build(input_shape, classes)?),
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

/// Refuses a base whose attack does not follow the radii of classes.
pub(super) fn scaling(
    method: &'static str,
    base: &dyn Objective,
    off: &'static str,
) -> Result<(), ObjectiveConfigError> {
    if base.scales_radius() {
        return Ok(());
    }
    Err(ObjectiveConfigError::Radius { method, base: base.name(), off })
}
