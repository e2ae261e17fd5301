//! Pictures on disk to batches of pixels in [0, 1].

mod augment;
mod batch;
mod error;
mod face_net;
mod fashion_mnist;
mod folder;
mod groups;
mod idx;
mod landmarks;
mod order;
mod orl;
mod picture;
mod process;
mod saved;
mod sheet;
mod split;
mod synthetic;
mod tar;
mod whole;

pub use augment::{AugmentConfig, augment};
pub use batch::{Batch, ImageId, class_tensor};
pub use error::DataError;
pub use face_net::{FaceNetFiles, fetch_face_net};
pub use fashion_mnist::{FashionMnistConfig, write_fashion_mnist};
pub use folder::Dataset;
pub use groups::{GroupColumn, Groups};
pub use landmarks::Landmarks;
pub use order::{BatchOrder, epoch_batches};
pub use orl::{OrlSummary, fetch_orl};
pub use saved::{Rounding, encode_png, read_saved};
pub use sheet::{contact_sheet, placement_sheet};
pub use split::Split;
pub use synthetic::{SyntheticConfig, SyntheticSummary, write_synthetic_faces};
