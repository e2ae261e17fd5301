//! Maximum over windows of 2x2 with stride 2.
//!
//! The forward pass notes which of the four pixels won, one byte an output; the backward pass needs nothing
//! else. As in Burn and PyTorch the first of equal pixels wins, and the last NaN wins over everything.
//! A window whose maximum the ReLU cuts off has no winner.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::buffer::Output;
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::norm_pool::Plane;

/// The winner of a window whose maximum a ReLU cuts off.
pub(super) const NONE: u8 = 4;

/// Floats that one task should read at least.
const TASK: usize = 1 << 14;

/// The maxima of `[planes, height, width]`, each side halved and rounded down, and, if `track`, the winner
/// of each window: 0 and 1 in its first row, 2 and 3 in its second. With `relu` maxima below zero become
/// zero.
pub(in crate::nn) fn max_pool(
    isa: Isa,
    input: &[f32],
    Plane { height, width }: Plane,
    relu: bool,
    track: bool,
) -> (Vec<f32>, Vec<u8>) {
    let (plane, pooled) = (height * width, (height / 2) * (width / 2));
    let planes = input.len() / plane;
    let task = TASK.div_ceil(plane);
    let mut output = Output::new(planes * pooled);
    let mut winners = vec![0; if track { planes * pooled } else { 0 }];
    let room = output.room(planes * pooled).par_chunks_mut(task * pooled);
    let pieces = room.zip(input.par_chunks(task * plane));
    if track {
        pieces.zip(winners.par_chunks_mut(task * pooled)).for_each(|((to, input), winners)| {
            dispatch(isa, Forward { input, to, winners: Some(winners), height, width, relu });
        });
    } else {
        pieces.for_each(|(to, input)| {
            dispatch(isa, Forward { input, to, winners: None, height, width, relu });
        });
    }
    // SAFETY: the chunks cover the room, and the kernel writes each of its floats.
    (unsafe { output.finish(planes * pooled) }, winners)
}

struct Forward<'a> {
    input: &'a [f32],
    to: &'a mut [MaybeUninit<f32>],
    winners: Option<&'a mut [u8]>,
    height: usize,
    width: usize,
    relu: bool,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        if self.relu { self.pool::<true>() } else { self.pool::<false>() }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn pool<const RELU: bool>(self) {
        let (width, across) = (self.width, self.width / 2);
        let mut winners = self.winners.map(|winners| winners.chunks_exact_mut(across));
        let mut to = self.to.chunks_exact_mut(across);
        for plane in self.input.chunks_exact(self.height * width) {
            for rows in plane.chunks_exact(2 * width) {
                let (upper, lower) = rows.split_at(width);
                let to = to.next().expect("one row of output for two of input");
                let pairs = upper.as_chunks::<2>().0.iter().zip(lower.as_chunks::<2>().0);
                match &mut winners {
                    Some(winners) => {
                        let winners = winners.next().expect("as many winners as outputs");
                        for (((a, b), to), winner) in pairs.zip(to).zip(winners) {
                            let (value, index) = best([a[0], a[1], b[0], b[1]]);
                            let cut = RELU && value <= 0.0;
                            to.write(if cut { 0.0 } else { value });
                            *winner = if cut { NONE } else { index as u8 };
                        }
                    }
                    None => {
                        for ((a, b), to) in pairs.zip(to) {
                            let (value, _) = best([a[0], a[1], b[0], b[1]]);
                            to.write(if RELU && value <= 0.0 { 0.0 } else { value });
                        }
                    }
                }
            }
        }
    }
}

/// The winner of a window, and its index.
#[inline(always)]
pub(super) fn best(window: [f32; 4]) -> (f32, u32) {
    let (mut value, mut index) = (window[0], 0);
    for i in [1, 2, 3] {
        let wins = window[i] > value || window[i].is_nan();
        value = if wins { window[i] } else { value };
        index = if wins { i as u32 } else { index };
    }
    (value, index)
}

/// The gradient with respect to the input `[planes, height, width]`: each window's winner gets all of it.
pub(in crate::nn) fn max_pool_gradient(
    isa: Isa,
    gradient: &[f32],
    winners: &[u8],
    Plane { height, width }: Plane,
) -> Vec<f32> {
    assert_eq!(gradient.len(), winners.len());
    let (plane, pooled) = (height * width, (height / 2) * (width / 2));
    let planes = gradient.len() / pooled;
    let task = TASK.div_ceil(plane);
    let mut output = Output::new(planes * plane);
    let room = output.room(planes * plane).par_chunks_mut(task * plane);
    let inputs = gradient.par_chunks(task * pooled).zip(winners.par_chunks(task * pooled));
    room.zip(inputs).for_each(|(to, (gradient, winners))| {
        dispatch(isa, Backward { gradient, winners, to, height, width });
    });
    // SAFETY: the chunks cover the room, and the kernel writes each of its floats.
    unsafe { output.finish(planes * plane) }
}

struct Backward<'a> {
    gradient: &'a [f32],
    winners: &'a [u8],
    to: &'a mut [MaybeUninit<f32>],
    height: usize,
    width: usize,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (width, across) = (self.width, self.width / 2);
        let mut pooled = self.gradient.chunks_exact(across).zip(self.winners.chunks_exact(across));
        for plane in self.to.chunks_exact_mut(self.height * width) {
            let mut pairs = plane.chunks_exact_mut(2 * width);
            for rows in &mut pairs {
                let (upper, lower) = rows.split_at_mut(width);
                let (gradient, winners) = pooled.next().expect("one row of gradient for two of input");
                spread(gradient, winners, upper, 0);
                spread(gradient, winners, lower, 2);
            }
            for to in pairs.into_remainder() {
                to.write(0.0);
            }
        }
    }
}

/// One row of the gradient: winners `first` and `first + 1` are in it.
#[inline(always)]
fn spread(gradient: &[f32], winners: &[u8], to: &mut [MaybeUninit<f32>], first: u8) {
    let (pairs, rest) = to.as_chunks_mut::<2>();
    for ((g, winner), to) in gradient.iter().zip(winners).zip(pairs) {
        to[0].write(if *winner == first { *g } else { 0.0 });
        to[1].write(if *winner == first + 1 { *g } else { 0.0 });
    }
    for to in rest {
        to.write(0.0);
    }
}
