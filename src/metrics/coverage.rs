//! Simulations: whether 95 % intervals hold the truth in 95 % of data sets, and whether tests at 5 % reject
//! a true hypothesis in 5 %. Everything is drawn by key, so a bound that holds once always holds. Bounds
//! allow for the error of the simulation (one standard deviation is 1.5 % of 200 trials); longer runs are in
//! `docs/metrics.md`.

use rand::RngExt;
use rayon::prelude::*;

use super::binomial::binomial;
use super::interval::mean_of_rates;
use super::mcnemar::McNemar;
use super::*;
use crate::Seed;

const TRIALS: u64 = 200;

const DRAWS: u32 = 100;

/// The part of the trials in which something holds.
fn part(holds: impl Fn(Seed) -> bool + Sync) -> f64 {
    let seed = Seed::new(11);
    (0..TRIALS).into_par_iter().filter(|&trial| holds(seed.at(trial))).count() as f64 / TRIALS as f64
}

/// Every value is printed, so that a failure shows all of them.
fn all_within(low: f64, high: f64, found: &[(&str, f64)]) {
    println!("{found:?}");
    assert!(found.iter().all(|(_, part)| (low..=high).contains(part)), "{found:?} is not in {low}..{high}");
}

fn holds(figure: Option<Figure>, truth: f64) -> bool {
    figure.is_some_and(|figure| {
        let (low, high) = (figure.low.unwrap(), figure.high.unwrap());
        low <= truth + 1e-9 && truth <= high + 1e-9
    })
}

/// A matrix of `images` per class from true rates.
fn drawn(rates: &RateMatrix, images: u64, seed: Seed) -> ConfusionMatrix {
    let mut rng = seed.purpose("data").rng();
    let mut counts = ConfusionMatrix::new(rates.classes());
    for label in 0..rates.classes() {
        let (mut left, mut rest) = (images, 1.0);
        for class in 0..rates.classes() {
            let rate = rates.rate(label, class).unwrap();
            let count = binomial(&mut rng, left, if rest > 1e-9 { rate / rest } else { 0.0 });
            counts.add_images(label, class, count);
            left -= count;
            rest -= rate;
        }
        counts.add_images(label, label, left);
    }
    counts
}

/// Ten classes; `rate(i, j)` for `i != j`.
fn truth(rate: impl Fn(usize, usize) -> f64) -> RateMatrix {
    truth_of(10, rate)
}

fn truth_of(classes: usize, rate: impl Fn(usize, usize) -> f64) -> RateMatrix {
    let mut rates = vec![0.0; classes * classes];
    for i in 0..classes {
        let mut errors = 0.0;
        for j in (0..classes).filter(|&j| j != i) {
            rates[classes * i + j] = rate(i, j);
            errors += rate(i, j);
        }
        rates[(classes + 1) * i] = 1.0 - errors;
    }
    RateMatrix::from_rates(classes, rates.into_iter().map(Some).collect()).unwrap()
}

/// Half of the images of every class are taken for any other class.
fn guessing() -> RateMatrix {
    truth(|_, _| 0.5 / 9.0)
}

/// Pairs of unequal mass, each divided 2 to 1 in one of the directions.
fn asymmetric() -> RateMatrix {
    truth(|i, j| {
        let mass = 0.02 + 0.03 * ((i + j) % 4) as f64;
        mass * if (i < j) == ((i * j) % 2 == 0) { 2.0 / 3.0 } else { 1.0 / 3.0 }
    })
}

fn symmetry_coverage(rates: &RateMatrix, images: u64) -> Vec<(&'static str, f64)> {
    let truth: Vec<(&str, f64)> = named_of_rates(rates);
    let names =
        ["a1", "a1_normalised", "largest_gap", "penalty_training", "penalty_evaluation", "frobenius_ratio"];
    let trials: Vec<Vec<bool>> = (0..TRIALS)
        .into_par_iter()
        .map(|trial| {
            let seed = Seed::new(5).at(trial);
            let counts = drawn(rates, images, seed);
            let found = SymmetryFigures::of_confusion(&counts, seed, DRAWS).unwrap();
            let figures = [
                Some(found.a1),
                found.a1_normalised,
                Some(found.largest_gap.gap),
                Some(found.penalty_training),
                Some(found.penalty_evaluation),
                found.frobenius_ratio,
            ];
            let value = |name| truth.iter().find(|(other, _)| *other == name).unwrap().1;
            figures.into_iter().zip(names).map(|(figure, name)| holds(figure, value(name))).collect()
        })
        .collect();
    let covered = |at: usize| trials.iter().filter(|held| held[at]).count() as f64 / TRIALS as f64;
    names.into_iter().enumerate().map(|(at, name)| (name, covered(at))).collect()
}

/// Three tenths of every other class are taken for one class, which makes few errors itself.
fn attracting() -> RateMatrix {
    truth(|_, j| if j == 3 { 0.3 } else { 0.02 })
}

