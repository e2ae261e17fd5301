//! Objectives as a person configures them.

use super::{AbsentPairs, Adversarial, Objective, Reduction, Standard, SyFar, SymmetryTerm};
use crate::attacks::{AttackConfig, AttackConfigError, RoaConfig};

/// Any objective: a table with the key `kind` and the keys of that objective.
///
/// ```
/// use syfar::objectives::ObjectiveConfig;
/// let config: ObjectiveConfig = toml::from_str("kind = \"sy-far\"\nsymmetry_weight = 2.0").unwrap();
/// assert_eq!(config.build([3, 64, 64], 40).unwrap().name(), "sy-far");
/// ```
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ObjectiveConfig {
    /// Cross-entropy of the clean pictures.
    Standard(StandardConfig),
    /// Adversarial training.
    Adversarial(AdversarialConfig),
    /// Adversarial training with the symmetry penalty.
    SyFar(SyFarConfig),
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self::SyFar(SyFarConfig::default())
    }
}

/// Standard training has nothing to set.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StandardConfig {}

/// Constants of adversarial training.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdversarialConfig {
    /// Weight of the cross-entropy of the clean pictures, 0 or more.
    pub clean_weight: f64,
    /// Weight of the cross-entropy of the adversarial pictures, above 0.
    pub adversarial_weight: f64,
    /// The attack to train against; every step is made on every image, whatever `early_stop` says.
    pub attack: AttackConfig,
}

impl Default for AdversarialConfig {
    /// The weights of the later published Sy-FAR code: 0.1 clean, 1 adversarial; the rectangular
    /// occlusion attack.
    fn default() -> Self {
        Self { clean_weight: 0.1, adversarial_weight: 1.0, attack: AttackConfig::Roa(RoaConfig::default()) }
    }
}

/// Constants of Sy-FAR.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SyFarConfig {
    /// Weight of the cross-entropy of the clean pictures, 0 or more.
    pub clean_weight: f64,
    /// Weight of the cross-entropy of the adversarial pictures, above 0.
    pub adversarial_weight: f64,
    /// Weight of the symmetry penalty, 0 or more. The default was chosen from 0, 1 and 3 on the validation
    /// split of ORL (`docs/results.md`). The published 10 belongs to `reduction = "sum"` and about ten
    /// classes.
    pub symmetry_weight: f64,
    /// The eps of the penalty's gate, above 0; 1/K where absent (the published 0.1 for ten classes).
    pub epsilon: Option<f64>,
    /// Pairs with one class absent from the batch: `skip`, or `as-zero` as published.
    pub absent_pairs: AbsentPairs,
    /// `per-class`, which carries over between numbers of classes, or `sum` as published.
    pub reduction: Reduction,
    /// The attack to train against.
    pub attack: AttackConfig,
}

impl Default for SyFarConfig {
    fn default() -> Self {
        let AdversarialConfig { clean_weight, adversarial_weight, attack } = AdversarialConfig::default();
        Self {
            clean_weight,
            adversarial_weight,
            symmetry_weight: 1.0,
            epsilon: None,
            absent_pairs: AbsentPairs::default(),
            reduction: Reduction::default(),
            attack,
        }
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
            Self::Adversarial(config) => {
                let AdversarialConfig { clean_weight, adversarial_weight, attack } = config;
                Box::new(adversarial(attack, *clean_weight, *adversarial_weight, input_shape)?)
            }
            Self::SyFar(config) => {
                let base =
                    adversarial(&config.attack, config.clean_weight, config.adversarial_weight, input_shape)?;
                let epsilon = config.epsilon.unwrap_or(1.0 / classes as f64);
                let term = SymmetryTerm {
                    weight: not_negative("symmetry_weight", config.symmetry_weight)?,
                    epsilon: positive("epsilon", epsilon)?,
                    absent_pairs: config.absent_pairs,
                    reduction: config.reduction,
                };
                Box::new(SyFar::new(base, term))
            }
        })
    }
}

fn adversarial(
    attack: &AttackConfig,
    clean_weight: f64,
    adversarial_weight: f64,
    input_shape: [usize; 3],
) -> Result<Adversarial, ObjectiveConfigError> {
    let clean_weight = not_negative("clean_weight", clean_weight)?;
    let adversarial_weight = positive("adversarial_weight", adversarial_weight)?;
    Ok(Adversarial::new(attack.for_training().build(input_shape)?, clean_weight, adversarial_weight))
}

fn positive(key: &'static str, found: f64) -> Result<f64, ObjectiveConfigError> {
    if found.is_finite() && found > 0.0 {
        return Ok(found);
    }
    Err(ObjectiveConfigError::Value { key, found, expected: "a number above 0" })
}

fn not_negative(key: &'static str, found: f64) -> Result<f64, ObjectiveConfigError> {
    if found.is_finite() && found >= 0.0 {
        return Ok(found);
    }
    Err(ObjectiveConfigError::Value { key, found, expected: "0 or more" })
}
