//! A matrix of rates as a picture.

use image::{Rgb, RgbImage};

use super::Picture;
use crate::colours::rising;
use crate::metrics::Cells;

/// About so many pixels on a side.
const SIDE: usize = 400;

/// Where nothing was counted, and on the diagonal, which is no error.
const NOTHING: Rgb<u8> = Rgb([255, 255, 255]);

/// Rows from top to bottom are true labels, columns predictions or targets; dark blue is none, yellow all, white
/// nothing counted and the diagonal. `None` without a class.
pub fn heat_map(cells: &Cells) -> Option<Picture> {
    let classes = cells.counts.len();
    if classes == 0 {
        return None;
    }
    let cell = (SIDE / classes).max(1);
    let side = (cell * classes) as u32;
    Picture::of(&RgbImage::from_fn(side, side, |x, y| {
        let (label, other) = (y as usize / cell, x as usize / cell);
        cells.rate(label, other).filter(|_| label != other).map_or(NOTHING, |rate| Rgb(rising(rate)))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_true_labels() {
        let cells =
            Cells { counts: vec![vec![0, 4], vec![0, 0]], attempts: Some(vec![vec![0, 4], vec![2, 0]]) };
        let picture = heat_map(&cells).expect("two classes");
        let pixels = image::load_from_memory(&picture.png).expect("a picture").to_rgb8();
        assert_eq!(pixels.dimensions(), (400, 400));
        let at = |x, y| pixels.get_pixel(x, y).0;
        assert_eq!(at(300, 100), [255, 234, 70], "all of the first class ended in the second");
        assert_eq!((at(100, 300), at(100, 100)), ([0, 32, 77], [255, 255, 255]));
        assert_eq!(heat_map(&Cells::default()), None);
    }
}
