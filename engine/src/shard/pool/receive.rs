//! Responses in: parsed in place, kept for whoever reads, and no more received than fits while nobody does.

use std::rc::Rc;
use std::sync::Arc;

use super::Pool;
use super::connection::{Connection, State};
use super::exchange::{Exchange, Reader as BodyReader, Stage};
use super::expiry::watch_deadlines;
use super::head::{Head, map_of};
use super::slab::Id;
use crate::clock::Instant;
use crate::driver::SMALL_PIECE_BYTES;
use crate::driver::{Armed, Driver, End, Lent, Op, Window};
use crate::error::Kind;
use crate::proto::h1::{self, Eof, Event, Framing};
use crate::shard::connection::{Bodies, Receiving};
use crate::shard::exchange::LARGE_BODY_BYTES;

/// What reading a piece of input led to.
#[derive(Debug)]
enum Outcome {
    /// More is to come.
    Open,
    /// `100 Continue`.
    Continue,
    /// The response is complete.
    Done(h1::End),
    Failed(h1::Error),
}

impl<D: Driver> Pool<D> {
    #[inline]
    pub(super) fn handle_received(&mut self, index: u32, lent: Lent, armed: Armed) {
        let connection = &mut self.connections[index as usize];
        if armed == Armed::No {
            connection.receiving = Receiving::Nothing;
        }
        let bytes = self.driver.bytes(&lent).len();
        self.counters.bytes_received += bytes as u64;
        match connection.state {
            State::Busy(_) | State::Draining => connection.has_more = lent.has_more(),
            State::Idle | State::Resting => {
                // Any byte: a late surplus, or a 408 (RFC 9112 9.2, 9.5).
                self.driver.give_back(lent);
                self.evict(index);
                return;
            }
            _ => {
                self.driver.give_back(lent);
                return;
            }
        }
        let outcome = self.read(index, &lent);
        self.driver.give_back(lent);
        if bytes >= SMALL_PIECE_BYTES as usize {
            self.note_full_buffer(index);
        }
        self.go_on(index, outcome);
    }

    /// A chunked body that fills a small buffer and goes on is a large one: its length can't be known.
    fn note_full_buffer(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if connection.chunked && connection.machine.outstanding() > 0 {
            connection.bodies = Bodies::Large;
        }
    }

    #[inline]
    fn read(&mut self, index: u32, lent: &Lent) -> Outcome {
        let input = self.driver.bytes(lent);
        let desk = Rc::clone(&self.desk);
        let mut exchanges = desk.exchanges.borrow_mut();
        let connection = &mut self.connections[index as usize];
        let exchange = match connection.state {
            State::Busy(id) => exchanges.find_mut(id),
            _ => None,
        };
        let now = self.now;
        let (memo, last_head) = (&mut self.memo, &mut self.last_head);
        Reader { connection, exchange, memo, last_head, now }.read(input)
    }

    #[inline]
    fn go_on(&mut self, index: u32, outcome: Outcome) {
        match outcome {
            Outcome::Open => {
                if !self.resend_after_408(index) {
                    self.receive_on(index);
                }
            }
            Outcome::Continue => {
                if let State::Busy(id) = self.connections[index as usize].state {
                    self.go_on_sending(index, id);
                }
                self.receive_on(index);
            }
            Outcome::Done(end) => self.finish_response(index, end),
            Outcome::Failed(error) => self.fail_connection(index, Kind::of_protocol(error)),
        }
    }

    /// Between two pieces: the idle timeout begins anew or goes on, where somebody waits, and the next receive fits what is expected.
    fn receive_on(&mut self, index: u32) {
        let connection = &self.connections[index as usize];
        if connection.state == State::Draining && connection.drain_bytes == 0 {
            self.retire_active(index);
            self.close_connection(index);
            return;
        }
        if let State::Busy(id) = self.connections[index as usize].state {
            let client = self.connections[index as usize].client;
            let read_idle = self.members[client as usize].shared.config.timeouts.read_idle;
            self.with(id, |exchange| {
                if exchange.stage == Stage::Reading {
                    let waits = exchange.awaits && !exchange.reads_ahead;
                    let idle = read_idle.filter(|_| waits);
                    let idle = idle.map(|idle| exchange.idle_left.take().unwrap_or(idle));
                    exchange.phase_deadline = idle.map(|idle| self.now + idle);
                    watch_deadlines(&self.desk, id, exchange);
                }
            });
        }
        self.receive_next(index);
    }

