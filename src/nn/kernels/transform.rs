//! The algebra of Winograd's minimal filtering F(4x4, 3x3).
//!
//! An output tile of 4x4 is `A^T [(G g G^T) * (B^T d B)] A` with the 3x3 filter `g`, the 6x6 input tile `d`
//! and the elementwise product `*` (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
//! 2016, section 4.1, interpolated at 0, 1, -1, 2, -2 and infinity). The product is the only part that
//! grows with both channel counts: 36 multiplications instead of 144 a tile. The gradient with respect to
//! the filter is the transposed chain, `G^T [(B^T d B) * (A e A^T)] G` with the 4x4 gradient `e`.
#![allow(unsafe_code)]

use super::lanes::Lanes;

/// One dimension of a transform.
///
/// A type and not a function: only so is it sure to become part of the kernel that uses it.
pub(super) trait Transform<const IN: usize, const OUT: usize> {
    fn apply<L: Lanes>(values: [L; IN]) -> [L; OUT];
}

/// `B^T d`, for tiles of the input.
pub(super) struct Input;

impl Transform<6, 6> for Input {
    #[inline(always)]
    fn apply<L: Lanes>(d: [L; 6]) -> [L; 6] {
        let even = d[2].scaled_add(-4.0, d[4]);
        let odd = d[1].scaled_add(-4.0, d[3]);
        let far_even = d[4].sub(d[2]);
        let far_odd = d[3].sub(d[1]);
        [
            d[2].scaled_add(-5.0, d[0].scaled_add(4.0, d[4])),
            even.add(odd),
            even.sub(odd),
            far_odd.scaled_add(2.0, far_even),
            far_odd.scaled_add(-2.0, far_even),
            d[3].scaled_add(-5.0, d[1].scaled_add(4.0, d[5])),
        ]
    }
}

/// `A^T m`, for products.
pub(super) struct Output;

impl Transform<6, 4> for Output {
    #[inline(always)]
    fn apply<L: Lanes>(m: [L; 6]) -> [L; 4] {
        let (near_sum, near_difference) = (m[1].add(m[2]), m[1].sub(m[2]));
        let (far_sum, far_difference) = (m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(near_sum).add(far_sum),
            far_difference.scaled_add(2.0, near_difference),
            far_sum.scaled_add(4.0, near_sum),
            far_difference.scaled_add(8.0, near_difference).add(m[5]),
        ]
    }
}

/// `A e`, for tiles of the gradient of the output.
pub(super) struct Gradient;

impl Transform<4, 6> for Gradient {
    #[inline(always)]
    fn apply<L: Lanes>(e: [L; 4]) -> [L; 6] {
        let (even, odd) = (e[0].add(e[2]), e[1].add(e[3]));
        let (far_even, far_odd) = (e[2].scaled_add(4.0, e[0]), e[3].scaled_add(4.0, e[1]));
        [
            e[0],
            even.add(odd),
            even.sub(odd),
            far_odd.scaled_add(2.0, far_even),
            far_odd.scaled_add(-2.0, far_even),
            e[3],
        ]
    }
}

/// `G g`, for filters.
pub(super) struct Filter;

impl Transform<3, 6> for Filter {
    #[inline(always)]
    fn apply<L: Lanes>(g: [L; 3]) -> [L; 6] {
        let near = g[0].add(g[2]).scale(-1.0 / 6.0);
        let far = g[0].scaled_add(1.0 / 24.0, g[2].scale(1.0 / 6.0));
        [
            g[0].scale(0.25),
            g[1].scaled_add(-1.0 / 6.0, near),
            g[1].scaled_add(1.0 / 6.0, near),
            g[1].scaled_add(1.0 / 12.0, far),
            g[1].scaled_add(-1.0 / 12.0, far),
            g[2],
        ]
    }
}

/// `G^T u`, for the gradient of filters.
pub(super) struct FilterGradient;

impl Transform<6, 3> for FilterGradient {
    #[inline(always)]
    fn apply<L: Lanes>(u: [L; 6]) -> [L; 3] {
        let (near_sum, near_difference) = (u[1].add(u[2]), u[2].sub(u[1]));
        let (far_sum, far_difference) = (u[3].add(u[4]), u[3].sub(u[4]));
        [
            u[0].scaled_add(0.25, near_sum.scaled_add(-1.0 / 6.0, far_sum.scale(1.0 / 24.0))),
            near_difference.scaled_add(1.0 / 6.0, far_difference.scale(1.0 / 12.0)),
            far_sum.sub(near_sum).scaled_add(1.0 / 6.0, u[5]),
        ]
    }
}

