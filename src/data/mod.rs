//! Pictures on disk to batches of pixels in [0, 1].

mod augment;
mod batch;
mod error;
mod folder;
mod groups;
mod order;
mod picture;
mod split;

pub use augment::{AugmentConfig, augment};
pub use batch::{Batch, ImageId, class_tensor};
pub use error::DataError;
pub use folder::Dataset;
pub use groups::{GroupColumn, Groups};
pub use order::{BatchOrder, epoch_batches};
pub use split::Split;
