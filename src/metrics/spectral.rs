//! The spectral norm of the confusions: the largest singular value of the off-diagonal part of a matrix of
//! rates. It is the quantity of the spectral regularisation of confusions (`SpecNorm`), which has no term for
//! symmetry.
//!
//! Computed by Lanczos' method on `C^T C` from the vector of ones, with full reorthogonalisation. No entry
//! is negative, so the leading right singular vector can be chosen without negative entries
//! (Perron-Frobenius) and is never orthogonal to the start. Power iteration would need thousands of passes
//! where two confusions are about as large.

use rayon::prelude::*;

use super::rates::Pair;

/// Relative error at which the iteration stops.
const TOLERANCE: f64 = 1e-14;

/// The same for one of many redrawn matrices, whose norms differ in the second or third digit.
const DRAWN_TOLERANCE: f64 = 1e-6;

/// Dimension of the largest Krylov space; what remains after it is a loss of digits, not of meaning.
const MOST_STEPS: usize = 200;

/// Above so many cells the rows are divided into [`PARTS`].
const MANY_CELLS: usize = 50_000;

/// Groups of rows that are multiplied side by side.
const PARTS: usize = 16;

/// Of the cells the part that has to be above 0 for all of them to be multiplied: one cell by its column
/// takes as long as some four in a row.
const FULL: f64 = 0.25;

/// The off-diagonal cells, row by row.
enum Cells<'a> {
    /// Those that are not 0.
    Some { starts: Vec<usize>, columns: Vec<u32>, values: Vec<f64> },
    /// All of them, and 0 on the diagonal.
    All(&'a [f64]),
}

impl<'a> Cells<'a> {
    /// From a whole matrix with 0 on the diagonal.
    fn of_rows(classes: usize, rates: &'a [f64]) -> Self {
        let above = |row: &[f64]| row.iter().filter(|&&rate| rate > 0.0).count();
        let sizes: Vec<usize> = rates.par_chunks(classes).with_min_len(PARTS).map(above).collect();
        if sizes.iter().sum::<usize>() as f64 >= FULL * rates.len() as f64 {
            return Self::All(rates);
        }
        let mut starts = vec![0; classes + 1];
        (0..classes).for_each(|row| starts[row + 1] = starts[row] + sizes[row]);
        let cells = || rates.iter().enumerate().filter(|&(_, &rate)| rate > 0.0);
        Self::Some {
            starts,
            columns: cells().map(|(cell, _)| (cell % classes) as u32).collect(),
            values: cells().map(|(_, &rate)| rate).collect(),
        }
    }

    /// Both directions of each pair; classes without a pair have an empty row.
    fn of(classes: usize, pairs: impl Iterator<Item = Pair> + Clone) -> Self {
        let mut starts = vec![0; classes + 1];
        for pair in pairs.clone() {
            starts[pair.low + 1] += usize::from(pair.up > 0.0);
            starts[pair.high + 1] += usize::from(pair.down > 0.0);
        }
        (0..classes).for_each(|row| starts[row + 1] += starts[row]);
        let mut next = starts.clone();
        let mut columns = vec![0; starts[classes]];
        let mut values = vec![0.0; starts[classes]];
        for pair in pairs {
            for (row, column, value) in [(pair.low, pair.high, pair.up), (pair.high, pair.low, pair.down)] {
                if value > 0.0 {
                    columns[next[row]] = column as u32;
                    values[next[row]] = value;
                    next[row] += 1;
                }
            }
        }
        Self::Some { starts, columns, values }
    }

    fn number(&self) -> usize {
        match self {
            Self::Some { values, .. } => values.len(),
            Self::All(rates) => rates.len(),
        }
    }

    /// `C^T C v` in one pass over the cells. The parts are always the same, so threads do not change a digit.
    fn squared_times(&self, vector: &[f64]) -> Vec<f64> {
        let parts = if self.number() < MANY_CELLS { 1 } else { PARTS };
        let rows = vector.len().div_ceil(parts);
        let part = |part: usize| {
            let mut result = vec![0.0; vector.len()];
            let ends = [part * rows, (part + 1) * rows].map(|end| end.min(vector.len()));
            match self {
                Self::Some { starts, columns, values } => {
                    for row in starts[ends[0]..=ends[1]].windows(2) {
                        let (columns, values) = (&columns[row[0]..row[1]], &values[row[0]..row[1]]);
                        let cells = || columns.iter().map(|&column| column as usize).zip(values);
                        let sum: f64 = cells().map(|(column, value)| value * vector[column]).sum();
                        cells().for_each(|(column, value)| result[column] += value * sum);
                    }
                }
                Self::All(rates) => {
                    for row in rates[ends[0] * vector.len()..ends[1] * vector.len()].chunks(vector.len()) {
                        let sum = dot(row, vector);
                        result.iter_mut().zip(row).for_each(|(result, value)| *result += value * sum);
                    }
                }
            }
            result
        };
        let add = |mut sum: Vec<f64>, part: Vec<f64>| {
            sum.iter_mut().zip(&part).for_each(|(sum, part)| *sum += part);
            sum
        };
        let found: Vec<Vec<f64>> = (0..parts).into_par_iter().map(part).collect();
        found.into_iter().reduce(add).unwrap_or_default()
    }
}

/// The largest singular value of the matrix of these pairs, in `[0, K - 1]`; 0 without errors.
pub(super) fn of_pairs(classes: usize, pairs: impl Iterator<Item = Pair> + Clone) -> f64 {
    largest_singular_value(classes, &Cells::of(classes, pairs), TOLERANCE)
}

