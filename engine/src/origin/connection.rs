//! One connection of an origin: which requests came, and what they are owed. Reads bytes, sends nothing.

use std::collections::VecDeque;

use super::delivery::{Delivery, Occasion, closes};
use super::hold::Hold;
use super::incoming::Incoming;
use super::plan::{Body, Expectation, Plan};
use super::request::{Length, Memo, Parsed, Refusal, Request, Special, Wish};
use crate::clock::Instant;
use crate::driver::Slot;
use crate::random::Random;

/// Bytes of a request head that comes in pieces.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Answers that a connection may be owed, and bytes kept for those that are planned: beyond either nothing more is read. One receive may go over it.
const OWED_MAX: usize = 4096;
const HELD_BYTES_MAX: usize = 4 << 20;
/// The answers made once, by place.
const KEEP: usize = 0;
const CLOSE: usize = 1;
const KEEP_TOLD: usize = 2;
/// From here on the same three, to `HEAD`.
const HEAD: usize = 3;
const BAD: usize = 6;
const TOO_LONG: usize = 7;
const NO_TUNNEL: usize = 8;
/// Not one of them: the next of the connection's deliveries.
pub(super) const PLANNED: usize = 9;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) slot: Slot,
    pub(super) state: State,
    /// Bytes of a request body still to come.
    pub(super) skip: u64,
    /// The request whose body is being skipped.
    pub(super) wish: Option<Wish>,
    /// A head that is not whole yet.
    pub(super) partial: Vec<u8>,
    /// Answers that wait for their time or for a send to end, oldest first.
    pub(super) owed: VecDeque<usize>,
    /// Fixed answers whose time has come.
    pub(super) due: u64,
    pub(super) answered: u64,
    /// Requests that have begun and are not answered.
    pub(super) requests: u32,
    pub(super) busy: bool,
    /// Whether an answer was planned: then every send is confirmed, so that none passes another.
    pub(super) planned: bool,
    /// Whether the origin counts it as open.
    pub(super) counted: bool,
    /// A special request whose body is coming.
    incoming: Option<Box<Incoming>>,
    /// A delivery for each [`PLANNED`] in `owed`.
    pub(super) deliveries: VecDeque<Box<Delivery>>,
    /// Bytes kept for them.
    held_bytes: usize,
    /// Bytes of fixed answers sent since the last send that was confirmed.
    pub(super) quiet_bytes: u32,
    /// There exactly in [`State::Held`].
    pub(super) hold: Option<Box<Hold>>,
    /// When the first of them goes on, if that is still to come.
    pub(super) timer: Option<Instant>,
}

/// Where a connection is.
///
/// ```text
/// Free ──accepted──> Open ──last answer known, or the client's end──> Ending ──all sent──> Closing ──closed──> Free
///                    │  └──────────────────── cut off, reset, nothing owed ────────────────────┘
///     too much owed  v  ^  half of it taken
///                    Held
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Open,
    /// Nothing is read until the client has taken some of what it is owed.
    Held,
    /// The last answer is on its way: no more requests are read.
    Ending,
    Closing,
}

/// What every connection of a core reads by.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) memo: Memo,
    pub(super) close_every: u64,
    pub(super) fixed_bytes: u64,
    pub(super) random: Random,
}

/// How much a connection had begun, and is owed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Account {
    pub(super) requests: u32,
    pub(super) owed: usize,
    pub(super) deliveries: usize,
}

impl Connection {
    pub(super) fn new(slot: Slot) -> Self {
        Self {
            slot,
            state: State::Free,
            skip: 0,
            wish: None,
            partial: Vec::new(),
            owed: VecDeque::new(),
            due: 0,
            answered: 0,
            requests: 0,
            busy: false,
            planned: false,
            counted: false,
            incoming: None,
            deliveries: VecDeque::new(),
            held_bytes: 0,
            quiet_bytes: 0,
            hold: None,
            timer: None,
        }
    }

