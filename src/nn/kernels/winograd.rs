//! Convolution of 3x3, stride 1 and padding 1, by Winograd's F(4x4, 3x3), and its gradients.
//!
//! The image is cut into tiles of 4x4 outputs. A work unit takes some rows of tiles through the whole
//! chain while they are in the cache: their pixels are turned channels-last into a strip, each 6x6 tile of
//! the strip is transformed into 36 numbers a channel, 36 matrix products take them from input to output
//! channels, and the way back is the same in reverse. Vectors run over channels throughout, so that a
//! picture may have any size. The gradient with respect to the input is the same convolution with the
//! filter turned round; [`super::weight_gradient()`] has a chain of its own (see [`super::transform`]).
//!
//! The relative error is about 1e-5, ten times that of a direct sum. A NaN or an infinity would spread over
//! its tile: [`convolve`] then gives no result, and the caller takes the slow and exact way.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::buffer::{Lines, Output, Shared, with_scratch};
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::matmul::Product;
use super::strip::{Finish, Images, POINTS, SKEW, Source, Strip, Unit};
use super::transform;

/// The transformed weights of a convolution: 36 matrices `[panels of output channels][inputs][N]`.
pub(in crate::nn) struct Filter {
    pub(super) isa: Isa,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) data: Lines,
}

impl Filter {
    /// The filter of a convolution with weights `[outputs, inputs, 3, 3]`.
    pub(in crate::nn) fn new(isa: Isa, weights: &[f32], outputs: usize, inputs: usize) -> Self {
        Self::transform(isa, weights, [outputs, inputs], [inputs * 9, 9], false)
    }

    /// The filter that takes the gradient of that convolution from its output to its input.
    pub(in crate::nn) fn backward(isa: Isa, weights: &[f32], outputs: usize, inputs: usize) -> Self {
        Self::transform(isa, weights, [inputs, outputs], [9, inputs * 9], true)
    }

    /// `stride` leads from one output to the next, and from one input to the next.
    fn transform(
        isa: Isa,
        weights: &[f32],
        [outputs, inputs]: [usize; 2],
        stride: [usize; 2],
        turned: bool,
    ) -> Self {
        assert_eq!(weights.len(), outputs * inputs * 9);
        let panels = outputs.div_ceil(isa.lanes());
        let point = inputs * panels * isa.lanes() + SKEW;
        let mut data = Lines::new(POINTS * point);
        let to = data.pointer();
        (0..panels).into_par_iter().for_each(|panel| {
            dispatch(isa, FilterPanel { weights, outputs, inputs, stride, turned, panel, point, to });
        });
        Self { isa, inputs, outputs, data }
    }

    /// Floats from one of the 36 matrices to the next.
    pub(super) fn point(&self) -> usize {
        let lanes = self.isa.lanes();
        self.inputs * self.outputs.next_multiple_of(lanes) + SKEW
    }
}

/// The weights of one panel of output channels.
struct FilterPanel<'a> {
    weights: &'a [f32],
    outputs: usize,
    inputs: usize,
    stride: [usize; 2],
    turned: bool,
    panel: usize,
    point: usize,
    to: Shared,
}

impl Kernel for FilterPanel<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let first = self.panel * L::N;
        let mut nine = [0.0_f32; 9 * 16];
        let lanes = L::N.min(self.outputs - first);
        for input in 0..self.inputs {
            let start = first * self.stride[0] + input * self.stride[1];
            // SAFETY: the lanes are outputs that there are; a panel is written by one thread only, to its own
            // part of each matrix.
            unsafe {
                let from = self.weights.as_ptr().add(start);
                let nine = nine.as_mut_ptr();
                transform::read_filters::<L>(from, (self.stride[0], lanes), self.turned, nine);
                let to = self.to.at((self.panel * self.inputs + input) * L::N);
                let strides = (6 * self.point, self.point);
                transform::square::<L, transform::Filter, 3, 6>(nine, (3 * L::N, L::N), to, strides);
            }
        }
    }
}

