//! Pictures on disk to batches of pixels in [0, 1].

mod batch;

pub use batch::{Batch, ImageId, class_tensor};
