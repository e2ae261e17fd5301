//! BAT: balanced adversarial training, at the boundary from both sides.
//!
//! Sun et al., "Improving robust fairness via balance adversarial training" (AAAI 2023), which names
//! source-class and target-class fairness. On the way of an attack up the cross-entropy lie the last picture
//! that is still recognised, `x_lc`, and the first that is not, `x_fa`:
//!
//! ```text
//! L = CE(x_lc, y) + beta KL(f(x) || f(x_fa)) + u (KL(f(x_lc) || U) + KL(f(x_fa) || U))
//! ```
//!
//! with `U` uniform over the classes: a bonus for doubt near the boundary. A picture that is never
//! misclassified on the way has its last point as `x_fa`; one that is never recognised has itself as `x_lc`.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Tensor, TensorData};

use super::config::{not_negative, positive};
use super::trades::divergence;
use super::{Losses, NearbyConfig, Objective, ObjectiveConfigError, Pictures, Term, Whole, argmax};
use crate::Seed;
use crate::attacks::cross_entropy;
use crate::data::Batch;
use crate::models::{Classifier, Victim};

/// Constants of BAT.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatConfig {
    /// Weight of the divergence, above 0; 6 by default, as published.
    pub beta: f64,
    /// Weight `u` of the bonus for doubt, 0 or more; 1 by default, as published.
    pub uniform_weight: f64,
    /// How the cross-entropy is climbed.
    pub search: NearbyConfig,
}

impl Default for BatConfig {
    fn default() -> Self {
        Self { beta: 6.0, uniform_weight: 1.0, search: NearbyConfig::default() }
    }
}

impl BatConfig {
    /// The objective.
    ///
    /// # Errors
    /// Names the first key whose value cannot be meant.
    pub fn build(&self) -> Result<Bat, ObjectiveConfigError> {
        self.search.validate()?;
        positive("beta", self.beta)?;
        not_negative("uniform_weight", self.uniform_weight)?;
        Ok(Bat { config: self.clone() })
    }
}

/// The objective.
pub struct Bat {
    config: BatConfig,
}

impl Objective for Bat {
    fn name(&self) -> &'static str {
        "bat"
    }

    fn attack(&self, victim: &Victim, batch: &Batch, _whole: &Whole, seed: Seed) -> Pictures {
        let mut crossing = Crossing::new(batch);
        let climbed = |logits| cross_entropy(logits, &batch.labels);
        let show = |images: &Tensor<4>, logits| crossing.show(images, logits);
        let last = self.config.search.path(victim, batch, seed, climbed, show);
        crossing.show(&last, victim.logits(last.clone()));
        let (inside, behind) = crossing.finish(&last);
        Pictures { adversarial: Some(behind), inside: Some(inside), ..Pictures::default() }
    }

    fn scales_radius(&self) -> bool {
        true
    }

    fn losses(&mut self, student: &dyn Classifier, batch: &Batch, pictures: Pictures) -> Losses {
        let inside = pictures.inside.clone().unwrap_or_else(|| batch.images.clone());
        let clean = student.forward(batch.images.clone());
        let inside = student.forward(inside);
        let logits = student.forward(pictures.adversarial(batch));
        let natural = cross_entropy(inside.clone(), &batch.labels);
        let apart = divergence(clean, logits.clone());
        let certain = (certainty(inside) + certainty(logits.clone())).mean();
        let terms = vec![
            Term::new("inside", &natural.clone().mean()),
            Term::new("divergence", &apart.clone().mean()),
            Term::new("certainty", &certain),
        ];
        let beta = self.config.beta;
        let penalty = Some(certain.mul_scalar(self.config.uniform_weight));
        let losses = Losses::new(apart.mul_scalar(beta), terms, logits);
        Losses { natural: Some(natural), balance: beta, penalty, ..losses }
    }
}

/// `KL(softmax || uniform)` of each row: `[N, K]` to `[N]`.
fn certainty(logits: Tensor<2>) -> Tensor<1> {
    let classes = logits.dims()[1] as f64;
    let log = log_softmax(logits, 1);
    (log.clone().exp() * log).sum_dim(1).squeeze_dim::<1>(1).add_scalar(classes.ln())
}

