//! What a frozen network remembers of its forward pass: one bit a value.
#![allow(unsafe_code)]

use super::lanes::Portable;
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512};

/// Vectors of at most 16 floats that can be compared and cut by bits, lane 0 in the lowest one.
pub(super) trait Masks: Copy {
    /// The lanes that are larger than those of another vector; not those where either is NaN.
    fn above(self, other: Self) -> u16;

    /// The same vector with zero where the bit is not set.
    fn keep(self, bits: u16) -> Self;

    /// The larger of each two lanes; either where one is NaN.
    fn larger(self, other: Self) -> Self;
}

impl Masks for Portable {
    #[inline(always)]
    fn above(self, other: Self) -> u16 {
        let mut bits = 0;
        for i in 0..4 {
            bits |= u16::from(self.0[i] > other.0[i]) << i;
        }
        bits
    }

    #[inline(always)]
    fn keep(self, bits: u16) -> Self {
        let mut lanes = self.0;
        for (i, lane) in lanes.iter_mut().enumerate() {
            *lane = if bits >> i & 1 == 1 { *lane } else { 0.0 };
        }
        Self(lanes)
    }

    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        let mut lanes = self.0;
        for (lane, other) in lanes.iter_mut().zip(other.0) {
            *lane = if *lane > other { *lane } else { other };
        }
        Self(lanes)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports)] // As in `super::x86`.
    use std::arch::x86_64::*;

    use super::{Avx2, Avx512, Masks};

    impl Masks for Avx512 {
        #[inline(always)]
        fn above(self, other: Self) -> u16 {
            // SAFETY: the value proves that the processor has the instruction set.
            unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0) }
        }

        #[inline(always)]
        fn keep(self, bits: u16) -> Self {
            // SAFETY: the value proves that the processor has the instruction set.
            Self(unsafe { _mm512_maskz_mov_ps(bits, self.0) })
        }

        #[inline(always)]
        fn larger(self, other: Self) -> Self {
            // SAFETY: the value proves that the processor has the instruction set.
            Self(unsafe { _mm512_max_ps(self.0, other.0) })
        }
    }

    impl Masks for Avx2 {
        #[inline(always)]
        fn above(self, other: Self) -> u16 {
            // SAFETY: the value proves that the processor has the instruction set.
            unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0)) as u16 }
        }

        #[inline(always)]
        fn keep(self, bits: u16) -> Self {
            // SAFETY: the value proves that the processor has the instruction set.
            unsafe {
                let lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
                let set = _mm256_and_si256(_mm256_set1_epi32(i32::from(bits)), lane);
                let whole = _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, lane));
                Self(_mm256_and_ps(self.0, whole))
            }
        }

        #[inline(always)]
        fn larger(self, other: Self) -> Self {
            // SAFETY: the value proves that the processor has the instruction set.
            Self(unsafe { _mm256_max_ps(self.0, other.0) })
        }
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // Equal values are meant.
mod tests {
    use super::super::lanes::{Isa, Kernel, Lanes, dispatch};

    struct Check;
    impl Kernel for Check {
        type Output = ();
        #[inline(always)]
        unsafe fn run<L: Lanes>(self) {
            let values: Vec<f32> = (0..16).map(|i| (i as f32 * 2.3).sin()).collect();
            let mut out = vec![0.0; L::N];
            // SAFETY: the vectors hold at least `N` floats.
            unsafe {
                let (a, zero) = (L::load(values.as_ptr()), L::splat(0.0));
                let expected = (0..L::N).fold(0, |bits, i| bits | u16::from(values[i] > 0.0) << i);
                assert_eq!(a.above(zero), expected);
                a.keep(0b1010_0101_1100_0110).store(out.as_mut_ptr());
                for (i, lane) in out.iter().enumerate() {
                    assert_eq!(*lane, if 0b1010_0101_1100_0110 >> i & 1 == 1 { values[i] } else { 0.0 });
                }
                a.larger(zero).store(out.as_mut_ptr());
                for (lane, value) in out.iter().zip(&values) {
                    assert_eq!(*lane, value.max(0.0));
                }
                assert_eq!(L::splat(f32::NAN).above(zero), 0);
            }
        }
    }

    #[test]
    fn bits_are_lanes_on_every_instruction_set() {
        for isa in Isa::available() {
            dispatch(isa, Check);
        }
    }
}
