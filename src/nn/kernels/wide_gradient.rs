//! The gradient of a Winograd convolution with respect to its weights, for many channels and few tiles.
//!
//! The same algebra as [`super::weight_gradient()`]. There each thread sums products of its own tiles, 36
//! numbers a pair of channels; for hundreds of channels these sums outgrow every cache. Here all tiles are
//! transformed first, and then each task sums the products of all tiles for some pairs of channels and
//! takes them all the way to the 3x3 weights: no sum ever leaves the cache. The tiles are added in their
//! order, so the result does not depend on the number of threads.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;

use super::buffer::{Lines, Output, Shared, with_scratch};
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::matmul::Product;
use super::strip::{Images, POINTS, SKEW, Source, Strip};
use super::transform;

/// Tiles in one product: two panels of this depth fill most of a first-level cache.
const DEPTH: usize = 256;
/// Input channels of one task, a multiple of all block sizes of the product.
const CHANNELS: usize = 112;
/// Rows of tiles that a task transforms.
const ROWS: usize = 4;

/// The gradient `[outputs, inputs, 3, 3]` from the input `[N, inputs, H, W]` and the gradient of the output
/// `[N, outputs, H, W]`.
pub(in crate::nn) fn wide_weight_gradient(
    isa: Isa,
    input: &[f32],
    images: Images,
    gradient: Source<'_>,
    outputs: usize,
) -> Vec<f32> {
    assert_eq!(input.len(), images.floats());
    gradient.check(images.count * outputs * images.plane());
    let lanes = isa.lanes();
    let padded = [images.channels, outputs].map(|count| count.next_multiple_of(lanes));
    let across = images.tiles_across();
    let layout = Layout {
        images,
        outputs,
        padded,
        tiles: images.tile_rows() * across,
        block: (DEPTH / across).max(1) * across,
    };
    let [mut left, mut right] = layout.points().map(|point| Lines::new(POINTS * point));
    let to = [left.pointer(), right.pointer()];
    let strip = 6 * (across * 4 + 2) * padded[0].max(padded[1]);
    (0..images.tile_rows().div_ceil(ROWS)).into_par_iter().for_each(|index| {
        let rows = index * ROWS..((index + 1) * ROWS).min(images.tile_rows());
        with_scratch(strip, |strip| {
            dispatch(isa, Tiles { input: Source::plain(input), gradient, layout, rows, strip, to });
        });
    });
    let floats = outputs * images.channels * 9;
    let mut result = Output::new(floats);
    let target = result.pointer();
    let (blocks, pairs) = (images.channels.div_ceil(CHANNELS), padded[1].div_ceil(2 * lanes));
    (0..blocks * pairs).into_par_iter().for_each(|index| {
        let (block, pair) = (index % blocks, index / blocks);
        let inputs = block * CHANNELS..((block + 1) * CHANNELS).min(images.channels);
        with_scratch(POINTS * (inputs.len() * 2 * lanes + SKEW), |sums| {
            dispatch(isa, Weights { layout, from: to, inputs, panel: 2 * pair, sums, target });
        });
    });
    // SAFETY: the tasks together write all weights.
    unsafe { result.finish(floats) }
}

/// Where the transformed tiles are: for each point `[tiles][pitch]` on the left, `[blocks of
/// tiles][panels of outputs][tiles][N]` on the right.
#[derive(Clone, Copy)]
struct Layout {
    images: Images,
    outputs: usize,
    /// Inputs and outputs, rounded up to whole vectors.
    padded: [usize; 2],
    tiles: usize,
    /// Tiles in one block, whole rows of them.
    block: usize,
}

impl Layout {
    /// Floats from one point to the next, on the left and on the right.
    fn points(&self) -> [usize; 2] {
        [self.tiles * self.pitch() + SKEW, self.tiles * self.padded[1] + SKEW]
    }

    /// Floats from one tile to the next on the left. A product walks down a column: at a distance of a power
    /// of two it would fall into the same few cache lines.
    fn pitch(&self) -> usize {
        self.padded[0] + SKEW
    }

    /// Tiles in the block that begins with a tile.
    fn depth(&self, first: usize) -> usize {
        self.block.min(self.tiles - first)
    }
}

/// Transforms some rows of tiles.
struct Tiles<'a> {
    input: Source<'a>,
    gradient: Source<'a>,
    layout: Layout,
    rows: Range<usize>,
    strip: *mut f32,
    to: [Shared; 2],
}

