//! Whole files or none.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::RunError;

/// Writes a file so that a reader, or the next start after a crash, finds the old contents or the new
/// ones and nothing between: the bytes go to a temporary file in the same directory, reach the disk, and
/// the file is then renamed. After an error the old file is as it was.
///
/// # Errors
/// [`RunError::Write`] with the path.
pub fn write_file(path: &Path, contents: &[u8]) -> Result<(), RunError> {
    write_file_by_parts(path, |file| file.write_all(contents).map_err(RunError::writing(path)))
}

/// As [`write_file`], with contents that are written one part after another.
///
/// # Errors
/// What `fill` says, or [`RunError::Write`] with the path.
pub fn write_file_by_parts<E: From<RunError>>(
    path: &Path,
    fill: impl FnOnce(&mut File) -> Result<(), E>,
) -> Result<(), E> {
    let mut file = beside(path).map_err(RunError::writing(path))?;
    fill(file.as_file_mut())?;
    let kept = file.as_file().sync_all().and_then(|()| {
        file.persist(path).map_err(|error| error.error)?;
        sync_directory(path)
    });
    Ok(kept.map_err(RunError::writing(path))?)
}

/// Writes a file unless there is one, and says whether it did. Of several processes that do so at once one succeeds.
///
/// # Errors
/// [`RunError::Write`] with the path.
pub fn write_new_file(path: &Path, contents: &[u8]) -> Result<bool, RunError> {
    let written = beside(path).and_then(|mut file| {
        file.write_all(contents)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Ok(_) => sync_directory(path).map(|()| true),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error.error),
        }
    });
    written.map_err(RunError::writing(path))
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A temporary file in the directory of another one.
fn beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    // Temporary files are private by default, results are not: the umask decides, as for any new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(directory(path))
}

/// Brings a new name to the disk, which it is on only once the directory is.
fn sync_directory(path: &Path) -> io::Result<()> {
    // Other systems cannot open a directory.
    #[cfg(unix)]
    File::open(directory(path))?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("readable");
        entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_new_file_is_made_once() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("config.toml");
        assert!(write_new_file(&path, b"first").expect("written"));
        assert!(!write_new_file(&path, b"second").expect("passed over"));
        assert_eq!(fs::read(&path).expect("readable"), b"first");
        assert_eq!(names(directory.path()), ["config.toml"]);
    }

    #[test]
    fn a_file_is_made_and_replaced() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("metrics.json");
        write_file(&path, b"old and long").expect("new file");
        write_file(&path, b"new").expect("replaced file");
        assert_eq!(fs::read(&path).expect("readable"), b"new");
        assert_eq!(names(directory.path()), ["metrics.json"]);
    }

    #[test]
    fn a_failed_write_leaves_the_directory_as_it_was() {
        let directory = tempfile::tempdir().expect("temporary directory");
        // A rename onto a directory fails after all bytes are written.
        let path = directory.path().join("taken");
        fs::create_dir(&path).expect("directory");
        let error = write_file(&path, b"x").expect_err("a directory is in the way").to_string();
        assert!(error.contains("taken"), "{error}");
        assert_eq!(names(directory.path()), ["taken"]);
    }

    #[test]
    fn a_missing_directory_is_an_error_with_the_path() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let error =
            write_file(&directory.path().join("no/where.csv"), b"x").expect_err("missing").to_string();
        assert!(error.contains("no/where.csv") && error.ends_with("check the path"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn the_file_has_the_permissions_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("temporary directory");
        let (ours, plain) = (directory.path().join("ours"), directory.path().join("plain"));
        write_file(&ours, b"x").expect("written");
        fs::write(&plain, b"x").expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }
}
