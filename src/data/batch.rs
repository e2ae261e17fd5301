//! The batch: what a picture is to the rest of the program.

use burn::tensor::{Device, Int, Tensor};

/// Stable name of one image: a hash of its path inside the data set, the same on every machine. It keys
/// every random draw that concerns the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(pub u64);

/// Some images with their labels. Only `data` makes one from files.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Pixels `[N, C, H, W]`, `f32` in `[0, 1]`, never normalised, on a device without autodiff.
    pub images: Tensor<4>,
    /// `N` class indices.
    pub labels: Vec<usize>,
    /// `N` stable ids.
    pub ids: Vec<ImageId>,
}

impl Batch {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// `[N, C, H, W]`.
    pub fn shape(&self) -> [usize; 4] {
        self.images.dims()
    }

    /// The rows with these positions, in this order.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let device = self.images.device();
        Self {
            images: self.images.clone().select(0, class_tensor(rows, &device)),
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
            ids: rows.iter().map(|&row| self.ids[row]).collect(),
        }
    }
}

/// Class indices (or any row numbers) as an integer tensor `[N]` on a device.
pub fn class_tensor(classes: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = classes.iter().map(|&class| class as i64).collect();
    Tensor::from_data(values.as_slice(), device)
}
