//! The pool of provided buffers that received bytes land in.
#![allow(unsafe_code)]

use super::Buffer;
use io_uring::Submitter;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The buffer group's id; a ring has one.
pub(super) const GROUP: u16 = 1;
const PAGE: usize = 4096;

/// `count` buffers of `size` bytes each, lent to the kernel through a ring of descriptors.
///
/// Zeroed at creation, which prefaults them: a fixed cost, not one that grows with connections.
pub(super) struct Buffers {
    ring: NonNull<BufRingEntry>,
    bytes: NonNull<u8>,
    count: u16,
    size: usize,
    tail: u16,
}

impl Buffers {
    /// Allocates the pool; `count` must be a power of two up to 2^15.
    pub(super) fn new(count: u16, size: usize) -> Self {
        assert!(
            count.is_power_of_two() && count <= 1 << 15,
            "{count} buffers: not a power of two up to 2^15"
        );
        let ring = allocate(Self::ring_layout(count)).cast();
        let bytes = allocate(Self::bytes_layout(count, size));
        for page in (0..usize::from(count) * size).step_by(PAGE) {
            // SAFETY: `page` is within the allocation of count * size bytes made above.
            unsafe { bytes.add(page).write_volatile(0) };
        }
        let mut buffers = Self { ring, bytes, count, size, tail: 0 };
        for id in 0..count {
            buffers.lend(id);
        }
        buffers.publish();
        buffers
    }

    fn ring_layout(count: u16) -> Layout {
        Layout::from_size_align(usize::from(count) * size_of::<BufRingEntry>(), PAGE).expect("a valid layout")
    }

    fn bytes_layout(count: u16, size: usize) -> Layout {
        Layout::from_size_align(usize::from(count) * size, PAGE).expect("a valid layout")
    }

    /// Tells the kernel about the pool.
    pub(super) fn register(&self, submitter: &Submitter<'_>) -> io::Result<()> {
        // SAFETY: the descriptor ring is page-aligned, holds `count` entries and lives until the
        // pool is dropped, which `UringRing` does after the io_uring itself is closed.
        unsafe { submitter.register_buf_ring_with_flags(self.ring.as_ptr() as u64, self.count, GROUP, 0) }
    }

    /// The received bytes.
    pub(super) fn bytes(&mut self, buffer: &Buffer) -> &mut [u8] {
        assert!(buffer.id < self.count && buffer.len as usize <= self.size, "a buffer of this pool");
        // SAFETY: the kernel handed out buffer `id` and will not write to it until it is lent
        // again, which consumes the only `Buffer` for it; the range is within the allocation.
        unsafe {
            let start = self.bytes.add(usize::from(buffer.id) * self.size);
            std::slice::from_raw_parts_mut(start.as_ptr(), buffer.len as usize)
        }
    }

    /// Takes a buffer back; the kernel sees it after [`Buffers::publish`].
    pub(super) fn release(&mut self, buffer: Buffer) {
        self.lend(buffer.id);
    }

    fn lend(&mut self, id: u16) {
        let index = usize::from(self.tail & (self.count - 1));
        // SAFETY: `index` is below `count`, the length of the descriptor ring; this thread is its
        // only writer, and the kernel reads entries only below the published tail.
        unsafe {
            let entry = self.ring.add(index).as_mut();
            entry.set_addr(self.bytes.add(usize::from(id) * self.size).as_ptr() as u64);
            entry.set_len(self.size as u32);
            entry.set_bid(id);
        }
        self.tail = self.tail.wrapping_add(1);
    }

    /// Makes the buffers taken back since the last call available to the kernel.
    pub(super) fn publish(&mut self) {
        // SAFETY: the tail lies within the first entry of the descriptor ring (its `resv` field),
        // is two bytes, aligned, and is shared with the kernel, hence the atomic store.
        unsafe {
            let tail = BufRingEntry::tail(self.ring.as_ptr()).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        // SAFETY: both were allocated in `new` with these layouts and are freed once.
        unsafe {
            dealloc(self.ring.as_ptr().cast(), Self::ring_layout(self.count));
            dealloc(self.bytes.as_ptr(), Self::bytes_layout(self.count, self.size));
        }
    }
}

fn allocate(layout: Layout) -> NonNull<u8> {
    // SAFETY: no layout here has size zero: counts and sizes are at least one.
    let start = unsafe { alloc_zeroed(layout) };
    NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout))
}
