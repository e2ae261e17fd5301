//! Batch normalisation, ReLU and the maximum over windows of 2x2 in one pass, and its gradients.
//!
//! Between a convolution and the next one only a quarter of the pixels survives. Here neither the
//! normalised image nor the gradient before the pooling is ever written. The forward pass notes the winner
//! of each window; the rules for ties and NaN are those of [`super::pool`], applied to the values before
//! the ReLU, and a window whose maximum the ReLU cuts off has no winner. Pixels that did not win are not
//! looked at again, so where one of them is infinite the gradient of the scale stays finite, while zero
//! times infinity makes it NaN in Burn.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::buffer::Output;
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::norm::{Affine, Channel, Dependence, LANES, TASK, join, planes};
use super::pool::{NONE, best};

/// Height and width of planes before pooling, both at least 2.
#[derive(Clone, Copy, Debug)]
pub(in crate::nn) struct Plane {
    pub height: usize,
    pub width: usize,
}

impl Plane {
    fn floats(self) -> usize {
        self.height * self.width
    }

    fn pooled(self) -> usize {
        (self.height / 2) * (self.width / 2)
    }

    /// Planes that one task takes.
    fn task(self) -> usize {
        TASK.div_ceil(self.floats())
    }
}

/// The maxima of `relu((x - mean) * scale + beta)`, and the winner of each window.
pub(in crate::nn) fn norm_pool(
    isa: Isa,
    input: &[f32],
    plane: Plane,
    affine: Affine<'_>,
) -> (Vec<f32>, Vec<u8>) {
    let (pooled, task) = (plane.pooled(), plane.task());
    let floats = input.len() / plane.floats() * pooled;
    let mut output = Output::new(floats);
    let mut winners = vec![0; floats];
    let targets =
        output.room(floats).par_chunks_mut(task * pooled).zip(winners.par_chunks_mut(task * pooled));
    let pieces = targets.zip(input.par_chunks(task * plane.floats())).enumerate();
    pieces.for_each(|(index, ((to, winners), input))| {
        dispatch(isa, Forward { input, to, winners, first: index * task, plane, affine });
    });
    // SAFETY: the chunks cover the room, and the kernel writes each of its floats.
    (unsafe { output.finish(floats) }, winners)
}

struct Forward<'a> {
    input: &'a [f32],
    to: &'a mut [MaybeUninit<f32>],
    winners: &'a mut [u8],
    /// Index of the first plane of `input`.
    first: usize,
    plane: Plane,
    affine: Affine<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let Plane { width, .. } = self.plane;
        let across = width / 2;
        let mut targets = self.to.chunks_exact_mut(across).zip(self.winners.chunks_exact_mut(across));
        for (index, plane) in self.input.chunks_exact(self.plane.floats()).enumerate() {
            let channel = self.affine.channel((self.first + index) % self.affine.mean.len());
            for rows in plane.chunks_exact(2 * width) {
                let (upper, lower) = rows.split_at(width);
                let (to, winners) = targets.next().expect("one row of output for two of input");
                let pairs = upper.as_chunks::<2>().0.iter().zip(lower.as_chunks::<2>().0);
                for (((a, b), to), winner) in pairs.zip(to).zip(winners) {
                    let window = [a[0], a[1], b[0], b[1]];
                    let (value, index) = best([
                        channel.value(window[0]),
                        channel.value(window[1]),
                        channel.value(window[2]),
                        channel.value(window[3]),
                    ]);
                    let cut = value <= 0.0;
                    to.write(if cut { 0.0 } else { value });
                    *winner = if cut { NONE } else { index as u8 };
                }
            }
        }
    }
}

/// For each channel the sums of `g` and of `g * (x - mean)` over the winners, with `g` the gradient of the
/// window.
pub(in crate::nn) fn norm_pool_sums(
    isa: Isa,
    gradient: &[f32],
    winners: &[u8],
    input: &[f32],
    plane: Plane,
    affine: Affine<'_>,
) -> (Vec<f32>, Vec<f32>) {
    assert_eq!(gradient.len(), winners.len());
    let tasks = (0..affine.mean.len()).into_par_iter();
    tasks.map(|channel| dispatch(isa, Sums { gradient, winners, input, plane, channel, affine })).unzip()
}

struct Sums<'a> {
    gradient: &'a [f32],
    winners: &'a [u8],
    input: &'a [f32],
    plane: Plane,
    channel: usize,
    affine: Affine<'a>,
}

