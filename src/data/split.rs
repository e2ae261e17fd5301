//! One split of a data set: which pictures, and their pixels in batches.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use image::RgbImage;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::picture::{check_header, decode};
use super::{Batch, DataError, ImageId};
use crate::preprocessing::Framing;
use crate::stable_hash;

/// Largest picture file that is read, in bytes.
const LARGEST_FILE: u64 = 256 << 20;

/// Paths and labels of a split's pictures.
#[derive(Debug)]
pub(super) struct Listing {
    paths: Vec<String>,
    labels: Vec<usize>,
}

impl Listing {
    pub(super) const fn new() -> Self {
        Self { paths: Vec::new(), labels: Vec::new() }
    }

    pub(super) fn push(&mut self, path: String, label: usize) {
        self.paths.push(path);
        self.labels.push(label);
    }

    pub(super) fn paths(&self) -> &[String] {
        &self.paths
    }

    pub(super) fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// What its pictures take in memory, decoded to squares of a side.
    pub(super) fn decoded_bytes(&self, side: usize) -> usize {
        self.paths.len().saturating_mul(3 * side * side)
    }
}

/// The pictures of one split, ordered by class and then by file name.
#[derive(Debug)]
pub struct Split {
    root: PathBuf,
    paths: Vec<String>,
    labels: Vec<usize>,
    ids: Vec<ImageId>,
    framing: Framing,
    /// The decoded pictures, when they fit into the budget.
    cache: Option<Vec<RgbImage>>,
}

impl Split {
    /// Reads every file of a listing, adds it to the hash, and keeps the decoded pictures if all of them
    /// take at most `budget` bytes.
    pub(super) fn read(
        root: &Path,
        listing: Listing,
        framing: Framing,
        budget: usize,
        hash: &mut Sha256,
    ) -> Result<Self, DataError> {
        let cached = listing.decoded_bytes(framing.side) <= budget;
        let read: Vec<(FileHash, Option<RgbImage>)> = listing
            .paths
            .par_iter()
            .map(|relative| {
                let path = root.join(relative);
                let bytes = read_file(&path)?;
                let picture = if cached {
                    Some(decode(&path, &bytes, &framing)?)
                } else {
                    check_header(&path, &bytes)?;
                    None
                };
                Ok((FileHash::of(&bytes), picture))
            })
            .collect::<Result<_, DataError>>()?;
        for (relative, (file, _)) in listing.paths.iter().zip(&read) {
            file.add_to(hash, relative);
        }
        let ids = listing.paths.iter().map(|path| ImageId(stable_hash(path.as_bytes()))).collect();
        Ok(Self {
            root: root.to_path_buf(),
            ids,
            paths: listing.paths,
            labels: listing.labels,
            framing,
            cache: read.into_iter().map(|(_, picture)| picture).collect(),
        })
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no picture. A split of an opened [`super::Dataset`] always has some.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The class of each picture.
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The stable id of each picture: a hash of its relative path.
    pub fn ids(&self) -> &[ImageId] {
        &self.ids
    }

    /// The path of each picture below the root, with `/` on every system, such as `test/s1/3.png`.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Width and height of the pictures in pixels.
    pub fn side(&self) -> usize {
        self.framing.side
    }

    /// How the pictures are framed.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The pictures in these rows, in this order, as pixels `[N, 3, side, side]`. Rows are below
    /// [`Self::len`].
    ///
    /// # Errors
    /// When a picture that was not decoded on opening cannot be read or decoded.
    pub fn batch(&self, rows: &[usize], device: &Device) -> Result<Batch, DataError> {
        let plane = self.side() * self.side();
        let mut pixels = vec![0.0_f32; rows.len() * 3 * plane];
        pixels.par_chunks_mut(3 * plane).zip(rows).try_for_each(|(image, &row)| {
            let fill = |picture: &RgbImage| {
                for (at, rgb) in picture.pixels().enumerate() {
                    for (channel, value) in rgb.0.iter().enumerate() {
                        image[channel * plane + at] = f32::from(*value) / 255.0;
                    }
                }
            };
            self.with_picture(row, fill)
        })?;
        let shape = [rows.len(), 3, self.side(), self.side()];
        Ok(Batch {
            images: Tensor::from_data(TensorData::new(pixels, shape), device),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            ids: rows.iter().map(|&row| self.ids[row]).collect(),
            radius_scale: None,
        })
    }

    /// Hands over one picture, from memory or from its file.
    pub(super) fn with_picture<T>(
        &self,
        row: usize,
        then: impl FnOnce(&RgbImage) -> T,
    ) -> Result<T, DataError> {
        if let Some(cache) = &self.cache {
            return Ok(then(&cache[row]));
        }
        let path = self.root.join(&self.paths[row]);
        Ok(then(&decode(&path, &read_file(&path)?, &self.framing)?))
    }
}

/// The content of a picture file.
///
/// # Errors
/// [`DataError::Read`] when it is not there, or longer than 256 MiB.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    let size = fs::metadata(path).map_err(DataError::read(path))?.len();
    if size > LARGEST_FILE {
        let reason = format!("{size} bytes, expected at most {LARGEST_FILE}");
        return Err(DataError::Read { path: path.to_path_buf(), source: io::Error::other(reason) });
    }
    fs::read(path).map_err(DataError::read(path))
}

/// Length and SHA-256 of one file: files are hashed in parallel and then joined in a fixed order.
struct FileHash {
    length: u64,
    digest: [u8; 32],
}

impl FileHash {
    fn of(bytes: &[u8]) -> Self {
        Self { length: bytes.len() as u64, digest: Sha256::digest(bytes).into() }
    }

    fn add_to(&self, hash: &mut Sha256, relative: &str) {
        hash.update(relative.as_bytes());
        hash.update([0]);
        hash.update(self.length.to_le_bytes());
        hash.update(self.digest);
    }
}
