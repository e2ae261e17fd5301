//! Batch normalisation over `[N, C, H, W]`, with an optional ReLU, and its gradients.
//!
//! The loops are plain: compiled for an instruction set, the compiler turns them into its vectors. A channel
//! is summed by one thread and in a fixed order, in lanes that do not depend on the instruction set.
#![allow(unsafe_code)]

use rayon::prelude::*;

use super::buffer::Output;
use super::lanes::{Isa, Kernel, Lanes, dispatch};

/// Sums that run side by side.
pub(super) const LANES: usize = 32;
/// Floats that one task should have at least.
pub(super) const TASK: usize = 1 << 14;

/// `(x - mean) * scale + beta` a channel, then ReLU if asked for.
#[derive(Clone, Copy)]
pub(in crate::nn) struct Affine<'a> {
    pub mean: &'a [f32],
    pub scale: &'a [f32],
    pub beta: &'a [f32],
    pub relu: bool,
}

impl Affine<'_> {
    #[inline(always)]
    pub(super) fn channel(self, channel: usize) -> Channel {
        Channel { mean: self.mean[channel], scale: self.scale[channel], beta: self.beta[channel] }
    }
}

#[derive(Clone, Copy)]
pub(super) struct Channel {
    pub mean: f32,
    pub scale: f32,
    pub beta: f32,
}

impl Channel {
    #[inline(always)]
    pub(super) fn value(self, x: f32) -> f32 {
        (x - self.mean) * self.scale + self.beta
    }

    /// The gradient before the ReLU. Like Burn's ReLU it lets the gradient of a NaN pass.
    #[inline(always)]
    fn before_relu<const RELU: bool>(self, x: f32, gradient: f32) -> f32 {
        if RELU && self.value(x) <= 0.0 { 0.0 } else { gradient }
    }
}

/// Mean and biased variance of each channel of `[N, channels, plane]`.
pub(in crate::nn) fn statistics(
    isa: Isa,
    input: &[f32],
    channels: usize,
    plane: usize,
) -> (Vec<f32>, Vec<f32>) {
    let tasks = (0..channels).into_par_iter();
    tasks.map(|channel| dispatch(isa, Statistics { input, channels, plane, channel })).unzip()
}

struct Statistics<'a> {
    input: &'a [f32],
    channels: usize,
    plane: usize,
    channel: usize,
}

impl Kernel for Statistics<'_> {
    type Output = (f32, f32);

    /// Each plane is read once from memory, for its sum, and once more from the cache, for the squares
    /// around its own mean; planes are joined by the formula of Chan et al. (1979).
    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> (f32, f32) {
        let (mut count, mut mean, mut squares) = (0.0_f64, 0.0_f64, 0.0_f64);
        for plane in planes(self.input, self.channels, self.plane, self.channel) {
            let size = plane.len() as f64;
            let own = f64::from(sum(plane, |x| x)) / size;
            let near = own as f32;
            let own_squares = f64::from(sum(plane, |x| (x - near) * (x - near)));
            let (total, gap) = (count + size, own - mean);
            mean += gap * size / total;
            squares += own_squares + gap * gap * count * size / total;
            count = total;
        }
        (mean as f32, (squares / count) as f32)
    }
}

/// `relu((x - mean) * scale + beta)`, or without ReLU.
pub(in crate::nn) fn affine(isa: Isa, input: &[f32], plane: usize, affine: Affine<'_>) -> Vec<f32> {
    let channels = affine.mean.len();
    let mut output = Output::new(input.len());
    let task = plane * TASK.div_ceil(plane);
    let pieces = output.room(input.len()).par_chunks_mut(task).zip(input.par_chunks(task)).enumerate();
    pieces.for_each(|(index, (to, input))| {
        let first = index * (task / plane);
        dispatch(isa, Forward { input, to, first, channels, plane, affine });
    });
    // SAFETY: the chunks cover the room, and the kernel writes each of its floats.
    unsafe { output.finish(input.len()) }
}

struct Forward<'a> {
    input: &'a [f32],
    to: &'a mut [std::mem::MaybeUninit<f32>],
    /// Index of the first plane of `input`.
    first: usize,
    channels: usize,
    plane: usize,
    affine: Affine<'a>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let planes = self.input.chunks_exact(self.plane).zip(self.to.chunks_exact_mut(self.plane));
        for (index, (input, to)) in planes.enumerate() {
            let channel = self.affine.channel((self.first + index) % self.channels);
            if self.affine.relu {
                for (x, y) in input.iter().zip(to) {
                    let value = channel.value(*x);
                    y.write(if value <= 0.0 { 0.0 } else { value });
                }
            } else {
                for (x, y) in input.iter().zip(to) {
                    y.write(channel.value(*x));
                }
            }
        }
    }
}

/// What the gradients of scale and shift are made of: for each channel the sums of `g` and of
/// `g * (x - mean)`, with `g` the gradient before the ReLU.
pub(in crate::nn) fn gradient_sums(
    isa: Isa,
    gradient: &[f32],
    input: &[f32],
    plane: usize,
    affine: Affine<'_>,
) -> (Vec<f32>, Vec<f32>) {
    assert_eq!(gradient.len(), input.len());
    let tasks = (0..affine.mean.len()).into_par_iter();
    tasks.map(|channel| dispatch(isa, GradientSums { gradient, input, plane, channel, affine })).unzip()
}

