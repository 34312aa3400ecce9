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
use crate::clock::Instant;
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
    /// It must wait for the next reap: more can be received, though all requests are answered.
    Held,
}

/// The places of a lane's unanswered requests: a ring of `pipeline` places, oldest first.
///
/// Invariants: `oldest < pipeline`, `count <= pipeline`.
#[derive(Debug)]
pub(super) struct Places {
    oldest: u32,
    count: u32,
    pipeline: u32,
}

impl Places {
    fn new(pipeline: u32) -> Self {
        Self { oldest: 0, count: 0, pipeline }
    }

    /// Takes the next place for a request that is being sent.
    #[inline]
    pub(super) fn push(&mut self) -> u32 {
        debug_assert!(self.count < self.pipeline, "more requests than places");
        let place = self.oldest + self.count;
        self.count += 1;
        if place >= self.pipeline { place - self.pipeline } else { place }
    }

    /// Frees the place of the oldest request, which has ended.
    #[inline]
    pub(super) fn pop(&mut self) -> u32 {
        debug_assert!(self.count > 0, "no request is unanswered");
        let place = self.oldest;
        self.count -= 1;
        self.oldest = if place + 1 == self.pipeline { 0 } else { place + 1 };
        place
    }
}

/// One lane: three cache lines, all of which a request touches.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Connection {
    pub(super) slot: Slot,
    pub(super) state: State,
    pub(super) receiving: Receiving,
    pub(super) sending: Sending,
    pub(super) bodies: Bodies,
    pub(super) machine: Machine,
    pub(super) requests: Places,
    /// Status of the response whose body is being read.
    pub(super) status: u16,
    /// Whether that body is chunked.
    pub(super) chunked: bool,
    /// Addresses tried in vain by this dial.
    pub(super) tried: u32,
    /// Dials in a row that led to no response.
    pub(super) failures: u32,
    /// Requests that may still be sent on this connection.
    pub(super) left: u64,
    /// When the first of the response that is being received came; [`Instant::NEVER`] before.
    pub(super) first_byte: Instant,
}

impl Connection {
    pub(super) fn new(lane: u32, pipeline: u32, limits: &Limits) -> Self {
        Self {
            slot: Slot::first(lane),
            state: State::Vacant,
            receiving: Receiving::Nothing,
            sending: Sending::Free,
            bodies: Bodies::Small,
            machine: Machine::new(limits),
            requests: Places::new(pipeline),
            status: 0,
            chunked: false,
            tried: 0,
            failures: 0,
            left: u64::MAX,
            first_byte: Instant::NEVER,
        }
    }

    /// Requests that were sent and not answered.
    #[inline]
    pub(super) fn unanswered(&self) -> u32 {
        self.requests.count
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
        self.first_byte = Instant::NEVER;
        debug_assert_eq!(self.unanswered(), 0, "requests outlived their connection");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_go_round_first_in_first_out() {
        for pipeline in [1, 3, 4] {
            let mut places = Places::new(pipeline);
            let mut expected = (0..pipeline).cycle();
            for _ in 0..10 {
                let pushed: Vec<u32> = (0..pipeline).map(|_| places.push()).collect();
                assert_eq!(places.count, pipeline);
                let popped: Vec<u32> = (0..pipeline).map(|_| places.pop()).collect();
                assert_eq!(pushed, popped);
                assert!(pushed.iter().all(|place| Some(*place) == expected.next()));
                // One more, so that the rounds begin at different places.
                assert_eq!((places.push(), places.pop()).0, expected.next().unwrap());
            }
        }
    }
}
