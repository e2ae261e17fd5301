//! CIFAR-10 and CIFAR-100 in their binary version, laid out as a data set.
//!
//! A. Krizhevsky, "Learning multiple layers of features from tiny images" (2009). A record is one byte of label
//! (CIFAR-100: one of the coarse class, then one of the fine class) and 3072 bytes of a 32x32 picture, red, green and
//! blue plane after plane. The names of the classes stand in a text file beside them. `train` and `val` are drawn from
//! the training pictures and `test` from the test pictures, equally many of each class.
//!
//! An archive or folder is read twice, record by record: for the labels, and for the pictures that were drawn. Only the
//! labels are kept. The Python version is a pickle, which may hold programs, and is refused.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use image::{DynamicImage, Rgb, RgbImage};

use super::draw::draw;
use super::{DataError, tar, whole};
use crate::Seed;

const SIDE: usize = 32;
const PIXELS: usize = 3 * SIDE * SIDE;
/// Most records of one file: those of CIFAR-100's training file.
const MOST_RECORDS: usize = 50_000;
/// Most bytes of the file with the names of the classes.
const LONGEST_NAMES: u64 = 1 << 16;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cifar {
    /// Ten classes, 6000 pictures of each.
    Ten,
    /// A hundred fine classes, 600 pictures of each.
    Hundred,
}

impl Cifar {
    fn classes(self) -> usize {
        match self {
            Self::Ten => 10,
            Self::Hundred => 100,
        }
    }

    /// Bytes before the pixels; the last one is the label.
    fn label_bytes(self) -> usize {
        match self {
            Self::Ten => 1,
            Self::Hundred => 2,
        }
    }

    fn training_files(self) -> &'static [&'static str] {
        match self {
            Self::Ten => &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
            ],
            Self::Hundred => &["train.bin"],
        }
    }

    fn test_files(self) -> &'static [&'static str] {
        match self {
            Self::Ten => &["test_batch.bin"],
            Self::Hundred => &["test.bin"],
        }
    }

    fn names_file(self) -> &'static str {
        match self {
            Self::Ten => "batches.meta.txt",
            Self::Hundred => "fine_label_names.txt",
        }
    }

    fn archive(self) -> &'static str {
        match self {
            Self::Ten => "cifar-10-binary.tar.gz",
            Self::Hundred => "cifar-100-binary.tar.gz",
        }
    }
}

/// How much of it, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CifarConfig {
    /// Which of the two.
    pub which: Cifar,
    /// The archive of the binary version, or the folder that was unpacked from it.
    pub from: PathBuf,
    /// Pictures of each class in `train`, at least 1.
    pub train: usize,
    /// Pictures of each class in `val`, at least 1; with `train` at most 5000 (500 of CIFAR-100).
    pub val: usize,
    /// Pictures of each class in `test`, 1 to 1000 (100).
    pub test: usize,
    /// Decides which pictures.
    pub seed: u64,
}

/// Labels of each file and names of the classes.
struct Contents {
    labels: BTreeMap<&'static str, Vec<u8>>,
    names: Vec<String>,
}

/// Lays out the pictures in `out` as PNG files, with folders named after the classes, the label in front. `out`
/// appears complete or not at all. Gives the number of pictures in `train`, `val` and `test`.
///
/// # Errors
/// When a file is missing, broken or the Python version's, a class has too few pictures, or `out` exists and is not
/// empty.
pub fn write_cifar(out: &Path, config: &CifarConfig) -> Result<[usize; 3], DataError> {
    if whole::is_occupied(out)? {
        return Err(DataError::Occupied { path: out.to_path_buf() });
    }
    let CifarConfig { which, from, train, val, test, seed } = config;
    let contents = survey(*which, from)?;
    let digits = (which.classes() - 1).to_string().len();
    let classes: Vec<String> = contents
        .names
        .iter()
        .enumerate()
        .map(|(label, name)| format!("{label:0digits$}-{}", name.replace('_', "-")))
        .collect();
    let seed = Seed::new(*seed).purpose("cifar");
    let mut places = BTreeMap::new();
    let parts = [
        (which.training_files(), vec![("train", *train), ("val", *val)], seed.purpose("train")),
        (which.test_files(), vec![("test", *test)], seed.purpose("test")),
    ];
    for (files, splits, seed) in parts {
        let labels: Vec<u8> = files.iter().flat_map(|file| &contents.labels[file]).copied().collect();
        // Which file each row is in, and where.
        let owners: Vec<(&str, usize)> = files
            .iter()
            .flat_map(|file| (0..contents.labels[file].len()).map(move |record| (*file, record)))
            .collect();
        let drawn = draw(&labels, &classes, &splits, seed).map_err(|reason| broken(from, reason))?;
        places.extend(drawn.into_iter().map(|(place, row)| (owners[row], place)));
    }
    whole::write_whole(out, |work| {
        let set = work.join("set");
        for split in ["train", "val", "test"] {
            for class in &classes {
                let folder = set.join(split).join(class);
                fs::create_dir_all(&folder).map_err(DataError::write(&folder))?;
            }
        }
        each_batch(*which, from, |file, content| {
            records(*which, from, file, content, |record, _, pixels| match places.get(&(file, record)) {
                Some(place) => whole::write_png(&set.join(place), &picture(pixels)),
                None => Ok(()),
            })
        })?;
        Ok::<_, DataError>(set)
    })?;
    Ok([*train, *val, *test].map(|each| each * classes.len()))
}

