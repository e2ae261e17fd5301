//! Writing a folder whole or not at all.

use std::fs;
use std::io::{Cursor, ErrorKind};
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat};

use super::DataError;

/// Whether there is something at `out` that writing there would mix with.
pub(super) fn is_occupied(out: &Path) -> Result<bool, DataError> {
    match fs::read_dir(out) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        // A file, for example.
        Err(source) => Err(DataError::Write { path: out.to_path_buf(), source }),
    }
}

/// Lets `fill` write into a temporary folder next to `out`; the folder inside it that `fill` returns
/// becomes `out`, which is missing or empty. Whatever fails, nothing stays behind.
pub(super) fn write_whole<E: From<DataError>>(
    out: &Path,
    fill: impl FnOnce(&Path) -> Result<PathBuf, E>,
) -> Result<(), E> {
    // A bare name has the empty path as its parent.
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(DataError::write(parent))?;
    let work =
        tempfile::Builder::new().prefix(".syfar-").tempdir_in(parent).map_err(DataError::write(parent))?;
    let filled = fill(work.path())?;
    match fs::remove_dir(out) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(DataError::Write { path: out.to_path_buf(), source: error }.into());
        }
        _ => {}
    }
    Ok(fs::rename(&filled, out).map_err(DataError::write(out))?)
}

/// Writes a picture as PNG. The bytes depend on nothing but the pixels.
pub(super) fn write_png(path: &Path, picture: &DynamicImage) -> Result<(), DataError> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).expect("8-bit pictures can be written as PNG to memory");
    fs::write(path, bytes.into_inner()).map_err(DataError::write(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(work: &Path) -> Result<PathBuf, DataError> {
        let inner = work.join("inner");
        fs::create_dir(&inner).map_err(DataError::write(&inner))?;
        fs::write(inner.join("a.txt"), "a").map_err(DataError::write(&inner))?;
        Ok(inner)
    }

    fn names(folder: &Path) -> Vec<std::ffi::OsString> {
        fs::read_dir(folder).expect("the folder").filter_map(Result::ok).map(|e| e.file_name()).collect()
    }

    #[test]
    fn a_missing_or_empty_folder_is_filled() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let new = parent.path().join("deep/new");
        assert!(!is_occupied(&new).expect("readable"));
        write_whole(&new, fill).expect("writable");
        assert_eq!(names(&new), ["a.txt"]);
        assert!(is_occupied(&new).expect("readable"));
        assert_eq!(names(&parent.path().join("deep")), ["new"]);

        let empty = parent.path().join("empty");
        fs::create_dir(&empty).expect("a folder");
        write_whole(&empty, fill).expect("writable");
        assert_eq!(names(&empty), ["a.txt"]);
    }

    #[test]
    fn a_full_folder_or_a_file_is_left_alone() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let full = parent.path().join("full");
        write_whole(&full, fill).expect("writable");
        assert!(write_whole(&full, fill).is_err());
        assert!(is_occupied(&full.join("a.txt")).is_err());
        assert_eq!(names(parent.path()), ["full"]);
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let out = parent.path().join("out");
        let failed = write_whole(&out, |work| {
            fill(work)?;
            Err(DataError::Occupied { path: PathBuf::new() })
        });
        assert!(failed.is_err());
        assert!(names(parent.path()).is_empty());
    }
}
