//! The gradient of a Winograd convolution with respect to its weights.
//!
//! `G^T [sum over tiles (B^T d B) * (A e A^T)] G`: the sum over tiles is 36 matrix products with the tiles
//! as the inner dimension. The batch is cut into a number of parts that depends on nothing but the shape,
//! each part sums its tiles in order, and the parts are added in order: so the result does not depend on
//! how many threads there are.
#![allow(unsafe_code)]

use rayon::prelude::*;

use super::buffer::{Line, Output, Shared, with_scratch};
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::matmul::{Onto, Product};
use super::strip::{Images, POINTS, SKEW, Source, Strip, Unit};
use super::transform;
use super::wide_gradient::wide_weight_gradient;

/// What the sums of all parts together should take.
const PARTS_BYTES: usize = 8 << 20;
/// Fewest and most parts.
const PARTS: (usize, usize) = (4, 16);

/// Where the transformed tiles are fewer than this many times the transformed weights they are all made
/// first (see [`super::wide_gradient`]). Measured, the two ways cost the same between 4 and 16 times.
const WIDE: usize = 6;

/// The gradient `[outputs, inputs, 3, 3]` from the input `[N, inputs, H, W]` and the gradient of the output
/// `[N, outputs, H, W]`.
pub(in crate::nn) fn weight_gradient(
    isa: Isa,
    input: &[f32],
    images: Images,
    gradient: Source<'_>,
    outputs: usize,
) -> Vec<f32> {
    let inputs = images.channels;
    assert_eq!(input.len(), images.floats());
    gradient.check(images.count * outputs * images.plane());
    let tiles = images.tile_rows() * images.tiles_across();
    if tiles * (inputs + outputs) < WIDE * inputs * outputs {
        return wide_weight_gradient(isa, input, images, gradient, outputs);
    }
    let unit = Unit::new(isa, images, [inputs, outputs]);
    let point = inputs * unit.padded[1] + SKEW;
    let units = unit.count(images);
    let parts = (PARTS_BYTES / (POINTS * point * 4)).clamp(PARTS.0, PARTS.1).min(units);
    let mut sums = Line::zeros(parts * POINTS * point);
    let start = Shared::new(sums.as_mut_ptr().cast());
    (0..parts).into_par_iter().for_each(|part| {
        with_scratch(unit.scratch(images), |scratch| {
            for index in part * units / parts..(part + 1) * units / parts {
                let rows = unit.range(images, index);
                let part = part * POINTS * point;
                let sums = (start, part, point);
                dispatch(isa, GradientUnit { input, images, gradient, outputs, unit, rows, scratch, sums });
            }
        });
    });
    let floats = outputs * inputs * 9;
    let mut result = Output::new(floats);
    let to = result.pointer();
    (0..unit.padded[1] / isa.lanes()).into_par_iter().for_each(|panel| {
        dispatch(isa, Finish { sums: start, parts, point, inputs, outputs, panel, to });
    });
    // SAFETY: the panels together write all weights of all outputs.
    unsafe { result.finish(floats) }
}

/// Adds some rows of tiles to the sums of a part.
struct GradientUnit<'a> {
    input: &'a [f32],
    images: Images,
    gradient: Source<'a>,
    outputs: usize,
    unit: Unit,
    rows: std::ops::Range<usize>,
    scratch: *mut f32,
    /// Where the sums are: all, offset of the part, and distance of its 36 matrices
    /// `[panels of outputs][inputs][N]`.
    sums: (Shared, usize, usize),
}

impl Kernel for GradientUnit<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (images, unit) = (self.images, self.unit);
        let across = images.tiles_across();
        let [inputs, outputs] = unit.padded;
        let (in_point, out_point) = (unit.point(images, 0), unit.point(images, 1));
        let tiles = self.rows.len() * across;
        let product = Product {
            rows: images.channels,
            depth: tiles,
            panels: outputs / L::N,
            a_row: 1,
            a_depth: inputs,
            onto: Onto::Sum,
        };
        let (sums, part, sum_point) = self.sums;
        // SAFETY: `Unit::scratch` sums what is carved out here, all offsets stay inside their part, and the
        // sums of a part belong to one thread.
        unsafe {
            let left = self.scratch;
            let right = left.add(POINTS * in_point);
            let strip = right.add(POINTS * out_point);
            let source = Strip { images, halo: 1, padded: inputs, first: 0, start: strip };
            let out_images = Images { channels: self.outputs, ..images };
            let target = Strip { images: out_images, halo: 0, padded: outputs, first: 0, start: strip };
            for row in self.rows.clone() {
                let tile = (row - self.rows.start) * across;
                source.read::<L>(Source::plain(self.input), row);
                source.transform::<L, transform::Input, 6>(in_point, |t, channel| {
                    left.add((tile + t) * inputs + channel)
                });
                target.read::<L>(self.gradient, row);
                target.transform::<L, transform::Gradient, 4>(out_point, |t, channel| {
                    right.add(tiles * channel + (tile + t) * L::N)
                });
            }
            for point in 0..POINTS {
                product.run::<L>(
                    left.add(point * in_point),
                    right.add(point * out_point),
                    sums.at(part + point * sum_point),
                );
            }
        }
    }
}

/// Adds the parts and transforms them back to 3x3, for one panel of outputs.
struct Finish {
    sums: Shared,
    parts: usize,
    point: usize,
    inputs: usize,
    outputs: usize,
    panel: usize,
    to: Shared,
}

impl Kernel for Finish {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let mut total = [0.0_f32; POINTS * 16];
        let mut nine = [0.0_f32; 9 * 16];
        let first = self.panel * L::N;
        for input in 0..self.inputs {
            let place = (self.panel * self.inputs + input) * L::N;
            // SAFETY: the sums are complete and only read; an output's weights are written by one thread.
            unsafe {
                for point in 0..POINTS {
                    let mut sum = L::splat(0.0);
                    for part in 0..self.parts {
                        sum = sum.add(L::load(self.sums.at((part * POINTS + point) * self.point + place)));
                    }
                    sum.store(total.as_mut_ptr().add(point * L::N));
                }
                transform::square::<L, transform::FilterGradient, 6, 3>(
                    total.as_ptr(),
                    (6 * L::N, L::N),
                    nine.as_mut_ptr(),
                    (3 * L::N, L::N),
                );
                let to = self.to.at((first * self.inputs + input) * 9);
                let lanes = L::N.min(self.outputs - first);
                transform::write_filters::<L>(nine.as_ptr(), to, (self.inputs * 9, lanes));
            }
        }
    }
}
