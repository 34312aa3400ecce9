//! A hint to the processor's cache. Changes nothing that a program can see.

/// Bytes of a cache line, on the machines that this engine is measured on.
const LINE_BYTES: usize = 64;
/// The most that one call asks for: more would push out what is being worked on.
const BYTES_MAX: usize = 256;

/// Asks for the first 256 bytes of `what`, which will be read soon. Does nothing on processors without such a hint.
#[inline]
pub fn prefetch<T: ?Sized>(what: &T) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..size_of_val(what).min(BYTES_MAX)).step_by(LINE_BYTES) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = std::ptr::from_ref(what).cast::<i8>().wrapping_add(offset);
        // SAFETY: a prefetch reads nothing and can't fault, whatever the address (Intel SDM, PREFETCHh); SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (what, LINE_BYTES, BYTES_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_may_be_asked_for() {
        prefetch(&[0_u8; 1000][..]);
        prefetch::<[u8]>(&[]);
        let boxed = Box::new(7);
        prefetch(&*boxed);
        assert_eq!(*boxed, 7);
    }
}
