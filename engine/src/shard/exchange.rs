//! Requests out, responses in: the hot path. Parses in place, gives the buffer back, and sends the next request in the same pass.

use super::connection::{Bodies, Connection, Receiving, Sending, State};
use super::reading::{Outcome, Reader};
use super::{Body, Failure, Handler, Next, Phase, Response, Shard};
use crate::clock::Instant;
use crate::driver::{
    Armed, Confirm, Driver, End, Lent, Op, Payload, SMALL_PIECE_BYTES, Span, Window,
};
use crate::proto::h1::{self, Eof};
use crate::sys::Errno;

/// Unanswered request bytes on a connection up to which sends are quiet: as much as the smallest default send buffer takes (`tcp_wmem`, tcp(7)), so that a
/// send does not wait inside the kernel while the next one passes it.
pub const QUIET_BYTES_MAX: u32 = 16 << 10;
/// Body bytes still to come from which a body counts as large.
pub const LARGE_BODY_BYTES: u64 = 8 << 10;

impl<D: Driver> Shard<D> {
    #[inline]
    pub(super) fn handle_received(
        &mut self,
        lane: u32,
        lent: Lent,
        armed: Armed,
        handler: &mut impl Handler,
        now: Instant,
    ) {
        let connection = &mut self.lanes[lane as usize];
        if armed == Armed::No {
            connection.receiving = Receiving::Nothing;
        }
        if connection.state != State::Open {
            self.driver.give_back(lent);
            return;
        }
        let input = self.driver.bytes(&lent);
        self.counters.bytes_received += input.len() as u64;
        let (full, has_more) = (input.len() >= SMALL_PIECE_BYTES as usize, lent.has_more());
        let outcome = Reader {
            connection,
            memo: &mut self.memo,
            awaiting: &mut self.awaiting,
            in_flight: &mut self.in_flight,
            pipeline: self.config.pipeline,
            heads: self.config.heads,
            body: self.config.body,
            lane,
            now,
        }
        .read(input, handler);
        self.driver.give_back(lent);
        if full {
            self.lanes[lane as usize].handle_full_buffer();
        }
        if has_more {
            self.hold(lane);
        }
        self.go_on(lane, outcome, handler, now);
    }

    /// After a piece of input: the next requests and the next receive, or the end.
    #[inline]
    fn go_on(&mut self, lane: u32, outcome: Outcome, handler: &mut impl Handler, now: Instant) {
        match outcome {
            Outcome::Open => {
                self.send_more(lane, handler, now);
                self.receive_next(lane);
                self.give_up_used_up(lane, handler);
            }
            Outcome::Done => self.finish_connection(lane, handler),
            Outcome::Failed(error) => self.fail(lane, failure_of(error), handler, now),
        }
    }

    pub(super) fn handle_discarded(
        &mut self,
        lane: u32,
        bytes: u64,
        has_more: bool,
        handler: &mut impl Handler,
        now: Instant,
    ) {
        let connection = &mut self.lanes[lane as usize];
        connection.receiving = Receiving::Nothing;
        if connection.state != State::Open {
            return;
        }
        self.counters.bytes_received += bytes;
        connection.machine.handle_discarded(bytes);
        let outcome = Reader {
            connection,
            memo: &mut self.memo,
            awaiting: &mut self.awaiting,
            in_flight: &mut self.in_flight,
            pipeline: self.config.pipeline,
            heads: self.config.heads,
            body: self.config.body,
            lane,
            now,
        }
        .read(&[], handler);
        if has_more {
            self.hold(lane);
        }
        self.go_on(lane, outcome, handler, now);
    }

    /// The connection can carry no more: what the server did not take up goes back to the handler, and the lane starts afresh.
    fn finish_connection(&mut self, lane: u32, handler: &mut impl Handler) {
        while self.lanes[lane as usize].unanswered() > 0 {
            if let Some(sent) = self.end_oldest(lane) {
                handler.handle_unsent(lane, sent);
            }
        }
        self.close_connection(lane);
    }

    pub(super) fn handle_receive_ended(
        &mut self,
        lane: u32,
        end: End,
        handler: &mut impl Handler,
        now: Instant,
    ) {
        let connection = &mut self.lanes[lane as usize];
        connection.receiving = Receiving::Nothing;
        if connection.state != State::Open {
            return;
        }
        match end {
            End::Starved | End::Stopped => self.listen_on(lane),
            End::Failed(errno) => self.fail(lane, Failure::Reset(errno), handler, now),
            End::Eof => self.handle_eof(lane, handler, now),
        }
    }

