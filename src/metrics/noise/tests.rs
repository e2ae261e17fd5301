use rand::RngExt;

use super::*;
use crate::metrics::pairs::Compared;
use crate::metrics::symmetry::Asymmetry;
use crate::metrics::{ConfusionMatrix, RateMatrix, SuccessMatrix};

/// A classifier of ten classes that is right half of the time and otherwise guesses another class.
fn guessed(images: u64, seed: Seed) -> ConfusionMatrix {
    let mut rng = seed.rng();
    let mut counts = ConfusionMatrix::new(10);
    for (label, _) in (0..10).flat_map(|label| (0..images).map(move |image| (label, image))) {
        let other = (label + rng.random_range(1..10)) % 10;
        counts.add(label, if rng.random::<f64>() < 0.5 { label } else { other });
    }
    counts
}

fn floors(counts: &ConfusionMatrix, seed: u64, draws: u32) -> [Option<NoiseFloor>; 3] {
    let observed = Asymmetry::of(counts.classes(), RateMatrix::of_confusion(counts).pairs()).unwrap();
    let observed = [observed.a1, observed.normalised().unwrap_or(0.0), observed.largest_gap()];
    Floors::of(observed, &Chance::of(&Compared::of_confusion(counts).pairs), Seed::new(seed), draws)
}

// import numpy as np
// rng = np.random.default_rng(0); K, r = 10, .5; iu = np.triu_indices(K, 1)
// p = np.full((K, K), (1 - r) / (K - 1)); np.fill_diagonal(p, r)
// for n in (20, 50, 1000):
//     c = np.array([rng.multinomial(n, p) for _ in range(20000)]) / n; t = c.transpose(0, 2, 1)
//     d = abs(c - t)[:, *iu]; print(d.max(1).mean(), d.sum(1).mean(), (d.sum(1) / (c + t)[:, *iu].sum(1)).mean())
// 0.18424999999999997 2.4464424999999994 0.4901712202755769
// 0.114656 1.608041 0.3218781745930231
// 0.0253016 0.36727105000000004 0.07346236005109286
#[test]
fn the_floor_is_what_a_symmetric_truth_shows_on_average() {
    let golden =
        [(20, [2.446, 0.490, 0.1842]), (50, [1.608, 0.322, 0.1147]), (1000, [0.367, 0.0735, 0.0253])];
    for (images, expected) in golden {
        let mut mean = [0.0; 3];
        for trial in 0..100 {
            let found = floors(&guessed(images, Seed::new(trial)), trial, 50);
            let found = found.map(|floor| floor.unwrap().expected);
            mean.iter_mut().zip(found).for_each(|(mean, floor)| *mean += floor / 100.0);
        }
        for (mean, expected) in mean.into_iter().zip(expected) {
            assert!((mean / expected - 1.0).abs() < 0.03, "{images} images: {mean} is not {expected}");
        }
    }
}

// from math import comb
// n, m, s = 6, 4, 5
// p = [comb(n, x) * comb(m, s - x) / comb(n + m, s) for x in range(1, 6)]
// print([round(sum(p[:k + 1]), 12) for k in range(5)])
// [0.02380952381, 0.261904761905, 0.738095238095, 0.97619047619, 1.0]
#[test]
fn a_pair_is_hypergeometric() {
    let pair = PairChance::of(6, 4, 5);
    assert_eq!(pair.first.outcomes().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let golden = [0.023_809_523_81, 0.261_904_761_905, 0.738_095_238_095, 0.976_190_476_19, 1.0];
    let mut below = 0.0;
    for (outcome, golden) in pair.first.outcomes().zip(golden) {
        below += pair.first.chance(outcome);
        assert!((below - golden).abs() < 1e-9, "{outcome}: {below}");
    }
}

#[test]
fn every_possible_pair_has_a_distribution() {
    for (n, m) in [(1, 1), (1, 9), (7, 3), (6, 6)] {
        for events in 1..=n + m {
            let pair = PairChance::of(n, m, events);
            // The mean of a hypergeometric is the share of the trials times the events.
            let mean: f64 = pair.first.outcomes().map(|x| x as f64 * pair.first.chance(x)).sum();
            let share = (events * n) as f64 / (n + m) as f64;
            assert!((mean - share).abs() < 1e-9, "{n} {m} {events}");
        }
    }
}

#[test]
fn large_counts_neither_underflow_nor_overflow() {
    let pair = PairChance::of(100_000, 100_000, 100_000);
    let below = |end: u64| (0..=end).map(|x| pair.first.chance(x)).sum::<f64>();
    assert!((below(100_000) - 1.0).abs() < 1e-9);
    assert!((below(50_000) - 0.5).abs() < 0.01);
}

#[test]
fn pairs_without_trials_or_events_take_no_part() {
    let chance = [[1, 2, 3, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 5]].into();
    let chance = Chance::of(&Compared::of_confusion(&chance).pairs);
    assert_eq!(chance.pairs.len(), 1);
    let mut counts = SuccessMatrix::new(3);
    counts.add(0, 1, true);
    counts.add(0, 2, false);
    counts.add(2, 0, true);
    let chance = Chance::of(&Compared::of_success(&counts).pairs);
    assert_eq!(chance.pairs.len(), 1);
    let drawn = chance.draw(&mut Seed::new(0).rng());
    assert!(drawn.iter().all(|value| (value - 1.0).abs() < 1e-12), "one event is always asymmetric");
}

#[test]
fn threads_do_not_change_the_floor() {
    let counts = guessed(20, Seed::new(0));
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| floors(&counts, 1, 300))
    };
    assert_eq!(with_threads(1), with_threads(4));
}

#[test]
fn a_constant_classifier_is_not_chance() {
    let mut counts = ConfusionMatrix::new(5);
    (0..5).for_each(|label| counts.add_images(label, 0, 20));
    let floor = floors(&counts, 1, 199)[0].unwrap();
    assert!((floor.p_value - 1.0 / 200.0).abs() < 1e-12);
}

#[test]
fn the_p_value_counts_ties_and_the_observation_itself() {
    let floor = NoiseFloor::of(0.25, &[0.5, 0.25, 0.0]).unwrap();
    assert_eq!(floor, NoiseFloor { expected: 0.25, excess: 0.0, p_value: 0.75, draws: 3 });
    assert_eq!(NoiseFloor::of(0.0, &[]), None);
}

/// A quarter of a million pairs of many images: their tables fit into memory, and the coarse ones give the same figures.
#[test]
fn many_wide_pairs_have_coarse_tables() {
    let wide =
        PairCounts { low: 0, high: 1, trials: [1 << 40; 2], events: [500_000_000_000, 500_001_000_000] };
    let narrow = PairCounts { events: [3, 5], ..wide };
    let mut pairs = vec![narrow; 250_000];
    pairs[7] = wide;
    let coarse = PairChance::of_pairs(&pairs);
    let fine = PairChance::of(wide.trials[0], wide.trials[1], wide.events.iter().sum());
    assert!(coarse[7].first.outcomes().count() < 300 && fine.first.outcomes().count() > 60_000);
    assert_eq!(coarse[8].first.outcomes().count(), 9);
    let [coarse, fine] = [&coarse[7], &fine].map(|chance| {
        let mut rng = Seed::new(3).rng();
        (0..20_000).map(|_| chance.draw(&mut rng)).map(|(there, back)| (there - back).abs()).sum::<f64>()
    });
    assert!((coarse / fine - 1.0).abs() < 0.01, "{coarse} {fine}");
}
