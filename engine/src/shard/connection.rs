//! One lane and its connection. Plain state: moves are made by `dial` and `exchange`.
//!
//! ```text
//!            wants_connection               connected
//!  Vacant ───────────────────> Dialing ───────────────> Open
//!    ^  ^                         │ refused, timeout      │ close said, error, timeout, end
//!    │  └──── BackingOff <──┐     v                       v
//!    │        (after a      └── Closing <─────────────────┘
//!    └───────  failure) ───────────┘   the driver says Closed
//! ```

use super::Body;
use super::exchange::LARGE_BODY_BYTES;
use crate::driver::{Slot, Window};
use crate::proto::h1::{Framing, Limits, Machine};

/// Where a lane is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No connection, and none wanted so far.
    Vacant,
    /// A failure made the next dial wait.
    BackingOff,
    /// The socket connects.
    Dialing,
    /// Requests and responses.
    Open,
    /// Given up; the driver has still to say `Closed`.
    Closing,
}

/// What a connection's receive side is doing. At most one receive or discard is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Receiving {
    /// Nothing is in flight.
    Nothing,
    /// A stream is armed.
    Stream,
    /// One piece, or one discard, is in flight.
    Once,
    /// The stream is asked to end, so that a large body can be discarded.
    Stopping,
}

/// How large the bodies on a lane are, which decides how it reads the next head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    /// They come along with the head: keep a stream armed.
    Small,
    /// They are discarded or read in bulk: read heads one by one.
    Large,
}

/// Whether a send is in flight that will tell its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// The next send may go.
    Free,
    /// It must wait.
    Busy,
}

/// One lane.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) slot: Slot,
    pub(super) state: State,
    pub(super) receiving: Receiving,
    pub(super) sending: Sending,
    pub(super) bodies: Bodies,
    pub(super) machine: Machine,
    /// Number of the oldest unanswered request, and of the next to be sent, modulo 2^32.
    pub(super) oldest: u32,
    pub(super) next: u32,
    /// Status of the response whose body is being read.
    pub(super) status: u16,
    /// Whether that body is chunked.
    pub(super) chunked: bool,
    /// Dials in a row that led to no response.
    pub(super) failures: u32,
}

impl Connection {
    pub(super) fn new(lane: u32, limits: &Limits) -> Self {
        Self {
            slot: Slot::first(lane),
            state: State::Vacant,
            receiving: Receiving::Nothing,
            sending: Sending::Free,
            bodies: Bodies::Small,
            machine: Machine::new(limits),
            oldest: 0,
            next: 0,
            status: 0,
            chunked: false,
            failures: 0,
        }
    }

    /// Requests that were sent and not answered.
    #[inline]
    pub(super) fn unanswered(&self) -> u32 {
        self.next.wrapping_sub(self.oldest)
    }

    /// How to read the next head, or a body that can't be discarded.
    pub(super) fn window(&self, body: Body) -> Window {
        match self.bodies {
            Bodies::Small => Window::Stream,
            Bodies::Large if self.chunked || body == Body::Read => Window::Bulk,
            Bodies::Large => Window::Once,
        }
    }

    /// Takes from a head what the rest of the response needs.
    pub(super) fn handle_head(&mut self, status: u16, framing: Framing) {
        self.status = status;
        self.chunked = framing == Framing::Chunked;
        if matches!(framing, Framing::Length(bytes) if bytes < LARGE_BODY_BYTES) {
            self.bodies = Bodies::Small;
        }
    }

    /// A chunked body that fills a small buffer and goes on is a large one: its length can't be known.
    pub(super) fn handle_full_buffer(&mut self) {
        if self.chunked && self.machine.outstanding() > 0 {
            self.bodies = Bodies::Large;
        }
    }

    /// Ready for the next socket: what a connection must not inherit from the one before.
    pub(super) fn renew(&mut self) {
        self.slot = self.slot.next();
        self.receiving = Receiving::Nothing;
        self.sending = Sending::Free;
        self.machine.reset();
        debug_assert_eq!(self.unanswered(), 0, "requests outlived their connection");
    }
}
