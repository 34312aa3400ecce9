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
use super::event::{End, Eof, Event, Place, Refused, Step, Whole};
use super::framing::{Framing, Leniency, Sent};
use super::limits::{Interims, Limit, Limits};
use super::memo::HeadMemo;
use super::pending::Pending;
use super::response::{Status, parse_head};
use super::spill::Spill;
use super::summary::HeadSummary;
use super::trailers::{TRAILER_PROLOGUE, parse_trailers};

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

/// The response side of one connection. Responses are matched to requests first in, first out (RFC
/// 9112 9.3.2); bytes that no request explains are never taken for a response.
#[derive(Debug)]
pub struct Machine {
    pending: Pending,
    stage: Stage,
    /// A head or trailer section that came in pieces.
    spill: Spill,
    /// Body bytes of the current response so far.
    body_bytes: u64,
    limits: Limits,
    /// What the interim responses before the next final one took of the limits.
    interims: Interims,
    /// Why the connection closes after the current response.
    close: Option<CloseReason>,
    leniency: Leniency,
    /// Whether any response was completed on this connection.
    answered: bool,
}

impl Machine {
    /// A machine for a fresh connection.
    #[must_use]
    pub fn new(limits: &Limits) -> Machine {
        Machine {
            pending: Pending::default(),
            stage: Stage::Start,
            spill: Spill::default(),
            body_bytes: 0,
            limits: *limits,
            interims: Interims::default(),
            close: None,
            leniency: Leniency::Strict,
            answered: false,
        }
    }

    /// The same machine with another stance on contradictory framing.
    #[must_use]
    pub fn with_leniency(self, leniency: Leniency) -> Machine {
        Machine { leniency, ..self }
    }

    /// Makes it a machine for a fresh connection, keeping limits and memory.
    pub fn reset(&mut self) {
        let limits = self.limits;
        self.reset_to(&limits);
    }

    /// Makes it a machine for a fresh connection with other limits, keeping memory.
    pub fn reset_to(&mut self, limits: &Limits) {
        let mut spill = std::mem::take(&mut self.spill);
        spill.clear();
        *self = Machine { spill, ..Machine::new(limits).with_leniency(self.leniency) };
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
        if self.close_reason().is_some() {
            return Err(Refused::Closing);
        }
        self.pending.push(sent, count)
    }

