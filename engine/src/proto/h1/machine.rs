//! One connection's responses and whether it can be used again. Bytes in, events out; requests are
//! only counted. No socket, no clock, and no allocation unless a head or trailers arrive in pieces.
//!
//! ```text
//!                     ┌──── 1xx: Interim ────┐
//!          some bytes v      more bytes      │
//! Start ────────────> Head ──────────────────┤ final head: Head
//!   ^  whole head: straight on               v
//!   │         ┌──────────────┬───────────────┼──────────────┐
//!   │      no body, 0     Length          Chunked       UntilClose
//!   │         │              │ Data          │ Data         │ Data, then the server's close
//!   │         │              │               │ Trailers     │
//!   │         v              v               v              v
//!   └──────── Ending <───────┴───────────────┘            Closed(reason)
//!   End(Ok)      └── End(Err(reason)) ────────────────────> ^ ^
//!   any bytes while nothing is outstanding, any error ────────┘
//! ```

use super::chunked::{ChunkedDecoder, Piece};
use super::error::{CloseReason, Error};
use super::event::{End, Eof, Event, Head, Refused, Whole};
use super::fields::{Trailers, unfold};
use super::framing::{Framing, Leniency, MethodKind, Persistence, Sent, Upgrade};
use super::limits::{Limit, Limits};
use super::memo::HeadMemo;
use super::response::{HeadSummary, Status, parse_head};
use super::trailers::{TRAILER_PROLOGUE, parse_trailers};

/// The most requests that may be unanswered on one connection.
pub const PIPELINE_DEPTH_MAX: u32 = 128;

/// The most interim responses before a final one.
pub const INTERIM_RESPONSES_MAX: u8 = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Between responses: not a byte of the next one was seen.
    Start,
    /// Inside a head, or after an interim one. `spill` holds what came of it.
    Head,
    Length(u64),
    Chunked(ChunkedDecoder),
    /// Inside a trailer section. `spill` holds what came of it.
    Trailers,
    UntilClose,
    /// The response is complete; its `End` is still to be told.
    Ending,
    Closed(CloseReason),
}

/// Where the bytes of a head are.
#[derive(Debug, Clone, Copy)]
enum Place {
    Input(usize),
    Spill,
}

/// An event before it borrows anything.
#[derive(Debug, Clone, Copy)]
enum Step {
    NeedMore,
    Interim(HeadSummary, Framing, Place),
    Head(HeadSummary, Framing, Place),
    Data(usize, usize),
    Trailers,
    End(End),
}

/// The response side of one connection. Responses are matched to requests first in, first out (RFC
/// 9112 9.3.2); bytes that no request explains are never taken for a response.
#[derive(Debug)]
pub struct Machine {
    /// Bit n: the n-th oldest unanswered request was a `HEAD`.
    heads: u128,
    stage: Stage,
    /// A head or trailer section that came in pieces. Empty on the steady path.
    spill: Vec<u8>,
    /// Body bytes of the current response so far.
    body_bytes: u64,
    limits: Limits,
    /// What interim responses took of the head limits.
    interim_bytes: u32,
    interim_fields: u16,
    interims: u8,
    outstanding: u8,
    /// The newest request. It alone may be one that nothing can follow.
    last: Sent,
    close: Option<CloseReason>,
    leniency: Leniency,
    /// Whether any response was completed on this connection.
    answered: bool,
    /// Whether `spill` was told and is to be emptied.
    spill_told: bool,
}

impl Machine {
    /// A machine for a fresh connection.
    #[must_use]
    pub fn new(limits: &Limits) -> Machine {
        Machine {
            heads: 0,
            stage: Stage::Start,
            spill: Vec::new(),
            body_bytes: 0,
            limits: *limits,
            interim_bytes: 0,
            interim_fields: 0,
            interims: 0,
            outstanding: 0,
            last: Sent::default(),
            close: None,
            leniency: Leniency::Strict,
            answered: false,
            spill_told: false,
        }
    }

    /// The same machine with another stance on contradictory framing.
    #[must_use]
    pub fn with_leniency(self, leniency: Leniency) -> Machine {
        Machine { leniency, ..self }
    }

