//! Multinomial random numbers for one row of rates, from tables that are made once.
//!
//! The number of events comes from the table of its binomial law. Few events then fall into their cells one
//! by one, in constant time each, by aliases (Walker, ACM Transactions on Mathematical Software 3, 1977;
//! the tables after Vose, IEEE Transactions on Software Engineering 17, 1991). Many are divided cell by cell.

use rand::{Rng, RngExt};

use super::binomial::binomial;
use super::tabulated::Tabulated;

/// Events per cell above which a binomial number for each cell is cheaper than one alias for each event.
const MANY: u64 = 16;

/// How the images of one class fall into the cells of a row, or into none.
pub(super) struct Multinomial {
    chances: Vec<f64>,
    total: f64,
    events: Tabulated,
    /// For each cell: the part of its place that is its own, and the cell that has the rest.
    aliases: Vec<(f64, u32)>,
}

impl Multinomial {
    /// The chances of the cells, which sum to at most 1.
    pub fn of(images: u64, chances: Vec<f64>) -> Self {
        let total: f64 = chances.iter().sum();
        Self {
            events: Tabulated::binomial(images, total.clamp(0.0, 1.0)),
            aliases: aliases(&chances, total),
            total,
            chances,
        }
    }

    /// Tells how many images fall into which cell. A cell may be told several times.
    pub fn draw(&self, rng: &mut impl Rng, mut found: impl FnMut(usize, u64)) {
        let events = self.events.draw(rng);
        if events < MANY * self.chances.len() as u64 {
            for _ in 0..events {
                let place = rng.random::<f64>() * self.aliases.len() as f64;
                let cell = (place as usize).min(self.aliases.len() - 1);
                let (own, other) = self.aliases[cell];
                found(if place - (cell as f64) < own { cell } else { other as usize }, 1);
            }
            return;
        }
        let (mut left, mut chance_left) = (events, self.total);
        for (cell, chance) in self.chances.iter().enumerate() {
            let events = binomial(rng, left, chance / chance_left);
            if events > 0 {
                found(cell, events);
            }
            left -= events;
            chance_left -= chance;
        }
    }
}

/// Every cell gives what it has above the mean to cells below it.
fn aliases(chances: &[f64], total: f64) -> Vec<(f64, u32)> {
    let scale = if total > 0.0 { chances.len() as f64 / total } else { 0.0 };
    let mut own: Vec<f64> = chances.iter().map(|chance| chance * scale).collect();
    let mut aliases: Vec<(f64, u32)> = (0..own.len()).map(|cell| (1.0, cell as u32)).collect();
    let (mut rich, mut poor): (Vec<usize>, Vec<usize>) = (0..own.len()).partition(|&cell| own[cell] >= 1.0);
    while let (Some(&from), Some(to)) = (rich.last(), poor.pop()) {
        aliases[to] = (own[to], from as u32);
        own[from] -= 1.0 - own[to];
        if own[from] < 1.0 {
            rich.pop();
            poor.push(from);
        }
    }
    aliases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    /// Mean counts of three cells over many draws.
    fn means(images: u64) -> [f64; 3] {
        let mut rng = Seed::new(4).rng();
        let law = Multinomial::of(images, vec![0.2, 0.0, 0.3]);
        let mut sums = [0.0; 3];
        for _ in 0..20_000 {
            law.draw(&mut rng, |cell, events| sums[cell] += events as f64 / 20_000.0);
        }
        sums
    }

    #[test]
    fn few_and_many_images_fall_where_they_should() {
        for images in [2, 40, 400] {
            let n = images as f64;
            let found = means(images);
            let near = |(found, expected): (&f64, f64)| (found - expected * n).abs() < 0.01 * n;
            assert!(found.iter().zip([0.2, 0.0, 0.3]).all(near), "{images}: {found:?}");
            assert!(found[1].abs() < 1e-12);
        }
    }

    #[test]
    fn aliases_give_every_cell_its_chance() {
        let chances = [0.05, 0.4, 0.0, 0.1, 0.15];
        let mut found = [0.0; 5];
        for (cell, (own, other)) in aliases(&chances, 0.7).into_iter().enumerate() {
            found[cell] += own / 5.0;
            found[other as usize] += (1.0 - own) / 5.0;
        }
        for (found, chance) in found.into_iter().zip(chances) {
            assert!((found - chance / 0.7).abs() < 1e-12, "{found} {chance}");
        }
        assert_eq!(aliases(&[], 0.0), []);
    }

    #[test]
    fn a_row_without_chances_has_no_events() {
        let mut rng = Seed::new(0).rng();
        for chances in [vec![], vec![0.0, 0.0]] {
            Multinomial::of(9, chances).draw(&mut rng, |_, _| panic!("an event without a chance"));
        }
    }
}
