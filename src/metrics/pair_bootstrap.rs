//! Intervals of the figures of symmetry, from redrawn pairs of classes; see [`super::inversion`] for why
//! not by percentiles.
//!
//! A possible truth divides the mass `C_ij + C_ji` of every pair in another way; the masses are those that
//! explain the counts of all pairs best (see [`super::mass`]). In a second kind of truths the smaller rate of
//! a pair stays and the larger one is nearer to it, since the first kind does not look at whether the errors of
//! a class sum to more than 1. Redrawing is stratified by class: the images of a class are drawn again from
//! its row, so its errors compete.

use super::binomial::binomial;
use super::{Figure, SymmetryFigures};
use rand::RngExt;

use super::inversion::{Shrinkage, Truth, intervals};
use super::mass::expected_rates;
use super::multinomial::Multinomial;
use super::outcomes::Outcome;
use super::pairs::PairCounts;
use super::rates::Pair;
use super::spectral;
use super::symmetry::Asymmetry;
use crate::Seed;

/// Above so many pairs with events the spectral norm has no interval: each of the draws would cost as much
/// as all other figures together.
const MOST_SPECTRAL_PAIRS: usize = 50_000;

/// Number of figures that come from the families.
const FIGURES: usize = 7;

/// Multiples of the observed differences in truths whose smaller rates are the observed ones.
const LOWERED: [f64; 8] = [0.6, 0.75, 0.85, 0.93, 1.0, 1.08, 1.2, 1.35];

/// A floor that is reached so often does not exclude a symmetric truth: one side of 95 %.
const SYMMETRIC: f64 = 0.025;

/// An attack on an image: its cell, and whether it succeeded.
type CellOutcome = (u32, bool);

/// The pairs and the images that they share.
pub(super) struct PairBootstrap<'a> {
    classes: usize,
    /// Classes that are compared with each other.
    with_images: f64,
    pairs: &'a [PairCounts],
    /// The mass behind the counts of each pair.
    masses: Vec<f64>,
    /// Images of each class.
    images: Vec<u64>,
    /// The cells of each row: `2 p` is from the lower class of pair `p` to the higher, `2 p + 1` back.
    rows: Vec<Vec<u32>>,
    /// The rate from each class into all those classes together with which it is in none of the pairs.
    elsewhere: Vec<f64>,
    /// Of targeted attacks, the images of each class with their attacks; of errors, nothing.
    attacked: Option<Vec<Vec<Vec<CellOutcome>>>>,
}

/// Rates of the pairs, from which counts are drawn.
struct Rates<'a> {
    bootstrap: &'a PairBootstrap<'a>,
    pairs: Vec<Pair>,
    /// Whether the pairs without an event in the data can have one.
    elsewhere: bool,
}

/// Of errors, how the images of each class fall into the cells of its row and, at last, elsewhere.
type RowLaws = Vec<Multinomial>;

impl<'a> PairBootstrap<'a> {
    /// Of errors: the trials of a direction are all images of its true class. `compared` pairs can have
    /// events; those that are not in `pairs` have none.
    pub fn of(classes: usize, pairs: &'a [PairCounts], compared: usize) -> Self {
        let mut images = vec![0; classes];
        let mut rows = vec![Vec::new(); classes];
        for (at, pair) in pairs.iter().enumerate() {
            for (side, class) in [pair.low, pair.high].into_iter().enumerate() {
                images[class] = pair.trials[side];
                rows[class].push((2 * at + side) as u32);
            }
        }
        let (masses, empty_rate) = masses(pairs, compared.saturating_sub(pairs.len()) as u64);
        // So many classes have so many pairs.
        let others = ((8.0 * compared as f64 + 1.0).sqrt() - 1.0) / 2.0;
        let elsewhere = |row: &Vec<u32>| empty_rate * (others - row.len() as f64).max(0.0);
        let elsewhere = rows.iter().map(elsewhere).collect();
        let with_images = others + 1.0;
        Self { classes, with_images, pairs, masses, images, rows, elsewhere, attacked: None }
    }

