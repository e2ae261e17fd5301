//! How Winograd convolution walks over a batch: rows of 4x4 tiles, work units of several rows, and the
//! strip of channels-last pixels under one row.
#![allow(unsafe_code)]

use std::ops::Range;

use super::buffer::Shared;
use super::lanes::{Isa, Lanes};
use super::transform::{self, Transform};

/// Numbers in a transformed tile.
pub(super) const POINTS: usize = 36;
/// Floats between the 36 matrices of one kind, beyond their size: with a distance of a power of two they
/// would all fall into the same few cache lines.
pub(super) const SKEW: usize = 16;
/// What the matrices of one work unit may take: about half a second-level cache.
const UNIT_BYTES: usize = 1 << 20;
/// Fewest tiles in a unit, so that reading the filter is shared by enough of them.
const UNIT_TILES: usize = 56;

/// Fewest tiles in a unit that is made smaller for the sake of more threads: one block of the products.
const BALANCED_TILES: usize = 14;

/// `[N, C, H, W]` of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nn) struct Images {
    pub count: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Images {
    pub(super) fn plane(self) -> usize {
        self.height * self.width
    }

    pub(in crate::nn) fn floats(self) -> usize {
        self.count * self.channels * self.plane()
    }

    /// Tiles in a row of tiles.
    pub(super) fn tiles_across(self) -> usize {
        self.width.div_ceil(4)
    }

    /// Rows of tiles in one image.
    fn tiles_down(self) -> usize {
        self.height.div_ceil(4)
    }

    /// Rows of tiles in the batch.
    pub(super) fn tile_rows(self) -> usize {
        self.count * self.tiles_down()
    }
}

/// Images that a kernel reads.
#[derive(Clone, Copy)]
pub(in crate::nn) struct Source<'a> {
    pub values: &'a [f32],
    /// Values that are not read, but taken for zero, where the image of the same shape here is zero or
    /// below: the output of a ReLU, if `values` is the gradient of one.
    pub gate: Option<&'a [f32]>,
}

impl<'a> Source<'a> {
    /// All values as they are.
    pub(in crate::nn) fn plain(values: &'a [f32]) -> Self {
        Self { values, gate: None }
    }

    pub(super) fn check(self, floats: usize) {
        assert_eq!(self.values.len(), floats);
        assert!(self.gate.is_none_or(|gate| gate.len() == floats));
    }
}

/// What is done with the sums of a convolution before they are written.
#[derive(Clone, Copy, Default)]
pub(in crate::nn) struct Finish<'a> {
    /// Added, one a channel.
    pub bias: Option<&'a [f32]>,
    /// Whether negative results become zero.
    pub relu: bool,
}

/// How a batch is cut into work units, and where they keep their matrices.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    /// Rows of tiles.
    rows: usize,
    /// Channels of the two kinds of matrices, rounded up to whole vectors.
    pub padded: [usize; 2],
}

impl Unit {
    pub(super) fn new(isa: Isa, images: Images, channels: [usize; 2]) -> Self {
        let padded = channels.map(|count| count.next_multiple_of(isa.lanes()));
        let tiles = (UNIT_BYTES / (POINTS * 4 * (padded[0] + padded[1]))).max(UNIT_TILES);
        let rows = (tiles / images.tiles_across()).clamp(1, images.tile_rows());
        Self { rows, padded }
    }

    /// The same with smaller units where that keeps all threads busy. Only for what does not depend on how
    /// the batch is cut.
    pub(super) fn balanced(self, images: Images, threads: usize) -> Self {
        let units = self.count(images).next_multiple_of(threads);
        let least = BALANCED_TILES.div_ceil(images.tiles_across());
        Self { rows: images.tile_rows().div_ceil(units).max(least).min(self.rows), ..self }
    }

    pub(super) fn count(self, images: Images) -> usize {
        images.tile_rows().div_ceil(self.rows)
    }

    pub(super) fn range(self, images: Images, index: usize) -> Range<usize> {
        index * self.rows..((index + 1) * self.rows).min(images.tile_rows())
    }

    /// Floats from one of the 36 matrices of a kind to the next.
    pub(super) fn point(self, images: Images, kind: usize) -> usize {
        self.rows * images.tiles_across() * self.padded[kind] + SKEW
    }

    /// Floats of a strip: 6 rows of tiles' pixels with a border.
    fn strip(self, images: Images) -> usize {
        6 * (images.tiles_across() * 4 + 2) * self.padded[0].max(self.padded[1])
    }

    pub(super) fn scratch(self, images: Images) -> usize {
        POINTS * (self.point(images, 0) + self.point(images, 1)) + self.strip(images)
    }
}

/// The pixels under one row of tiles, channels last: `[rows][4 * tiles + 2 * halo][padded]`.
pub(super) struct Strip {
    pub images: Images,
    /// 1 with the border that a 3x3 filter looks at, else 0.
    pub halo: usize,
    /// Channels in whole vectors, of which the strip begins with `first`.
    pub padded: usize,
    pub first: usize,
    pub start: *mut f32,
}

