//! The same attack, stronger or weaker: what curves and checks ask of a configuration.

use burn::tensor::{Device, Tensor, TensorData};

use super::{AttackConfig, AttackConfigError, Magnitude, Norm, ThreatModel};

impl AttackConfig {
    /// The ball that the attack searches; none for an attack that writes into a region.
    pub fn budget(&self) -> Option<(Norm, &Magnitude)> {
        match self {
            Self::Apgd(config) => Some((config.norm, &config.epsilon)),
            Self::ApgdT(config) => Some((config.norm, &config.epsilon)),
            Self::Autoattack(config) => Some((config.norm, &config.epsilon)),
            Self::FabT(config) => Some((config.norm, &config.epsilon)),
            Self::Fgsm(config) => Some((config.norm, &config.epsilon)),
            Self::MomentumPgd(config) => Some((config.norm, &config.epsilon)),
            Self::Pgd(config) => Some((config.norm, &config.epsilon)),
            Self::Square(config) => Some((config.norm, &config.epsilon)),
            _ => None,
        }
    }

    /// Steps of one run, or queries of a search without gradients; none for an attack of one step.
    pub fn steps(&self) -> Option<usize> {
        match self {
            Self::Apgd(config) => Some(config.steps),
            Self::ApgdT(config) => Some(config.steps),
            Self::Autoattack(config) => Some(config.steps),
            Self::FabT(config) => Some(config.steps),
            Self::MomentumPgd(config) => Some(config.steps),
            Self::Pgd(config) => Some(config.steps),
            Self::Square(config) => Some(config.queries),
            Self::Roa(config) => Some(config.steps),
            Self::Eyeglasses(config) => Some(config.steps),
            Self::FaceMask(config) => Some(config.steps),
            Self::UniversalPatch(config) => Some(config.steps),
            Self::Fgsm(_) => None,
        }
    }

    /// Runs from different random starts; none for an attack that has no such choice.
    pub fn restarts(&self) -> Option<usize> {
        match self {
            Self::Apgd(config) => Some(config.restarts),
            Self::ApgdT(config) => Some(config.restarts),
            Self::FabT(config) => Some(config.restarts),
            Self::Pgd(config) if config.random_start => Some(config.restarts),
            _ => None,
        }
    }

    /// The attack with another radius. A step size that was given keeps its proportion to the radius; where
    /// either radius is 0 it is left to its default. None for an attack without a ball.
    #[must_use]
    pub fn with_epsilon(&self, epsilon: &Magnitude) -> Option<Self> {
        let old = self.budget()?.1.value();
        let scaled = |step: &Option<Magnitude>| {
            let step = step.as_ref()?.value() / old * epsilon.value();
            if step > 0.0 { Magnitude::of(step) } else { None }
        };
        let mut config = self.clone();
        match &mut config {
            Self::Apgd(config) => config.epsilon = epsilon.clone(),
            Self::ApgdT(config) => config.epsilon = epsilon.clone(),
            Self::Autoattack(config) => config.epsilon = epsilon.clone(),
            Self::FabT(config) => config.epsilon = epsilon.clone(),
            Self::Fgsm(config) => config.epsilon = epsilon.clone(),
            Self::Square(config) => config.epsilon = epsilon.clone(),
            Self::MomentumPgd(config) => {
                config.step_size = scaled(&config.step_size);
                config.epsilon = epsilon.clone();
            }
            Self::Pgd(config) => {
                config.step_size = scaled(&config.step_size);
                config.epsilon = epsilon.clone();
            }
            _ => return None,
        }
        Some(config)
    }

    /// The attack with another number of steps or queries; none where [`AttackConfig::steps`] has none.
    #[must_use]
    pub fn with_steps(&self, steps: usize) -> Option<Self> {
        let mut config = self.clone();
        match &mut config {
            Self::Apgd(config) => config.steps = steps,
            Self::ApgdT(config) => config.steps = steps,
            Self::Autoattack(config) => config.steps = steps,
            Self::FabT(config) => config.steps = steps,
            Self::MomentumPgd(config) => config.steps = steps,
            Self::Pgd(config) => config.steps = steps,
            Self::Square(config) => config.queries = steps,
            Self::Roa(config) => config.steps = steps,
            Self::Eyeglasses(config) => config.steps = steps,
            Self::FaceMask(config) => config.steps = steps,
            Self::UniversalPatch(config) => config.steps = steps,
            Self::Fgsm(_) => return None,
        }
        Some(config)
    }

