//! What can be wrong with a table.

use std::io;
use std::path::{Path, PathBuf};

/// An error of a table that somebody else wrote.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The system could not read it.
    #[error("cannot read {path}: {cause}; {}", advice(.cause))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system or the decoder said.
        cause: io::Error,
    },
    /// One cell is wrong.
    #[error("{path}, line {line}, column {column}: {problem}")]
    Cell {
        /// The file.
        path: PathBuf,
        /// Counted from 1. Of an array the row.
        line: u64,
        /// Counted from 1, with its name where it has one.
        column: String,
        /// What was found, expected, and what to do.
        problem: String,
    },
    /// One record is wrong.
    #[error("{path}, line {line}: {problem}")]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What was found, expected, and what to do.
        problem: String,
    },
    /// The whole is wrong.
    #[error("{path}: {problem}")]
    Whole {
        /// The file.
        path: PathBuf,
        /// What was found, expected, and what to do.
        problem: String,
    },
}

impl TableError {
    // Numbers and names alike, as the callers have them.
    #[allow(clippy::needless_pass_by_value)]
    pub(super) fn cell(path: &Path, line: u64, column: impl ToString, problem: impl Into<String>) -> Self {
        let (path, column) = (path.to_owned(), column.to_string());
        Self::Cell { path, line, column, problem: problem.into() }
    }

    pub(super) fn line(path: &Path, line: u64, problem: impl Into<String>) -> Self {
        Self::Line { path: path.to_owned(), line, problem: problem.into() }
    }

    pub(super) fn whole(path: &Path, problem: impl Into<String>) -> Self {
        Self::Whole { path: path.to_owned(), problem: problem.into() }
    }

    pub(super) fn read(path: &Path, cause: io::Error) -> Self {
        Self::Read { path: path.to_owned(), cause }
    }
}

fn advice(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "change its permissions",
        io::ErrorKind::IsADirectory => "a file was expected, this is a directory",
        io::ErrorKind::UnexpectedEof => "the file ends too early: fetch or write it again",
        _ => "check that the file is whole",
    }
}
