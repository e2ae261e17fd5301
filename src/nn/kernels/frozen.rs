//! Winograd convolution of a network whose weights do not change: channels-last from layer to layer, with
//! bias, ReLU and 2x2 max-pooling done while a tile is in registers.
//!
//! Nothing is written but what the next layer reads, and the bits that the way back needs: where the ReLU
//! let pass, or which pixel won its window. On the way back they are applied while a tile is read.
//! Pixels are `[N, H, W, pitch]`, the channels padded with zeros to whole vectors; bits are 16 for each
//! vector of a pixel, or four times 16 for each vector of a window, one for each of its pixels. The algebra
//! is that of [`super::transform`], the walk over tiles simpler than that of [`super::winograd`]: no strip
//! and no transposition is needed.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::buffer::{Line, Output, with_scratch};
use super::filter::{Filter, Taps};
use super::frozen_source::{FrozenInput, Reader};
use super::frozen_target::{SharedBits, Target, Writer};
use super::frozen_tiles::{Filters, FullJob, Job, Short, run_short};
use super::frozen_wide::convolve_wide;
use super::lanes::{Isa, dispatch};
use super::strip::{POINTS, SKEW};
#[cfg(target_arch = "x86_64")]
use super::{brain, half};

/// What the matrices of one work unit may take: about half a second-level cache.
const UNIT_BYTES: usize = 1 << 20;
/// Fewest tiles in a unit, so that reading the filter is shared by enough of them.
const UNIT_TILES: usize = 56;
/// The same for bfloat16, whose products take less time beside that reading.
const BRAIN_UNIT_TILES: usize = 112;
/// Fewest tiles in a unit that is made smaller for the sake of more threads.
const BALANCED_TILES: usize = 14;

/// Number of images, height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nn) struct Grid {
    pub count: usize,
    pub height: usize,
    pub width: usize,
}

impl Grid {
    pub(in crate::nn) fn pixels(self) -> usize {
        self.count * self.height * self.width
    }

    /// After 2x2 max-pooling.
    pub(in crate::nn) fn pooled(self) -> Self {
        Self { height: self.height / 2, width: self.width / 2, ..self }
    }

    pub(super) fn tiles(self) -> usize {
        self.count * self.height.div_ceil(4) * self.width.div_ceil(4)
    }

    /// Image, row and column of the first pixel of a tile.
    #[inline(always)]
    pub(super) fn place(self, tile: usize) -> [usize; 3] {
        let (down, across) = (self.height.div_ceil(4), self.width.div_ceil(4));
        [tile / (down * across), tile / across % down * 4, tile % across * 4]
    }

    #[inline(always)]
    pub(super) fn index(self, image: usize, row: usize, column: usize) -> usize {
        (image * self.height + row) * self.width + column
    }
}

/// What becomes of the results of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nn) enum Then {
    Nothing,
    Relu,
    /// ReLU, then the maximum over windows of 2x2 with stride 2.
    ReluMaxPool,
}

/// Which way a convolution goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nn) enum Way {
    Forward,
    /// From the gradient of its output to that of its input.
    Backward,
}

/// The weights of a frozen convolution, each way its own.
pub(in crate::nn) enum Weights {
    /// As they are, `[outputs, inputs, 3, 3]` of the convolution forward, where their transforms would be too large.
    Plain { isa: Isa, values: Arc<[f32]>, shape: [usize; 2], way: Way },
    /// Transformed.
    Full(Filter),
    /// Transformed and rounded to 16 bits: 36 matrices, in half precision `[pairs of panels][inputs][32]`, in bfloat16
    /// `[panels][pairs of inputs][16][2]`.
    Short { format: Short, isa: Isa, inputs: usize, outputs: usize, data: Vec<u16> },
}

impl Weights {
    /// From weights `[outputs, inputs, 3, 3]`.
    pub(in crate::nn) fn new(isa: Isa, values: &Arc<[f32]>, shape: [usize; 2], way: Way) -> Self {
        let taps = way.taps(values, shape);
        if taps.are_wide() {
            Self::Plain { isa, values: values.clone(), shape, way }
        } else {
            Self::Full(Filter::new(isa, taps))
        }
    }

    /// The same, rounded to 16 bits. Only where [`Short::is_there`].
    pub(in crate::nn) fn short(format: Short, isa: Isa, values: &[f32], shape: [usize; 2], way: Way) -> Self {
        assert!(format.is_there(isa), "asked for before");
        let filter = Filter::new(isa, way.taps(values, shape));
        let data = match format {
            Short::Half => in_halves(&filter),
            Short::Brain => in_pairs(&filter),
        };
        Self::Short { format, isa, inputs: filter.inputs, outputs: filter.outputs, data }
    }

