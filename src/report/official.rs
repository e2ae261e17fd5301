//! The JSON of `evaluation/metrics_report.py`, the script published with Sy-FAR (arXiv 2509.12939), key for
//! key and computed as it does, for programs that read it.
//!
//! Where it is odd, it stays odd here and is put right in the other formats:
//! - Rows are divided by their sum plus 1e-8, so nothing is exact and a class without images counts as one
//!   that is never recognised, and as perfectly asymmetric towards whoever is taken for it.
//! - `target_mis_share` sums row-normalised rates: a class with few images weighs as much as one with many.
//! - `subgroup_metrics.counts` are not images. They are sums of normalised rows, so nearly the number of
//!   classes, but always a little less, and then cut to an integer: five classes are counted as 4.
//! - `asymmetry_penalty` uses 1/K where training uses 0.1.

use serde::Serialize;
use serde_json::{Value, json};

/// What the script adds to the sum of a row.
const ROW_EPSILON: f64 = 1e-8;

/// What it adds to both rates of the log-space asymmetry.
const LOG_EPSILON: f64 = 1e-6;

/// Pairs whose rates sum to no more are left out of the log-space asymmetry.
const LOG_THRESHOLD: f64 = 0.05;

/// The whole file.
#[derive(Clone, Debug, Serialize)]
pub struct OfficialReport {
    overall_acc: f64,
    diag_min: f64,
    diag_max: f64,
    diag_gap: f64,
    diag_min_class: usize,
    diag_max_class: usize,
    target_avg_offdiag_min: f64,
    target_avg_offdiag_max: f64,
    target_avg_offdiag_gap: f64,
    extreme_offdiag_min: AtPair,
    extreme_offdiag_max: AtPair,
    asymmetry_penalty: f64,
    asymmetry_penalty_improved: f64,
    max_asymmetry_gap: AtPair,
    target_mis_share: Shares,
    subgroup_metrics: Value,
    class_names: Vec<String>,
    normalized_rows: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct AtPair {
    value: f64,
    pair: [usize; 2],
}

// The fields are named as in the script.
#[allow(clippy::struct_field_names)]
#[derive(Clone, Debug, Serialize)]
struct Shares {
    shares: Vec<f64>,
    min: f64,
    max: f64,
    gap: f64,
}

impl OfficialReport {
    /// From counts or rates, row by row, `K * K`, and the classes of each group, by name. `None` for fewer
    /// than two classes, of which the script makes NaN.
    pub fn of(classes: &[String], matrix: &[f64], groups: Option<&[(String, Vec<usize>)]>) -> Option<Self> {
        let k = classes.len();
        if k < 2 || matrix.len() != k * k {
            return None;
        }
        let rates = normalised(k, matrix);
        let at = |i: usize, j: usize| rates[i * k + j];
        let diagonal: Vec<f64> = (0..k).map(|class| at(class, class)).collect();
        let (worst, best) = ends(&diagonal);
        let others = |j: usize| (0..k).filter(move |&i| i != j).map(move |i| at(i, j)).sum::<f64>();
        let exposures: Vec<f64> = (0..k).map(|j| others(j) / (k - 1) as f64).collect();
        let (least, most) = ends(&exposures);
        let errors = rates.iter().sum::<f64>() - diagonal.iter().sum::<f64>();
        let shares: Vec<f64> = (0..k).map(|j| if errors > 0.0 { others(j) / errors } else { 0.0 }).collect();
        let (fewest, largest) = ends(&shares);
        let cells = || (0..k).flat_map(|i| (0..k).map(move |j| (i, j))).filter(|(i, j)| i != j);
        let pairs = || (0..k).flat_map(|i| (i + 1..k).map(move |j| (i, j)));
        let cell = |(i, j)| AtPair { value: at(i, j), pair: [i, j] };
        let gap = |(i, j)| AtPair { value: (at(i, j) - at(j, i)).abs(), pair: [i, j] };
        let sum =
            |term: fn(f64, f64, f64) -> f64| pairs().map(|(i, j)| term(at(i, j), at(j, i), k as f64)).sum();
        Some(Self {
            overall_acc: diagonal.iter().sum::<f64>() / k as f64,
            diag_min: diagonal[worst],
            diag_max: diagonal[best],
            diag_gap: diagonal[best] - diagonal[worst],
            diag_min_class: worst,
            diag_max_class: best,
            target_avg_offdiag_min: exposures[least],
            target_avg_offdiag_max: exposures[most],
            target_avg_offdiag_gap: exposures[most] - exposures[least],
            extreme_offdiag_min: first(cells().map(cell), |new, old| new < old)?,
            extreme_offdiag_max: first(cells().map(cell), |new, old| new > old)?,
            asymmetry_penalty: sum(|a, b, k| (a - b).abs() / (a + b + 1.0 / k) * (a + b)),
            asymmetry_penalty_improved: sum(log_space),
            max_asymmetry_gap: first(pairs().map(gap), |new, old| new > old)?,
            target_mis_share: Shares {
                min: shares[fewest],
                max: shares[largest],
                gap: shares[largest] - shares[fewest],
                shares,
            },
            subgroup_metrics: subgroups(k, &rates, groups),
            class_names: classes.to_vec(),
            normalized_rows: true,
        })
    }
}

fn normalised(k: usize, matrix: &[f64]) -> Vec<f64> {
    let rows = matrix.chunks(k).flat_map(|row| {
        let sum = row.iter().sum::<f64>() + ROW_EPSILON;
        row.iter().map(move |value| value / sum)
    });
    rows.collect()
}

fn log_space(a: f64, b: f64, _: f64) -> f64 {
    let difference = (a + LOG_EPSILON).ln_1p() - (b + LOG_EPSILON).ln_1p();
    if a + b > LOG_THRESHOLD { difference * difference * (a + b) } else { 0.0 }
}

/// Where the smallest and the largest value stand first.
fn ends(values: &[f64]) -> (usize, usize) {
    (0..values.len()).fold((0, 0), |(low, high), at| {
        (if values[at] < values[low] { at } else { low }, if values[at] > values[high] { at } else { high })
    })
}

fn first(found: impl Iterator<Item = AtPair>, better: fn(f64, f64) -> bool) -> Option<AtPair> {
    found.reduce(|old, new| if better(new.value, old.value) { new } else { old })
}

fn subgroups(k: usize, rates: &[f64], groups: Option<&[(String, Vec<usize>)]>) -> Value {
    let skipped = |why: &str| json!({ "warning": format!("Skipping subgroup metrics: {why}") });
    let Some(groups) = groups else { return skipped("no groups were given") };
    let mut of_class = vec![0; k];
    groups.iter().flat_map(|(_, classes)| classes).for_each(|&class| of_class[class] += 1);
    if of_class.iter().any(|&groups| groups != 1) {
        return skipped("a class is in no group or in several");
    }
    let mass = |class: usize| rates[class * k..][..k].iter().sum::<f64>();
    let counts: Vec<f64> =
        groups.iter().map(|(_, classes)| classes.iter().map(|&class| mass(class)).sum()).collect();
    let right = |classes: &[usize]| classes.iter().map(|&class| rates[class * k + class]).sum::<f64>();
    let accuracies: Vec<f64> = groups
        .iter()
        .zip(&counts)
        .map(|((_, classes), &count)| if count > 0.0 { right(classes) / count } else { 0.0 })
        .collect();
    let (low, high) = ends(&accuracies);
    json!({
        "group_names": groups.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "SRA": accuracies,
        "counts": counts.iter().map(|count| *count as u64).collect::<Vec<_>>(),
        "RD": accuracies[high] - accuracies[low],
        "RD_pair": [low, high],
    })
}

#[cfg(test)]
mod tests;
