//! Memory of kernels: results that are written once, and scratch that is kept between calls.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::sync::{Mutex, PoisonError};

/// Sixteen floats on a cache line of their own.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([f32; 16]);

impl Line {
    /// Floats in a line.
    pub(super) const FLOATS: usize = 16;

    /// One of its floats.
    pub(super) fn value_mut(&mut self, place: usize) -> &mut f32 {
        &mut self.0[place]
    }

    /// Zeroed lines for at least this many floats.
    pub(super) fn zeros(floats: usize) -> Vec<Self> {
        vec![Self([0.0; 16]); floats.div_ceil(16)]
    }
}

thread_local! {
    static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Lends the thread's scratch memory: this many floats, initialised to anything, on a cache line.
///
/// It is kept for the next call, since fresh memory costs a page fault each 4 KiB. `f` must not ask again.
pub(super) fn with_scratch<T>(floats: usize, f: impl FnOnce(*mut f32) -> T) -> T {
    SCRATCH.with_borrow_mut(|lines| {
        if lines.len() * 16 < floats {
            *lines = Line::zeros(floats);
        }
        f(lines.as_mut_ptr().cast())
    })
}

/// Memory of tensors that nobody needs any more.
static RECYCLED: Mutex<Recycled> = Mutex::new(Recycled { kept: Vec::new(), now: 0 });
/// Smaller ones are left to the allocator, which keeps those itself.
const RECYCLED_FLOATS: usize = 1 << 16;
/// What was not asked for again while so many others came in is given back: some passes through a
/// network. It bounds what batches of ever new sizes leave behind.
const RECYCLED_FOR: u64 = 64;
/// At most this much is kept.
const RECYCLED_BYTES: usize = 256 << 20;

struct Recycled {
    /// Oldest first, each with the moment it came in.
    kept: Vec<(u64, Vec<f32>)>,
    /// How many have come in.
    now: u64,
}

impl Recycled {
    fn keep(&mut self, memory: Vec<f32>) {
        self.now += 1;
        self.kept.push((self.now, memory));
        let mut bytes: usize = self.kept.iter().map(|(_, memory)| memory.capacity() * size_of::<f32>()).sum();
        let now = self.now;
        self.kept.retain(|(since, memory)| {
            let stays = bytes <= RECYCLED_BYTES && now - since < RECYCLED_FOR;
            if !stays {
                bytes -= memory.capacity() * size_of::<f32>();
            }
            stays
        });
    }

    /// The smallest that has the room and is not twice too large.
    fn take(&mut self, floats: usize) -> Option<Vec<f32>> {
        let fits = |memory: &Vec<f32>| (floats..2 * floats).contains(&memory.capacity());
        let (index, _) = self
            .kept
            .iter()
            .enumerate()
            .filter(|(_, (_, memory))| fits(memory))
            .min_by_key(|(_, (_, memory))| memory.capacity())?;
        Some(self.kept.remove(index).1)
    }
}

/// Keeps memory for later results: an image tensor is so large that the allocator would give it back to
/// the system, and each new one would be a page fault every 4 KiB.
pub(in crate::nn) fn recycle(memory: Vec<f32>) {
    if memory.capacity() >= RECYCLED_FLOATS {
        // A panic cannot leave the list half changed.
        RECYCLED.lock().unwrap_or_else(PoisonError::into_inner).keep(memory);
    }
}

/// A result under construction, filled by several threads.
pub(in crate::nn) struct Output(Vec<f32>);

impl Output {
    /// Room for this many floats, not initialised.
    pub(in crate::nn) fn new(floats: usize) -> Self {
        let kept = RECYCLED.lock().unwrap_or_else(PoisonError::into_inner).take(floats);
        Self(kept.map_or_else(
            || Vec::with_capacity(floats),
            |mut memory| {
                memory.clear();
                memory
            },
        ))
    }

    /// The room, for safe kernels.
    pub(in crate::nn) fn room(&mut self, floats: usize) -> &mut [MaybeUninit<f32>] {
        &mut self.0.spare_capacity_mut()[..floats]
    }

    /// The room, for kernels whose threads write interleaved places.
    pub(super) fn pointer(&mut self) -> Shared {
        Shared(self.0.as_mut_ptr())
    }

    /// The finished result.
    ///
    /// # Safety
    /// All `floats` of the room asked for have been written.
    pub(in crate::nn) unsafe fn finish(mut self, floats: usize) -> Vec<f32> {
        assert!(floats <= self.0.capacity());
        // SAFETY: the capacity suffices, and the caller wrote the floats.
        unsafe { self.0.set_len(floats) };
        self.0
    }
}

/// Recycled memory that begins on a cache line, for what lives from one kernel to the next. Nothing of it
/// is initialised.
pub(super) struct Lines {
    memory: Vec<f32>,
    /// Floats before the first cache line.
    start: usize,
}

impl Lines {
    /// Room for this many floats.
    pub(super) fn new(floats: usize) -> Self {
        let memory = Output::new(floats + 16).0;
        let start = memory.as_ptr().align_offset(align_of::<Line>()).min(16);
        Self { memory, start }
    }

    /// The first float. Only what has been written may be read.
    pub(super) fn pointer(&mut self) -> Shared {
        // SAFETY: there is room for 16 floats more than were asked for.
        Shared(unsafe { self.memory.as_mut_ptr().add(self.start) })
    }

    /// The first float, for reading what has been written.
    pub(super) fn as_ptr(&self) -> *const f32 {
        // SAFETY: as above.
        unsafe { self.memory.as_ptr().add(self.start) }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        recycle(std::mem::take(&mut self.memory));
    }
}

/// A pointer that several threads write through, each to its own places.
#[derive(Clone, Copy)]
pub(super) struct Shared(*mut f32);

// SAFETY: the pointer is only dereferenced in unsafe code, whose authors promise disjoint places.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The first float of some memory.
    pub(super) fn new(start: *mut f32) -> Self {
        Self(start)
    }

    /// The place `offset` floats on.
    ///
    /// # Safety
    /// The place is inside the same memory.
    pub(super) unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept_bytes(recycled: &Recycled) -> usize {
        recycled.kept.iter().map(|(_, memory)| memory.capacity() * size_of::<f32>()).sum()
    }

    #[test]
    fn memory_of_about_the_size_is_used_again() {
        let mut recycled = Recycled { kept: Vec::new(), now: 0 };
        recycled.keep(Vec::with_capacity(300));
        recycled.keep(Vec::with_capacity(150));
        assert_eq!(recycled.take(120).map(|memory| memory.capacity()), Some(150));
        assert!(recycled.take(120).is_none(), "twice too large");
        assert_eq!(recycled.take(200).map(|memory| memory.capacity()), Some(300));
    }

    #[test]
    fn lines_begin_on_a_cache_line() {
        let mut lines = Lines::new(RECYCLED_FLOATS + 3);
        let start = lines.as_ptr();
        assert_eq!(start.align_offset(64), 0);
        // SAFETY: the last of the floats asked for.
        unsafe { lines.pointer().at(RECYCLED_FLOATS + 2).write(1.0) };
        drop(lines);
    }

    #[test]
    fn sizes_that_do_not_come_again_are_given_back() {
        let mut recycled = Recycled { kept: Vec::new(), now: 0 };
        let mut most = 0;
        for size in 0..1000 {
            recycled.keep(Vec::with_capacity(1000 + size));
            most = most.max(kept_bytes(&recycled));
        }
        assert_eq!(recycled.kept.len() as u64, RECYCLED_FOR);
        assert!(most <= RECYCLED_FOR as usize * 2000 * size_of::<f32>());
        recycled.keep(Vec::with_capacity(RECYCLED_BYTES / size_of::<f32>()));
        assert!(kept_bytes(&recycled) <= RECYCLED_BYTES);
    }
}
