//! Thin system calls with safe signatures. No policy, no state; the floor of the house: it imports nothing of ours.

pub mod affinity;
pub mod cache;
pub mod cgroup;
pub mod diag;
pub mod epoll;
pub mod eventfd;
pub mod mmap;
pub mod names;
pub mod process;
pub mod socket;

use std::io;

/// Nanoseconds on `CLOCK_MONOTONIC` (clock_gettime(2)), or `None` if the kernel refuses, which it does not.
#[inline]
#[must_use]
pub fn monotonic() -> Option<u64> {
    read_clock(libc::CLOCK_MONOTONIC)
}

/// Nanoseconds on `CLOCK_MONOTONIC_COARSE` (clock_gettime(2)), which stands still between two ticks of the kernel; Linux 2.6.32.
#[inline]
#[must_use]
pub fn monotonic_coarse() -> Option<u64> {
    read_clock(libc::CLOCK_MONOTONIC_COARSE)
}

#[inline]
fn read_clock(clock: libc::clockid_t) -> Option<u64> {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec that the call fills; it keeps no pointer.
    let status = unsafe { libc::clock_gettime(clock, &raw mut now) };
    (status == 0).then_some(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}

/// A system call's error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// The error number of `error`, or `EIO` if it carries none.
    #[must_use]
    pub fn of(error: &io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }

    /// The error number of the last failed call of this thread.
    #[must_use]
    pub fn last() -> Self {
        Self::of(&io::Error::last_os_error())
    }

    /// Whether this machine is at its limit, whatever the peer does: descriptors, local ports, memory.
    #[must_use]
    pub fn is_ours(self) -> bool {
        let ours = [libc::EADDRNOTAVAIL, libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS];
        ours.contains(&self.0)
    }

    /// Whether this machine has no way to the address, which says nothing of who is there.
    #[must_use]
    pub fn has_no_way(self) -> bool {
        [libc::ENETUNREACH, libc::EAFNOSUPPORT, libc::EADDRNOTAVAIL].contains(&self.0)
    }

    /// Its symbol, such as `ECONNREFUSED`, or `errno N`.
    #[must_use]
    pub fn name(self) -> String {
        errno_name(self.0).map_or_else(|| format!("errno {}", self.0), str::to_owned)
    }

    /// The next step for an error of a connection, as the end of a sentence; empty where none is known.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self.0 {
            libc::EADDRNOTAVAIL => {
                ": no local port is free; widen net.ipv4.ip_local_port_range or keep connections alive"
            }
            libc::EMFILE => ": this process has too many files open; raise `ulimit -n`",
            libc::ENFILE => ": this system has too many files open; raise fs.file-max",
            libc::ENOBUFS | libc::ENOMEM => {
                ": this system has no memory left for sockets; see net.ipv4.tcp_mem"
            }
            libc::EACCES | libc::EPERM => {
                ": a firewall or security module of this machine forbids it"
            }
            libc::ECONNREFUSED => ": nothing listens there, or its backlog is full",
            libc::ENETUNREACH => {
                ": this machine has no route there; `ip route get` tells of which network"
            }
            libc::EHOSTUNREACH => {
                ": no machine answers at that address, or a firewall before it refuses; see `ip neigh`"
            }
            libc::EINVAL => {
                ": the local address has no way to that one, as 127.0.0.1 has to no other machine"
            }
            libc::ETIMEDOUT => {
                ": nothing came back: a firewall drops what is sent, or the way or the machine is down"
            }
            libc::EADDRINUSE => {
                ": the local ports to that server are taken; give more local addresses, or widen net.ipv4.ip_local_port_range"
            }
            _ => "",
        }
    }
}

impl std::fmt::Display for Errno {
    /// The name and the words of errno(3), such as `ECONNREFUSED (Connection refused)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = io::Error::from_raw_os_error(self.0).to_string();
        let words = words.split(" (os error").next().unwrap_or_default();
        write!(f, "{} ({words})", self.name())
    }
}

/// The symbol of the errors that this engine meets (errno(3)).
fn errno_name(errno: i32) -> Option<&'static str> {
    Some(match errno {
        libc::EPERM => "EPERM",
        libc::EINTR => "EINTR",
        libc::EIO => "EIO",
        libc::EBADF => "EBADF",
        libc::EAGAIN => "EAGAIN",
        libc::ENOMEM => "ENOMEM",
        libc::EACCES => "EACCES",
        libc::EBUSY => "EBUSY",
        libc::EINVAL => "EINVAL",
        libc::EMFILE => "EMFILE",
        libc::ENFILE => "ENFILE",
        libc::EPIPE => "EPIPE",
        libc::ENOSYS => "ENOSYS",
        libc::EADDRINUSE => "EADDRINUSE",
        libc::EADDRNOTAVAIL => "EADDRNOTAVAIL",
        libc::ENETDOWN => "ENETDOWN",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ENOBUFS => "ENOBUFS",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::ECANCELED => "ECANCELED",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errno_reads_as_symbol_and_words() {
        assert_eq!(Errno(libc::ECONNREFUSED).to_string(), "ECONNREFUSED (Connection refused)");
        assert_eq!(Errno(libc::ENOTTY).to_string(), "errno 25 (Inappropriate ioctl for device)");
        assert_eq!(Errno::of(&io::Error::other("x")), Errno(libc::EIO));
    }

    #[test]
    fn errors_of_a_connect_name_the_next_step() {
        let check = |errno: i32, words: &str| {
            let remedy = Errno(errno).remedy();
            assert!(remedy.starts_with(": ") && remedy.contains(words), "{errno}: {remedy}");
        };
        check(libc::EADDRNOTAVAIL, "ip_local_port_range");
        check(libc::EADDRINUSE, "more local addresses");
        check(libc::ENETUNREACH, "no route");
        check(libc::EHOSTUNREACH, "no machine answers");
        check(libc::EINVAL, "local address");
        check(libc::ETIMEDOUT, "a firewall drops");
        assert_eq!(Errno(libc::EIO).remedy(), "");
    }

    #[test]
    fn the_clock_answers() {
        assert!(monotonic().is_some_and(|nanos| nanos > 0));
    }
}
