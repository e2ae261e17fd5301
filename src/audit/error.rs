//! What can go wrong in an audit.

use std::path::PathBuf;

use crate::run::RunError;

/// An error of an audit or of the rows that it writes.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file could not be read or written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The rows end in bytes that are neither whole nor cut short.
    #[error(
        "{path} is damaged after its first {whole} bytes: {cause}; \
         cut it there (truncate -s {whole}) and resume: what is lost is computed again"
    )]
    Damaged {
        /// File of rows.
        path: PathBuf,
        /// Bytes that can be read.
        whole: u64,
        /// What the decoder said.
        cause: String,
    },
    /// A row that cannot be read.
    #[error("{path}: {cause}; the file was written by another program or version, or changed by hand")]
    Row {
        /// File of rows.
        path: PathBuf,
        /// What is wrong, with the line.
        cause: String,
    },
    /// A row that is not part of the audit that resumes.
    #[error(
        "{path} has a row of image {image} under attack {attack:?} (target {target}) {cause}; \
         start a new run for another data set or other targets"
    )]
    Foreign {
        /// File of rows.
        path: PathBuf,
        /// Name of the image.
        image: String,
        /// Name of the attack.
        attack: String,
        /// Its target, or `none`.
        target: String,
        /// Why it doesn't belong.
        cause: &'static str,
    },
    /// A piece of an audit that cannot be used.
    #[error("{path} {cause}; remove it and run its shard again, which makes what is missing")]
    Piece {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A class that the model doesn't have.
    #[error("{what} is class {class}, but there are {classes} classes, counted from 0")]
    Class {
        /// Where the class was found.
        what: String,
        /// The class.
        class: usize,
        /// Number of classes `K`.
        classes: usize,
    },
    /// Targets that cannot be read.
    #[error(
        "targets {0:?}: expected none, all, random:3 (that many for each image), file:targets.csv or classes such as 0,4,7"
    )]
    Targets(String),
    /// A file of targets that cannot be used.
    #[error(
        "targets {path}: {cause}; expected a CSV file with the columns image (such as test/anna/1.png) and target (a class \
             by number)"
    )]
    TargetFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: String,
    },
    /// A batch size of 0.
    #[error("the batch size is 0; expected 1 or more images")]
    BatchSize,
    /// A name of an attack that cannot be part of a file name, or is taken.
    #[error(
        "the attack is called {0:?}; expected letters, digits, '-', '_' and '.', and not \"clean\", \
         which names the rows without an attack"
    )]
    Name(String),
    /// Two images with one name.
    #[error("two images are called {0}; rows are found by name, so rename one")]
    Twice(String),
    /// The pictures could not be loaded.
    #[error(transparent)]
    Pictures(Box<dyn std::error::Error + Send + Sync>),
    /// The model gave something that is no number.
    #[error("the model gives logits that are not finite for image {image} ({stage}); check its weights")]
    Logits {
        /// Name of the image.
        image: String,
        /// Clean, or the attack.
        stage: String,
    },
    /// An attack broke its own rules. Nothing of it is counted.
    #[error(
        "attack {attack:?} made a picture of image {image} that it may not make: {cause}; this is an error in the attack"
    )]
    Violation {
        /// Name of the image.
        image: String,
        /// Name of the attack.
        attack: String,
        /// Which rule.
        cause: String,
    },
    /// A tensor could not be brought to the host.
    #[error("the device did not return a result: {0}")]
    Device(String),
}
