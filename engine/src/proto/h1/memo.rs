//! The last head of a core. A server under load answers with the same head again and again (only
//! the date changes, once a second), and a summary is a pure function of the bytes: equal bytes that
//! end in the blank line need no second parse. Never a cache of responses; bodies are not looked at.

use super::error::CloseReason;
use super::framing::{Framing, Leniency, Sent};
use super::summary::HeadSummary;

/// Heads longer than this are not remembered.
pub const HEAD_MEMO_BYTES: usize = 1024;

/// No length of a body in memory: the remembered head has no known one.
pub(super) const UNKNOWN_LENGTH: u64 = u64::MAX;

/// Remembers the bytes and the summary of the last final head that was parsed out of one input. One
/// serves all connections of a core. It allocates once, in `new`.
#[derive(Debug)]
pub struct HeadMemo {
    bytes: Vec<u8>,
    summary: Option<HeadSummary>,
    body_bytes: u64,
    close: Option<CloseReason>,
}

impl Default for HeadMemo {
    fn default() -> HeadMemo {
        HeadMemo::new()
    }
}

impl HeadMemo {
    /// An empty memo.
    #[must_use]
    pub fn new() -> HeadMemo {
        let bytes = Vec::with_capacity(HEAD_MEMO_BYTES);
        HeadMemo { bytes, summary: None, body_bytes: UNKNOWN_LENGTH, close: None }
    }

    /// The summary of the head at the start of `input`, if it is the remembered one.
    #[inline]
    pub(super) fn recall(&self, input: &[u8]) -> Option<&HeadSummary> {
        self.summary.as_ref().filter(|_| input.starts_with(&self.bytes))
    }

    /// Bytes of the body behind the remembered head in answer to a plain request, or
    /// [`UNKNOWN_LENGTH`].
    #[inline]
    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// What the remembered head says about closing.
    #[inline]
    pub(super) fn close(&self) -> Option<CloseReason> {
        self.close
    }

    /// Remembers `head`. Interim, folded and long heads are not worth it.
    pub(super) fn remember(&mut self, head: &[u8], summary: &HeadSummary) {
        if head.len() > HEAD_MEMO_BYTES || summary.folded || summary.status < 200 {
            return;
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(head);
        self.summary = Some(*summary);
        self.close = CloseReason::of_head(summary);
        self.body_bytes = match Framing::of(Sent::default(), summary, Leniency::Strict) {
            Ok(Framing::None) => 0,
            Ok(Framing::Length(bytes)) => bytes,
            _ => UNKNOWN_LENGTH,
        };
    }
}
