//! A matrix of rates as a picture.

use image::{Rgb, RgbImage};

use super::Picture;
use crate::metrics::Cells;

/// About so many pixels on a side.
const SIDE: usize = 400;

/// From none to all: the colour map Cividis (Nuñez, Anderton and Renslow, PLOS ONE 13(7), 2018) at five places. Its
/// lightness rises evenly, for all kinds of sight.
const SCALE: [[f64; 3]; 5] = [
    [0.0, 34.0, 78.0],
    [64.0, 77.0, 107.0],
    [124.0, 123.0, 120.0],
    [188.0, 174.0, 108.0],
    [253.0, 234.0, 69.0],
];

/// Where nothing was counted, and on the diagonal, which is no error.
const NOTHING: Rgb<u8> = Rgb([255, 255, 255]);

fn colour(rate: f64) -> Rgb<u8> {
    let place = rate.clamp(0.0, 1.0) * (SCALE.len() - 1) as f64;
    let low = (place as usize).min(SCALE.len() - 2);
    let part = place - low as f64;
    Rgb([0, 1, 2].map(|k| (SCALE[low][k] + part * (SCALE[low + 1][k] - SCALE[low][k])).round() as u8))
}

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
        cells.rate(label, other).filter(|_| label != other).map_or(NOTHING, colour)
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
        assert_eq!(at(300, 100), [253, 234, 69], "all of the first class ended in the second");
        assert_eq!((at(100, 300), at(100, 100)), ([0, 34, 78], [255, 255, 255]));
        assert_eq!(colour(0.125).0, [32, 56, 93]);
        assert_eq!(heat_map(&Cells::default()), None);
    }
}
