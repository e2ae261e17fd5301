//! Weights of other programs: PyTorch state dicts and safetensors in, safetensors out.
//!
//! Nothing in a file is executed. A pickle is read by a parser that knows the few calls which make up a state
//! dict; sizes are checked before memory is taken, and a tensor is read when it is known to fit.

mod export;
mod file;
mod import;
mod key_map;
mod pickle;
mod positions;
mod safetensors;
mod slots;
#[cfg(test)]
mod tests;
mod zipped;

pub use export::export;
pub use file::WeightFile;
pub use import::{ImportOptions, Imported, import, load};
pub(super) use key_map::{KeyMap, pair};
#[cfg(test)]
pub(super) use safetensors::Writer;
