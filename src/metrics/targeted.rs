//! Who can be turned into whom: figures of targeted attacks.
//!
//! They differ from the confusions of an untargeted attack, which stops at the nearest wrong class and so
//! never asks for most pairs.

use serde::{Deserialize, Serialize};

use super::extremes::extremes;
use super::interval::wilson;
use super::outcomes::{Outcome, variance};
use super::pair_bootstrap::PairBootstrap;
use super::pairs::Compared;
use super::spread::{Proportion, spread_intervals, trials_with};
use super::{ClassFigure, Figure, ImageOutcomes, Rate, SuccessMatrix, SymmetryFigures};
use crate::Seed;

/// Figures of targeted attacks. Success is the target as prediction, nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetedFigures {
    /// Number of attacks.
    pub attacks: u64,
    /// Ordered pairs of classes with at least one attack.
    pub pairs_tried: usize,
    /// Ordered pairs of classes that there are, `K (K - 1)`.
    pub pairs_possible: usize,
    /// Number of attacks that succeeded.
    pub successes: u64,
    /// Share of attacks that succeeded.
    pub micro_success: Option<Figure>,
    /// Mean over the pairs that were tried of the pair's success: every pair weighs the same.
    pub macro_success: Option<Figure>,
    /// For each class as source: mean success over the targets that were tried from it.
    pub from_source: Vec<Option<Figure>>,
    /// The class that is turned into others most easily.
    pub worst_source: Option<ClassFigure>,
    /// Largest mean success as source minus smallest.
    pub source_gap: Option<Figure>,
    /// For each class as target: mean success over the sources from which it was tried.
    pub into_target: Vec<Option<Figure>>,
    /// The class that others are turned into most easily.
    pub worst_target: Option<ClassFigure>,
    /// Largest mean success as target minus smallest.
    pub target_gap: Option<Figure>,
    /// For each target: the share of the attacks towards it that succeeded, images of its own class left
    /// out. Each image is attacked once per target, so the interval is Wilson's.
    pub strict: Vec<Option<Rate>>,
    /// The same with the images of the target's own class counted, as the published evaluation of Sy-FAR
    /// does: never a better measure, since these are mostly right by themselves. `None` where the attack
    /// was not run on them.
    pub loose: Vec<Option<Rate>>,
    /// Whether `i` is turned into `j` as easily as `j` into `i`.
    pub symmetry: Option<SymmetryFigures>,
}

impl TargetedFigures {
    /// From counts, without intervals for what is not a share of independent attacks. Noise floors come
    /// from `draws` redrawn matrices; with 0 there are none.
    pub fn of(counts: &SuccessMatrix, seed: Seed, draws: u32) -> Self {
        let classes = 0..counts.classes();
        let from_source: Vec<_> = classes
            .clone()
            .map(|source| mean_success(counts, classes.clone().map(|target| (source, target))))
            .collect();
        let into_target: Vec<_> = classes
            .clone()
            .map(|target| mean_success(counts, classes.clone().map(|source| (source, target))))
            .collect();
        let pairs = || classes.clone().flat_map(|i| classes.clone().map(move |j| (i, j)));
        let (attacks, successes) = (counts.total_attempts(), counts.total_successes());
        let (worst_source, source_gap) = worst(&from_source, attacks);
        let (worst_target, target_gap) = worst(&into_target, attacks);
        let share = || Figure::new(successes as f64 / attacks as f64, attacks);
        Self {
            attacks,
            pairs_tried: pairs().filter(|&(i, j)| i != j && counts.attempts(i, j) > 0).count(),
            pairs_possible: counts.classes() * counts.classes().saturating_sub(1),
            successes,
            micro_success: (attacks > 0).then(share),
            macro_success: mean_success(counts, pairs()),
            from_source,
            worst_source,
            source_gap,
            into_target,
            worst_target,
            target_gap,
            strict: classes.clone().map(|target| into(counts, target, false)).collect(),
            loose: classes.clone().map(|target| into(counts, target, true)).collect(),
            symmetry: SymmetryFigures::of_success(counts, seed, draws),
        }
    }

    /// From the outcomes of each image, with intervals that hold the attacks on one image together.
    pub fn of_images(outcomes: &ImageOutcomes, seed: Seed, draws: u32) -> Self {
        let counts = outcomes.counts();
        let mut found = Self::of(&counts, seed, draws);
        let by_source = outcomes.by_source();
        found.add_intervals(&counts, &by_source, seed.purpose("targeted interval"), draws);
        if let Some(symmetry) = found.symmetry.as_mut().filter(|_| draws > 0) {
            let pairs = Compared::of_success(&counts).for_redrawing();
            let bootstrap = PairBootstrap::of_images(counts.classes(), &pairs, &by_source);
            bootstrap.fill(symmetry, seed.purpose("symmetry interval"), draws);
        }
        found
    }

