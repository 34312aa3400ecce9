//! A counter that wakes whoever reads or polls it (eventfd(2)). Never blocks.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// An eventfd(2), closed on exec and not blocking.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A counter at zero.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` when descriptors run out.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd(2) takes two numbers and no pointer.
        let raw = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(raw) }))
    }

    /// Adds one, which wakes whoever waits. A counter that is full wakes all the same.
    pub fn signal(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: write(2) reads the eight bytes of `one`, which outlives the call.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Sets the counter to zero and returns what it was.
    pub fn drain(&self) -> u64 {
        let mut count = [0_u8; 8];
        // SAFETY: read(2) writes at most the eight bytes of `count`, which outlives the call.
        let read =
            unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
        if read == 8 { u64::from_ne_bytes(count) } else { 0 }
    }

    /// A second descriptor of the same counter.
    ///
    /// # Errors
    /// `EMFILE` when descriptors run out.
    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for EventFd {
    /// Takes a descriptor that came from an [`EventFd`].
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

impl From<EventFd> for OwnedFd {
    fn from(eventfd: EventFd) -> Self {
        eventfd.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_add_up_until_they_are_drained() {
        let eventfd = EventFd::new().unwrap();
        assert_eq!(eventfd.drain(), 0);
        eventfd.signal();
        eventfd.try_clone().unwrap().signal();
        assert_eq!((eventfd.drain(), eventfd.drain()), (2, 0));
    }
}
