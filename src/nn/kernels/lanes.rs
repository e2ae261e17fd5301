//! Vectors of `f32` and the instruction set that runs them.
//!
//! A kernel is written once, generic over [`Lanes`], and compiled once for each instruction set: inside
//! [`dispatch`] everything marked `inline(always)` becomes part of a function that may use the set. Which
//! set is used is found at run time; the environment variable `SYFAR_SIMD` (`avx512`, `avx2` or
//! `portable`) forces one.
#![allow(unsafe_code)]

use std::ops::IndexMut;
use std::sync::OnceLock;

use super::masks::Masks;
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512};

/// A vector of `N` floats.
///
/// The constructors are unsafe because they may only be called where the processor has the instruction
/// set; whoever holds a value may do arithmetic with it, since the value proves that one was.
pub(super) trait Lanes: Masks {
    /// Floats in one vector.
    const N: usize;
    /// Rows of the largest block that a matrix product keeps in registers (two vectors wide).
    const ROWS: usize;
    /// `N` vectors.
    type Square: Copy + IndexMut<usize, Output = Self>;

    /// The same value in all lanes.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn splat(value: f32) -> Self;

    /// `N` floats from memory of any alignment.
    ///
    /// # Safety
    /// The processor has the instruction set; `N` floats can be read at `from`.
    unsafe fn load(from: *const f32) -> Self;

    /// The first `count <= N` floats from memory, zero in the other lanes.
    ///
    /// # Safety
    /// The processor has the instruction set; `count` floats can be read at `from`.
    unsafe fn load_part(from: *const f32, count: usize) -> Self;

    /// The floats at `N` distances from a place, zero where a distance is negative.
    ///
    /// # Safety
    /// The processor has the instruction set; `N` distances can be read, and a float at each that is not
    /// negative.
    unsafe fn gather(from: *const f32, distances: *const i32) -> Self;

    /// Asks for the cache line of a place that will be read soon. Any place will do.
    ///
    /// # Safety
    /// The processor has the instruction set.
    #[inline(always)]
    unsafe fn prefetch(_from: *const f32) {}

    /// # Safety
    /// `N` floats can be written at `to`.
    unsafe fn store(self, to: *mut f32);

    /// Stores the first `count <= N` lanes.
    ///
    /// # Safety
    /// `count` floats can be written at `to`.
    unsafe fn store_part(self, to: *mut f32, count: usize);

    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `self * factor + summand`.
    fn mul_add(self, factor: Self, summand: Self) -> Self;

    /// The lanes where `by` is positive or NaN, zero in the others: with `by` the value itself this is a
    /// ReLU, with `by` its output the gradient of one.
    fn gate(self, by: Self) -> Self;

    /// `self * factor + summand` with the same factor in all lanes.
    #[inline(always)]
    fn scaled_add(self, factor: f32, summand: Self) -> Self {
        // SAFETY: `self` proves that the processor has the instruction set.
        self.mul_add(unsafe { Self::splat(factor) }, summand)
    }

    /// `self * factor` with the same factor in all lanes.
    #[inline(always)]
    fn scale(self, factor: f32) -> Self {
        // SAFETY: `self` proves that the processor has the instruction set.
        self.mul(unsafe { Self::splat(factor) })
    }

    fn div(self, other: Self) -> Self;
    /// The larger of each lane; `self` where that is NaN.
    fn max(self, bound: Self) -> Self;
    /// `then` where `self` is below zero, `otherwise` elsewhere.
    fn if_negative(self, then: Self, otherwise: Self) -> Self;
    /// Two to the power of each lane, an integer in `-127..=127`; zero for -127.
    fn power_of_two(self) -> Self;

    /// All lanes joined by a function, in order.
    #[inline(always)]
    fn reduce(self, join: impl Fn(f32, f32) -> f32) -> f32 {
        let mut lanes = [0.0_f32; 16];
        // SAFETY: no vector has more than 16 lanes.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes[1..Self::N].iter().fold(lanes[0], |so_far, lane| join(so_far, *lane))
    }

    /// Vectors of zeros.
    ///
    /// # Safety
    /// The processor has the instruction set.
    unsafe fn zeros() -> Self::Square;

    /// Lane `j` of vector `i` changes places with lane `i` of vector `j`.
    fn transpose(square: &mut Self::Square);
}

/// Four floats in plain Rust, which every processor's basic vectors hold.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Portable(pub(super) [f32; 4]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let (a, b) = (self.0, other.0);
        Self([f(a[0], b[0]), f(a[1], b[1]), f(a[2], b[2]), f(a[3], b[3])])
    }
}