impl Kernel for Sums<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> (f32, f32) {
        let channels = self.affine.mean.len();
        let Channel { mean, .. } = self.affine.channel(self.channel);
        let (width, pooled) = (self.plane.width, self.plane.pooled());
        let across = width / 2;
        let (mut total, mut centred) = (0.0_f64, 0.0_f64);
        let gradients = planes(self.gradient, channels, pooled, self.channel);
        let winners = planes(self.winners, channels, pooled, self.channel);
        let inputs = planes(self.input, channels, self.plane.floats(), self.channel);
        for ((gradient, winners), input) in gradients.zip(winners).zip(inputs) {
            let (mut sums, mut products) = ([0.0_f32; LANES], [0.0_f32; LANES]);
            let windows = gradient.chunks_exact(across).zip(winners.chunks_exact(across));
            for (rows, (gradient, winners)) in input.chunks_exact(2 * width).zip(windows) {
                let (upper, lower) = rows.split_at(width);
                let upper = upper.as_chunks::<2>().0.chunks(LANES);
                let pairs = upper.zip(lower.as_chunks::<2>().0.chunks(LANES));
                let windows = gradient.chunks(LANES).zip(winners.chunks(LANES));
                for ((upper, lower), (gradient, winners)) in pairs.zip(windows) {
                    let lanes = sums.iter_mut().zip(&mut products);
                    let values = gradient.iter().zip(winners).zip(upper.iter().zip(lower));
                    for ((sum, product), ((g, winner), (a, b))) in lanes.zip(values) {
                        let left = if *winner < 2 { a[0] } else { b[0] };
                        let right = if *winner < 2 { a[1] } else { b[1] };
                        let x = if *winner % 2 == 0 { left } else { right };
                        let (g, product_now) =
                            if *winner == NONE { (0.0, 0.0) } else { (*g, g * (x - mean)) };
                        *sum += g;
                        *product += product_now;
                    }
                }
            }
            total += f64::from(join(sums));
            centred += f64::from(join(products));
        }
        (total as f32, centred as f32)
    }
}

/// The gradient with respect to the input, see [`super::norm::input_gradient`]. The input is only looked at
/// with a dependence.
pub(in crate::nn) fn norm_pool_gradient(
    isa: Isa,
    gradient: &[f32],
    winners: &[u8],
    plane: Plane,
    affine: Affine<'_>,
    dependence: Option<(Dependence<'_>, &[f32])>,
) -> Vec<f32> {
    assert_eq!(gradient.len(), winners.len());
    let (pooled, task) = (plane.pooled(), plane.task());
    let floats = gradient.len() / pooled * plane.floats();
    assert!(dependence.is_none_or(|(_, input)| input.len() == floats));
    let mut output = Output::new(floats);
    let sources = gradient.par_chunks(task * pooled).zip(winners.par_chunks(task * pooled));
    let pieces = output.room(floats).par_chunks_mut(task * plane.floats()).zip(sources).enumerate();
    pieces.for_each(|(index, (to, (gradient, winners)))| {
        let first = index * task;
        let from = first * plane.floats();
        let dependence = dependence.map(|(dependence, input)| (dependence, &input[from..from + to.len()]));
        dispatch(isa, Backward { gradient, winners, to, first, plane, affine, dependence });
    });
    // SAFETY: the chunks cover the room, and the kernel writes each of its floats.
    unsafe { output.finish(floats) }
}

struct Backward<'a> {
    gradient: &'a [f32],
    winners: &'a [u8],
    to: &'a mut [MaybeUninit<f32>],
    /// Index of the first plane.
    first: usize,
    plane: Plane,
    affine: Affine<'a>,
    dependence: Option<(Dependence<'a>, &'a [f32])>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let (floats, pooled, width) = (self.plane.floats(), self.plane.pooled(), self.plane.width);
        let across = width / 2;
        let windows = self.gradient.chunks_exact(pooled).zip(self.winners.chunks_exact(pooled));
        for (index, (to, (gradient, winners))) in self.to.chunks_exact_mut(floats).zip(windows).enumerate() {
            let channel = (self.first + index) % self.affine.mean.len();
            let Channel { mean, scale, .. } = self.affine.channel(channel);
            let windows = gradient.chunks_exact(across).zip(winners.chunks_exact(across));
            // Rows and columns outside of all windows have no gradient from above.
            for (row, (gradient, winners)) in windows.enumerate() {
                for half in 0..2 {
                    let to = &mut to[(2 * row + half) * width..][..width];
                    spread(gradient, winners, to, 2 * half as u8, scale);
                }
            }
            for to in &mut to[self.plane.height / 2 * 2 * width..] {
                to.write(0.0);
            }
            if let Some((Dependence { shift, slope }, input)) = self.dependence {
                let (shift, slope) = (scale * shift[channel], scale * slope[channel]);
                for (to, x) in to.iter_mut().zip(&input[index * floats..]) {
                    // SAFETY: all of the plane has been written above.
                    let before = unsafe { to.assume_init() };
                    to.write(before - shift - slope * (x - mean));
                }
            }
        }
    }
}

/// One row of the scaled gradient: winners `first` and `first + 1` are in it.
#[inline(always)]
fn spread(gradient: &[f32], winners: &[u8], to: &mut [MaybeUninit<f32>], first: u8, scale: f32) {
    let (pairs, rest) = to.as_chunks_mut::<2>();
    for ((g, winner), to) in gradient.iter().zip(winners).zip(pairs) {
        let g = g * scale;
        to[0].write(if *winner == first { g } else { 0.0 });
        to[1].write(if *winner == first + 1 { g } else { 0.0 });
    }
    for to in rest {
        to.write(0.0);
    }
}