/// The convolution of `[N, inputs, H, W]`: `[N, outputs, H, W]`, or nothing if a sum of it is not finite.
pub(in crate::nn) fn convolve(
    input: Source<'_>,
    images: Images,
    filter: &Filter,
    finish: Finish<'_>,
) -> Option<Vec<f32>> {
    input.check(images.floats());
    assert_eq!(images.channels, filter.inputs);
    assert!(finish.bias.is_none_or(|bias| bias.len() == filter.outputs));
    let unit = Unit::new(filter.isa, images, [filter.inputs, filter.outputs])
        .balanced(images, rayon::current_num_threads());
    let floats = images.count * filter.outputs * images.plane();
    let mut output = Output::new(floats);
    let (to, finite) = (output.pointer(), AtomicBool::new(true));
    (0..unit.count(images)).into_par_iter().for_each(|index| {
        with_scratch(unit.scratch(images), |scratch| {
            let rows = unit.range(images, index);
            let kernel = ForwardUnit { input, images, filter, finish, unit, rows, scratch, to };
            if !dispatch(filter.isa, kernel) {
                finite.store(false, Ordering::Relaxed);
            }
        });
    });
    // SAFETY: the units together write every row of every plane.
    finite.into_inner().then(|| unsafe { output.finish(floats) })
}

/// Some rows of tiles of a convolution.
struct ForwardUnit<'a> {
    input: Source<'a>,
    images: Images,
    filter: &'a Filter,
    finish: Finish<'a>,
    unit: Unit,
    rows: Range<usize>,
    scratch: *mut f32,
    to: Shared,
}

impl Kernel for ForwardUnit<'_> {
    /// Whether all results are finite.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> bool {
        let (images, unit, filter) = (self.images, self.unit, self.filter);
        let across = images.tiles_across();
        let [inputs, outputs] = unit.padded;
        let (in_point, out_point) = (unit.point(images, 0), unit.point(images, 1));
        let product = Product {
            rows: self.rows.len() * across,
            depth: filter.inputs,
            panels: outputs / L::N,
            a_row: inputs,
            a_depth: 1,
            accumulate: false,
        };
        // SAFETY: `Unit::scratch` sums what is carved out here, and all offsets stay inside their part. The
        // filter has been made for the same instruction set, hence with the same vectors.
        unsafe {
            let tiles = self.scratch;
            let products = tiles.add(POINTS * in_point);
            let strip = products.add(POINTS * out_point);
            let source = Strip { images, halo: 1, padded: inputs, start: strip };
            for row in self.rows.clone() {
                source.read::<L>(self.input, row);
                let to = tiles.add((row - self.rows.start) * across * inputs);
                source.transform::<L, transform::Input, 6>(to, in_point, (inputs, L::N));
            }
            let filters = filter.data.as_ptr();
            for point in 0..POINTS {
                product.run::<L>(
                    tiles.add(point * in_point),
                    filters.add(point * filter.point()),
                    products.add(point * out_point),
                );
            }
            let images = Images { channels: filter.outputs, ..images };
            let target = Strip { images, halo: 0, padded: outputs, start: strip };
            let mut not_finite = L::splat(0.0);
            for row in self.rows.clone() {
                for tile in 0..across {
                    for panel in 0..product.panels {
                        let place = (panel * product.rows + (row - self.rows.start) * across + tile) * L::N;
                        transform::square::<L, transform::Output, 6, 4>(
                            products.add(place),
                            (6 * out_point, out_point),
                            strip.add(tile * 4 * outputs + panel * L::N),
                            (target.pitch(), outputs),
                        );
                    }
                }
                not_finite = target.write::<L>(self.to, row, self.finish, not_finite);
            }
            let mut lanes = [0.0_f32; 16];
            not_finite.store(lanes.as_mut_ptr());
            lanes.iter().all(|lane| *lane == 0.0)
        }
    }
}
