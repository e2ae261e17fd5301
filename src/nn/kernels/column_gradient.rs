//! The gradient of a convolution by columns with respect to its weights (see [`super::im2col`]).
//!
//! The pixels of the output, over all images, are the inner dimension of one product: the gathered pixels
//! of some taps on one side, the gradient on the other. The gradient is turned so that vectors run over
//! output channels, once for all; each task then computes the weights of its own taps, adding up the pixels
//! in their order.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;

use super::buffer::{Output, Shared, recycle, with_scratch};
use super::im2col::{DEPTH, Window, gather};
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::matmul::{Onto, Product};
use super::strip::{SKEW, Source};

/// What the sums of one task may take of the second-level cache.
const TASK_BYTES: usize = 1 << 19;

/// Floats between two gathered rows: not a power of two, or they would fall into the same cache lines.
const PITCH: usize = DEPTH + SKEW;

/// The gradient `[outputs, inputs, kernel...]` from the input and the gradient of the output.
pub(in crate::nn) fn weight_gradient_by_columns(
    isa: Isa,
    input: &[f32],
    window: &Window,
    gradient: Source<'_>,
) -> Vec<f32> {
    assert_eq!(input.len(), window.input.floats());
    gradient.check(window.output.floats());
    let outputs = window.output.channels;
    let pixels = window.output.count * window.output.plane();
    let padded = outputs.next_multiple_of(isa.lanes());
    let floats = pixels * padded;
    let mut turned = Output::new(floats);
    let to = turned.pointer();
    (0..pixels.div_ceil(DEPTH)).into_par_iter().for_each(|block| {
        let pixels = block * DEPTH..((block + 1) * DEPTH).min(pixels);
        dispatch(isa, Turn { gradient, window, pixels, padded, to });
    });
    // SAFETY: the blocks together are all pixels.
    let turned = unsafe { turned.finish(floats) };

    let mut result = Output::new(outputs * window.depth());
    let to = result.pointer();
    let channels = channels(window, padded);
    (0..window.input.channels.div_ceil(channels)).into_par_iter().for_each(|index| {
        let channels = index * channels..((index + 1) * channels).min(window.input.channels);
        let rows = channels.len() * window.taps();
        with_scratch(rows * (PITCH + padded), |scratch| {
            dispatch(isa, Unit { input, window, turned: &turned, padded, channels, scratch, to });
        });
    });
    recycle(turned);
    // SAFETY: the tasks together write the weights of all channels.
    unsafe { result.finish(outputs * window.depth()) }
}

/// Input channels of one task. The result does not depend on it.
fn channels(window: &Window, padded: usize) -> usize {
    let fit = TASK_BYTES / (padded * window.taps() * size_of::<f32>());
    let balanced = window.input.channels.div_ceil(2 * rayon::current_num_threads());
    fit.min(balanced).max(1)
}

/// Turns the gradient of some pixels, one block of the inner dimension, to `[panels of outputs][pixels][N]`.
struct Turn<'a> {
    gradient: Source<'a>,
    window: &'a Window,
    pixels: Range<usize>,
    padded: usize,
    to: Shared,
}

impl Kernel for Turn<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let output = self.window.output;
        let plane = output.plane();
        let depth = self.pixels.len();
        // SAFETY: the block is written by one thread only, whole; what is read lies inside the images.
        unsafe {
            let to = self.to.at(self.pixels.start * self.padded);
            for panel in (0..self.padded).step_by(L::N) {
                let lanes = L::N.min(output.channels - panel);
                let mut pixel = self.pixels.start;
                while pixel < self.pixels.end {
                    // A run of pixels of one image.
                    let (image, inside) = (pixel / plane, pixel % plane);
                    let count = L::N.min(plane - inside).min(self.pixels.end - pixel);
                    let start = (image * output.channels + panel) * plane + inside;
                    let to = to.add(panel * depth + (pixel - self.pixels.start) * L::N);
                    let mut square = L::zeros();
                    for lane in 0..lanes {
                        let place = start + lane * plane;
                        square[lane] = L::load_part(self.gradient.values.as_ptr().add(place), count);
                        if let Some(gate) = self.gradient.gate {
                            let gate = L::load_part(gate.as_ptr().add(place), count);
                            square[lane] = square[lane].gate(gate);
                        }
                    }
                    L::transpose(&mut square);
                    for pixel in 0..count {
                        square[pixel].store(to.add(pixel * L::N));
                    }
                    pixel += count;
                }
            }
        }
    }
}

/// The weights of some input channels.
struct Unit<'a> {
    input: &'a [f32],
    window: &'a Window,
    turned: &'a [f32],
    padded: usize,
    channels: Range<usize>,
    /// Room for the gathered rows, and for the sums.
    scratch: *mut f32,
    to: Shared,
}

impl Kernel for Unit<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Window { input, output, .. } = *self.window;
        let mapping = self.window.forward();
        let (taps, pixels) = (self.window.taps(), output.count * output.plane());
        let rows = self.channels.len() * taps;
        let mut distances = vec![0; taps * L::N];
        // SAFETY: the scratch holds the gathered rows and then the sums; distances lie inside the first
        // channel of an image and leave room for the other channels.
        unsafe {
            let (columns, sums) = (self.scratch, self.scratch.add(rows * PITCH));
            for first in (0..pixels).step_by(DEPTH) {
                let depth = DEPTH.min(pixels - first);
                for column in (0..depth).step_by(L::N) {
                    mapping.sources(input, first + column, L::N, &mut distances);
                    for (index, channel) in self.channels.clone().enumerate() {
                        let to = columns.add(index * taps * PITCH + column);
                        let source = Source::plain(self.input);
                        gather::<L>(source, channel * input.plane(), &distances, to, PITCH);
                    }
                }
                let product = Product {
                    rows,
                    depth,
                    panels: self.padded / L::N,
                    a_row: PITCH,
                    a_depth: 1,
                    onto: if first > 0 { Onto::Sum } else { Onto::Nothing },
                };
                product.run::<L>(columns, self.turned.as_ptr().add(first * self.padded), sums);
            }
            self.write::<L>(sums);
        }
    }
}

impl Unit<'_> {
    /// Writes the sums `[panels of outputs][rows][N]` to the weights.
    ///
    /// # Safety
    /// The sums are there; no other thread writes the weights of these channels.
    #[inline(always)]
    unsafe fn write<L: Lanes>(&self, sums: *const f32) {
        let (taps, depth) = (self.window.taps(), self.window.depth());
        let rows = self.channels.len() * taps;
        for output in 0..self.window.output.channels {
            let (panel, lane) = (output / L::N, output % L::N);
            // SAFETY: the caller's promise.
            unsafe {
                let to = self.to.at(output * depth + self.channels.start * taps);
                for row in 0..rows {
                    to.add(row).write(*sums.add((panel * rows + row) * L::N + lane));
                }
            }
        }
    }
}
