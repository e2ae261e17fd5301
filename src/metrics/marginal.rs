//! Whether as many errors end in each class as it makes.

use rayon::prelude::*;

use super::ConfusionMatrix;
use super::binomial::binomial;
use super::significance::ChiSquare;
use crate::Seed;

/// Above so many classes the test has no simulated p-value: every draw takes an inverse.
const MOST_SIMULATED: usize = 100;

/// Rounds of scaling columns and rows; some tens are enough for the sixth digit.
const SCALINGS: usize = 100;

/// Stuart's and Maxwell's test (Biometrika 42, 1955; British Journal of Psychiatry 116, 1970) of row totals
/// against column totals: `d' V^-1 d` with `V_jj = n_j. + n_.j - 2 n_jj` and `V_jk = -(n_jk + n_kj)`, one
/// class left out. `None` where no class is in an error or `V` has no inverse.
pub(super) fn stuart_maxwell(counts: &ConfusionMatrix) -> Option<ChiSquare> {
    let columns = counts.all_errors_into();
    let made = |class: usize| counts.row_total(class) - counts.count(class, class);
    let classes: Vec<usize> =
        (0..counts.classes()).filter(|&class| made(class) + columns[class] > 0).collect();
    let difference = |class: usize| made(class) as f64 - columns[class] as f64;
    let covariance = |j: usize, k: usize| {
        if j == k {
            (made(j) + columns[j]) as f64
        } else {
            -((counts.count(j, k) + counts.count(k, j)) as f64)
        }
    };
    wald(&classes, difference, covariance)
}

/// The same for rates with the number of images of each class fixed: `d_j = sum_i C_ij - 1` with the
/// covariance of multinomial rows, `sum_i (C_ij [j = k] - C_ij C_ik) / n_i`. Under the hypothesis the column
/// sums of the rates are 1. The chi-squared distribution rejects too often with few images (11 % with 20
/// of each of ten classes, at the 5 % level), so for up to 100 classes the statistic is also compared with
/// `draws` matrices redrawn from the rates that are closest to the observed ones and keep the hypothesis.
pub(super) fn fixed_rows(counts: &ConfusionMatrix, seed: Seed, draws: u32) -> Option<ChiSquare> {
    let mut found = fixed_rows_statistic(counts)?;
    if draws > 0 && found.df < MOST_SIMULATED {
        let rates = balanced_rates(counts);
        let reaches = |&draw: &u32| {
            fixed_rows_statistic(&redrawn(counts, &rates, seed.at(u64::from(draw))))
                .is_some_and(|redrawn| redrawn.statistic >= found.statistic - 1e-9)
        };
        let reached = (0..draws).into_par_iter().filter(reaches).count();
        found.p_simulated = Some((1 + reached) as f64 / (1.0 + f64::from(draws)));
    }
    Some(found)
}

/// The rates with columns that sum to 1: observed rates, no cell quite empty, with columns and rows scaled
/// in turn (Sinkhorn, Annals of Mathematical Statistics 35, 1964). Only of classes with images.
fn balanced_rates(counts: &ConfusionMatrix) -> Vec<Vec<f64>> {
    let totals = counts.row_totals();
    let present: Vec<bool> = totals.iter().map(|&total| total > 0).collect();
    let classes = present.iter().filter(|&&present| present).count() as f64;
    let rate = |label: usize, class: usize| {
        let possible = present[label] && present[class];
        let added = counts.count(label, class) as f64 + 1.0 / classes;
        if possible { added / (totals[label] as f64 + 1.0) } else { 0.0 }
    };
    let size = counts.classes();
    let mut rates: Vec<Vec<f64>> =
        (0..size).map(|label| (0..size).map(|class| rate(label, class)).collect()).collect();
    for _ in 0..SCALINGS {
        let sums: Vec<f64> =
            (0..size).map(|class| rates.iter().map(|row| row[class]).sum::<f64>().max(1e-300)).collect();
        for row in &mut rates {
            row.iter_mut().zip(&sums).for_each(|(rate, sum)| *rate /= sum);
            let sum = row.iter().sum::<f64>().max(1e-300);
            for rate in row.iter_mut() {
                *rate /= sum;
            }
        }
    }
    rates
}

fn redrawn(counts: &ConfusionMatrix, rates: &[Vec<f64>], seed: Seed) -> ConfusionMatrix {
    let mut rng = seed.rng();
    let mut drawn = ConfusionMatrix::new(counts.classes());
    for (label, (row, images)) in rates.iter().zip(counts.row_totals().iter().copied()).enumerate() {
        let (mut left, mut chance_left) = (images, 1.0);
        for (class, &rate) in row.iter().enumerate() {
            let images = binomial(&mut rng, left, rate / chance_left);
            drawn.add_images(label, class, images);
            left -= images;
            chance_left -= rate;
        }
        // What rounding has left over stays with the class itself.
        drawn.add_images(label, label, left);
    }
    drawn
}

