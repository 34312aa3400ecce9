//! A ring of buffers that the kernel picks from (io_uring_register_buf_ring(3), Linux 5.19). Never grows beyond what it was made for, never copies.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::sys::mmap::Mapping;

/// Bytes between one buffer's end and the next one's start. Without them buffers of a power of two begin in the same few sets of every cache, and a thousand
/// connections' worth of small responses push each other out (`benches` program `limit`, 1024 connections).
const GAP_BYTES: u32 = 128;

/// Where a buffer is: with the kernel, or lent to whoever reaped it.
///
/// Invariants: `entries` maps `count` ring entries, `buffers` maps `count` times `bytes` and a gap, `count` is a power of two; a buffer id is in the ring or lent, never both.
/// Both mappings outlive the kernel's use of them: the driver ends what it asked for before it drops them, or has them left.
#[derive(Debug)]
pub(super) struct BufRing {
    entries: Mapping,
    buffers: Mapping,
    count: u16,
    bytes: u32,
    /// Buffers that are in use: those below. The kernel takes them in turn, so all of them become resident, and go through the cache.
    provided: u16,
    /// Entries ever added, modulo 2^16; published by [`BufRing::publish`].
    tail: u16,
}

impl BufRing {
    /// Registers room for `count` (a power of two, at most 32768) buffers of `bytes` bytes under `group`, and provides `first` of them.
    pub(super) fn register(
        ring: &IoUring,
        group: u16,
        (count, first): (u16, u16),
        bytes: u32,
    ) -> io::Result<Self> {
        debug_assert!(count.is_power_of_two());
        let entries = Mapping::anonymous(usize::from(count) * size_of::<BufRingEntry>())?;
        let buffers = Mapping::anonymous(usize::from(count) * stride(bytes))?;
        let address = entries.base().as_ptr() as u64;
        // SAFETY: the mapping is page-aligned, of the size the kernel expects, and outlives the kernel's use of it (invariant of the type).
        unsafe { ring.submitter().register_buf_ring_with_flags(address, count, group, 0) }?;
        let mut this = Self { entries, buffers, count, bytes, provided: 0, tail: 0 };
        this.provide(first.into());
        this.publish();
        Ok(this)
    }

    /// Has the memory outlive the driver: the kernel may still write to it.
    pub(super) fn leave(&mut self) {
        self.entries.leave();
        self.buffers.leave();
    }

    /// Sees to it that at least so many buffers are in use, if there is room for them; the kernel sees them after the next [`BufRing::publish`].
    #[inline]
    pub(super) fn provide(&mut self, buffers: u32) {
        let wanted = buffers.min(self.count.into()) as u16;
        while self.provided < wanted {
            let id = self.provided;
            self.provided += 1;
            self.give_back(id);
        }
    }

    /// Puts a buffer back; the kernel sees it after the next [`BufRing::publish`].
    #[inline]
    pub(super) fn give_back(&mut self, id: u16) {
        debug_assert!(id < self.count);
        let address = self.address(id).as_ptr() as u64;
        let place = usize::from(self.tail & (self.count - 1));
        let entries = self.entries.base().cast::<BufRingEntry>();
        // SAFETY: `place` is below `count`, so the entry lies in the mapping.
        let mut entry = unsafe { entries.add(place) };
        // SAFETY: the kernel reads entries below the published tail only, and this one lies at or above it: it is ours alone.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(address);
        entry.set_len(self.bytes);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was given back: one store for a batch.
    #[inline]
    pub(super) fn publish(&self) {
        let entries = self.entries.base().cast::<BufRingEntry>().as_ptr();
        // SAFETY: `entries` points to the first entry of an initialised, page-aligned buffer ring.
        let tail = unsafe { BufRingEntry::tail(entries) }.cast::<AtomicU16>();
        // SAFETY: the tail lies in our mapping, is aligned to two bytes, and is only ever accessed atomically by both sides.
        unsafe { &*tail }.store(self.tail, Ordering::Release);
    }

    /// The first `bytes` bytes of buffer `id`, which the caller holds.
    #[inline]
    pub(super) fn slice(&self, id: u16, bytes: u32) -> &[u8] {
        debug_assert!(bytes <= self.bytes);
        let address = self.address(id);
        let bytes = bytes.min(self.bytes);
        // SAFETY: the buffer lies in the mapping and is lent (`Lender::check`), so the
        // kernel does not write to it until it is given back, which needs `&mut self`.
        unsafe { NonNull::slice_from_raw_parts(address, bytes as usize).as_ref() }
    }

    #[inline]
    fn address(&self, id: u16) -> NonNull<u8> {
        let id = id & (self.count - 1);
        // SAFETY: the masked id is below `count`, so the offset lies in the mapping.
        unsafe { self.buffers.base().add(usize::from(id) * stride(self.bytes)) }
    }
}

/// From one buffer's start to the next one's.
#[inline]
fn stride(bytes: u32) -> usize {
    (bytes + GAP_BYTES) as usize
}