impl Lanes for Portable {
    const N: usize = 4;
    const ROWS: usize = 6;
    type Square = [Self; 4];

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller guarantees four floats; an array of floats has the alignment of one.
        Self(unsafe { from.cast::<[f32; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> Self {
        let mut lanes = [0.0; 4];
        for (i, lane) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: i < count, and the caller guarantees `count` floats.
            *lane = unsafe { from.add(i).read() };
        }
        Self(lanes)
    }

    #[inline(always)]
    unsafe fn gather(from: *const f32, distances: *const i32) -> Self {
        let mut lanes = [0.0; 4];
        for (i, lane) in lanes.iter_mut().enumerate() {
            // SAFETY: the caller guarantees four distances, and floats where they are not negative.
            unsafe {
                let distance = distances.add(i).read();
                if distance >= 0 {
                    *lane = from.add(distance as usize).read();
                }
            }
        }
        Self(lanes)
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller guarantees room for four floats.
        unsafe { to.cast::<[f32; 4]>().write(self.0) }
    }

    #[inline(always)]
    unsafe fn store_part(self, to: *mut f32, count: usize) {
        for (i, lane) in self.0.iter().enumerate().take(count) {
            // SAFETY: i < count, and the caller guarantees room for `count` floats.
            unsafe { to.add(i).write(*lane) };
        }
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, summand: Self) -> Self {
        // Two roundings: without the instruction a fused multiply-add is a call into the C library.
        self.mul(factor).add(summand)
    }

    #[inline(always)]
    fn gate(self, by: Self) -> Self {
        self.zip(by, |a, b| if b <= 0.0 { 0.0 } else { a })
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    fn max(self, bound: Self) -> Self {
        self.zip(bound, |a, b| if a < b { b } else { a })
    }

    #[inline(always)]
    fn if_negative(self, then: Self, otherwise: Self) -> Self {
        let pick = |i: usize| if self.0[i] < 0.0 { then.0[i] } else { otherwise.0[i] };
        Self([pick(0), pick(1), pick(2), pick(3)])
    }

    #[inline(always)]
    fn power_of_two(self) -> Self {
        self.zip(self, |n, _| f32::from_bits(((n as i32).wrapping_add(127) as u32) << 23))
    }

    #[inline(always)]
    unsafe fn zeros() -> [Self; 4] {
        [Self([0.0; 4]); 4]
    }

    #[inline(always)]
    fn transpose(s: &mut [Self; 4]) {
        let column = |i: usize| Self([s[0].0[i], s[1].0[i], s[2].0[i], s[3].0[i]]);
        *s = [column(0), column(1), column(2), column(3)];
    }
}

/// An instruction set that this processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::nn) struct Isa(Level);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// All that this processor has, best first.
    pub(in crate::nn) fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") {
                found.push(Self(Level::Avx512));
            }
            if avx2 {
                found.push(Self(Level::Avx2));
            }
        }
        found.push(Self(Level::Portable));
        found
    }

    /// The best one, or the one that `SYFAR_SIMD` asks for.
    pub(in crate::nn) fn active() -> Self {
        static ACTIVE: OnceLock<Isa> = OnceLock::new();
        #[cfg(test)]
        if let Some(forced) = FORCED.get() {
            return forced;
        }
        *ACTIVE.get_or_init(|| {
            let wish = std::env::var("SYFAR_SIMD").ok();
            Self::choose(wish.as_deref(), &Self::available()).unwrap_or_else(|(message, isa)| {
                eprintln!("{message}");
                isa
            })
        })
    }

    /// The wished one of those available (best first), or a warning and the best.
    fn choose(wish: Option<&str>, available: &[Self]) -> Result<Self, (String, Self)> {
        let best = available[0];
        let Some(wish) = wish else { return Ok(best) };
        available.iter().find(|isa| isa.name() == wish).copied().ok_or_else(|| {
            let names: Vec<_> = available.iter().map(|isa| isa.name()).collect();
            let names = names.join(", ");
            let message = format!(
                "warning: SYFAR_SIMD={wish} is unknown or not supported by this processor, which has {names}; \
                 using {}",
                best.name()
            );
            (message, best)
        })
    }

    /// Floats in one vector.
    pub(in crate::nn) fn lanes(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => Avx512::N,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => Avx2::N,
            Level::Portable => Portable::N,
        }
    }

    /// As `SYFAR_SIMD` has it.
    pub(in crate::nn) fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            Level::Portable => "portable",
        }
    }

    /// Runs `f` with this set active on the calling thread.
    #[cfg(test)]
    pub(in crate::nn) fn force<T>(self, f: impl FnOnce() -> T) -> T {
        FORCED.set(Some(self));
        let result = f();
        FORCED.set(None);
        result
    }
}

#[cfg(test)]
thread_local! {
    static FORCED: std::cell::Cell<Option<Isa>> = const { std::cell::Cell::new(None) };
}

/// A computation that can be compiled for any instruction set.
pub(super) trait Kernel {
    type Output;

