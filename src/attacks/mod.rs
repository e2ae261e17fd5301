//! Attacks: what somebody can do to a picture so that the classifier is wrong.
//!
//! An attack is its configuration. It sees the model through a [`Victim`] only, stays inside its threat
//! model, keeps the best iterate of each image, and never reports its own success: whoever called it
//! looks at the predictions.

mod apgd;
mod apgd_t;
mod ascent;
mod autoattack;
mod config;
mod eyeglasses;
mod fab;
mod face_mask;
mod fgsm;
mod frame;
mod geometry;
mod goal;
mod landmarks;
mod loss;
mod magnitude;
mod momentum;
mod pgd;
mod print;
mod projection;
mod roa;
mod square;
mod steps;
mod strength;
mod taught;
mod texture;
mod threat;
mod universal_patch;
mod warp;
mod wear;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod parity;

pub use apgd::{Apgd, ApgdConfig};
pub use apgd_t::{ApgdT, ApgdTConfig};
pub use autoattack::{AutoAttack, AutoAttackConfig, Version};
pub use config::{AttackConfig, AttackConfigError};
pub use eyeglasses::{EyeglassConfig, Eyeglasses};
pub use fab::{Fab, FabConfig};
pub use face_mask::{FaceMask, FaceMaskConfig};
pub use fgsm::{Fgsm, FgsmConfig};
pub use frame::{FrameConfig, MaskError, coverage, mask_from_png, mask_resampled_from_png};
pub use goal::{Goal, cross_entropy};
pub use loss::Loss;
pub use magnitude::{Magnitude, MagnitudeError};
pub use momentum::{Momentum, MomentumConfig};
pub use pgd::{Pgd, PgdConfig};
pub use print::PrintConfig;
pub use roa::{Place, Roa, RoaConfig, Search};
pub use square::{Square, SquareConfig};
pub use taught::{LoadLesson, PersonConfig, School, Taught, TextureKey};
pub use threat::{Norm, ThreatModel};
pub use universal_patch::UniversalPatchConfig;
pub use wear::MotionConfig;

use burn::tensor::Tensor;

use crate::Seed;
use crate::data::{Batch, ImageId};
use crate::models::Victim;

/// A way to perturb pictures.
pub trait Attack: Send {
    /// Short name for files and tables, such as `pgd`.
    fn name(&self) -> &'static str;

    /// Adversarial pictures `[N, C, H, W]` in `[0, 1]` for a batch.
    ///
    /// The result for an image depends on the victim, the image, its label and target, and the seed, not
    /// on the other images of the batch.
    fn perturb(&self, victim: &Victim, batch: &Batch, goal: &Goal, seed: Seed) -> Tensor<4>;

    /// Whether each adversarial picture is one that this attack may make of the clean one: the check
    /// that the audit runs again on what it was given. A slack of 1e-6 is allowed for rounding.
    fn admits(&self, clean: Tensor<4>, adversarial: Tensor<4>) -> Vec<bool>;

    /// Whether the attack follows [`Batch::radius_scale`]. One that does not uses the same budget for every
    /// image, whatever that says.
    fn scales_radius(&self) -> bool {
        false
    }

    /// The pixels, row by row, that the attack writes to in the pictures with these ids: nothing for an attack
    /// that may write everywhere, or looks for the place itself. The seed is that of [`Attack::perturb`].
    fn covered(&self, _ids: &[ImageId], _seed: Seed) -> Option<Vec<Vec<bool>>> {
        None
    }

    /// Names of the attacks that this one is made of, in their order; none for an attack that is one thing.
    fn parts(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// The same as [`Attack::perturb`], and for each image the first of the parts that claims to have
    /// reached the goal, by its position in [`Attack::parts`].
    fn perturb_by_parts(
        &self,
        victim: &Victim,
        batch: &Batch,
        goal: &Goal,
        seed: Seed,
    ) -> (Tensor<4>, Vec<Option<usize>>) {
        (self.perturb(victim, batch, goal, seed), vec![None; batch.len()])
    }
}