    fn shape(&self) -> (Isa, usize, usize) {
        match self {
            Self::Plain { isa, values, shape, way } => {
                let taps = way.taps(values, *shape);
                (*isa, taps.inputs, taps.outputs)
            }
            Self::Full(filter) => (filter.isa, filter.inputs, filter.outputs),
            Self::Short { isa, inputs, outputs, .. } => (*isa, *inputs, *outputs),
        }
    }
}

/// The matrices of [`Short::Half`].
fn in_halves(filter: &Filter) -> Vec<u16> {
    let (lanes, inputs) = (filter.isa.lanes(), filter.inputs);
    let panels = filter.outputs.div_ceil(lanes);
    let columns = panels.next_multiple_of(2);
    let mut data = vec![0; POINTS * columns * inputs * lanes];
    #[cfg(target_arch = "x86_64")]
    for row in 0..POINTS * panels * inputs {
        let (point, panel, input) = (row / (panels * inputs), row / inputs % panels, row % inputs);
        let from = point * filter.point() + (panel * inputs + input) * lanes;
        let to = ((point * columns / 2 + panel / 2) * inputs + input) * 2 + panel % 2;
        assert!((from + lanes <= POINTS * filter.point()) && (to + 1) * lanes <= data.len());
        // SAFETY: the instructions are there, and both places have just been checked.
        unsafe {
            let filter = filter.data.as_ptr();
            half::round(filter.add(from), data.as_mut_ptr().add(to * lanes));
        }
    }
    data
}

/// The matrices of [`Short::Brain`].
fn in_pairs(filter: &Filter) -> Vec<u16> {
    let (lanes, inputs) = (filter.isa.lanes(), filter.inputs);
    let (panels, pairs) = (filter.outputs.div_ceil(lanes), inputs.div_ceil(2));
    let mut data = vec![0; POINTS * panels * pairs * 2 * lanes];
    #[cfg(target_arch = "x86_64")]
    for row in 0..POINTS * panels * pairs {
        let (point, panel, pair) = (row / (panels * pairs), row / pairs % panels, row % pairs);
        let from = point * filter.point() + (panel * inputs + 2 * pair) * lanes;
        let two = 2 * pair + 1 < inputs;
        assert!(from + (1 + usize::from(two)) * lanes <= POINTS * filter.point());
        assert!((row + 1) * 2 * lanes <= data.len());
        // SAFETY: the instructions are there, and all places have just been checked.
        unsafe {
            let first = filter.data.as_ptr().add(from);
            let second = two.then(|| first.add(lanes));
            brain::round_pairs(first, second, data.as_mut_ptr().add(row * 2 * lanes));
        }
    }
    data
}

impl Way {
    fn taps(self, values: &[f32], [outputs, inputs]: [usize; 2]) -> Taps<'_> {
        match self {
            Self::Forward => Taps::forward(values, outputs, inputs),
            Self::Backward => Taps::backward(values, outputs, inputs),
        }
    }
}

/// Sizes of a work unit.
#[derive(Clone, Copy)]
pub(super) struct Unit {
    pub tiles: usize,
    /// Channels read and written, in whole vectors.
    pub padded: [usize; 2],
}

impl Unit {
    fn new(grid: Grid, padded: [usize; 2], fewest: usize) -> Self {
        let tiles = (UNIT_BYTES / (POINTS * 4 * (padded[0] + padded[1]))).max(fewest);
        // Any cut gives the same results, so units may follow the number of threads.
        let units = grid.tiles().div_ceil(tiles).next_multiple_of(rayon::current_num_threads());
        let balanced = grid.tiles().div_ceil(units).next_multiple_of(BALANCED_TILES);
        Self { tiles: balanced.min(grid.tiles()), padded }
    }

    /// Floats from one of the 36 matrices of a kind to the next.
    pub(super) fn point(self, kind: usize) -> usize {
        self.tiles * self.padded[kind] + SKEW
    }

    fn scratch(self) -> usize {
        POINTS * (self.point(0) + self.point(1))
    }
}

/// One convolution on the way forward.
pub(in crate::nn) struct Forward<'a> {
    pub grid: Grid,
    pub weights: &'a Weights,
    /// One number an output.
    pub bias: &'a [f32],
    pub then: Then,
}

impl Forward<'_> {
    /// The result `[N, H, W, outputs in whole vectors]` (pooled: `H/2`, `W/2`), and its bits in `bits`.
    /// Nothing if a value is not finite: Winograd would spread it over its tile.
    pub(in crate::nn) fn run(&self, source: FrozenInput<'_>, bits: &mut Vec<u16>) -> Option<Vec<f32>> {
        let (isa, _, outputs) = self.weights.shape();
        let pitch = outputs.next_multiple_of(isa.lanes());
        let (after, masks) = match self.then {
            Then::Nothing => (self.grid, 0),
            Then::Relu => (self.grid, 1),
            Then::ReluMaxPool => (self.grid.pooled(), 4),
        };
        let floats = after.pixels() * pitch;
        bits.resize(floats / isa.lanes() * masks, 0);
        let mut output = Output::new(floats);
        let target = Target::Layer {
            to: output.pointer(),
            bits: SharedBits(bits.as_mut_ptr()),
            bias: self.bias,
            then: self.then,
        };
        let finite = convolve(self.grid, self.weights, source, target);
        // SAFETY: the tiles cover all pixels, and so all windows.
        finite.then(|| unsafe { output.finish(floats) })
    }
}

