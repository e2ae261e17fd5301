//! Some tiles of a frozen convolution (see [`super::frozen`]): read and transformed, multiplied by filters that were
//! transformed beforehand, in `f32` or in numbers of 16 bits, and handed over.
#![allow(unsafe_code)]

use std::ops::Range;

use super::frozen::Unit;
use super::frozen_source::Reader;
use super::frozen_target::Writer;
use super::lanes::{Isa, Kernel, Lanes};
use super::matmul::{Onto, Product};
use super::strip::POINTS;
#[cfg(target_arch = "x86_64")]
use super::{brain, half, x86::Avx512};

/// The 36 filter matrices.
#[derive(Clone, Copy)]
pub(super) struct Filters {
    pub start: *const (),
    /// Numbers from one to the next.
    pub point: usize,
}

/// Some tiles of a convolution.
pub(super) struct Job<'a> {
    pub reader: Reader<'a>,
    pub writer: Writer<'a>,
    pub inputs: usize,
    pub unit: Unit,
    pub tiles: Range<usize>,
    pub scratch: *mut f32,
    pub filters: Filters,
}

pub(super) struct FullJob<'a>(pub Job<'a>);

impl Kernel for FullJob<'_> {
    /// Whether all results are finite.
    type Output = bool;

    #[inline(always)]
    unsafe fn run<L: Lanes>(self) -> bool {
        // SAFETY: `Unit::scratch` has room for both kinds of matrices; the sources were checked.
        unsafe { self.0.run::<L, Full>() }
    }
}

/// The numbers of the 36 matrices.
trait Numbers<L: Lanes> {
    /// Bytes of a number in a row of a matrix, at most four.
    const BYTES: usize = 4;

    /// Rounds a vector of a transformed tile to its place in a row of a matrix.
    ///
    /// # Safety
    /// The channel is inside the row.
    unsafe fn put(value: L, row: *mut f32, channel: usize);

    /// # Safety
    /// As [`Product::run`]; `a` is made of what `put` writes, `b` is of that kind too.
    unsafe fn multiply(product: &Product, a: *const f32, filters: Filters, point: usize, c: *mut f32);
}

struct Full;

impl<L: Lanes> Numbers<L> for Full {
    #[inline(always)]
    unsafe fn put(value: L, row: *mut f32, channel: usize) {
        // SAFETY: the caller's promise.
        unsafe { value.store(row.add(channel)) }
    }

    #[inline(always)]
    unsafe fn multiply(product: &Product, a: *const f32, filters: Filters, point: usize, c: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { product.run::<L>(a, filters.start.cast::<f32>().add(point * filters.point), c) }
    }
}

#[cfg(target_arch = "x86_64")]
struct Half;

#[cfg(target_arch = "x86_64")]
impl Numbers<Avx512> for Half {
    #[inline(always)]
    unsafe fn put(value: Avx512, row: *mut f32, channel: usize) {
        // SAFETY: the caller's promise.
        unsafe { half::store_twice(value, row.add(channel).cast()) }
    }

    #[inline(always)]
    unsafe fn multiply(product: &Product, a: *const f32, filters: Filters, point: usize, c: *mut f32) {
        let Product { rows, depth, panels, a_row, .. } = *product;
        // SAFETY: the caller's promise.
        unsafe {
            let b = filters.start.cast::<u16>().add(point * filters.point);
            half::HalfProduct { rows, depth, panels, a_row }.run(a.cast(), b, c);
        }
    }
}

#[cfg(target_arch = "x86_64")]
struct Brain;

#[cfg(target_arch = "x86_64")]
impl Numbers<Avx512> for Brain {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn put(value: Avx512, row: *mut f32, channel: usize) {
        // SAFETY: the caller's promise.
        unsafe { brain::store(value, row.cast::<u16>().add(channel)) }
    }

