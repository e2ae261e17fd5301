//! Matrices as the page holds them: counts of pairs of classes, whole or in blocks.
//!
//! Rates, shares and intervals follow from the counts and are made where they are shown. Above [`MOST_WHOLE`] classes
//! neighbours in an order are counted together, order by order, so that the page stays small.

use std::collections::BTreeMap;

use serde::Serialize;

use super::order::{by_name, by_weight, clustered};
use super::source::Counts;
use crate::metrics::{ConfusionMatrix, SuccessMatrix};

/// Up to so many classes every pair is on the page.
pub(super) const MOST_WHOLE: usize = 200;

/// Above, an axis has at most so many blocks.
const MOST_BLOCKS: usize = 125;

/// What the script of the page reads.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct MapData {
    /// `K` names.
    pub classes: Vec<String>,
    /// For each matrix its counts.
    pub maps: Vec<Map>,
}

/// One matrix.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Map {
    /// `targeted`, `untargeted` or `clean`.
    pub key: &'static str,
    /// Orders of the classes by name: `name`, `cluster`, `gap`.
    pub orders: BTreeMap<&'static str, Vec<usize>>,
    /// Classes in a block, 1 where the matrix is whole.
    pub block: usize,
    /// Cells along an axis.
    pub size: usize,
    /// The counts: under `all` for a whole matrix in the order of the classes, else one for each order.
    pub cells: BTreeMap<&'static str, Cells>,
    /// What the largest gap would be by chance on average, if it was computed. It is of pairs of single classes, so blocks have
    /// none: the mean of many pairs has less noise than one.
    pub floor: Option<f64>,
}

/// Counts, row by row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Cells {
    /// How many ended in the column's class.
    pub hits: Vec<u64>,
    /// Of how many: one number for each cell, or one for each row where it is the same along a row, but for the
    /// diagonal.
    pub tries: Vec<u64>,
    /// Tries on the diagonal of a whole matrix; empty for blocks, which leave the diagonal out.
    pub own: Vec<u64>,
}

/// All matrices of a run, the most telling first.
pub(super) fn maps(classes: &[String], counts: &Counts, floor: impl Fn(&str) -> Option<f64>) -> MapData {
    let mut maps = Vec::new();
    if let Some(targeted) = counts.targeted.as_ref().filter(|counts| counts.total_attempts() > 0) {
        maps.push(map("targeted", classes, &Pairs::of_success(targeted), floor("targeted")));
    }
    for (key, matrix) in [("untargeted", &counts.untargeted), ("clean", &counts.clean)] {
        if let Some(matrix) = matrix {
            maps.push(map(key, classes, &Pairs::of_errors(matrix), floor(key)));
        }
    }
    MapData { classes: classes.to_vec(), maps }
}

fn map(key: &'static str, classes: &[String], pairs: &Pairs, floor: Option<f64>) -> Map {
    let number = classes.len();
    let rate = |from: usize, to: usize| pairs.rate(from, to).unwrap_or(0.0);
    let gap = |class: usize| {
        let gaps = (0..number)
            .filter(|&other| other != class)
            .map(|other| pairs.gap(class, other).unwrap_or(0.0).abs());
        gaps.fold(0.0, f64::max)
    };
    let gaps: Vec<f64> = (0..number).map(gap).collect();
    let orders = BTreeMap::from([
        ("name", by_name(classes)),
        ("cluster", clustered(number, |i, j| rate(i, j) + rate(j, i))),
        ("gap", by_weight(&gaps)),
    ]);
    if number <= MOST_WHOLE {
        let cells = BTreeMap::from([("all", pairs.whole())]);
        return Map { key, orders, block: 1, size: number, cells, floor };
    }
    let block = number.div_ceil(MOST_BLOCKS);
    let cells = orders.iter().map(|(name, order)| (*name, pairs.blocks(order, block))).collect();
    Map { key, orders, block, size: number.div_ceil(block), cells, floor: None }
}

/// Counts of ordered pairs of classes, row by row.
pub(super) struct Pairs {
    classes: usize,
    hits: Vec<u64>,
    tries: Vec<u64>,
}

impl Pairs {
    /// Of errors: each of a class's pictures could have ended in any class.
    pub fn of_errors(counts: &ConfusionMatrix) -> Self {
        let classes = counts.classes();
        let rows = 0..classes;
        let hits = rows.clone().flat_map(|from| counts.row(from).iter().copied()).collect();
        let tries = rows.flat_map(|from| std::iter::repeat_n(counts.row_total(from), classes)).collect();
        Self { classes, hits, tries }
    }

