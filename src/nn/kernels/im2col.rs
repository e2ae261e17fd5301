//! Convolution of any kernel, stride and padding as matrix products, and its gradients.
//!
//! The pixels of the result, over all images, are cut into panels of one vector. For a panel the pixels that
//! each tap of the kernel looks at are gathered channel by channel (`im2col`), some hundred of them at a
//! time so that they stay in the cache, and one product with the weights gives all channels of the panel.
//! The gradient with respect to the input is the same with the roles of input and output changed: the
//! pixels of the input whose coordinates leave the same remainders by the stride are touched by the same
//! taps, so each such class is a result of its own and nothing is added to memory twice. In the gradient with
//! respect to the weights the pixels are the inner dimension.
//!
//! Every sum is taken in an order that depends on nothing but the shape, whatever the number of threads.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::buffer::{Output, Shared, with_scratch};
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::matmul::{Onto, Product};
use super::strip::{Finish, Images, Source};

/// Depth of one product: two panels of this depth fill most of a first-level cache.
pub(super) const DEPTH: usize = 256;
/// What one task keeps in the second-level cache.
const TASK_BYTES: usize = 3 << 18;

/// The shape of a convolution.
#[derive(Clone, Copy, Debug)]
pub(in crate::nn) struct Window {
    /// `[N, inputs, H, W]`.
    pub input: Images,
    /// `[N, outputs, H', W']`.
    pub output: Images,
    /// Height and width.
    pub kernel: [usize; 2],
    /// Pixels from one place of the kernel to the next.
    pub stride: usize,
    /// Rows and columns of zeros around the image.
    pub padding: usize,
}

impl Window {
    /// Floats in the weights of one output.
    pub(super) fn depth(&self) -> usize {
        self.input.channels * self.taps()
    }

    pub(super) fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// From pixels of the output to what the taps see of the input.
    pub(super) fn forward(&self) -> Mapping {
        let at = |k: usize| k as isize - self.padding as isize;
        let [rows, columns] = self.kernel;
        Mapping {
            grid: [self.output.height, self.output.width],
            step: self.stride,
            taps: (0..rows * columns).map(|k| (at(k / columns), at(k % columns))).collect(),
            spread: 1,
            origin: [0, 0],
            patch: None,
        }
    }

    /// From the pixels of the input that leave a remainder by the stride to the pixels of the output that
    /// see them, and the taps through which they do.
    fn backward(&self, [y, x]: [usize; 2]) -> (Mapping, Vec<usize>) {
        let [rows, columns] = self.kernel;
        let stride = self.stride as isize;
        let distance = |remainder: usize, k: usize| (remainder + self.padding) as isize - k as isize;
        let (mut taps, mut kept) = (Vec::new(), Vec::new());
        for k in 0..rows * columns {
            let (dy, dx) = (distance(y, k / columns), distance(x, k % columns));
            if dy % stride == 0 && dx % stride == 0 {
                taps.push((dy / stride, dx / stride));
                kept.push(k);
            }
        }
        let count = |side: usize, remainder: usize| side.saturating_sub(remainder).div_ceil(self.stride);
        let grid = [count(self.input.height, y), count(self.input.width, x)];
        (Mapping { grid, step: 1, taps, spread: self.stride, origin: [y, x], patch: None }, kept)
    }
}

impl Window {
    /// Whether the kernel cuts the image into pieces that share no pixel and leave none.
    fn is_patches(&self) -> bool {
        let Images { height, width, .. } = self.input;
        let whole = height.is_multiple_of(self.stride) && width.is_multiple_of(self.stride);
        self.kernel == [self.stride; 2] && self.padding == 0 && whole
    }

    /// From the pixels of the output to the patches of the input.
    fn patches(&self) -> Mapping {
        Mapping {
            grid: [self.output.height, self.output.width],
            step: 1,
            taps: vec![(0, 0)],
            spread: self.stride,
            origin: [0, 0],
            patch: Some(self.stride),
        }
    }
}

