//! The vectors of x86-64 processors with AVX-512 or AVX2.
//!
//! Every `unsafe` block below calls intrinsics whose instruction set is there: the constructors demand it
//! of their caller, and a value can only come from a constructor (see [`Lanes`]). The memory that loads
//! and stores touch is the caller's promise.
#![allow(unsafe_code)]

#[allow(clippy::wildcard_imports)] // Forty names that say where they are from.
use std::arch::x86_64::*;

use super::lanes::Lanes;

/// Sixteen floats.
#[derive(Clone, Copy)]
pub(super) struct Avx512(pub(super) __m512);

impl Lanes for Avx512 {
    const N: usize = 16;
    const ROWS: usize = 14;
    type Square = [Self; 16];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm512_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm512_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        // SAFETY: see the head of this file; lanes outside the mask are not read.
        Self(unsafe { _mm512_maskz_loadu_ps(mask16(count), from) })
    }

    #[inline(always)]
    unsafe fn gather(from: *const f32, distances: *const i32) -> Self {
        // SAFETY: see the head of this file; lanes outside the mask are not read.
        unsafe {
            let distances = _mm512_loadu_si512(distances.cast());
            let inside = _mm512_cmpge_epi32_mask(distances, _mm512_setzero_si512());
            Self(_mm512_mask_i32gather_ps::<4>(_mm512_setzero_ps(), inside, distances, from))
        }
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        // SAFETY: see the head of this file; nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see the head of this file.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: see the head of this file; lanes outside the mask are not written.
        unsafe { _mm512_mask_storeu_ps(to, mask16(count), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, summand.0) })
    }

    #[inline(always)]
    fn gate(self, by: Self) -> Self {
        // SAFETY: see the head of this file.
        unsafe {
            let passes = _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(by.0, _mm512_setzero_ps());
            Self(_mm512_maskz_mov_ps(passes, self.0))
        }
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm512_div_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn max(self, bound: Self) -> Self {
        // SAFETY: see the head of this file. The instruction gives its second operand where one is NaN.
        Self(unsafe { _mm512_max_ps(bound.0, self.0) })
    }

    #[inline(always)]
    fn if_negative(self, then: Self, otherwise: Self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe {
            let below = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, _mm512_setzero_ps());
            _mm512_mask_blend_ps(below, otherwise.0, then.0)
        })
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe {
            let exponent = _mm512_add_epi32(_mm512_cvtps_epi32(self.0), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(exponent))
        })
    }

    #[inline(always)]
    unsafe fn zeros() -> [Self; 16] {
        // SAFETY: see the head of this file.
        [Self(unsafe { _mm512_setzero_ps() }); 16]
    }

    #[inline(always)]
    fn transpose(s: &mut [Self; 16]) {
        let mut t = *s;
        // SAFETY: see the head of this file.
        unsafe {
            // Within each block of four vectors and each quarter of 128 bits: transpose 4x4.
            for i in (0..16).step_by(4) {
                let [a, b, c, d] = [s[i].0, s[i + 1].0, s[i + 2].0, s[i + 3].0];
                let ab =
                    [_mm512_castps_pd(_mm512_unpacklo_ps(a, b)), _mm512_castps_pd(_mm512_unpackhi_ps(a, b))];
                let cd =
                    [_mm512_castps_pd(_mm512_unpacklo_ps(c, d)), _mm512_castps_pd(_mm512_unpackhi_ps(c, d))];
                t[i] = Self(_mm512_castpd_ps(_mm512_unpacklo_pd(ab[0], cd[0])));
                t[i + 1] = Self(_mm512_castpd_ps(_mm512_unpackhi_pd(ab[0], cd[0])));
                t[i + 2] = Self(_mm512_castpd_ps(_mm512_unpacklo_pd(ab[1], cd[1])));
                t[i + 3] = Self(_mm512_castpd_ps(_mm512_unpackhi_pd(ab[1], cd[1])));
            }
            // Then the quarters themselves: quarter q of vector 4b + r goes to quarter b of vector 4q + r.
            for r in 0..4 {
                let [a, b, c, d] = [t[r].0, t[r + 4].0, t[r + 8].0, t[r + 12].0];
                let (ab_even, ab_odd) =
                    (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
                let (cd_even, cd_odd) =
                    (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
                s[r] = Self(_mm512_shuffle_f32x4::<0x88>(ab_even, cd_even));
                s[r + 4] = Self(_mm512_shuffle_f32x4::<0x88>(ab_odd, cd_odd));
                s[r + 8] = Self(_mm512_shuffle_f32x4::<0xdd>(ab_even, cd_even));
                s[r + 12] = Self(_mm512_shuffle_f32x4::<0xdd>(ab_odd, cd_odd));
            }
        }
    }
}

/// The first `count <= 16` lanes.
#[inline(always)]
fn mask16(count: usize) -> u16 {
    ((1_u32 << count) - 1) as u16
}

/// Eight floats.
#[derive(Clone, Copy)]
pub(super) struct Avx2(pub(super) __m256);

impl Lanes for Avx2 {
    const N: usize = 8;
    const ROWS: usize = 6;
    type Square = [Self; 8];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm256_set1_ps(value) })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm256_loadu_ps(from) })
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        // SAFETY: see the head of this file; lanes outside the mask are not read.
        Self(unsafe { _mm256_maskload_ps(from, mask8(count)) })
    }

    #[inline(always)]
    unsafe fn gather(from: *const f32, distances: *const i32) -> Self {
        // SAFETY: see the head of this file; lanes outside the mask are not read.
        unsafe {
            let distances = _mm256_loadu_si256(distances.cast());
            let inside = _mm256_cmpgt_epi32(distances, _mm256_set1_epi32(-1));
            let inside = _mm256_castsi256_ps(inside);
            Self(_mm256_mask_i32gather_ps::<4>(_mm256_setzero_ps(), from, distances, inside))
        }
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const f32) {
        // SAFETY: see the head of this file; nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: see the head of this file.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        // SAFETY: see the head of this file; lanes outside the mask are not written.
        unsafe { _mm256_maskstore_ps(to, mask8(count), self.0) }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm256_add_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm256_mul_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm256_fmadd_ps(self.0, factor.0, summand.0) })
    }

    #[inline(always)]
    fn gate(self, by: Self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_NLE_UQ>(by.0, _mm256_setzero_ps()), self.0) })
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe { _mm256_div_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn max(self, bound: Self) -> Self {
        // SAFETY: see the head of this file. The instruction gives its second operand where one is NaN.
        Self(unsafe { _mm256_max_ps(bound.0, self.0) })
    }

    #[inline(always)]
    fn if_negative(self, then: Self, otherwise: Self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe {
            let below = _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, _mm256_setzero_ps());
            _mm256_blendv_ps(otherwise.0, then.0, below)
        })
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        // SAFETY: see the head of this file.
        Self(unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
        })
    }

    #[inline(always)]
    unsafe fn zeros() -> [Self; 8] {
        // SAFETY: see the head of this file.
        [Self(unsafe { _mm256_setzero_ps() }); 8]
    }

    #[inline(always)]
    fn transpose(s: &mut [Self; 8]) {
        let mut t = *s;
        // SAFETY: see the head of this file.
        unsafe {
            // Within each block of four vectors and each half of 128 bits: transpose 4x4.
            for i in [0, 4] {
                let [a, b, c, d] = [s[i].0, s[i + 1].0, s[i + 2].0, s[i + 3].0];
                let ab =
                    [_mm256_castps_pd(_mm256_unpacklo_ps(a, b)), _mm256_castps_pd(_mm256_unpackhi_ps(a, b))];
                let cd =
                    [_mm256_castps_pd(_mm256_unpacklo_ps(c, d)), _mm256_castps_pd(_mm256_unpackhi_ps(c, d))];
                t[i] = Self(_mm256_castpd_ps(_mm256_unpacklo_pd(ab[0], cd[0])));
                t[i + 1] = Self(_mm256_castpd_ps(_mm256_unpackhi_pd(ab[0], cd[0])));
                t[i + 2] = Self(_mm256_castpd_ps(_mm256_unpacklo_pd(ab[1], cd[1])));
                t[i + 3] = Self(_mm256_castpd_ps(_mm256_unpackhi_pd(ab[1], cd[1])));
            }
            // Then the halves themselves.
            for r in 0..4 {
                s[r] = Self(_mm256_permute2f128_ps::<0x20>(t[r].0, t[r + 4].0));
                s[r + 4] = Self(_mm256_permute2f128_ps::<0x31>(t[r].0, t[r + 4].0));
            }
        }
    }
}

/// The first `count <= 8` lanes: all bits of a lane that takes part are set.
#[inline(always)]
fn mask8(count: usize) -> __m256i {
    const WINDOW: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    let window: &[i32; 8] = WINDOW[8 - count..][..8].try_into().expect("a slice of eight");
    // SAFETY: eight integers are read from an array of eight.
    unsafe { _mm256_loadu_si256(window.as_ptr().cast()) }
}
