//! What a connection's response side tells its caller: events that borrow the bytes they speak of,
//! and small outcomes that borrow nothing.

use super::error::CloseReason;
use super::fields::{Fields, Trailers};
use super::framing::Framing;
use super::summary::HeadSummary;

/// How a response ended: `Ok` when the connection can carry another request, else why it cannot.
pub type End = Result<(), CloseReason>;

/// One response head. Its bytes are valid and unfolded.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// What framing and persistence were decided from.
    pub summary: HeadSummary,
    /// How its body is framed.
    pub framing: Framing,
    pub(super) bytes: &'a [u8],
}

impl<'a> Head<'a> {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.summary.status
    }

    /// The fields in the server's order, names as written.
    #[must_use]
    pub fn fields(&self) -> Fields<'a> {
        Fields::of(self.bytes)
    }

    /// Status line, fields and blank line: as sent, but for folded lines, which are joined.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// What the next bytes of the connection are.
#[derive(Debug)]
pub enum Event<'a> {
    /// The input is used up.
    NeedMore,
    /// An interim response (RFC 9110 15.2); the final one follows.
    Interim(Head<'a>),
    /// The head of the response to the oldest unanswered request.
    Head(Head<'a>),
    /// Some of its body.
    Data(&'a [u8]),
    /// The trailers of its body.
    Trailers(Trailers<'a>),
    /// It is complete, and its request no longer outstanding.
    End(End),
}

/// What the server's close meant, where it was no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eof {
    /// Nothing was outstanding: an idle connection ended.
    Idle,
    /// It ended the body of the oldest request.
    End(CloseReason),
    /// The connection was done already: closed for the reason told, or another protocol's.
    Closed,
}

/// A whole response that lay in one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Bytes of the head: the body follows it.
    pub head_bytes: usize,
    /// Bytes of head and body: what was taken of the input.
    pub consumed: usize,
    /// The status code.
    pub status: u16,
    /// Whether the connection stays.
    pub end: End,
}

/// Why another request cannot go out on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many are unanswered as [`PIPELINE_DEPTH_MAX`](super::PIPELINE_DEPTH_MAX) allows.
    #[error("too many requests are unanswered on this connection")]
    Full,
    /// The connection closes, or a request that ends it is unanswered: `Connection: close`,
    /// `CONNECT`, or an upgrade. Nothing may follow those (RFC 9112 9.6).
    #[error("no request may follow on this connection")]
    Closing,
}

/// Where the bytes of a head are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// So many at the start of the input.
    Input(usize),
    /// All that was put together from pieces.
    Spill,
}

/// An event before it borrows anything, so that whoever finds it can still be changed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    NeedMore,
    Interim(HeadSummary, Framing, Place),
    Head(HeadSummary, Framing, Place),
    Data(usize, usize),
    Trailers,
    End(End),
}

impl Step {
    /// The event, over the bytes that it speaks of.
    #[inline]
    pub(super) fn event<'a>(self, input: &'a [u8], spill: &'a [u8]) -> Event<'a> {
        match self {
            Step::NeedMore => Event::NeedMore,
            Step::Interim(summary, framing, place) => {
                Event::Interim(Head { summary, framing, bytes: place.bytes(input, spill) })
            }
            Step::Head(summary, framing, place) => {
                Event::Head(Head { summary, framing, bytes: place.bytes(input, spill) })
            }
            Step::Data(start, end) => Event::Data(&input[start..end]),
            Step::Trailers => Event::Trailers(Trailers::of(spill)),
            Step::End(end) => Event::End(end),
        }
    }
}

impl Place {
    fn bytes<'a>(self, input: &'a [u8], spill: &'a [u8]) -> &'a [u8] {
        match self {
            Place::Input(bytes) => &input[..bytes],
            Place::Spill => spill,
        }
    }
}
