//! Layer normalisation of rows and its gradients.
//!
//! A row is summed in a fixed order, in lanes that do not depend on the instruction set; sums over rows are
//! of parts of a fixed size, added in order.
#![allow(unsafe_code)]

use rayon::prelude::*;

use super::buffer::{Output, Shared};
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::norm::{LANES, TASK, join, sum};

/// Scale and shift of each column.
#[derive(Clone, Copy)]
pub(in crate::nn) struct Columns<'a> {
    pub gamma: &'a [f32],
    pub beta: &'a [f32],
}

/// Mean and one over the standard deviation of a row.
#[derive(Clone, Copy, Debug)]
pub(in crate::nn) struct RowStatistics {
    mean: f32,
    precision: f32,
}

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta` row by row, and what the gradient needs of each row.
pub(in crate::nn) fn layer_norm(
    isa: Isa,
    input: &[f32],
    columns: Columns<'_>,
    epsilon: f32,
) -> (Vec<f32>, Vec<RowStatistics>) {
    let width = columns.gamma.len();
    assert_eq!((input.len() % width, columns.beta.len()), (0, width));
    let mut output = Output::new(input.len());
    let to = output.pointer();
    let rows = task_rows(width);
    let statistics = input.par_chunks(rows * width).enumerate().flat_map_iter(|(index, input)| {
        // SAFETY: the rows are inside the room.
        let to = Shared::new(unsafe { to.at(index * rows * width) });
        dispatch(isa, Forward { input, columns, epsilon, to })
    });
    let statistics = statistics.collect();
    // SAFETY: the chunks cover the room, and the kernel writes each of its floats.
    (unsafe { output.finish(input.len()) }, statistics)
}

fn task_rows(width: usize) -> usize {
    TASK.div_ceil(width)
}

struct Forward<'a> {
    input: &'a [f32],
    columns: Columns<'a>,
    epsilon: f32,
    to: Shared,
}

impl Kernel for Forward<'_> {
    type Output = Vec<RowStatistics>;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> Vec<RowStatistics> {
        let width = self.columns.gamma.len();
        let mut found = Vec::with_capacity(self.input.len() / width);
        for (index, row) in self.input.chunks_exact(width).enumerate() {
            let mean = sum(row, |x| x) / width as f32;
            let variance = sum(row, |x| (x - mean) * (x - mean)) / width as f32;
            let precision = 1.0 / (variance + self.epsilon).sqrt();
            found.push(RowStatistics { mean, precision });
            for start in (0..width).step_by(L::N) {
                let count = L::N.min(width - start);
                // SAFETY: `count` floats are left from `start` on in all rows.
                unsafe {
                    let load = |row: &[f32]| L::load_part(row.as_ptr().add(start), count);
                    let normal = load(row).sub(L::splat(mean)).scale(precision);
                    let value = normal.mul_add(load(self.columns.gamma), load(self.columns.beta));
                    value.store_part(self.to.at(index * width + start), count);
                }
            }
        }
        found
    }
}

/// The gradients with respect to the input, if `input_too`, and to scale and shift, if `columns_too`.
pub(in crate::nn) struct Gradients {
    pub input: Option<Vec<f32>>,
    /// Of `gamma` and `beta`.
    pub columns: Option<[Vec<f32>; 2]>,
}

/// The gradients that are asked for: with respect to the input, and to scale and shift.
///
/// With `n` the normalised value and `h = gamma g`, that of the input is
/// `(h - mean(h) - n mean(h n)) / standard deviation`.
pub(in crate::nn) fn layer_norm_gradients(
    isa: Isa,
    gradient: &[f32],
    input: &[f32],
    statistics: &[RowStatistics],
    gamma: &[f32],
    [input_too, columns_too]: [bool; 2],
) -> Gradients {
    let width = gamma.len();
    assert_eq!((gradient.len(), statistics.len() * width), (input.len(), input.len()));
    let mut output = input_too.then(|| Output::new(input.len()));
    let to = output.as_mut().map(Output::pointer);
    let rows = task_rows(width);
    let chunks = gradient.par_chunks(rows * width).zip(input.par_chunks(rows * width));
    let parts = chunks.zip(statistics.par_chunks(rows)).enumerate().map(|(index, part)| {
        let ((gradient, input), statistics) = part;
        // SAFETY: the rows are inside the room.
        let to = to.map(|to| Shared::new(unsafe { to.at(index * rows * width) }));
        dispatch(isa, Backward { gradient, input, statistics, gamma, to, columns_too })
    });
    let parts: Vec<[Vec<f32>; 2]> = parts.collect();
    let columns = columns_too.then(|| {
        let mut sums = [vec![0.0; width], vec![0.0; width]];
        for part in parts {
            for (sum, part) in sums.iter_mut().zip(part) {
                for (sum, value) in sum.iter_mut().zip(part) {
                    *sum += value;
                }
            }
        }
        sums
    });
    // SAFETY: the chunks cover the room, and the kernel writes each of its floats.
    Gradients { input: output.map(|output| unsafe { output.finish(input.len()) }), columns }
}

struct Backward<'a> {
    gradient: &'a [f32],
    input: &'a [f32],
    statistics: &'a [RowStatistics],
    gamma: &'a [f32],
    to: Option<Shared>,
    columns_too: bool,
}

impl Kernel for Backward<'_> {
    type Output = [Vec<f32>; 2];

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> [Vec<f32>; 2] {
        let width = self.gamma.len();
        let sums = if self.columns_too { width } else { 0 };
        let [mut gammas, mut betas] = [vec![0.0_f32; sums], vec![0.0_f32; sums]];
        let rows = self.gradient.chunks_exact(width).zip(self.input.chunks_exact(width));
        for (index, ((gradient, input), own)) in rows.zip(self.statistics).enumerate() {
            let RowStatistics { mean, precision } = *own;
            if self.columns_too {
                for i in 0..width {
                    betas[i] += gradient[i];
                    gammas[i] += gradient[i] * ((input[i] - mean) * precision);
                }
            }
            let Some(to) = self.to else { continue };
            let [shift, slope] = means(gradient, input, self.gamma, *own);
            for start in (0..width).step_by(L::N) {
                let count = L::N.min(width - start);
                // SAFETY: `count` floats are left from `start` on in all rows.
                unsafe {
                    let load = |row: &[f32]| L::load_part(row.as_ptr().add(start), count);
                    let normal = load(input).sub(L::splat(mean)).scale(precision);
                    let rest = load(gradient).mul(load(self.gamma)).sub(L::splat(shift));
                    let value = normal.scaled_add(-slope, rest).scale(precision);
                    value.store_part(to.at(index * width + start), count);
                }
            }
        }
        [gammas, betas]
    }
}

/// The means of `gamma g` and of `gamma g n` over a row, with `n` the normalised value.
#[inline(always)]
fn means(gradient: &[f32], input: &[f32], gamma: &[f32], statistics: RowStatistics) -> [f32; 2] {
    let RowStatistics { mean, precision } = statistics;
    let (mut sums, mut products) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    let (whole_g, rest_g) = gradient.as_chunks::<LANES>();
    let (whole_x, rest_x) = input.as_chunks::<LANES>();
    let (whole_s, rest_s) = gamma.as_chunks::<LANES>();
    for ((g, x), s) in whole_g.iter().zip(whole_x).zip(whole_s) {
        for i in 0..LANES {
            let scaled = g[i] * s[i];
            sums[i] += scaled;
            products[i] += scaled * ((x[i] - mean) * precision);
        }
    }
    for (i, ((g, x), s)) in rest_g.iter().zip(rest_x).zip(rest_s).enumerate() {
        let scaled = g * s;
        sums[i] += scaled;
        products[i] += scaled * ((x - mean) * precision);
    }
    [sums, products].map(|sums| join(sums) / gradient.len() as f32)
}
