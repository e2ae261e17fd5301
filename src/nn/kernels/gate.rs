//! The gradient of a ReLU, on its own and summed a channel.
#![allow(unsafe_code)]

use rayon::prelude::*;

use super::buffer::Output;
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::norm::{LANES, TASK, join, planes};
use super::strip::Source;

/// The gradient before a ReLU whose output is `by`. Like Burn's it lets the gradient of a NaN pass.
pub(in crate::nn) fn gate(isa: Isa, gradient: &[f32], by: &[f32]) -> Vec<f32> {
    assert_eq!(gradient.len(), by.len());
    let mut output = Output::new(gradient.len());
    let room = output.room(gradient.len()).par_chunks_mut(TASK);
    room.zip(gradient.par_chunks(TASK).zip(by.par_chunks(TASK))).for_each(|(to, (gradient, by))| {
        dispatch(isa, Gate { gradient, by, to });
    });
    // SAFETY: the chunks cover the room, and the kernel writes each of its floats.
    unsafe { output.finish(gradient.len()) }
}

struct Gate<'a> {
    gradient: &'a [f32],
    by: &'a [f32],
    to: &'a mut [std::mem::MaybeUninit<f32>],
}

impl Kernel for Gate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for ((gradient, by), to) in self.gradient.iter().zip(self.by).zip(self.to) {
            to.write(if *by <= 0.0 { 0.0 } else { *gradient });
        }
    }
}

/// The sum of each channel of `[N, channels, plane]`.
pub(in crate::nn) fn channel_sums(isa: Isa, source: Source<'_>, channels: usize, plane: usize) -> Vec<f32> {
    let tasks = (0..channels).into_par_iter();
    tasks.map(|channel| dispatch(isa, Sum { source, channels, plane, channel })).collect()
}

struct Sum<'a> {
    source: Source<'a>,
    channels: usize,
    plane: usize,
    channel: usize,
}

impl Sum<'_> {
    #[inline(always)]
    fn sum<const GATED: bool>(self) -> f32 {
        let mut total = 0.0_f64;
        let of = |data| planes::<f32>(data, self.channels, self.plane, self.channel);
        let gates = of(self.source.gate.unwrap_or(self.source.values));
        for (plane, gate) in of(self.source.values).zip(gates) {
            let mut sums = [0.0_f32; LANES];
            let (whole, rest) = plane.as_chunks::<LANES>();
            let (whole_gate, rest_gate) = gate.as_chunks::<LANES>();
            for (values, gates) in whole.iter().zip(whole_gate) {
                for i in 0..LANES {
                    sums[i] += if GATED && gates[i] <= 0.0 { 0.0 } else { values[i] };
                }
            }
            for (sum, (value, gate)) in sums.iter_mut().zip(rest.iter().zip(rest_gate)) {
                *sum += if GATED && *gate <= 0.0 { 0.0 } else { *value };
            }
            total += f64::from(join(sums));
        }
        total as f32
    }
}

impl Kernel for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> f32 {
        if self.source.gate.is_some() { self.sum::<true>() } else { self.sum::<false>() }
    }
}