    fn handle_eof(&mut self, lane: u32, handler: &mut impl Handler, now: Instant) {
        let connection = &mut self.lanes[lane as usize];
        match connection.machine.handle_eof() {
            Ok(Eof::End(_)) => {
                let status = connection.status;
                let first_byte = connection.first_byte.min(now);
                if let Some(sent) = self.end_oldest(lane) {
                    handler.handle_response(lane, Response { sent, first_byte, status }, now);
                }
                self.lanes[lane as usize].failures = 0;
                self.finish_connection(lane, handler);
            }
            // Who closes before anything was asked would be dialed again at once, over and over.
            Ok(Eof::Idle | Eof::Closed) if self.is_unused(lane) => {
                self.fail(lane, Failure::ClosedEarly, handler, now);
            }
            Ok(Eof::Idle | Eof::Closed) => self.finish_connection(lane, handler),
            Err(error) => self.fail(lane, failure_of(error), handler, now),
        }
    }

    pub(super) fn handle_sent(&mut self, lane: u32, handler: &mut impl Handler, now: Instant) {
        let connection = &mut self.lanes[lane as usize];
        connection.sending = Sending::Free;
        if connection.state == State::Open {
            self.send_more(lane, handler, now);
        }
    }

    /// A send failed. What the server said before it broke may still be readable, and the receive tells it; a failure that it will not tell ends here.
    pub(super) fn handle_send_failed(
        &mut self,
        lane: u32,
        errno: Errno,
        handler: &mut impl Handler,
        now: Instant,
    ) {
        let connection = &mut self.lanes[lane as usize];
        if connection.state == State::Open {
            connection.sending = Sending::Busy;
            if connection.receiving == Receiving::Nothing {
                self.fail(lane, Failure::Reset(errno), handler, now);
            }
        }
    }

    /// Ends every unanswered request of a lane with `failure`, and the connection with them.
    pub(super) fn fail(
        &mut self,
        lane: u32,
        failure: Failure,
        handler: &mut impl Handler,
        now: Instant,
    ) {
        if self.is_unused(lane) {
            handler.handle_unused(lane, failure);
        }
        self.lanes[lane as usize].failures += 1;
        self.fail_outstanding(lane, failure, handler, now);
        self.close_connection(lane);
    }

    pub(super) fn fail_outstanding(
        &mut self,
        lane: u32,
        mut failure: Failure,
        handler: &mut impl Handler,
        now: Instant,
    ) {
        while self.lanes[lane as usize].unanswered() > 0 {
            let sent = self.end_oldest(lane);
            handler.handle_failure(lane, failure, sent, now);
            failure = failure.of_those_behind();
        }
    }

    /// Everything is answered, and the connection has carried as many requests as it may; or a send goes on all the same: the server has decided without
    /// reading it all, and may never read the rest. It stops here, and the connection with it (RFC 9112 9.5); the response has been delivered.
    #[inline]
    fn give_up_used_up(&mut self, lane: u32, handler: &mut impl Handler) {
        let connection = &self.lanes[lane as usize];
        let used_up = connection.sending == Sending::Busy || connection.left == 0;
        if used_up && connection.unanswered() == 0 && connection.state == State::Open {
            self.finish_connection(lane, handler);
        }
    }

    /// Takes the oldest request off the books.
    fn end_oldest(&mut self, lane: u32) -> Option<Instant> {
        let connection = &mut self.lanes[lane as usize];
        let request = lane * self.config.pipeline + connection.requests.pop();
        self.in_flight -= 1;
        self.awaiting.stop(request)
    }

    /// Sends as many requests as the lane has room for and the handler gives.
    #[inline]
    pub(super) fn send_more(&mut self, lane: u32, handler: &mut impl Handler, now: Instant) {
        loop {
            let room = self.room(lane);
            if room == 0 {
                return;
            }
            let sent = match handler.poll_requests(lane, room, now) {
                Next::Nothing => return,
                Next::Template { place, count } => {
                    self.send_copies(lane, place, count.min(room), now)
                }
                Next::Written => self.send_written(lane, handler, now),
            };
            if !sent || self.lanes[lane as usize].unanswered() >= self.config.pipeline {
                return;
            }
        }
    }

    /// How many requests may go out on a lane now.
    #[inline]
    fn room(&self, lane: u32) -> u32 {
        let connection = &self.lanes[lane as usize];
        let busy = connection.sending != Sending::Free || self.phase != Phase::Running;
        if busy || connection.machine.close_reason().is_some() || connection.state != State::Open {
            return 0;
        }
        let unanswered = connection.unanswered();
        if self.one_by_one || self.is_unproven(connection) {
            return u32::from(unanswered == 0 && connection.left > 0);
        }
        let room = (self.config.pipeline - unanswered).min(self.copies);
        if u64::from(room) > connection.left { connection.left as u32 } else { room }
    }