    /// Of targeted attacks: an image is drawn again with all attacks on it.
    pub fn of_images(classes: usize, pairs: &'a [PairCounts], by_source: &[Vec<Vec<Outcome>>]) -> Self {
        let mut cells = std::collections::HashMap::new();
        for (at, pair) in pairs.iter().enumerate() {
            cells.insert((pair.low, pair.high), 2 * at as u32);
            cells.insert((pair.high, pair.low), 2 * at as u32 + 1);
        }
        let outcome =
            |outcome: &Outcome| Some((*cells.get(&(outcome.source, outcome.target))?, outcome.succeeded));
        let image = |outcomes: &Vec<Outcome>| outcomes.iter().filter_map(outcome).collect();
        let attacked = by_source.iter().map(|images| images.iter().map(image).collect()).collect();
        Self { attacked: Some(attacked), ..Self::of(classes, pairs, pairs.len()) }
    }

    /// Puts the intervals into the figures of the same pairs, which have their floors.
    pub fn fill(&self, found: &mut SymmetryFigures, seed: Seed, draws: u32) {
        let rates = || self.pairs.iter().map(|pair| pair.rates());
        let Some(observed) = values(self.classes, rates()) else { return };
        let ends = intervals(observed, &self.families(), seed, draws);
        let bounds = self.bounds(found);
        let figures = [
            Some(&mut found.a1),
            found.a1_normalised.as_mut(),
            Some(&mut found.largest_gap.gap),
            Some(&mut found.penalty_training),
            Some(&mut found.penalty_evaluation),
            Some(&mut found.log_penalty),
            found.frobenius_ratio.as_mut(),
        ];
        for ((figure, (low, high)), (may_be_zero, most)) in figures.into_iter().zip(ends).zip(bounds) {
            if let Some(figure) = figure {
                figure.set_interval(if may_be_zero { 0.0 } else { low }, high.min(most));
            }
        }
        if self.pairs.len() <= MOST_SPECTRAL_PAIRS {
            let observed = Rates { bootstrap: self, pairs: rates().collect(), elsewhere: true };
            let law = observed.law();
            let norm = |seed: Seed| {
                let drawn = observed.drawn(&law, seed);
                spectral::of_drawn(self.classes, &drawn)
            };
            let value = found.spectral_norm.value;
            if let Some((low, high)) =
                super::draws::basic_interval(value, seed.purpose("spectral"), draws, norm)
            {
                found.spectral_norm.set_interval(low.max(0.0), high);
            }
        }
    }

    /// Of each figure, whether it may be 0, which is what the floor tests (all of them are 0 for a
    /// symmetric truth alone), and the most it can be: the errors of a class sum to at most 1.
    fn bounds(&self, found: &SymmetryFigures) -> [(bool, f64); FIGURES] {
        let may_be_zero = |figure: Option<&Figure>| {
            figure.and_then(|figure| figure.noise).is_some_and(|floor| floor.p_value > SYMMETRIC)
        };
        let summed = may_be_zero(Some(&found.a1));
        let normalised = may_be_zero(found.a1_normalised.as_ref());
        let gap = may_be_zero(Some(&found.largest_gap.gap));
        let most = if self.attacked.is_none() { self.with_images } else { f64::INFINITY };
        [
            (summed, most),
            (normalised, 1.0),
            (gap, 1.0),
            (summed, most),
            (summed, most),
            (summed, f64::INFINITY),
            (normalised, 1.0),
        ]
    }