    /// Makes it a machine for a fresh connection, keeping limits and memory.
    pub fn reset(&mut self) {
        let mut spill = std::mem::take(&mut self.spill);
        spill.clear();
        *self = Machine { spill, ..Machine::new(&self.limits).with_leniency(self.leniency) };
    }

    /// Takes note of a request handed to the transport.
    ///
    /// # Errors
    /// [`Refused`] when no request may go out; nothing was noted then.
    #[inline]
    pub fn handle_request(&mut self, sent: Sent) -> Result<(), Refused> {
        self.handle_requests(sent, 1)
    }

    /// Takes note of `count` equal requests handed to the transport, all or none.
    ///
    /// # Errors
    /// [`Refused`] when they may not all go out; nothing was noted then.
    pub fn handle_requests(&mut self, sent: Sent, count: u32) -> Result<(), Refused> {
        if count > PIPELINE_DEPTH_MAX - self.outstanding() {
            return Err(Refused::Full);
        }
        if self.close_reason().is_some() || is_last(self.last) || is_last(sent) && count > 1 {
            return Err(Refused::Closing);
        }
        if sent.method == MethodKind::Head && count > 0 {
            self.heads |= u128::MAX >> (PIPELINE_DEPTH_MAX - count) << self.outstanding;
        }
        self.last = if count > 0 { sent } else { self.last };
        self.outstanding += count as u8;
        Ok(())
    }

