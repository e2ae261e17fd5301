//! TRADES: cross-entropy of the clean pictures plus the divergence of the attacked ones from them.
//!
//! Zhang et al., "Theoretically principled trade-off between robustness and accuracy" (ICML 2019):
//!
//! ```text
//! L = CE(f(x), y) + beta KL(f(x) || f(x')),    x' maximises the same divergence near x
//! ```
//!
//! Ports get these wrong: the direction (the clean softmax is the first argument); the clean softmax
//! keeps its gradient in the update; the divergence is summed over classes and averaged over images.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;

use super::config::{not_negative, positive};
use super::nearby::Maker;
use super::{Losses, NearbyConfig, Objective, ObjectiveConfigError, Pictures, Term, Whole};
use crate::Seed;
use crate::attacks::{AttackConfig, cross_entropy};
use crate::data::Batch;
use crate::models::{Classifier, Victim};

/// Constants of TRADES.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TradesConfig {
    /// Weight of the clean cross-entropy, 0 or more; 1 by default, as published.
    pub clean_weight: f64,
    /// Weight of the divergence, above 0; 6 by default, as published.
    pub beta: f64,
    /// How the divergence is climbed.
    pub search: NearbyConfig,
    /// An attack that makes the pictures instead of the search, such as rectangular occlusion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attack: Option<AttackConfig>,
}

impl Default for TradesConfig {
    fn default() -> Self {
        Self { clean_weight: 1.0, beta: 6.0, search: NearbyConfig::default(), attack: None }
    }
}

impl TradesConfig {
    /// The objective for pictures `[C, H, W]`.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn build(&self, input_shape: [usize; 3]) -> Result<Trades, ObjectiveConfigError> {
        Ok(Trades {
            maker: Maker::new(&self.search, self.attack.as_ref(), input_shape)?,
            clean_weight: not_negative("clean_weight", self.clean_weight)?,
            beta: positive("beta", self.beta)?,
        })
    }
}

/// The objective.
pub struct Trades {
    clean_weight: f64,
    beta: f64,
    maker: Maker,
}

impl Objective for Trades {
    fn name(&self) -> &'static str {
        "trades"
    }

    fn attack(&self, victim: &Victim, batch: &Batch, _whole: &Whole, seed: Seed) -> Pictures {
        self.maker.pictures(victim, batch, seed, |search| {
            let clean = victim.logits(batch.images.clone());
            search.climb(victim, batch, seed, |logits| divergence(clean.clone(), logits))
        })
    }

    fn scales_radius(&self) -> bool {
        self.maker.scales_radius()
    }

    fn losses(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Losses {
        let clean_logits = student.forward(batch.images.clone());
        let logits = student.forward(pictures.adversarial(batch));
        let clean = cross_entropy(clean_logits.clone(), &batch.labels);
        let apart = divergence(clean_logits, logits.clone());
        let terms =
            vec![Term::new("clean", &clean.clone().mean()), Term::new("divergence", &apart.clone().mean())];
        let natural = Some(clean.mul_scalar(self.clean_weight));
        Losses { natural, balance: self.beta, ..Losses::new(apart.mul_scalar(self.beta), terms, logits) }
    }
}

/// `KL(softmax(p) || softmax(q))` of each row: `[N, K]` and `[N, K]` to `[N]`.
pub fn divergence(p: Tensor<2>, q: Tensor<2>) -> Tensor<1> {
    let (p, q) = (log_softmax(p, 1), log_softmax(q, 1));
    (p.clone().exp() * (p - q)).sum_dim(1).squeeze_dim(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn logits(values: &[[f32; 3]]) -> Tensor<2> {
        let flat: Vec<f32> = values.iter().flatten().copied().collect();
        Tensor::from_data(TensorData::new(flat, [values.len(), 3]), &Device::default())
    }

    /// ```python
    /// p, q = torch.tensor([[1., 2., -1.], [0., 0., 0.]]), torch.tensor([[0.5, 0., 1.], [3., 0., -2.]])
    /// F.kl_div(q.log_softmax(1), p.softmax(1), reduction="none").sum(1)  # 0.801537, 1.623039
    /// ```
    #[test]
    fn the_divergence_is_that_of_pytorch_with_the_clean_side_first() {
        let p = logits(&[[1.0, 2.0, -1.0], [0.0; 3]]);
        let q = logits(&[[0.5, 0.0, 1.0], [3.0, 0.0, -2.0]]);
        let found = divergence(p.clone(), q).try_to_vec_as::<f32>().expect("f32");
        for (found, expected) in found.iter().zip(GOLDEN) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
        let none = divergence(p.clone(), p).abs().max().into_scalar::<f32>();
        assert!(none < 1e-6, "{none}");
    }
    const GOLDEN: [f32; 2] = [0.801_537, 1.623_039];
}
