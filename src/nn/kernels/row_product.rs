//! Matrix products whose left factor and result are stored row by row.
//!
//! The right factor is packed into panels of one vector's width, `[panels][depth][N]`, so that the loop
//! reads it in order. Each number of the result is one sum in the order of the depth: it depends on no other
//! row, and so on neither the batch nor the threads.
#![allow(unsafe_code)]

use super::lanes::Lanes;

/// `c = a b`, or `c += a b`.
#[derive(Clone, Copy)]
pub(super) struct RowProduct {
    pub rows: usize,
    pub depth: usize,
    pub columns: usize,
    /// Distance between two rows of `a`.
    pub a_row: usize,
    /// Distance between two columns of `a`.
    pub a_depth: usize,
    /// Distance between two panels of `b`.
    pub b_panel: usize,
    /// Distance between two rows of `c`, whose columns are next to each other.
    pub c_row: usize,
    /// Whether the product is added to `c`.
    pub accumulate: bool,
}

impl RowProduct {
    /// # Safety
    /// The processor has the instruction set of `L`; `a` can be read at all `i * a_row + k * a_depth`, `b`
    /// holds the panels, and `c` has room for the columns of each row, initialised if `accumulate`.
    #[inline(always)]
    pub(super) unsafe fn run<L: Lanes>(&self, a: *const f32, b: *const f32, c: *mut f32) {
        let panels = self.columns.div_ceil(L::N);
        let mut panel = 0;
        while panel < panels {
            let last = self.columns - panel * L::N;
            // SAFETY: the offsets are those of panels and columns inside the matrices.
            unsafe {
                let (b, c) = (b.add(panel * self.b_panel), c.add(panel * L::N));
                if last > L::N {
                    self.column::<L, 2>(a, b, c, L::N.min(last - L::N));
                } else {
                    self.column::<L, 1>(a, b, c, last);
                }
            }
            panel += 2;
        }
    }

    /// `P` panels of `c`; `last` columns of the last of them.
    ///
    /// # Safety
    /// As [`RowProduct::run`], with `b` and `c` moved to the panel.
    #[inline(always)]
    unsafe fn column<L: Lanes, const P: usize>(
        &self,
        a: *const f32,
        b: *const f32,
        c: *mut f32,
        last: usize,
    ) {
        let mut row = 0;
        while row < self.rows {
            let left = self.rows - row;
            // SAFETY: each block lies inside the rows that are left.
            unsafe {
                let (a, c) = (a.add(row * self.a_row), c.add(row * self.c_row));
                row += if L::ROWS >= 14 && left >= 14 {
                    self.block::<L, 14, P>(a, b, c, last)
                } else if L::ROWS >= 8 && left >= 8 {
                    self.block::<L, 8, P>(a, b, c, last)
                } else if left >= 6 {
                    self.block::<L, 6, P>(a, b, c, last)
                } else if left >= 4 {
                    self.block::<L, 4, P>(a, b, c, last)
                } else if left >= 2 {
                    self.block::<L, 2, P>(a, b, c, last)
                } else {
                    self.block::<L, 1, P>(a, b, c, last)
                };
            }
        }
    }

    /// `R` rows of `P` panels, whose sums stay in registers. Returns `R`.
    ///
    /// # Safety
    /// As [`RowProduct::run`], with `a`, `b` and `c` moved to the block.
    #[inline(always)]
    unsafe fn block<L: Lanes, const R: usize, const P: usize>(
        &self,
        mut a: *const f32,
        mut b: *const f32,
        c: *mut f32,
        last: usize,
    ) -> usize {
        // SAFETY: every access is inside the blocks that the caller vouches for.
        unsafe {
            let mut sums = [[L::splat(0.0); P]; R];
            for _ in 0..self.depth {
                let mut right = [L::splat(0.0); P];
                for (p, right) in right.iter_mut().enumerate() {
                    *right = L::load(b.add(p * self.b_panel));
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
                    let to = c.add(r * self.c_row + p * L::N);
                    if p + 1 < P || last == L::N {
                        if self.accumulate { sum.add(L::load(to)) } else { *sum }.store(to);
                    } else if self.accumulate {
                        sum.add(L::load_part(to, last)).store_part(to, last);
                    } else {
                        sum.store_part(to, last);
                    }
                }
            }
        }
        R
    }
}

/// Packs `columns` columns of a matrix with rows `from_row` apart into panels, padded with zeros.
///
/// # Safety
/// The processor has the instruction set; the matrix can be read; `to` has room for
/// `columns.div_ceil(N)` panels of `b_panel`, each at least `depth * N`.
#[inline(always)]
pub(super) unsafe fn pack<L: Lanes>(
    from: *const f32,
    (depth, columns, from_row): (usize, usize, usize),
    to: *mut f32,
    b_panel: usize,
) {
    for panel in 0..columns.div_ceil(L::N) {
        let count = L::N.min(columns - panel * L::N);
        for k in 0..depth {
            // SAFETY: the row and the panel are inside the matrices.
            unsafe {
                let from = from.add(k * from_row + panel * L::N);
                let lanes = if count == L::N { L::load(from) } else { L::load_part(from, count) };
                lanes.store(to.add(panel * b_panel + k * L::N));
            }
        }
    }
}

/// Packs the transpose: the matrix has `columns` rows of `depth` values, `from_row` apart.
///
/// # Safety
/// As [`pack`].
#[inline(always)]
pub(super) unsafe fn pack_transposed<L: Lanes>(
    from: *const f32,
    (depth, columns, from_row): (usize, usize, usize),
    to: *mut f32,
    b_panel: usize,
) {
    for panel in 0..columns.div_ceil(L::N) {
        let count = L::N.min(columns - panel * L::N);
        for k in (0..depth).step_by(L::N) {
            let deep = L::N.min(depth - k);
            // SAFETY: the square and the panel are inside the matrices.
            unsafe {
                let mut square = L::zeros();
                for i in 0..count {
                    let from = from.add((panel * L::N + i) * from_row + k);
                    square[i] = if deep == L::N { L::load(from) } else { L::load_part(from, deep) };
                }
                L::transpose(&mut square);
                for i in 0..deep {
                    square[i].store(to.add(panel * b_panel + (k + i) * L::N));
                }
            }
        }
    }
}
