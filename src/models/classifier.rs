//! The classifier: pixels in, logits out.

use burn::tensor::Tensor;

/// Anything that turns pictures into logits.
///
/// Normalisation and channel order are its first layer, so that an attack's budget is always in the
/// units of the picture.
pub trait Classifier: Send {
    /// Pixels `[N, C, H, W]` in `[0, 1]` to logits `[N, K]`, not probabilities.
    fn forward(&self, images: Tensor<4>) -> Tensor<2>;

    /// Number of classes `K`.
    fn classes(&self) -> usize;

    /// `[C, H, W]` of the pictures that it takes.
    fn input_shape(&self) -> [usize; 3];
}