/// Numbers in a 3x3 filter.
const TAPS: usize = 9;

/// Reads the filters of some channels, one a lane, `lane` floats apart in memory, as nine vectors. `turned`
/// they are in reverse order.
///
/// # Safety
/// The processor has the instruction set of `L`; `lanes <= N` filters can be read; there is room for nine
/// vectors at `to`.
#[inline(always)]
pub(super) unsafe fn read_filters<L: Lanes>(
    from: *const f32,
    (lane, lanes): (usize, usize),
    turned: bool,
    to: *mut f32,
) {
    for first in (0..TAPS).step_by(L::N) {
        let count = L::N.min(TAPS - first);
        // SAFETY: the caller vouches for these places.
        unsafe {
            let mut square = L::zeros();
            for index in 0..lanes {
                square[index] = L::load_part(from.add(index * lane + first), count);
            }
            L::transpose(&mut square);
            for t in 0..count {
                let tap = if turned { TAPS - 1 - first - t } else { first + t };
                square[t].store(to.add(tap * L::N));
            }
        }
    }
}

/// Writes nine vectors as the filters of some channels, one a lane, `lane` floats apart in memory.
///
/// # Safety
/// The processor has the instruction set of `L`; nine vectors can be read; there is room for `lanes <= N`
/// filters at `to`.
#[inline(always)]
pub(super) unsafe fn write_filters<L: Lanes>(from: *const f32, to: *mut f32, (lane, lanes): (usize, usize)) {
    for first in (0..TAPS).step_by(L::N) {
        let count = L::N.min(TAPS - first);
        // SAFETY: the caller vouches for these places.
        unsafe {
            let mut square = L::zeros();
            for t in 0..count {
                square[t] = L::load(from.add((first + t) * L::N));
            }
            L::transpose(&mut square);
            for index in 0..lanes {
                square[index].store_part(to.add(index * lane + first), count);
            }
        }
    }
}

/// Applies a transform to the columns and then to the rows of a square of vectors in memory, of which
/// element `(i, j)` is at `i * row + j * column`.
///
/// # Safety
/// The processor has the instruction set of `L`; a vector can be read at all `IN x IN` places of `from`
/// and written at all `OUT x OUT` places of `to`.
#[inline(always)]
pub(super) unsafe fn square<L: Lanes, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
    from: *const f32,
    (from_row, from_column): (usize, usize),
    to: *mut f32,
    (to_row, to_column): (usize, usize),
) {
    // SAFETY: the caller vouches for these places.
    unsafe {
        let mut half = [[L::splat(0.0); IN]; OUT];
        #[allow(clippy::needless_range_loop)] // `j` is a place in memory first.
        for j in 0..IN {
            let mut column = [L::splat(0.0); IN];
            for (i, value) in column.iter_mut().enumerate() {
                *value = L::load(from.add(i * from_row + j * from_column));
            }
            let column = T::apply(column);
            for i in 0..OUT {
                half[i][j] = column[i];
            }
        }
        for (i, row) in half.into_iter().enumerate() {
            for (j, value) in T::apply(row).into_iter().enumerate() {
                value.store(to.add(i * to_row + j * to_column));
            }
        }
    }
}

/// A transform of a square of vectors in memory, as [`square`], kept in registers.
///
/// # Safety
/// The processor has the instruction set of `L`; the `IN x IN` places can be read.
#[inline(always)]
pub(super) unsafe fn in_registers<L: Lanes, T: Transform<IN, OUT>, const IN: usize, const OUT: usize>(
    from: *const f32,
    (row, column): (usize, usize),
) -> [[L; OUT]; OUT] {
    // SAFETY: the caller vouches for these places.
    unsafe {
        let mut half = [[L::splat(0.0); IN]; OUT];
        #[allow(clippy::needless_range_loop)] // `j` is a place in memory first.
        for j in 0..IN {
            let mut values = [L::splat(0.0); IN];
            for (i, value) in values.iter_mut().enumerate() {
                *value = L::load(from.add(i * row + j * column));
            }
            let values = T::apply(values);
            for i in 0..OUT {
                half[i][j] = values[i];
            }
        }
        let mut whole = [[L::splat(0.0); OUT]; OUT];
        for (row, to) in half.into_iter().zip(&mut whole) {
            *to = T::apply(row);
        }
        whole
    }
}
