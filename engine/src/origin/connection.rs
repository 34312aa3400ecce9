//! One connection of an origin: which requests came, and what they are owed. Reads bytes, sends nothing.

use std::collections::VecDeque;

use super::request::{Memo, Wish};
use crate::driver::Slot;

/// Bytes of a request head that comes in pieces.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The answers, by place.
pub(super) const KEEP: usize = 0;
pub(super) const CLOSE: usize = 1;
pub(super) const HEAD: usize = 2;
pub(super) const HEAD_CLOSE: usize = 3;
pub(super) const BAD: usize = 4;

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
    pub(super) answered: u64,
    pub(super) busy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Free,
    Open,
    /// The last answer is on its way: no more requests are read.
    Ending,
    Closing,
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
            answered: 0,
            busy: false,
        }
    }

    pub(super) fn renew(&mut self) {
        self.slot = self.slot.next();
        self.state = State::Free;
        self.skip = 0;
        self.wish = None;
        self.partial.clear();
        self.owed.clear();
        self.answered = 0;
        self.busy = false;
    }

    /// Reads requests and notes what they are owed. `Err` for a client that is not worth an answer.
    #[inline]
    pub(super) fn read(
        &mut self,
        input: &[u8],
        memo: &mut Memo,
        close_every: u64,
    ) -> Result<(), ()> {
        if self.partial.is_empty() {
            let used = self.read_whole(input, memo, close_every);
            self.partial.extend_from_slice(&input[used..]);
        } else {
            let mut joined = std::mem::take(&mut self.partial);
            joined.extend_from_slice(input);
            let used = self.read_whole(&joined, memo, close_every);
            joined.drain(..used);
            self.partial = joined;
        }
        if self.partial.len() > HEAD_BYTES_MAX { Err(()) } else { Ok(()) }
    }

    /// Reads what is whole and returns how many bytes that was.
    fn read_whole(&mut self, input: &[u8], memo: &mut Memo, close_every: u64) -> usize {
        let mut used = 0;
        while self.state == State::Open {
            let rest = &input[used..];
            let skipped = self.skip.min(rest.len() as u64);
            self.skip -= skipped;
            used += skipped as usize;
            if self.skip > 0 {
                return used;
            }
            if let Some(wish) = self.wish.take() {
                self.owe(wish, close_every);
                continue;
            }
            match memo.read(&input[used..]) {
                Ok(None) => return used,
                Ok(Some(request)) => {
                    used += request.head_bytes;
                    self.skip = request.body_bytes;
                    self.wish = Some(request.wish);
                }
                Err(_) => {
                    self.owed.push_back(BAD);
                    self.state = State::Ending;
                }
            }
        }
        // What comes after the last request is nobody's.
        input.len()
    }

    fn owe(&mut self, wish: Wish, close_every: u64) {
        self.answered += 1;
        let close = wish.close || self.answered >= close_every;
        if close {
            self.state = State::Ending;
        }
        self.owed.push_back(match (wish.head, close) {
            (false, false) => KEEP,
            (false, true) => CLOSE,
            (true, false) => HEAD,
            (true, true) => HEAD_CLOSE,
        });
    }
}
