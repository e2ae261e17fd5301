//! A data set: a folder with `train/`, `val/` and `test/`, each with one folder of pictures per class; or with
//! `splits.csv`; or with nothing but one folder of pictures per class, which is then divided by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::partition::{self, PartitionConfig};
use super::picture::has_picture_ending;
use super::split::{Listing, Split};
use super::splits_file::{self, SPLITS_FILE};
use super::{DataError, Groups};
use crate::preprocessing::Framing;

/// Names of the splits, in the order of [`Dataset`]'s fields.
pub(super) const SPLITS: [&str; 3] = ["train", "val", "test"];

/// Decoded pixels of a split are kept in memory as long as those of all splits are at most this many bytes.
const CACHE_BUDGET: usize = 1 << 30;

/// A data set on disk.
#[derive(Debug)]
pub struct Dataset {
    /// Names of the classes in byte order; the position is the label.
    pub classes: Vec<String>,
    /// Pictures to train on.
    pub train: Split,
    /// Pictures to choose checkpoints, thresholds and hyper-parameters on.
    pub val: Split,
    /// Pictures that only the audit touches.
    pub test: Split,
    /// What `groups.csv` in the root says about the classes, when there is one.
    pub groups: Option<Groups>,
    /// The division as the text of a `splits.csv`, where it does not follow from folders named `train`, `val`
    /// and `test`.
    pub splits: Option<String>,
    /// SHA-256, in hexadecimal, over the relative path, length and content of every picture in the order
    /// train, val, test and then of the path, and over [`Self::splits`]. `groups.csv` is not part of it.
    pub hash: String,
}

impl Dataset {
    /// Reads a data set, its pictures framed as a model expects them; a number of pixels stands for the
    /// largest square in the middle, resized bilinearly to that side.
    ///
    /// Every file is read once for the hash. Where the decoded pixels of a split fit into what the kept ones
    /// before it have left of 1 GiB they are kept, and a corrupt picture is found here; otherwise only the
    /// header of each picture is checked here and [`Split::batch`] decodes. The pixels are the same either
    /// way. So memory is bounded by 1 GiB, the pictures that are being decoded and the paths.
    ///
    /// A root with `splits.csv` holds the pictures that it names. A root with none of that file, `train/`, `val/`
    /// and `test/` has one folder per class, and is divided as [`super::write_partition`] does by default: a fifth
    /// of each class to test on, a fifth to validate on.
    ///
    /// Files and folders whose names start with a dot are passed over, and so is everything in the root
    /// but the three splits and `groups.csv`. Anything else that is not a PNG, JPEG, PGM, PPM or BMP
    /// picture is an error.
    ///
    /// # Errors
    /// [`DataError`] for whatever is missing, empty, clashing, unreadable or no picture.
    pub fn open(root: &Path, framing: impl Into<Framing>) -> Result<Self, DataError> {
        Self::open_within(root, framing.into(), CACHE_BUDGET)
    }

