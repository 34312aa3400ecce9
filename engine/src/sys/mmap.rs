//! Anonymous memory straight from the kernel, page-aligned, given back on drop. Never shared with a child.

use std::io;
use std::ptr::NonNull;

/// A private anonymous mapping, zeroed and touched lazily by the kernel.
///
/// Invariant: `base` points to `bytes` mapped bytes until drop, and for ever once it is `left`.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    left: bool,
}

/// The size from which huge pages are asked for: 2 MiB, one huge page on x86-64 and on arm64 with 4 KiB pages.
const HUGE_PAGE_BYTES: usize = 2 << 20;

impl Mapping {
    /// Maps at least `bytes` bytes (mmap(2)), which must not be zero, in whole huge pages from one on; huge pages are asked for where they fit (madvise(2)), and their lack is no error.
    ///
    /// # Errors
    /// What mmap(2) reports, `ENOMEM` mostly.
    pub fn anonymous(bytes: usize) -> io::Result<Self> {
        // The kernel aligns a mapping to huge pages only if it is made of whole ones.
        let huge = (HUGE_PAGE_BYTES..usize::MAX / 4).contains(&bytes);
        let bytes = if huge { bytes.next_multiple_of(HUGE_PAGE_BYTES) } else { bytes };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: mmap(2) with no address hint and no descriptor touches no existing memory.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(io::Error::last_os_error)?;
        let mapping = Self { base, bytes, left: false };
        // SAFETY: madvise(2) on a mapping that we own; the advice changes no content.
        unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_DONTFORK) };
        if bytes >= HUGE_PAGE_BYTES {
            // SAFETY: as above.
            unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        }
        Ok(mapping)
    }

    /// The first byte. Valid for reads and writes of [`Mapping::bytes`] bytes until the mapping is dropped.
    #[inline]
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Has the memory stay mapped until the process ends: for when the kernel may still write to it.
    pub fn leave(&mut self) {
        self.left = true;
    }

    /// The mapping's length in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        // SAFETY: `base` and `bytes` are what mmap(2) gave (invariant of the type); nobody uses the memory after drop.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_zeroed_and_writable() {
        let mapping = Mapping::anonymous(3 << 20).unwrap();
        assert_eq!(mapping.bytes(), 4 << 20);
        // SAFETY: the offset lies in the mapping, which lives until the end of the test.
        let last = unsafe { mapping.base().add((3 << 20) - 1) };
        // SAFETY: as above.
        assert_eq!(unsafe { last.read() }, 0);
        // SAFETY: as above; nobody else holds the pointer.
        unsafe { last.write(7) };
        // SAFETY: as above.
        assert_eq!(unsafe { last.read() }, 7);
        assert!(Mapping::anonymous(usize::MAX / 2).is_err());
    }

    #[test]
    fn what_is_left_stays_mapped() {
        let mut mapping = Mapping::anonymous(1).unwrap();
        let base = mapping.base();
        mapping.leave();
        drop(mapping);
        // SAFETY: the page is left mapped, which is what this test is about, and nobody else knows it.
        unsafe { base.write(7) };
    }
}
