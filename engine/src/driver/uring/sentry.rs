//! Notices the end of a connection that its repeating receive may not tell. Never ends a connection: has the receive begin anew, which finds the end.
//!
//! A poll that wakes a repeating receive is counted. Where bytes and an end come together, before the shard has asked for either, kernels without the mend of
//! liburing issue 1549 spend the end's wake on the bytes: the receive goes on waiting for one that has been. A TCP connection's orderly end has a way around, a reset
//! has none. 6.18.44 tells both (a test of `loopback`), and still leaves one connection in some hundred thousand with its receive armed and its socket reset
//! (`tests/cancellation`, the origin). So from its first bytes on a connection has a *sentry*, a poll of its own for errors and hang-ups: the kernel checks for them when it
//! is posted, and wakes it when they come. It costs one submission a connection, and none where the connection ends with its first bytes.

use super::{Uring, prep};
use crate::driver::{Kind, Slot, Token};

/// A slot's sentry.
///
/// ```text
/// Nobody ──bytes came, more may come──> Wanted ──next wait──> Posted ──error, hang-up, close──> Gone
///    ^──────────receive over─────────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Sentry {
    #[default]
    Nobody,
    Wanted,
    Posted,
    /// What it was posted for has happened, and lasts.
    Gone,
}

/// What is to be done before the next enter.
#[derive(Debug, Default)]
pub(super) struct Sentries {
    /// Slots that are [`Sentry::Wanted`], once each.
    wanted: Vec<Slot>,
    /// Slots whose sentry saw an end that their receive has to tell.
    alarmed: Vec<Slot>,
}

impl Uring {
    /// A repeating receive brought bytes, and goes on.
    #[cold]
    pub(super) fn want_sentry(&mut self, slot: Slot) {
        if let Some(entry) = self.in_flight.live(slot) {
            entry.sentry = Sentry::Wanted;
            self.sentries.wanted.push(slot);
            self.attention = true;
        }
    }

    /// Posts the sentries that are wanted, and stops the receives that owe an end. Without room the next wait tries again.
    pub(super) fn attend_sentries(&mut self) {
        for slot in std::mem::take(&mut self.sentries.wanted) {
            if self.post_sentry(slot).is_err() {
                self.sentries.wanted.push(slot);
                self.attention = true;
            }
        }
        for slot in std::mem::take(&mut self.sentries.alarmed) {
            // One that is over, or is being closed, has told its end.
            if self.is_streaming(slot) && self.stop(slot).is_err() {
                self.sentries.alarmed.push(slot);
                self.attention = true;
            }
        }
    }

    fn post_sentry(&mut self, slot: Slot) -> Result<(), ()> {
        let streaming = self.is_streaming(slot);
        let Some(entry) = self.in_flight.live(slot) else { return Ok(()) };
        if !streaming {
            entry.sentry = Sentry::Nobody;
            return Ok(());
        }
        let sqe = prep::poll_end(Self::target(self.descriptors, slot, entry));
        self.push(&sqe.told_as(Token { slot, kind: Kind::Sentry }))?;
        self.started(slot, None);
        if let Some(entry) = self.in_flight.live(slot) {
            entry.sentry = Sentry::Posted;
        }
        Ok(())
    }

    /// A sentry's only completion.
    pub(super) fn handle_sentry(&mut self, slot: Slot, events: i32) {
        let Some(entry) = self.in_flight.live(slot) else { return };
        entry.sentry = Sentry::Gone;
        // The peer's orderly end is among what polls tell, wanted or not.
        if events > 0 && events & i32::from(libc::POLLERR | libc::POLLHUP) != 0 {
            self.sentries.alarmed.push(slot);
            self.attention = true;
        }
        self.ended(slot);
    }

    fn is_streaming(&mut self, slot: Slot) -> bool {
        let entry = self.in_flight.live(slot);
        entry.is_some_and(|entry| entry.receive == Some(Kind::Stream) && !entry.closing())
    }
}