    #[inline(always)]
    unsafe fn multiply(product: &Product, a: *const f32, filters: Filters, point: usize, c: *mut f32) {
        let Product { rows, depth, panels, a_row, .. } = *product;
        // SAFETY: the caller's promise.
        unsafe {
            let b = filters.start.cast::<u16>().add(point * filters.point);
            let product = brain::BrainProduct { rows, pairs: depth.div_ceil(2), panels, a_row: a_row / 2 };
            product.run(a.cast(), b.cast(), c);
        }
    }
}

/// Formats of 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nn) enum Short {
    /// IEEE 754 binary16.
    Half,
    /// bfloat16.
    Brain,
}

impl Short {
    /// Whether the processor multiplies such numbers, with the instruction set in use.
    pub(in crate::nn) fn is_there(self, isa: Isa) -> bool {
        #[cfg(target_arch = "x86_64")]
        return isa.lanes() == Avx512::N
            && match self {
                Self::Half => half::is_there(),
                Self::Brain => brain::is_there(),
            };
        #[cfg(not(target_arch = "x86_64"))]
        return isa.lanes() == 0;
    }
}

/// Runs some tiles with filters of 16 bits. Whether all results are finite.
#[cfg(target_arch = "x86_64")]
pub(super) fn run_short(job: &Job<'_>, format: Short) -> bool {
    #[target_feature(enable = "avx512f,avx512fp16,avx2,fma")]
    unsafe fn half(job: &Job<'_>) -> bool {
        // SAFETY: as in [`FullJob`].
        unsafe { job.run::<Avx512, Half>() }
    }
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx2,fma")]
    unsafe fn brain(job: &Job<'_>) -> bool {
        // SAFETY: as in [`FullJob`].
        unsafe { job.run::<Avx512, Brain>() }
    }
    // SAFETY: weights of a format are made only where the processor has the instructions.
    match format {
        Short::Half => unsafe { half(job) },
        Short::Brain => unsafe { brain(job) },
    }
}

/// There are no weights of 16 bits on this processor.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn run_short(_: &Job<'_>, _: Short) -> bool {
    false
}

impl Job<'_> {
    #[inline(always)]
    unsafe fn run<L: Lanes, P: Numbers<L>>(&self) -> bool {
        // SAFETY: the caller vouches for scratch and sources.
        unsafe {
            self.read::<L, P>();
            self.multiply::<L, P>();
            let (panels, point) = (0..self.unit.padded[1] / L::N, self.unit.point(1));
            let products = self.scratch.add(POINTS * self.unit.point(0));
            self.writer.write::<L>(self.tiles.clone(), panels, products, point)
        }
    }

    /// Transforms the tiles into 36 matrices `[tiles][inputs]`.
    #[inline(always)]
    unsafe fn read<L: Lanes, P: Numbers<L>>(&self) {
        let (padded, point) = (self.unit.padded[0], self.unit.point(0));
        for (index, tile) in self.tiles.clone().enumerate() {
            for channel in (0..padded).step_by(L::N) {
                // SAFETY: the places are inside the scratch; the source was checked.
                unsafe {
                    let values = self.reader.read::<L>(tile, channel);
                    for (p, value) in values.as_flattened().iter().enumerate() {
                        let row = index * (padded * P::BYTES / 4);
                        P::put(*value, self.scratch.add(p * point + row), channel);
                    }
                }
            }
        }
    }

    /// The 36 products.
    #[inline(always)]
    unsafe fn multiply<L: Lanes, P: Numbers<L>>(&self) {
        let (rows, [inputs, outputs]) = (self.tiles.len(), self.unit.padded);
        let product = Product {
            rows,
            depth: self.inputs,
            panels: outputs / L::N,
            a_row: inputs,
            a_depth: 1,
            onto: Onto::Nothing,
        };
        for point in 0..POINTS {
            // SAFETY: the matrices were carved out of scratch with these sizes; the filter has been made for
            // the same instruction set.
            unsafe {
                let a = self.scratch.add(point * self.unit.point(0));
                let c = self.scratch.add(POINTS * self.unit.point(0) + point * self.unit.point(1));
                P::multiply(&product, a, self.filters, point, c);
            }
        }
    }
}
