//! Counts of who was taken for whom.

use std::ops::AddAssign;

/// Counts of predictions: rows are true labels, columns are predictions. Merging two is `+=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    classes: usize,
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// No image yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: vec![0; classes * classes] }
    }

    /// Counts one image. Both classes are below `K`.
    pub fn add(&mut self, label: usize, prediction: usize) {
        self.counts[label * self.classes + prediction] += 1;
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
        self.row(label).iter().sum()
    }
}

impl AddAssign<&Self> for ConfusionMatrix {
    /// Both have the same classes.
    fn add_assign(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }
}
