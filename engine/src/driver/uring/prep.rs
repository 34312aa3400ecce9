//! Operations as submission queue entries. Builds, never pushes. What lends memory to the
//! kernel is unsafe to build; then it is safe to push.

use std::os::fd::RawFd;

use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, Fd, Fixed};
use socket2::SockAddr;

use crate::driver::Token;

/// An entry that may be pushed at any time: whatever memory it names is lent by whoever built it.
#[derive(Debug)]
pub(super) struct Sqe(Entry);

impl Sqe {
    /// The same, whose completions carry this token.
    #[inline]
    pub(super) fn told_as(self, token: Token) -> Self {
        Self(self.0.user_data(token.pack()))
    }

    #[inline]
    pub(super) fn entry(&self) -> &Entry {
        &self.0
    }
}

/// A descriptor as the ring knows it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// A place in the ring's file table.
    Fixed(u32),
    /// A descriptor of the process.
    Plain(i32),
}

/// Builds `$op` for either kind of descriptor.
macro_rules! on {
    ($target:expr, $fd:ident => $build:expr) => {
        match $target {
            Target::Fixed(index) => {
                let $fd = Fixed(index);
                $build
            }
            Target::Plain(raw) => {
                let $fd = Fd(raw);
                $build
            }
        }
    };
}

/// `IORING_RECVSEND_POLL_FIRST` (io_uring_enter(2), 5.19): wait for readiness before the first try.
const POLL_FIRST: u16 = 1;

/// # Safety
/// `address` stays where it is until the entry has been submitted (`IORING_FEAT_SUBMIT_STABLE`).
pub(super) unsafe fn connect(target: Target, address: &SockAddr) -> Sqe {
    Sqe(on!(target, fd => opcode::Connect::new(fd, address.as_ptr().cast(), address.len()).build()))
}

/// `MSG_WAITALL` makes the kernel go on after a short send (io_uring_enter(2)).
///
/// # Safety
/// `bytes` stay as they are until the send is over.
#[inline]
pub(super) unsafe fn send(target: Target, bytes: &[u8]) -> Sqe {
    let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
    let (start, count) = (bytes.as_ptr(), bytes.len() as u32);
    Sqe(on!(target, fd => opcode::Send::new(fd, start, count).flags(flags).build()))
}

/// A send that has a completion only if it fails (`IOSQE_CQE_SKIP_SUCCESS`, 5.17).
#[inline]
pub(super) fn quiet(Sqe(entry): Sqe) -> Sqe {
    Sqe(entry.flags(Flags::SKIP_SUCCESS))
}

/// A send that is over when the enter that submits it returns, and has a completion only if it did not go out whole.
///
/// `MSG_DONTWAIT` sets `REQ_F_NOWAIT`: instead of waiting for room the kernel completes with `EAGAIN` or, for the sake of `MSG_WAITALL`, with a short count as a
/// failure, which no `IOSQE_CQE_SKIP_SUCCESS` hides. Checked on 6.18 by a test of `sending`.
///
/// # Safety
/// `bytes` stay as they are until the send is over.
pub(super) unsafe fn send_now(target: Target, bytes: &[u8]) -> Sqe {
    let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
    let (start, count) = (bytes.as_ptr(), bytes.len() as u32);
    quiet(Sqe(on!(target, fd => opcode::Send::new(fd, start, count).flags(flags).build())))
}

/// Tells each time that `counter` is signalled, until it says that it stops (5.13). Needs no memory.
pub(super) fn poll_counter(counter: RawFd) -> Sqe {
    Sqe(opcode::PollAdd::new(Fd(counter), libc::POLLIN as u32).multi(true).build())
}

/// Tells once when the connection has failed or both of its sides are closed, which polls always tell (poll(2)).
pub(super) fn poll_end(target: Target) -> Sqe {
    let ends = (libc::POLLERR | libc::POLLHUP) as u32;
    Sqe(on!(target, fd => opcode::PollAdd::new(fd, ends).build()))
}

/// A receive that repeats, into buffers of `group` (6.0).
pub(super) fn stream(target: Target, group: u16) -> Sqe {
    Sqe(on!(target, fd => opcode::RecvMulti::new(fd, group).build()))
}

/// One receive of up to `count` bytes into a buffer of `group`.
pub(super) fn once(target: Target, group: u16, count: u32) -> Sqe {
    let entry = on!(target, fd => opcode::Recv::new(fd, std::ptr::null_mut(), count)
        .buf_group(group).ioprio(POLL_FIRST).build());
    Sqe(entry.flags(Flags::BUFFER_SELECT))
}

/// One receive that drops up to `count` bytes in the kernel (tcp(7), `MSG_TRUNC`).
///
/// Never with `MSG_WAITALL`: a retry would start from the full count, since a truncating receive does not advance it, and take bytes of the next response.
pub(super) fn discard(target: Target, count: u32) -> Sqe {
    let nowhere = std::ptr::null_mut();
    Sqe(on!(target, fd => opcode::Recv::new(fd, nowhere, count).flags(libc::MSG_TRUNC).build()))
}

/// Accepts until cancelled (5.19).
pub(super) fn accept(target: Target) -> Sqe {
    Sqe(on!(target, fd => opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build()))
}

/// Cancels the operation with this token.
pub(super) fn cancel(token: Token) -> Sqe {
    Sqe(opcode::AsyncCancel2::new(CancelBuilder::user_data(token.pack())).build())
}

/// Cancels everything on a descriptor.
pub(super) fn cancel_all(target: Target) -> Sqe {
    let builder = on!(target, fd => CancelBuilder::fd(fd)).all();
    Sqe(opcode::AsyncCancel2::new(builder).build())
}