    /// Implementations and all that they call are `inline(always)`, and start no other thread: a closure
    /// that runs elsewhere would be compiled without the instruction set.
    ///
    /// # Safety
    /// The processor has the instruction set of `L`.
    unsafe fn run<L: Lanes>(self) -> Self::Output;
}

/// Runs a kernel with an instruction set.
pub(super) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    // SAFETY: an `Isa` is only made for a set that the processor was found to have.
    match isa.0 {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { run_avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { run_avx2(kernel) },
        Level::Portable => unsafe { kernel.run::<Portable>() },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller checked the instruction set.
    unsafe { kernel.run::<Avx512>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the caller checked the instruction set.
    unsafe { kernel.run::<Avx2>() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loads, stores, arithmetic and the transposition against their definitions.
    struct Check;
    impl Kernel for Check {
        type Output = ();
        #[inline(always)]
        unsafe fn run<L: Lanes>(self) {
            let values: Vec<f32> = (0..L::N * L::N).map(|i| i as f32).collect();
            // SAFETY: the buffers hold as many floats as are read and written.
            unsafe {
                let mut square = L::zeros();
                for i in 0..L::N {
                    square[i] = L::load(values.as_ptr().add(i * L::N));
                }
                L::transpose(&mut square);
                for i in 0..L::N {
                    let mut out = vec![0.0; L::N];
                    square[i].store(out.as_mut_ptr());
                    let expected: Vec<f32> = (0..L::N).map(|j| values[j * L::N + i]).collect();
                    assert_eq!(out, expected);
                }
                for count in 0..=L::N {
                    let part = L::load_part(values.as_ptr(), count);
                    let (two, mut out) = (L::splat(2.0), vec![-1.0; L::N]);
                    part.mul_add(two, two).sub(two.mul(part)).add(part).store_part(out.as_mut_ptr(), count);
                    let inside = (0..count).map(|i| 2.0 + i as f32);
                    let expected: Vec<f32> = inside.chain(vec![-1.0; L::N - count]).collect();
                    assert_eq!(out, expected);
                    part.store(out.as_mut_ptr());
                    assert!(out[count..].iter().all(|v| *v == 0.0));
                }
                let mut out = vec![-1.0; L::N];
                let last = L::N as i32 - 1;
                let distances: Vec<i32> =
                    (0..=last).map(|i| if i == 1 { -1 } else { (last - i) * 2 }).collect();
                L::gather(values.as_ptr(), distances.as_ptr()).store(out.as_mut_ptr());
                let expected: Vec<f32> = distances.iter().map(|d| (*d).max(0) as f32).collect();
                assert_eq!(out, expected);
                for (by, expected) in [(f32::NAN, 7.0), (1.0, 7.0), (0.0, 0.0), (-0.0, 0.0), (-1.0, 0.0)] {
                    L::splat(7.0).gate(L::splat(by)).store(out.as_mut_ptr());
                    assert_eq!(out, vec![expected; L::N], "{by}");
                }
                let out = |lanes: L| {
                    let mut out = vec![0.0; L::N];
                    lanes.store(out.as_mut_ptr());
                    out
                };
                let (ones, ramp) = (L::splat(1.0), L::load(values.as_ptr()).sub(L::splat(2.0)));
                let expect = |f: fn(f32) -> f32| (0..L::N).map(|i| f(i as f32 - 2.0)).collect::<Vec<_>>();
                assert_eq!(out(ones.div(ramp)), expect(|x| 1.0 / x));
                assert_eq!(out(ramp.max(ones)), expect(|x| x.max(1.0)));
                assert!(out(L::splat(f32::NAN).max(ones)).iter().all(|x| x.is_nan()));
                assert_eq!(out(ramp.if_negative(ones, ramp)), expect(|x| if x < 0.0 { 1.0 } else { x }));
                assert_eq!(out(ramp.power_of_two()), expect(f32::exp2));
                assert_eq!(out(L::splat(-127.0).power_of_two()), vec![0.0; L::N]);
                assert_eq!(vec![ramp.reduce(f32::max)], vec![L::N as f32 - 3.0]);
            }
        }
    }

    #[test]
    fn lanes_do_what_they_say_on_every_instruction_set() {
        for isa in Isa::available() {
            dispatch(isa, Check);
        }
    }

    #[test]
    fn an_unknown_wish_is_warned_of_and_the_best_set_is_used() {
        let available = Isa::available();
        for isa in &available {
            assert_eq!(Isa::choose(Some(isa.name()), &available), Ok(*isa));
        }
        assert_eq!(Isa::choose(None, &available), Ok(available[0]));
        let (message, isa) = Isa::choose(Some("mmx"), &available).expect_err("mmx is not known");
        assert!(message.contains("SYFAR_SIMD=mmx") && message.contains("portable"), "{message}");
        assert_eq!(isa, available[0]);
    }
}
