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
use super::matmul::{Onto, Product};
use super::strip::{Images, POINTS, SKEW, Source, Strip};
use super::transform;

/// Tiles in one product: one panel of this depth on the left and three on the right fill half of a first-level
/// cache of 48 KiB.
const DEPTH: usize = 128;
/// Channels of one task, inputs and outputs: whole panels of all sets. The larger a task, the less often tiles
/// are read; its sums, 36 numbers for each pair, have to stay in the second-level cache.
const CHANNELS: [usize; 2] = [64, 96];
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
    let parts = [0, 1].map(|side| padded[side].div_ceil(CHANNELS[side]));
    (0..parts[0] * parts[1]).into_par_iter().for_each(|index| {
        let at = [index % parts[0], index / parts[0]];
        let [inputs, outputs] = [0, 1].map(|side| {
            let first = at[side] * CHANNELS[side];
            first / lanes..(first + CHANNELS[side]).min(padded[side]) / lanes
        });
        let sums = inputs.len() * outputs.len() * lanes * lanes + SKEW;
        with_scratch(POINTS * sums, |sums| {
            dispatch(isa, Weights { layout, from: to, inputs, outputs, sums, target });
        });
    });
    // SAFETY: the tasks together write all weights.
    unsafe { result.finish(floats) }
}

/// Where the transformed tiles are: for each point `[blocks of tiles][panels of channels][tiles][N]`, inputs
/// on the left and outputs on the right. A product then reads both from one end to the other.
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
        self.padded.map(|padded| self.tiles * padded + SKEW)
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
        let source = Strip { images, halo: 1, padded: inputs, first: 0, start: self.strip };
        let out_images = Images { channels: outputs, ..images };
        let target = Strip { images: out_images, halo: 0, padded, first: 0, start: self.strip };
        let points = self.layout.points();
        for row in self.rows.clone() {
            let tile = row * images.tiles_across();
            let first = tile / block * block;
            let depth = self.layout.depth(first);
            // SAFETY: a row of tiles is written by one thread, to its own places in the layout.
            unsafe {
                source.read::<L>(self.input, row);
                source.transform::<L, transform::Input, 6>(points[0], |t, channel| {
                    left.at(first * inputs + depth * channel + (tile - first + t) * L::N)
                });
                target.read::<L>(self.gradient, row);
                target.transform::<L, transform::Gradient, 4>(points[1], |t, channel| {
                    right.at(first * padded + depth * channel + (tile - first + t) * L::N)
                });
            }
        }
    }
}

/// The weights from some panels of inputs to some of outputs.
struct Weights {
    layout: Layout,
    from: [Shared; 2],
    inputs: Range<usize>,
    outputs: Range<usize>,
    /// Room for 36 matrices `[panels of inputs][panels of outputs][N][N]`.
    sums: *mut f32,
    target: Shared,
}

impl Kernel for Weights {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let point = self.inputs.len() * self.outputs.len() * L::N * L::N + SKEW;
        // SAFETY: the sums have been lent for this task, and each weight is written by one task.
        unsafe {
            self.multiply::<L>(point);
            self.finish::<L>(point);
        }
    }
}

impl Weights {
    /// Fills the sums, whose matrices are `point` floats apart.
    ///
    /// # Safety
    /// The processor has the instruction set, and the tiles are complete.
    #[inline(always)]
    unsafe fn multiply<L: Lanes>(&self, point: usize) {
        let Layout { padded, tiles, block, .. } = self.layout;
        let points = self.layout.points();
        for at in 0..POINTS {
            for first in (0..tiles).step_by(block) {
                let depth = self.layout.depth(first);
                let product = Product {
                    rows: L::N,
                    depth,
                    panels: 0,
                    a_row: 1,
                    a_depth: L::N,
                    onto: if first > 0 { Onto::Sum } else { Onto::Nothing },
                };
                let place = |side: usize, panel: usize| {
                    at * points[side] + first * padded[side] + panel * depth * L::N
                };
                for from in (0..self.outputs.len()).step_by(3) {
                    let product = Product { panels: 3.min(self.outputs.len() - from), ..product };
                    for input in 0..self.inputs.len() {
                        // SAFETY: the offsets are those of the layout.
                        unsafe {
                            let left = self.from[0].at(place(0, self.inputs.start + input));
                            let right = self.from[1].at(place(1, self.outputs.start + from));
                            let sums = (input * self.outputs.len() + from) * L::N * L::N;
                            product.run_square::<L>(left, right, self.sums.add(at * point + sums));
                        }
                    }
                }
            }
        }
    }

    /// Takes the sums to 3x3 weights.
    ///
    /// # Safety
    /// The processor has the instruction set, and the sums are filled.
    #[inline(always)]
    unsafe fn finish<L: Lanes>(&self, point: usize) {
        let Layout { images, outputs, .. } = self.layout;
        let mut nine = [0.0_f32; 9 * 16];
        for (at, panel) in self.outputs.clone().enumerate() {
            let first = panel * L::N;
            for (row, channel) in (self.inputs.start * L::N..self.inputs.end * L::N).enumerate() {
                if channel >= images.channels {
                    break;
                }
                let place = (row / L::N * self.outputs.len() + at) * L::N + row % L::N;
                // SAFETY: the matrices lie `point` apart, and the lanes that are written have outputs.
                unsafe {
                    transform::square::<L, transform::FilterGradient, 6, 3>(
                        self.sums.add(place * L::N),
                        (6 * point, point),
                        nine.as_mut_ptr(),
                        (3 * L::N, L::N),
                    );
                    let to = self.target.at((first * images.channels + channel) * 9);
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