impl Kernel for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Layout { images, outputs, padded: [inputs, padded], block, .. } = self.layout;
        let [left, right] = self.to;
        let source = Strip { images, halo: 1, padded: inputs, start: self.strip };
        let out_images = Images { channels: outputs, ..images };
        let target = Strip { images: out_images, halo: 0, padded, start: self.strip };
        let (points, pitch) = (self.layout.points(), self.layout.pitch());
        for row in self.rows.clone() {
            let tile = row * images.tiles_across();
            let first = tile / block * block;
            let depth = self.layout.depth(first);
            // SAFETY: a row of tiles is written by one thread, to its own places in the layout.
            unsafe {
                source.read::<L>(self.input, row);
                let to = left.at(tile * pitch);
                source.transform::<L, transform::Input, 6>(to, points[0], (pitch, L::N));
                target.read::<L>(self.gradient, row);
                let to = right.at(first * padded + (tile - first) * L::N);
                target.transform::<L, transform::Gradient, 4>(to, points[1], (L::N, depth * L::N));
            }
        }
    }
}

/// The weights from some inputs to two panels of outputs.
struct Weights {
    layout: Layout,
    from: [Shared; 2],
    inputs: Range<usize>,
    /// The first panel.
    panel: usize,
    /// Room for 36 matrices `[panels][inputs][N]`.
    sums: *mut f32,
    target: Shared,
}

impl Kernel for Weights {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Layout { images, outputs, padded, tiles, block } = self.layout;
        let panels = 2.min(padded[1] / L::N - self.panel);
        let (points, pitch, rows) = (self.layout.points(), self.layout.pitch(), self.inputs.len());
        let sum_point = rows * 2 * L::N + SKEW;
        // SAFETY: the tiles are complete and only read; the offsets are those of the layout; the sums have
        // been lent for this task; each weight is written by one task.
        unsafe {
            for point in 0..POINTS {
                for first in (0..tiles).step_by(block) {
                    let depth = self.layout.depth(first);
                    let product =
                        Product { rows, depth, panels, a_row: 1, a_depth: pitch, accumulate: first > 0 };
                    let left = point * points[0] + first * pitch + self.inputs.start;
                    let right = point * points[1] + first * padded[1] + self.panel * depth * L::N;
                    let sums = self.sums.add(point * sum_point);
                    product.run::<L>(self.from[0].at(left), self.from[1].at(right), sums);
                }
            }
            let mut nine = [0.0_f32; 9 * 16];
            for panel in 0..panels {
                let first = (self.panel + panel) * L::N;
                for row in 0..rows {
                    transform::square::<L, transform::FilterGradient, 6, 3>(
                        self.sums.add((panel * rows + row) * L::N),
                        (6 * sum_point, sum_point),
                        nine.as_mut_ptr(),
                        (3 * L::N, L::N),
                    );
                    let to = self.target.at((first * images.channels + self.inputs.start + row) * 9);
                    let lanes = (images.channels * 9, L::N.min(outputs - first));
                    transform::write_filters::<L>(nine.as_ptr(), to, lanes);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    use crate::Seed;

    fn random(floats: usize, seed: u64) -> Vec<f32> {
        let mut rng = Seed::new(seed).rng();
        (0..floats).map(|_| rng.random_range(-1.0..1.0)).collect()
    }

    #[test]
    fn weights_of_several_blocks_agree_with_direct_sums() {
        // More inputs than a task takes, more tiles than a block, an odd number of panels, cut-off tiles.
        let images = Images { count: 3, channels: 115, height: 39, width: 34 };
        let outputs = 33;
        let input = random(images.floats(), 1);
        let gradient = random(images.count * outputs * images.plane(), 2);
        let direct = |output: usize, channel: usize, ky: usize, kx: usize| {
            let mut sum = 0.0_f64;
            for image in 0..images.count {
                let x = &input[(image * images.channels + channel) * images.plane()..][..images.plane()];
                let g = &gradient[(image * outputs + output) * images.plane()..][..images.plane()];
                for (y, row) in g.chunks_exact(images.width).enumerate() {
                    for (column, g) in row.iter().enumerate() {
                        let (iy, ix) = ((y + ky).wrapping_sub(1), (column + kx).wrapping_sub(1));
                        if iy < images.height && ix < images.width {
                            sum += f64::from(*g) * f64::from(x[iy * images.width + ix]);
                        }
                    }
                }
            }
            sum
        };
        for isa in Isa::available() {
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
                let gradient = Source::plain(&gradient);
                pool.install(|| wide_weight_gradient(isa, &input, images, gradient, outputs))
            };
            let found = run(1);
            assert_eq!(found, run(3), "{isa:?}");
            for (output, channel) in [(0, 0), (31, 5), (32, 114), (15, 111), (16, 112)] {
                for tap in 0..9 {
                    let expected = direct(output, channel, tap / 3, tap % 3);
                    let error = f64::from(found[(output * images.channels + channel) * 9 + tap]) - expected;
                    // The sums are of 4000 products of about 1/3 each.
                    assert!(error.abs() < 5e-3, "{isa:?} {output} {channel} {tap}: {error}");
                }
            }
        }
    }
}
