//! MART: adversarial training that looks harder at pictures that are misclassified clean.
//!
//! Wang et al., "Improving adversarial robustness requires revisiting misclassified examples" (ICLR 2020):
//!
//! ```text
//! L = BCE(p', y) + beta KL(p || p') (1 - p_y),    BCE(p', y) = CE(p', y) - log(1 - max over k != y of p'_k)
//! ```
//!
//! with `p`, `p'` the clean and the adversarial softmax. The small constants are those of the published
//! code. Its pictures come from steps of sign ascent of the cross-entropy from very near the clean ones.
//! MART is known for a wide gap between cross-entropy and margin attacks: judge it by the latter.

use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};

use super::config::positive;
use super::nearby::Maker;
use super::trades::divergence;
use super::{Losses, NearbyConfig, Objective, ObjectiveConfigError, Pictures, Term, Whole};
use crate::Seed;
use crate::attacks::{AttackConfig, cross_entropy};
use crate::data::Batch;
use crate::models::{Classifier, Victim};

/// Constants of MART.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MartConfig {
    /// Weight of the divergence, above 0; 6 by default, as in the published code.
    pub beta: f64,
    /// How the cross-entropy is climbed.
    pub search: NearbyConfig,
    /// An attack that makes the pictures instead of the search.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attack: Option<AttackConfig>,
}

impl Default for MartConfig {
    fn default() -> Self {
        Self { beta: 6.0, search: NearbyConfig::default(), attack: None }
    }
}

impl MartConfig {
    /// The objective for pictures `[C, H, W]`.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn build(&self, input_shape: [usize; 3]) -> Result<Mart, ObjectiveConfigError> {
        let maker = Maker::new(&self.search, self.attack.as_ref(), input_shape)?;
        Ok(Mart { beta: positive("beta", self.beta)?, maker })
    }
}

/// The objective.
pub struct Mart {
    beta: f64,
    maker: Maker,
}

impl Objective for Mart {
    fn name(&self) -> &'static str {
        "mart"
    }

    fn attack(&self, victim: &Victim, batch: &Batch, _whole: &Whole, seed: Seed) -> Pictures {
        self.maker.pictures(victim, batch, seed, |search| {
            search.climb(victim, batch, seed, |logits| cross_entropy(logits, &batch.labels))
        })
    }

    fn scales_radius(&self) -> bool {
        self.maker.scales_radius()
    }

    fn losses(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Losses {
        let clean_logits = student.forward(batch.images.clone());
        let logits = student.forward(pictures.adversarial(batch));
        let boosted = boosted_cross_entropy(logits.clone(), &batch.labels);
        let apart = divergence(clean_logits.clone(), logits.clone()) * doubt(clean_logits, &batch.labels);
        let terms = vec![
            Term::new("boosted", &boosted.clone().mean()),
            Term::new("divergence", &apart.clone().mean()),
        ];
        Losses::new(boosted + apart.mul_scalar(self.beta), terms, logits)
    }
}

/// `CE - log(1.0001 - largest probability of another class + 1e-12)` of each row, `[N]`.
fn boosted_cross_entropy(logits: Tensor<2>, labels: &[usize]) -> Tensor<1> {
    let probabilities = softmax(logits.clone(), 1);
    let others = probabilities.clone() * (labels_as_ones(&logits, labels).neg().add_scalar(1.0));
    let rival = others.max_dim(1).squeeze_dim::<1>(1);
    cross_entropy(logits, labels) - rival.neg().add_scalar(1.0001 + 1e-12).log()
}

/// `1.0000001 - p_y` of each row, `[N]`: how little the clean picture is recognised.
fn doubt(logits: Tensor<2>, labels: &[usize]) -> Tensor<1> {
    cross_entropy(logits, labels).neg().exp().neg().add_scalar(1.000_000_1)
}

/// 1 in the column of each row's label, 0 elsewhere, `[N, K]`.
fn labels_as_ones(logits: &Tensor<2>, labels: &[usize]) -> Tensor<2> {
    let [count, classes] = logits.dims();
    let mut values = vec![0.0_f32; count * classes];
    for (row, label) in labels.iter().enumerate() {
        values[row * classes + label] = 1.0;
    }
    Tensor::from_data(TensorData::new(values, [count, classes]), &logits.device().without_autodiff())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    /// ```python
    /// z, y = torch.tensor([[1., 2., -1.], [0.5, 0., 1.]]), torch.tensor([1, 0])
    /// p = z.softmax(1); rival = torch.stack([p[0, [0, 2]].max(), p[1, [1, 2]].max()])
    /// F.cross_entropy(z, y, reduction="none") - torch.log(1.0001 - rival + 1e-12)
    /// 1.0000001 - p[[0, 1], y]
    /// ```
    #[test]
    fn the_terms_are_those_of_the_published_formula() {
        let values = TensorData::new(vec![1.0_f32, 2.0, -1.0, 0.5, 0.0, 1.0], [2, 3]);
        let logits = Tensor::<2>::from_data(values, &Device::default());
        let boosted = boosted_cross_entropy(logits.clone(), &[1, 0]).try_to_vec_as::<f32>().expect("f32");
        let doubts = doubt(logits, &[1, 0]).try_to_vec_as::<f32>().expect("f32");
        for (found, expected) in boosted.iter().chain(&doubts).zip(GOLDEN) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
    const GOLDEN: [f32; 4] = [0.649_302, 1.886_26, 0.294_616, 0.692_804];
}
