//! The Gaussian error linear unit, `x Φ(x)` (Hendrycks and Gimpel 2016), and its gradient.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::buffer::Output;
use super::exponential::normal;
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::norm::TASK;

/// `x Φ(x)`.
#[inline(always)]
pub(super) fn value<L: Lanes>(x: L) -> L {
    x.mul(normal(x).0)
}

/// The derivative, `Φ(x) + x φ(x)`.
#[inline(always)]
pub(super) fn slope<L: Lanes>(x: L) -> L {
    let (below, density) = normal(x);
    x.mul_add(density, below)
}

/// Of each value.
pub(in crate::nn) fn gelu(isa: Isa, input: &[f32]) -> Vec<f32> {
    map(isa, input, None)
}

/// The gradient with respect to the input.
pub(in crate::nn) fn gelu_gradient(isa: Isa, gradient: &[f32], input: &[f32]) -> Vec<f32> {
    assert_eq!(gradient.len(), input.len());
    map(isa, input, Some(gradient))
}

fn map(isa: Isa, input: &[f32], gradient: Option<&[f32]>) -> Vec<f32> {
    let mut output = Output::new(input.len());
    let pieces = output.room(input.len()).par_chunks_mut(TASK).enumerate();
    pieces.for_each(|(index, to)| {
        let range = index * TASK..index * TASK + to.len();
        dispatch(isa, Map { input: &input[range.clone()], gradient: gradient.map(|g| &g[range]), to });
    });
    // SAFETY: the chunks cover the room, and the kernel writes each of its floats.
    unsafe { output.finish(input.len()) }
}

/// The function, or its gradient where one from above is given.
struct Map<'a> {
    input: &'a [f32],
    gradient: Option<&'a [f32]>,
    to: &'a mut [MaybeUninit<f32>],
}

impl Kernel for Map<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for start in (0..self.input.len()).step_by(L::N) {
            let count = L::N.min(self.input.len() - start);
            // SAFETY: `count` floats are left from `start` on in all three.
            unsafe {
                let x = L::load_part(self.input.as_ptr().add(start), count);
                let found = match self.gradient {
                    Some(gradient) => slope(x).mul(L::load_part(gradient.as_ptr().add(start), count)),
                    None => value(x),
                };
                found.store_part(self.to.as_mut_ptr().cast::<f32>().add(start), count);
            }
        }
    }
}