/// Which pixels of a source each pixel of a grid is computed from, and where in the target it is.
pub(super) struct Mapping {
    /// Rows and columns of the grid in each image.
    grid: [usize; 2],
    /// Pixels of the source from one row or column of the grid to the next.
    step: usize,
    /// Distance of each tap, in pixels of the source.
    taps: Vec<(isize, isize)>,
    /// Pixels of the target from one row or column of the grid to the next.
    spread: usize,
    /// The first row and column of the grid in the target.
    origin: [usize; 2],
    /// Side of the square of target pixels that each pixel of the grid gives, from its place in the target
    /// on. Then there is one tap, and the weights are `[channels of the source][channels of the
    /// target][patch][patch]`.
    patch: Option<usize>,
}

impl Mapping {
    /// Pixels of the grid in a batch.
    pub(super) fn pixels(&self, count: usize) -> usize {
        count * self.grid[0] * self.grid[1]
    }

    /// For each tap the distance in the source, within the first channel, of `lanes` pixels of the grid
    /// from number `first` on; -1 outside of the image and beyond the last pixel.
    pub(super) fn sources(&self, from: Images, first: usize, lanes: usize, to: &mut [i32]) {
        to.fill(-1);
        let [rows, columns] = self.grid;
        for pixel in first..(first + lanes).min(self.pixels(from.count)) {
            let (image, y, x) = (pixel / (rows * columns), pixel / columns % rows, pixel % columns);
            for (tap, &(dy, dx)) in self.taps.iter().enumerate() {
                let row = (y * self.step).wrapping_add_signed(dy);
                let column = (x * self.step).wrapping_add_signed(dx);
                if row < from.height && column < from.width {
                    let distance = image * from.channels * from.plane() + row * from.width + column;
                    to[tap * lanes + pixel - first] = distance as i32;
                }
            }
        }
    }

    /// The distances in the target of the same pixels, as many as there are.
    fn targets(&self, to: Images, first: usize, lanes: usize) -> Vec<usize> {
        let [rows, columns] = self.grid;
        let last = (first + lanes).min(self.pixels(to.count));
        let distance = |pixel: usize| {
            let (image, y, x) = (pixel / (rows * columns), pixel / columns % rows, pixel % columns);
            let (row, column) = (self.origin[0] + y * self.spread, self.origin[1] + x * self.spread);
            image * to.channels * to.plane() + row * to.width + column
        };
        (first..last).map(distance).collect()
    }
}

/// The convolution of `[N, inputs, H, W]` with `[outputs, inputs, kernel...]`, or nothing if a sum of it is
/// not finite.
pub(in crate::nn) fn convolve_by_columns(
    isa: Isa,
    input: &[f32],
    window: &Window,
    weights: &[f32],
    finish: Finish<'_>,
) -> Option<Vec<f32>> {
    assert_eq!(input.len(), window.input.floats());
    assert_eq!(weights.len(), window.output.channels * window.depth());
    assert!(finish.bias.is_none_or(|bias| bias.len() == window.output.channels));
    let mut output = Output::new(window.output.floats());
    let mapping = window.forward();
    let (source, from, to) = (Source::plain(input), window.input, window.output);
    let target = output.pointer();
    let sums = Sums { source, from, to, mapping: &mapping, weights, finish, target };
    // SAFETY: the grid is all of the output.
    sums.run(isa).then(|| unsafe { output.finish(window.output.floats()) })
}

