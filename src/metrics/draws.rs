//! Quantiles of redrawn figures.

use rayon::prelude::*;

use crate::Seed;

/// The basic bootstrap interval (Davison and Hinkley, "Bootstrap Methods and their Application", section
/// 5.2): the value minus how far redrawn values are above and below it. `None` without draws.
pub(super) fn basic_interval(
    value: f64,
    seed: Seed,
    draws: u32,
    redraw: impl Fn(Seed) -> f64 + Sync,
) -> Option<(f64, f64)> {
    let mut drawn: Vec<f64> =
        (0..draws).into_par_iter().map(|draw| redraw(seed.at(u64::from(draw)))).collect();
    let (low, high) = outer(&mut drawn)?;
    Some((2.0 * value - high, 2.0 * value - low))
}

/// The 0.025 and 0.975 quantiles. `None` without values.
pub(super) fn outer(values: &mut [f64]) -> Option<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    Some((quantile(values, 0.025)?, quantile(values, 0.975)?))
}

/// The quantile of sorted values, linear between neighbours (type 7 of Hyndman and Fan, as numpy's).
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let at = part * (sorted.len().checked_sub(1)? as f64);
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    Some(below + (at - at.floor()) * (above - below))
}

#[cfg(test)]
mod tests {
    use super::*;

    // import numpy as np; print(np.quantile([3, 1, 4, 1, 5, 9, 2, 6], [.025, .975]))
    // [1.    8.475]
    #[test]
    fn quantiles_are_numpys() {
        let (low, high) = outer(&mut [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]).unwrap();
        assert!((low - 1.0).abs() < 1e-12 && (high - 8.475).abs() < 1e-12);
        assert_eq!(outer(&mut []), None);
        assert_eq!(outer(&mut [2.0]), Some((2.0, 2.0)));
    }
}
