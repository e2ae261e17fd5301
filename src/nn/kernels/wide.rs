//! Winograd convolution of many channels.
//!
//! The same algebra as [`super::winograd`], with the same bits. There a work unit reads the transformed weights of
//! all channels, 36 numbers for nine: for hundreds of channels they outgrow the second-level cache, and for the
//! few tiles of a small picture reading them takes longer than the products. Here all tiles of a band are
//! transformed first. Then a task takes them to some output channels: it transforms the weights from one block
//! of input channels, and adds the products to sums that stay in its cache, block after block. So the weights
//! are kept as they are, nine numbers and not 36 each way.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::buffer::{Lines, Output, Shared, with_scratch};
use super::filter::Taps;
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::matmul::{Onto, Product};
use super::strip::{Finish, Images, POINTS, SKEW, Source, Strip};
use super::transform;

/// Input channels of a block. The order of a sum does not depend on it.
const DEPTH: usize = 64;
/// Output channels of a task, where there are enough tasks for all threads. With twice as many the tiles are read half
/// as often, but the tasks are too few to keep all threads busy to the end: 8 % slower.
const CHANNELS: usize = 32;
/// Most tiles of a band. Its sums, 36 numbers for each of them and each channel of a task, and the weights of a
/// block stay in a second-level cache of 1 MiB.
const TILES: usize = 128;
/// Tiles that are transformed in one task, about.
const TOGETHER: usize = 16;
/// What the transformed tiles of the bands that are worked on together may take.
const SECTION_BYTES: usize = 32 << 20;

/// Tiles in units that stay together (rows of tiles, or single ones), on their way through a convolution.
pub(super) struct Walk<'a> {
    pub isa: Isa,
    pub taps: Taps<'a>,
    pub units: usize,
    /// Tiles in a unit.
    pub unit_tiles: usize,
}

impl Walk<'_> {
    /// Calls `read` to transform all units, and `finish` with the sums of each band and some output channels
    /// and with the units of the band. Whether `finish` was always content.
    pub(super) fn run(
        &self,
        read: impl Fn(Section, Range<usize>) + Sync,
        finish: impl Fn(Sums<'_>, Range<usize>) -> bool + Sync,
    ) -> bool {
        let Self { isa, taps, units, unit_tiles } = *self;
        let bands = units.div_ceil((TILES / unit_tiles).max(1));
        let band_units = units.div_ceil(bands);
        let band = Band { tiles: band_units * unit_tiles, padded: taps.inputs.next_multiple_of(isa.lanes()) };
        let together = (SECTION_BYTES / 4 / band.floats()).clamp(1, bands);
        let mut tiles = Lines::new(together * band.floats());
        let to = tiles.pointer();
        let (all, width) = (taps.outputs.div_ceil(isa.lanes()), self.panels(together));
        let content = AtomicBool::new(true);
        for first in (0..units).step_by(together * band_units) {
            let section = Section { band, band_units, unit_tiles, first, to };
            let some = first..(first + together * band_units).min(units);
            let step = (TOGETHER / unit_tiles).max(1);
            some.clone().into_par_iter().step_by(step).for_each(|unit| {
                read(section, unit..(unit + step).min(some.end));
            });
            let groups = all.div_ceil(width);
            (0..some.len().div_ceil(band_units) * groups).into_par_iter().for_each(|task| {
                let start = first + task / groups * band_units;
                let own = start..(start + band_units).min(some.end);
                let panels = task % groups * width..((task % groups + 1) * width).min(all);
                let sums = Sums { section, taps, band: task / groups, tiles: own.len() * unit_tiles, panels };
                if !finish(sums, own) {
                    content.store(false, Ordering::Relaxed);
                }
            });
        }
        content.into_inner()
    }

    /// Vectors of outputs that a task takes: fewer than fit its cache where there would be too few tasks.
    fn panels(&self, bands: usize) -> usize {
        let panels = self.taps.outputs.div_ceil(self.isa.lanes());
        let share = panels * bands / rayon::current_num_threads();
        // Products take vectors in pairs.
        (share / 2 * 2).clamp(2, CHANNELS / self.isa.lanes())
    }
}

/// Where the transformed tiles of a band lie: `[blocks of channels][36 points][tiles][DEPTH]`, so that a product
/// reads them from one end to the other.
#[derive(Clone, Copy)]
struct Band {
    /// Most tiles in a band.
    tiles: usize,
    /// Input channels in whole vectors.
    padded: usize,
}

