//! Threat models: which pictures an attacker may make of a clean one.

use burn::tensor::Tensor;

/// The norm of a ball.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Largest change of any channel of any pixel.
    Linf,
    /// Euclidean length of the change.
    L2,
}

/// What the attacker may change. Whatever it is, the result is a picture: every value in `[0, 1]`.
#[derive(Clone, Debug)]
pub enum ThreatModel {
    /// Every pixel, within a distance.
    Ball {
        /// How distance is measured.
        norm: Norm,
        /// The distance, in units of pixels in `[0, 1]`.
        epsilon: f32,
    },
    /// Any value, in some pixels.
    Region {
        /// 1 where the attacker may write, 0 elsewhere: `[1 or N, 1, H, W]`.
        mask: Tensor<4>,
    },
}