/// Half of the pairs are divided 4 to 1, the others evenly.
fn half_asymmetric() -> RateMatrix {
    truth(|i, j| match (i + j) % 2 {
        0 => 0.04,
        _ if i < j => 0.064,
        _ => 0.016,
    })
}

/// Two pairs stand out.
fn outstanding() -> RateMatrix {
    truth(|i, j| match (i, j) {
        (1, 2) => 0.4,
        (4, 7) => 0.3,
        _ => 0.03,
    })
}

/// Forty classes of which nine images in ten are taken for any other one.
fn many_guessing() -> RateMatrix {
    truth_of(40, |_, _| 0.9 / 39.0)
}

/// Forty classes; nine images in ten of most are taken for one of four, which err less.
fn many_attracted() -> RateMatrix {
    let attracted = [0.4, 0.25, 0.15, 0.1];
    truth_of(40, |i, j| match (i % 10, j % 10) {
        (0, _) => 0.5 / 39.0,
        (_, 0) => attracted[j / 10],
        _ => 0.0,
    })
}

#[test]
#[ignore = "some minutes; prints the table of docs/metrics.md"]
fn the_table_of_symmetry() {
    for (name, rates, sizes) in [
        ("guessing", guessing(), [20, 100]),
        ("2 to 1", asymmetric(), [50, 200]),
        ("half 4 to 1", half_asymmetric(), [20, 100]),
        ("attracting", attracting(), [20, 100]),
        ("outstanding", outstanding(), [20, 100]),
        ("40 classes, guessing", many_guessing(), [2, 20]),
        ("40 classes, attracted", many_attracted(), [2, 20]),
    ] {
        for images in sizes {
            println!("{name}, {images}:");
            all_within(0.85, 1.0, &symmetry_coverage(&rates, images));
        }
    }
}

#[test]
fn asymmetries_of_a_symmetric_truth_are_covered() {
    all_within(0.92, 1.0, &symmetry_coverage(&guessing(), 20));
}

#[test]
fn asymmetries_of_many_classes_with_two_images_are_covered() {
    all_within(0.92, 1.0, &symmetry_coverage(&many_guessing(), 2));
}

/// Only truths with one-sided pairs, such as those with the smaller rates as observed, reach the penalty here.
#[test]
fn asymmetries_of_few_classes_that_attract_the_errors_of_many_are_covered() {
    all_within(0.92, 1.0, &symmetry_coverage(&many_attracted(), 2));
}

#[test]
fn asymmetries_of_many_slightly_asymmetric_pairs_are_covered() {
    all_within(0.92, 1.0, &symmetry_coverage(&asymmetric(), 200));
}

#[test]
fn asymmetries_of_a_class_that_attracts_errors_are_covered() {
    all_within(0.91, 1.0, &symmetry_coverage(&attracting(), 20));
}

fn spread_coverage(accuracies: [f64; 10], images: u64) -> Vec<(&'static str, f64)> {
    let truth = Inequality::of(&accuracies, 1).unwrap();
    let lowest = accuracies.into_iter().fold(1.0, f64::min);
    let gap = accuracies.into_iter().fold(0.0, f64::max) - lowest;
    let found = |seed: Seed| {
        let mut rng = seed.purpose("data").rng();
        let rate = |accuracy: f64| Rate::of(binomial(&mut rng, images, accuracy), images);
        SourceFigures::of_rates(accuracies.map(rate).to_vec(), seed, DRAWS)
    };
    let trials: Vec<[bool; 6]> = (0..TRIALS)
        .into_par_iter()
        .map(|trial| {
            let source = found(Seed::new(6).at(trial));
            let spread = source.inequality.unwrap();
            [
                holds(source.lowest, lowest),
                holds(source.gap, gap),
                holds(Some(spread.sd), truth.sd.value),
                holds(spread.cv, truth.cv.unwrap().value),
                holds(spread.gini, truth.gini.unwrap().value),
                holds(spread.theil, truth.theil.unwrap().value),
            ]
        })
        .collect();
    let covered = |at: usize| trials.iter().filter(|held| held[at]).count() as f64 / TRIALS as f64;
    let names = ["lowest", "gap", "sd", "cv", "gini", "theil"];
    names.into_iter().enumerate().map(|(at, name)| (name, covered(at))).collect()
}

#[test]
fn spreads_of_equal_classes_are_covered() {
    all_within(0.9, 1.0, &spread_coverage([0.6; 10], 50));
}

#[test]
fn spreads_of_unequal_classes_are_covered() {
    all_within(0.9, 1.0, &spread_coverage([0.3, 0.45, 0.5, 0.55, 0.6, 0.6, 0.65, 0.7, 0.8, 0.9], 50));
}

/// What the split half estimates: the true accuracy of the class that half of the images point to.
fn of_the_chosen(accuracies: [f64; 10], images: u64) -> f64 {
    let mut rng = Seed::new(2).rng();
    let chosen = (0..20_000).map(|_| {
        let drawn = accuracies.map(|accuracy| binomial(&mut rng, images / 2, accuracy));
        accuracies[(0..10).min_by_key(|&class| drawn[class]).unwrap()]
    });
    chosen.sum::<f64>() / 20_000.0
}

