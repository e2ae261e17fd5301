//! The attack that is examined, in the strengths that the checks ask for.

use burn::tensor::Device;

use crate::attacks::{Attack, AttackConfig, AttackConfigError, Magnitude, Norm, ThreatModel};

/// What a check changes in an attack; what is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tuning {
    /// Radius of the ball, in units of pixels in `[0, 1]`.
    pub epsilon: Option<f32>,
    /// Steps or queries.
    pub steps: Option<usize>,
    /// Runs from different starts.
    pub restarts: Option<usize>,
}

/// An attack that can be made stronger and weaker.
pub trait Subject {
    /// Norm and radius; none for an attack on a region.
    fn budget(&self) -> Option<(Norm, f32)>;

    /// Steps or queries; none for an attack of one step.
    fn steps(&self) -> Option<usize>;

    /// Restarts; none for an attack that has no such choice.
    fn restarts(&self) -> Option<usize>;

    /// What it may change, where that is the same for all pictures.
    fn threat_model(&self, device: &Device) -> Option<ThreatModel>;

    /// Whether it works without gradients, or has such a part.
    fn searches_without_gradients(&self) -> bool;

    /// The attack with some changes; none where it does not know one of them.
    fn tuned(&self, tuning: &Tuning) -> Option<Box<dyn Attack>>;
}

/// An attack as a person configured it, for pictures of one shape.
#[derive(Clone, Debug)]
pub struct ConfiguredAttack {
    config: AttackConfig,
    shape: [usize; 3],
}

impl ConfiguredAttack {
    /// An attack on pictures of this shape, `[C, H, W]`.
    ///
    /// # Errors
    /// What [`AttackConfig::build`] refuses, but for attacks that learn: these are taken, and cannot be made.
    pub fn new(config: &AttackConfig, shape: [usize; 3]) -> Result<Self, AttackConfigError> {
        if config.build_taught(shape)?.is_none() {
            config.build(shape)?;
        }
        config.threat_model(shape, &Device::default())?;
        Ok(Self { config: config.clone(), shape })
    }
}

impl Subject for ConfiguredAttack {
    fn budget(&self) -> Option<(Norm, f32)> {
        self.config.budget().map(|(norm, epsilon)| (norm, epsilon.value()))
    }

    fn steps(&self) -> Option<usize> {
        self.config.steps()
    }

    fn restarts(&self) -> Option<usize> {
        self.config.restarts()
    }

    fn threat_model(&self, device: &Device) -> Option<ThreatModel> {
        self.config.threat_model(self.shape, device).ok().flatten()
    }

    fn searches_without_gradients(&self) -> bool {
        matches!(self.config, AttackConfig::Square(_) | AttackConfig::Autoattack(_))
    }

    fn tuned(&self, tuning: &Tuning) -> Option<Box<dyn Attack>> {
        let mut config = self.config.clone();
        if let Some(epsilon) = tuning.epsilon {
            config = config.with_epsilon(&Magnitude::of(epsilon)?)?;
        }
        if let Some(steps) = tuning.steps {
            config = config.with_steps(steps)?;
        }
        if let Some(restarts) = tuning.restarts {
            config = config.with_restarts(restarts)?;
        }
        config.build(self.shape).ok()
    }
}
