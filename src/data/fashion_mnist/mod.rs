//! Fashion-MNIST: 70,000 pictures of clothes in ten classes, 28x28 pixels, grey.
//!
//! H. Xiao, K. Rasul and R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking machine learning
//! algorithms" (arXiv 1708.07747), MIT licence. Debian has it as the package `dataset-fashion-mnist`
//! (`scripts/fetch-fashion-mnist`). A subset with equally many pictures of each class is laid out as a data set:
//! `train` and `val` are drawn from the training files and `test` from the test files. So are MNIST and other relatives
//! with the same four files.

use std::fs;
use std::path::{Path, PathBuf};

use image::{DynamicImage, GrayImage};
use rayon::prelude::*;

use super::draw::draw;
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
    let training = Pictures::read(&config.from, "train")?;
    let testing = Pictures::read(&config.from, "t10k")?;
    for pictures in [&training, &testing] {
        pictures.check_fashion()?;
    }
    let seed = Seed::new(config.seed).purpose("fashion-mnist");
    lay_out(out, config, [&training, &testing], &CLASSES.map(str::to_owned), seed)
}

/// The same with MNIST or another relative in such files (`train-images-idx3-ubyte` and so on, plain or with `.gz`):
/// pictures of any size, classes named by their labels from 0 to the largest one. `config.from` is to be given.
///
/// # Errors
/// As for [`write_fashion_mnist`].
pub fn write_idx(out: &Path, config: &FashionMnistConfig) -> Result<[usize; 3], DataError> {
    if whole::is_occupied(out)? {
        return Err(DataError::Occupied { path: out.to_path_buf() });
    }
    let training = Pictures::read(&config.from, "train")?;
    let testing = Pictures::read(&config.from, "t10k")?;
    let largest = training.labels.iter().chain(&testing.labels).max().copied().unwrap_or(0);
    let digits = largest.to_string().len();
    let classes: Vec<String> = (0..=largest).map(|label| format!("{label:0digits$}")).collect();
    let seed = Seed::new(config.seed).purpose("idx");
    lay_out(out, config, [&training, &testing], &classes, seed)
}

fn lay_out(
    out: &Path,
    config: &FashionMnistConfig,
    [training, testing]: [&Pictures; 2],
    classes: &[String],
    seed: Seed,
) -> Result<[usize; 3], DataError> {
    let FashionMnistConfig { train, val, test, .. } = config;
    let drawn = training.draw(classes, &[("train", *train), ("val", *val)], seed.purpose("train"))?;
    let held_out = testing.draw(classes, &[("test", *test)], seed.purpose("test"))?;
    whole::write_whole(out, |work| {
        let set = work.join("set");
        for split in ["train", "val", "test"] {
            for class in classes {
                let folder = set.join(split).join(class);
                fs::create_dir_all(&folder).map_err(DataError::write(&folder))?;
            }
        }
        for (pictures, chosen) in [(training, &drawn), (testing, &held_out)] {
            chosen.par_iter().try_for_each(|(place, row)| {
                whole::write_png(&set.join(place), &DynamicImage::from(pictures.picture(*row)))
            })?;
        }
        Ok::<_, DataError>(set)
    })?;
    Ok([*train, *val, *test].map(|each| each * classes.len()))
}

/// One pair of files.
struct Pictures {
    images_path: PathBuf,
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
        if height == 0 || width == 0 {
            let reason = format!("its pictures have {height}x{width} pixels, expected at least 1x1");
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
        Ok(Self { images_path, labels_path, pixels: images.values, labels: labels.values, height, width })
    }

    /// Checks that these can be clothes.
    fn check_fashion(&self) -> Result<(), DataError> {
        let Self { images_path, labels_path, labels, height, width, .. } = self;
        if [*height, *width] != [28, 28] {
            let reason = format!("its pictures have {height}x{width} pixels, expected 28x28");
            return Err(DataError::Idx { path: images_path.clone(), reason });
        }
        match labels.iter().find(|label| usize::from(**label) >= CLASSES.len()) {
            None => Ok(()),
            Some(label) => {
                let reason = format!("it has the label {label}, expected 0 to 9");
                Err(DataError::Idx { path: labels_path.clone(), reason })
            }
        }
    }

    /// For each class as many rows as the splits ask for: path and row.
    fn draw(
        &self,
        classes: &[String],
        splits: &[(&str, usize)],
        seed: Seed,
    ) -> Result<Vec<(String, usize)>, DataError> {
        draw(&self.labels, classes, splits, seed)
            .map_err(|reason| DataError::Idx { path: self.labels_path.clone(), reason })
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