/// The gradient with respect to the input of a convolution, `[N, H, W, inputs in whole vectors]`, given the
/// turned weights. Nothing if a value is not finite.
pub(in crate::nn) fn backward(grid: Grid, weights: &Weights, source: FrozenInput<'_>) -> Option<Vec<f32>> {
    let (isa, _, outputs) = weights.shape();
    let floats = grid.pixels() * outputs.next_multiple_of(isa.lanes());
    let mut output = Output::new(floats);
    let finite = convolve(grid, weights, source, Target::Gradient { to: output.pointer() });
    // SAFETY: the tiles cover all pixels.
    finite.then(|| unsafe { output.finish(floats) })
}

/// As [`backward`] for the first layer: scaled by one number a channel, `[N, channels, H, W]`.
pub(in crate::nn) fn backward_to_pixels(
    grid: Grid,
    weights: &Weights,
    source: FrozenInput<'_>,
    scale: &[f32],
) -> Option<Vec<f32>> {
    let (_, _, outputs) = weights.shape();
    assert_eq!(scale.len(), outputs);
    let floats = grid.pixels() * outputs;
    let mut output = Output::new(floats);
    let finite = convolve(grid, weights, source, Target::Pictures { to: output.pointer(), scale });
    // SAFETY: the tiles cover all pixels.
    finite.then(|| unsafe { output.finish(floats) })
}

/// Runs all tiles. Whether the results are finite.
fn convolve(grid: Grid, weights: &Weights, source: FrozenInput<'_>, target: Target<'_>) -> bool {
    let (isa, inputs, outputs) = weights.shape();
    let padded = [inputs, outputs].map(|count| count.next_multiple_of(isa.lanes()));
    source.check(grid, padded[0], isa.lanes());
    let reader = Reader { grid, source, padded: padded[0] };
    let writer = Writer { grid, target, outputs, padded: padded[1] };
    if let Weights::Plain { values, shape, way, .. } = weights {
        return convolve_wide(isa, way.taps(values, *shape), reader, writer);
    }
    let fewest = match weights {
        Weights::Short { format: Short::Brain, .. } => BRAIN_UNIT_TILES,
        _ => UNIT_TILES,
    };
    let unit = Unit::new(grid, padded, fewest);
    let finite = AtomicBool::new(true);
    (0..grid.tiles().div_ceil(unit.tiles)).into_par_iter().for_each(|index| {
        with_scratch(unit.scratch(), |scratch| {
            let tiles = index * unit.tiles..((index + 1) * unit.tiles).min(grid.tiles());
            let job = |filters| Job { reader, writer, inputs, unit, tiles: tiles.clone(), scratch, filters };
            let fine = match weights {
                Weights::Plain { .. } => unreachable!("went another way"),
                Weights::Full(filter) => {
                    let filters = Filters { start: filter.data.as_ptr().cast(), point: filter.point() };
                    dispatch(isa, FullJob(job(filters)))
                }
                Weights::Short { format, data, .. } => {
                    let filters = Filters { start: data.as_ptr().cast(), point: data.len() / POINTS };
                    run_short(&job(filters), *format)
                }
            };
            if !fine {
                finite.store(false, Ordering::Relaxed);
            }
        });
    });
    finite.into_inner()
}

/// Pictures `[N, channels, H, W]`, normalised by `(x - mean) * scale`, as pixels of `pitch` floats with room
/// for a vector after the last one.
pub(in crate::nn) fn pixels(
    pictures: &[f32],
    grid: Grid,
    pitch: usize,
    mean: &[f32],
    scale: &[f32],
) -> Vec<f32> {
    let (plane, channels) = (grid.height * grid.width, mean.len());
    assert!(channels <= pitch && pictures.len() == grid.pixels() * channels);
    let floats = grid.pixels() * pitch + Line::FLOATS;
    let mut output = Output::new(floats);
    let (body, tail) = output.room(floats).split_at_mut(grid.pixels() * pitch);
    let pieces = body.par_chunks_mut(plane * pitch).zip(pictures.par_chunks(plane * channels));
    pieces.for_each(|(to, from)| {
        for (index, to) in to.chunks_exact_mut(pitch).enumerate() {
            for (channel, to) in to.iter_mut().enumerate() {
                to.write(if channel < channels {
                    (from[channel * plane + index] - mean[channel]) * scale[channel]
                } else {
                    0.0
                });
            }
        }
    });
    for to in tail {
        to.write(0.0);
    }
    // SAFETY: body and tail have been written.
    unsafe { output.finish(floats) }
}