    fn add_intervals(
        &mut self,
        counts: &SuccessMatrix,
        by_source: &[Vec<Vec<Outcome>>],
        seed: Seed,
        draws: u32,
    ) {
        let images: Vec<u64> = by_source.iter().map(|images| images.len() as u64).collect();
        let all: u64 = images.iter().sum();
        let tried = |i: usize, j: usize| i != j && counts.attempts(i, j) > 0;
        let classes = 0..counts.classes();
        let effective = |figure: &Figure, variance: f64, images: u64| {
            trials_with(figure.value, variance, images.max(1) as f64)
        };
        let set = |figure: &mut Figure, trials: f64| {
            let (low, high) = wilson(figure.value, trials);
            figure.set_interval(low.min(figure.value), high.max(figure.value));
            Proportion { share: figure.value, trials: (trials.round() as u64).max(1) }
        };
        let attacks = self.attacks as f64;
        if let Some(figure) = &mut self.micro_success {
            let weight = |i, j| counts.attempts(i, j) as f64 / attacks;
            set(figure, effective(figure, variance(by_source, counts, weight), all));
        }
        let pairs = self.pairs_tried as f64;
        if let Some(figure) = &mut self.macro_success {
            set(figure, effective(figure, variance(by_source, counts, |_, _| 1.0 / pairs), all));
        }
        let mut sources = Vec::new();
        for (class, figure) in self.from_source.iter_mut().enumerate() {
            let Some(figure) = figure else { continue };
            let targets = classes.clone().filter(|&j| tried(class, j)).count() as f64;
            let spread = variance(&by_source[class..=class], counts, |_, _| 1.0 / targets);
            sources.push(set(figure, effective(figure, spread, images[class])));
        }
        let mut targets = Vec::new();
        for (class, figure) in self.into_target.iter_mut().enumerate() {
            let Some(figure) = figure else { continue };
            let tried: Vec<usize> = classes.clone().filter(|&i| tried(i, class)).collect();
            let of = |i: usize| {
                let (rate, attempts) = (counts.rate(i, class).unwrap_or(0.0), counts.attempts(i, class));
                rate * (1.0 - rate) / attempts as f64
            };
            let spread = tried.iter().map(|&i| of(i)).sum::<f64>() / (tried.len() * tried.len()) as f64;
            let own = tried.iter().map(|&i| counts.attempts(i, class)).sum();
            targets.push(set(figure, effective(figure, spread, own)));
        }
        if draws > 0 {
            gap_interval(&mut self.source_gap, &sources, seed.purpose("source"), draws);
            gap_interval(&mut self.target_gap, &targets, seed.purpose("target"), draws);
        }
        for (worst, figures) in
            [(&mut self.worst_source, &self.from_source), (&mut self.worst_target, &self.into_target)]
        {
            if let Some((worst, figure)) = worst.as_mut().and_then(|worst| {
                let figure = figures[worst.class]?;
                Some((worst, figure))
            }) {
                worst.figure = figure;
            }
        }
    }
}

fn gap_interval(gap: &mut Option<Figure>, proportions: &[Proportion], seed: Seed, draws: u32) {
    let Some(gap) = gap else { return };
    let values = |shares: &[f64]| [extremes(shares.iter().copied().map(Some)).map_or(0.0, |found| found.gap)];
    let [(low, high)] = spread_intervals(proportions, values, seed, draws);
    gap.set_interval(low, high);
}

/// Success towards one target, with or without the images of its own class.
fn into(counts: &SuccessMatrix, target: usize, own: bool) -> Option<Rate> {
    if own && counts.attempts(target, target) == 0 {
        return None;
    }
    let sources = (0..counts.classes()).filter(|&source| own || source != target);
    let (mut successes, mut attempts) = (0, 0);
    for source in sources {
        successes += counts.successes(source, target);
        attempts += counts.attempts(source, target);
    }
    Rate::of(successes, attempts)
}

/// Mean rate of the pairs of two classes among these that were tried.
fn mean_success(
    counts: &SuccessMatrix,
    pairs: impl Iterator<Item = (usize, usize)> + Clone,
) -> Option<Figure> {
    let pairs = pairs.filter(|(source, target)| source != target);
    let attacks = pairs.clone().map(|(i, j)| counts.attempts(i, j)).sum();
    let tried: Vec<f64> = pairs.filter_map(|(i, j)| counts.rate(i, j)).collect();
    (!tried.is_empty()).then(|| Figure::new(tried.iter().sum::<f64>() / tried.len() as f64, attacks))
}

