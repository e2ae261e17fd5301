//! The tiles of a frozen convolution (see [`super::frozen`]): read and transformed, multiplied, transformed
//! back and handed over.
#![allow(unsafe_code)]

use std::ops::Range;

use super::buffer::Shared;
use super::frozen::{FrozenInput, Grid, Then, Unit};
use super::lanes::{Isa, Kernel, Lanes};
use super::matmul::Product;
use super::strip::POINTS;
use super::transform::{self, Transform};
#[cfg(target_arch = "x86_64")]
use super::{half, x86::Avx512};

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

/// The 36 filter matrices.
#[derive(Clone, Copy)]
pub(super) struct Filters {
    pub start: *const (),
    /// Numbers from one to the next.
    pub point: usize,
}

/// Some tiles of a convolution.
pub(super) struct Job<'a> {
    pub grid: Grid,
    pub inputs: usize,
    pub outputs: usize,
    pub source: FrozenInput<'a>,
    pub target: Target<'a>,
    pub unit: Unit,
    pub tiles: Range<usize>,
    pub scratch: *mut f32,
    pub filters: Filters,
}

pub(super) struct FullJob<'a>(pub Job<'a>);

impl Kernel for FullJob<'_> {
    /// Whether all results are finite.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> bool {
        // SAFETY: `Unit::scratch` has room for both kinds of matrices; the sources were checked.
        unsafe { self.0.run::<L, Full>() }
    }
}

/// The numbers of the 36 matrices.
trait Numbers<L: Lanes> {
    /// Rounds a vector of a transformed tile to its place in a matrix of four bytes a number.
    ///
    /// # Safety
    /// The place is inside the matrix.
    unsafe fn put(value: L, to: *mut f32);

    /// # Safety
    /// As [`Product::run`]; `a` is made of what `put` writes, `b` is of that kind too.
    unsafe fn multiply(product: &Product, a: *const f32, filters: Filters, point: usize, c: *mut f32);
}

struct Full;

impl<L: Lanes> Numbers<L> for Full {
    #[inline(always)]
    unsafe fn put(value: L, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { value.store(to) }
    }

    #[inline(always)]
    unsafe fn multiply(product: &Product, a: *const f32, filters: Filters, point: usize, c: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { product.run::<L>(a, filters.start.cast::<f32>().add(point * filters.point), c) }
    }
}

#[cfg(target_arch = "x86_64")]
struct Half;

#[cfg(target_arch = "x86_64")]
impl Numbers<Avx512> for Half {
    #[inline(always)]
    unsafe fn put(value: Avx512, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { half::store_twice(value, to.cast()) }
    }

    #[inline(always)]
    unsafe fn multiply(product: &Product, a: *const f32, filters: Filters, point: usize, c: *mut f32) {
        let Product { rows, depth, panels, a_row, .. } = *product;
        // SAFETY: the caller's promise.
        unsafe {
            let b = filters.start.cast::<u16>().add(point * filters.point);
            half::HalfProduct { rows, depth, panels, a_row }.run(a.cast(), b, c);
        }
    }
}

/// Whether the processor computes in half precision, with the instruction set in use.
pub(in crate::nn) fn has_half(isa: Isa) -> bool {
    #[cfg(target_arch = "x86_64")]
    return isa.lanes() == Avx512::N && half::is_there();
    #[cfg(not(target_arch = "x86_64"))]
    return isa.lanes() == 0;
}

/// Runs some tiles in half precision. Whether all results are finite.
#[cfg(target_arch = "x86_64")]
pub(super) fn run_half(job: &Job<'_>) -> bool {
    #[target_feature(enable = "avx512f,avx512fp16,avx2,fma")]
    unsafe fn run(job: &Job<'_>) -> bool {
        // SAFETY: as in [`FullJob`].
        unsafe { job.run::<Avx512, Half>() }
    }
    // SAFETY: weights in half precision are made only where the processor has the instructions.
    unsafe { run(job) }
}