    fn families(&self) -> Vec<Vec<Rates<'_>>> {
        let divided = Shrinkage::families()
            .into_iter()
            .map(|family| family.into_iter().map(|shrinkage| self.truth(shrinkage)).collect());
        let lowered = LOWERED.iter().map(|&factor| self.lowered(factor)).collect();
        divided.chain([lowered]).collect()
    }

    fn truth(&self, shrinkage: Shrinkage) -> Rates<'_> {
        let shrunk = |(counts, &mass): (&PairCounts, &f64)| {
            let Pair { low, high, up, down } = counts.rates();
            let [n, m] = counts.trials.map(|trials| trials as f64);
            // One more event and one more failure, so that no pair is certain.
            let pooled = (counts.events.iter().sum::<u64>() as f64 + 1.0) / (n + m + 2.0);
            let error = (pooled * (1.0 - pooled) * (1.0 / n + 1.0 / m)).sqrt();
            let most = mass.min(2.0 - mass);
            let gap = shrinkage.apply(up - down, error, most).clamp(-1.0, 1.0);
            // A difference larger than the mass allows for brings its own.
            let mass = mass.clamp(gap.abs(), 2.0 - gap.abs());
            Pair { low, high, up: 0.5 * (mass + gap), down: 0.5 * (mass - gap) }
        };
        let pairs = self.pairs.iter().zip(&self.masses).map(shrunk).collect();
        Rates { bootstrap: self, pairs, elsewhere: true }
    }

    /// The smaller rate of each pair as observed and the larger one nearer to it, so no class errs more often
    /// than observed. Of classes that attract the errors of many the other truths say too little: with the
    /// errors divided between both sides such a class would have to err more than always.
    fn lowered(&self, factor: f64) -> Rates<'_> {
        let nearer = |own: f64, other: f64| {
            if own > other { (other + factor * (own - other)).min(1.0) } else { own }
        };
        let lower = |counts: &PairCounts| {
            let Pair { low, high, up, down } = counts.rates();
            Pair { low, high, up: nearer(up, down), down: nearer(down, up) }
        };
        Rates { bootstrap: self, pairs: self.pairs.iter().map(lower).collect(), elsewhere: false }
    }
}

/// The mass behind the counts of each pair: the observed one, as much larger or smaller as the expected
/// number of events is. Also the expected rate of each direction of an `empty` pair.
fn masses(pairs: &[PairCounts], empty: u64) -> (Vec<f64>, f64) {
    let mass = |(pair, expected): (&PairCounts, f64)| {
        let Pair { up, down, .. } = pair.rates();
        let events = pair.events.iter().sum::<u64>() as f64;
        let rate = events / pair.trials.iter().sum::<u64>() as f64;
        if events > 0.0 { ((up + down) * expected / rate).min(2.0) } else { 2.0 * expected }
    };
    let (rates, empty_rate) = expected_rates(pairs, empty);
    (pairs.iter().zip(rates).map(mass).collect(), empty_rate)
}

