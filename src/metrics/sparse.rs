//! Confusion matrices of very many classes, of which nearly all cells are 0.
//!
//! A gallery of 100 000 people has 10^10 cells and only as many errors as there are pictures. Everything
//! here takes time and memory in proportion to the cells that are not 0, and to the classes.

use super::ConfusionMatrix;

/// One cell: so many images of `label` were taken for `prediction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparseCell {
    /// True class.
    pub label: u32,
    /// Predicted class.
    pub prediction: u32,
    /// Number of images.
    pub count: u64,
}

/// Counts of predictions, rows are true labels, of which only those above 0 are kept: row after row,
/// each by rising prediction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseMatrix {
    /// Where each row begins in the next two, and where the last one ends.
    starts: Vec<usize>,
    predictions: Vec<u32>,
    counts: Vec<u64>,
}

impl SparseMatrix {
    /// From cells in any order; of a cell that is there several times the counts are added. Classes are
    /// below `classes`.
    pub fn new(classes: usize, mut cells: Vec<SparseCell>) -> Self {
        cells.retain(|cell| cell.count > 0);
        // Files come in order as a rule, and a sort sees that at once.
        cells.sort_unstable_by_key(|cell| (cell.label, cell.prediction));
        cells.dedup_by(|next, cell| {
            let same = (next.label, next.prediction) == (cell.label, cell.prediction);
            if same {
                cell.count += next.count;
            }
            same
        });
        let mut starts = vec![0; classes + 1];
        for cell in &cells {
            starts[cell.label as usize + 1] += 1;
        }
        for class in 0..classes {
            starts[class + 1] += starts[class];
        }
        Self {
            starts,
            predictions: cells.iter().map(|cell| cell.prediction).collect(),
            counts: cells.iter().map(|cell| cell.count).collect(),
        }
    }

    /// Counts images, each with its label and its prediction.
    pub fn of_images(classes: usize, images: impl Iterator<Item = (u32, u32)>) -> Self {
        let mut keys: Vec<u64> =
            images.map(|(label, prediction)| u64::from(label) << 32 | u64::from(prediction)).collect();
        keys.sort_unstable();
        let cells = keys.chunk_by(|a, b| a == b).map(|same| SparseCell {
            label: (same[0] >> 32) as u32,
            prediction: same[0] as u32,
            count: same.len() as u64,
        });
        Self::new(classes, cells.collect())
    }

    /// Number of classes `K`.
    pub fn classes(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of cells above 0.
    pub fn cells(&self) -> usize {
        self.counts.len()
    }

    /// The predictions of one label and how many images each has, by rising prediction.
    pub fn row(&self, label: usize) -> impl Iterator<Item = (usize, u64)> + '_ {
        let cells = self.starts[label]..self.starts[label + 1];
        let counts = self.counts[cells.clone()].iter().copied();
        self.predictions[cells].iter().map(|&prediction| prediction as usize).zip(counts)
    }

    /// How many images of `label` were taken for `prediction`.
    pub fn count(&self, label: usize, prediction: usize) -> u64 {
        let cells = self.starts[label]..self.starts[label + 1];
        let found = self.predictions[cells.clone()].binary_search(&(prediction as u32));
        found.map_or(0, |at| self.counts[cells.start + at])
    }

    /// Number of images of each true label.
    pub fn row_totals(&self) -> Vec<u64> {
        self.starts.windows(2).map(|row| self.counts[row[0]..row[1]].iter().sum()).collect()
    }

    /// Number of images.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Rows become columns.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let cells = (0..self.classes()).flat_map(|label| {
            self.row(label).map(move |(prediction, count)| SparseCell {
                label: prediction as u32,
                prediction: label as u32,
                count,
            })
        });
        Self::new(self.classes(), cells.collect())
    }

    /// With all cells. Needs `8 K^2` bytes.
    pub fn to_dense(&self) -> ConfusionMatrix {
        let mut dense = ConfusionMatrix::new(self.classes());
        for label in 0..self.classes() {
            self.row(label).for_each(|(prediction, count)| dense.add_images(label, prediction, count));
        }
        dense
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_cells_above_zero_are_kept() {
        let cell = |label, prediction, count| SparseCell { label, prediction, count };
        let matrix = SparseMatrix::new(3, vec![cell(2, 0, 1), cell(0, 2, 4), cell(1, 1, 0), cell(2, 0, 2)]);
        assert_eq!((matrix.cells(), matrix.total(), matrix.row_totals()), (2, 7, vec![4, 0, 3]));
        assert_eq!((matrix.count(2, 0), matrix.count(0, 2), matrix.count(1, 1)), (3, 4, 0));
        assert_eq!(matrix.to_dense(), [[0, 0, 4], [0, 0, 0], [3, 0, 0]].into());
        assert_eq!(matrix.transposed().to_dense(), [[0, 0, 3], [0, 0, 0], [4, 0, 0]].into());
        assert_eq!(SparseMatrix::new(0, Vec::new()).classes(), 0);
    }

    proptest! {
        #[test]
        fn images_are_counted_as_in_a_dense_matrix(images in prop::collection::vec((0_u32..7, 0_u32..7), 0..60)) {
            let mut dense = ConfusionMatrix::new(7);
            images.iter().for_each(|&(label, prediction)| dense.add(label as usize, prediction as usize));
            let sparse = SparseMatrix::of_images(7, images.into_iter());
            prop_assert_eq!(sparse.to_dense(), dense);
            prop_assert_eq!(sparse.transposed().transposed(), sparse);
        }
    }
}
