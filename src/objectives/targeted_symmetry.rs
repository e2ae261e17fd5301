//! The symmetry of targeted attacks: being made to look like each other should be as hard either way.
//!
//! The symmetry penalty of Sy-FAR looks at what an untargeted attack makes of a picture, and such an attack
//! stops at the nearest class. Here the pictures of a batch are matched at random into pairs of different
//! classes, each picture is attacked towards the class of its partner, and
//!
//! ```text
//! L = mean over pairs of classes that met of |a - b| / (a + b + eps) * (a + b)
//! ```
//!
//! with `a` the mean probability of class `j` on the pictures of class `i` that were sent there, and `b` the
//! other way round. Partners send each other, so both directions of a pair are always known. This is an
//! extension of the published method. It costs a second attack and a second pass in each step.
//!
//! Where several processes train together, partners may be in different processes: each draws the pairs of the
//! whole batch, which follow from the pictures' ids, and attacks its own.

use burn::tensor::{Tensor, TensorData};
use rand::Rng;

use super::config::positive;
use super::{ObjectiveConfigError, Symmetry, Whole};
use crate::Seed;
use crate::attacks::{Attack, AttackConfig, Goal, PgdConfig};
use crate::data::{Batch, class_tensor};
use crate::models::{Classifier, Victim};

/// Constants of the term.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TargetedSymmetryConfig {
    /// Weight of the term, above 0; 1 by default.
    pub weight: f64,
    /// The attack that is sent towards targets; PGD by default.
    pub attack: AttackConfig,
}

impl Default for TargetedSymmetryConfig {
    fn default() -> Self {
        Self { weight: 1.0, attack: AttackConfig::Pgd(PgdConfig::default()) }
    }
}

impl TargetedSymmetryConfig {
    pub(super) fn build(&self, input_shape: [usize; 3]) -> Result<TargetedSymmetry, ObjectiveConfigError> {
        let weight = positive("targeted.weight", self.weight)?;
        Ok(TargetedSymmetry { weight, attack: self.attack.for_training().build(input_shape)? })
    }
}

/// The term.
pub(super) struct TargetedSymmetry {
    pub weight: f64,
    attack: Box<dyn Attack>,
}

/// Pictures that were made towards targets.
#[derive(Clone, Debug)]
pub struct Targeted {
    /// The rows of the whole batch that have a partner, `M`, in ascending order.
    rows: Vec<usize>,
    /// Their targets, `M`.
    targets: Vec<usize>,
    /// Those of them that this process made, in the same order: `[M, C, H, W]` where it trains alone.
    images: Tensor<4>,
}

impl TargetedSymmetry {
    /// Attacks the pictures of a share that have a partner, wherever in the whole batch that is.
    pub fn attack(&self, victim: &Victim, share: &Batch, whole: &Whole, seed: Seed) -> Targeted {
        let pairs = partners(whole, seed.purpose("partners"));
        let mut sent: Vec<(usize, usize)> =
            pairs.iter().flat_map(|&(a, b)| [(a, whole.labels[b]), (b, whole.labels[a])]).collect();
        // The student answers with the pictures of one process after those of another.
        sent.sort_unstable();
        let own = whole.rows_of(share);
        let (chosen, goals): (Vec<usize>, Vec<usize>) = sent
            .iter()
            .filter(|(row, _)| own.contains(row))
            .map(|(row, target)| (row - own.start, *target))
            .unzip();
        let chosen = share.select(&chosen);
        let images = if goals.is_empty() {
            chosen.images
        } else {
            self.attack.perturb(victim, &chosen, &Goal::Targeted(goals), seed.purpose("targeted"))
        };
        let (rows, targets) = sent.into_iter().unzip();
        Targeted { rows, targets, images }
    }
}

impl Targeted {
    /// The term, `[1]`; none where all pictures of the batch are of one class.
    pub fn penalty(&self, symmetry: &Symmetry, student: &dyn Classifier, batch: &Batch) -> Option<Tensor<1>> {
        if self.rows.is_empty() {
            return None;
        }
        let labels: Vec<usize> = self.rows.iter().map(|&row| batch.labels[row]).collect();
        Some(penalty(symmetry, student.forward(self.images.clone()), &labels, &self.targets))
    }
}