    /// Of targeted attacks.
    pub fn of_success(counts: &SuccessMatrix) -> Self {
        let classes = counts.classes();
        let cells = || (0..classes).flat_map(|from| (0..classes).map(move |to| (from, to)));
        Self {
            classes,
            hits: cells().map(|(from, to)| counts.successes(from, to)).collect(),
            tries: cells().map(|(from, to)| counts.attempts(from, to)).collect(),
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// How many from one class ended in the other, and of how many.
    pub fn pair(&self, from: usize, to: usize) -> (u64, u64) {
        let cell = from * self.classes + to;
        (self.hits[cell], self.tries[cell])
    }

    fn rate(&self, from: usize, to: usize) -> Option<f64> {
        let (hits, tries) = self.pair(from, to);
        (tries > 0).then(|| hits as f64 / tries as f64)
    }

    fn gap(&self, from: usize, to: usize) -> Option<f64> {
        Some(self.rate(from, to)? - self.rate(to, from)?)
    }

    /// All cells. Where all of a row but the diagonal have as many tries, the row has one number.
    fn whole(&self) -> Cells {
        let row = |from: usize| {
            let mut others =
                (0..self.classes).filter(|&to| to != from).map(|to| self.tries[from * self.classes + to]);
            let first = others.next()?;
            others.all(|tried| tried == first).then_some(first)
        };
        let rows: Option<Vec<u64>> = (0..self.classes).map(row).collect();
        let own = (0..self.classes).map(|class| self.tries[class * self.classes + class]).collect();
        Cells { hits: self.hits.clone(), tries: rows.unwrap_or_else(|| self.tries.clone()), own }
    }

    /// Neighbours in an order counted together, without the pairs of a class with itself.
    fn blocks(&self, order: &[usize], block: usize) -> Cells {
        let size = self.classes.div_ceil(block);
        let (mut hits, mut tries) = (vec![0; size * size], vec![0; size * size]);
        for (row, &from) in order.iter().enumerate() {
            for (column, &to) in order.iter().enumerate().filter(|&(_, &to)| to != from) {
                let cell = row / block * size + column / block;
                hits[cell] += self.hits[from * self.classes + to];
                tries[cell] += self.tries[from * self.classes + to];
            }
        }
        Cells { hits, tries, own: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(number: usize) -> Vec<String> {
        (0..number).map(|class| format!("class {class}")).collect()
    }

    fn ring(number: usize) -> SuccessMatrix {
        let mut counts = SuccessMatrix::new(number);
        for from in 0..number {
            for to in (0..number).filter(|&to| to != from) {
                (0..3).for_each(|_| counts.add(from, to, to == (from + 1) % number));
            }
        }
        counts
    }

    #[test]
    fn few_classes_are_whole_and_rows_of_equal_tries_are_short() {
        let counts = Counts { targeted: Some(ring(4)), ..Counts::default() };
        let data = maps(&names(4), &counts, |_| Some(0.25));
        let map = &data.maps[0];
        assert_eq!((map.key, map.block, map.size, map.floor), ("targeted", 1, 4, Some(0.25)));
        assert_eq!(map.cells["all"].tries, [3; 4]);
        assert_eq!(map.cells["all"].own, [0; 4]);
        assert_eq!(map.cells["all"].hits[..8], [0, 3, 0, 0, 0, 0, 3, 0]);
        let mut own = ring(4);
        own.add(1, 1, true);
        let data = maps(&names(4), &Counts { targeted: Some(own), ..Counts::default() }, |_| None);
        let cells = &data.maps[0].cells["all"];
        assert_eq!((&cells.tries[..], &cells.own[..]), (&[3; 4][..], &[0, 1, 0, 0][..]));
        let mut uneven = ring(4);
        uneven.add(0, 2, true);
        let data = maps(&names(4), &Counts { targeted: Some(uneven), ..Counts::default() }, |_| None);
        assert_eq!(data.maps[0].cells["all"].tries.len(), 16);
    }

    #[test]
    fn many_classes_lose_no_count() {
        let number = MOST_WHOLE + 7;
        let counts = ring(number);
        let (hits, tries) = (counts.total_successes(), counts.total_attempts());
        let counts = Counts { targeted: Some(counts), ..Counts::default() };
        let data = maps(&names(number), &counts, |_| Some(0.25));
        let map = &data.maps[0];
        assert!(map.block > 1 && map.size <= MOST_BLOCKS);
        assert_eq!(map.floor, None, "that of single pairs is not that of blocks");
        for cells in map.cells.values() {
            assert_eq!(cells.hits.iter().sum::<u64>(), hits);
            assert_eq!(cells.tries.iter().sum::<u64>(), tries);
            assert_eq!(cells.hits.len(), map.size * map.size);
        }
        // In the order of names the successes are next to the diagonal.
        assert_eq!(map.orders["name"], (0..number).collect::<Vec<_>>());
        assert_eq!(map.cells["name"].hits[1], 3);
    }

    #[test]
    fn nothing_attacked_is_no_matrix() {
        let counts = Counts { targeted: Some(SuccessMatrix::new(3)), ..Counts::default() };
        assert!(maps(&names(3), &counts, |_| None).maps.is_empty());
    }
}
