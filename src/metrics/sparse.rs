//! Confusion matrices of very many classes, of which nearly all cells are 0.
//!
//! A gallery of 100 000 people has 10^10 cells and only as many errors as there are pictures. Everything
//! here takes time and memory in proportion to the cells that are not 0, and to the classes.

use super::{
    ColumnRates, ConfusionFigures, ConfusionMatrix, Figure, PairCounts, PairGap, Rate, Robustness,
    SourceFigures, SymmetryFigures, TargetFigures,
};
use crate::Seed;

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

    /// The figures of a [`ConfusionMatrix`] with these counts, without tests. Intervals of figures that are not rates and
    /// noise floors come from `draws` redrawn matrices; with 0 there are none.
    pub fn figures(&self, seed: Seed, draws: u32) -> ConfusionFigures {
        let totals = self.row_totals();
        let right: Vec<u64> = (0..self.classes()).map(|class| self.count(class, class)).collect();
        let accuracies: Vec<Option<Rate>> =
            right.iter().zip(&totals).map(|(&right, &images)| Rate::of(right, images)).collect();
        let present: Vec<Rate> = accuracies.iter().flatten().copied().collect();
        let (mut errors_into, mut columns) = (vec![0; self.classes()], Vec::new());
        columns.resize(self.classes(), ColumnRates { sum: 0.0, variance: 0.0 });
        for (label, &images) in totals.iter().enumerate() {
            for (class, errors) in self.row(label).filter(|&(class, _)| class != label) {
                let rate = errors as f64 / images as f64;
                errors_into[class] += errors;
                columns[class].sum += rate;
                columns[class].variance += rate * (1.0 - rate) / images as f64;
            }
        }
        let (pairs, compared) = (self.pairs(&totals), present.len() * present.len().saturating_sub(1) / 2);
        let images = self.total();
        ConfusionFigures {
            images,
            robustness: Robustness {
                micro_accuracy: Rate::of(right.iter().sum(), images),
                macro_accuracy: Figure::mean_of(&present, images),
            },
            source: SourceFigures::of_rates(accuracies, seed, draws),
            target: TargetFigures::of_columns(&errors_into, &totals, &columns, seed, draws),
            symmetry: SymmetryFigures::of_pairs(self.classes(), compared, &pairs, images, seed, draws),
            tests: None,
        }
    }

    /// The pairs of classes that differ most, at most so many, by falling gap.
    pub fn largest_pairs(&self, most: usize) -> Vec<PairGap> {
        let totals = self.row_totals();
        let images = self.total();
        let mut gaps: Vec<PairGap> = self
            .pairs(&totals)
            .into_iter()
            .map(|pair| {
                let rates = [0, 1].map(|side| pair.events[side] as f64 / pair.trials[side] as f64);
                let ordered =
                    if rates[0] >= rates[1] { (pair.low, pair.high) } else { (pair.high, pair.low) };
                let (forward, backward) = (rates[0].max(rates[1]), rates[0].min(rates[1]));
                let gap = Figure::new(forward - backward, images);
                PairGap { from: ordered.0, to: ordered.1, forward, backward, gap }
            })
            .filter(|pair| pair.gap.value > 0.0)
            .collect();
        let order = |a: &PairGap, b: &PairGap| {
            b.gap.value.total_cmp(&a.gap.value).then((a.from, a.to).cmp(&(b.from, b.to)))
        };
        if gaps.len() > most {
            gaps.select_nth_unstable_by(most, order);
            gaps.truncate(most);
        }
        gaps.sort_by(order);
        gaps
    }

    /// The pairs of classes with images of which any was taken for the other; without such a pair the
    /// first two classes with images.
    fn pairs(&self, totals: &[u64]) -> Vec<PairCounts> {
        let into = self.transposed();
        let mut found = Vec::new();
        for low in 0..self.classes() {
            if totals[low] == 0 {
                continue;
            }
            let (mut there, mut back) = (self.row(low).peekable(), into.row(low).peekable());
            loop {
                let next = [there.peek(), back.peek()].into_iter().flatten().map(|cell| cell.0).min();
                let Some(high) = next else { break };
                let events = [&mut there, &mut back]
                    .map(|row| row.next_if(|cell| cell.0 == high).map_or(0, |cell| cell.1));
                if high > low && totals[high] > 0 {
                    found.push(PairCounts { low, high, trials: [totals[low], totals[high]], events });
                }
            }
        }
        if found.is_empty() {
            let mut present = (0..self.classes()).filter(|&class| totals[class] > 0);
            if let (Some(low), Some(high)) = (present.next(), present.next()) {
                found.push(PairCounts { low, high, trials: [totals[low], totals[high]], events: [0, 0] });
            }
        }
        found
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

    fn close(a: &serde_json::Value, b: &serde_json::Value) -> bool {
        use serde_json::Value;
        match (a, b) {
            (Value::Number(a), Value::Number(b)) => {
                a.as_f64().zip(b.as_f64()).is_some_and(|(a, b)| (a - b).abs() < 1e-12)
            }
            (Value::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b))
            }
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| close(a, b)))
            }
            _ => a == b,
        }
    }

    fn cells() -> impl Strategy<Value = Vec<(u32, u32)>> {
        prop::collection::vec((0_u32..6, 0_u32..6), 0..50)
    }

    #[test]
    fn the_pairs_with_the_largest_gap() {
        let dense = [[10, 5, 0, 5], [1, 19, 0, 0], [8, 0, 2, 0], [0, 0, 0, 0]];
        let images = (0..4)
            .flat_map(|i| (0..4).flat_map(move |j| (0..dense[i][j]).map(move |_| (i as u32, j as u32))));
        let found = SparseMatrix::of_images(4, images).largest_pairs(5);
        let pairs: Vec<(usize, usize)> = found.iter().map(|pair| (pair.from, pair.to)).collect();
        assert_eq!(pairs, [(2, 0), (0, 1)], "a pair with an absent class says nothing");
        assert!((found[1].forward - 0.25).abs() < 1e-12 && (found[1].gap.value - 0.2).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn figures_are_those_of_the_dense_matrix(images in cells()) {
            let sparse = SparseMatrix::of_images(6, images.into_iter());
            let [a, b] = [sparse.figures(Seed::new(1), 3), ConfusionFigures::of(&sparse.to_dense(), Seed::new(1), 3)]
                .map(|figures| serde_json::to_value(figures).expect("JSON"));
            for part in ["images", "robustness"] {
                prop_assert!(close(&a[part], &b[part]), "{part}: {} {}", a[part], b[part]);
            }
            for (part, names) in [
                ("source", &["per_class", "worst", "best"][..]),
                ("target", &["errors", "shares", "largest_share"]),
                ("symmetry", &["pairs"]),
            ] {
                for name in names {
                    prop_assert!(close(&a[part][name], &b[part][name]), "{part}.{name}: {a} {b}");
                }
            }
            for figure in [
                "/source/gap", "/target/share_gap", "/target/exposure_gap", "/symmetry/a1", "/symmetry/a1_normalised",
                "/symmetry/largest_gap/gap", "/symmetry/penalty_evaluation", "/symmetry/frobenius_ratio",
            ] {
                let value = |report: &serde_json::Value| report.pointer(&format!("{figure}/value")).cloned();
                prop_assert!(close(&value(&a).into(), &value(&b).into()), "{figure}: {a} {b}");
            }
        }

        #[test]
        fn images_are_counted_as_in_a_dense_matrix(images in prop::collection::vec((0_u32..7, 0_u32..7), 0..60)) {
            let mut dense = ConfusionMatrix::new(7);
            for &(label, prediction) in &images {
                dense.add(label as usize, prediction as usize);
            }
            let sparse = SparseMatrix::of_images(7, images.into_iter());
            prop_assert_eq!(sparse.to_dense(), dense);
            prop_assert_eq!(sparse.transposed().transposed(), sparse);
        }
    }
}
