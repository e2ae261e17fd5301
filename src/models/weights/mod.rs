//! Weights of other programs.

mod key_map;

pub(super) use key_map::{KeyMap, pair};
