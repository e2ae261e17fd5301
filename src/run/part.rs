//! How processes divide work that they do together.

use std::ops::Range;

/// The part of some things in a row that is that of process `index` of `count`, which is 1 or more. The parts of all are
/// all things, each once and in order, and differ by one at most.
pub(crate) fn part_of(index: usize, count: usize, things: usize) -> Range<usize> {
    let before = |process: usize| (process as u128 * things as u128 / count as u128) as usize;
    before(index)..before(index + 1)
}
