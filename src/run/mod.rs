//! A run: a directory with everything that is needed to resume, to report again and to merge.
//!
//! Files are replaced whole ([`write_file`]) or only ever grow ([`EventLog`]). A killed process leaves
//! nothing worse than a last line that is cut short, which the next one cuts off.

mod atomic;
mod directory;
mod error;
mod events;
mod follow;
mod growing;
mod pace;
mod part;
mod signal;
mod stop;

pub use atomic::{write_file, write_file_by_parts, write_new_file};
pub use directory::{Claim, Layout, RunDir, config_key};
pub use error::RunError;
pub use events::{Event, EventLog, Events, read_events};
pub use follow::{EventFollower, News};
pub(crate) use growing::GrowingFile;
pub use pace::Pace;
pub(crate) use part::part_of;
pub use signal::install_stop_flag;
pub use stop::StopFlag;
