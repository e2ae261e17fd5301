//! Convolution of 3x3, stride 1 and padding 1, by Winograd's F(4x4, 3x3), and its gradients.
//!
//! The image is cut into tiles of 4x4 outputs. A work unit takes some rows of tiles through the whole
//! chain while they are in the cache: their pixels are turned channels-last into a strip, each 6x6 tile of
//! the strip is transformed into 36 numbers a channel, 36 matrix products take them from input to output
//! channels, and the way back is the same in reverse. Vectors run over channels throughout, so that a
//! picture may have any size. The gradient with respect to the input is the same convolution with the
//! filter turned round; [`super::weight_gradient()`] has a chain of its own (see [`super::transform`]).
//!
//! The relative error is about 1e-5, ten times that of a direct sum. A NaN or an infinity would spread over
//! its tile: [`convolve`] then gives no result, and the caller takes the slow and exact way.
#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use super::buffer::{Output, Shared, with_scratch};
use super::filter::{Filter, Taps};
use super::lanes::{Isa, Kernel, Lanes, dispatch};
use super::matmul::{Onto, Product};
use super::strip::{Finish, Images, POINTS, Source, Strip, Unit};
use super::transform;
use super::wide::convolve_wide;

/// The convolution of `[N, inputs, H, W]`: `[N, outputs, H, W]`, or nothing if a sum of it is not finite.
pub(in crate::nn) fn convolve(
    isa: Isa,
    input: Source<'_>,
    images: Images,
    taps: Taps<'_>,
    finish: Finish<'_>,
) -> Option<Vec<f32>> {
    input.check(images.floats());
    assert_eq!(images.channels, taps.inputs);
    assert!(finish.bias.is_none_or(|bias| bias.len() == taps.outputs));
    if taps.are_wide() {
        return convolve_wide(isa, input, images, taps, finish);
    }
    convolve_narrow(input, images, &Filter::new(isa, taps), finish)
}

/// [`convolve`] with all filters transformed beforehand.
pub(super) fn convolve_narrow(
    input: Source<'_>,
    images: Images,
    filter: &Filter,
    finish: Finish<'_>,
) -> Option<Vec<f32>> {
    let unit = Unit::new(filter.isa, images, [filter.inputs, filter.outputs])
        .balanced(images, rayon::current_num_threads());
    let floats = images.count * filter.outputs * images.plane();
    let mut output = Output::new(floats);
    let (to, finite) = (output.pointer(), AtomicBool::new(true));
    (0..unit.count(images)).into_par_iter().for_each(|index| {
        with_scratch(unit.scratch(images), |scratch| {
            let rows = unit.range(images, index);
            let kernel = ForwardUnit { input, images, filter, finish, unit, rows, scratch, to };
            if !dispatch(filter.isa, kernel) {
                finite.store(false, Ordering::Relaxed);
            }
        });
    });
    // SAFETY: the units together write every row of every plane.
    finite.into_inner().then(|| unsafe { output.finish(floats) })
}

/// Some rows of tiles of a convolution.
struct ForwardUnit<'a> {
    input: Source<'a>,
    images: Images,
    filter: &'a Filter,
    finish: Finish<'a>,
    unit: Unit,
    rows: Range<usize>,
    scratch: *mut f32,
    to: Shared,
}

impl Kernel for ForwardUnit<'_> {
    /// Whether all results are finite.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> bool {
        let (images, unit, filter) = (self.images, self.unit, self.filter);
        let across = images.tiles_across();
        let [inputs, outputs] = unit.padded;
        let (in_point, out_point) = (unit.point(images, 0), unit.point(images, 1));
        let product = Product {
            rows: self.rows.len() * across,
            depth: filter.inputs,
            panels: outputs / L::N,
            a_row: inputs,
            a_depth: 1,
            onto: Onto::Nothing,
        };
        // SAFETY: `Unit::scratch` sums what is carved out here, and all offsets stay inside their part. The
        // filter has been made for the same instruction set, hence with the same vectors.
        unsafe {
            let tiles = self.scratch;
            let products = tiles.add(POINTS * in_point);
            let strip = products.add(POINTS * out_point);
            let source = Strip { images, halo: 1, padded: inputs, first: 0, start: strip };
            for row in self.rows.clone() {
                source.read::<L>(self.input, row);
                let first = (row - self.rows.start) * across;
                source.transform::<L, transform::Input, 6>(in_point, |t, channel| {
                    tiles.add((first + t) * inputs + channel)
                });
            }
            let filters = filter.data.as_ptr();
            for point in 0..POINTS {
                product.run::<L>(
                    tiles.add(point * in_point),
                    filters.add(point * filter.point()),
                    products.add(point * out_point),
                );
            }
            let images = Images { channels: filter.outputs, ..images };
            let target = Strip { images, halo: 0, padded: outputs, first: 0, start: strip };
            target.write_products::<L>(self.to, self.rows.clone(), (products, out_point), self.finish)
        }
    }
}