    /// [`Self::open`] with a budget in bytes for the decoded pixels.
    pub(super) fn open_within(root: &Path, framing: Framing, budget: usize) -> Result<Self, DataError> {
        framing.check().map_err(|reason| DataError::Framing { reason })?;
        let (classes, listings, splits) = find(root)?;
        let groups = Groups::read_if_there(&root.join("groups.csv"), &classes)?;
        let mut hash = Sha256::new();
        hash.update(splits.as_deref().unwrap_or_default());
        let mut left = budget;
        let [train, val, test] = listings.map(|listing| {
            let own = left;
            // A split that does not fit is not kept, and leaves all of it to those behind it.
            left = left.checked_sub(listing.decoded_bytes(framing.side)).unwrap_or(left);
            Split::read(root, listing, framing, own, &mut hash)
        });
        let (train, val, test) = (train?, val?, test?);
        let hash = hexadecimal(&hash.finalize());
        Ok(Self { classes, train, val, test, groups, splits, hash })
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// The classes, for each split its pictures, and how they were divided if not by folders.
type Found = (Vec<String>, [Listing; 3], Option<String>);

/// Looks which of the layouts a root has.
fn find(root: &Path) -> Result<Found, DataError> {
    if let Some(text) = read_if_there(&root.join(SPLITS_FILE))? {
        let (classes, listings) = splits_file::parse(root, &text)?;
        let splits = splits_file::write(&classes, &listings);
        return Ok((classes, listings, Some(splits)));
    }
    if !root.is_dir() || SPLITS.iter().any(|split| root.join(split).is_dir()) {
        let (classes, listings) = list(root)?;
        return Ok((classes, listings, None));
    }
    let (classes, listings, left_out) = partition::divide(root, "", &PartitionConfig::default())?;
    if left_out > 0 {
        let problem = format!(
            "{left_out} classes of {} have fewer than 3 pictures, one for each split; add pictures, or leave such \
             classes out: syfar data split --from {} --out DIR",
            root.display(),
            root.display()
        );
        return Err(DataError::Partition { problem });
    }
    let splits = splits_file::write(&classes, &listings);
    Ok((classes, listings, Some(splits)))
}

/// The classes and, for each split, its pictures in the order of the path.
pub(super) fn list(root: &Path) -> Result<(Vec<String>, [Listing; 3]), DataError> {
    if !root.is_dir() {
        return Err(DataError::MissingRoot { path: root.to_path_buf() });
    }
    let mut folders = Vec::new();
    for split in SPLITS {
        folders.push(class_folders(root, split)?);
    }
    let classes = check_classes(root, &folders)?;
    let mut listings = [const { Listing::new() }; 3];
    for (listing, split) in listings.iter_mut().zip(SPLITS) {
        for (label, class) in classes.iter().enumerate() {
            for file in picture_names(&root.join(split).join(class))? {
                listing.push(format!("{split}/{class}/{file}"), label);
            }
        }
    }
    Ok((classes, listings))
}

/// Names of the class folders of one split.
fn class_folders(root: &Path, split: &'static str) -> Result<BTreeSet<String>, DataError> {
    let path = root.join(split);
    if !path.is_dir() {
        return Err(DataError::MissingSplit { root: root.to_path_buf(), split });
    }
    let entries = visible_entries(&path)?;
    if let Some(file) = entries.values().find(|entry| !entry.is_dir()) {
        return Err(DataError::Unexpected {
            path: file.clone(),
            found: "a file",
            expected: "only one folder per class here",
        });
    }
    Ok(entries.into_keys().collect())
}

/// Names of the folders in the root of a set that is not divided. Files beside them are passed over.
pub(super) fn class_folders_of(root: &Path) -> Result<Vec<String>, DataError> {
    if !root.is_dir() {
        return Err(DataError::MissingRoot { path: root.to_path_buf() });
    }
    let entries = visible_entries(root)?;
    let folders: Vec<String> =
        entries.into_iter().filter(|(_, path)| path.is_dir()).map(|(name, _)| name).collect();
    check_case(root, &folders)?;
    Ok(folders)
}

/// Refuses names that some file systems cannot tell apart.
fn check_case<'a>(root: &Path, classes: impl IntoIterator<Item = &'a String>) -> Result<(), DataError> {
    let mut folded = BTreeMap::new();
    for class in classes {
        if let Some(first) = folded.insert(class.to_lowercase(), class) {
            let (first, second) = (first.clone(), class.clone());
            return Err(DataError::ClashingClasses { root: root.to_path_buf(), first, second });
        }
    }
    Ok(())
}

/// The classes of all splits, after checking that each split has each of them.
pub(super) fn check_classes(root: &Path, folders: &[BTreeSet<String>]) -> Result<Vec<String>, DataError> {
    let all: BTreeSet<&String> = folders.iter().flatten().collect();
    check_case(root, all.iter().copied())?;
    if all.len() < 2 {
        return Err(DataError::TooFewClasses { path: root.join(SPLITS[0]), found: all.len() });
    }
    for (split, present) in SPLITS.into_iter().zip(folders) {
        if let Some(class) = all.iter().find(|class| !present.contains(**class)) {
            let class = (**class).clone();
            return Err(DataError::MissingClass { root: root.to_path_buf(), class, split });
        }
    }
    Ok(all.into_iter().cloned().collect())
}

/// Names of the pictures of one class in one split, at least one.
pub(super) fn picture_names(folder: &Path) -> Result<Vec<String>, DataError> {
    let entries = visible_entries(folder)?;
    if entries.is_empty() {
        return Err(DataError::EmptyClass { path: folder.to_path_buf() });
    }
    let unexpected = |path: &Path, found| {
        let expected = "a PNG, JPEG, PGM, PPM or BMP picture";
        Err(DataError::Unexpected { path: path.to_path_buf(), found, expected })
    };
    for (name, path) in &entries {
        if path.is_dir() {
            return unexpected(path, "a folder");
        }
        if !has_picture_ending(name) {
            return unexpected(path, "a file of another kind");
        }
    }
    Ok(entries.into_keys().collect())
}

/// What is in a folder, by name, without what starts with a dot.
fn visible_entries(folder: &Path) -> Result<BTreeMap<String, PathBuf>, DataError> {
    let mut visible = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(DataError::read(folder))? {
        let path = entry.map_err(DataError::read(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| DataError::NotUtf8 { path: path.clone() })?;
        if !name.starts_with('.') {
            // Follows links, so a link to nowhere is named here and not taken for a file.
            fs::metadata(&path).map_err(DataError::read(&path))?;
            visible.insert(name.to_owned(), path);
        }
    }
    Ok(visible)
}

/// The content of a file, or `None` when there is no such file.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, DataError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Read { path: path.to_path_buf(), source }),
    }
}

#[cfg(test)]
mod tests;