/// The class with the largest figure, and the spread of the figures.
fn worst(figures: &[Option<Figure>], attacks: u64) -> (Option<ClassFigure>, Option<Figure>) {
    let Some(found) = extremes(figures.iter().map(|figure| Some(figure.as_ref()?.value))) else {
        return (None, None);
    };
    let class = found.highest;
    (figures[class].map(|figure| ClassFigure { class, figure }), Some(Figure::new(found.gap, attacks)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // import numpy as np
    // s = np.array([[0, 3, 1], [6, 0, 2], [5, 4, 0]]); n = np.full((3, 3), 10.); np.fill_diagonal(n, np.nan)
    // r = s / n; print(np.nanmean(r), np.nanmean(r, 1), np.nanmean(r, 0), np.nansum(s) / np.nansum(n))
    // 0.35 [0.2  0.4  0.45] [0.55 0.35 0.15] 0.35
    #[test]
    fn means_over_pairs() {
        let counts = SuccessMatrix::with_attempts(10, [[0, 3, 1], [6, 0, 2], [5, 4, 0]]);
        let found = TargetedFigures::of(&counts, Seed::new(0), 0);
        let values = |figures: &[Option<Figure>]| -> Vec<f64> {
            figures.iter().map(|figure| (figure.unwrap().value * 1e9).round() / 1e9).collect()
        };
        assert_eq!(values(&found.from_source), [0.2, 0.4, 0.45]);
        assert_eq!(values(&found.into_target), [0.55, 0.35, 0.15]);
        assert!((found.micro_success.unwrap().value - 0.35).abs() < 1e-12);
        assert!((found.macro_success.unwrap().value - 0.35).abs() < 1e-12);
        assert_eq!((found.worst_source.unwrap().class, found.worst_target.unwrap().class), (2, 0));
        assert!((found.target_gap.unwrap().value - 0.4).abs() < 1e-12);
        assert_eq!((found.attacks, found.pairs_tried, found.pairs_possible), (60, 6, 6));
        assert!((found.symmetry.unwrap().a1.value - 0.9).abs() < 1e-12);
    }

    #[test]
    fn pairs_weigh_the_same_and_untried_ones_nothing() {
        let mut counts = SuccessMatrix::new(3);
        counts.add(0, 1, true);
        (0..9).for_each(|_| counts.add(0, 2, false));
        let found = TargetedFigures::of(&counts, Seed::new(0), 0);
        assert!((found.micro_success.unwrap().value - 0.1).abs() < 1e-12);
        assert!((found.macro_success.unwrap().value - 0.5).abs() < 1e-12);
        assert_eq!((found.pairs_tried, found.from_source[1], found.symmetry), (2, None, None));
    }

    #[test]
    fn no_attack_is_no_figure() {
        let found = TargetedFigures::of(&SuccessMatrix::new(3), Seed::new(0), 10);
        assert_eq!((found.micro_success, found.macro_success, found.worst_target), (None, None, None));
    }

    // Per-target columns of the matrix above: (6 + 5) / 20, (3 + 4) / 20, (1 + 2) / 20. With ten own
    // images of class 0, nine of them predicted as 0: (11 + 9) / 30.
    #[test]
    fn strict_leaves_own_images_out_and_loose_counts_them() {
        let mut counts = SuccessMatrix::with_attempts(10, [[0, 3, 1], [6, 0, 2], [5, 4, 0]]);
        let before = TargetedFigures::of(&counts, Seed::new(0), 0);
        (0..10).for_each(|image| counts.add(0, 0, image < 9));
        let found = TargetedFigures::of(&counts, Seed::new(0), 0);
        let values = |rates: &[Option<Rate>]| rates.iter().map(|rate| rate.map(|rate| rate.value)).collect();
        let strict: Vec<Option<f64>> = values(&found.strict);
        let loose: Vec<Option<f64>> = values(&found.loose);
        assert_eq!(strict, [Some(0.55), Some(0.35), Some(0.15)]);
        assert_eq!(loose, [Some(20.0 / 30.0), None, None]);
        assert_eq!(TargetedFigures { loose: before.loose.clone(), ..found }, before);
    }

    #[test]
    fn images_that_fall_equally_often_do_not_vary() {
        // Each of them to one, three and six of nine others: in floating point the mean of equal shares is not that share.
        for successes in [1, 3, 6] {
            let mut outcomes = ImageOutcomes::new(10);
            for image in 0..30 {
                (1..10)
                    .for_each(|step| outcomes.add(image, image % 10, (image + step) % 10, step <= successes));
            }
            let found = TargetedFigures::of_images(&outcomes, Seed::new(0), 50);
            let (low, high) = found.source_gap.map(|gap| (gap.low.unwrap(), gap.high.unwrap())).unwrap();
            assert!(low >= 0.0 && high <= 1.0, "{low} {high}");
        }
    }

    #[test]
    fn attacks_that_hang_together_give_wider_intervals() {
        let of = |same: bool| {
            let mut outcomes = ImageOutcomes::new(4);
            for image in 0..80 {
                let source = image % 4;
                for step in 1..4 {
                    let succeeded = if same { image % 8 < 4 } else { (image / 4 + step) % 2 == 0 };
                    outcomes.add(image, source, (source + step) % 4, succeeded);
                }
            }
            TargetedFigures::of_images(&outcomes, Seed::new(0), 200)
        };
        let width = |figures: &TargetedFigures| {
            let figure = figures.micro_success.unwrap();
            figure.high.unwrap() - figure.low.unwrap()
        };
        let (together, apart) = (of(true), of(false));
        assert!((together.micro_success.unwrap().value - apart.micro_success.unwrap().value).abs() < 1e-12);
        assert!(width(&together) > 1.5 * width(&apart));
        assert!(together.symmetry.unwrap().a1.low.is_some() && together.source_gap.unwrap().low.is_some());
    }
}
