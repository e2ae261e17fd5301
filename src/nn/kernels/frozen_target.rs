//! Where the results of a frozen convolution (see [`super::frozen`]) go, tile by tile.
#![allow(unsafe_code)]

use std::ops::Range;

use super::buffer::Shared;
use super::frozen::{Grid, Then};
use super::lanes::Lanes;
use super::transform;

/// Where results go.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    Layer { to: Shared, bits: SharedBits, bias: &'a [f32], then: Then },
    Gradient { to: Shared },
    Pictures { to: Shared, scale: &'a [f32] },
}

/// Bits that several threads write, each to its own places.
#[derive(Clone, Copy)]
pub(super) struct SharedBits(pub *mut u16);

// SAFETY: each tile writes the bits of its own pixels only.
unsafe impl Send for SharedBits {}
// SAFETY: as above.
unsafe impl Sync for SharedBits {}

/// Writes tiles to their target.
#[derive(Clone, Copy)]
pub(super) struct Writer<'a> {
    pub grid: Grid,
    pub target: Target<'a>,
    pub outputs: usize,
    /// The same in whole vectors.
    pub padded: usize,
}

impl Writer<'_> {
    /// Transforms products back and hands the tiles over. Whether all of them are finite.
    ///
    /// # Safety
    /// The processor has the instruction set; at `products`, `point` floats apart, there are 36 matrices
    /// `[panels][tiles][N]`; nobody else writes these channels of these tiles.
    #[inline(always)]
    pub(super) unsafe fn write<L: Lanes>(
        &self,
        tiles: Range<usize>,
        panels: Range<usize>,
        products: *const f32,
        point: usize,
    ) -> bool {
        let rows = tiles.len();
        // SAFETY: the caller's promise.
        unsafe {
            let mut not_finite = L::splat(0.0);
            for (index, tile) in tiles.enumerate() {
                let place = self.grid.place(tile);
                for (at, panel) in panels.clone().enumerate() {
                    let from = products.add((at * rows + index) * L::N);
                    let values =
                        transform::in_registers::<L, transform::Output, 6, 4>(from, (6 * point, point));
                    // What is not finite in any of the 36 products shows in one of the corners.
                    for corner in [values[0][0], values[0][3], values[3][0], values[3][3]] {
                        not_finite = corner.scaled_add(0.0, not_finite);
                    }
                    self.hand_over(place, panel, &values);
                }
            }
            not_finite.reduce(|sum, lane| sum + lane) == 0.0
        }
    }

    /// One vector of channels of a tile to its target.
    #[inline(always)]
    unsafe fn hand_over<L: Lanes>(&self, place: [usize; 3], panel: usize, values: &[[L; 4]; 4]) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.target {
                Target::Layer { to, bits, bias, then: Then::ReluMaxPool } => {
                    self.pool(place, panel, shifted::<L>(values, bias, panel), to, bits);
                }
                Target::Layer { to, bits, bias, then } => {
                    let bits = (then == Then::Relu).then_some(bits);
                    self.store(place, panel, &shifted::<L>(values, bias, panel), to, bits);
                }
                Target::Gradient { to } => self.store(place, panel, values, to, None),
                Target::Pictures { to, scale } => self.scatter(place, panel, values, to, scale),
            }
        }
    }

    /// Writes the pixels of a tile, after a ReLU if its bits are wanted.
    #[inline(always)]
    unsafe fn store<L: Lanes>(
        &self,
        [image, top, left]: [usize; 3],
        panel: usize,
        values: &[[L; 4]; 4],
        to: Shared,
        bits: Option<SharedBits>,
    ) {
        let vectors = self.padded / L::N;
        for (i, row) in values.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                if top + i >= self.grid.height || left + j >= self.grid.width {
                    continue;
                }
                let at = self.grid.index(image, top + i, left + j) * vectors + panel;
                // SAFETY: the pixel is inside the image.
                unsafe {
                    let mut value = *value;
                    if let Some(bits) = bits {
                        let positive = value.above(L::splat(0.0));
                        value = value.keep(positive);
                        bits.0.add(at).write(positive);
                    }
                    value.store(to.at(at * L::N));
                }
            }
        }
    }

    /// Writes the maxima of the windows of a tile after a ReLU, and the bits of the winners. As in
    /// [`super::pool`] the first of equal pixels wins; where nothing is positive nobody does.
    #[inline(always)]
    unsafe fn pool<L: Lanes>(
        &self,
        [image, top, left]: [usize; 3],
        panel: usize,
        values: [[L; 4]; 4],
        to: Shared,
        bits: SharedBits,
    ) {
        let (grid, vectors) = (self.grid.pooled(), self.padded / L::N);
        for i in 0..2 {
            for j in 0..2 {
                let (row, column) = (top / 2 + i, left / 2 + j);
                if row >= grid.height || column >= grid.width {
                    continue;
                }
                let [a, b] = [values[2 * i][2 * j], values[2 * i][2 * j + 1]];
                let [c, d] = [values[2 * i + 1][2 * j], values[2 * i + 1][2 * j + 1]];
                let second = b.above(a);
                let best = b.larger(a);
                let third = c.above(best);
                let best = c.larger(best);
                let fourth = d.above(best);
                let best = d.larger(best);
                let at = grid.index(image, row, column) * vectors + panel;
                // SAFETY: the window is inside the image.
                unsafe {
                    let positive = best.above(L::splat(0.0));
                    best.keep(positive).store(to.at(at * L::N));
                    let bits = bits.0.add(4 * at);
                    bits.write(positive & !(second | third | fourth));
                    bits.add(1).write(positive & second & !(third | fourth));
                    bits.add(2).write(positive & third & !fourth);
                    bits.add(3).write(positive & fourth);
                }
            }
        }
    }

    /// Writes a tile of pictures, plane by plane.
    #[inline(always)]
    unsafe fn scatter<L: Lanes>(
        &self,
        [image, top, left]: [usize; 3],
        panel: usize,
        values: &[[L; 4]; 4],
        to: Shared,
        scale: &[f32],
    ) {
        let Grid { height, width, .. } = self.grid;
        let mut lanes = [[0.0_f32; 16]; 16];
        for (value, lanes) in values.as_flattened().iter().zip(&mut lanes) {
            // SAFETY: there are at most 16 lanes.
            unsafe { value.store(lanes.as_mut_ptr()) };
        }
        #[allow(clippy::needless_range_loop)] // A lane is a channel first.
        for lane in 0..L::N.min(self.outputs - panel * L::N) {
            let channel = panel * L::N + lane;
            let plane = (image * self.outputs + channel) * height * width;
            for row in 0..4.min(height - top) {
                for column in 0..4.min(width - left) {
                    let value = lanes[row * 4 + column][lane] * scale[channel];
                    // SAFETY: the pixel is inside the image.
                    unsafe { to.at(plane + (top + row) * width + left + column).write(value) };
                }
            }
        }
    }
}

/// A tile plus a number a channel.
#[inline(always)]
unsafe fn shifted<L: Lanes>(values: &[[L; 4]; 4], bias: &[f32], panel: usize) -> [[L; 4]; 4] {
    let first = panel * L::N;
    // SAFETY: no more than the numbers that are there are read.
    let bias = unsafe { L::load_part(bias.as_ptr().add(first), L::N.min(bias.len() - first)) };
    let mut values = *values;
    for value in values.as_flattened_mut() {
        *value = value.add(bias);
    }
    values
}
