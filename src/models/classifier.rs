//! The classifier: pixels in, logits out.

use burn::tensor::Tensor;

use crate::nn::{Frozen, Precision};

/// The first class with the largest logit.
pub fn prediction(logits: &[f32]) -> usize {
    (0..logits.len()).fold(0, |best, class| if logits[class] > logits[best] { class } else { best })
}

/// Anything that turns pictures into logits.
///
/// Normalisation and channel order are its first layer, so that an attack's budget is always in the
/// units of the picture.
pub trait Classifier: Send {
    /// Pixels `[N, C, H, W]` in `[0, 1]` to logits `[N, K]`, not probabilities.
    fn forward(&self, images: Tensor<4>) -> Tensor<2>;

    /// The same network in a form that is faster as long as its weights do not change. A network that has
    /// none gives nothing and is used as it is.
    fn frozen(&self, _precision: Precision) -> Option<Frozen> {
        None
    }

    /// Number of classes `K`.
    fn classes(&self) -> usize;

    /// `[C, H, W]` of the pictures that it takes.
    fn input_shape(&self) -> [usize; 3];
}