    #[inline]
    pub(super) fn account(&self) -> Account {
        let (owed, deliveries) = (self.owed.len(), self.deliveries.len());
        Account { requests: self.requests, owed, deliveries }
    }

    /// Whether the client has to take some of what it is owed before more is read.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.owed.len() > OWED_MAX || self.held_bytes > HELD_BYTES_MAX
    }

    /// Whether it has taken enough for more to be read.
    pub(super) fn has_room(&self) -> bool {
        self.owed.len() < OWED_MAX / 2 && self.held_bytes < HELD_BYTES_MAX / 2
    }

    pub(super) fn renew(&mut self) {
        let (mut partial, mut owed) =
            (std::mem::take(&mut self.partial), std::mem::take(&mut self.owed));
        partial.clear();
        owed.clear();
        *self = Self { partial, owed, ..Self::new(self.slot.next()) };
    }

    /// Reads requests and notes what they are owed.
    #[inline]
    pub(super) fn read(&mut self, input: &[u8], rules: &mut Rules) {
        if self.partial.is_empty() {
            let used = self.read_whole(input, rules);
            self.partial.extend_from_slice(&input[used..]);
        } else {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(input);
            let used = self.read_whole(&joined, rules);
            joined.drain(..used);
            self.partial = joined;
        }
        if self.partial.len() > HEAD_BYTES_MAX {
            self.partial = Vec::new();
            self.owe_last(TOO_LONG);
        }
    }

    /// Reads what is whole and returns how many bytes that was.
    fn read_whole(&mut self, input: &[u8], rules: &mut Rules) -> usize {
        let mut used = self.read_body(input, rules);
        while self.state == State::Open && !self.in_body() {
            let rest = &input[used..];
            let Some(request) = rules.memo.hit(rest) else {
                match self.read_new(rest, rules) {
                    0 => return used,
                    bytes => used += bytes,
                }
                continue;
            };
            used += request.head_bytes;
            self.requests += 1;
            if request.body_bytes == 0 {
                self.owe(request.wish, rules);
            } else {
                self.expect_body(request);
                used += self.read_body(&input[used..], rules);
            }
        }
        // What comes after the last request is nobody's.
        if self.state == State::Open { used } else { input.len() }
    }

    fn in_body(&self) -> bool {
        self.wish.is_some() || self.incoming.is_some()
    }

    fn expect_body(&mut self, request: Request) {
        self.skip = request.body_bytes;
        self.wish = Some(request.wish);
    }

    /// Reads on in the body of the request that has begun; how many bytes were its.
    fn read_body(&mut self, input: &[u8], rules: &mut Rules) -> usize {
        if self.incoming.is_some() {
            return self.read_incoming(input, rules);
        }
        let skipped = self.skip.min(input.len() as u64);
        self.skip -= skipped;
        if self.skip == 0
            && let Some(wish) = self.wish.take()
        {
            self.owe(wish, rules);
        }
        skipped as usize
    }

    /// Reads a head that is not the one remembered, and what is there of its body; how many bytes that was, 0 for a head that is not whole.
    fn read_new(&mut self, input: &[u8], rules: &mut Rules) -> usize {
        let head_bytes = match rules.memo.read(input) {
            Ok(Parsed::Partial) => return 0,
            Ok(Parsed::Fixed(request)) => {
                self.expect_body(request);
                request.head_bytes
            }
            Ok(Parsed::Special(special)) => {
                let head_bytes = special.head_bytes;
                self.begin(*special);
                head_bytes
            }
            Err(refusal) => {
                self.owe_last(match refusal {
                    Refusal::Bad | Refusal::Version => BAD,
                    Refusal::TooManyFields => TOO_LONG,
                    Refusal::Tunnel => NO_TUNNEL,
                });
                return input.len();
            }
        };
        self.requests += 1;
        head_bytes + self.read_body(&input[head_bytes..], rules)
    }

    #[inline]
    fn owe(&mut self, wish: Wish, rules: &Rules) {
        self.answered += 1;
        let close = wish.close || self.answered >= rules.close_every;
        if close {
            self.state = State::Ending;
        }
        let answer = match (close, wish.http10) {
            (true, _) => CLOSE,
            (false, false) => KEEP,
            (false, true) => KEEP_TOLD,
        };
        self.owed.push_back(answer + if wish.head { HEAD } else { 0 });
    }

    /// Whatever else comes is not read.
    fn owe_last(&mut self, answer: usize) {
        self.incoming = None;
        self.owed.push_back(answer);
        self.state = State::Ending;
    }

    /// The head of a special request is here. A body that is announced with `Expect` is asked for, in its turn.
    #[cold]
    fn begin(&mut self, mut special: Special) {
        let met = Expectation::Met;
        let expectation = special.plan.as_ref().map_or(met, |plan| plan.expectation);
        match expectation {
            Expectation::Refused if special.expects => {
                // What was announced may come all the same: nothing behind it could be told from it.
                special.plan = Some(Plan { close: true, ..Plan::with_status(417) });
                special.length = Length::Known(0);
            }
            Expectation::Met if special.expects && special.length != Length::Known(0) => {
                self.owe_delivery(Delivery::interim());
            }
            _ => {}
        }
        self.incoming = Some(Box::new(Incoming::new(special)));
    }

    /// Reads the body of a special request. When it is whole, its answer is owed.
    #[cold]
    fn read_incoming(&mut self, input: &[u8], rules: &mut Rules) -> usize {
        let Some(mut incoming) = self.incoming.take() else { return 0 };
        let Ok(used) = incoming.read(input) else {
            self.owe_last(BAD);
            return input.len();
        };
        if incoming.is_whole() {
            self.owe_special(*incoming, rules);
        } else {
            self.incoming = Some(incoming);
        }
        used
    }

    fn owe_special(&mut self, incoming: Incoming, rules: &mut Rules) {
        let Incoming { special, kept, .. } = incoming;
        let too_long = special.echoes() && kept.is_none();
        let Some(mut plan) = special.plan else {
            return self.owe(special.wish, rules);
        };
        if too_long {
            plan = Plan { body: Body::Reason, ..Plan::with_status(413) };
        }
        plan.settle(&mut rules.random);
        self.answered += 1;
        let mut occasion = Occasion {
            head: special.wish.head,
            http10: special.wish.http10,
            close: false,
            fixed_bytes: rules.fixed_bytes,
        };
        occasion.close =
            special.wish.close || self.answered >= rules.close_every || closes(&plan, occasion);
        if occasion.close {
            self.state = State::Ending;
        }
        self.owe_delivery(Delivery::new(plan, occasion, kept.unwrap_or_default()));
    }

    fn owe_delivery(&mut self, delivery: Delivery) {
        self.planned = true;
        self.held_bytes += delivery.held_bytes;
        self.owed.push_back(PLANNED);
        self.deliveries.push_back(Box::new(delivery));
    }

    /// The time of new deliveries begins.
    pub(super) fn start_deliveries(&mut self, now: Instant) {
        let new = self.deliveries.iter_mut().rev().take_while(|delivery| !delivery.started());
        new.for_each(|delivery| delivery.start(now));
    }

    /// The planned answer at the front is over.
    pub(super) fn end_delivery(&mut self) {
        self.owed.pop_front();
        let ended = self.deliveries.pop_front();
        self.held_bytes -= ended.map_or(0, |delivery| delivery.held_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules {
            memo: Memo::default(),
            close_every: u64::MAX,
            fixed_bytes: 13,
            random: Random::new(1),
        }
    }

    fn check(input: &str, owed: &[usize], deliveries: usize, state: State) {
        for cut in 0..input.len() {
            let (mut connection, mut rules) = (Connection::new(Slot::first(1)), rules());
            connection.state = State::Open;
            connection.read(&input.as_bytes()[..cut], &mut rules);
            connection.read(&input.as_bytes()[cut..], &mut rules);
            let seen = (connection.owed.make_contiguous().to_vec(), connection.state);
            assert_eq!(seen, (owed.to_vec(), state), "{input:?} {cut}");
            assert_eq!(
                (connection.deliveries.len(), connection.skip),
                (deliveries, 0),
                "{input:?}"
            );
        }
    }

    #[test]
    fn mixed_requests_are_owed_in_their_order() {
        let fixed = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let planned = "GET /delay/5 HTTP/1.1\r\nHost: h\r\n\r\n";
        let post =
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        check(&[fixed, planned, fixed].concat(), &[KEEP, PLANNED, KEEP], 1, State::Open);
        check(&[post, fixed].concat(), &[KEEP, KEEP], 0, State::Open);
        let expecting =
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\nx";
        check(&[expecting, fixed].concat(), &[PLANNED, KEEP, KEEP], 1, State::Open);
        let ignored = expecting.replace("/ ", "/expect/ignore ");
        check(&[&ignored, fixed].concat(), &[PLANNED, KEEP], 1, State::Open);
        let refused = expecting.replace("/ ", "/expect/417 ");
        check(&[fixed, &refused, fixed].concat(), &[KEEP, PLANNED], 1, State::Ending);
        for last in ["/close", "/abort", "/reset", "/truncate/9", "/bytes/9?unframed"] {
            let last = planned.replace("/delay/5", last);
            check(&[&last, fixed].concat(), &[PLANNED], 1, State::Ending);
        }
        let broken = post.replace("3\r\n", "x\r\n");
        check(&[fixed, &broken, fixed].concat(), &[KEEP, BAD], 0, State::Ending);
        let old = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
        check(&[old, &old.replace("GET", "HEAD"), old].concat(), &[2, 5, 2], 0, State::Open);
        check(
            &[old, "GET / HTTP/1.0\r\n\r\n", old].concat(),
            &[KEEP_TOLD, CLOSE],
            0,
            State::Ending,
        );
    }

    #[test]
    fn a_head_that_does_not_end_is_told_so() {
        let (mut connection, mut rules) = (Connection::new(Slot::first(1)), rules());
        connection.state = State::Open;
        connection.read(b"GET / HTTP/1.1\r\nHost: h\r\nA: ", &mut rules);
        for _ in 0..HEAD_BYTES_MAX / 1024 {
            assert_eq!((connection.state, connection.owed.len()), (State::Open, 0));
            connection.read(&[b'a'; 1024], &mut rules);
        }
        assert_eq!(
            (connection.state, &*connection.owed.make_contiguous()),
            (State::Ending, &[TOO_LONG][..])
        );
        assert_eq!(connection.partial.capacity(), 0);
    }

    #[test]
    fn answers_that_are_kept_are_bounded() {
        let (mut connection, mut rules) = (Connection::new(Slot::first(1)), rules());
        connection.state = State::Open;
        let body = vec![b'x'; 1 << 20];
        let head = "POST /echo?delay=9 HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n";
        let request = [head.as_bytes(), &body].concat();
        for _ in 0..3 {
            connection.read(&request, &mut rules);
            assert!(!connection.is_full() && !connection.has_room() || connection.owed.len() < 2);
        }
        connection.read(&request, &mut rules);
        connection.read(&request, &mut rules);
        assert!(connection.is_full());
        for _ in 0..4 {
            assert!(!connection.has_room());
            connection.end_delivery();
        }
        assert!(connection.has_room());
        connection.end_delivery();
        assert_eq!(connection.held_bytes, 0);
        connection.read(&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(OWED_MAX), &mut rules);
        assert!(!connection.is_full());
        connection.read(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &mut rules);
        assert!(connection.is_full());
        connection.owed.drain(..=OWED_MAX / 2);
        assert!(!connection.has_room());
        connection.owed.pop_front();
        assert!(connection.has_room());
    }
}
