//! Counts of who was taken for whom.

use std::ops::AddAssign;

/// Counts of predictions: rows are true labels, columns are predictions. Merging two is `+=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<u64>,
    /// The sums of the rows, which nearly every figure needs.
    totals: Vec<u64>,
}

impl ConfusionMatrix {
    /// No image yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes], totals: vec![0; classes] }
    }

    /// From the cells row by row; `None` unless there are `K * K` of them.
    pub fn from_counts(classes: usize, counts: Vec<u64>) -> Option<Self> {
        (classes.checked_mul(classes) == Some(counts.len())).then(|| Self::of_square(classes, counts))
    }

    fn of_square(classes: usize, counts: Vec<u64>) -> Self {
        let totals = (0..classes).map(|label| counts[label * classes..][..classes].iter().sum()).collect();
        Self { classes, counts, totals }
    }

    /// Counts one image. Both classes are below `K`.
    pub fn add(&mut self, label: usize, prediction: usize) {
        self.add_images(label, prediction, 1);
    }

    /// Counts some images at once. Both classes are below `K`.
    pub fn add_images(&mut self, label: usize, prediction: usize, images: u64) {
        self.counts[label * self.classes + prediction] += images;
        self.totals[label] += images;
    }

    /// Number of classes `K`.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many images of `label` were taken for `prediction`.
    pub fn count(&self, label: usize, prediction: usize) -> u64 {
        self.counts[label * self.classes + prediction]
    }

    /// The counts of one true label.
    pub fn row(&self, label: usize) -> &[u64] {
        &self.counts[label * self.classes..][..self.classes]
    }

    /// Number of images of one true label.
    pub fn row_total(&self, label: usize) -> u64 {
        self.totals[label]
    }

    /// Number of images of each true label.
    pub fn row_totals(&self) -> &[u64] {
        &self.totals
    }

    /// Number of images.
    pub fn total(&self) -> u64 {
        self.totals.iter().sum()
    }

    /// Number of images that were taken for what they are.
    pub fn correct(&self) -> u64 {
        (0..self.classes).map(|class| self.count(class, class)).sum()
    }

    /// Number of images of other classes that were taken for `class`.
    pub fn errors_into(&self, class: usize) -> u64 {
        (0..self.classes).filter(|&label| label != class).map(|label| self.count(label, class)).sum()
    }

    /// Number of images of other classes that were taken for each class.
    pub fn all_errors_into(&self) -> Vec<u64> {
        let mut errors = vec![0; self.classes];
        for label in 0..self.classes {
            for (class, images) in self.row(label).iter().enumerate().filter(|&(class, _)| class != label) {
                errors[class] += images;
            }
        }
        errors
    }
}

impl AddAssign<&Self> for ConfusionMatrix {
    /// Both have the same number of classes, or it panics: a mistake of the program, not of its input.
    fn add_assign(&mut self, other: &Self) {
        assert_eq!(self.classes, other.classes, "matrices of different classes cannot be merged");
        for (sums, more) in [(&mut self.counts, &other.counts), (&mut self.totals, &other.totals)] {
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
    }
}

#[cfg(test)]
impl<const K: usize> From<[[u64; K]; K]> for ConfusionMatrix {
    fn from(rows: [[u64; K]; K]) -> Self {
        Self::of_square(K, rows.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_labels_and_columns_are_predictions() {
        let mut matrix = ConfusionMatrix::new(3);
        matrix.add(0, 2);
        matrix.add(0, 0);
        matrix.add(1, 2);
        assert_eq!(matrix, ConfusionMatrix::from([[1, 0, 1], [0, 0, 1], [0, 0, 0]]));
        assert_eq!((matrix.row_total(0), matrix.row_total(2)), (2, 0));
        assert_eq!((matrix.errors_into(2), matrix.errors_into(0)), (2, 0));
        assert_eq!((matrix.correct(), matrix.total()), (1, 3));
    }

    #[test]
    fn cells_have_to_be_a_square() {
        assert_eq!(ConfusionMatrix::from_counts(2, vec![1, 2, 3, 4]), Some([[1, 2], [3, 4]].into()));
        assert_eq!(ConfusionMatrix::from_counts(2, vec![1, 2, 3]), None);
        assert_eq!(ConfusionMatrix::from_counts(usize::MAX, Vec::new()), None);
        assert_eq!(ConfusionMatrix::from([[1, 2], [3, 4]]).all_errors_into(), [3, 2]);
        assert_eq!(ConfusionMatrix::from([[1, 2], [3, 4]]).row_totals(), [3, 7]);
    }

    #[test]
    fn merged_shards_are_the_whole() {
        let images = [(0, 1), (1, 1), (2, 0), (2, 2), (0, 0), (1, 2)];
        let count = |part: &[(usize, usize)]| {
            let mut matrix = ConfusionMatrix::new(3);
            for &(label, prediction) in part {
                matrix.add(label, prediction);
            }
            matrix
        };
        let mut merged = count(&images[..2]);
        merged += &count(&images[2..]);
        assert_eq!(merged, count(&images));
    }
}
