//! Processes that train together.
//!
//! Every rank attacks and learns from its own share of each batch, and the ranks tell each other two things a step:
//! the logits of their pictures, and the gradients of their weights.
//!
//! With the logits of all pictures, and their labels, which follow from the seed, every rank computes the loss of
//! the *whole* batch, with the very code that a single process runs: symmetry, class weights and spectral norms
//! are those of all pictures and not means over ranks. Only a rank's own logits are tracked, so its backward pass
//! gives its own part of the exact gradient, and the sum over the ranks is the whole. No collective has to be
//! differentiated. A batch of `B` pictures and `K` classes costs `B K` numbers for each pass of the student, which
//! is less than the `K^2` of a confusion matrix as long as a batch has fewer pictures than there are classes, and
//! little in any case.
//!
//! What a rank cannot do leaves the others waiting. So whoever starts the ranks must end them all when one fails.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};

use crate::models::{Classifier, Network};
use crate::run::part_of;

/// What the ranks of a training tell each other. Every rank makes the same calls in the same order; each call
/// returns once all ranks have made it.
pub trait Team: Send + Sync {
    /// Which of the ranks this is, from 0.
    fn rank(&self) -> usize;

    /// How many ranks there are, 1 or more.
    fn size(&self) -> usize;

    /// Adds up what the ranks give, number by number. All ranks give as many, and get the same bits.
    fn sum(&self, values: &mut [f32]);

    /// What each rank gives, by rank. They may give different lengths.
    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>>;

    /// What rank 0 gives.
    fn broadcast(&self, own: Vec<u8>) -> Vec<u8>;

    /// Seconds spent in these calls so far, waiting for other ranks included.
    fn seconds(&self) -> f64 {
        0.0
    }
}

/// A single process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Team for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&self, _values: &mut [f32]) {}

    fn gather(&self, own: &[u8]) -> Vec<Vec<u8>> {
        vec![own.to_vec()]
    }

    fn broadcast(&self, own: Vec<u8>) -> Vec<u8> {
        own
    }
}

impl dyn Team + '_ {
    /// This rank's part of `count` things in a row.
    pub(super) fn share(&self, count: usize) -> Range<usize> {
        part_of(self.rank(), self.size(), count)
    }

    /// Whether any rank says so.
    pub(super) fn any(&self, own: bool) -> bool {
        self.gather(&[u8::from(own)]).iter().any(|said| said == &[1])
    }

    /// Numbers of all ranks, one rank after the other.
    pub(super) fn gather_numbers(&self, own: &[f64]) -> Vec<f64> {
        let bytes: Vec<u8> = own.iter().flat_map(|value| value.to_le_bytes()).collect();
        let all = self.gather(&bytes).concat();
        all.chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().expect("eight bytes"))).collect()
    }

    /// Ranks whose words are not those of rank 0.
    pub fn others_than_first(&self, own: &[u8]) -> Vec<usize> {
        let all = self.gather(own);
        (0..all.len()).filter(|&rank| all[rank] != all[0]).collect()
    }
}

/// A student that is asked about this rank's pictures and answers with the logits of all ranks' pictures, in the
/// order of the batch. Those of other ranks are constants for the gradient.
pub(super) struct Student<'a> {
    pub network: &'a Network,
    pub team: &'a dyn Team,
}

impl Classifier for Student<'_> {
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        if self.team.size() == 1 {
            return self.network.forward(images);
        }
        let (classes, device) = (self.network.classes(), images.device().autodiff());
        // A pass on some of the pictures may concern other ranks alone, who wait for this one's answer all the same.
        let own = (images.dims()[0] > 0).then(|| self.network.forward(images));
        let values = own.clone().map(|own| own.without_autodiff().into_data());
        let bytes: Vec<u8> =
            values.iter().flat_map(TensorData::iter::<f32>).flat_map(f32::to_le_bytes).collect();
        let constant = |bytes: &[u8]| {
            let values: Vec<f32> = bytes
                .chunks_exact(4)
                .map(|bytes| f32::from_le_bytes(bytes.try_into().expect("four bytes")))
                .collect();
            let rows = values.len() / classes;
            Tensor::<2>::from_data(TensorData::new(values, [rows, classes]), &device)
        };
        let all = self.team.gather(&bytes);
        let rank = self.team.rank();
        let (before, after) = (all[..rank].concat(), all[rank + 1..].concat());
        let parts = [
            (!before.is_empty()).then(|| constant(&before)),
            own,
            (!after.is_empty()).then(|| constant(&after)),
        ];
        Tensor::cat(parts.into_iter().flatten().collect(), 0)
    }

    fn classes(&self) -> usize {
        self.network.classes()
    }

    fn input_shape(&self) -> [usize; 3] {
        self.network.input_shape()
    }
}

#[cfg(test)]
mod tests;