impl Strip {
    /// Floats from one row of pixels to the next.
    pub(super) fn pitch(&self) -> usize {
        (self.images.tiles_across() * 4 + 2 * self.halo) * self.padded
    }

    /// Fills the strip from the images, with zeros outside of them.
    ///
    /// # Safety
    /// The processor has the instruction set; `start` has room for `4 + 2 * halo` rows; `from` holds the
    /// images and has the row of tiles.
    #[inline(always)]
    pub(super) unsafe fn read<L: Lanes>(&self, from: Source<'_>, tile_row: usize) {
        match from.gate {
            // SAFETY: the caller's promise.
            Some(gate) => unsafe { self.read_gated::<L, true>(from.values, gate, tile_row) },
            // SAFETY: the caller's promise.
            None => unsafe { self.read_gated::<L, false>(from.values, from.values, tile_row) },
        }
    }

    /// # Safety
    /// As for [`Strip::read`].
    #[inline(always)]
    unsafe fn read_gated<L: Lanes, const GATED: bool>(&self, from: &[f32], gate: &[f32], tile_row: usize) {
        let Images { channels, height, width, .. } = self.images;
        let (image, top) = (tile_row / self.images.tiles_down(), tile_row % self.images.tiles_down() * 4);
        let (rows, pitch, plane) = (4 + 2 * self.halo, self.pitch(), self.images.plane());
        // The first row of the strip is row `top - halo` of the image.
        let above = self.halo.saturating_sub(top);
        let first = top + above - self.halo;
        let inside = (height - first).min(rows - above);
        let run = inside * width;
        // SAFETY: rows and columns inside the strip are written, rows inside the image read.
        unsafe {
            let zero = |from: usize, floats: usize| self.start.add(from).write_bytes(0, floats);
            zero(0, above * pitch);
            zero((above + inside) * pitch, (rows - above - inside) * pitch);
            for row in above..above + inside {
                zero(row * pitch, self.halo * self.padded);
                let right = (self.halo + width) * self.padded;
                zero(row * pitch + right, pitch - right);
            }
            let start = (image * channels + self.first) * plane + first * width;
            let (source, gate) = (from.as_ptr().add(start), gate.as_ptr().add(start));
            let inner = self.start.add(above * pitch + self.halo * self.padded);
            for channel in (0..self.padded).step_by(L::N) {
                let lanes = L::N.min(channels - self.first - channel);
                let mut place = Place { to: inner.add(channel), column: 0 };
                // The rows of a plane follow each other, so a run of pixels crosses them.
                let (mut source, mut gate) = (source.add(channel * plane), gate.add(channel * plane));
                let mut left = run;
                while left > 0 {
                    let count = L::N.min(left);
                    if lanes == L::N && count == L::N {
                        self.read_block::<L, GATED>(source, gate, L::N, L::N, &mut place);
                    } else {
                        self.read_block::<L, GATED>(source, gate, lanes, count, &mut place);
                    }
                    source = source.wrapping_add(count);
                    gate = gate.wrapping_add(count);
                    left -= count;
                }
            }
        }
    }

    /// Moves `count` pixels of `lanes` planes into the strip. Where both are constants the whole block
    /// stays in registers.
    ///
    /// # Safety
    /// As for [`Strip::read`].
    #[inline(always)]
    unsafe fn read_block<L: Lanes, const GATED: bool>(
        &self,
        from: *const f32,
        gate: *const f32,
        lanes: usize,
        count: usize,
        place: &mut Place,
    ) {
        // SAFETY: the caller vouches for the places.
        unsafe {
            let load = |from| if count == L::N { L::load(from) } else { L::load_part(from, count) };
            let mut square = L::zeros();
            for lane in 0..lanes {
                let offset = lane * self.images.plane();
                square[lane] = load(from.add(offset));
                if GATED {
                    square[lane] = square[lane].gate(load(gate.add(offset)));
                }
            }
            L::transpose(&mut square);
            for pixel in 0..count {
                square[pixel].store(place.to);
                self.advance(place);
            }
        }
    }

    /// Goes on to the next pixel of the image.
    #[inline(always)]
    fn advance(&self, place: &mut Place) {
        if place.column + 1 < self.images.width {
            place.to = place.to.wrapping_add(self.padded);
            place.column += 1;
        } else {
            place.to = place.to.wrapping_add(self.pitch() - (self.images.width - 1) * self.padded);
            place.column = 0;
        }
    }

    /// Transforms the tiles of the strip. Point `p` of tile `t` and channels from `c` on goes to
    /// `place(t, c)`, `p * point` further.
    ///
    /// # Safety
    /// The processor has the instruction set; the strip is filled; there is room at those places.
    #[inline(always)]
    pub(super) unsafe fn transform<L: Lanes, T: Transform<IN, 6>, const IN: usize>(
        &self,
        point: usize,
        place: impl Fn(usize, usize) -> *mut f32,
    ) {
        for t in 0..self.images.tiles_across() {
            for channel in (0..self.padded).step_by(L::N) {
                // SAFETY: the tile is inside the strip, and the caller vouches for the target.
                unsafe {
                    transform::square::<L, T, IN, 6>(
                        self.start.add(t * 4 * self.padded + channel),
                        (self.pitch(), self.padded),
                        place(t, channel),
                        (6 * point, point),
                    );
                }
            }
        }
    }

