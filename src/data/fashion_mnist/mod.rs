//! Fashion-MNIST: 70,000 pictures of clothes in ten classes, 28x28 pixels, grey.
//!
//! H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
//! algorithms" (arXiv 1708.07747), MIT licence. Debian has it as the package `dataset-fashion-mnist`
//! (`scripts/fetch-fashion-mnist`). A subset with equally many pictures of each class is laid out as a data set:
//! `train` and `val` are drawn from the training files and `test` from the test files.

use std::fs;
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage};
use rand::seq::SliceRandom;
use rayon::prelude::*;

use super::{DataError, idx, whole};
use crate::Seed;

/// The classes in the order of their labels, with the number in front, so that byte order keeps it.
const CLASSES: [&str; 10] = [
    "0-t-shirt",
    "1-trouser",
    "2-pullover",
    "3-dress",
    "4-coat",
    "5-sandal",
    "6-shirt",
    "7-sneaker",
    "8-bag",
    "9-ankle-boot",
];

/// Where Debian's package puts the files.
const PACKAGE_FOLDER: &str = "/usr/share/datasets/fashion-mnist";

/// How much of it, and from where.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FashionMnistConfig {
    /// Folder with the four IDX files, plain or with `.gz`; by default that of Debian's package.
    pub from: PathBuf,
    /// Pictures of each class in `train`, 1 to 5999. Default 600.
    pub train: usize,
    /// Pictures of each class in `val`; with `train` at most 6000. Default 100.
    pub val: usize,
    /// Pictures of each class in `test`, 1 to 1000. Default 200.
    pub test: usize,
    /// Decides which pictures. Default 0.
    pub seed: u64,
}

impl Default for FashionMnistConfig {
    fn default() -> Self {
        Self { from: PACKAGE_FOLDER.into(), train: 600, val: 100, test: 200, seed: 0 }
    }
}

/// Lays out the pictures in `out` as PNG files, with folders named after the classes. `out` appears complete or not
/// at all. Gives the number of pictures in `train`, `val` and `test`.
///
/// # Errors
/// When a number is out of its range, a file is missing or broken, a class has too few pictures, or `out` exists and
/// is not empty.
pub fn write_fashion_mnist(out: &Path, config: &FashionMnistConfig) -> Result<[usize; 3], DataError> {
    if whole::is_occupied(out)? {
        return Err(DataError::Occupied { path: out.to_path_buf() });
    }
    let FashionMnistConfig { from, train, val, test, seed } = config;
    let training = Pictures::read(from, "train")?;
    let testing = Pictures::read(from, "t10k")?;
    let seed = Seed::new(*seed).purpose("fashion-mnist");
    let drawn = training.draw(&[("train", *train), ("val", *val)], seed.purpose("train"))?;
    let held_out = testing.draw(&[("test", *test)], seed.purpose("test"))?;
    whole::write_whole(out, |work| {
        let set = work.join("set");
        for split in ["train", "val", "test"] {
            for class in CLASSES {
                let folder = set.join(split).join(class);
                fs::create_dir_all(&folder).map_err(DataError::write(&folder))?;
            }
        }
        for (pictures, chosen) in [(&training, &drawn), (&testing, &held_out)] {
            chosen.par_iter().try_for_each(|(place, row)| {
                whole::write_png(&set.join(place), &DynamicImage::from(pictures.picture(*row)))
            })?;
        }
        Ok(set)
    })?;
    Ok([*train, *val, *test].map(|each| each * CLASSES.len()))
}

/// One pair of files.
struct Pictures {
    labels_path: PathBuf,
    pixels: Vec<u8>,
    labels: Vec<u8>,
    height: usize,
    width: usize,
}

impl Pictures {
    fn read(from: &Path, which: &str) -> Result<Self, DataError> {
        let images_path = find(from, &format!("{which}-images-idx3-ubyte"))?;
        let labels_path = find(from, &format!("{which}-labels-idx1-ubyte"))?;
        let images = idx::read::<3>(&images_path)?;
        let labels = idx::read::<1>(&labels_path)?;
        let [count, height, width] = images.sizes;
        if [height, width] != [28, 28] {
            let reason = format!("its pictures have {height}x{width} pixels, expected 28x28");
            return Err(DataError::Idx { path: images_path, reason });
        }
        if labels.sizes != [count] {
            let reason = format!(
                "it has {} labels, expected {count}, one for each picture of {}",
                labels.sizes[0],
                images_path.display()
            );
            return Err(DataError::Idx { path: labels_path, reason });
        }
        if let Some(label) = labels.values.iter().find(|label| usize::from(**label) >= CLASSES.len()) {
            let reason = format!("it has the label {label}, expected 0 to 9");
            return Err(DataError::Idx { path: labels_path, reason });
        }
        Ok(Self { labels_path, pixels: images.values, labels: labels.values, height, width })
    }

    /// For each class as many rows as the splits ask for, drawn without replacement: path and row.
    fn draw(&self, splits: &[(&str, usize)], seed: Seed) -> Result<Vec<(String, usize)>, DataError> {
        let mut places = Vec::new();
        for (label, class) in CLASSES.iter().enumerate() {
            let mut rows: Vec<usize> =
                (0..self.labels.len()).filter(|&row| usize::from(self.labels[row]) == label).collect();
            rows.shuffle(&mut seed.at(label as u64).rng());
            let wanted: usize = splits.iter().map(|(_, count)| count).sum();
            if wanted > rows.len() || splits.iter().any(|(_, count)| *count == 0) {
                let reason = format!(
                    "class {class} has {} pictures, and {} were asked for; expected at least 1 for each split and not \
                     more than there are",
                    rows.len(),
                    splits
                        .iter()
                        .map(|(split, count)| format!("{count} for {split}"))
                        .collect::<Vec<_>>()
                        .join(", ")
                );
                return Err(DataError::Idx { path: self.labels_path.clone(), reason });
            }
            let mut rows = rows.into_iter();
            for (split, count) in splits {
                places.extend(
                    rows.by_ref().take(*count).map(|row| (format!("{split}/{class}/{row:05}.png"), row)),
                );
            }
        }
        Ok(places)
    }

    fn picture(&self, row: usize) -> GrayImage {
        let size = self.height * self.width;
        let pixels = self.pixels[row * size..(row + 1) * size].to_vec();
        GrayImage::from_raw(self.width as u32, self.height as u32, pixels)
            .expect("exactly the pixels of one picture")
    }
}

/// The file, plain or compressed.
fn find(from: &Path, name: &str) -> Result<PathBuf, DataError> {
    let plain = from.join(name);
    let compressed = from.join(format!("{name}.gz"));
    [compressed, plain]
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| DataError::NoFashionMnist { path: from.to_path_buf(), missing: format!("{name}.gz") })
}

#[cfg(test)]
mod tests;