    /// How many requests are unanswered. The one whose response is being read counts until its end.
    #[inline]
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.pending.count()
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
        if self.stage != Stage::Start || self.outstanding() == 0 || self.pending.is_final() {
            return None;
        }
        let summary = memo.recall(input)?;
        let body_bytes = if self.pending.head_is_next() { 0 } else { memo.body_bytes() };
        let head_bytes = summary.head_bytes as usize;
        if body_bytes > (input.len() - head_bytes) as u64 || !self.limits.admit(summary) {
            return None;
        }
        let consumed = head_bytes + body_bytes as usize;
        let end = self.finish(memo.close(), input.len() - consumed);
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
        self.spill.rinse();
        let (consumed, step) = self.step(input, memo).inspect_err(|error| self.fail(error))?;
        Ok((consumed, step.event(input, self.spill.bytes())))
    }

    /// Takes note that the server closed its side. Poll the bytes before it first.
    ///
    /// # Errors
    /// An [`Error`] when a response was owed or cut short.
    pub fn handle_eof(&mut self) -> Result<Eof, Error> {
        self.check_unread()?;
        let seen = self.spill.unfinished_bytes() as u64;
        let got = self.body_bytes;
        let end = match self.stage {
            Stage::Start if self.outstanding() == 0 => Ok(Eof::Idle),
            Stage::Start if self.answered => Err(Error::ClosedIdle),
            Stage::Start => Err(Error::EmptyReply),
            Stage::Head if seen == 0 => Err(Error::InterimOnly { interims: self.interims.count }),
            Stage::Head => Err(Error::TruncatedHead { got: seen }),
            Stage::Length(rest) => Err(Error::TruncatedBody { expected: got + rest, got }),
            Stage::Chunked(_) | Stage::Trailers => Err(Error::TruncatedChunked { got }),
            Stage::UntilClose => Ok(Eof::End(self.finish_at_eof(CloseReason::CloseDelimited))),
            Stage::Ending => Ok(Eof::End(self.finish_at_eof(CloseReason::ServerEof))),
            Stage::Closed(_) => return Ok(Eof::Closed),
        };
        if !matches!(end, Ok(Eof::End(_))) {
            self.stage = Stage::Closed(CloseReason::ServerEof);
        }
        end
    }

    /// What is wrong with a section that has not been read to its last byte, because that was no time to.
    fn check_unread(&mut self) -> Result<(), Error> {
        let fault = match self.stage {
            _ if !self.spill.has_unread() => None,
            Stage::Head => parse_head(self.spill.bytes(), &self.interims.room(&self.limits)).err(),
            Stage::Trailers => parse_trailers(self.spill.bytes(), &self.limits).err(),
            _ => None,
        };
        fault.map_or(Ok(()), |error| {
            self.fail(&error);
            Err(error)
        })
    }

    fn finish_at_eof(&mut self, otherwise: CloseReason) -> CloseReason {
        let reason = self.close.unwrap_or(otherwise);
        let _ = self.finish(Some(reason), 0);
        reason
    }

    #[cold]
    fn fail(&mut self, error: &Error) {
        self.stage = Stage::Closed(match error {
            Error::Unsolicited => CloseReason::SurplusBytes,
            _ => CloseReason::Failed,
        });
    }

    fn step(&mut self, input: &[u8], memo: &mut HeadMemo) -> Result<(usize, Step), Error> {
        match self.stage {
            Stage::Ending => Ok((0, Step::End(self.finish(self.close, input.len())))),
            Stage::Closed(CloseReason::Tunnel) => Ok((0, Step::NeedMore)),
            Stage::Closed(_) => Ok((input.len(), Step::NeedMore)),
            _ if input.is_empty() => Ok((0, Step::NeedMore)),
            Stage::Start if self.outstanding() == 0 => Err(Error::Unsolicited),
            Stage::Start | Stage::Head if self.spill.bytes().is_empty() => {
                self.step_head(input, memo)
            }
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
        let limits = self.interims.room(&self.limits);
        if let Some(summary) = memo.recall(input).filter(|head| limits.admit(head)) {
            let summary = *summary;
            let bytes = summary.head_bytes as usize;
            return Ok((bytes, self.accept(summary, Place::Input(bytes))?));
        }
        let Status::Complete(summary) = parse_head(input, &limits)? else {
            self.spill.add(input, input.len());
            self.stage = Stage::Head;
            return Ok((input.len(), Step::NeedMore));
        };
        let bytes = summary.head_bytes as usize;
        memo.remember(&input[..bytes], &summary);
        if summary.folded {
            self.spill.add(&input[..bytes], bytes);
            self.spill.finish_folded(bytes);
            return Ok((bytes, self.accept(summary, Place::Spill)?));
        }
        Ok((bytes, self.accept(summary, Place::Input(bytes))?))
    }

    fn step_split_head(&mut self, input: &[u8]) -> Result<(usize, Step), Error> {
        let limits = self.interims.room(&self.limits);
        let bytes_max = limits.head_bytes_max as usize;
        let before = self.spill.add(input, bytes_max);
        if !self.spill.is_due(before, bytes_max, limits.line_bytes_max as usize) {
            return Ok((self.spill.unfinished_bytes() - before, Step::NeedMore));
        }
        let Status::Complete(summary) = parse_head(self.spill.bytes(), &limits)? else {
            return Ok((self.spill.unfinished_bytes() - before, Step::NeedMore));
        };
        let bytes = summary.head_bytes as usize;
        let finish = if summary.folded { Spill::finish_folded } else { Spill::finish };
        finish(&mut self.spill, bytes);
        Ok((bytes - before, self.accept(summary, Place::Spill)?))
    }

    /// A whole head: decides what follows it.
    fn accept(&mut self, head: HeadSummary, place: Place) -> Result<Step, Error> {
        let sent = self.pending.oldest();
        let framing = Framing::of(sent, &head, self.leniency)?;
        if head.status < 200 && framing != Framing::Tunnel {
            self.note_interim(&head)?;
            return Ok(Step::Interim(head, framing, place));
        }
        self.close = self.close.or_else(|| CloseReason::of_response(sent, &head, framing));
        self.stage = match framing {
            Framing::None | Framing::Tunnel | Framing::Length(0) => Stage::Ending,
            Framing::Length(bytes) => Stage::Length(bytes),
            Framing::Chunked => Stage::Chunked(ChunkedDecoder::new()),
            Framing::UntilClose => Stage::UntilClose,
        };
        Ok(Step::Head(head, framing, place))
    }

    fn note_interim(&mut self, head: &HeadSummary) -> Result<(), Limit> {
        self.stage = Stage::Head;
        if head.connection.close() {
            self.close = Some(CloseReason::ServerClose);
        }
        self.interims.note(head)
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
                self.spill.add(TRAILER_PROLOGUE, TRAILER_PROLOGUE.len());
                let (trailer_bytes, step) = self.step_trailers(&input[consumed..])?;
                return Ok((consumed + trailer_bytes, step));
            }
            Piece::End => Step::End(self.finish(self.close, input.len() - consumed)),
        };
        Ok((consumed, step))
    }

    fn step_trailers(&mut self, input: &[u8]) -> Result<(usize, Step), Error> {
        let bytes_max = self.limits.trailer_bytes_max as usize + TRAILER_PROLOGUE.len();
        let before = self.spill.add(input, bytes_max);
        if !self.spill.is_due(before, bytes_max, bytes_max) {
            return Ok((self.spill.unfinished_bytes() - before, Step::NeedMore));
        }
        let Status::Complete(section) = parse_trailers(self.spill.bytes(), &self.limits)? else {
            return Ok((self.spill.unfinished_bytes() - before, Step::NeedMore));
        };
        let finish = if section.folded { Spill::finish_folded } else { Spill::finish };
        finish(&mut self.spill, section.bytes);
        self.stage = Stage::Ending;
        Ok((section.bytes - before, Step::Trailers))
    }

    /// The response is complete: its request is answered, and what follows is decided. `surplus_bytes` stand behind it.
    #[inline]
    fn finish(&mut self, close: Option<CloseReason>, surplus_bytes: usize) -> End {
        let idle = self.pending.pop();
        self.answered = true;
        self.body_bytes = 0;
        self.interims = Interims::default();
        self.close = None;
        let reason = close.or(if surplus_bytes > 0 && idle {
            Some(CloseReason::SurplusBytes)
        } else {
            None
        });
        self.stage = reason.map_or(Stage::Start, Stage::Closed);
        reason.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::framing::{MethodKind, Persistence, Upgrade};
    use super::super::pending::PIPELINE_DEPTH_MAX;
    use super::super::transcript::{check, check_sent};
    use super::*;

    const GET: Sent = Sent {
        method: MethodKind::Other,
        persistence: Persistence::KeepAlive,
        upgrade: Upgrade::NotAsked,
    };
    const HEAD: Sent = Sent { method: MethodKind::Head, ..GET };
    const CLOSE: Sent = Sent { persistence: Persistence::Close, ..GET };
    const CONNECT: Sent = Sent { method: MethodKind::Connect, ..GET };
    const UPGRADE: Sent = Sent { upgrade: Upgrade::Asked, ..GET };

    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const TOLD: [&str; 3] = ["head 200 Content-Length=2 Length(2)", "data ok", "end"];
    const SURPLUS: &str = "end: surplus bytes followed the last response";
    const SERVER_CLOSE: &str = "end: the server asked to close";
    const HTTP10: &str = "end: the server speaks HTTP/1.0 and did not offer keep-alive";

    fn check_for(sent: &[Sent], raw: &str, expected: &[&str]) {
        check_sent(sent, Limits::default(), raw.as_bytes(), expected);
    }

    /// How the connection is left by an empty response with these fields.
    fn check_persistence(version: &str, fields: &str, end: &str) {
        let mut told = String::from("head 204");
        for field in fields.split_terminator('|') {
            told.push_str(&format!(" {}", field.replacen(": ", "=", 1)));
        }
        told.push_str(" None");
        let fields = fields.replace('|', "\r\n");
        check(format!("HTTP/{version} 204 No\r\n{fields}\r\n"), &[&told, end]);
    }

    #[test]
    fn one_response() {
        check(OK, &TOLD);
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            &["head 200 Content-Length=0 Length(0)", "end"],
        );
        check(
            "HTTP/1.1 200 OK\r\n\r\nto the end",
            &["head 200 UntilClose", "data to the end", "end: the body was delimited by the close"],
        );
    }

    #[test]
    fn responses_match_requests_in_order() {
        check_for(&[GET; 3], &OK.repeat(3), &TOLD.repeat(3));
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        let told_head = ["head 200 Content-Length=9 None", "end"];
        let raw = format!("{OK}{head}{OK}");
        check_for(&[GET, HEAD, GET], &raw, &[&TOLD[..], &told_head, &TOLD].concat());
        check_for(&[HEAD; 2], &head.repeat(2), &told_head.repeat(2));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        check_for(&[HEAD], chunked, &["head 200 Transfer-Encoding=chunked None", "end"]);
    }

    #[test]
    fn persistence() {
        check_persistence("1.1", "", "end");
        check_persistence("1.1", "Connection: keep-alive|", "end");
        check_persistence("1.1", "Connection: close|", SERVER_CLOSE);
        check_persistence("1.1", "Connection: foo, CLOSE ,bar|", SERVER_CLOSE);
        check_persistence("1.1", "Connection: keep-alive|connection: close|", SERVER_CLOSE);
        check_persistence("1.1", "Connection: close, keep-alive|", SERVER_CLOSE);
        check_persistence("1.1", "Connection: closed, xclose, clo se|", "end");
        check_persistence("1.0", "", HTTP10);
        check_persistence("1.0", "Connection: foo, Keep-Alive|", "end");
        check_persistence("1.0", "Connection: keep-alive, close|", SERVER_CLOSE);
        check_persistence("1.0", "Connection: keep-alivex|", HTTP10);
        check_persistence("1.0", "Proxy-Connection: keep-alive|", HTTP10);
        check_persistence("1.1", "Proxy-Connection: close|", SERVER_CLOSE);
        check_persistence("1.1", "Keep-Alive: timeout=0|", "end");
    }

    #[test]
    fn our_own_close_ends_the_connection() {
        let ours = "end: we asked to close";
        check_for(&[CLOSE], OK, &[TOLD[0], TOLD[1], ours]);
        check_for(&[GET, CLOSE], &OK.repeat(2), &[&TOLD[..], &[TOLD[0], TOLD[1], ours]].concat());
    }

    #[test]
    fn surplus_bytes_are_no_response() {
        check(format!("{OK}{OK}"), &[TOLD[0], TOLD[1], SURPLUS]);
        check(format!("{OK}\r\n"), &[TOLD[0], TOLD[1], SURPLUS]);
        let close = "HTTP/1.1 204 No\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        check(close, &["head 204 Connection=close None", SERVER_CLOSE]);
        check_for(&[], OK, &["error unsolicited_bytes"]);
        check_for(&[], "", &[]);
    }

    #[test]
    fn unanswered_requests_stay_counted() {
        let mut machine = Machine::new(&Limits::default());
        machine.handle_requests(GET, 3).unwrap();
        let mut memo = HeadMemo::new();
        let raw = b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n";
        let (consumed, _) = machine.poll(raw, &mut memo).unwrap();
        assert_eq!(machine.close_reason(), Some(CloseReason::ServerClose));
        let (_, event) = machine.poll(&raw[consumed..], &mut memo).unwrap();
        assert!(matches!(event, Event::End(Err(CloseReason::ServerClose))));
        assert_eq!(machine.outstanding(), 2);
        assert_eq!(machine.handle_eof(), Ok(Eof::Closed));
        assert_eq!(machine.handle_request(GET), Err(Refused::Closing));
    }

    #[test]
    fn interim_responses_come_before_the_final_one() {
        let early = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
        let raw = format!("HTTP/1.1 100 Continue\r\n\r\n{early}HTTP/1.1 199 ?\r\n\r\n{OK}");
        let told = ["interim 100", "interim 103 Link=x", "interim 199"];
        check(&raw, &[&told[..], &TOLD].concat());
        check("HTTP/1.1 100 Continue\r\n\r\n", &["interim 100", "error interim_only"]);
        check("HTTP/1.1 100 C\r\n\r\nHTTP", &["interim 100", "error truncated_head"]);
        let close = format!("HTTP/1.1 102 P\r\nConnection: close\r\n\r\n{OK}");
        check(close, &["interim 102 Connection=close", TOLD[0], TOLD[1], SERVER_CLOSE]);
    }

    #[test]
    fn upgrades_and_tunnels_leave_their_bytes_alone() {
        let switch = "HTTP/1.1 101 Switching\r\n\r\n";
        check(switch, &["error framing_unasked_upgrade"]);
        let tunnel = "end: the connection became a tunnel";
        let left = |sent, raw: &str, told: &[&str]| {
            let mut machine = Machine::new(&Limits::default());
            machine.handle_request(sent).unwrap();
            let (consumed, _) = machine.poll(raw.as_bytes(), &mut HeadMemo::new()).unwrap();
            assert_eq!(&raw[consumed..], "raw bytes");
            let (none, event) =
                machine.poll(&raw.as_bytes()[consumed..], &mut HeadMemo::new()).unwrap();
            assert!(matches!(event, Event::End(Err(CloseReason::Tunnel))) && none == 0);
            let (none, event) = machine.poll(b"raw bytes", &mut HeadMemo::new()).unwrap();
            assert!(matches!(event, Event::NeedMore) && none == 0);
            check_for(&[sent], &raw[..consumed], told);
        };
        left(UPGRADE, &format!("{switch}raw bytes"), &["head 101 Tunnel", tunnel]);
        left(CONNECT, "HTTP/1.1 200 OK\r\n\r\nraw bytes", &["head 200 Tunnel", tunnel]);
        check_for(&[UPGRADE], OK, &TOLD);
        check_for(
            &[CONNECT],
            OK.replace("200", "403").as_str(),
            &["head 403 Content-Length=2 Length(2)", "data ok", "end"],
        );
    }

    #[test]
    fn the_close_of_the_server() {
        check("", &["error empty_reply"]);
        check_for(&[GET, GET], OK, &[&TOLD[..], &["error closed_idle"]].concat());
        let cut = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort";
        let told = "error truncated_body: the server closed the connection after 5 of 9 body bytes";
        check(cut, &["head 200 Content-Length=9 Length(9)", "data short", told]);
    }

    #[test]
    fn nothing_follows_a_last_request() {
        for last in [CLOSE, CONNECT, UPGRADE] {
            let mut machine = Machine::new(&Limits::default());
            assert_eq!(machine.handle_requests(last, 2), Err(Refused::Closing));
            assert_eq!(machine.handle_request(last), Ok(()));
            assert_eq!(machine.handle_request(GET), Err(Refused::Closing));
            assert_eq!(machine.outstanding(), 1);
        }
    }

    #[test]
    fn the_pipeline_is_bounded() {
        let mut machine = Machine::new(&Limits::default());
        assert_eq!(machine.handle_requests(HEAD, PIPELINE_DEPTH_MAX), Ok(()));
        assert_eq!(machine.handle_request(GET), Err(Refused::Full));
        assert_eq!(machine.handle_requests(GET, 0), Ok(()));
        let mut memo = HeadMemo::new();
        let raw = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        for left in (0..PIPELINE_DEPTH_MAX).rev() {
            assert!(matches!(machine.poll(raw, &mut memo).unwrap(), (_, Event::Head(_))));
            assert!(matches!(machine.poll(b"", &mut memo).unwrap(), (0, Event::End(Ok(())))));
            assert_eq!(machine.outstanding(), left);
        }
        machine.handle_requests(GET, 127).unwrap();
        machine.handle_request(HEAD).unwrap();
        assert_eq!(machine.pending.oldest(), GET);
        (0..127).for_each(|_| assert!(!machine.pending.pop()));
        assert_eq!((machine.pending.head_is_next(), machine.pending.oldest()), (true, HEAD));
    }

    #[test]
    fn bodies_may_be_thrown_away_unseen() {
        let mut memo = HeadMemo::new();
        let mut machine = Machine::new(&Limits::default());
        machine.handle_requests(GET, 3).unwrap();
        assert_eq!(machine.discardable(), 0);
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc";
        machine.poll(head, &mut memo).unwrap();
        machine.poll(b"abc", &mut memo).unwrap();
        assert_eq!(machine.discardable(), 997);
        machine.handle_discarded(900);
        machine.handle_discarded(97);
        assert!(matches!(machine.poll(b"", &mut memo).unwrap(), (0, Event::End(Ok(())))));
        machine.poll(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &mut memo).unwrap();
        machine.poll(b"10\r\nabcd", &mut memo).unwrap();
        assert_eq!(machine.discardable(), 12);
        machine.handle_discarded(12);
        assert_eq!(machine.discardable(), 0);
        let end = machine.poll(b"\r\n0\r\n\r\n", &mut memo).unwrap();
        assert!(matches!(end, (7, Event::End(Ok(())))));
        machine.poll(b"HTTP/1.1 200 OK\r\n\r\n", &mut memo).unwrap();
        assert_eq!(machine.discardable(), u64::MAX);
        machine.handle_discarded(5);
        assert_eq!(machine.handle_eof(), Ok(Eof::End(CloseReason::CloseDelimited)));
        assert_eq!((machine.outstanding(), machine.handle_eof()), (0, Ok(Eof::Closed)));
    }

    #[test]
    fn a_reset_machine_is_fresh() {
        let mut machine = Machine::new(&Limits::default()).with_leniency(Leniency::Lenient);
        machine.handle_request(CLOSE).unwrap();
        machine.poll(b"HTTP/1.1 100 C\r\n\r\n", &mut HeadMemo::new()).unwrap();
        machine.poll(b"HTTP/1.1 200 OK\r\nConn", &mut HeadMemo::new()).unwrap();
        machine.reset();
        let fresh = Machine::new(&Limits::default()).with_leniency(Leniency::Lenient);
        assert_eq!(format!("{machine:?}"), format!("{fresh:?}"));
        assert_eq!(machine.handle_eof(), Ok(Eof::Idle));
        assert_eq!(machine.close_reason(), Some(CloseReason::ServerEof));
    }

    #[test]
    fn lenient_readings_end_the_connection() {
        let mut machine = Machine::new(&Limits::default()).with_leniency(Leniency::Lenient);
        machine.handle_request(GET).unwrap();
        let raw =
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let (consumed, _) = machine.poll(raw, &mut HeadMemo::new()).unwrap();
        assert_eq!(machine.close_reason(), Some(CloseReason::AmbiguousFraming));
        let end = machine.poll(&raw[consumed..], &mut HeadMemo::new()).unwrap();
        assert!(matches!(end, (5, Event::End(Err(CloseReason::AmbiguousFraming)))));
    }

    #[test]
    fn an_error_is_final() {
        let (mut machine, mut memo) = (Machine::new(&Limits::default()), HeadMemo::new());
        machine.handle_request(GET).unwrap();
        assert!(machine.poll(b"nonsense", &mut memo).is_err());
        assert_eq!(machine.close_reason(), Some(CloseReason::Failed));
        assert!(matches!(machine.poll(OK.as_bytes(), &mut memo), Ok((40, Event::NeedMore))));
        assert_eq!(machine.try_whole(OK.as_bytes(), &memo), None);
    }

    #[test]
    fn the_machine_is_small() {
        assert!(size_of::<Machine>() <= 128, "{} bytes", size_of::<Machine>());
    }

    /// Responses that a memo may or may not hold, and bytes that are none.
    fn response() -> impl Strategy<Value = String> {
        let status =
            prop_oneof![4 => Just("200"), 1 => Just("204"), 1 => Just("304"), 1 => Just("100")];
        let fields = prop_oneof![
            8 => Just(""),
            1 => Just("Connection: close\r\n"),
            1 => Just("Transfer-Encoding: chunked\r\n"),
            1 => Just("A: b\r\n c\r\n"),
        ];
        let minor = prop_oneof![8 => Just('1'), 1 => Just('0')];
        (status, fields, minor, 0..4_usize).prop_map(|(status, fields, minor, length)| {
            let body = &"body"[..length];
            format!("HTTP/1.{minor} {status} x\r\nContent-Length: {length}\r\n{fields}\r\n{body}")
        })
    }

    fn sent() -> impl Strategy<Value = Sent> {
        prop_oneof![8 => Just(GET), 2 => Just(HEAD), 1 => Just(CLOSE), 1 => Just(UPGRADE)]
    }

    /// The next response by `poll`, in the terms of `try_whole`, if it is whole.
    fn poll_whole(machine: &mut Machine, input: &[u8], memo: &mut HeadMemo) -> Option<Whole> {
        let (mut consumed, mut head_bytes, mut status) = (0, 0, 0);
        loop {
            match machine.poll(&input[consumed..], memo).ok()? {
                (bytes, Event::Head(head)) => (head_bytes, status) = (bytes, head.status()),
                (_, Event::End(end)) => return Some(Whole { head_bytes, consumed, status, end }),
                (bytes, Event::Data(_)) => {
                    consumed += bytes;
                    continue;
                }
                _ => return None,
            }
            consumed += head_bytes;
        }
    }

    proptest! {
        /// Whatever `try_whole` takes, `poll` takes in the same way, and both leave the same machine.
        #[test]
        fn the_fast_path_equals_the_slow_one(
            remembered in response(),
            responses in proptest::collection::vec(response(), 1..4),
            repeat in any::<bool>(),
            requests in proptest::collection::vec(sent(), 0..5),
            keep in 0..200_usize,
            fields_max in 0..3_u16,
        ) {
            let limits = Limits { fields_max, ..Limits::default() };
            let mut memo = HeadMemo::new();
            if let Ok(Status::Complete(summary)) = parse_head(remembered.as_bytes(), &Limits::default()) {
                memo.remember(&remembered.as_bytes()[..summary.head_bytes as usize], &summary);
            }
            let raw = if repeat { remembered.repeat(3) } else { responses.concat() };
            let raw = &raw.as_bytes()[..raw.len().min(keep)];
            let (mut fast, mut slow) = (Machine::new(&limits), Machine::new(&limits));
            for one in requests {
                let _ = (fast.handle_request(one), slow.handle_request(one));
            }
            let mut at = 0;
            while let Some(whole) = fast.try_whole(&raw[at..], &memo) {
                let polled = poll_whole(&mut slow, &raw[at..], &mut memo);
                prop_assert_eq!(polled, Some(whole));
                at += whole.consumed;
                prop_assert_eq!(format!("{fast:?}"), format!("{slow:?}"));
            }
        }

        /// The memo never changes what a head means.
        #[test]
        fn a_remembered_head_means_what_it_meant(one in response(), other in response()) {
            let mut memo = HeadMemo::new();
            for head in [&one, &other, &one] {
                let parsed = parse_head(head.as_bytes(), &Limits::default()).unwrap();
                let Status::Complete(summary) = parsed else { panic!("a whole head") };
                if let Some(recalled) = memo.recall(head.as_bytes()) {
                    prop_assert_eq!(*recalled, summary);
                }
                memo.remember(&head.as_bytes()[..summary.head_bytes as usize], &summary);
            }
        }
    }
}