/// The gradient with respect to the input, from that of the output; nothing if it is not finite.
pub(in crate::nn) fn input_gradient_by_columns(
    isa: Isa,
    gradient: Source<'_>,
    window: &Window,
    weights: &[f32],
) -> Option<Vec<f32>> {
    gradient.check(window.output.floats());
    assert_eq!(weights.len(), window.output.channels * window.depth());
    let mut output = Output::new(window.input.floats());
    let target = output.pointer();
    let (from, to, finish) = (window.output, window.input, Finish::default());
    let mut finite = true;
    if window.is_patches() {
        // Each pixel of the input belongs to one pixel of the output and one tap.
        let mapping = window.patches();
        let sums = Sums { source: gradient, from, to, mapping: &mapping, weights, finish, target };
        finite &= sums.run(isa);
    } else {
        for remainder in 0..window.stride * window.stride {
            let (mapping, taps) = window.backward([remainder / window.stride, remainder % window.stride]);
            let weights = turned(weights, window, &taps);
            let sums =
                Sums { source: gradient, from, to, mapping: &mapping, weights: &weights, finish, target };
            finite &= sums.run(isa);
        }
    }
    // SAFETY: the grids together are all of the input.
    finite.then(|| unsafe { output.finish(window.input.floats()) })
}

/// The weights `[outputs, inputs, taps]` of some taps as `[inputs, outputs, taps]`.
fn turned(weights: &[f32], window: &Window, taps: &[usize]) -> Vec<f32> {
    let (inputs, outputs) = (window.input.channels, window.output.channels);
    let mut turned = vec![0.0; inputs * outputs * taps.len()];
    if taps.is_empty() {
        return turned;
    }
    turned.par_chunks_mut(outputs * taps.len()).enumerate().for_each(|(input, to)| {
        for (output, to) in to.chunks_exact_mut(taps.len()).enumerate() {
            let from = (output * inputs + input) * window.taps();
            for (tap, to) in taps.iter().zip(to) {
                *to = weights[from + tap];
            }
        }
    });
    turned
}

/// For each channel of the target and each pixel of a grid, a sum over the channels of the source and the
/// taps of the grid.
#[derive(Clone, Copy)]
struct Sums<'a> {
    source: Source<'a>,
    from: Images,
    to: Images,
    mapping: &'a Mapping,
    /// `[channels of the target][channels of the source][taps]`, but see [`Mapping::patch`].
    weights: &'a [f32],
    finish: Finish<'a>,
    target: Shared,
}

impl Sums<'_> {
    /// Whether all sums are finite.
    fn run(self, isa: Isa) -> bool {
        let panels = self.mapping.pixels(self.from.count).div_ceil(isa.lanes());
        let bytes = (self.rows() + DEPTH) * isa.lanes() * size_of::<f32>();
        let balanced = panels.div_ceil(4 * rayon::current_num_threads());
        let task = (TASK_BYTES / bytes).min(balanced).max(2).next_multiple_of(2);
        let finite = AtomicBool::new(true);
        (0..panels.div_ceil(task)).into_par_iter().for_each(|index| {
            let panels = index * task..((index + 1) * task).min(panels);
            with_scratch(self.scratch(isa.lanes(), task), |scratch| {
                if !dispatch(isa, SumsUnit { sums: self, panels, scratch }) {
                    finite.store(false, Ordering::Relaxed);
                }
            });
        });
        finite.into_inner()
    }

    /// Sums for each pixel of the grid.
    fn rows(&self) -> usize {
        self.to.channels * self.mapping.patch.map_or(1, |side| side * side)
    }

    /// Channels of the source in one product.
    fn block(&self) -> usize {
        (DEPTH / self.mapping.taps.len().max(1)).clamp(1, self.from.channels)
    }

    /// Floats of gathered pixels and of sums.
    fn scratch(&self, lanes: usize, panels: usize) -> usize {
        panels * lanes * (self.block() * self.mapping.taps.len() + self.rows())
    }
}

/// Some panels of [`Sums`].
struct SumsUnit<'a> {
    sums: Sums<'a>,
    panels: Range<usize>,
    scratch: *mut f32,
}