    /// The attack with another number of restarts; none where [`AttackConfig::restarts`] has none.
    #[must_use]
    pub fn with_restarts(&self, restarts: usize) -> Option<Self> {
        self.restarts()?;
        let mut config = self.clone();
        match &mut config {
            Self::Apgd(config) => config.restarts = restarts,
            Self::ApgdT(config) => config.restarts = restarts,
            Self::FabT(config) => config.restarts = restarts,
            Self::Pgd(config) => config.restarts = restarts,
            _ => return None,
        }
        Some(config)
    }

    /// What the attack may change in pictures of this shape, `[C, H, W]`, where that is a ball or one region
    /// for all pictures; none where each picture has its own place.
    ///
    /// # Errors
    /// When the mask of the region cannot be used.
    pub fn threat_model(
        &self,
        shape: [usize; 3],
        device: &Device,
    ) -> Result<Option<ThreatModel>, AttackConfigError> {
        if let Some((norm, epsilon)) = self.budget() {
            return Ok(Some(ThreatModel::Ball { norm, epsilon: epsilon.value() }));
        }
        let mask = match self {
            Self::Eyeglasses(config) if !config.is_worn() => config.region(shape)?,
            _ => return Ok(None),
        };
        let mask: Vec<f32> = mask.into_iter().map(f32::from).collect();
        let mask = Tensor::from_data(TensorData::new(mask, [1, 1, shape[1], shape[2]]), device);
        Ok(Some(ThreatModel::Region { mask }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> AttackConfig {
        toml::from_str(text).expect(text)
    }

    const BALLS: [&str; 8] =
        ["apgd", "apgd-t", "autoattack", "fab-t", "fgsm", "momentum-pgd", "pgd", "square"];

    #[test]
    fn every_ball_takes_another_radius_and_a_region_has_none() {
        for kind in BALLS {
            let config = read(&format!("kind = \"{kind}\""));
            let wider = config.with_epsilon(&Magnitude::levels(3)).expect(kind);
            assert_eq!(wider.budget().expect(kind).1, &Magnitude::levels(3));
            assert_eq!(wider.with_epsilon(&Magnitude::levels(8)), Some(config));
            wider.validate().expect(kind);
        }
        for kind in ["roa", "eyeglasses"] {
            let config = read(&format!("kind = \"{kind}\""));
            assert!(config.budget().is_none() && config.with_epsilon(&Magnitude::levels(3)).is_none());
        }
    }

    #[test]
    fn steps_and_restarts_are_read_where_they_were_set() {
        for kind in [&BALLS[..], &["roa", "eyeglasses"]].concat() {
            let config = read(&format!("kind = \"{kind}\""));
            match config.with_steps(7) {
                Some(other) => assert_eq!(other.steps(), Some(7), "{kind}"),
                None => assert_eq!((kind, config.steps()), ("fgsm", None)),
            }
            match config.with_restarts(7) {
                Some(other) => assert_eq!(other.restarts(), Some(7), "{kind}"),
                None => assert_eq!(config.restarts(), None, "{kind}"),
            }
        }
        let fixed = read("kind = \"pgd\"\nrandom_start = false");
        assert!(fixed.with_restarts(2).is_none(), "every restart would be the same");
    }

    #[test]
    fn a_given_step_size_keeps_its_proportion() {
        let config = read("kind = \"pgd\"\nepsilon = \"8/255\"\nstep_size = \"2/255\"");
        let AttackConfig::Pgd(wider) = config.with_epsilon(&Magnitude::levels(16)).expect("a ball") else {
            panic!("it was pgd")
        };
        let step = wider.step_size.expect("a step size").value();
        assert!((step - 4.0 / 255.0).abs() < 1e-7, "{step}");
        let nothing = config.with_epsilon(&Magnitude::levels(0)).expect("a ball");
        nothing.validate().expect("a step of 0 would be refused");
        assert!(nothing.with_epsilon(&Magnitude::levels(8)).is_some_and(|again| again.validate().is_ok()));
    }

    #[test]
    fn threat_models_are_those_that_the_attacks_admit() {
        let device = Device::default();
        let of = |text: &str| read(text).threat_model([3, 32, 32], &device).expect(text);
        let ball = of("kind = \"pgd\"\nnorm = \"l2\"\nepsilon = 2");
        assert!(
            matches!(ball, Some(ThreatModel::Ball { norm: Norm::L2, epsilon }) if (epsilon - 2.0).abs() < 1e-6)
        );
        assert!(of("kind = \"roa\"").is_none());
        let Some(ThreatModel::Region { mask }) = of("kind = \"eyeglasses\"") else { panic!("a region") };
        assert_eq!(mask.dims(), [1, 1, 32, 32]);
    }
}
