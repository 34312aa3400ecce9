//! One slot of the epoll driver: its socket, what its reader wants, and what is known of its readiness. Makes no system call.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use crate::driver::{Confirm, End, Payload, Span};
use crate::sys::Errno;

/// What a slot's reader wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Nothing,
    Stream,
    Once,
    Discard(u64),
}

/// What a slot's socket is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Connecting,
    Connected,
    Listening,
}

/// A send that the kernel did not take whole.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) what: Outgoing,
    /// Bytes of it that the kernel has.
    pub(super) taken: usize,
    pub(super) confirm: Confirm,
}

/// What is being sent.
#[derive(Debug)]
pub(super) enum Outgoing {
    Span(Span),
    Bytes(Payload),
}

/// One slot. Invariant: `queued` is true exactly while the slot's index is in the driver's `ready` queue.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) generation: u32,
    pub(super) socket: OwnedFd,
    pub(super) role: Role,
    pub(super) reading: Reading,
    /// An edge said that something can be read, and no read has drained it since.
    pub(super) readable: bool,
    /// The peer's end was announced: a short read is not the last.
    pub(super) ending: bool,
    pub(super) queued: bool,
    /// A listener that could not accept, and is not to try before it is asked to.
    pub(super) resting: bool,
    pub(super) unsent: VecDeque<Unsent>,
}

impl Entry {
    /// What a read of `asked` bytes means: bytes, nothing there after all (`Err(None)`), or the end.
    #[inline]
    pub(super) fn after_read(
        &mut self,
        outcome: Result<usize, Errno>,
        asked: usize,
    ) -> Result<usize, Option<End>> {
        match outcome {
            Ok(0) => Err(Some(End::Eof)),
            Ok(taken) => {
                // A short read drained the stream, unless the end stands behind the bytes.
                self.readable = taken == asked || self.ending;
                Ok(taken)
            }
            Err(Errno(libc::EAGAIN | libc::EINTR)) => {
                self.readable = false;
                Err(None)
            }
            Err(errno) => Err(Some(End::Failed(errno))),
        }
    }
}
