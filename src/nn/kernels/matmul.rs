//! Small matrix products in the layouts that the convolution makes.
#![allow(unsafe_code)]

use super::buffer::Line;
use super::lanes::Lanes;

/// Steps of the inner dimension by which `b` is asked for beforehand, since the first block of rows finds it
/// in a far cache. Measured, convolutions of 256 channels and more gain a tenth.
const AHEAD: usize = 24;
/// Blocks of rows by which `a` is asked for beforehand, a cache line for each step of the inner dimension: all of
/// them, where its rows follow one another. Measured, 512 channels gain a quarter and 64 a twentieth.
const BLOCKS_AHEAD: usize = 2;

/// What the sums of a product are put onto.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Onto {
    /// Nothing: `c = a b`.
    Nothing,
    /// What is there: `c += a b`, the sums of this product by themselves.
    Sum,
    /// What is there, summand by summand: the same bits as one product over both inner dimensions.
    Start,
}

/// A product of two matrices, by itself or on top of another one.
///
/// `b` and `c` are stored in panels of one vector's width: `[panels][depth][N]` and `[panels][rows][N]`.
/// `a` may be stored either way round.
pub(super) struct Product {
    pub rows: usize,
    pub depth: usize,
    pub panels: usize,
    /// Distance between two rows of `a`.
    pub a_row: usize,
    /// Distance between two columns of `a`.
    pub a_depth: usize,
    /// What `c` has to do with it.
    pub onto: Onto,
}

impl Product {
    /// # Safety
    /// The processor has the instruction set of `L`; `a` can be read at all `i * a_row + k * a_depth`,
    /// `b` holds `panels * depth * N` floats and `c` has room for `panels * rows * N`, which are
    /// initialised unless the product is put onto nothing.
    #[inline(always)]
    pub(super) unsafe fn run<L: Lanes>(&self, a: *const f32, b: *const f32, c: *mut f32) {
        let mut panel = 0;
        while panel < self.panels {
            // SAFETY: the offsets are those of panels and rows inside the matrices.
            unsafe {
                let b = b.add(panel * self.depth * L::N);
                let c = c.add(panel * self.rows * L::N);
                if panel + 1 < self.panels {
                    self.column::<L, 2>(a, b, c);
                } else {
                    self.column::<L, 1>(a, b, c);
                }
            }
            panel += 2;
        }
    }

    /// The same for as many rows as a vector has lanes, three panels at a time: an even number of rows fits
    /// into registers only beside three panels.
    ///
    /// # Safety
    /// As [`Product::run`].
    #[inline(always)]
    pub(super) unsafe fn run_square<L: Lanes>(&self, a: *const f32, b: *const f32, c: *mut f32) {
        let mut panel = 0;
        while panel < self.panels {
            // SAFETY: the offsets are those of panels and rows inside the matrices.
            unsafe {
                let b = b.add(panel * self.depth * L::N);
                let c = c.add(panel * self.rows * L::N);
                panel += match self.panels - panel {
                    1 => self.half_columns::<L, 1>(a, b, c),
                    2 => self.half_columns::<L, 2>(a, b, c),
                    _ => self.half_columns::<L, 3>(a, b, c),
                };
            }
        }
    }

    /// `P` panels of `c` in blocks of 8 or 4 rows. Returns `P`.
    ///
    /// # Safety
    /// As [`Product::run`], with `b` and `c` moved to the panel.
    #[inline(always)]
    unsafe fn half_columns<L: Lanes, const P: usize>(
        &self,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
    ) -> usize {
        let mut row = 0;
        while row < self.rows {
            // SAFETY: the rows are whole blocks.
            unsafe {
                let (a, c) = (a.add(row * self.a_row), c.add(row * L::N));
                row += if L::ROWS >= 14 {
                    self.block::<L, 8, P>(a, b, c)
                } else {
                    self.block::<L, 4, P>(a, b, c)
                };
            }
        }
        P
    }

    /// `P` panels of `c`.
    ///
    /// # Safety
    /// As [`Product::run`], with `b` and `c` moved to the panel.
    #[inline(always)]
    unsafe fn column<L: Lanes, const P: usize>(&self, a: *const f32, b: *const f32, c: *mut f32) {
        let mut row = 0;
        while row < self.rows {
            let left = self.rows - row;
            // SAFETY: each block lies inside the rows that are left.
            unsafe {
                let (a, c) = (a.add(row * self.a_row), c.add(row * L::N));
                row += if L::ROWS >= 14 && left >= 14 {
                    self.block::<L, 14, P>(a, b, c)
                } else if L::ROWS >= 8 && left >= 8 {
                    self.block::<L, 8, P>(a, b, c)
                } else if left >= 6 {
                    self.block::<L, 6, P>(a, b, c)
                } else if left >= 4 {
                    self.block::<L, 4, P>(a, b, c)
                } else if left >= 2 {
                    self.block::<L, 2, P>(a, b, c)
                } else {
                    self.block::<L, 1, P>(a, b, c)
                };
            }
        }
    }

    /// `R` rows of `P` panels, whose sums stay in registers. Returns `R`.
    ///
    /// # Safety
    /// As [`Product::run`], with `a`, `b` and `c` moved to the block.
    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize, const P: usize>(
        &self,
        mut a: *const f32,
        mut b: *const f32,
        c: *mut f32,
    ) -> usize {
        let (b_panel, c_panel) = (self.depth * L::N, self.rows * L::N);
        // SAFETY: every access is inside the blocks that the caller vouches for.
        unsafe {
            let mut sums = [[L::splat(0.0); P]; R];
            if self.onto == Onto::Start {
                for (r, sums) in sums.iter_mut().enumerate() {
                    for (p, sum) in sums.iter_mut().enumerate() {
                        *sum = L::load(c.add(p * c_panel + r * L::N));
                    }
                }
            }
            let mut next = a.wrapping_add(BLOCKS_AHEAD * R * self.a_row);
            for _ in 0..self.depth {
                L::prefetch(next);
                next = next.wrapping_add(Line::FLOATS);
                let mut right = [L::splat(0.0); P];
                for (p, right) in right.iter_mut().enumerate() {
                    let b = b.wrapping_add(p * b_panel);
                    *right = L::load(b);
                    L::prefetch(b.wrapping_add(AHEAD * L::N));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let left = L::splat(*a.add(r * self.a_row));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = left.mul_add(right, *sum);
                    }
                }
                a = a.wrapping_add(self.a_depth);
                b = b.wrapping_add(L::N);
            }
            for (r, sums) in sums.iter().enumerate() {
                for (p, sum) in sums.iter().enumerate() {
                    let to = c.add(p * c_panel + r * L::N);
                    let sum = if self.onto == Onto::Sum { sum.add(L::load(to)) } else { *sum };
                    sum.store(to);
                }
            }
        }
        R
    }
}