impl Rates<'_> {
    fn row_laws(&self) -> RowLaws {
        let chance = |&cell: &u32| {
            let pair = &self.pairs[cell as usize / 2];
            if cell.is_multiple_of(2) { pair.up } else { pair.down }
        };
        let law = |((row, &elsewhere), &images): ((&Vec<u32>, &f64), &u64)| {
            let elsewhere = if self.elsewhere { elsewhere } else { 0.0 };
            Multinomial::of(images, row.iter().map(chance).chain([elsewhere]).collect())
        };
        let PairBootstrap { rows, elsewhere, images, attacked, .. } = self.bootstrap;
        match attacked {
            None => rows.iter().zip(elsewhere).zip(images).map(law).collect(),
            Some(_) => Vec::new(),
        }
    }

    fn drawn(&self, rows: &RowLaws, seed: Seed) -> Vec<Pair> {
        match &self.bootstrap.attacked {
            None => self.drawn_rows(rows, seed),
            Some(attacked) => self.drawn_images(attacked, seed),
        }
    }

    /// Attacked images are drawn again from each class, and what the observed rates change by is added to
    /// the true ones: so attacks on one image keep their dependence. A rate that is 0 or 1 in the data
    /// never changes that way and is drawn on its own.
    fn drawn_images(&self, attacked: &[Vec<Vec<CellOutcome>>], seed: Seed) -> Vec<Pair> {
        let mut rng = seed.rng();
        let cells = 2 * self.pairs.len();
        let (mut attempts, mut successes) = (vec![0_u32; cells], vec![0_u32; cells]);
        for images in attacked {
            for _ in images {
                for &(cell, succeeded) in &images[rng.random_range(0..images.len())] {
                    attempts[cell as usize] += 1;
                    successes[cell as usize] += u32::from(succeeded);
                }
            }
        }
        let mut redraw = |cell: usize, truth: f64| {
            let counts = &self.bootstrap.pairs[cell / 2];
            let (events, trials) = (counts.events[cell % 2], counts.trials[cell % 2]);
            if events == 0 || events == trials {
                return binomial(&mut rng, trials, truth) as f64 / trials as f64;
            }
            if attempts[cell] == 0 {
                return truth;
            }
            let change =
                f64::from(successes[cell]) / f64::from(attempts[cell]) - events as f64 / trials as f64;
            (truth + change).clamp(0.0, 1.0)
        };
        let drawn = |(at, pair): (usize, &Pair)| Pair {
            up: redraw(2 * at, pair.up),
            down: redraw(2 * at + 1, pair.down),
            ..*pair
        };
        self.pairs.iter().enumerate().map(drawn).collect()
    }

    /// Rates of redrawn images: each row is multinomial. An event elsewhere is a pair of its own. Only of
    /// pairs with an event: of a hundred classes nearly all have none.
    fn drawn_rows(&self, rows: &RowLaws, seed: Seed) -> Vec<Pair> {
        let mut rng = seed.rng();
        let bootstrap = self.bootstrap;
        let mut counts = vec![[0_u64; 2]; bootstrap.pairs.len()];
        let (mut touched, mut drawn) = (Vec::new(), Vec::new());
        for (class, (law, row)) in rows.iter().zip(&bootstrap.rows).enumerate() {
            let one = 1.0 / bootstrap.images[class] as f64;
            law.draw(&mut rng, |at, events| {
                if let Some(&cell) = row.get(at) {
                    let pair = &mut counts[cell as usize / 2];
                    if *pair == [0, 0] {
                        touched.push(cell as usize / 2);
                    }
                    pair[cell as usize % 2] += events;
                } else {
                    drawn.extend((0..events).map(|_| Pair { low: class, high: class, up: one, down: 0.0 }));
                }
            });
        }
        drawn.extend(touched.into_iter().map(|at| {
            let PairCounts { low, high, trials, .. } = bootstrap.pairs[at];
            let [up, down] = [0, 1].map(|side| counts[at][side] as f64 / trials[side] as f64);
            Pair { low, high, up, down }
        }));
        drawn
    }
}

impl Truth<FIGURES> for Rates<'_> {
    type Law = RowLaws;

    fn figures(&self) -> [f64; FIGURES] {
        values(self.bootstrap.classes, self.pairs.iter().copied()).unwrap_or([0.0; FIGURES])
    }

    fn law(&self) -> RowLaws {
        self.row_laws()
    }

    fn redraw(&self, law: &RowLaws, seed: Seed) -> [f64; FIGURES] {
        values(self.bootstrap.classes, self.drawn(law, seed).iter().copied()).unwrap_or([0.0; FIGURES])
    }
}

fn values(classes: usize, pairs: impl Iterator<Item = Pair> + Clone) -> Option<[f64; FIGURES]> {
    let found = Asymmetry::of(classes, pairs)?;
    Some([
        found.a1,
        found.normalised().unwrap_or(0.0),
        found.largest_gap(),
        found.penalty_training,
        found.penalty_evaluation,
        found.log_penalty,
        found.frobenius_ratio().unwrap_or(0.0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_classes_have_so_many_pairs() {
        for classes in [2, 3, 40, 33_000, 100_000] {
            let found = PairBootstrap::of(classes, &[], classes * (classes - 1) / 2).with_images;
            assert!((found - classes as f64).abs() < 1e-6, "{classes}: {found}");
        }
    }
}
