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
    /// How many times its radius an attack in a ball may use on each image, `N` numbers of 0 or more; 1 for
    /// all where absent. Class-wise training methods set it.
    pub radius_scale: Option<Vec<f32>>,
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
            radius_scale: self
                .radius_scale
                .as_ref()
                .map(|scales| rows.iter().map(|&row| scales[row]).collect()),
        }
    }

    /// The same images with other radii: `N` factors of 0 or more, on top of those that there are.
    #[must_use]
    pub fn scale_radii(&self, factors: &[f32]) -> Self {
        let scales = match &self.radius_scale {
            Some(scales) => scales.iter().zip(factors).map(|(scale, factor)| scale * factor).collect(),
            None => factors.to_vec(),
        };
        Self { radius_scale: Some(scales), ..self.clone() }
    }
}

/// Class indices (or any row numbers) as an integer tensor `[N]` on a device.
pub fn class_tensor(classes: &[usize], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = classes.iter().map(|&class| class as i64).collect();
    Tensor::from_data(values.as_slice(), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;

    #[test]
    fn rows_are_selected_with_their_labels_and_ids() {
        let images =
            Tensor::from_data(TensorData::new(vec![0.1_f32, 0.2, 0.3], [3, 1, 1, 1]), &Device::default());
        let ids = (7..10).map(ImageId).collect();
        let batch = Batch { images, labels: vec![4, 5, 6], ids, radius_scale: None };
        let some = batch.scale_radii(&[1.0, 2.0, 3.0]).scale_radii(&[0.5, 1.0, 2.0]).select(&[2, 0]);
        assert_eq!(some.radius_scale, Some(vec![6.0, 0.5]));
        assert_eq!(some.images.try_into_vec_as::<f32>().expect("f32"), [0.3, 0.1]);
        assert_eq!((some.labels, some.ids), (vec![6, 4], vec![ImageId(9), ImageId(7)]));
    }
}
