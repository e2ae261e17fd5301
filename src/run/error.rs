//! What can go wrong with a run directory.

use std::io;
use std::path::{Path, PathBuf};

/// An error of a run directory or one of its files.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file or directory could not be written.
    #[error("cannot write {path}: {cause}; {}", advice(.cause))]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file or directory could not be read.
    #[error("cannot read {path}: {cause}; {}", advice(.cause))]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A new run was to go where there is one.
    #[error("{0} holds a run already; resume it with --resume, or choose another directory")]
    Exists(PathBuf),
    /// A new run was to go among files that are no run.
    #[error("{0} is not empty and holds no run (no config.toml); choose an empty or a new directory")]
    NotEmpty(PathBuf),
    /// A run was expected and there is none.
    #[error("{0} holds no run (no config.toml): correct the path, or leave out --resume to start one")]
    NoRun(PathBuf),
    /// A run is resumed with another config than it was started with.
    #[error(
        "the run in {path} was started with another config:\n  {}\n\
         resume it with the config that it was started with ({path}/config.toml), \
         or start a new run in another directory",
        .differences.join("\n  ")
    )]
    ConfigDiffers {
        /// The run directory.
        path: PathBuf,
        /// One line for each differing key, with the old and the new value.
        differences: Vec<String>,
    },
    /// A config that is not TOML.
    #[error("{origin} is not TOML: {cause}; a run stores its resolved config, so restore it from a copy")]
    Config {
        /// Where the config came from.
        origin: String,
        /// What the parser said.
        cause: String,
    },
    /// Another process works in the directory.
    #[error("another process is writing the run in {0}; wait for it, stop it, or choose another directory")]
    Locked(PathBuf),
    /// A whole line of a log that cannot be read.
    #[error("{path}, line {line}: {cause}; the file was changed by hand or damaged: remove the line")]
    Line {
        /// The log.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        cause: String,
    },
    /// An event that has no form in JSON.
    #[error("an event of kind {kind:?} cannot be written as JSON: {cause}; its payload needs text as keys")]
    Event {
        /// Kind of the event.
        kind: String,
        /// What the serialiser said.
        cause: String,
    },
    /// The signal handler could not be installed.
    #[error("cannot listen for Ctrl-C: {0}; install the stop flag once, before anything else does")]
    Signal(String),
}

impl RunError {
    /// Turns an error of the system into one that names the path, for `map_err`.
    pub fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Write { path: path.to_owned(), cause }
    }

    /// As [`RunError::writing`], for reading.
    pub fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Read { path: path.to_owned(), cause }
    }
}

/// What a person can do about an error of the system.
fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space there and run the command again"
        }
        io::ErrorKind::PermissionDenied => "change its permissions or choose another directory",
        io::ErrorKind::ReadOnlyFilesystem => "choose a directory on a disk that can be written",
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            "a file stands where a directory belongs, or the other way round: check the path"
        }
        _ => "check the path and the disk, then run the command again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_with_the_file_and_the_remedy() {
        let error = RunError::writing(Path::new("runs/a/metrics.json"))(io::ErrorKind::StorageFull.into())
            .to_string();
        assert!(error.starts_with("cannot write runs/a/metrics.json: "), "{error}");
        assert!(error.ends_with("free some space there and run the command again"), "{error}");
    }
}
