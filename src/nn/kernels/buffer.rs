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

/// Memory of tensors that nobody needs any more, oldest first.
static RECYCLED: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());
/// Smaller ones are left to the allocator, which keeps those itself.
const RECYCLED_FLOATS: usize = 1 << 16;
/// At most this much is kept.
const RECYCLED_BYTES: usize = 256 << 20;

/// Keeps memory for later results of the same size: an image tensor is so large that the allocator would
/// give it back to the system, and each new one would be a page fault every 4 KiB.
pub(in crate::nn) fn recycle(memory: Vec<f32>) {
    if memory.capacity() < RECYCLED_FLOATS {
        return;
    }
    // A panic cannot leave the list half changed.
    let mut kept = RECYCLED.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push(memory);
    let mut bytes: usize = kept.iter().map(|memory| memory.capacity() * size_of::<f32>()).sum();
    while bytes > RECYCLED_BYTES {
        bytes -= kept.remove(0).capacity() * size_of::<f32>();
    }
}

/// A result under construction, filled by several threads.
pub(super) struct Output(Vec<f32>);

impl Output {
    /// Room for this many floats, not initialised.
    pub(super) fn new(floats: usize) -> Self {
        let mut kept = RECYCLED.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().rposition(|memory| memory.capacity() == floats);
        let memory = found.map(|index| kept.remove(index));
        drop(kept);
        Self(memory.map_or_else(
            || Vec::with_capacity(floats),
            |mut memory| {
                memory.clear();
                memory
            },
        ))
    }

    /// The room, for safe kernels.
    pub(super) fn room(&mut self, floats: usize) -> &mut [MaybeUninit<f32>] {
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
    pub(super) unsafe fn finish(mut self, floats: usize) -> Vec<f32> {
        assert!(floats <= self.0.capacity());
        // SAFETY: the capacity suffices, and the caller wrote the floats.
        unsafe { self.0.set_len(floats) };
        self.0
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
