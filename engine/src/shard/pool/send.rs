//! Requests out: the head at once, with a small body in the same send; larger bodies piece by piece, each told when the kernel has it.

use std::time::Duration;

use bytes::Bytes;

use super::Pool;
use super::connection::{Connection, State};
use super::exchange::{Exchange, Stage};
use super::expiry::watch_deadlines as watch;
use super::outgoing::Outgoing;
use super::slab::Id;
use crate::clock::Instant;
use crate::driver::{Confirm, Driver, Op, Payload};
use crate::error::{Kind, Sent};
use crate::shard::QUIET_BYTES_MAX;
use crate::shard::connection::{Receiving, Sending};
use crate::sys::Errno;

/// The most of a body that goes out in one send.
const PIECE_BYTES_MAX: usize = 128 << 10;

/// How long a piece is on its way before the kernel is first asked whether the server takes any of it: most are gone by then.
const FIRST_LOOK: Duration = Duration::from_millis(1);
/// How often it is asked again within the timeout, which is late by no more than its share.
const LOOKS: u32 = 16;

/// How the server takes what is being sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taking {
    /// Since when it has taken nothing, as far as is known.
    stalled: Instant,
    /// Bytes that it had acknowledged when that was looked at last.
    acknowledged: Option<u64>,
}

/// What is left of a request when its first send is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Nothing,
    /// All or some of its body.
    Body,
}

impl<D: Driver> Pool<D> {
    /// Sends the head, and the body with it where that is small and need not wait.
    #[inline]
    pub(super) fn send_request(&mut self, index: u32, id: Id, exchange: &mut Exchange) -> Rest {
        let now = self.now;
        let mut buffer = self.driver.buffer();
        let connection = &mut self.connections[index as usize];
        let refused = connection.machine.handle_request(exchange.sent).is_err();
        debug_assert!(!refused, "an idle connection refused a request");
        let slot = connection.slot;
        let timeouts = &self.members[exchange.client as usize].shared.config.timeouts;
        buffer.extend_from_slice(&exchange.head_bytes);
        let room = (QUIET_BYTES_MAX as usize).saturating_sub(buffer.len());
        if let Outgoing::Whole { bytes, sent } = &mut exchange.body
            && !exchange.expects
            && bytes.len() <= room
        {
            buffer.extend_from_slice(bytes);
            *sent = bytes.len();
        }
        let whole = exchange.body.is_sent();
        exchange.sends = 1;
        exchange.progress = if whole { Sent::All } else { Sent::Partial };
        exchange.sends_body = !whole && !exchange.expects;
        (exchange.stage, exchange.phase_deadline) = if whole {
            exchange.stamps.sent = now;
            (Stage::Waiting, timeouts.head.map(|head| now + head))
        } else if exchange.expects {
            (Stage::Expecting, Some(now + timeouts.expect))
        } else {
            // Set with the first piece.
            (Stage::Sending, None)
        };
        let confirm = Confirm::OnFailure;
        self.submit(slot, Op::SendBytes { bytes: Payload::Buffer(buffer), confirm });
        watch(&self.desk, id, exchange);
        if whole { Rest::Nothing } else { Rest::Body }
    }

    /// What follows the first send.
    #[inline]
    pub(super) fn go_out(&mut self, index: u32, id: Id, rest: Rest) {
        if rest == Rest::Body {
            self.send_body(index, id);
        }
        self.receive_next(index);
    }

    /// More of a body may go out: the server said `100 Continue`, or has had its time to.
    pub(super) fn go_on_sending(&mut self, index: u32, id: Id) {
        let expecting = self.with(id, |exchange| {
            let expecting = exchange.stage == Stage::Expecting;
            if expecting {
                exchange.stage = Stage::Sending;
                exchange.phase_deadline = None;
                exchange.sends_body = true;
                exchange.wake_maker();
            }
            expecting
        });
        if expecting == Some(true) {
            self.watch_exchange(id);
            self.send_body(index, id);
        }
    }

    /// The maker of a body has made something.
    pub(super) fn send_on(&mut self, id: Id) {
        if let Some(index) = self.carrier_of(id) {
            self.send_body(index, id);
        }
    }

