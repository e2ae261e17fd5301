//! Averages over windows of an image, and their gradients.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::buffer::Output;
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::norm::{LANES, TASK, join};
use super::norm_pool::Plane;

/// The mean of each plane of `[planes, plane]`.
pub(in crate::nn) fn plane_means(isa: Isa, input: &[f32], plane: usize) -> Vec<f32> {
    let task = TASK.div_ceil(plane);
    let mut means = vec![0.0; input.len() / plane];
    means.par_chunks_mut(task).zip(input.par_chunks(task * plane)).for_each(|(to, input)| {
        dispatch(isa, Means { input, to, plane });
    });
    means
}

struct Means<'a> {
    input: &'a [f32],
    to: &'a mut [f32],
    plane: usize,
}

impl Kernel for Means<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        for (plane, to) in self.input.chunks_exact(self.plane).zip(self.to) {
            let mut sums = [0.0_f32; LANES];
            let (whole, rest) = plane.as_chunks::<LANES>();
            for chunk in whole {
                for (sum, x) in sums.iter_mut().zip(chunk) {
                    *sum += x;
                }
            }
            for (sum, x) in sums.iter_mut().zip(rest) {
                *sum += x;
            }
            *to = join(sums) / self.plane as f32;
        }
    }
}

/// The gradient of [`plane_means`]: each plane is filled with its share.
pub(in crate::nn) fn plane_means_gradient(gradient: &[f32], plane: usize) -> Vec<f32> {
    let floats = gradient.len() * plane;
    let task = TASK.div_ceil(plane);
    let mut output = Output::new(floats);
    let room = output.room(floats).par_chunks_mut(task * plane);
    room.zip(gradient.par_chunks(task)).for_each(|(to, gradient)| {
        for (to, gradient) in to.chunks_exact_mut(plane).zip(gradient) {
            to.fill(MaybeUninit::new(gradient / plane as f32));
        }
    });
    // SAFETY: the chunks cover the room, and each float of them was written.
    unsafe { output.finish(floats) }
}

/// The means over windows of `side x side` with stride `side`, both sides rounded down.
pub(in crate::nn) fn average_pool(isa: Isa, input: &[f32], plane: Plane, side: usize) -> Vec<f32> {
    let Plane { height, width } = plane;
    let (full, pooled) = (height * width, (height / side) * (width / side));
    let floats = input.len() / full * pooled;
    let task = TASK.div_ceil(full);
    let mut output = Output::new(floats);
    let room = output.room(floats).par_chunks_mut(task * pooled);
    room.zip(input.par_chunks(task * full)).for_each(|(to, input)| {
        dispatch(isa, Pool { input, to, plane, side });
    });
    // SAFETY: the chunks cover the room, and the kernel writes each of its floats.
    unsafe { output.finish(floats) }
}

struct Pool<'a> {
    input: &'a [f32],
    to: &'a mut [MaybeUninit<f32>],
    plane: Plane,
    side: usize,
}

impl Kernel for Pool<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (side, Plane { height, width }) = (self.side, self.plane);
        let across = width / side;
        let mut to = self.to.chunks_exact_mut(across);
        let mut sums = vec![0.0_f32; across];
        for plane in self.input.chunks_exact(height * width) {
            for rows in plane.chunks_exact(side * width) {
                sums.fill(0.0);
                for row in rows.chunks_exact(width) {
                    for (sum, pixels) in sums.iter_mut().zip(row.chunks_exact(side)) {
                        for pixel in pixels {
                            *sum += pixel;
                        }
                    }
                }
                let to = to.next().expect("one row of output for `side` of input");
                for (to, sum) in to.iter_mut().zip(&sums) {
                    to.write(sum / (side * side) as f32);
                }
            }
        }
    }
}

/// The gradient of [`average_pool`] with respect to its input of planes `plane`.
pub(in crate::nn) fn average_pool_gradient(gradient: &[f32], plane: Plane, side: usize) -> Vec<f32> {
    let Plane { height, width } = plane;
    let (full, across) = (height * width, width / side);
    let pooled = (height / side) * across;
    let planes = gradient.len() / pooled;
    let task = TASK.div_ceil(full);
    let mut output = Output::new(planes * full);
    let room = output.room(planes * full).par_chunks_mut(task * full);
    room.zip(gradient.par_chunks(task * pooled)).for_each(|(to, gradient)| {
        for (to, gradient) in to.chunks_exact_mut(full).zip(gradient.chunks_exact(pooled)) {
            for (y, row) in to.chunks_exact_mut(width).enumerate() {
                for (x, to) in row.iter_mut().enumerate() {
                    let inside = y / side < height / side && x / side < across;
                    let share = if inside { gradient[y / side * across + x / side] } else { 0.0 };
                    to.write(share / (side * side) as f32);
                }
            }
        }
    });
    // SAFETY: the chunks cover the room, and each float of them was written.
    unsafe { output.finish(planes * full) }
}