impl Kernel for SumsUnit<'_> {
    /// Whether all sums are finite.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> bool {
        let Sums { source, from, mapping, weights, .. } = self.sums;
        let taps = mapping.taps.len();
        let (panels, rows) = (self.panels.len(), self.sums.rows());
        let (a_row, a_depth) = if mapping.patch.is_some() { (1, rows) } else { (from.channels * taps, 1) };
        let mut distances = vec![0; panels * taps * L::N];
        for (panel, to) in self.panels.clone().zip(distances.chunks_exact_mut((taps * L::N).max(1))) {
            mapping.sources(from, panel * L::N, L::N, to);
        }
        let block = self.sums.block();
        // SAFETY: `Sums::scratch` sums what is carved out here; distances lie inside the first channel of
        // an image and leave room for the other channels.
        unsafe {
            let columns = self.scratch;
            let sums = columns.add(panels * L::N * block * taps);
            for first in (0..from.channels).step_by(block) {
                let channels = block.min(from.channels - first);
                let depth = channels * taps;
                for (panel, distances) in distances.chunks_exact((taps * L::N).max(1)).enumerate() {
                    let to = columns.add(panel * depth * L::N);
                    for channel in 0..channels {
                        let plane = (first + channel) * from.plane();
                        let to = to.add(channel * taps * L::N);
                        gather::<L>(source, plane, distances, to, L::N);
                    }
                }
                let product = Product {
                    rows,
                    depth,
                    panels,
                    a_row,
                    a_depth,
                    onto: if first > 0 { Onto::Sum } else { Onto::Nothing },
                };
                product.run::<L>(weights.as_ptr().wrapping_add(first * taps * a_depth), columns, sums);
            }
            self.write::<L>(sums)
        }
    }
}

impl SumsUnit<'_> {
    /// Writes the sums `[panels][rows][N]` to the target.
    ///
    /// # Safety
    /// The processor has the instruction set; the sums are there; no other thread writes these pixels.
    #[inline(always)]
    unsafe fn write<L: Lanes>(&self, sums: *const f32) -> bool {
        let Sums { to, mapping, finish, target, .. } = self.sums;
        let (rows, patch) = (self.sums.rows(), mapping.patch.unwrap_or(1));
        let mut lanes = [0.0_f32; 16];
        // SAFETY: the caller's promise.
        unsafe {
            let mut check = L::splat(0.0);
            for (index, panel) in self.panels.clone().enumerate() {
                let places = mapping.targets(to, panel * L::N, L::N);
                let run = places[places.len() - 1] - places[0] + 1 == places.len();
                for row in 0..rows {
                    let mut value = L::load(sums.add((index * rows + row) * L::N));
                    if let Some(bias) = finish.bias {
                        value = value.add(L::splat(bias[row]));
                    }
                    check = value.scaled_add(0.0, check);
                    let value = if finish.relu { value.gate(value) } else { value };
                    let (channel, inside) = (row / (patch * patch), row % (patch * patch));
                    let start = channel * to.plane() + inside / patch * to.width + inside % patch;
                    if run {
                        value.store_part(target.at(start + places[0]), places.len());
                    } else {
                        value.store(lanes.as_mut_ptr());
                        for (place, lane) in places.iter().zip(lanes) {
                            target.at(start + place).write(lane);
                        }
                    }
                }
            }
            check.store(lanes.as_mut_ptr());
        }
        lanes[..L::N].iter().all(|lane| *lane == 0.0)
    }
}

/// Gathers one panel of each tap from the plane that starts at `plane`; vectors are `pitch` floats apart.
///
/// # Safety
/// The processor has the instruction set; the distances lie inside the source, and there is room at `to`.
#[inline(always)]
pub(super) unsafe fn gather<L: Lanes>(
    source: Source<'_>,
    plane: usize,
    distances: &[i32],
    to: *mut f32,
    pitch: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for (tap, distances) in distances.chunks_exact(L::N).enumerate() {
            let mut value = L::gather(source.values.as_ptr().add(plane), distances.as_ptr());
            if let Some(gate) = source.gate {
                value = value.gate(L::gather(gate.as_ptr().add(plane), distances.as_ptr()));
            }
            value.store(to.add(tap * pitch));
        }
    }
}