fn broken(from: &Path, reason: impl Into<String>) -> DataError {
    DataError::Cifar { path: from.to_path_buf(), reason: reason.into() }
}

/// Reads names and labels, and checks that all is there.
fn survey(which: Cifar, from: &Path) -> Result<Contents, DataError> {
    let mut labels = BTreeMap::new();
    let mut names = None;
    each_file(from, |file, content| {
        refuse_pickles(which, from, file)?;
        if file == which.names_file() {
            let mut text = String::new();
            let read = content.take(LONGEST_NAMES).read_to_string(&mut text);
            read.map_err(|error| broken(from, format!("{file} cannot be read: {error}")))?;
            names = Some(
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect(),
            );
        } else if let Some(file) = known(which, file) {
            let mut own = Vec::new();
            records(which, from, file, content, |_, label, _| {
                own.push(label);
                Ok(())
            })?;
            labels.insert(file, own);
        }
        Ok(())
    })?;
    let files = which.training_files().iter().chain(which.test_files());
    if let Some(file) = files.clone().find(|file| !labels.contains_key(*file)) {
        let expected = which.archive();
        return Err(broken(
            from,
            format!("{file} is missing; expected {expected} or the folder unpacked from it"),
        ));
    }
    let names: Vec<String> = names
        .ok_or_else(|| broken(from, format!("{} is missing: it has the classes", which.names_file())))?;
    let plain = |name: &String| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if names.len() != which.classes() || !names.iter().all(plain) {
        let expected = which.classes();
        let reason = format!("{} has {} names, expected {expected}", which.names_file(), names.len());
        return Err(broken(from, reason));
    }
    Ok(Contents { labels, names })
}

/// The name of a file with records as it is kept here.
fn known(which: Cifar, file: &str) -> Option<&'static str> {
    which.training_files().iter().chain(which.test_files()).copied().find(|known| *known == file)
}

/// Hands on the files with records.
fn each_batch(
    which: Cifar,
    from: &Path,
    mut each: impl FnMut(&'static str, &mut dyn Read) -> Result<(), DataError>,
) -> Result<(), DataError> {
    each_file(from, |file, content| known(which, file).map_or(Ok(()), |file| each(file, content)))
}

/// Hands on each file of a folder or archive by the last part of its name.
fn each_file(
    from: &Path,
    mut each: impl FnMut(&str, &mut dyn Read) -> Result<(), DataError>,
) -> Result<(), DataError> {
    if !from.is_dir() {
        return tar::for_each_file(from, |name, content| {
            each(name.rsplit('/').next().unwrap_or(name), content)
        });
    }
    for entry in fs::read_dir(from).map_err(DataError::read(from))? {
        let path = entry.map_err(DataError::read(from))?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str())
            && path.is_file()
        {
            let file = File::open(&path).map_err(DataError::read(&path))?;
            each(name, &mut BufReader::new(file))?;
        }
    }
    Ok(())
}

/// The Python version has files of the same names without an ending.
fn refuse_pickles(which: Cifar, from: &Path, file: &str) -> Result<(), DataError> {
    let pickles = ["batches.meta", "data_batch_1", "test_batch", "train", "test", "meta"];
    if !pickles.contains(&file) {
        return Ok(());
    }
    let reason = format!(
        "{file} is from the Python version, a pickle, which may hold programs and is not read; give the binary version, {}",
        which.archive()
    );
    Err(broken(from, reason))
}

/// Hands on each record of a file: its number, its label and its pixels.
fn records(
    which: Cifar,
    from: &Path,
    file: &str,
    content: &mut dyn Read,
    mut each: impl FnMut(usize, u8, &[u8]) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let start = which.label_bytes();
    let mut record = Vec::with_capacity(start + PIXELS);
    for number in 0..=MOST_RECORDS {
        record.clear();
        content
            .take((start + PIXELS) as u64)
            .read_to_end(&mut record)
            .map_err(|error| broken(from, format!("{file} cannot be read: {error}")))?;
        if record.is_empty() {
            return Ok(());
        }
        if record.len() < start + PIXELS {
            return Err(broken(from, format!("{file} ends inside picture {number}; fetch it again")));
        }
        let label = record[start - 1];
        if usize::from(label) >= which.classes() {
            let most = which.classes() - 1;
            return Err(broken(from, format!("{file} has the label {label}, expected 0 to {most}")));
        }
        if number < MOST_RECORDS {
            each(number, label, &record[start..])?;
        }
    }
    Err(broken(from, format!("{file} has more than {MOST_RECORDS} pictures")))
}

fn picture(planes: &[u8]) -> DynamicImage {
    let plane = SIDE * SIDE;
    let pixel = |x: u32, y: u32| {
        let at = y as usize * SIDE + x as usize;
        Rgb([planes[at], planes[plane + at], planes[2 * plane + at]])
    };
    RgbImage::from_fn(SIDE as u32, SIDE as u32, pixel).into()
}

#[cfg(test)]
mod tests;