    /// How many requests are unanswered. The one whose response is being read counts until its end.
    #[inline]
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        u32::from(self.outstanding)
    }

    /// Why the connection cannot be used again, as soon as that is known: often before the response
    /// that says so is complete.
    #[must_use]
    pub fn close_reason(&self) -> Option<CloseReason> {
        match self.stage {
            Stage::Closed(reason) => Some(reason),
            _ => self.close,
        }
    }

    /// Bytes of body that may be thrown away unseen: the rest of a known length or of the current
    /// chunk, and anything at all where the body ends at the close.
    #[must_use]
    pub fn discardable(&self) -> u64 {
        match &self.stage {
            Stage::Length(rest) => *rest,
            Stage::Chunked(decoder) => decoder.discardable(),
            Stage::UntilClose => u64::MAX,
            _ => 0,
        }
    }

    /// Takes note that `bytes` of the body, at most [`discardable`](Machine::discardable), were
    /// thrown away. Poll again, even without input: the response may be complete.
    pub fn handle_discarded(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.discardable(), "more was discarded than the body holds");
        self.body_bytes = self.body_bytes.saturating_add(bytes);
        match &mut self.stage {
            Stage::Length(rest) if bytes >= *rest => self.stage = Stage::Ending,
            Stage::Length(rest) => *rest -= bytes,
            Stage::Chunked(decoder) => decoder.handle_discarded(bytes),
            _ => {}
        }
    }

    /// The whole next response, if it lies whole in `input` behind the remembered head with a known
    /// length or no body: what [`poll`](Machine::poll) would tell in three events. `None` changes
    /// nothing and means: poll.
    #[inline]
    #[must_use]
    pub fn try_whole(&mut self, input: &[u8], memo: &HeadMemo) -> Option<Whole> {
        if self.stage != Stage::Start || self.outstanding == 0 || is_last(self.last) {
            return None;
        }
        let summary = memo.recall(input)?;
        let body_bytes = if self.heads & 1 == 0 { memo.body_bytes() } else { 0 };
        let head_bytes = summary.head_bytes as usize;
        if body_bytes > (input.len() - head_bytes) as u64 || !self.limits.admit(summary) {
            return None;
        }
        let consumed = head_bytes + body_bytes as usize;
        let end = self.finish(memo.close(), consumed < input.len());
        Some(Whole { head_bytes, consumed, status: summary.status, end })
    }

    /// What the next bytes are: how many of `input` were taken, and the event. Poll until
    /// [`Event::NeedMore`]; an end may come without any input left. After a close nothing is
    /// expected: bytes are dropped, or left to the caller where they are another protocol's.
    ///
    /// # Errors
    /// An [`Error`] when the server broke the protocol or a limit. The connection is closed then.
    pub fn poll<'a>(
        &'a mut self,
        input: &'a [u8],
        memo: &mut HeadMemo,
    ) -> Result<(usize, Event<'a>), Error> {
        if std::mem::take(&mut self.spill_told) {
            self.spill.clear();
        }
        let (consumed, step) = self.step(input, memo).inspect_err(|error| self.fail(error))?;
        Ok((consumed, self.event(step, input)))
    }

    /// Takes note that the server closed its side. Poll the bytes before it first.
    ///
    /// # Errors
    /// An [`Error`] when a response was owed or cut short.
    pub fn handle_eof(&mut self) -> Result<Eof, Error> {
        let seen = if self.spill_told { 0 } else { self.spill.len() as u64 };
        let got = self.body_bytes;
        let end = match self.stage {
            Stage::Start if self.outstanding == 0 => Ok(Eof::Idle),
            Stage::Start if self.answered => Err(Error::ClosedIdle),
            Stage::Start => Err(Error::EmptyReply),
            Stage::Head if seen == 0 => Err(Error::InterimOnly { interims: self.interims }),
            Stage::Head => Err(Error::TruncatedHead { got: seen }),
            Stage::Length(rest) => Err(Error::TruncatedBody { expected: got + rest, got }),
            Stage::Chunked(_) | Stage::Trailers => Err(Error::TruncatedChunked { got }),
            Stage::UntilClose => Ok(Eof::End(self.finish_at_eof(CloseReason::CloseDelimited))),
            Stage::Ending => Ok(Eof::End(self.finish_at_eof(CloseReason::ServerEof))),
            Stage::Closed(_) => return Ok(Eof::Closed),
        };
        let reason = if end.is_err() { CloseReason::Failed } else { CloseReason::ServerEof };
        self.stage = Stage::Closed(self.close.unwrap_or(reason));
        end
    }

    fn finish_at_eof(&mut self, otherwise: CloseReason) -> CloseReason {
        let reason = self.close.unwrap_or(otherwise);
        self.close = Some(reason);
        let _ = self.finish(Some(reason), false);
        reason
    }

    #[cold]
    fn fail(&mut self, error: &Error) {
        self.stage = Stage::Closed(match error {
            Error::Unsolicited => CloseReason::SurplusBytes,
            _ => CloseReason::Failed,
        });
    }

    fn event<'a>(&'a self, step: Step, input: &'a [u8]) -> Event<'a> {
        let head = |summary, framing, place| {
            let bytes = match place {
                Place::Input(bytes) => &input[..bytes],
                Place::Spill => &self.spill[..],
            };
            Head { summary, framing, bytes }
        };
        match step {
            Step::NeedMore => Event::NeedMore,
            Step::Interim(summary, framing, place) => Event::Interim(head(summary, framing, place)),
            Step::Head(summary, framing, place) => Event::Head(head(summary, framing, place)),
            Step::Data(start, end) => Event::Data(&input[start..end]),
            Step::Trailers => Event::Trailers(Trailers::of(&self.spill)),
            Step::End(end) => Event::End(end),
        }
    }

    fn step(&mut self, input: &[u8], memo: &mut HeadMemo) -> Result<(usize, Step), Error> {
        match self.stage {
            Stage::Ending => Ok((0, Step::End(self.finish(self.close, !input.is_empty())))),
            Stage::Closed(CloseReason::Tunnel) => Ok((0, Step::NeedMore)),
            Stage::Closed(_) => Ok((input.len(), Step::NeedMore)),
            _ if input.is_empty() => Ok((0, Step::NeedMore)),
            Stage::Start if self.outstanding == 0 => Err(Error::Unsolicited),
            Stage::Start | Stage::Head if self.spill.is_empty() => self.step_head(input, memo),
            Stage::Start | Stage::Head => self.step_split_head(input),
            Stage::Length(rest) => Ok(self.step_length(rest, input)),
            Stage::Chunked(_) => self.step_chunked(input),
            Stage::Trailers => self.step_trailers(input),
            Stage::UntilClose => {
                self.body_bytes = self.body_bytes.saturating_add(input.len() as u64);
                Ok((input.len(), Step::Data(0, input.len())))
            }
        }
    }

    fn step_head(&mut self, input: &[u8], memo: &mut HeadMemo) -> Result<(usize, Step), Error> {
        let limits = self.limits.less(self.interim_bytes, self.interim_fields);
        if let Some(summary) = memo.recall(input).filter(|head| limits.admit(head)) {
            let summary = *summary;
            let bytes = summary.head_bytes as usize;
            return Ok((bytes, self.accept(summary, Place::Input(bytes))?));
        }
        let Status::Complete(summary) = parse_head(input, &limits)? else {
            self.spill.extend_from_slice(input);
            self.stage = Stage::Head;
            return Ok((input.len(), Step::NeedMore));
        };
        let bytes = summary.head_bytes as usize;
        memo.remember(&input[..bytes], &summary);
        if summary.folded {
            unfold(&input[..bytes], &mut self.spill);
            self.spill_told = true;
            return Ok((bytes, self.accept(summary, Place::Spill)?));
        }
        Ok((bytes, self.accept(summary, Place::Input(bytes))?))
    }

    fn step_split_head(&mut self, input: &[u8]) -> Result<(usize, Step), Error> {
        let limits = self.limits.less(self.interim_bytes, self.interim_fields);
        let before = self.spill_up_to(limits.head_bytes_max as usize, input);
        let Status::Complete(summary) = parse_head(&self.spill, &limits)? else {
            return Ok((self.spill.len() - before, Step::NeedMore));
        };
        let bytes = summary.head_bytes as usize;
        self.spill.truncate(bytes);
        self.spill_told = true;
        if summary.folded {
            let folded = std::mem::take(&mut self.spill);
            unfold(&folded, &mut self.spill);
        }
        Ok((bytes - before, self.accept(summary, Place::Spill)?))
    }

    /// Adds `input` to the spill, but not more than shows that `bytes_max` is exceeded. Returns how
    /// long the spill was before.
    fn spill_up_to(&mut self, bytes_max: usize, input: &[u8]) -> usize {
        let before = self.spill.len();
        let room = (bytes_max + 1).saturating_sub(before);
        self.spill.extend_from_slice(&input[..input.len().min(room)]);
        before
    }

    /// A whole head: decides what follows it.
    fn accept(&mut self, head: HeadSummary, place: Place) -> Result<Step, Error> {
        let sent = self.oldest();
        let framing = Framing::of(sent, &head, self.leniency)?;
        if head.status < 200 && framing != Framing::Tunnel {
            self.note_interim(&head)?;
            return Ok(Step::Interim(head, framing, place));
        }
        self.close = self.close.or_else(|| reason_to_close(sent, &head, framing));
        self.stage = match framing {
            Framing::None | Framing::Tunnel | Framing::Length(0) => Stage::Ending,
            Framing::Length(bytes) => Stage::Length(bytes),
            Framing::Chunked => Stage::Chunked(ChunkedDecoder::new()),
            Framing::UntilClose => Stage::UntilClose,
        };
        Ok(Step::Head(head, framing, place))
    }

    fn note_interim(&mut self, head: &HeadSummary) -> Result<(), Limit> {
        self.interims += 1;
        self.interim_bytes += head.head_bytes;
        self.interim_fields += head.fields;
        self.stage = Stage::Head;
        if head.connection.close() {
            self.close = Some(CloseReason::ServerClose);
        }
        if self.interims > INTERIM_RESPONSES_MAX { Err(Limit::Interims) } else { Ok(()) }
    }

    /// The request that the next response answers.
    fn oldest(&self) -> Sent {
        let plain = if self.heads & 1 == 1 { MethodKind::Head } else { MethodKind::Other };
        match self.outstanding {
            1 => self.last,
            _ => Sent { method: plain, ..Sent::default() },
        }
    }

    fn step_length(&mut self, rest: u64, input: &[u8]) -> (usize, Step) {
        let taken = rest.min(input.len() as u64);
        self.body_bytes += taken;
        self.stage = if taken == rest { Stage::Ending } else { Stage::Length(rest - taken) };
        (taken as usize, Step::Data(0, taken as usize))
    }

    fn step_chunked(&mut self, input: &[u8]) -> Result<(usize, Step), Error> {
        let Stage::Chunked(decoder) = &mut self.stage else { return Ok((0, Step::NeedMore)) };
        let (consumed, piece) = decoder.decode(input)?;
        let step = match piece {
            Piece::NeedMore => Step::NeedMore,
            Piece::Data(data) => {
                self.body_bytes = self.body_bytes.saturating_add(data.len() as u64);
                Step::Data(consumed - data.len(), consumed)
            }
            Piece::Trailers => {
                self.stage = Stage::Trailers;
                self.spill.extend_from_slice(TRAILER_PROLOGUE);
                let (trailer_bytes, step) = self.step_trailers(&input[consumed..])?;
                return Ok((consumed + trailer_bytes, step));
            }
            Piece::End => {
                self.stage = Stage::Ending;
                Step::End(self.finish(self.close, consumed < input.len()))
            }
        };
        Ok((consumed, step))
    }

    fn step_trailers(&mut self, input: &[u8]) -> Result<(usize, Step), Error> {
        let bytes_max = self.limits.trailer_bytes_max as usize + TRAILER_PROLOGUE.len();
        let before = self.spill_up_to(bytes_max, input);
        let Status::Complete(bytes) = parse_trailers(&self.spill, &self.limits)? else {
            return Ok((self.spill.len() - before, Step::NeedMore));
        };
        self.spill.truncate(bytes.section_bytes);
        self.spill_told = true;
        if bytes.folded {
            let folded = std::mem::take(&mut self.spill);
            unfold(&folded, &mut self.spill);
        }
        self.stage = Stage::Ending;
        Ok((bytes.section_bytes - before, Step::Trailers))
    }

    /// The response is complete: its request is answered, and what follows is decided.
    #[inline]
    fn finish(&mut self, close: Option<CloseReason>, surplus: bool) -> End {
        self.heads >>= 1;
        self.outstanding -= 1;
        self.answered = true;
        self.body_bytes = 0;
        self.interim_bytes = 0;
        self.interim_fields = 0;
        self.interims = 0;
        let idle = self.outstanding == 0;
        if idle {
            self.last = Sent::default();
        }
        let reason = close.or(if surplus && idle { Some(CloseReason::SurplusBytes) } else { None });
        self.stage = reason.map_or(Stage::Start, Stage::Closed);
        reason.map_or(Ok(()), Err)
    }
}

