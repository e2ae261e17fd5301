//! Products of many rows with one matrix, and their gradients.
#![allow(unsafe_code)]

use rayon::prelude::*;

use super::buffer::{Output, Shared, recycle, with_scratch};
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::norm::TASK;
use super::row_product::{RowProduct, pack, pack_transposed};

/// Rows that go through the whole matrix together: some blocks of each instruction set.
const GROUP: usize = 56;
/// Rows that the gradient of the matrix adds at a time.
const DEPTH: usize = 192;
/// Panels of its result that one task takes, since each task packs the rows anew.
const PANELS: usize = 16;

/// A matrix `[depth, columns]` as the right factor of products, in panels.
pub(in crate::nn) struct Panels {
    isa: Isa,
    depth: usize,
    columns: usize,
    memory: Vec<f32>,
    /// Where in the memory the first cache line begins.
    start: usize,
}

impl Panels {
    /// Of a matrix `[depth, columns]`.
    pub(in crate::nn) fn new(isa: Isa, matrix: &[f32], depth: usize, columns: usize) -> Self {
        Self::pack(isa, matrix, depth, columns, false)
    }

    /// Of the transpose of a matrix `[columns, depth]`.
    pub(in crate::nn) fn transposed(isa: Isa, matrix: &[f32], depth: usize, columns: usize) -> Self {
        Self::pack(isa, matrix, depth, columns, true)
    }

    fn pack(isa: Isa, matrix: &[f32], depth: usize, columns: usize, transposed: bool) -> Self {
        assert_eq!(matrix.len(), depth * columns);
        let lanes = isa.lanes();
        let panels = columns.div_ceil(lanes);
        let floats = panels * depth * lanes + 16;
        let mut memory = Output::new(floats);
        let room = memory.pointer();
        // SAFETY: the room is larger than a cache line.
        let start = unsafe {
            room.at(0).write_bytes(0, floats.min(16));
            let start = room.at(0).align_offset(64);
            room.at(floats - 16).write_bytes(0, 16);
            start
        };
        (0..panels).into_par_iter().for_each(|panel| {
            // SAFETY: each panel is inside the room and written by one thread.
            let to = Shared::new(unsafe { room.at(start + panel * depth * lanes) });
            dispatch(isa, Pack { matrix, depth, columns, transposed, panel, to });
        });
        // SAFETY: the panels and what is before and behind them have been written.
        Self { isa, depth, columns, memory: unsafe { memory.finish(floats) }, start }
    }

    fn as_ptr(&self) -> *const f32 {
        self.memory[self.start..].as_ptr()
    }
}

impl Drop for Panels {
    fn drop(&mut self) {
        recycle(std::mem::take(&mut self.memory));
    }
}

struct Pack<'a> {
    matrix: &'a [f32],
    depth: usize,
    columns: usize,
    transposed: bool,
    panel: usize,
    to: Shared,
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let first = self.panel * L::N;
        let count = L::N.min(self.columns - first);
        // SAFETY: the columns of the panel are inside the matrix.
        unsafe {
            if self.transposed {
                let from = self.matrix.as_ptr().add(first * self.depth);
                pack_transposed::<L>(from, (self.depth, count, self.depth), self.to.at(0), 0);
            } else {
                let from = self.matrix.as_ptr().add(first);
                pack::<L>(from, (self.depth, count, self.columns), self.to.at(0), 0);
            }
        }
    }
}

/// What is added to a product in the same pass.
#[derive(Clone, Copy, Default)]
pub(in crate::nn) struct Plus<'a> {
    /// To each row.
    pub bias: Option<&'a [f32]>,
    /// As large as the product.
    pub rows: Option<&'a [f32]>,
}

/// Rows `[rows, depth]` times a matrix, plus something.
pub(in crate::nn) fn dense(input: &[f32], matrix: &Panels, plus: Plus<'_>) -> Vec<f32> {
    let rows = input.len() / matrix.depth;
    assert_eq!(rows * matrix.depth, input.len());
    assert!(plus.bias.is_none_or(|bias| bias.len() == matrix.columns));
    assert!(plus.rows.is_none_or(|added| added.len() == rows * matrix.columns));
    let mut output = Output::new(rows * matrix.columns);
    let to = output.pointer();
    (0..rows.div_ceil(GROUP)).into_par_iter().for_each(|group| {
        let (first, count) = (group * GROUP, GROUP.min(rows - group * GROUP));
        let input = &input[first * matrix.depth..][..count * matrix.depth];
        let plus = Plus { rows: plus.rows.map(|added| &added[first * matrix.columns..]), ..plus };
        // SAFETY: the rows are inside the room.
        let to = Shared::new(unsafe { to.at(first * matrix.columns) });
        dispatch(matrix.isa, Dense { input, rows: count, matrix, plus, to });
    });
    // SAFETY: the groups together write all rows.
    unsafe { output.finish(rows * matrix.columns) }
}

struct Dense<'a> {
    input: &'a [f32],
    rows: usize,
    matrix: &'a Panels,
    plus: Plus<'a>,
    to: Shared,
}

