//! How a texture looks on a picture: a fixed, sparse, linear map from texels to pixels.
//!
//! A pixel is covered when its centre comes from a point of the texture whose nearest texel is part of the
//! thing (a frame is no rectangle). Its value is the bilinear mean of the four texels around that point,
//! without those that are not part of the thing; so the weights of a pixel sum to 1, and a texture in
//! `[0, 1]` gives pixels in `[0, 1]`. The gradient with respect to the texture is the transposed map.
//! Published code multiplies by a soft mask instead and lets the clean picture shine through the edges.

use super::geometry::Point;

/// The map for one channel; all channels have the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Warp {
    /// Covered pixels by their position in the plane, ascending.
    pixels: Vec<u32>,
    /// For each of them the end of its entries.
    ends: Vec<u32>,
    /// Texel and weight of each entry.
    entries: Vec<(u32, f32)>,
}

impl Warp {
    /// The map on a picture of a height and width from a texture of some rows and columns. `part` says
    /// which texels, row by row, are part of the thing; `origin` says from which point of the texture (in
    /// texels, the centre of the first at (0.5, 0.5)) a point of the picture comes.
    pub fn new(
        [height, width]: [usize; 2],
        [rows, columns]: [usize; 2],
        part: impl Fn(usize) -> bool,
        origin: impl Fn(Point) -> Option<Point>,
    ) -> Self {
        let mut warp = Self::default();
        for pixel in 0..height * width {
            let centre = ((pixel % width) as f64 + 0.5, (pixel / width) as f64 + 0.5);
            let Some((x, y)) = origin(centre) else { continue };
            if !(x >= 0.0 && y >= 0.0 && x < columns as f64 && y < rows as f64) {
                continue;
            }
            if part(y as usize * columns + x as usize) {
                warp.pixels.push(pixel as u32);
                warp.entries.extend(bilinear((x, y), [rows, columns], &part));
                warp.ends.push(warp.entries.len() as u32);
            }
        }
        warp
    }

    /// The same map from larger texels: `cell` says in which of them each texel lies.
    #[must_use]
    pub fn gathered(&self, cell: impl Fn(usize) -> usize) -> Self {
        let mut gathered = Self { pixels: self.pixels.clone(), ..Self::default() };
        for index in 0..self.pixels.len() {
            let begin = gathered.entries.len();
            for (texel, weight) in self.of(index) {
                let cell = cell(*texel as usize) as u32;
                match gathered.entries[begin..].iter_mut().find(|entry| entry.0 == cell) {
                    Some(entry) => entry.1 += weight,
                    None => gathered.entries.push((cell, *weight)),
                }
            }
            gathered.ends.push(gathered.entries.len() as u32);
        }
        gathered
    }

    fn of(&self, index: usize) -> &[(u32, f32)] {
        let begin = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.entries[begin as usize..self.ends[index] as usize]
    }

    /// Covered pixels by their position in the plane, ascending.
    pub fn pixels(&self) -> &[u32] {
        &self.pixels
    }

    /// Covered pixels of a plane of a size, row by row.
    pub fn mask(&self, area: usize) -> Vec<bool> {
        let mut mask = vec![false; area];
        self.pixels.iter().for_each(|pixel| mask[*pixel as usize] = true);
        mask
    }

    /// Paints a texture `[C, texels]` over a picture `[C, H W]`, rounded to 8 bits.
    pub fn paint(&self, texture: &[f32], picture: &mut [f32], channels: usize) {
        let planes =
            texture.chunks(texture.len() / channels).zip(picture.chunks_mut(picture.len() / channels));
        for (texels, plane) in planes {
            for (index, pixel) in self.pixels.iter().enumerate() {
                let value: f32 = self.of(index).iter().map(|(texel, w)| w * texels[*texel as usize]).sum();
                plane[*pixel as usize] = eight_bit(value);
            }
        }
    }

    /// The gradient with respect to a texture of so many texels, `[C, texels]`, from that with respect to
    /// the picture, `[C, H W]`. Rounding is passed straight through.
    pub fn pull_back(&self, gradient: &[f32], channels: usize, texels: usize) -> Vec<f32> {
        let mut pulled = vec![0.0; channels * texels];
        for (plane, sums) in gradient.chunks(gradient.len() / channels).zip(pulled.chunks_mut(texels)) {
            for (index, pixel) in self.pixels.iter().enumerate() {
                let above = plane[*pixel as usize];
                self.of(index).iter().for_each(|(texel, weight)| sums[*texel as usize] += weight * above);
            }
        }
        pulled
    }
}

/// Exactly what a decoder gives for the nearest of 256 levels.
pub(super) fn eight_bit(value: f32) -> f32 {
    f32::from((value.clamp(0.0, 1.0) * 255.0).round() as u8) / 255.0
}

