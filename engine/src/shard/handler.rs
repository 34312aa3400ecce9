//! Who gives a shard its work and hears of the outcome. Decides nothing.

use std::time::Duration;

use super::Failure;
use crate::clock::Instant;
use crate::proto::h1;

/// A whole response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response {
    /// When its request was sent.
    pub sent: Instant,
    /// When the first of it came.
    pub first_byte: Instant,
    /// The status code.
    pub status: u16,
}

/// What a lane sends next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it stays idle until [`Shard::rouse`](super::Shard::rouse) or [`Shard::rouse_lane`](super::Shard::rouse_lane).
    Nothing,
    /// A request of [`Config::templates`](super::Config::templates), so many times.
    Template {
        /// Its place.
        place: u32,
        /// At least one, at most the room that there is.
        count: u32,
    },
    /// One request, which [`Handler::write_request`] writes.
    Written,
}

/// So many requests of the first template.
impl From<u32> for Next {
    #[inline]
    fn from(count: u32) -> Self {
        if count == 0 { Self::Nothing } else { Self::Template { place: 0, count } }
    }
}

/// Who gives a shard its work and hears of the outcome.
pub trait Handler {
    /// What to send on a lane that has room for `room` requests (at least one).
    fn poll_requests(&mut self, lane: u32, room: u32, now: Instant) -> Next;

    /// After [`Next::Written`]: appends the request to `into`, which is empty, and says what the protocol must know of it. `None` if there is none after all.
    fn write_request(&mut self, lane: u32, now: Instant, into: &mut Vec<u8>) -> Option<h1::Sent> {
        let _ = (lane, now, into);
        None
    }

    /// Whether a lane without a connection should open one: it has something to send.
    fn wants_connection(&mut self, lane: u32) -> bool;

    /// A lane's connection is there, `took` after it was asked for.
    fn handle_connected(&mut self, lane: u32, took: Duration) {
        let _ = (lane, took);
    }

    /// A lane's connection ended by `failure` before anything was sent on it.
    fn handle_unused(&mut self, lane: u32, failure: Failure) {
        let _ = (lane, failure);
    }

    /// A response begins, with [`Heads::Tell`](super::Heads::Tell) only.
    fn handle_head(&mut self, lane: u32, head: &h1::Head<'_>) {
        let _ = (lane, head);
    }

    /// A response is complete.
    fn handle_response(&mut self, lane: u32, response: Response, now: Instant);

    /// A piece of a body, with [`Body::Read`](super::Body::Read) only.
    fn handle_body(&mut self, lane: u32, piece: &[u8]);

    /// A request that was sent at `sent` failed; with `Connect` and `ConnectTimeout` it is the lane's next one, which was not sent.
    fn handle_failure(&mut self, lane: u32, failure: Failure, sent: Option<Instant>, now: Instant);

    /// A request was sent, at `sent`, behind one whose response said that the connection closes: the server did not take it up (RFC 9112 9.6), send it again.
    fn handle_unsent(&mut self, lane: u32, sent: Instant);
}
