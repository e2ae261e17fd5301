//! How often the two classes of a pair are really taken for each other.
//!
//! Counts of few images scatter more than the truth behind them: of ten pairs with the same rate some have
//! three events and some none. Data redrawn from the observed rates scatter once more, their events crowd
//! into fewer pairs, and sums of absolute differences come out too small. So the rates behind the counts
//! are estimated together, by the distribution of rates that makes the counts most likely (Kiefer and
//! Wolfowitz, Annals of Mathematical Statistics 27, 1956; Laird's algorithm, Journal of the American
//! Statistical Association 73, 1978). No shape is assumed: a few pairs that are often confused among many
//! that hardly ever are stay apart.

use std::collections::BTreeMap;

use super::pairs::PairCounts;

/// Rates that may have a share, apart from the observed ones.
const GRID: usize = 40;

/// Above so many different observations the observed rates do not join the grid.
const MOST_OBSERVED: usize = 60;

/// Steps of the algorithm. The result changes little after some tens.
const STEPS: usize = 200;

/// Events and trials of both directions together, and how many pairs have these.
type Observations = BTreeMap<(u64, u64), u64>;

/// The expected rate of events of each pair, both directions together, given the counts of all pairs, and
/// at the end that of a pair without events. In `(0, 1)`. Beside `pairs` there are `empty` others without
/// an event, each with the mean number of trials.
pub(super) fn expected_rates(pairs: &[PairCounts], empty: u64) -> (Vec<f64>, f64) {
    let key = |pair: &PairCounts| (pair.events.iter().sum::<u64>(), pair.trials.iter().sum::<u64>());
    let mut observations = Observations::new();
    for pair in pairs {
        *observations.entry(key(pair)).or_default() += 1;
    }
    let trials = pairs.iter().map(|pair| key(pair).1).sum::<u64>() / (pairs.len() as u64).max(1);
    *observations.entry((0, trials)).or_default() += empty;
    let grid = grid(&observations);
    let likelihood: Vec<Vec<f64>> =
        observations.keys().map(|&(events, trials)| likelihoods(&grid, events, trials)).collect();
    let shares = most_likely(&likelihood, &observations);
    let expected: BTreeMap<(u64, u64), f64> = observations
        .keys()
        .zip(&likelihood)
        .map(|(&key, likelihood)| {
            let weights = likelihood.iter().zip(&shares).map(|(likelihood, share)| likelihood * share);
            let sum: f64 = weights.clone().sum();
            (key, weights.zip(&grid).map(|(weight, rate)| weight * rate).sum::<f64>() / sum)
        })
        .collect();
    (pairs.iter().map(|pair| expected[&key(pair)]).collect(), expected[&(0, trials)])
}

/// From a tenth of an event upwards, evenly in the logarithm, and the observed rates.
fn grid(observations: &Observations) -> Vec<f64> {
    let most_trials = observations.keys().map(|&(_, trials)| trials).max().unwrap_or(1);
    let lowest = (0.1 / most_trials as f64).ln();
    let mut grid: Vec<f64> =
        (0..GRID).map(|at| (lowest * (1.0 - (at as f64 + 0.5) / GRID as f64)).exp()).collect();
    if observations.len() <= MOST_OBSERVED {
        let rate = |&(events, trials): &(u64, u64)| events as f64 / trials as f64;
        grid.extend(observations.keys().map(rate).filter(|rate| (1e-12..1.0).contains(rate)));
    }
    grid
}

/// Of the observation under each rate, relative to the largest of them.
fn likelihoods(grid: &[f64], events: u64, trials: u64) -> Vec<f64> {
    let failures = (trials - events) as f64;
    let logs: Vec<f64> =
        grid.iter().map(|rate| events as f64 * rate.ln() + failures * (-rate).ln_1p()).collect();
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logs.into_iter().map(|log| (log - most).exp()).collect()
}

/// The shares of the rates of the grid under which all observations are most likely.
fn most_likely(likelihood: &[Vec<f64>], observations: &Observations) -> Vec<f64> {
    let rates = likelihood[0].len();
    let pairs = observations.values().sum::<u64>() as f64;
    let mut shares = vec![1.0 / rates as f64; rates];
    for _ in 0..STEPS {
        let mut next = vec![0.0; rates];
        for (row, &count) in likelihood.iter().zip(observations.values()) {
            let sum: f64 = row.iter().zip(&shares).map(|(likelihood, share)| likelihood * share).sum();
            let weight = count as f64 / (pairs * sum);
            for ((next, likelihood), share) in next.iter_mut().zip(row).zip(&shares) {
                *next += weight * likelihood * share;
            }
        }
        shares = next;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use crate::metrics::binomial::binomial;

    fn pair(events: [u64; 2], trials: u64) -> PairCounts {
        PairCounts { low: 0, high: 1, trials: [trials; 2], events }
    }

    #[test]
    fn one_pair_keeps_its_rate() {
        let (found, _) = expected_rates(&[pair([7, 3], 20)], 0);
        assert!((found[0] - 0.25).abs() < 0.005, "{found:?}");
    }

    #[test]
    fn chance_is_taken_off_and_what_is_really_different_stays() {
        let mut rng = Seed::new(3).rng();
        let mut pairs: Vec<PairCounts> =
            (0..60).map(|_| pair([0; 2].map(|_| binomial(&mut rng, 20, 0.03)), 20)).collect();
        pairs.extend((0..6).map(|_| pair([0; 2].map(|_| binomial(&mut rng, 20, 0.4)), 20)));
        let observed = |pair: &PairCounts| pair.events.iter().sum::<u64>() as f64 / 40.0;
        let (found, _) = expected_rates(&pairs, 0);
        let error = |estimate: &[f64]| {
            let truth = [vec![0.03; 60], vec![0.4; 6]].concat();
            estimate.iter().zip(truth).map(|(found, truth)| (found - truth).powi(2)).sum::<f64>().sqrt()
        };
        let raw: Vec<f64> = pairs.iter().map(observed).collect();
        assert!(error(&found) < 0.7 * error(&raw), "{} {}", error(&found), error(&raw));
        // The rates behind the counts explain as many events as there were.
        assert!((found.iter().sum::<f64>() - raw.iter().sum::<f64>()).abs() < 0.02);
    }

    #[test]
    fn pairs_without_any_event_have_a_rate_above_0() {
        let (found, empty) = expected_rates(&[pair([0, 0], 10), pair([0, 0], 10)], 0);
        assert!(found.iter().all(|rate| (0.0..0.02).contains(rate) && *rate > 0.0), "{found:?}");
        assert_eq!(found, [empty; 2]);
    }

    #[test]
    fn pairs_without_events_may_be_counted_only() {
        let one_by_one = [vec![pair([1, 0], 10); 3], vec![pair([0, 0], 10); 50]].concat();
        let (all, _) = expected_rates(&one_by_one, 0);
        let (counted, empty) = expected_rates(&one_by_one[..3], 50);
        assert!((all[0] - counted[0]).abs() < 1e-12 && (all[10] - empty).abs() < 1e-12);
    }

    #[test]
    fn certain_events_do_not_break_it() {
        let (found, _) = expected_rates(&[pair([5, 5], 5), pair([5, 5], 5)], 0);
        assert!(found.iter().all(|rate| (0.9..1.0).contains(rate)), "{found:?}");
    }
}