    /// Transforms the tiles of some rows back through the strip and writes them, finished, to the images. At
    /// `products`, `point` floats apart, are 36 matrices `[panels][tiles][N]`. Whether all results are finite.
    ///
    /// # Safety
    /// As for [`Strip::read`], with room at `to` for the images, whose rows no other thread writes.
    #[inline(always)]
    pub(super) unsafe fn write_products<L: Lanes>(
        &self,
        to: Shared,
        rows: Range<usize>,
        (products, point): (*const f32, usize),
        finish: Finish<'_>,
    ) -> bool {
        let across = self.images.tiles_across();
        // SAFETY: the caller's promise; the tiles of a row fit the strip.
        unsafe {
            let mut not_finite = L::splat(0.0);
            for row in rows.clone() {
                for tile in 0..across {
                    let index = (row - rows.start) * across + tile;
                    for channel in (0..self.padded).step_by(L::N) {
                        transform::square::<L, transform::Output, 6, 4>(
                            products.add(channel * rows.len() * across + index * L::N),
                            (6 * point, point),
                            self.start.add(tile * 4 * self.padded + channel),
                            (self.pitch(), self.padded),
                        );
                    }
                }
                not_finite = self.write::<L>(to, row, finish, not_finite);
            }
            not_finite.reduce(|sum, lane| sum + lane) == 0.0
        }
    }

    /// Writes the strip, finished, to the images; returns `check`, plus NaN where a value is not finite.
    ///
    /// # Safety
    /// As for [`Strip::read`], with room at `to` for the images, whose row no other thread writes.
    #[inline(always)]
    unsafe fn write<L: Lanes>(&self, to: Shared, tile_row: usize, finish: Finish<'_>, check: L) -> L {
        if finish.relu {
            // SAFETY: the caller's promise.
            unsafe { self.write_finished::<L, true>(to, tile_row, finish.bias, check) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.write_finished::<L, false>(to, tile_row, finish.bias, check) }
        }
    }

    /// # Safety
    /// As for [`Strip::write`].
    #[inline(always)]
    unsafe fn write_finished<L: Lanes, const RELU: bool>(
        &self,
        to: Shared,
        tile_row: usize,
        bias: Option<&[f32]>,
        mut check: L,
    ) -> L {
        let Images { channels, height, width, .. } = self.images;
        let (image, top) = (tile_row / self.images.tiles_down(), tile_row % self.images.tiles_down() * 4);
        let (plane, run) = (self.images.plane(), (height - top).min(4) * width);
        // SAFETY: the same places as in `read`, the other way.
        unsafe {
            let target = to.at((image * channels + self.first) * plane + top * width);
            for channel in (0..self.padded).step_by(L::N) {
                let lanes = L::N.min(channels - self.first - channel);
                let shift = match bias {
                    Some(bias) => L::load_part(bias.as_ptr().add(self.first + channel), lanes),
                    None => L::splat(0.0),
                };
                let mut place = Place { to: self.start.add(channel), column: 0 };
                let mut target = target.add(channel * plane);
                let mut left = run;
                while left > 0 {
                    let count = L::N.min(left);
                    check = if lanes == L::N && count == L::N {
                        self.write_block::<L, RELU>(target, L::N, L::N, shift, check, &mut place)
                    } else {
                        self.write_block::<L, RELU>(target, lanes, count, shift, check, &mut place)
                    };
                    target = target.wrapping_add(count);
                    left -= count;
                }
            }
        }
        check
    }

    /// Moves `count` pixels of the strip to `lanes` planes.
    ///
    /// # Safety
    /// As for [`Strip::write`].
    #[inline(always)]
    unsafe fn write_block<L: Lanes, const RELU: bool>(
        &self,
        to: *mut f32,
        lanes: usize,
        count: usize,
        shift: L,
        mut check: L,
        place: &mut Place,
    ) -> L {
        // SAFETY: the caller vouches for the places.
        unsafe {
            let mut square = L::zeros();
            for pixel in 0..count {
                let value = L::load(place.to).add(shift);
                check = value.scaled_add(0.0, check);
                square[pixel] = if RELU { value.gate(value) } else { value };
                self.advance(place);
            }
            L::transpose(&mut square);
            for lane in 0..lanes {
                let to = to.add(lane * self.images.plane());
                if count == L::N {
                    square[lane].store(to);
                } else {
                    square[lane].store_part(to, count);
                }
            }
        }
        check
    }
}

/// A pixel of the strip, in one vector of channels.
struct Place {
    to: *mut f32,
    column: usize,
}