/// The term for logits `[M, K]` of pictures with these labels and targets. With each way from one class to
/// another there is the way back.
fn penalty(symmetry: &Symmetry, logits: Tensor<2>, labels: &[usize], targets: &[usize]) -> Tensor<1> {
    let device = logits.device().without_autodiff();
    let reached =
        symmetry.probabilities(logits).gather(1, class_tensor(targets, &device).unsqueeze_dim::<2>(1));
    let mut ways: Vec<(usize, usize)> =
        labels.iter().zip(targets).map(|(label, target)| (*label.min(target), *label.max(target))).collect();
    ways.sort_unstable();
    ways.dedup();
    let mean = |towards_larger: bool| {
        let mut weights = vec![0.0_f32; ways.len() * labels.len()];
        for ((low, high), row) in ways.iter().zip(weights.chunks_mut(labels.len())) {
            let way = if towards_larger { (low, high) } else { (high, low) };
            let on_it = |image: &usize| (&labels[*image], &targets[*image]) == way;
            let images: Vec<usize> = (0..labels.len()).filter(on_it).collect();
            for image in &images {
                row[*image] = 1.0 / images.len() as f32;
            }
        }
        let shape = [ways.len(), labels.len()];
        Tensor::<2>::from_data(TensorData::new(weights, shape), &device).matmul(reached.clone())
    };
    let terms = symmetry.terms(mean(true), mean(false));
    symmetry.reduce(terms.sum(), ways.len())
}

/// Matches images of different classes at random, each with at most one other. The image decides its place in
/// the draw, so that the order of the batch does not matter.
fn partners(whole: &Whole, seed: Seed) -> Vec<(usize, usize)> {
    let mut rows: Vec<usize> = (0..whole.ids.len()).collect();
    rows.sort_by_key(|&row| (seed.at(whole.ids[row].0).rng().next_u64(), whole.ids[row]));
    let mut waiting: Vec<usize> = Vec::new();
    let mut pairs = Vec::new();
    for row in rows {
        match waiting.iter().position(|&other| whole.labels[other] != whole.labels[row]) {
            Some(place) => pairs.push((waiting.remove(place), row)),
            None => waiting.push(row),
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::super::{AbsentPairs, Reduction, Sides};
    use super::*;
    use crate::data::ImageId;
    use burn::tensor::Device;

    fn batch(labels: &[usize]) -> Batch {
        Batch {
            images: Tensor::zeros([labels.len(), 1, 1, 1], &Device::default()),
            labels: labels.to_vec(),
            ids: (0..labels.len() as u64).map(ImageId).collect(),
            radius_scale: None,
        }
    }

    #[test]
    fn partners_are_of_different_classes_and_do_not_depend_on_the_order() {
        let labels = [0, 0, 1, 2, 1, 0, 3, 3, 0];
        let whole = batch(&labels);
        let pairs = partners(&Whole::of(&whole), Seed::new(3));
        assert!(pairs.iter().all(|(a, b)| labels[*a] != labels[*b]));
        let mut rows: Vec<usize> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), 8, "one of nine is left over, and nobody has two partners");
        let backwards: Vec<usize> = (0..9).rev().collect();
        let mirrored: Vec<(usize, usize)> = partners(&Whole::of(&whole.select(&backwards)), Seed::new(3))
            .iter()
            .map(|(a, b)| (8 - a, 8 - b))
            .collect();
        assert_eq!(mirrored, pairs);
        assert_ne!(partners(&Whole::of(&whole), Seed::new(4)), pairs);
        assert_eq!(partners(&Whole::of(&batch(&[1, 1, 1])), Seed::new(3)), []);
    }

    /// Worked by hand: 0 towards 1 succeeds with 0.2 and 0.4, 1 towards 0 with 0.1; 0 and 2 with 0.3 and 0.5.
    #[test]
    fn the_term_compares_both_ways_of_each_pair() {
        let rows = [[0.5, 0.2, 0.3], [0.4, 0.4, 0.2], [0.1, 0.8, 0.1], [0.6, 0.1, 0.3], [0.5, 0.2, 0.3_f32]];
        let values: Vec<f32> = rows.iter().flatten().map(|p| p.ln()).collect();
        let logits = Tensor::<2>::from_data(TensorData::new(values, [5, 3]), &Device::default());
        let symmetry = Symmetry {
            epsilon: 0.1,
            absent_pairs: AbsentPairs::Skip,
            reduction: Reduction::PerClass,
            sides: Sides::Both,
            temperature: 1.0,
        };
        let found = penalty(&symmetry, logits, &[0, 0, 1, 0, 2], &[1, 1, 0, 2, 0]).into_scalar::<f32>();
        let expected = f32::midpoint(0.2 * 0.4 / 0.5, 0.2 * 0.8 / 0.9);
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
}
