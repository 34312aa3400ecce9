//! The requests of one connection that are unanswered, in order. It keeps what the response side
//! has to know of them in a few bytes, never the requests themselves, and never allocates.

use super::event::Refused;
use super::framing::{MethodKind, Sent};

/// The most requests that may be unanswered on one connection.
pub const PIPELINE_DEPTH_MAX: u32 = 128;

/// A queue of requests, oldest first.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pending {
    /// Bit n: the n-th oldest was a `HEAD`. Bits at and above `count` are 0.
    heads: u128,
    count: u8,
    /// The newest. It alone may be one that nothing can follow.
    newest: Sent,
}

impl Pending {
    #[inline]
    pub(super) fn count(&self) -> u32 {
        u32::from(self.count)
    }

    /// Whether the queue holds a request that nothing may follow.
    #[inline]
    pub(super) fn is_final(&self) -> bool {
        self.newest.is_final()
    }

    /// Whether the oldest is a `HEAD`.
    #[inline]
    pub(super) fn head_is_next(&self) -> bool {
        self.heads & 1 == 1
    }

    /// Adds `count` equal requests, all or none.
    pub(super) fn push(&mut self, sent: Sent, count: u32) -> Result<(), Refused> {
        if count > PIPELINE_DEPTH_MAX - self.count() {
            return Err(Refused::Full);
        }
        if self.is_final() || sent.is_final() && count > 1 {
            return Err(Refused::Closing);
        }
        if sent.method == MethodKind::Head && count > 0 {
            self.heads |= u128::MAX >> (PIPELINE_DEPTH_MAX - count) << self.count;
        }
        self.newest = if count > 0 { sent } else { self.newest };
        self.count += count as u8;
        Ok(())
    }

    /// The oldest: the one that the next response answers.
    pub(super) fn oldest(&self) -> Sent {
        let method = if self.head_is_next() { MethodKind::Head } else { MethodKind::Other };
        if self.count == 1 { self.newest } else { Sent { method, ..Sent::default() } }
    }

    /// Takes the oldest away. Returns whether none is left.
    #[inline]
    pub(super) fn pop(&mut self) -> bool {
        debug_assert!(self.count > 0, "a response ended that no request asked for");
        self.heads >>= 1;
        self.count = self.count.saturating_sub(1);
        if self.count == 0 {
            self.newest = Sent::default();
        }
        self.count == 0
    }
}
