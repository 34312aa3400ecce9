//! epoll(7) and the socket calls that follow readiness, with safe signatures. Keeps no state but the epoll descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use super::Errno;

/// What epoll reports of one descriptor, and the data it was added with.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Event(libc::epoll_event);

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (events, data) = (self.0.events, self.0.u64);
        write!(f, "Event {{ events: {events:#x}, data: {data} }}")
    }
}

impl Event {
    /// No event, for filling a buffer.
    pub const NONE: Self = Self(libc::epoll_event { events: 0, u64: 0 });

    /// The data the descriptor was added with.
    #[inline]
    #[must_use]
    pub fn data(&self) -> u64 {
        self.0.u64
    }

    /// Bytes, an end of stream or an error can be read.
    #[inline]
    #[must_use]
    pub fn readable(&self) -> bool {
        let mask = libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR;
        self.0.events & mask as u32 != 0
    }

    /// The socket can be written to, or a connect has ended either way.
    #[inline]
    #[must_use]
    pub fn writable(&self) -> bool {
        let mask = libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLERR;
        self.0.events & mask as u32 != 0
    }

    /// The peer has closed its side, or the connection is broken: reading will reach an end.
    #[inline]
    #[must_use]
    pub fn ending(&self) -> bool {
        let mask = libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR;
        self.0.events & mask as u32 != 0
    }
}

/// An epoll instance.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    /// Opens an instance that children do not inherit (epoll_create1(2)).
    ///
    /// # Errors
    /// What the call reports: `EMFILE`, `ENFILE` or `ENOMEM`.
    pub fn open() -> io::Result<Self> {
        // SAFETY: the call takes no pointer.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches `fd` edge-triggered for reading, writing and the peer's end, once and for all: closing the descriptor removes it (epoll_ctl(2)).
    ///
    /// # Errors
    /// What the call reports: `ENOMEM`, `ENOSPC`, `EPERM` for a descriptor that can't be polled.
    pub fn add(&self, fd: BorrowedFd<'_>, data: u64) -> io::Result<()> {
        self.add_for(fd, data, libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET)
    }

    /// Watches `fd` edge-triggered for reading alone: a counter that is drained would report room for writing each time.
    ///
    /// # Errors
    /// As [`Epoll::add`].
    pub fn add_reader(&self, fd: BorrowedFd<'_>, data: u64) -> io::Result<()> {
        self.add_for(fd, data, libc::EPOLLIN | libc::EPOLLET)
    }

    fn add_for(&self, fd: BorrowedFd<'_>, data: u64, interest: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest as u32, u64: data };
        // SAFETY: both descriptors are open (borrowed), and the event is copied by the call.
        let status = unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &raw mut event)
        };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits up to `timeout_ms` milliseconds (0: not at all) for events and returns how many were written to `events` (epoll_wait(2)).
    ///
    /// # Errors
    /// `EINTR`; other errors can't happen with a valid instance.
    #[inline]
    pub fn wait(&self, events: &mut [Event], timeout_ms: i32) -> Result<usize, Errno> {
        let max = i32::try_from(events.len()).unwrap_or(i32::MAX);
        // SAFETY: `Event` is a transparent epoll_event, and the kernel writes at most `max` of them.
        let count = unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr().cast(), max, timeout_ms)
        };
        usize::try_from(count).map_err(|_| Errno::last())
    }

    /// [`Epoll::wait`] with a timeout that is not rounded to milliseconds (epoll_pwait2(2), Linux 5.11).
    ///
    /// # Errors
    /// `EINTR`; `ENOSYS` where the kernel has no such call, `EPERM` where a filter forbids it.
    pub fn wait_precisely(&self, events: &mut [Event], timeout: Duration) -> Result<usize, Errno> {
        let max = i32::try_from(events.len()).unwrap_or(i32::MAX);
        // The kernel's own timespec: two numbers of 64 bits on every machine.
        let seconds = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
        let timeout = [seconds, i64::from(timeout.subsec_nanos())];
        // SAFETY: `Event` is a transparent epoll_event, of which the kernel writes at most `max`; it reads `timeout`, which outlives the call, and no mask.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                max,
                timeout.as_ptr(),
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        usize::try_from(count).map_err(|_| Errno::last())
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Reads what is there into `buffer`, without blocking (recv(2)). Zero is the end of the stream.
///
/// # Errors
/// `EAGAIN` if nothing is there; `ECONNRESET` and its like.
#[inline]
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    // SAFETY: the descriptor is open (borrowed), and the kernel writes at most the slice's length.
    let count = unsafe {
        libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
    };
    usize::try_from(count).map_err(|_| Errno::last())
}

/// Throws away up to `bytes` bytes of what is there, in the kernel, without copying (recv(2), `MSG_TRUNC`, tcp(7)). Zero is the end of the stream.
///
/// # Errors
/// As [`receive`].
#[inline]
pub fn discard(fd: BorrowedFd<'_>, bytes: usize) -> Result<usize, Errno> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: with MSG_TRUNC a TCP socket drops the bytes and never writes to the buffer (tcp(7)).
    let count = unsafe { libc::recv(fd.as_raw_fd(), std::ptr::null_mut(), bytes, flags) };
    usize::try_from(count).map_err(|_| Errno::last())
}

/// Bytes that can be received at once (`FIONREAD`, tcp(7)); an end that was announced counts as none.
///
/// # Errors
/// What ioctl(2) reports.
#[inline]
pub fn readable_bytes(fd: BorrowedFd<'_>) -> Result<usize, Errno> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, to `bytes` (ioctl_tty(2)).
    let status = unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut bytes) };
    if status == 0 { Ok(bytes.max(0) as usize) } else { Err(Errno::last()) }
}

/// Hands `bytes` to the kernel as far as it takes them, without blocking and without SIGPIPE (send(2)).
///
/// # Errors
/// `EAGAIN` if the send buffer is full; `EPIPE`, `ECONNRESET` and their like.
#[inline]
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the descriptor is open (borrowed), and the kernel reads at most the slice's length.
    let count = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(count).map_err(|_| Errno::last())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_short_wait_is_not_rounded_up_to_a_millisecond() {
        let epoll = Epoll::open().unwrap();
        let timeout = Duration::from_micros(50);
        // The shortest of many: others use this machine too.
        let shortest = (0..100)
            .map(|_| {
                let start = Instant::now();
                match epoll.wait_precisely(&mut [Event::NONE], timeout) {
                    Ok(count) => assert_eq!(count, 0),
                    Err(Errno(errno)) => assert!([libc::ENOSYS, libc::EPERM].contains(&errno)),
                }
                start.elapsed()
            })
            .min()
            .unwrap();
        assert!(shortest < Duration::from_millis(1), "{shortest:?}");
    }
}
