//! Matrix products of bfloat16 numbers (the upper half of an `f32`) summed in `f32`, for processors with AVX-512 BF16.
//!
//! An instruction multiplies two vectors of 32 numbers, adds the products in pairs, and adds these to 16 sums. So two
//! neighbours in depth lie side by side in both matrices. Worth it on the EPYC of `docs/performance.md`, not on its Xeon, which
//! issues the instruction at a quarter of the rate.
#![allow(unsafe_code)]

#[allow(clippy::wildcard_imports)] // Instructions have long names of their own.
use std::arch::x86_64::*;
use std::mem::transmute;

use super::lanes::Lanes;
use super::x86::Avx512;

/// Rows of a block: with two vectors a row their sums fill the registers.
const ROWS: usize = 12;

/// Whether the processor has the instructions.
pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16")
}

/// Rounds 16 numbers.
///
/// # Safety
/// The processor has the instructions, and the caller is compiled for them; 16 numbers can be written at `to`.
#[inline(always)]
pub(super) unsafe fn store(value: Avx512, to: *mut u16) {
    // SAFETY: the caller's promise; both types are 32 bytes of any bits.
    unsafe {
        let rounded = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(value.0));
        _mm256_storeu_si256(to.cast(), rounded);
    }
}

/// Rounds two rows of 16 numbers and puts the neighbours side by side.
///
/// # Safety
/// The processor has the instructions; 16 numbers can be read from both, and 32 written.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn round_pairs(first: *const f32, second: Option<*const f32>, to: *mut u16) {
    // SAFETY: the caller vouches for the places; both types are 32 bytes of any bits.
    unsafe {
        let rounded =
            |row: __m512| _mm512_cvtepu16_epi32(transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(row)));
        let low = rounded(_mm512_loadu_ps(first));
        let high = rounded(second.map_or(_mm512_setzero_ps(), |second| _mm512_loadu_ps(second)));
        _mm512_storeu_si512(to.cast(), _mm512_or_si512(low, _mm512_slli_epi32::<16>(high)));
    }
}

/// `c = a b` with `a` `[rows][pairs]`, `b` `[panels][pairs][16]` pairs of numbers and `c` `[panels][rows][16]` of `f32`.
pub(super) struct BrainProduct {
    pub rows: usize,
    /// Half the depth, rounded up.
    pub pairs: usize,
    pub panels: usize,
    /// Pairs from one row of `a` to the next.
    pub a_row: usize,
}

impl BrainProduct {
    /// # Safety
    /// The processor has the instructions, and the caller is compiled for them; the matrices have those sizes.
    #[inline(always)]
    pub(super) unsafe fn run(&self, a: *const u32, b: *const u32, c: *mut f32) {
        for panel in (0..self.panels).step_by(2) {
            // SAFETY: the offsets are those of panels inside the matrices.
            unsafe {
                let (b, c) = (b.add(panel * self.pairs * 16), c.add(panel * self.rows * 16));
                if panel + 1 < self.panels {
                    self.column::<2>(a, b, c);
                } else {
                    self.column::<1>(a, b, c);
                }
            }
        }
    }

    /// `P` panels.
    ///
    /// # Safety
    /// As [`Self::run`], with the matrices moved to the panels.
    #[inline(always)]
    unsafe fn column<const P: usize>(&self, a: *const u32, b: *const u32, c: *mut f32) {
        let mut row = 0;
        while row < self.rows {
            // SAFETY: each block lies inside the rows that are left.
            unsafe {
                let (a, c) = (a.add(row * self.a_row), c.add(row * 16));
                row += match self.rows - row {
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
    /// As [`Self::run`], with the matrices moved to the block.
    #[inline(always)]
    unsafe fn block<const R: usize, const P: usize>(
        &self,
        a: *const u32,
        b: *const u32,
        c: *mut f32,
    ) -> usize {
        // SAFETY: every access is inside the blocks that the caller vouches for; vectors are 64 bytes of any bits.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); P]; R];
            for pair in 0..self.pairs {
                let mut right = [_mm512_setzero_si512(); P];
                for (p, right) in right.iter_mut().enumerate() {
                    *right = _mm512_loadu_si512(b.add((p * self.pairs + pair) * 16).cast());
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let left = _mm512_set1_epi32(a.add(r * self.a_row + pair).cast::<i32>().read());
                    for (sum, right) in sums.iter_mut().zip(right) {
                        let [left, right] = [left, right].map(|bits| transmute::<__m512i, __m512bh>(bits));
                        *sum = _mm512_dpbf16_ps(*sum, left, right);
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                for (p, sum) in sums.iter().enumerate() {
                    Avx512(*sum).store(c.add((p * self.rows + r) * 16));
                }
            }
        }
        R
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers have no rounding, so the products are exact: all sizes of blocks, an odd depth, one panel.
    #[test]
    fn products_of_whole_numbers_are_exact() {
        #[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx2,fma")]
        unsafe fn product(job: &BrainProduct, a: &[f32], depth: usize, b: &[Vec<f32>]) -> Vec<f32> {
            let mut left = vec![0_u32; job.rows * job.a_row];
            let mut right = vec![0_u16; job.panels * job.pairs * 32];
            let mut c = vec![f32::NAN; job.panels * job.rows * 16];
            // SAFETY: the rows of `a` are whole vectors, and the matrices have room for all numbers.
            unsafe {
                for row in 0..job.rows {
                    for channel in (0..job.a_row).step_by(16) {
                        let value = Avx512::load(a.as_ptr().add(row * job.a_row + channel));
                        store(value, left.as_mut_ptr().add(row * job.a_row).cast::<u16>().add(channel));
                    }
                }
                for (panel, b) in b.iter().enumerate() {
                    for pair in 0..job.pairs {
                        let first = b.as_ptr().add(pair * 32);
                        let second = (2 * pair + 1 < depth).then(|| first.add(16));
                        round_pairs(first, second, right.as_mut_ptr().add((panel * job.pairs + pair) * 32));
                    }
                }
                job.run(left.as_ptr(), right.as_ptr().cast(), c.as_mut_ptr());
            }
            c
        }
        if !is_there() {
            return;
        }
        let whole = |i: usize, j: usize| ((i * 7 + j * 13) % 17) as f32 - 8.0;
        for (rows, depth, panels) in [(1, 1, 1), (2, 2, 2), (3, 17, 1), (25, 33, 3), (12, 64, 2), (23, 5, 4)]
        {
            let a_row = usize::next_multiple_of(depth, 16);
            let job = BrainProduct { rows, pairs: depth.div_ceil(2), panels, a_row };
            let left = |i: usize, k: usize| if k < depth { whole(i, k) } else { 0.0 };
            let a: Vec<f32> = (0..rows * a_row).map(|at| left(at / a_row, at % a_row)).collect();
            let of_panel = |panel: usize| {
                (0..depth * 16).map(|at| whole(at / 16 + 3, panel * 16 + at % 16)).collect::<Vec<f32>>()
            };
            let b: Vec<Vec<f32>> = (0..panels).map(of_panel).collect();
            // SAFETY: the instructions are there.
            let found = unsafe { product(&job, &a, depth, &b) };
            for (at, found) in found.into_iter().enumerate() {
                let (panel, row, column) = (at / (rows * 16), at / 16 % rows, at % 16);
                let expected: f32 = (0..depth).map(|k| left(row, k) * b[panel][k * 16 + column]).sum();
                assert!((found - expected).abs() < 1e-6, "{rows} {depth} {panels}: {found} {expected}");
            }
        }
    }
}