#[test]
fn the_split_half_is_covered() {
    let covered = |accuracies: [f64; 10], images: u64| {
        let truth = of_the_chosen(accuracies, images);
        part(|seed| {
            let mut rng = seed.purpose("data").rng();
            let rate = |accuracy: f64| Rate::of(binomial(&mut rng, images, accuracy), images);
            holds(SourceFigures::of_rates(accuracies.map(rate).to_vec(), seed, DRAWS).worst_split_half, truth)
        })
    };
    let unequal = [0.3, 0.45, 0.5, 0.55, 0.6, 0.6, 0.65, 0.7, 0.8, 0.9];
    let near = [0.4, 0.42, 0.44, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6];
    all_within(
        0.88,
        1.0,
        &[
            ("equal, 50", covered([0.6; 10], 50)),
            ("unequal, 20", covered(unequal, 20)),
            ("unequal, 100", covered(unequal, 100)),
            ("three near each other, 50", covered(near, 50)),
        ],
    );
}

#[test]
fn means_of_rates_are_covered() {
    let accuracies = [0.3_f64, 0.5, 0.6, 0.7, 0.95, 1.0];
    let found = part(|seed| {
        let mut rng = seed.rng();
        let rates: Vec<Rate> =
            accuracies.iter().filter_map(|&p| Rate::of(binomial(&mut rng, 20, p), 20)).collect();
        let (_, low, high) = mean_of_rates(&rates).unwrap();
        (low..=high).contains(&(accuracies.iter().sum::<f64>() / 6.0))
    });
    all_within(0.92, 0.99, &[("mean", found)]);
}

/// Images differ in how easily they are turned into anything: outcomes of one image hang together.
fn attacked(seed: Seed) -> ImageOutcomes {
    let mut rng = seed.purpose("data").rng();
    let mut outcomes = ImageOutcomes::new(5);
    for image in 0..100 {
        let easy = if rng.random::<f64>() < 0.5 { 0.7 } else { 0.1 };
        for step in 1..5 {
            outcomes.add(image, image % 5, (image + step) % 5, rng.random::<f64>() < easy);
        }
    }
    outcomes
}

#[test]
fn targeted_figures_are_covered_though_attacks_hang_together() {
    let micro = part(|seed| holds(TargetedFigures::of_images(&attacked(seed), seed, 0).micro_success, 0.4));
    let source = part(|seed| holds(TargetedFigures::of_images(&attacked(seed), seed, 0).from_source[0], 0.4));
    let wilson = part(|seed| {
        let counts = attacked(seed).counts();
        let rate = Rate::of(counts.total_successes(), counts.total_attempts()).unwrap();
        (rate.low..=rate.high).contains(&0.4)
    });
    all_within(0.91, 0.985, &[("micro", micro), ("source", source)]);
    assert!(wilson < 0.9, "counting attacks as if independent covers {wilson}");
}

#[test]
fn tests_reject_a_true_symmetry_in_five_percent() {
    let tests =
        |seed: Seed, images: u64| SymmetryTests::of(&drawn(&guessing(), images, seed), seed, DRAWS).unwrap();
    let p_marginal = |seed: Seed, images| tests(seed, images).marginal.unwrap().p_simulated.unwrap();
    let marginal = |images| part(|seed| p_marginal(seed, images) <= 0.05);
    let rates = |images| part(|seed| tests(seed, images).rates.unwrap().p_simulated.unwrap() <= 0.05);
    all_within(0.02, 0.085, &[("rates, 20", rates(20)), ("rates, 100", rates(100))]);
    all_within(0.02, 0.085, &[("marginal, 20", marginal(20)), ("marginal, 100", marginal(100))]);
}

#[test]
fn equal_runs_are_told_apart_in_five_percent() {
    let paired = |seed: Seed| {
        let mut rng = seed.purpose("data").rng();
        let mut counts = PairedCounts::new(3);
        for image in 0..150 {
            let label = image % 3;
            let mut predict = || if rng.random::<f64>() < 0.6 { label } else { (label + 1) % 3 };
            let (base, candidate) = (predict(), predict());
            counts.add(label, base, candidate);
        }
        counts
    };
    let comparison = |seed: Seed| PairedComparison::of(&paired(seed), seed, 100);
    let p_value = |seed: Seed, name: &str| {
        let found = comparison(seed);
        found.differences.iter().find(|of| of.name == name).and_then(|of| of.p_value).unwrap()
    };
    let mcnemar = part(|seed| {
        let base = binomial(&mut seed.rng(), 40, 0.5);
        McNemar::of(base, 40 - base).p_value <= 0.05
    });
    let worst = part(|seed| p_value(seed, "worst_class") <= 0.05);
    let a1 = part(|seed| p_value(seed, "a1") <= 0.05);
    all_within(0.015, 0.085, &[("mcnemar", mcnemar), ("worst_class", worst), ("a1", a1)]);
}
