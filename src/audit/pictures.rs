//! The pictures of an audit.

use burn::tensor::Tensor;

use crate::data::{Batch, ImageId};

/// Loads the pictures with these positions, in this order, each once at most in a call.
pub type Load<'a> = dyn Fn(&[usize]) -> Result<Batch, Box<dyn std::error::Error + Send + Sync>> + 'a;

/// Saves adversarial pictures `[N, C, H, W]` of a clean batch, one target for each in a targeted attack, and gives
/// them back as they are in their files.
pub type Save<'a> = dyn Fn(&Batch, &[Option<usize>], Tensor<4>) -> Result<Tensor<4>, Box<dyn std::error::Error + Send + Sync>>
    + 'a;

/// What an audit needs to know of a set of pictures. The three slices have one entry for each picture.
///
/// A split of a data set has all of it; `load` asks it for a batch on the victim's device and boxes the
/// error, which the audit hands on as it is.
#[derive(Clone, Copy)]
pub struct Pictures<'a> {
    /// Class indices.
    pub labels: &'a [usize],
    /// Stable ids, which key random targets.
    pub ids: &'a [ImageId],
    /// Names, such as paths inside the data set, which name the rows. No two are equal.
    pub names: &'a [String],
    /// Loads pixels on the victim's device.
    pub load: &'a Load<'a>,
    /// Where adversarial pictures go before they are judged, if they are kept: the rows are then about what was
    /// saved.
    pub save: Option<&'a Save<'a>>,
}