    pub(super) fn handle_discarded(&mut self, index: u32, bytes: u64, has_more: bool) {
        let connection = &mut self.connections[index as usize];
        connection.receiving = Receiving::Nothing;
        if !matches!(connection.state, State::Busy(_) | State::Draining) {
            return;
        }
        self.counters.bytes_received += bytes;
        connection.has_more = has_more;
        connection.machine.handle_discarded(bytes);
        connection.drain_bytes = connection.drain_bytes.saturating_sub(bytes);
        if let State::Busy(id) = connection.state {
            self.with(id, |exchange| {
                exchange.note_bytes(bytes);
                exchange.discarded += bytes;
            });
        }
        let outcome = self.read_nothing(index);
        self.go_on(index, outcome);
    }

    /// What the machine has to say without input: the end of a body that was thrown away.
    fn read_nothing(&mut self, index: u32) -> Outcome {
        let desk = Rc::clone(&self.desk);
        let mut exchanges = desk.exchanges.borrow_mut();
        let connection = &mut self.connections[index as usize];
        let exchange = match connection.state {
            State::Busy(id) => exchanges.find_mut(id),
            _ => None,
        };
        let now = self.now;
        let (memo, last_head) = (&mut self.memo, &mut self.last_head);
        Reader { connection, exchange, memo, last_head, now }.read(&[])
    }

    pub(super) fn handle_receive_ended(&mut self, index: u32, end: End) {
        let connection = &mut self.connections[index as usize];
        connection.receiving = Receiving::Nothing;
        match (connection.state, end) {
            (State::Idle, End::Starved | End::Stopped) => self.receive_next(index),
            (State::Resting, End::Starved | End::Stopped) => self.rest_on(index),
            (State::Idle | State::Resting, _) => self.evict(index),
            (State::Busy(_) | State::Draining, End::Starved | End::Stopped) => {
                self.receive_next(index);
            }
            (State::Busy(_) | State::Draining, End::Failed(errno)) => {
                self.fail_connection(index, Kind::Io(errno));
            }
            (State::Busy(_) | State::Draining, End::Eof) => self.handle_eof(index),
            _ => {}
        }
    }

    fn handle_eof(&mut self, index: u32) {
        match self.connections[index as usize].machine.handle_eof() {
            Ok(Eof::End(reason)) => self.finish_response(index, Err(reason)),
            Ok(Eof::Idle | Eof::Closed) => self.fail_connection(index, Kind::Closed),
            Err(error) => self.fail_connection(index, Kind::of_protocol(error)),
        }
    }

    /// The reader has taken what there was, waits for more, or does not want the rest.
    pub(super) fn read_on(&mut self, id: Id) {
        if let Some(index) = self.carrier_of(id) {
            self.receive_on(index);
        }
    }

    /// The connection that carries an exchange now.
    pub(super) fn carrier_of(&self, id: Id) -> Option<u32> {
        let index = self.with(id, |exchange| exchange.connection).flatten()?;
        (self.connections[index as usize].state == State::Busy(id)).then_some(index)
    }

    /// Whether the reader is behind, and whether it reads at all.
    fn demand(&self, index: u32) -> (bool, bool) {
        let connection = &self.connections[index as usize];
        let State::Busy(id) = connection.state else {
            return (false, connection.state != State::Draining);
        };
        let most = self.members[connection.client as usize].shared.config.body_buffer_bytes;
        self.with(id, |exchange| {
            let reads = exchange.reader == BodyReader::Reads;
            (reads && exchange.inbox.bytes() >= most as usize, reads)
        })
        .unwrap_or((false, true))
    }

