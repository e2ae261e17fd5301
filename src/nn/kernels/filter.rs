//! The filters of a Winograd convolution: as they are, and transformed.
#![allow(unsafe_code)]

use std::ops::Range;

use rayon::prelude::*;

use super::buffer::{Lines, Shared};
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::strip::{POINTS, SKEW};
use super::transform;

/// Transformed weights that are larger than this are made block by block while they are used (see
/// [`super::wide`]). Measured, both ways take the same time for 256 channels (9 MiB); for 128 channels the other one
/// is faster.
const WIDE_BYTES: usize = 8 << 20;

/// The weights of a 3x3 convolution as they are.
#[derive(Clone, Copy)]
pub(in crate::nn) struct Taps<'a> {
    weights: &'a [f32],
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// Floats from one output to the next, and from one input to the next.
    strides: [usize; 2],
    /// Whether the nine weights come in reverse order.
    turned: bool,
}

impl<'a> Taps<'a> {
    /// Of a convolution with weights `[outputs, inputs, 3, 3]`.
    pub(in crate::nn) fn forward(weights: &'a [f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weights.len(), outputs * inputs * 9);
        Self { weights, outputs, inputs, strides: [inputs * 9, 9], turned: false }
    }

    /// Of the convolution that takes the gradient of that one from its output to its input.
    pub(in crate::nn) fn backward(weights: &'a [f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(weights.len(), outputs * inputs * 9);
        Self { weights, outputs: inputs, inputs: outputs, strides: [9, inputs * 9], turned: true }
    }

    /// Whether their transforms are too large to be kept.
    pub(in crate::nn) fn are_wide(&self) -> bool {
        POINTS * 4 * self.outputs * self.inputs > WIDE_BYTES
    }

    /// Transforms the weights from some inputs to one vector of outputs: 36 matrices `[inputs][N]`, `point`
    /// floats apart.
    ///
    /// # Safety
    /// The processor has the instruction set; there are such inputs and an output of that panel; there is room
    /// for the matrices at `to`.
    #[inline(always)]
    pub(super) unsafe fn transform<L: Lanes>(
        &self,
        panel: usize,
        inputs: Range<usize>,
        to: *mut f32,
        point: usize,
    ) {
        let first = panel * L::N;
        let mut nine = [0.0_f32; 9 * 16];
        let lanes = L::N.min(self.outputs - first);
        for (index, input) in inputs.enumerate() {
            let start = first * self.strides[0] + input * self.strides[1];
            // SAFETY: the lanes are outputs that there are; the caller vouches for the target.
            unsafe {
                let from = self.weights.as_ptr().add(start);
                let nine = nine.as_mut_ptr();
                transform::read_filters::<L>(from, (self.strides[0], lanes), self.turned, nine);
                let strides = (6 * point, point);
                transform::square::<L, transform::Filter, 3, 6>(
                    nine,
                    (3 * L::N, L::N),
                    to.add(index * L::N),
                    strides,
                );
            }
        }
    }
}

/// The transformed weights of a convolution: 36 matrices `[panels of output channels][inputs][N]`.
pub(in crate::nn) struct Filter {
    pub(super) isa: Isa,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) data: Lines,
}

impl Filter {
    /// All weights of a convolution.
    pub(in crate::nn) fn new(isa: Isa, taps: Taps<'_>) -> Self {
        let Taps { inputs, outputs, .. } = taps;
        let panels = outputs.div_ceil(isa.lanes());
        let point = inputs * panels * isa.lanes() + SKEW;
        let mut data = Lines::new(POINTS * point);
        let to = data.pointer();
        (0..panels).into_par_iter().for_each(|panel| dispatch(isa, Fill { taps, panel, point, to }));
        Self { isa, inputs, outputs, data }
    }

    /// Floats from one of the 36 matrices to the next.
    pub(super) fn point(&self) -> usize {
        let lanes = self.isa.lanes();
        self.inputs * self.outputs.next_multiple_of(lanes) + SKEW
    }
}

/// The weights of one panel of output channels.
struct Fill<'a> {
    taps: Taps<'a>,
    panel: usize,
    point: usize,
    to: Shared,
}

impl Kernel for Fill<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let inputs = self.taps.inputs;
        // SAFETY: a panel is written by one thread only, to its own part of each matrix.
        unsafe {
            let to = self.to.at(self.panel * inputs * L::N);
            self.taps.transform::<L>(self.panel, 0..inputs, to, self.point);
        }
    }
}
