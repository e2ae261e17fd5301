//! Learning rates over time, as a pure function of the progress: nothing to save, nothing to restore.

/// How the learning rate changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// Always the base rate.
    Constant,
    /// Half a cosine from the base rate to zero (Loshchilov and Hutter, ICLR 2017, without restarts).
    #[default]
    Cosine,
    /// The base rate, multiplied by `gamma` after every `every` epochs.
    Step {
        /// Epochs between two drops, at least 1; 7 by default, as the published Sy-FAR code has it.
        #[serde(default = "seven")]
        every: usize,
        /// Factor of each drop, in (0, 1]; 0.1 by default.
        #[serde(default = "a_tenth")]
        gamma: f64,
    },
}

fn seven() -> usize {
    7
}

fn a_tenth() -> f64 {
    0.1
}

impl Schedule {
    /// The factor on the base rate at a moment: `epoch` with its fraction, of `epochs` in all. During the
    /// first `warmup` epochs it rises linearly.
    pub fn factor(self, epoch: f64, epochs: usize, warmup: usize) -> f64 {
        let rise = if warmup == 0 { 1.0 } else { ((epoch + 1e-9) / warmup as f64).min(1.0) };
        let base = match self {
            Self::Constant => 1.0,
            Self::Cosine => {
                let done = (epoch / epochs.max(1) as f64).clamp(0.0, 1.0);
                0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            Self::Step { every, gamma } => gamma.powi((epoch / every.max(1) as f64).floor() as i32),
        };
        rise * base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_schedule_at_its_corners() {
        assert!((Schedule::Cosine.factor(0.0, 10, 0) - 1.0).abs() < 1e-12);
        assert!((Schedule::Cosine.factor(5.0, 10, 0) - 0.5).abs() < 1e-12);
        assert!(Schedule::Cosine.factor(10.0, 10, 0).abs() < 1e-12);
        let step = Schedule::Step { every: 7, gamma: 0.1 };
        assert!((step.factor(6.9, 25, 0) - 1.0).abs() < 1e-12);
        assert!((step.factor(7.0, 25, 0) - 0.1).abs() < 1e-12);
        assert!((step.factor(14.5, 25, 0) - 0.01).abs() < 1e-12);
        assert!((Schedule::Constant.factor(1.0, 10, 4) - 0.25).abs() < 1e-6);
    }
}