    /// Sends the next piece, if there is one and the last is gone.
    fn send_body(&mut self, index: u32, id: Id) {
        let now = self.now;
        let connection = &mut self.connections[index as usize];
        if connection.sending == Sending::Busy || connection.state != State::Busy(id) {
            return;
        }
        let mut exchanges = self.desk.exchanges.borrow_mut();
        let Some(exchange) = exchanges.find_mut(id) else { return };
        if !exchange.sends_body {
            return;
        }
        let timeouts = &self.members[exchange.client as usize].shared.config.timeouts;
        let piece = next_piece(&mut exchange.body);
        let sending = exchange.stage == Stage::Sending;
        if piece.is_some() {
            exchange.sends += 1;
            if sending {
                exchange.taking = Taking { stalled: now, acknowledged: None };
                exchange.phase_deadline = timeouts.send.map(|send| now + send.min(FIRST_LOOK));
            }
        } else if exchange.body.is_out() {
            // Whoever makes it may still have to say that there is no more: the server waits for nothing.
            exchange.sends_body = !exchange.body.is_sent();
            if exchange.progress != Sent::All {
                exchange.progress = Sent::All;
                exchange.stamps.sent = now;
            }
            if sending {
                exchange.stage = Stage::Waiting;
                exchange.phase_deadline = timeouts.head.map(|head| now + head);
            }
        } else if sending {
            // Waiting for whoever makes the body is not the server's fault.
            exchange.phase_deadline = None;
        }
        exchange.wake_maker();
        drop(exchanges);
        if let Some(piece) = piece {
            connection.sending = Sending::Busy;
            let slot = connection.slot;
            let bytes = Payload::Shared(piece);
            self.submit(slot, Op::SendBytes { bytes, confirm: Confirm::Always });
        }
        self.watch_exchange(id);
    }

    /// Whether the server has had its time to take any of what is being sent. The kernel tells of a piece only once it has room for all of it, and of room only
    /// once there is much: what the server acknowledges is progress too.
    pub(super) fn has_stalled(&mut self, id: Id) -> bool {
        let (now, index) = (self.now, self.carrier_of(id));
        let Some(index) = index else { return true };
        let Connection { slot, client, .. } = self.connections[index as usize];
        let acknowledged = self.driver.acknowledged(slot);
        let Some(send) = self.members[client as usize].shared.config.timeouts.send else {
            return false;
        };
        let stalled = self.with(id, |exchange| {
            if exchange.taking.acknowledged != acknowledged {
                exchange.taking = Taking { stalled: now, acknowledged };
            }
            let end = exchange.taking.stalled + send;
            let look = if acknowledged.is_some() { now + send / LOOKS } else { end };
            exchange.phase_deadline = Some(look.min(end));
            end <= now
        });
        stalled != Some(false)
    }

    pub(super) fn handle_sent(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        connection.sending = Sending::Free;
        if let State::Busy(id) = connection.state {
            self.send_body(index, id);
        }
    }

    /// What the server said before the send failed may still be readable, and the receive tells it; a failure that it will not tell ends here.
    pub(super) fn handle_send_failed(&mut self, index: u32, errno: Errno, taken: u64) {
        let connection = &mut self.connections[index as usize];
        connection.sending = Sending::Busy;
        let stopped = connection.receiving == Receiving::Nothing;
        if matches!(connection.state, State::Idle | State::Resting) {
            self.evict(index);
            return;
        }
        let State::Busy(id) = connection.state else { return };
        let reading = self.with(id, |exchange| {
            exchange.sends_body = false;
            let first = exchange.sends == 1 && taken == 0;
            exchange.progress = if first { Sent::None } else { Sent::Partial };
            exchange.stage == Stage::Reading
        });
        // A reader that is behind still finds the rest of a response that came before all was sent.
        if stopped && reading != Some(true) {
            self.fail_connection(index, Kind::Io(errno));
        }
    }

    /// A server of HTTP/1.0 takes a chunked body for the next request (RFC 9112 6.1).
    pub(super) fn refuses_chunked(&self, place: u32, id: Id) -> bool {
        let Some(host) = self.hosts.find(place) else { return false };
        host.is_http10 && self.with(id, |exchange| host.refuses(exchange)) == Some(true)
    }

    pub(super) fn refuse_chunked(&mut self, id: Id) {
        let problem = "the server speaks HTTP/1.0 and can't take a body of unknown length";
        self.abort(id, Kind::RequestBody(problem.to_owned()));
    }
}

/// The next bytes of a body to hand to the driver.
fn next_piece(body: &mut Outgoing) -> Option<Bytes> {
    match body {
        Outgoing::None => None,
        Outgoing::Whole { bytes, sent } => {
            let end = (*sent + PIECE_BYTES_MAX).min(bytes.len());
            let piece = (*sent < end).then(|| bytes.slice(*sent..end));
            *sent = end;
            piece
        }
        Outgoing::Pieces(pieces) => {
            let first = pieces.ready.front_mut()?;
            if first.len() > PIECE_BYTES_MAX {
                // Each piece that is taken is progress.
                return Some(first.split_to(PIECE_BYTES_MAX));
            }
            pieces.ready.pop_front()
        }
    }
}
