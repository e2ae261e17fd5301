//! Directories that are replaced as a whole.

use std::fs;
use std::io;
use std::path::Path;

/// Lets `write` fill a fresh directory and puts it in the place of `directory`. Whoever looks, also after
/// a crash, finds the old directory, none, or the new one, never a mixture.
///
/// # Errors
/// Those of `write`, and those of the file system through `From<io::Error>`; the old directory is then
/// as it was.
pub(crate) fn replace_directory<E: From<io::Error>>(
    directory: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let parent = match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent)?;
    let fresh = tempfile::Builder::new().prefix(".new-").tempdir_in(parent)?;
    write(fresh.path())?;
    for entry in fs::read_dir(fresh.path())? {
        fs::File::open(entry?.path())?.sync_all()?;
    }
    let retired = tempfile::Builder::new().prefix(".old-").tempdir_in(parent)?;
    if directory.exists() {
        fs::rename(directory, retired.path().join("content"))?;
    }
    let fresh = fresh.keep();
    if let Err(error) = fs::rename(&fresh, directory) {
        fs::remove_dir_all(&fresh)?;
        if retired.path().join("content").exists() {
            fs::rename(retired.path().join("content"), directory)?;
        }
        return Err(error.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_directory_and_nothing_else() {
        let place = tempfile::tempdir().expect("temporary directory");
        let directory = place.path().join("model");
        replace_directory::<io::Error>(&directory, |fresh| fs::write(fresh.join("a"), "1")).expect("made");
        let failed = replace_directory::<io::Error>(&directory, |fresh| {
            fs::write(fresh.join("a"), "2")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(directory.join("a")).expect("kept"), "1");
        assert_eq!(fs::read_dir(place.path()).expect("listed").count(), 1);
        replace_directory::<io::Error>(&directory, |fresh| fs::write(fresh.join("b"), "3")).expect("made");
        assert!(!directory.join("a").exists() && directory.join("b").exists());
        assert_eq!(fs::read_dir(place.path()).expect("listed").count(), 1);
    }
}