impl Band {
    /// Floats from one point to the next.
    fn point(self) -> usize {
        self.tiles * DEPTH + SKEW
    }

    fn floats(self) -> usize {
        self.padded.div_ceil(DEPTH) * POINTS * self.point()
    }
}

/// The bands that are worked on together.
#[derive(Clone, Copy)]
pub(super) struct Section {
    band: Band,
    band_units: usize,
    unit_tiles: usize,
    /// Its first unit.
    first: usize,
    to: Shared,
}

impl Section {
    /// Floats from one of the 36 numbers of a tile to the next.
    pub(super) fn point(&self) -> usize {
        self.band.point()
    }

    /// Where the first number of a tile of a unit goes, for the channels of one vector.
    ///
    /// # Safety
    /// The section has the unit, and the unit the tile; there is such a channel.
    #[inline(always)]
    pub(super) unsafe fn place(&self, unit: usize, tile: usize, channel: usize) -> *mut f32 {
        let (band, unit) = ((unit - self.first) / self.band_units, (unit - self.first) % self.band_units);
        let tile = unit * self.unit_tiles + tile;
        let block = channel / DEPTH * POINTS * self.band.point();
        // SAFETY: inside the band, and so inside the section.
        unsafe { self.to.at(band * self.band.floats() + block + tile * DEPTH + channel % DEPTH) }
    }
}

/// The products of a band of tiles with the weights to some vectors of outputs.
pub(super) struct Sums<'a> {
    section: Section,
    taps: Taps<'a>,
    /// Which band of the section.
    band: usize,
    /// Tiles that it has.
    pub tiles: usize,
    /// Vectors of outputs.
    pub panels: Range<usize>,
}

impl Sums<'_> {
    /// Floats from one of the 36 matrices `[panels][tiles][N]` to the next.
    pub(super) fn point(&self, lanes: usize) -> usize {
        self.panels.len() * self.tiles * lanes + SKEW
    }

    fn filter_point(&self, lanes: usize) -> usize {
        self.panels.len() * DEPTH * lanes + SKEW
    }

    /// Floats that [`Sums::compute`] writes.
    pub(super) fn scratch(&self, lanes: usize) -> usize {
        POINTS * (self.point(lanes) + self.filter_point(lanes))
    }

    /// Fills the 36 matrices at `scratch`.
    ///
    /// # Safety
    /// The processor has the instruction set; the tiles of the band are complete; there is room.
    #[inline(always)]
    pub(super) unsafe fn compute<L: Lanes>(&self, scratch: *mut f32) {
        let (point, filter_point) = (self.point(L::N), self.filter_point(L::N));
        let unit = self.section.first + self.band * self.section.band_units;
        // SAFETY: the places are those of the band and inside of the scratch.
        unsafe {
            let filters = scratch.add(POINTS * point);
            for first in (0..self.taps.inputs).step_by(DEPTH) {
                let inputs = first..(first + DEPTH).min(self.taps.inputs);
                let depth = inputs.len();
                for (index, panel) in self.panels.clone().enumerate() {
                    let to = filters.add(index * depth * L::N);
                    self.taps.transform::<L>(panel, inputs.clone(), to, filter_point);
                }
                let product = Product {
                    rows: self.tiles,
                    depth,
                    panels: self.panels.len(),
                    a_row: DEPTH,
                    a_depth: 1,
                    onto: if first > 0 { Onto::Start } else { Onto::Nothing },
                };
                let from = self.section.place(unit, 0, first);
                for at in 0..POINTS {
                    product.run::<L>(
                        from.add(at * self.section.point()),
                        filters.add(at * filter_point),
                        scratch.add(at * point),
                    );
                }
            }
        }
    }
}