/// The same of a whole matrix, row by row, with 0 on the diagonal.
pub(super) fn of_rows(classes: usize, rates: &[f64]) -> f64 {
    if classes == 0 {
        0.0
    } else {
        largest_singular_value(classes, &Cells::of_rows(classes, rates), TOLERANCE)
    }
}

/// The same of redrawn pairs, to the sixth digit.
pub(super) fn of_drawn(classes: usize, pairs: &[Pair]) -> f64 {
    largest_singular_value(classes, &Cells::of(classes, pairs.iter().copied()), DRAWN_TOLERANCE)
}

fn largest_singular_value(classes: usize, cells: &Cells, tolerance: f64) -> f64 {
    if cells.number() == 0 {
        return 0.0;
    }
    let mut basis = vec![vec![1.0 / (classes as f64).sqrt(); classes]];
    let (mut diagonal, mut beside): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut largest = 0.0;
    while basis.len() <= classes.min(MOST_STEPS) {
        let last = &basis[basis.len() - 1];
        let mut next = cells.squared_times(last);
        diagonal.push(dot(&next, last));
        // Twice is enough to be orthogonal to rounding (Giraud and others, 2005).
        for _ in 0..2 {
            for vector in &basis {
                let part = dot(&next, vector);
                next.iter_mut().zip(vector).for_each(|(value, along)| *value -= part * along);
            }
        }
        let length = dot(&next, &next).sqrt();
        largest = largest_eigenvalue(&diagonal, &beside);
        // The error of the eigenvalue is at most the residual, which is this length times the last entry
        // of the eigenvector of the small matrix.
        if length * last_entry(&diagonal, &beside, largest) <= tolerance * largest {
            break;
        }
        for value in &mut next {
            *value /= length;
        }
        beside.push(length);
        basis.push(next);
    }
    largest.max(0.0).sqrt()
}

/// In eight sums, which do not wait for each other.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, rest_a), (b, rest_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut sums = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        (0..8).for_each(|at| sums[at] += a[at] * b[at]);
    }
    sums.iter().sum::<f64>() + rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum::<f64>()
}

/// The largest eigenvalue of a symmetric tridiagonal matrix, by bisection on the signs of its pivots.
fn largest_eigenvalue(diagonal: &[f64], beside: &[f64]) -> f64 {
    let radius = |at: usize| {
        let left = if at > 0 { beside[at - 1] } else { 0.0 };
        left + beside.get(at).copied().unwrap_or(0.0)
    };
    let mut low = diagonal.iter().copied().fold(f64::MIN, f64::max);
    let mut high = (0..diagonal.len()).map(|at| diagonal[at] + radius(at)).fold(low, f64::max);
    // The pivots of `T - x` are all negative where every eigenvalue is below `x`.
    let all_below = |x: f64| {
        let mut pivot = diagonal[0] - x;
        pivot < 0.0
            && diagonal[1..].iter().zip(beside).all(|(entry, side)| {
                pivot = entry - x - side * side / pivot;
                pivot < 0.0
            })
    };
    loop {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            return high;
        }
        if all_below(middle) { high = middle } else { low = middle }
    }
}

/// Size of the last entry of the normalised eigenvector, by the recurrence from the last entry backwards,
/// along which the entries of a leading eigenvector do not cancel.
fn last_entry(diagonal: &[f64], beside: &[f64], eigenvalue: f64) -> f64 {
    let size = diagonal.len();
    let (mut entry, mut before, mut squares) = (1.0_f64, 0.0_f64, 1.0_f64);
    for at in (1..size).rev() {
        let beyond = if at + 1 < size { beside[at] * before } else { 0.0 };
        let next = ((eigenvalue - diagonal[at]) * entry - beyond) / beside[at - 1];
        (before, entry) = (entry, next);
        squares += entry * entry;
    }
    1.0 / squares.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::RateMatrix;

    fn norm(rates: &RateMatrix) -> f64 {
        of_pairs(rates.classes(), rates.pairs())
    }

    // import numpy as np
    // k = 60; i, j = np.indices((k, k)); c = ((i * 7 + j * 13) % 11) / 11 / k * (i != j)
    // print(np.linalg.norm(c, 2))
    #[test]
    fn the_norm_is_numpys() {
        let rates = (0..3600).map(|cell| {
            let (i, j) = (cell / 60, cell % 60);
            Some(if i == j { 0.0 } else { f64::from((i * 7 + j * 13) % 11) / 11.0 / 60.0 })
        });
        let found = norm(&RateMatrix::from_rates(60, rates.collect()).unwrap());
        assert!((found - 0.447_024_542_852_482_7).abs() < 1e-12, "{found}");
    }

    #[test]
    fn two_confusions_of_the_same_size_do_not_stall_it() {
        // Blocks 0-1 and 2-3 with singular values 0.5 and 0.5 - 1e-9.
        let mut rates = vec![Some(0.0); 16];
        for (cell, value) in [(1, 0.5), (4, 0.5), (11, 0.5 - 1e-9), (14, 0.5 - 1e-9)] {
            rates[cell] = Some(value);
        }
        assert!((norm(&RateMatrix::from_rates(4, rates).unwrap()) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn closed_forms() {
        // A uniform guess has rates 1 / K everywhere: the norm is (K - 1) / K. A constant one: sqrt(K - 1).
        assert!((norm(&RateMatrix::of_confusion(&[[5; 4]; 4].into())) - 0.75).abs() < 1e-12);
        let constant = [[7, 0, 0, 0], [7, 0, 0, 0], [7, 0, 0, 0], [7, 0, 0, 0]];
        assert!((norm(&RateMatrix::of_confusion(&constant.into())) - 3.0_f64.sqrt()).abs() < 1e-12);
        assert!(norm(&RateMatrix::of_confusion(&[[3, 0], [0, 3]].into())).abs() < 1e-12);
    }
}
