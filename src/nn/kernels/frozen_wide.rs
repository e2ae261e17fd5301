//! Convolution of many channels in a frozen network (see [`super::frozen`]): the weights stay as they are, and are
//! transformed block by block while they are used (see [`super::wide`]).
#![allow(unsafe_code)]

use std::ops::Range;

use super::buffer::with_scratch;
use super::filter::Taps;
use super::frozen_source::Reader;
use super::frozen_target::Writer;
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::wide::{Section, Sums, Walk};

/// Runs all tiles. Whether the results are finite.
pub(super) fn convolve_wide(isa: Isa, taps: Taps<'_>, reader: Reader<'_>, writer: Writer<'_>) -> bool {
    let walk = Walk { isa, taps, units: reader.grid.tiles(), unit_tiles: 1 };
    walk.run(
        |section, tiles| dispatch(isa, Read { reader, section, tiles }),
        |sums, tiles| {
            with_scratch(sums.scratch(isa.lanes()), |scratch| {
                dispatch(isa, Write { writer, sums, tiles, scratch })
            })
        },
    )
}

/// Transforms some tiles.
struct Read<'a> {
    reader: Reader<'a>,
    section: Section,
    tiles: Range<usize>,
}

impl Kernel for Read<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) {
        let point = self.section.point();
        for tile in self.tiles {
            for channel in (0..self.reader.padded).step_by(L::N) {
                // SAFETY: the source was checked; a tile is written by one thread, to its own places.
                unsafe {
                    let values = self.reader.read::<L>(tile, channel);
                    let to = self.section.place(tile, 0, channel);
                    for (at, value) in values.as_flattened().iter().enumerate() {
                        value.store(to.add(at * point));
                    }
                }
            }
        }
    }
}

/// Takes a band of tiles to some output channels.
struct Write<'a> {
    writer: Writer<'a>,
    sums: Sums<'a>,
    tiles: Range<usize>,
    scratch: *mut f32,
}

impl Kernel for Write<'_> {
    /// Whether all results are finite.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> bool {
        // SAFETY: the scratch has room for the sums, and the channels of these tiles are written by this task alone.
        unsafe {
            self.sums.compute::<L>(self.scratch);
            let (panels, point) = (self.sums.panels.clone(), self.sums.point(L::N));
            self.writer.write::<L>(self.tiles, panels, self.scratch, point)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::filter::Filter;
    use super::super::frozen::{Forward, Grid, Then, Way, Weights, backward};
    use super::super::frozen_source::FrozenInput;
    use super::*;

    fn waves(floats: usize, step: f32) -> Vec<f32> {
        (0..floats).map(|i| (i as f32 * step).sin()).collect()
    }

    #[test]
    fn weights_as_they_are_give_the_bits_of_transformed_ones() {
        // More tiles than a band, cut-off tiles and windows, blocks and tasks that are not full.
        let (grid, shape) = (Grid { count: 6, height: 19, width: 22 }, [75, 70]);
        let values: Arc<[f32]> = waves(shape[0] * shape[1] * 9, 0.37).into();
        let bias = waves(shape[0], 0.9);
        for isa in Isa::available() {
            let [outputs, inputs] = shape.map(|count| count.next_multiple_of(isa.lanes()));
            let both = |way: Way| {
                let taps = match way {
                    Way::Forward => Taps::forward(&values, shape[0], shape[1]),
                    Way::Backward => Taps::backward(&values, shape[0], shape[1]),
                };
                [
                    Weights::Plain { isa, values: values.clone(), shape, way },
                    Weights::Full(Filter::new(isa, taps)),
                ]
            };
            let mut pixels = waves(grid.pixels() * inputs, 0.11);
            for pixel in pixels.chunks_exact_mut(inputs) {
                pixel[shape[1]..].fill(0.0);
            }
            for then in [Then::Nothing, Then::Relu, Then::ReluMaxPool] {
                let [plain, full] = both(Way::Forward).map(|weights| {
                    let mut bits = Vec::new();
                    let source = FrozenInput::Pixels { values: &pixels, pitch: inputs };
                    let found = Forward { grid, weights: &weights, bias: &bias, then }.run(source, &mut bits);
                    (found.expect("finite"), bits)
                });
                assert!(plain == full, "{isa:?} {then:?}");
                let gradient = &plain.0;
                let source = match then {
                    Then::Nothing => FrozenInput::Pixels { values: gradient, pitch: outputs },
                    Then::Relu => FrozenInput::Relu { gradient, bits: &plain.1 },
                    Then::ReluMaxPool => FrozenInput::Pooled { gradient, bits: &plain.1 },
                };
                let [plain, full] = both(Way::Backward).map(|weights| backward(grid, &weights, source));
                assert!(plain.is_some() && plain == full, "{isa:?} {then:?}");
            }
        }
    }
}