fn fixed_rows_statistic(counts: &ConfusionMatrix) -> Option<ChiSquare> {
    let totals = counts.row_totals();
    let present: Vec<usize> = (0..counts.classes()).filter(|&class| totals[class] > 0).collect();
    let size = counts.classes();
    let mut sums = vec![0.0; size];
    let mut covariance = vec![0.0; size * size];
    for &label in &present {
        let n = totals[label] as f64;
        let cells: Vec<(usize, f64)> = present
            .iter()
            .filter(|&&class| counts.count(label, class) > 0)
            .map(|&class| (class, counts.count(label, class) as f64 / n))
            .collect();
        for &(j, rate) in &cells {
            sums[j] += rate;
            covariance[j * size + j] += rate / n;
            for &(k, other) in &cells {
                covariance[j * size + k] -= rate * other / n;
            }
        }
    }
    let uncertain: Vec<usize> =
        present.into_iter().filter(|&class| covariance[class * size + class] > 1e-15).collect();
    wald(&uncertain, |class| sums[class] - 1.0, |j, k| covariance[j * size + k])
}

/// `d' V^-1 d` without the last class, whose part follows from the others.
fn wald(
    classes: &[usize],
    difference: impl Fn(usize) -> f64,
    covariance: impl Fn(usize, usize) -> f64,
) -> Option<ChiSquare> {
    let (_, kept) = classes.split_last()?;
    let matrix = kept.iter().map(|&j| kept.iter().map(|&k| covariance(j, k)).collect()).collect();
    let d: Vec<f64> = kept.iter().map(|&class| difference(class)).collect();
    ChiSquare::of(squared_length(matrix, d)?, kept.len())
}

/// `d' V^-1 d` by Cholesky's factors, `V = L L'`: the squared length of the solution of `L y = d`. `None`
/// where `V` is not clearly positive definite.
fn squared_length(mut v: Vec<Vec<f64>>, mut d: Vec<f64>) -> Option<f64> {
    for j in 0..d.len() {
        let (above, below) = v.split_at_mut(j);
        let row = &mut below[0];
        let largest = row[j];
        for (k, other) in above.iter().enumerate() {
            let sum: f64 = row[..k].iter().zip(&other[..k]).map(|(a, b)| a * b).sum();
            row[k] = (row[k] - sum) / other[k];
        }
        let pivot = largest - row[..j].iter().map(|entry| entry * entry).sum::<f64>();
        if pivot <= 1e-10 * largest || pivot.is_nan() {
            return None;
        }
        row[j] = pivot.sqrt();
        let sum: f64 = row[..j].iter().zip(&d[..j]).map(|(a, b)| a * b).sum();
        d[j] = (d[j] - sum) / row[j];
    }
    Some(d.iter().map(|entry| entry * entry).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    // import numpy as np
    // c = np.array([[12, 5, 3], [1, 15, 4], [3, 0, 17]]); n = c.sum(1)
    // d = n - c.sum(0); v = np.diag(n + c.sum(0)) - c - c.T
    // print(d[:2] @ np.linalg.inv(v[:2, :2]) @ d[:2])
    // p = c / n[:, None]; d = p.sum(0) - 1
    // v = sum((np.diag(r) - np.outer(r, r)) / m for r, m in zip(p, n))
    // print(d[:2] @ np.linalg.inv(v[:2, :2]) @ d[:2])
    #[test]
    fn statistics_are_numpys() {
        let counts = [[12, 5, 3], [1, 15, 4], [3, 0, 17]].into();
        let classical = stuart_maxwell(&counts).unwrap();
        close(classical.statistic, 1.904_761_904_761_904_7);
        assert_eq!(classical.df, 2);
        close(fixed_rows_statistic(&counts).unwrap().statistic, 2.490_272_373_540_854_7);
    }

    #[test]
    fn two_classes_are_mcnemars_test() {
        // (b - c)^2 / (b + c) = 16 / 6.
        close(stuart_maxwell(&[[15, 5], [1, 19]].into()).unwrap().statistic, 16.0 / 6.0);
    }

    #[test]
    fn separate_blocks_have_no_common_inverse() {
        let blocks = [[8, 2, 0, 0], [1, 9, 0, 0], [0, 0, 7, 3], [0, 0, 2, 8]];
        assert_eq!(stuart_maxwell(&blocks.into()), None);
        assert_eq!(stuart_maxwell(&[[3, 0], [0, 3]].into()), None);
        assert_eq!(fixed_rows_statistic(&[[3, 0], [0, 3]].into()), None);
    }
}
