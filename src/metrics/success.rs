//! Counts of who could be turned into whom.

use std::ops::AddAssign;

/// Outcomes of targeted attacks: for each ordered pair of source (true label) and target, how many
/// attacks were made and how many ended in the target. The diagonal holds the images of a target's own
/// class, where somebody ran the attack on them too; only the "loose" success rate counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessMatrix {
    classes: usize,
    attempts: Vec<u64>,
    successes: Vec<u64>,
}

impl SuccessMatrix {
    /// No attack yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, attempts: vec![0; classes * classes], successes: vec![0; classes * classes] }
    }

    /// Counts one attack on an image of `source`. Both classes are below `K`.
    pub fn add(&mut self, source: usize, target: usize, succeeded: bool) {
        self.add_attacks(source, target, 1, u64::from(succeeded));
    }

    /// Counts attacks on images of `source`, of which `successes` ended in `target`. Both classes are below `K`.
    pub fn add_attacks(&mut self, source: usize, target: usize, attempts: u64, successes: u64) {
        let cell = source * self.classes + target;
        self.attempts[cell] += attempts;
        self.successes[cell] += successes;
    }

    /// Number of classes `K`.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Attacks made from `source` to `target`.
    pub fn attempts(&self, source: usize, target: usize) -> u64 {
        self.attempts[source * self.classes + target]
    }

    /// Attacks from `source` that ended in `target`.
    pub fn successes(&self, source: usize, target: usize) -> u64 {
        self.successes[source * self.classes + target]
    }

    /// Share of attacks from `source` that ended in `target`; `None` where none was made.
    pub fn rate(&self, source: usize, target: usize) -> Option<f64> {
        let attempts = self.attempts(source, target);
        (attempts > 0).then(|| self.successes(source, target) as f64 / attempts as f64)
    }

    /// Number of attacks towards another class.
    pub fn total_attempts(&self) -> u64 {
        self.off_diagonal(&self.attempts)
    }

    /// Number of attacks towards another class that ended in their target.
    pub fn total_successes(&self) -> u64 {
        self.off_diagonal(&self.successes)
    }

    fn off_diagonal(&self, cells: &[u64]) -> u64 {
        cells.iter().sum::<u64>() - cells.iter().step_by(self.classes + 1).sum::<u64>()
    }
}

impl AddAssign<&Self> for SuccessMatrix {
    /// Both have the same number of classes, or it panics: a mistake of the program, not of its input.
    fn add_assign(&mut self, other: &Self) {
        assert_eq!(self.classes, other.classes, "matrices of different classes cannot be merged");
        for (count, more) in self.attempts.iter_mut().zip(&other.attempts) {
            *count += more;
        }
        for (count, more) in self.successes.iter_mut().zip(&other.successes) {
            *count += more;
        }
    }
}

#[cfg(test)]
impl SuccessMatrix {
    /// As many attacks on every ordered pair, with these successes.
    pub(super) fn with_attempts<const K: usize>(attempts: u64, successes: [[u64; K]; K]) -> Self {
        let attempts = (0..K * K).map(|cell| if cell % (K + 1) == 0 { 0 } else { attempts }).collect();
        Self { classes: K, attempts, successes: successes.concat() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_exists_where_an_attack_was_made() {
        let mut matrix = SuccessMatrix::new(2);
        matrix.add(0, 1, true);
        matrix.add(0, 1, false);
        assert_eq!(matrix.rate(0, 1), Some(0.5));
        assert_eq!(matrix.rate(1, 0), None);
        assert_eq!((matrix.total_successes(), matrix.total_attempts()), (1, 2));
    }

    #[test]
    fn merged_shards_are_the_whole() {
        let mut first = SuccessMatrix::new(2);
        first.add(0, 1, true);
        let mut second = SuccessMatrix::new(2);
        second.add(0, 1, false);
        second.add(1, 0, true);
        let mut merged = first;
        merged += &second;
        let mut whole = SuccessMatrix::new(2);
        whole.add(1, 0, true);
        whole.add(0, 1, true);
        whole.add(0, 1, false);
        assert_eq!(merged, whole);
    }
}
