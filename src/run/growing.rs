//! Files that only grow, by whole pieces: lines of a log, blocks of rows.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::RunError;

/// The writer of such a file. After an error the file holds what it held before.
#[derive(Debug)]
pub(crate) struct GrowingFile {
    path: PathBuf,
    file: File,
    /// Bytes of whole pieces.
    length: u64,
}

impl GrowingFile {
    /// Opens or makes a file. What a killed writer left incomplete at its end is cut off: `whole` tells the number of
    /// bytes before it.
    ///
    /// # Errors
    /// What `whole` says, or [`RunError::Write`].
    pub fn open<E: From<RunError>>(
        path: &Path,
        whole: impl FnOnce(&mut File) -> Result<u64, E>,
    ) -> Result<Self, E> {
        let mut options = File::options();
        let options = options.create(true).read(true).write(true).truncate(false);
        let mut file = options.open(path).map_err(RunError::writing(path))?;
        let length = whole(&mut file)?;
        let mut growing = Self { path: path.to_owned(), file, length };
        growing.cut().map_err(RunError::writing(path))?;
        Ok(growing)
    }

    /// One to which nothing can be written.
    #[cfg(test)]
    pub fn that_fails(path: &Path) -> Self {
        let file = File::open(path).expect("a file");
        let length = file.metadata().expect("a file").len();
        Self { path: path.to_owned(), file, length }
    }

    /// Appends a piece, which the operating system has when this returns: only a power failure can lose it.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn append(&mut self, piece: &[u8]) -> Result<(), RunError> {
        self.add(piece, |_| Ok(()))
    }

    /// Appends a piece, which is on the disk when this returns.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn append_to_disk(&mut self, piece: &[u8]) -> Result<(), RunError> {
        self.add(piece, File::sync_data)
    }

    fn add(&mut self, piece: &[u8], then: impl FnOnce(&File) -> io::Result<()>) -> Result<(), RunError> {
        match self.file.write_all(piece).and_then(|()| then(&self.file)) {
            Ok(()) => {
                self.length += piece.len() as u64;
                Ok(())
            }
            Err(cause) => {
                // The error of the write is the one to report; `open` cuts again if this fails too.
                let _ = self.cut();
                Err(RunError::Write { path: self.path.clone(), cause })
            }
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.seek(SeekFrom::Start(self.length)).map(|_| ())
    }
}