    /// Sees to it that the receive fits what is expected: a stream for small responses and for idle connections, large pieces or a discard for large bodies,
    /// and nothing while the reader is behind: the TCP window closes then, and the server waits.
    #[inline]
    pub(super) fn receive_next(&mut self, index: u32) {
        let connection = &mut self.connections[index as usize];
        if matches!(connection.state, State::Idle | State::Resting) {
            connection.bodies = Bodies::Small;
        }
        let rest = connection.machine.discardable();
        if connection.receiving == Receiving::Stream
            && rest < LARGE_BODY_BYTES
            && connection.bodies == Bodies::Small
            && !connection.chunked
        {
            // What is still to come of a small body is bounded by its length.
            return;
        }
        if rest >= LARGE_BODY_BYTES {
            connection.bodies = Bodies::Large;
        }
        let large = connection.bodies == Bodies::Large;
        let (behind, reads) = self.demand(index);
        let connection = &mut self.connections[index as usize];
        let open = !matches!(connection.state, State::Free | State::Dialing(_) | State::Closing);
        let op = match connection.receiving {
            Receiving::Stream if large || behind => Op::Stop,
            Receiving::Nothing if open && !behind => {
                if large && rest > 0 && !reads {
                    let drain = connection.state == State::Draining;
                    let bytes = if drain { rest.min(connection.drain_bytes.max(1)) } else { rest };
                    Op::Discard { bytes }
                } else {
                    Op::Receive(connection.window())
                }
            }
            Receiving::Nothing if behind => {
                self.stop_the_clock(index);
                return;
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

    /// A reader that is behind is not the server's fault.
    fn stop_the_clock(&mut self, index: u32) {
        if let State::Busy(id) = self.connections[index as usize].state {
            self.with(id, |exchange| exchange.phase_deadline = None);
        }
    }
}

/// What reading a piece of input touches.
struct Reader<'a> {
    connection: &'a mut Connection,
    /// `None` while draining.
    exchange: Option<&'a mut Exchange>,
    memo: &'a mut h1::HeadMemo,
    last_head: &'a mut Option<Arc<Head>>,
    now: Instant,
}

impl Reader<'_> {
    #[inline]
    fn read(&mut self, mut input: &[u8]) -> Outcome {
        if let Some(exchange) = self.exchange.as_deref_mut() {
            exchange.note_bytes(input.len() as u64);
        }
        if let Some(whole) = self.connection.machine.try_whole(input, self.memo) {
            self.take_whole(whole, input);
            return Outcome::Done(whole.end);
        }
        let mut outcome = Outcome::Open;
        self.note_first_byte(input);
        loop {
            let (consumed, event) = match self.connection.machine.poll(input, self.memo) {
                Ok(told) => told,
                Err(error) => return Outcome::Failed(error),
            };
            match event {
                Event::NeedMore => return outcome,
                Event::Interim(head) => {
                    if head.status() == 100 {
                        outcome = Outcome::Continue;
                    }
                    self.forget_first_byte();
                    self.note_first_byte(&input[consumed..]);
                }
                Event::Head(head) => {
                    let framing = head.framing;
                    let known = remembered(self.last_head, &head);
                    take_head(self.exchange.as_deref_mut(), known);
                    if let (Some(exchange), Framing::Length(bytes)) = (&mut self.exchange, framing)
                    {
                        exchange.left = Some(bytes);
                    }
                    self.connection.handle_head(framing);
                    note_head(self.connection, self.last_head);
                }
                Event::Data(piece) => match self.exchange.as_deref_mut() {
                    Some(exchange) => exchange.take_piece(piece),
                    None => {
                        let drained = self.connection.drain_bytes;
                        self.connection.drain_bytes = drained.saturating_sub(piece.len() as u64);
                    }
                },
                Event::Trailers(trailers) => {
                    if let Some(exchange) = self.exchange.as_deref_mut() {
                        exchange.trailers = Some(Box::new(map_of(trailers.fields())));
                    }
                }
                Event::End(end) => return Outcome::Done(end),
            }
            input = &input[consumed..];
        }
    }

    /// The first byte of a response came, if this is it.
    fn note_first_byte(&mut self, input: &[u8]) {
        if let Some(exchange) = self.exchange.as_deref_mut()
            && exchange.stamps.first_byte == Instant::default()
            && !input.is_empty()
        {
            exchange.stamps.first_byte = self.now;
        }
    }

    /// It was an interim response's: the final one's is still to come.
    fn forget_first_byte(&mut self) {
        if let Some(exchange) = self.exchange.as_deref_mut() {
            exchange.stamps.first_byte = Instant::default();
        }
    }

    /// A response whose head is the last one again, whole in this input.
    #[inline]
    fn take_whole(&mut self, whole: h1::Whole, input: &[u8]) {
        let bytes = &input[..whole.head_bytes];
        // Another head may have come last, in pieces: the memo does not know that one.
        if self.last_head.as_ref().is_none_or(|known| *known.bytes != *bytes) {
            *self.last_head = Some(Arc::new(Head::of_bytes(bytes, whole.status)));
        }
        take_head(self.exchange.as_deref_mut(), self.last_head.clone());
        note_head(self.connection, self.last_head);
        if let Some(exchange) = self.exchange.as_deref_mut() {
            exchange.stamps.first_byte = self.now;
            exchange.take_piece(&input[whole.head_bytes..whole.consumed]);
        }
    }
}

/// The head, shared with the last one if it is the same.
fn remembered(last: &mut Option<Arc<Head>>, head: &h1::Head<'_>) -> Option<Arc<Head>> {
    if last.as_ref().is_none_or(|known| *known.bytes != *head.bytes()) {
        *last = Some(Arc::new(Head::of(head)));
    }
    last.clone()
}

fn note_head(connection: &mut Connection, head: &Option<Arc<Head>>) {
    if let Some(head) = head {
        connection.is_http10 = head.version == http::Version::HTTP_10;
        let left = connection.left.map(|left| left.saturating_sub(1));
        connection.left = head.keep_alive.max.or(left);
        connection.kept = head.keep_alive.idle().or(connection.kept);
    }
}

#[inline]
fn take_head(exchange: Option<&mut Exchange>, head: Option<Arc<Head>>) {
    if let Some(exchange) = exchange {
        exchange.stage = Stage::Reading;
        exchange.head = head;
        exchange.wake();
    }
}