/// The texels around a point that are part of the thing, with weights that sum to 1. At the border of the
/// texture the last texel stands for those beyond it.
fn bilinear(
    (x, y): Point,
    [rows, columns]: [usize; 2],
    part: impl Fn(usize) -> bool,
) -> impl Iterator<Item = (u32, f32)> {
    let around = |at: f64, count: usize| {
        let low = (at - 0.5).floor();
        let share = at - 0.5 - low;
        let clamp = |place: f64| place.clamp(0.0, count as f64 - 1.0) as usize;
        [(clamp(low), 1.0 - share), (clamp(low + 1.0), share)]
    };
    let mut entries: Vec<(usize, f64)> = Vec::with_capacity(4);
    for (row, down) in around(y, rows) {
        for (column, right) in around(x, columns) {
            let (texel, weight) = (row * columns + column, down * right);
            match entries.iter_mut().find(|entry| entry.0 == texel) {
                Some(entry) => entry.1 += weight,
                None if weight > 0.0 && part(texel) => entries.push((texel, weight)),
                None => {}
            }
        }
    }
    let sum: f64 = entries.iter().map(|entry| entry.1).sum();
    entries.into_iter().map(move |(texel, weight)| (texel as u32, (weight / sum) as f32))
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // Equal values are meant.
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_identity_copies_levels() {
        let texture: Vec<f32> = (0..24).map(|level| f32::from(level as u8) / 255.0).collect();
        let warp = Warp::new([3, 4], [3, 4], |texel| texel != 5, Some);
        let mut picture = vec![1.0; 24];
        warp.paint(&texture, &mut picture, 2);
        for (index, value) in picture.iter().enumerate() {
            assert_eq!(*value, if index % 12 == 5 { 1.0 } else { texture[index] });
        }
        assert_eq!(warp.mask(12).iter().filter(|covered| **covered).count(), 11);
    }

    #[test]
    fn a_shift_by_a_quarter_mixes_neighbours_of_the_thing_alone() {
        let shifted = |(x, y): Point| Some((x + 0.25, y));
        let warp = Warp::new([1, 4], [1, 4], |texel| texel != 2, shifted);
        // Pixel 0: 3/4 of texel 0 and 1/4 of texel 1. Pixel 1: texel 1 alone, as 2 is no part. Pixel 2
        // belongs to texel 2. Pixel 3: the last texel stands for what is beyond.
        assert_eq!(warp.pixels(), [0, 1, 3]);
        assert_eq!(warp.of(0), [(0, 0.75), (1, 0.25)]);
        assert_eq!(warp.of(1), [(1, 1.0)]);
        assert_eq!(warp.of(2), [(3, 1.0)]);
        let halves = warp.gathered(|texel| texel / 2);
        assert_eq!((halves.of(0), halves.of(2)), (&[(0, 1.0)][..], &[(1, 1.0)][..]));
    }

    #[test]
    fn what_comes_from_nowhere_or_outside_is_not_covered() {
        let warp = Warp::new([2, 2], [2, 2], |_| true, |(x, y)| (y < 1.0).then_some((x - 1.0, y)));
        assert_eq!(warp.pixels(), [1]);
        assert!(Warp::new([2, 2], [2, 2], |_| true, |_| Some((f64::NAN, 0.0))).pixels().is_empty());
    }

    proptest! {
        #[test]
        fn weights_sum_to_one_and_the_gradient_is_the_transposed_map(
            angle in -1.0_f64..1.0, size in 0.3_f64..2.0,
            texture in proptest::collection::vec(0.0_f32..1.0, 12),
            above in proptest::collection::vec(-1.0_f32..1.0, 30),
        ) {
            let turned = |(x, y): Point| {
                let (x, y) = ((x - 3.0) * size, (y - 2.5) * size);
                Some((x * angle.cos() - y * angle.sin() + 2.0, x * angle.sin() + y * angle.cos() + 1.5))
            };
            let warp = Warp::new([5, 6], [3, 4], |texel| texel != 3, turned);
            for index in 0..warp.pixels.len() {
                let sum: f32 = warp.of(index).iter().map(|entry| entry.1).sum();
                prop_assert!((sum - 1.0).abs() < 1e-6 && warp.of(index).iter().all(|entry| entry.0 != 3));
            }
            // <above, W texture> = <W' above, texture>.
            let painted = |index: usize| warp.of(index).iter().map(|(t, w)| w * texture[*t as usize]).sum::<f32>();
            let left: f32 = warp.pixels.iter().enumerate().map(|(i, p)| above[*p as usize] * painted(i)).sum();
            let right: f32 = warp.pull_back(&above, 1, 12).iter().zip(&texture).map(|(g, t)| g * t).sum();
            prop_assert!((left - right).abs() < 1e-4);
        }
    }
}
