//! Whole files or none.

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
    replace(path, contents).map_err(RunError::writing(path))
}

fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    // Temporary files are private by default, results are not: the umask decides, as for any new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(directory)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The new name itself is on the disk only once the directory is. Other systems cannot open one.
    #[cfg(unix)]
    std::fs::File::open(directory)?.sync_all()?;
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
