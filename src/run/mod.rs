//! A run: a directory with everything that is needed to resume, to report again and to merge.

mod stop;

pub use stop::StopFlag;
