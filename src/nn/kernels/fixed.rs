//! The product of a batch of rows with fixed weights.
#![allow(unsafe_code)]

use rayon::prelude::*;

use super::buffer::{Line, Output, Shared, with_scratch};
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::matmul::{Onto, Product};

/// Rows and vectors of outputs that one task takes.
const TASK_ROWS: usize = 28;
const TASK_PANELS: usize = 8;

/// A matrix `[inputs, outputs]` stored in panels `[outputs in vectors][inputs][N]`.
pub(in crate::nn) struct FixedMatrix {
    isa: Isa,
    inputs: usize,
    outputs: usize,
    data: Vec<Line>,
}

impl FixedMatrix {
    /// A matrix whose element `(i, o)` is `weight(i, o)`.
    pub(in crate::nn) fn new(
        isa: Isa,
        inputs: usize,
        outputs: usize,
        weight: impl Fn(usize, usize) -> f32,
    ) -> Self {
        let lanes = isa.lanes();
        let mut data = Line::zeros(inputs * outputs.next_multiple_of(lanes));
        // In the order of the panels, whose places and usually the weights follow each other.
        for panel in (0..outputs).step_by(lanes) {
            for input in 0..inputs {
                for output in panel..(panel + lanes).min(outputs) {
                    let place = panel * inputs + input * lanes + output - panel;
                    *data[place / Line::FLOATS].value_mut(place % Line::FLOATS) = weight(input, output);
                }
            }
        }
        Self { isa, inputs, outputs, data }
    }

    /// Outputs in whole vectors.
    pub(in crate::nn) fn pitch(&self) -> usize {
        self.outputs.next_multiple_of(self.isa.lanes())
    }

    /// `[rows, inputs]` to `[rows, pitch]`, with zeros in the last columns. A row does not depend on the
    /// others, nor on the number of threads.
    pub(in crate::nn) fn multiply(&self, rows: &[f32]) -> Vec<f32> {
        assert_eq!(rows.len() % self.inputs, 0);
        let count = rows.len() / self.inputs;
        let mut output = Output::new(count * self.pitch());
        let to = output.pointer();
        let panels = self.pitch() / self.isa.lanes();
        let tasks = [count.div_ceil(TASK_ROWS), panels.div_ceil(TASK_PANELS)];
        (0..tasks[0] * tasks[1]).into_par_iter().for_each(|task| {
            let (row, panel) = (task % tasks[0] * TASK_ROWS, task / tasks[0] * TASK_PANELS);
            let height = TASK_ROWS.min(count - row);
            let width = TASK_PANELS.min(panels - panel);
            with_scratch(TASK_ROWS * TASK_PANELS * self.isa.lanes(), |scratch| {
                dispatch(self.isa, Block { matrix: self, rows, row, height, panel, width, scratch, to });
            });
        });
        // SAFETY: the tasks cover all rows and columns.
        unsafe { output.finish(count * self.pitch()) }
    }
}

/// Some rows and columns of a product.
struct Block<'a> {
    matrix: &'a FixedMatrix,
    rows: &'a [f32],
    row: usize,
    height: usize,
    panel: usize,
    width: usize,
    scratch: *mut f32,
    to: Shared,
}

impl Kernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Self { matrix: FixedMatrix { inputs, data, .. }, height, width, scratch, .. } = self;
        let pitch = self.matrix.pitch();
        let product = Product {
            rows: height,
            depth: *inputs,
            panels: width,
            a_row: *inputs,
            a_depth: 1,
            onto: Onto::Nothing,
        };
        // SAFETY: the block lies inside the matrices, and the scratch holds its results; each place of the
        // target is written by one task.
        unsafe {
            let a = self.rows.as_ptr().add(self.row * inputs);
            let b = data.as_ptr().cast::<f32>().add(self.panel * inputs * L::N);
            product.run::<L>(a, b, scratch);
            for panel in 0..width {
                for row in 0..height {
                    let value = L::load(scratch.add((panel * height + row) * L::N));
                    value.store(self.to.at((self.row + row) * pitch + (self.panel + panel) * L::N));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_agree_with_sums() {
        for (count, inputs, outputs) in [(1, 1, 1), (3, 7, 5), (30, 9, 17), (2, 3, 150)] {
            let rows: Vec<f32> = (0..count * inputs).map(|i| (i as f32).sin()).collect();
            let weight = |input: usize, output: usize| ((input * outputs + output) as f32 * 0.7).cos();
            for isa in Isa::available() {
                let panels = FixedMatrix::new(isa, inputs, outputs, weight);
                let found = panels.multiply(&rows);
                for (row, found) in found.chunks(panels.pitch()).enumerate() {
                    for (output, found) in found.iter().enumerate() {
                        let product = |input| rows[row * inputs + input] * weight(input, output);
                        let expected: f32 =
                            if output < outputs { (0..inputs).map(product).sum() } else { 0.0 };
                        assert!((found - expected).abs() < 1e-5, "{isa:?}: {found} {expected}");
                    }
                }
            }
        }
    }
}
