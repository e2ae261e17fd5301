//! A folder with one folder of pictures per class, divided into `train`, `val` and `test`.
//!
//! Every class is divided alone, by a key of the seed and its name: what becomes of its pictures does not depend on the
//! other classes. Of `n` pictures `round(n test)` go to `test` and `round(n val)` to `val`, at least one to each split.

use std::cmp::Reverse;
use std::fs;
use std::path::Path;

use rand::seq::SliceRandom;

use super::folder::{class_folders_of, picture_names};
use super::split::Listing;
use super::{DataError, splits_file, whole};
use crate::{Seed, stable_hash};

/// Name of the link to the pictures in a data set that [`write_partition`] makes.
const LINK: &str = "pictures";

/// Which classes, and how they are divided.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionConfig {
    /// Classes with fewer pictures are left out; at least 3. Default 3.
    pub min_images: usize,
    /// If there are more classes, those with the most pictures are kept; names decide ties. At least 2. Default: all.
    pub max_classes: Option<usize>,
    /// Share of each class to validate on, above 0. Default 0.2.
    pub val: f64,
    /// Share of each class to test on, above 0; less than 1 with `val`. Default 0.2.
    pub test: f64,
    /// Decides which pictures. Default 0.
    pub seed: u64,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self { min_images: 3, max_classes: None, val: 0.2, test: 0.2, seed: 0 }
    }
}

impl PartitionConfig {
    fn check(&self) -> Result<(), DataError> {
        let Self { min_images, max_classes, val, test, .. } = self;
        let problem = if *min_images < 3 {
            format!("min-images is {min_images}, expected at least 3, a picture for each split")
        } else if max_classes.is_some_and(|most| most < 2) {
            "max-classes is below 2, expected at least 2".to_owned()
        } else if !(*val > 0.0 && *test > 0.0 && val + test < 1.0) {
            format!(
                "val is {val} and test is {test}, expected shares above 0 that leave something to train on"
            )
        } else {
            return Ok(());
        };
        Err(DataError::Partition { problem })
    }
}

/// What a partition came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSummary {
    /// Classes that were kept.
    pub classes: usize,
    /// Classes that were left out.
    pub left_out: usize,
    /// Number of pictures in `train`, `val` and `test`.
    pub pictures: [usize; 3],
}

/// Classes, their pictures and how many classes were left out.
pub(super) type Divided = (Vec<String>, [Listing; 3], usize);

/// Divides the classes in `folder`; the paths in the listings begin with `prefix`.
///
/// # Errors
/// As for [`write_partition`].
pub(super) fn divide(folder: &Path, prefix: &str, config: &PartitionConfig) -> Result<Divided, DataError> {
    config.check()?;
    let mut found = Vec::new();
    for class in class_folders_of(folder)? {
        let pictures = picture_names(&folder.join(&class))?;
        found.push((class, pictures));
    }
    let all = found.len();
    found.retain(|(_, pictures)| pictures.len() >= config.min_images);
    if let Some(most) = config.max_classes {
        found.sort_by_key(|(_, pictures)| Reverse(pictures.len()));
        found.truncate(most);
        found.sort();
    }
    if found.len() < 2 {
        let problem = format!(
            "{} has {all} folders of pictures and {} of them with at least {} pictures, expected at least 2 classes",
            folder.display(),
            found.len(),
            config.min_images
        );
        return Err(DataError::Partition { problem });
    }
    let mut listings = [const { Listing::new() }; 3];
    for (label, (class, pictures)) in found.iter().enumerate() {
        for (listing, mut own) in listings.iter_mut().zip(of_class(class, pictures, config)) {
            own.sort_unstable();
            for picture in own {
                listing.push(format!("{prefix}{class}/{picture}"), label);
            }
        }
    }
    let left_out = all - found.len();
    Ok((found.into_iter().map(|(class, _)| class).collect(), listings, left_out))
}

/// The pictures of one class in `train`, `val` and `test`.
fn of_class<'a>(class: &str, pictures: &'a [String], config: &PartitionConfig) -> [Vec<&'a String>; 3] {
    let count = pictures.len();
    let share = |share: f64| (share * count as f64).round() as usize;
    let test = share(config.test).clamp(1, count - 2);
    let val = share(config.val).clamp(1, count - 1 - test);
    let mut order: Vec<&String> = pictures.iter().collect();
    let seed = Seed::new(config.seed).purpose("partition").at(stable_hash(class.as_bytes()));
    order.shuffle(&mut seed.rng());
    let train = order.split_off(test + val);
    let val = order.split_off(test);
    [train, val, order]
}

/// Divides a folder with one folder of pictures per class, and writes the data set `out`: `splits.csv`, and a link
/// to the folder, which stays as it is. `out` appears complete or not at all.
///
/// # Errors
/// When a number makes no sense, when fewer than two classes are left, when a class folder holds anything but
/// pictures, when a name is not UTF-8, or when `out` exists and is not empty or cannot be written.
pub fn write_partition(
    from: &Path,
    out: &Path,
    config: &PartitionConfig,
) -> Result<PartitionSummary, DataError> {
    if whole::is_occupied(out)? {
        return Err(DataError::Occupied { path: out.to_path_buf() });
    }
    let (classes, listings, left_out) = divide(from, &format!("{LINK}/"), config)?;
    let target = fs::canonicalize(from).map_err(DataError::read(from))?;
    whole::write_whole(out, |work| {
        let set = work.join("set");
        fs::create_dir(&set).map_err(DataError::write(&set))?;
        let link = set.join(LINK);
        symlink(&target, &link).map_err(DataError::write(&link))?;
        let file = set.join(splits_file::SPLITS_FILE);
        fs::write(&file, splits_file::write(&classes, &listings)).map_err(DataError::write(&file))?;
        Ok::<_, DataError>(set)
    })?;
    let pictures = [0, 1, 2].map(|split: usize| listings[split].paths().len());
    Ok(PartitionSummary { classes: classes.len(), left_out, pictures })
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::windows::fs::symlink_dir(target, link)
}

#[cfg(test)]
mod tests;