/// Where each picture stands on its way across the boundary.
struct Crossing<'a> {
    batch: &'a Batch,
    /// The last picture that was recognised.
    inside: Tensor<4>,
    /// The first that was not, where there is one.
    behind: Tensor<4>,
    crossed: Vec<bool>,
}

impl<'a> Crossing<'a> {
    fn new(batch: &'a Batch) -> Self {
        let images = batch.images.clone();
        Self { batch, inside: images.clone(), behind: images, crossed: vec![false; batch.len()] }
    }

    /// The next pictures of the way, with their logits.
    fn show(&mut self, images: &Tensor<4>, logits: Tensor<2>) {
        let predictions = argmax(logits);
        let right: Vec<bool> = predictions.iter().zip(&self.batch.labels).map(|(a, b)| a == b).collect();
        let before = self.crossed.clone();
        let still = before.iter().zip(&right).map(|(crossed, right)| !crossed && *right);
        let now = before.iter().zip(&right).map(|(crossed, right)| !crossed && !right);
        self.inside = replaced(self.inside.clone(), images, still);
        self.behind = replaced(self.behind.clone(), images, now);
        self.crossed.iter_mut().zip(&right).for_each(|(crossed, right)| *crossed |= !right);
    }

    /// The pictures on both sides; those that never crossed have the last picture as the second.
    fn finish(self, last: &Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let behind = replaced(self.behind, last, self.crossed.iter().map(|crossed| !crossed));
        (self.inside, behind)
    }
}

/// The pictures, with others in the rows that say so.
fn replaced(pictures: Tensor<4>, others: &Tensor<4>, rows: impl Iterator<Item = bool>) -> Tensor<4> {
    let shape = pictures.dims();
    let rows: Vec<f32> = rows.map(f32::from).collect();
    let rows = TensorData::new(rows, [shape[0], 1, 1, 1]);
    let rows = Tensor::<4>::from_data(rows, &pictures.device()).greater_elem(0.5).expand(shape);
    pictures.mask_where(rows, others.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageId;
    use burn::tensor::Device;

    #[test]
    fn the_way_across_the_boundary() {
        let pixel = |value: f32| Tensor::<4>::full([3, 1, 1, 1], value, &Device::default());
        let batch = Batch {
            images: pixel(0.0),
            labels: vec![0, 0, 0],
            ids: (0..3).map(ImageId).collect(),
            radius_scale: None,
        };
        // The first crosses at the second step and comes back, the second never does, the third is wrong at once.
        let mut crossing = Crossing::new(&batch);
        for (step, rows) in [[1.0, 1.0, -1.0], [-1.0, 1.0, 1.0], [1.0, 1.0, -1.0]].iter().enumerate() {
            let logits: Vec<f32> = rows.iter().flat_map(|value| [*value, 0.0]).collect();
            let logits = Tensor::<2>::from_data(TensorData::new(logits, [3, 2]), &Device::default());
            crossing.show(&pixel(step as f32 + 1.0), logits);
        }
        let (inside, behind) = crossing.finish(&pixel(9.0));
        assert_eq!(inside.try_to_vec_as::<f32>().expect("f32"), [1.0, 3.0, 0.0]);
        assert_eq!(behind.try_to_vec_as::<f32>().expect("f32"), [2.0, 9.0, 1.0]);
    }

    /// ```python
    /// p = torch.tensor([[1., 2., -1.], [0., 0., 0.]]).softmax(1); (p * p.log()).sum(1) + np.log(3)
    /// ```
    #[test]
    fn certainty_is_the_divergence_from_uniform() {
        let values = TensorData::new(vec![1.0_f32, 2.0, -1.0, 0.0, 0.0, 0.0], [2, 3]);
        let found =
            certainty(Tensor::from_data(values, &Device::default())).try_to_vec_as::<f32>().expect("f32");
        assert!((found[0] - CERTAINTY).abs() < 1e-5 && found[1].abs() < 1e-6, "{found:?}");
    }
    const CERTAINTY: f32 = 0.384_747;
}
