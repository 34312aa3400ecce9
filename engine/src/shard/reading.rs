//! Responses out of the bytes of one receive: the part of the hot path that parses. Touches no driver.

use super::{Body, Handler, Heads, Response};
use crate::clock::Instant;
use crate::proto::h1::{self, Event};

/// What came of the bytes of one receive.
pub(super) enum Outcome {
    /// The connection goes on.
    Open,
    /// It can't be used again; what is unanswered was not taken up by the server.
    Done,
    /// It broke.
    Failed(h1::Error),
}

/// What reading a piece of input touches: a lane and what all lanes share, but not the driver, which lends the input.
pub(super) struct Reader<'a> {
    pub(super) connection: &'a mut super::connection::Connection,
    pub(super) memo: &'a mut h1::HeadMemo,
    pub(super) awaiting: &'a mut super::timers::Fifo,
    pub(super) in_flight: &'a mut u32,
    pub(super) pipeline: u32,
    pub(super) heads: Heads,
    pub(super) body: Body,
    pub(super) lane: u32,
    pub(super) now: Instant,
}

impl Reader<'_> {
    #[inline]
    pub(super) fn read(&mut self, mut input: &[u8], handler: &mut impl Handler) -> Outcome {
        loop {
            if let Some(whole) = self.try_whole(input) {
                if self.body == Body::Read {
                    handler.handle_body(self.lane, &input[whole.head_bytes..whole.consumed]);
                }
                input = &input[whole.consumed..];
                self.end_response(whole.status, handler);
                match whole.end {
                    Ok(()) if input.is_empty() => return Outcome::Open,
                    Ok(()) => continue,
                    Err(_) => return Outcome::Done,
                }
            }
            let (consumed, event) = match self.connection.machine.poll(input, self.memo) {
                Ok(told) => told,
                Err(error) => return Outcome::Failed(error),
            };
            match event {
                Event::NeedMore => {
                    self.note_first_byte();
                    return Outcome::Open;
                }
                Event::Interim(_) | Event::Trailers(_) => {}
                Event::Head(head) => {
                    let (status, framing) = (head.status(), head.framing);
                    if self.heads == Heads::Tell {
                        handler.handle_head(self.lane, &head);
                    }
                    self.connection.handle_head(status, framing);
                    self.note_first_byte();
                }
                Event::Data(piece) if self.body == Body::Read => {
                    handler.handle_body(self.lane, piece);
                }
                Event::Data(_) => {}
                Event::End(end) => {
                    let status = self.connection.status;
                    self.end_response(status, handler);
                    if end.is_err() {
                        return Outcome::Done;
                    }
                }
            }
            input = &input[consumed..];
        }
    }

    #[inline]
    fn try_whole(&mut self, input: &[u8]) -> Option<h1::Whole> {
        if self.heads == Heads::Tell {
            return None;
        }
        self.connection.machine.try_whole(input, self.memo)
    }

    /// Some of a response is there, but not all of it.
    fn note_first_byte(&mut self) {
        if self.connection.first_byte == Instant::NEVER && self.connection.machine.outstanding() > 0
        {
            self.connection.first_byte = self.now;
        }
    }

    #[inline]
    fn end_response(&mut self, status: u16, handler: &mut impl Handler) {
        let connection = &mut *self.connection;
        let request = self.lane * self.pipeline + connection.requests.pop();
        connection.failures = 0;
        *self.in_flight -= 1;
        let first_byte =
            std::mem::replace(&mut connection.first_byte, Instant::NEVER).min(self.now);
        if let Some(sent) = self.awaiting.stop(request) {
            let response = Response { sent, first_byte, status };
            handler.handle_response(self.lane, response, self.now);
        }
    }
}