impl Kernel for Dense<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Panels { depth, columns, .. } = *self.matrix;
        let product = RowProduct {
            rows: self.rows,
            depth,
            columns,
            a_row: depth,
            a_depth: 1,
            b_panel: depth * L::N,
            c_row: columns,
            accumulate: false,
        };
        // SAFETY: the matrices have these sizes, and the rows of the result belong to this thread.
        unsafe {
            product.run::<L>(self.input.as_ptr(), self.matrix.as_ptr(), self.to.at(0));
            let Plus { bias, rows } = self.plus;
            if bias.is_none() && rows.is_none() {
                return;
            }
            for row in 0..self.rows {
                for column in (0..columns).step_by(L::N) {
                    let count = L::N.min(columns - column);
                    let place = row * columns + column;
                    let mut sum = L::load_part(self.to.at(place), count);
                    if let Some(bias) = bias {
                        sum = sum.add(L::load_part(bias.as_ptr().add(column), count));
                    }
                    if let Some(rows) = rows {
                        sum = sum.add(L::load_part(rows.as_ptr().add(place), count));
                    }
                    sum.store_part(self.to.at(place), count);
                }
            }
        }
    }
}

/// The gradient of the matrix, `[inputs, outputs]`, from the rows `[rows, inputs]` and the gradient of the
/// product `[rows, outputs]`.
pub(in crate::nn) fn matrix_gradient(
    isa: Isa,
    input: &[f32],
    gradient: &[f32],
    [inputs, outputs]: [usize; 2],
) -> Vec<f32> {
    let rows = input.len() / inputs;
    assert_eq!((rows * inputs, rows * outputs), (input.len(), gradient.len()));
    let mut output = Output::new(inputs * outputs);
    let to = output.pointer();
    // Every number is summed by one thread in the order of the rows, however the columns are shared out.
    let panels = outputs.div_ceil(isa.lanes());
    let tasks = panels.div_ceil(PANELS).next_multiple_of(rayon::current_num_threads()).min(panels);
    (0..tasks).into_par_iter().for_each(|task| {
        let [first, end] = [task, task + 1].map(|task| (task * panels / tasks * isa.lanes()).min(outputs));
        let scratch = DEPTH * (panels.div_ceil(tasks) + 2) * isa.lanes();
        let sizes = [rows, inputs, outputs];
        with_scratch(scratch, |scratch| {
            dispatch(isa, MatrixGradient { input, gradient, sizes, columns: first..end, scratch, to });
        });
    });
    // SAFETY: the tasks together write all columns.
    unsafe { output.finish(inputs * outputs) }
}

struct MatrixGradient<'a> {
    input: &'a [f32],
    gradient: &'a [f32],
    /// Rows, inputs, outputs.
    sizes: [usize; 3],
    /// Of the outputs.
    columns: std::ops::Range<usize>,
    scratch: *mut f32,
    to: Shared,
}

impl Kernel for MatrixGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let [rows, inputs, outputs] = self.sizes;
        let columns = self.columns.len();
        // Rows of one block, packed as one panel.
        let block = L::ROWS.min(L::N);
        for first in (0..rows).step_by(DEPTH) {
            let depth = DEPTH.min(rows - first);
            let product = RowProduct {
                rows: block,
                depth,
                columns,
                a_row: 1,
                a_depth: L::N,
                b_panel: depth * L::N,
                c_row: outputs,
                accumulate: first > 0,
            };
            // SAFETY: rows and columns are inside the matrices, the scratch holds a block of the rows and the
            // panels, and the columns of the result belong to this thread.
            unsafe {
                let (left, right) = (self.scratch, self.scratch.add(DEPTH * L::N));
                let gradient = self.gradient.as_ptr().add(first * outputs + self.columns.start);
                pack::<L>(gradient, (depth, columns, outputs), right, depth * L::N);
                for row in (0..inputs).step_by(block) {
                    let rows = block.min(inputs - row);
                    let input = self.input.as_ptr().add(first * inputs + row);
                    pack::<L>(input, (depth, rows, inputs), left, 0);
                    let to = self.to.at(row * outputs + self.columns.start);
                    RowProduct { rows, ..product }.run::<L>(left, right, to);
                }
            }
        }
    }
}

/// The sum over rows of `[rows, columns]`: the gradient of a bias.
pub(in crate::nn) fn column_sums(isa: Isa, rows: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    // Parts of a fixed size, added in order.
    let part = columns * (TASK / columns).max(1);
    let parts: Vec<Vec<f32>> =
        rows.par_chunks(part).map(|rows| dispatch(isa, Sums { rows, columns })).collect();
    for part in parts {
        for (sum, value) in sums.iter_mut().zip(part) {
            *sum += value;
        }
    }
    sums
}

struct Sums<'a> {
    rows: &'a [f32],
    columns: usize,
}

impl Kernel for Sums<'_> {
    type Output = Vec<f32>;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> Vec<f32> {
        let mut sums = vec![0.0_f32; self.columns];
        for row in self.rows.chunks_exact(self.columns) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
        sums
    }
}