    /// Whether a connection has answered nothing so far: only its first response shows that it stays, and until then nothing is pipelined behind the request that
    /// is out (RFC 9112 9.3.2).
    #[inline]
    pub(super) fn is_unproven(&self, connection: &Connection) -> bool {
        let sent = self.config.requests_per_connection - connection.left;
        sent == u64::from(connection.unanswered())
    }

    /// Whether nothing was sent on a connection that is there.
    fn is_unused(&self, lane: u32) -> bool {
        let connection = &self.lanes[lane as usize];
        connection.unanswered() == 0 && self.is_unproven(connection)
    }

    /// Sends copies of a template: as many as one send holds. Whether any went out.
    #[inline]
    fn send_copies(&mut self, lane: u32, place: u32, count: u32, now: Instant) -> bool {
        let Some(copies) = self.config.templates.get(place as usize) else { return false };
        let (request_bytes, sent) = (copies.request_bytes, copies.sent);
        let bytes = count * request_bytes;
        debug_assert!(bytes as usize <= copies.bytes.len(), "more copies than there are");
        let unanswered = self.lanes[lane as usize].unanswered();
        if !self.begin(lane, sent, count, now) {
            return false;
        }
        let outstanding =
            u64::from(unanswered) * u64::from(self.request_bytes_max) + u64::from(bytes);
        let confirm = self.confirm(lane, outstanding);
        let span = Span { template: self.templates[place as usize], start: 0, bytes };
        let slot = self.lanes[lane as usize].slot;
        self.submit(slot, Op::Send { span, confirm });
        true
    }

    /// Sends a request that the handler writes. Whether there was one.
    fn send_written(&mut self, lane: u32, handler: &mut impl Handler, now: Instant) -> bool {
        let mut buffer = self.driver.buffer();
        let written = handler.write_request(lane, now, &mut buffer);
        let Some(sent) = written.filter(|_| !buffer.is_empty()) else { return false };
        let unanswered = self.lanes[lane as usize].unanswered();
        if !self.begin(lane, sent, 1, now) {
            return false;
        }
        self.one_by_one |= sent.is_final();
        self.request_bytes_max = self.request_bytes_max.max(buffer.len() as u32);
        let outstanding = u64::from(unanswered) * u64::from(self.request_bytes_max);
        let confirm = self.confirm(lane, outstanding + buffer.len() as u64);
        let slot = self.lanes[lane as usize].slot;
        self.submit(slot, Op::SendBytes { bytes: Payload::Buffer(buffer), confirm });
        true
    }

    /// Notes requests that are about to be sent. `false` if the connection takes no more.
    #[inline]
    fn begin(&mut self, lane: u32, sent: h1::Sent, count: u32, now: Instant) -> bool {
        let connection = &mut self.lanes[lane as usize];
        if connection.machine.handle_requests(sent, count).is_err() {
            debug_assert!(false, "the machine refused what the lane had room for");
            return false;
        }
        connection.left -= u64::from(count);
        for _ in 0..count {
            let request = lane * self.config.pipeline + connection.requests.push();
            self.awaiting.start(request, now);
        }
        self.in_flight += count;
        true
    }

    /// Whether the end of a send is to be told, with so many request bytes unanswered.
    #[inline]
    fn confirm(&mut self, lane: u32, outstanding_bytes: u64) -> Confirm {
        if outstanding_bytes <= u64::from(QUIET_BYTES_MAX) {
            return Confirm::OnFailure;
        }
        self.lanes[lane as usize].sending = Sending::Busy;
        Confirm::Always
    }

    /// Sees to it that the receive fits what is expected: a stream for small responses; for a large body a discard, or a bulk receive.
    #[inline]
    pub(super) fn receive_next(&mut self, lane: u32) {
        let connection = &mut self.lanes[lane as usize];
        let rest = connection.machine.discardable();
        if rest >= LARGE_BODY_BYTES {
            connection.bodies = Bodies::Large;
        }
        let large = connection.bodies == Bodies::Large;
        let op = match connection.receiving {
            Receiving::Stream if large => Op::Stop,
            Receiving::Nothing if connection.state == State::Open => {
                if large && rest > 0 && self.config.body == Body::Discard {
                    Op::Discard { bytes: rest }
                } else {
                    Op::Receive(connection.window(self.config.body))
                }
            }
            _ => return,
        };
        connection.receiving = match op {
            Op::Stop => Receiving::Stopping,
            Op::Receive(Window::Stream) => Receiving::Stream,
            _ => Receiving::Once,
        };
        let slot = connection.slot;
        self.submit(slot, op);
    }
}

/// A connection that ended before a byte of the response was broken by its end; the rest is the protocol's business.
fn failure_of(error: h1::Error) -> Failure {
    match error {
        h1::Error::ClosedIdle | h1::Error::EmptyReply => Failure::ClosedEarly,
        error => Failure::Protocol(error),
    }
}
