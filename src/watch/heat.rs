//! A matrix of rates as cells of text.
//!
//! A cell is a digit, so that it can be read without colours: tenths of the rate, `0` for less than a tenth, `.` for
//! none, `X` for all, blank where nothing was counted. A matrix with more rows or columns than there is room for is
//! drawn in blocks, and a block shows its largest rate away from the diagonal.

use ratatui::style::{Color, Style};

use crate::metrics::Cells;

/// From none to all: dark blue to yellow, whose lightness rises evenly, so that it is the same order for everybody
/// and on paper. Numbers of the 256 colours of terminals.
const SCALE: [u8; 8] = [17, 18, 60, 66, 102, 144, 185, 227];

/// A matrix in blocks.
pub(super) struct Heat {
    /// Classes on a side of a block.
    pub block: usize,
    /// Blocks row by row; the diagonal of predictions is no error and has none.
    pub rows: Vec<Vec<Option<f64>>>,
}

impl Heat {
    /// At most `most` blocks on a side.
    pub fn of(cells: &Cells, most: usize) -> Self {
        let classes = cells.counts.len();
        let block = classes.div_ceil(most.max(1)).max(1);
        let sides = classes.div_ceil(block);
        let largest = |row: usize, column: usize| {
            let labels = row * block..((row + 1) * block).min(classes);
            let others = column * block..((column + 1) * block).min(classes);
            let rates = labels.flat_map(|i| others.clone().filter(move |&j| i != j).map(move |j| (i, j)));
            rates.filter_map(|(i, j)| cells.rate(i, j)).reduce(f64::max)
        };
        let rows = (0..sides).map(|row| (0..sides).map(|column| largest(row, column)).collect()).collect();
        Self { block, rows }
    }
}

/// The character of a rate.
pub(super) fn letter(rate: Option<f64>) -> char {
    match rate {
        None => ' ',
        Some(rate) if rate <= 0.0 => '.',
        Some(rate) if rate >= 1.0 => 'X',
        Some(rate) => char::from(b'0' + (rate * 10.0) as u8),
    }
}

/// The colours of a rate: none for a terminal without colours.
pub(super) fn style(rate: Option<f64>, colours: bool) -> Style {
    let Some(rate) = rate.filter(|_| colours) else { return Style::new() };
    let step = ((rate * SCALE.len() as f64) as usize).min(SCALE.len() - 1);
    let letters = if step < SCALE.len() / 2 { 255 } else { 16 };
    Style::new().bg(Color::Indexed(SCALE[step])).fg(Color::Indexed(letters))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_tenths() {
        let rates = [None, Some(0.0), Some(0.05), Some(0.1), Some(0.99), Some(1.0), Some(f64::NAN)];
        assert_eq!(rates.map(letter), [' ', '.', '0', '1', '9', 'X', '0']);
        assert_eq!(style(Some(1.0), true).bg, Some(Color::Indexed(227)));
        assert_eq!(style(Some(0.0), true).bg, Some(Color::Indexed(17)));
        assert_eq!(style(Some(0.5), false), Style::new());
    }

    #[test]
    fn blocks_show_their_largest_rate_off_the_diagonal() {
        let cells = Cells { counts: vec![vec![8, 2, 0], vec![0, 4, 0], vec![5, 0, 5]], attempts: None };
        let heat = Heat::of(&cells, 3);
        assert_eq!((heat.block, heat.rows[0][1], heat.rows[0][0]), (1, Some(0.2), None));
        let heat = Heat::of(&cells, 2);
        assert_eq!((heat.block, heat.rows), (2, vec![vec![Some(0.2), Some(0.0)], vec![Some(0.5), None]]));
        assert_eq!(Heat::of(&cells, 0).rows.len(), 1);
        assert!(Heat::of(&Cells::default(), 5).rows.is_empty());
        // Rows of a log may have any length.
        let ragged = Cells { counts: vec![vec![1], vec![], vec![2, 2, 2, 2]], attempts: None };
        assert_eq!(Heat::of(&ragged, 3).rows[2], [Some(0.25), Some(0.25), None]);
    }
}