/// There are no weights in half precision on this processor.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn run_half(_: &Job<'_>) -> bool {
    false
}

impl Job<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes, P: Numbers<L>>(&self) -> bool {
        // SAFETY: the caller vouches for scratch and sources.
        unsafe {
            self.read::<L, P>();
            self.multiply::<L, P>();
            self.write::<L>()
        }
    }

    /// Transforms the tiles into 36 matrices `[tiles][inputs]`.
    #[inline(always)]
    unsafe fn read<L: Lanes, P: Numbers<L>>(&self) {
        let (padded, point) = (self.unit.padded[0], self.unit.point(0));
        for (index, tile) in self.tiles.clone().enumerate() {
            let [image, top, left] = self.grid.place(tile);
            for channel in (0..padded).step_by(L::N) {
                // SAFETY: the places are inside the scratch and, as checked, inside the source.
                unsafe {
                    let values = if let Some((from, strides)) = self.inside([image, top, left], channel) {
                        transformed::<L, transform::Input, 6, 6>(from, strides)
                    } else {
                        let mut patch = [L::splat(0.0); 36];
                        self.gather::<L>([image, top, left], channel, &mut patch);
                        transformed::<L, transform::Input, 6, 6>(patch.as_ptr().cast(), (6 * L::N, L::N))
                    };
                    let place = index * padded + channel;
                    for (p, value) in values.as_flattened().iter().enumerate() {
                        P::put(*value, self.scratch.add(p * point + place));
                    }
                }
            }
        }
    }

    /// Where a patch that lies wholly inside an image can be read as it is: its start and its strides.
    #[inline(always)]
    unsafe fn inside(
        &self,
        [image, top, left]: [usize; 3],
        channel: usize,
    ) -> Option<(*const f32, (usize, usize))> {
        let FrozenInput::Pixels { values, pitch } = self.source else { return None };
        let Grid { height, width, .. } = self.grid;
        (top > 0 && left > 0 && top + 5 <= height && left + 5 <= width).then(|| {
            let start = self.grid.index(image, top - 1, left - 1) * pitch + channel;
            // SAFETY: the patch is inside the image.
            (unsafe { values.as_ptr().add(start) }, (width * pitch, pitch))
        })
    }

    /// The 6x6 patch around a tile, zero outside of the image.
    #[inline(always)]
    unsafe fn gather<L: Lanes>(&self, [image, top, left]: [usize; 3], channel: usize, patch: &mut [L; 36]) {
        let Grid { height, width, .. } = self.grid;
        let (padded, vector) = (self.unit.padded[0], channel / L::N);
        let vectors = padded / L::N;
        if let FrozenInput::Pooled { gradient, bits } = self.source {
            let grid = self.grid.pooled();
            for i in 0..4 {
                for j in 0..4 {
                    // Windows of the tile, and of one pixel around it.
                    let (row, column) = ((top / 2 + i).wrapping_sub(1), (left / 2 + j).wrapping_sub(1));
                    if row >= grid.height || column >= grid.width {
                        continue;
                    }
                    let pixel = grid.index(image, row, column);
                    // SAFETY: the window is inside the image.
                    unsafe {
                        let value = L::load(gradient.as_ptr().add(pixel * padded + channel));
                        let bits = bits.as_ptr().add((pixel * vectors + vector) * 4);
                        for k in 0..4 {
                            let (y, x) = (2 * i + k / 2, 2 * j + k % 2);
                            if (1..7).contains(&y) && (1..7).contains(&x) {
                                patch[(y - 1) * 6 + x - 1] = value.keep(bits.add(k).read());
                            }
                        }
                    }
                }
            }
            return;
        }
        for (p, value) in patch.iter_mut().enumerate() {
            let (row, column) = ((top + p / 6).wrapping_sub(1), (left + p % 6).wrapping_sub(1));
            if row >= height || column >= width {
                continue;
            }
            let pixel = self.grid.index(image, row, column);
            // SAFETY: the pixel is inside the image.
            *value = unsafe {
                match self.source {
                    FrozenInput::Pixels { values, pitch } => {
                        L::load(values.as_ptr().add(pixel * pitch + channel))
                    }
                    FrozenInput::Relu { gradient, bits } => {
                        L::load(gradient.as_ptr().add(pixel * padded + channel))
                            .keep(bits.as_ptr().add(pixel * vectors + vector).read())
                    }
                    FrozenInput::Pooled { .. } => continue,
                }
            };
        }
    }

    /// The 36 products.
    #[inline(always)]
    unsafe fn multiply<L: Lanes, P: Numbers<L>>(&self) {
        let (rows, [inputs, outputs]) = (self.tiles.len(), self.unit.padded);
        let product = Product {
            rows,
            depth: self.inputs,
            panels: outputs / L::N,
            a_row: inputs,
            a_depth: 1,
            accumulate: false,
        };
        for point in 0..POINTS {
            // SAFETY: the matrices were carved out of scratch with these sizes; the filter has been made for
            // the same instruction set.
            unsafe {
                let a = self.scratch.add(point * self.unit.point(0));
                let c = self.scratch.add(POINTS * self.unit.point(0) + point * self.unit.point(1));
                P::multiply(&product, a, self.filters, point, c);
            }
        }
    }

    /// Transforms the products back and hands the tiles over. Whether all of them are finite.
    #[inline(always)]
    unsafe fn write<L: Lanes>(&self) -> bool {
        let (point, rows) = (self.unit.point(1), self.tiles.len());
        // SAFETY: the products are where `multiply` put them; a tile writes its own pixels only.
        unsafe {
            let products = self.scratch.add(POINTS * self.unit.point(0));
            let mut not_finite = L::splat(0.0);
            for (index, tile) in self.tiles.clone().enumerate() {
                let place = self.grid.place(tile);
                for panel in 0..self.unit.padded[1] / L::N {
                    let from = products.add((panel * rows + index) * L::N);
                    let values = transformed::<L, transform::Output, 6, 4>(from, (6 * point, point));
                    // What is not finite in any of the 36 products shows in one of the corners.
                    for corner in [values[0][0], values[0][3], values[3][0], values[3][3]] {
                        not_finite = corner.scaled_add(0.0, not_finite);
                    }
                    self.hand_over(place, panel, &values);
                }
            }
            let mut lanes = [0.0_f32; 16];
            not_finite.store(lanes.as_mut_ptr());
            lanes.iter().all(|lane| *lane == 0.0)
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
        let vectors = self.unit.padded[1] / L::N;
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
        let (grid, vectors) = (self.grid.pooled(), self.unit.padded[1] / L::N);
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

/// A transform of a square of vectors in memory, as [`transform::square`], kept in registers.
///
/// # Safety
/// The processor has the instruction set of `L`; the `IN x IN` places can be read.
#[inline(always)]
unsafe fn transformed<L: Lanes, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
    from: *const f32,
    (row, column): (usize, usize),
) -> [[L; OUT]; OUT] {
    // SAFETY: the caller vouches for these places.
    unsafe {
        let mut half = [[L::splat(0.0); IN]; OUT];
        #[allow(clippy::needless_range_loop)] // `j` is a place in memory first.
        for j in 0..IN {
            let mut values = [L::splat(0.0); IN];
            for (i, value) in values.iter_mut().enumerate() {
                *value = L::load(from.add(i * row + j * column));
            }
            let values = T::apply(values);
            for i in 0..OUT {
                half[i][j] = values[i];
            }
        }
        let mut whole = [[L::splat(0.0); OUT]; OUT];
        for (row, to) in half.into_iter().zip(&mut whole) {
            *to = T::apply(row);
        }
        whole
    }
}
