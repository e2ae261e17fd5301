//! Readers of what other programs counted: confusion matrices, tables of predictions, groups of classes.
//!
//! Everything is read as a stream with a bound on what one record, one name and the whole may take, so a
//! file of any size or content is an answer or an error. Errors name the file, the line and the column.

mod classes;
mod confusion;
#[cfg(test)]
pub(crate) mod damage;
mod error;
mod groups;
mod npy;
mod pixels;
mod predictions;
mod records;

pub use classes::{KnownClasses, read_class_names};
pub use confusion::{Cells, ConfusionTable, Kind, read_confusion};
pub use error::TableError;
pub use groups::{ClassGroups, intersections, read_groups};
pub use pixels::{Pixels, npy_bytes, read_pixels};
pub use predictions::{CLEAN, Columns, MOST_ROWS, Part, Predictions, has_predictions, read_predictions};