/// Whether nothing may follow this request until it is answered.
fn is_last(sent: Sent) -> bool {
    sent.persistence == Persistence::Close
        || sent.upgrade == Upgrade::Asked
        || sent.method == MethodKind::Connect
}

/// Why the connection ends with this response: RFC 9112 9.3, what the server said first.
fn reason_to_close(sent: Sent, head: &HeadSummary, framing: Framing) -> Option<CloseReason> {
    let ours = (sent.persistence == Persistence::Close).then_some(CloseReason::ClientClose);
    let said = if framing == Framing::Tunnel { None } else { CloseReason::of_head(head) };
    said.or_else(|| framing.reason_to_close(head)).or(ours)
}

#[cfg(test)]
mod tests {
    use super::super::transcript::{check, check_sent};
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const HEAD: Sent = Sent {
        method: MethodKind::Head,
        persistence: Persistence::KeepAlive,
        upgrade: Upgrade::NotAsked,
    };
    const CLOSE: Sent = Sent { persistence: Persistence::Close, ..GET };
    const GET: Sent = Sent {
        method: MethodKind::Other,
        persistence: Persistence::KeepAlive,
        upgrade: Upgrade::NotAsked,
    };
    const CONNECT: Sent = Sent { method: MethodKind::Connect, ..GET };
    const UPGRADE: Sent = Sent { upgrade: Upgrade::Asked, ..GET };

    fn check_for(sent: &[Sent], raw: &str, expected: &[&str]) {
        check_sent(sent, Limits::default(), raw.as_bytes(), expected);
    }

    #[test]
    fn a_response_of_known_length() {
        check(OK, &["head 200 Content-Length=2 Length(2)", "data ok", "end"]);
    }

    #[test]
    fn responses_match_requests_in_order_and_head_has_no_body() {
        let raw = format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{OK}");
        let get = ["head 200 Content-Length=2 Length(2)", "data ok", "end"];
        let head = ["head 200 Content-Length=9 None", "end"];
        check_for(&[GET, HEAD, GET], &raw, &[&get[..], &head, &get].concat());
    }

    #[test]
    fn the_machine_is_small() {
        assert!(size_of::<Machine>() <= 128, "{}", size_of::<Machine>());
        let _ = (CLOSE, CONNECT, UPGRADE);
    }
}