/// The convolution of `[N, inputs, H, W]`: `[N, outputs, H, W]`, or nothing if a sum of it is not finite.
pub(super) fn convolve_wide(
    isa: Isa,
    input: Source<'_>,
    images: Images,
    taps: Taps<'_>,
    finish: Finish<'_>,
) -> Option<Vec<f32>> {
    let across = images.tiles_across();
    let floats = images.count * taps.outputs * images.plane();
    let mut output = Output::new(floats);
    let to = output.pointer();
    let padded = images.channels.next_multiple_of(isa.lanes());
    let walk = Walk { isa, taps, units: images.tile_rows(), unit_tiles: across };
    let finite = walk.run(
        |section, rows| {
            with_scratch(6 * (across * 4 + 2) * padded, |start| {
                let strip = Strip { images, halo: 1, padded, first: 0, start };
                dispatch(isa, Read { input, strip, section, rows });
            });
        },
        |sums, rows| {
            let images = Images { channels: taps.outputs, ..images };
            let padded = sums.panels.len() * isa.lanes();
            let strip = 4 * across * 4 * padded;
            with_scratch(sums.scratch(isa.lanes()) + strip, |scratch| {
                dispatch(isa, Write { sums, images, finish, rows, scratch, to })
            })
        },
    );
    // SAFETY: all rows of all planes have been written.
    finite.then(|| unsafe { output.finish(floats) })
}

/// Transforms some rows of tiles.
struct Read<'a> {
    input: Source<'a>,
    strip: Strip,
    section: Section,
    rows: Range<usize>,
}

impl Kernel for Read<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for row in self.rows {
            // SAFETY: a row of tiles is written by one thread, to its own places.
            unsafe {
                self.strip.read::<L>(self.input, row);
                self.strip.transform::<L, transform::Input, 6>(self.section.point(), |t, channel| {
                    self.section.place(row, t, channel)
                });
            }
        }
    }
}

/// Takes a band of tiles to some output channels.
struct Write<'a> {
    sums: Sums<'a>,
    images: Images,
    finish: Finish<'a>,
    rows: Range<usize>,
    scratch: *mut f32,
    to: Shared,
}

impl Kernel for Write<'_> {
    /// Whether all results are finite.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> bool {
        let Self { sums, images, scratch, .. } = self;
        let (point, padded) = (sums.point(L::N), sums.panels.len() * L::N);
        // SAFETY: scratch and places are those of this task.
        unsafe {
            sums.compute::<L>(scratch);
            let start = scratch.add(sums.scratch(L::N));
            let target = Strip { images, halo: 0, padded, first: sums.panels.start * L::N, start };
            target.write_products::<L>(self.to, self.rows, (scratch, point), self.finish)
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::super::filter::Filter;
    use super::super::winograd::convolve_narrow;
    use super::*;
    use crate::Seed;

    fn random(floats: usize, seed: u64) -> Vec<f32> {
        let mut rng = Seed::new(seed).rng();
        (0..floats).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    #[test]
    fn both_ways_give_the_same_bits_whatever_the_number_of_threads() {
        // Blocks and tasks that are not full, cut-off tiles; many bands; more bands than are worked on together.
        let shapes = [(3, 70, [9, 13], 37), (2, 130, [30, 31], 90), (24, 65, [36, 36], 5), (1, 1, [1, 1], 1)];
        for (count, channels, [height, width], outputs) in shapes {
            let images = Images { count, channels, height, width };
            let (input, gate) = (random(images.floats(), 1), random(images.floats(), 2));
            let (weights, bias) = (random(outputs * channels * 9, 3), random(outputs, 4));
            let finish = Finish { bias: Some(&bias), relu: true };
            for isa in Isa::available() {
                let forward = Taps::forward(&weights, outputs, channels);
                let turned = Taps::backward(&weights, channels, outputs);
                let gated = Source { values: &input, gate: Some(&gate) };
                for (source, taps, finish) in
                    [(Source::plain(&input), forward, finish), (gated, turned, Finish::default())]
                {
                    let expected = convolve_narrow(source, images, &Filter::new(isa, taps), finish);
                    assert!(expected.is_some());
                    for threads in [1, 3] {
                        let pool =
                            rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                        let found = pool.install(|| convolve_wide(isa, source, images, taps, finish));
                        assert!(found == expected, "{isa:?} {images:?} {threads}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_value_that_is_not_finite_gives_no_result() {
        let images = Images { count: 2, channels: 66, height: 8, width: 8 };
        let weights = random(20 * 66 * 9, 1);
        for isa in Isa::available() {
            for (bad, at) in [(f32::NAN, 0), (f32::INFINITY, 66 * 64 + 65 * 64 + 63)] {
                let mut input = random(images.floats(), 2);
                input[at] = bad;
                let taps = Taps::forward(&weights, 20, 66);
                let found = convolve_wide(isa, Source::plain(&input), images, taps, Finish::default());
                assert!(found.is_none(), "{isa:?} {bad}");
            }
        }
    }
}