struct GradientSums<'a> {
    gradient: &'a [f32],
    input: &'a [f32],
    plane: usize,
    channel: usize,
    affine: Affine<'a>,
}

impl GradientSums<'_> {
    #[inline(always)]
    fn sums<const RELU: bool>(&self) -> (f32, f32) {
        let channels = self.affine.mean.len();
        let channel = self.affine.channel(self.channel);
        let (mut total, mut centred) = (0.0_f64, 0.0_f64);
        let gradients = planes(self.gradient, channels, self.plane, self.channel);
        for (gradient, input) in gradients.zip(planes(self.input, channels, self.plane, self.channel)) {
            let (mut sums, mut products) = ([0.0_f32; LANES], [0.0_f32; LANES]);
            let (whole_g, rest_g) = gradient.as_chunks::<LANES>();
            let (whole_x, rest_x) = input.as_chunks::<LANES>();
            for (g, x) in whole_g.iter().zip(whole_x) {
                for i in 0..LANES {
                    let before = channel.before_relu::<RELU>(x[i], g[i]);
                    sums[i] += before;
                    products[i] += before * (x[i] - channel.mean);
                }
            }
            for (i, (g, x)) in rest_g.iter().zip(rest_x).enumerate() {
                let before = channel.before_relu::<RELU>(*x, *g);
                sums[i] += before;
                products[i] += before * (x - channel.mean);
            }
            total += f64::from(join(sums));
            centred += f64::from(join(products));
        }
        (total as f32, centred as f32)
    }
}

impl Kernel for GradientSums<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> (f32, f32) {
        if self.affine.relu { self.sums::<true>() } else { self.sums::<false>() }
    }
}

/// How the statistics of a batch depend on its values: what they take from the gradient, a shift and a
/// slope a channel.
#[derive(Clone, Copy)]
pub(in crate::nn) struct Dependence<'a> {
    pub shift: &'a [f32],
    pub slope: &'a [f32],
}

/// The gradient with respect to the input, `scale * (g - shift - slope * (x - mean))` with `g` the gradient
/// before the ReLU, or `scale * g` where the statistics are constants.
pub(in crate::nn) fn input_gradient(
    isa: Isa,
    gradient: &[f32],
    input: &[f32],
    plane: usize,
    affine: Affine<'_>,
    dependence: Option<Dependence<'_>>,
) -> Vec<f32> {
    assert_eq!(gradient.len(), input.len());
    let mut output = Output::new(input.len());
    let task = plane * TASK.div_ceil(plane);
    let inputs = gradient.par_chunks(task).zip(input.par_chunks(task));
    let pieces = output.room(input.len()).par_chunks_mut(task).zip(inputs).enumerate();
    pieces.for_each(|(index, (to, (gradient, input)))| {
        let first = index * (task / plane);
        dispatch(isa, InputGradient { gradient, input, to, first, plane, affine, dependence });
    });
    // SAFETY: the chunks cover the room, and the kernel writes each of its floats.
    unsafe { output.finish(input.len()) }
}

struct InputGradient<'a> {
    gradient: &'a [f32],
    input: &'a [f32],
    to: &'a mut [std::mem::MaybeUninit<f32>],
    /// Index of the first plane of `input`.
    first: usize,
    plane: usize,
    affine: Affine<'a>,
    dependence: Option<Dependence<'a>>,
}

impl InputGradient<'_> {
    #[inline(always)]
    fn write<const RELU: bool>(self) {
        let inputs = self.gradient.chunks_exact(self.plane).zip(self.input.chunks_exact(self.plane));
        for (index, ((gradient, input), to)) in inputs.zip(self.to.chunks_exact_mut(self.plane)).enumerate() {
            let index = (self.first + index) % self.affine.mean.len();
            let channel = self.affine.channel(index);
            let values = gradient.iter().zip(input).zip(to);
            if let Some(Dependence { shift, slope }) = self.dependence {
                let (shift, slope) = (shift[index], slope[index]);
                for ((g, x), to) in values {
                    let before = channel.before_relu::<RELU>(*x, *g);
                    to.write(channel.scale * (before - shift - slope * (x - channel.mean)));
                }
            } else {
                for ((g, x), to) in values {
                    to.write(channel.scale * channel.before_relu::<RELU>(*x, *g));
                }
            }
        }
    }
}

impl Kernel for InputGradient<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        if self.affine.relu { self.write::<true>() } else { self.write::<false>() }
    }
}

/// The planes of one channel.
#[inline(always)]
pub(super) fn planes<T>(
    data: &[T],
    channels: usize,
    plane: usize,
    channel: usize,
) -> impl Iterator<Item = &[T]> {
    data.chunks_exact(plane).skip(channel).step_by(channels)
}

/// The sum of a function of each value.
#[inline(always)]
pub(super) fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (whole, rest) = values.as_chunks::<LANES>();
    for chunk in whole {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += f(*x);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += f(*x);
    }
    join(sums)
}

/// The sum of the lanes, in pairs.
#[inline(always)]
pub(super) fn join(mut sums: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
        half /= 2;
    }
    sums[0]
}
