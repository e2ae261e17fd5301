//! Matrix products in half precision (IEEE 754 binary16), for processors with AVX-512 FP16.
//!
//! Their vectors hold twice as many numbers and multiply them at the same rate. Sums of up to
//! [`CHUNK`] products are kept in half precision and then added up in `f32`. (The other format of 16 bits,
//! bfloat16, has no sums of its own; on the processor that this was measured on its instruction is half as
//! fast as that for `f32`, see `docs/performance.md`.)
#![allow(unsafe_code)]

#[allow(clippy::wildcard_imports)] // Instructions have long names of their own.
use std::arch::x86_64::*;

use super::lanes::Lanes;
use super::x86::Avx512;

/// Products that are summed in half precision.
const CHUNK: usize = 64;
/// Rows of a block: with two vectors a row their sums fill the registers.
const ROWS: usize = 12;

/// Whether the processor has the instructions.
pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512fp16")
}

/// Rounds 16 numbers and stores each twice: so a pair can be broadcast without a shuffle.
///
/// # Safety
/// 16 pairs can be written at `to`.
#[inline(always)]
pub(super) unsafe fn store_twice(value: Avx512, to: *mut u32) {
    // SAFETY: the value proves that the processor has AVX-512F; the caller gives the room.
    unsafe {
        let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value.0);
        let wide = _mm512_cvtepu16_epi32(halves);
        _mm512_storeu_si512(to.cast(), _mm512_or_si512(wide, _mm512_slli_epi32::<16>(wide)));
    }
}

/// Rounds 16 numbers to half precision.
///
/// # Safety
/// The processor has the instructions; 16 numbers can be read and written.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn round(from: *const f32, to: *mut u16) {
    // SAFETY: the caller vouches for the places.
    unsafe {
        let halves = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm512_loadu_ps(from));
        _mm256_storeu_si256(to.cast(), halves);
    }
}

/// `c = a b` with `a` `[rows][depth]` pairs of equal halves, `b` `[panels / 2][depth][32]` halves (rounded
/// up) and `c` `[panels][rows][16]` of `f32`.
pub(super) struct HalfProduct {
    pub rows: usize,
    pub depth: usize,
    pub panels: usize,
    /// Pairs from one row of `a` to the next.
    pub a_row: usize,
}

impl HalfProduct {
    /// # Safety
    /// The processor has the instructions, and the caller is compiled for them; the matrices have those
    /// sizes.
    #[inline(always)]
    pub(super) unsafe fn run(&self, a: *const u32, b: *const u16, c: *mut f32) {
        for panel in (0..self.panels).step_by(4) {
            for first in (0..self.depth).step_by(CHUNK) {
                let part = Part { product: self, panel, first, depth: CHUNK.min(self.depth - first) };
                // SAFETY: the offsets are those of panels inside the matrices.
                unsafe {
                    let b = b.add((panel / 2 * self.depth + first) * 32);
                    let c = c.add(panel * self.rows * 16);
                    if panel + 2 < self.panels {
                        part.column::<2>(a.add(first), b, c);
                    } else {
                        part.column::<1>(a.add(first), b, c);
                    }
                }
            }
        }
    }
}

/// Some columns of a product, and some of its depth.
struct Part<'a> {
    product: &'a HalfProduct,
    panel: usize,
    first: usize,
    depth: usize,
}

impl Part<'_> {
    /// `P` vectors of 32 columns.
    ///
    /// # Safety
    /// As [`HalfProduct::run`], with the matrices moved to the part.
    #[inline(always)]
    unsafe fn column<const P: usize>(&self, a: *const u32, b: *const u16, c: *mut f32) {
        let mut row = 0;
        while row < self.product.rows {
            let left = self.product.rows - row;
            // SAFETY: each block lies inside the rows that are left.
            unsafe {
                let (a, c) = (a.add(row * self.product.a_row), c.add(row * 16));
                row += match left {
                    ROWS.. => self.block::<ROWS, P>(a, b, c),
                    6.. => self.block::<6, P>(a, b, c),
                    4.. => self.block::<4, P>(a, b, c),
                    2.. => self.block::<2, P>(a, b, c),
                    _ => self.block::<1, P>(a, b, c),
                };
            }
        }
    }

    /// `R` rows of `P` vectors, whose sums stay in registers. Returns `R`.
    ///
    /// # Safety
    /// As [`HalfProduct::run`], with the matrices moved to the block.
    #[inline(always)]
    unsafe fn block<const R: usize, const P: usize>(
        &self,
        a: *const u32,
        b: *const u16,
        c: *mut f32,
    ) -> usize {
        let HalfProduct { rows, depth, panels, a_row } = *self.product;
        // SAFETY: every access is inside the blocks that the caller vouches for.
        unsafe {
            let mut sums = [[_mm512_setzero_ph(); P]; R];
            for k in 0..self.depth {
                let mut right = [_mm512_setzero_ph(); P];
                for (p, right) in right.iter_mut().enumerate() {
                    *right = _mm512_castsi512_ph(_mm512_loadu_si512(b.add((p * depth + k) * 32).cast()));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let pair = a.add(r * a_row + k).cast::<i32>().read();
                    let left = _mm512_castsi512_ph(_mm512_set1_epi32(pair));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = _mm512_fmadd_ph(left, right, *sum);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (p, sum) in sums.iter().enumerate() {
                    let bits = _mm512_castph_si512(*sum);
                    let low = _mm512_cvtph_ps(_mm512_castsi512_si256(bits));
                    let high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64::<1>(bits));
                    for (half, value) in [low, high].into_iter().enumerate() {
                        if self.panel + 2 * p + half >= panels {
                            continue;
                        }
                        let to = c.add((2 * p + half) * rows * 16 + r * 16);
                        let value = Avx512(value);
                        let value = if self.first > 0 { value.add(Avx512::load(to)) } else { value };
                        value.store(to);
                    }
                }
            }
        }
        R
    }
}
