//! One planned answer on its way: which bytes come next, and when. Sends nothing, reads no clock.
//!
//! ```text
//!  start      due     head and first piece       next piece              last piece
//! ───────> waiting ─────────────────────> body ──────────────> body ─────────────────> over ──> End
//!           │  ^                            │ not due yet: Wait
//!           └──┘ Wait (for ever: hang)      v
//! ```

use std::fmt::Write;
use std::time::Duration;

use super::answer::Stay;
use super::directive::PIECE_BYTES_MAX;
use super::plan::{Body, Fate, Framing, Pace, Plan};
use crate::clock::Instant;
use crate::proto::h1::{LAST_CHUNK, encode_chunk};

/// What the letters of a body repeat.
pub(super) const TEXT: &[u8] = b"Hello, world\n";
/// Bytes of the letters that all bodies share: whole repetitions of [`TEXT`].
const LETTERS_BYTES: usize = TEXT.len() << 14;
/// Most letters that are copied behind a head, so that a small answer is one send.
const FIRST_BYTES_MAX: u64 = 16 << 10;
/// Data bytes of a chunk.
const CHUNK_BYTES: usize = 8 << 10;

/// The letters, made once: any body of letters is slices of them.
pub(super) fn letters() -> Vec<u8> {
    TEXT.repeat(LETTERS_BYTES / TEXT.len())
}

/// What is known of the request when its answer is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Occasion {
    /// The request was `HEAD`.
    pub(super) head: bool,
    /// The client speaks HTTP/1.0, and knows neither chunks nor interim responses.
    pub(super) http10: bool,
    /// The connection closes after the answer.
    pub(super) close: bool,
    /// Bytes of the fixed answer's body.
    pub(super) fixed_bytes: u64,
}

impl Occasion {
    fn stay(self) -> Stay {
        match (self.close, self.http10) {
            (true, _) => Stay::Never,
            (false, true) => Stay::Told,
            (false, false) => Stay::Implied,
        }
    }
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing before this time.
    Wait(Instant),
    /// Send these bytes.
    Bytes(Vec<u8>),
    /// Send this part of the letters.
    Letters { start: u32, bytes: u32 },
    /// Everything was sent.
    End(Ending),
}

/// What becomes of the connection behind an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// What the answer said.
    Answered,
    Close,
    Reset,
}

/// An answer, or an interim response.
#[derive(Debug)]
pub(super) struct Delivery {
    /// What was not sent yet of the head.
    head: Vec<u8>,
    /// The body, if it is not letters.
    own: Option<Vec<u8>>,
    /// Body bytes to send, and those that were.
    total: u64,
    sent: u64,
    chunked: bool,
    /// What follows the last chunk.
    last: Vec<u8>,
    pace: Option<Pace>,
    delay: Duration,
    due: Instant,
    started: bool,
    ending: Ending,
    /// Whether a request is answered by it.
    pub(super) answers: bool,
    /// Bytes that are kept for it, from when it was planned until it is over.
    pub(super) held_bytes: usize,
}

impl Delivery {
    /// A head that is sent at once and answers nothing: `100 Continue`.
    pub(super) fn interim() -> Self {
        Self { answers: false, ..Self::bare(CONTINUE.to_vec(), Ending::Answered) }
    }

    /// The answer as planned, with what chance had to say already in the plan. `echo` is the request's body.
    pub(super) fn new(plan: Plan, occasion: Occasion, echo: Vec<u8>) -> Self {
        let delay = if plan.fate == Fate::Hang { Duration::MAX } else { plan.delay };
        if matches!(plan.fate, Fate::Hang | Fate::Abort) {
            return Self { delay, ..Self::bare(Vec::new(), Ending::Close) };
        }
        let framing = framing(&plan, occasion);
        let (own, length) = content(&plan, occasion.fixed_bytes, echo);
        let head = head(&plan, occasion, framing, length);
        let half = matches!(plan.fate, Fate::Truncate | Fate::Reset);
        let ending = match plan.fate {
            Fate::Truncate => Ending::Close,
            Fate::Reset => Ending::Reset,
            _ => Ending::Answered,
        };
        if occasion.head || bodiless(plan.status) {
            return Self { delay, ..Self::bare(head, ending) };
        }
        let chunked = framing == Framing::Chunked;
        let last = if chunked && !half { last_chunk(&plan, length) } else { Vec::new() };
        let total = if half { length / 2 } else { length };
        let mut delivery = Self { own, total, chunked, last, delay, ..Self::bare(head, ending) };
        delivery.pace = plan.pace;
        if total == 0 {
            delivery.head.append(&mut delivery.last);
        }
        let own = delivery.own.as_ref().map_or(0, Vec::capacity);
        delivery.held_bytes = delivery.head.capacity() + delivery.last.capacity() + own;
        delivery
    }

    fn bare(head: Vec<u8>, ending: Ending) -> Self {
        Self {
            held_bytes: head.capacity(),
            head,
            own: None,
            total: 0,
            sent: 0,
            chunked: false,
            last: Vec::new(),
            pace: None,
            delay: Duration::ZERO,
            due: Instant::NEVER,
            started: false,
            ending,
            answers: true,
        }
    }

    /// The request was whole at `now`: its delay begins. Only the first call counts.
    pub(super) fn start(&mut self, now: Instant) {
        if !self.started {
            self.started = true;
            self.due = now + self.delay;
        }
    }

    pub(super) fn started(&self) -> bool {
        self.started
    }

    /// Whether nothing is left to send.
    pub(super) fn is_over(&self) -> bool {
        self.head.is_empty() && self.sent == self.total
    }

    /// What comes next; what it gives to send counts as sent.
    pub(super) fn poll(&mut self, now: Instant, letters: &[u8]) -> Step {
        if now < self.due {
            return Step::Wait(self.due);
        }
        if self.is_over() {
            return Step::End(self.ending);
        }
        let plain = self.own.is_none() && !self.chunked && self.pace.is_none();
        if plain && self.head.is_empty() {
            return self.poll_letters(letters.len());
        }
        let mut bytes = std::mem::take(&mut self.head);
        let most = match self.pace {
            Some(pace) => pace.piece_bytes,
            None if plain => FIRST_BYTES_MAX,
            None => PIECE_BYTES_MAX,
        };
        self.append_piece(most, letters, &mut bytes);
        if let Some(pace) = self.pace.filter(|_| !self.is_over()) {
            self.due = now + pace.every;
        }
        Step::Bytes(bytes)
    }

    fn poll_letters(&mut self, letters_bytes: usize) -> Step {
        let start = self.sent % TEXT.len() as u64;
        let bytes = (self.total - self.sent).min((letters_bytes - TEXT.len()) as u64);
        self.sent += bytes;
        Step::Letters { start: start as u32, bytes: bytes as u32 }
    }

    fn append_piece(&mut self, most: u64, letters: &[u8], into: &mut Vec<u8>) {
        let bytes = (self.total - self.sent).min(most) as usize;
        if bytes == 0 {
            return;
        }
        let source = self.own.as_deref().unwrap_or(letters);
        let start = if self.own.is_some() { self.sent } else { self.sent % TEXT.len() as u64 };
        let piece = source.get(start as usize..start as usize + bytes).unwrap_or_default();
        debug_assert_eq!(piece.len(), bytes, "letters are longer than any piece");
        if self.chunked {
            let chunk_bytes = if self.pace.is_some() { bytes } else { CHUNK_BYTES };
            piece.chunks(chunk_bytes).for_each(|chunk| encode_chunk(chunk, into));
        } else {
            into.extend_from_slice(piece);
        }
        self.sent += bytes as u64;
        if self.sent == self.total {
            into.append(&mut self.last);
        }
    }
}

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Statuses whose answers never have a body (RFC 9110 15.3.5, 15.4.5).
fn bodiless(status: u16) -> bool {
    matches!(status, 204 | 304)
}

fn framing(plan: &Plan, occasion: Occasion) -> Framing {
    match plan.framing {
        Framing::Chunked if occasion.http10 => Framing::UntilClose,
        framing => framing,
    }
}

/// Whether the connection closes after an answer so planned.
pub(super) fn closes(plan: &Plan, occasion: Occasion) -> bool {
    let broken = matches!(plan.fate, Fate::Truncate | Fate::Reset | Fate::Abort);
    plan.close || broken || framing(plan, occasion) == Framing::UntilClose
}

/// The body, unless it is letters, and its length.
fn content(plan: &Plan, fixed_bytes: u64, echo: Vec<u8>) -> (Option<Vec<u8>>, u64) {
    let own = match &plan.body {
        Body::Fixed => return (None, fixed_bytes),
        Body::Letters(bytes) => return (None, *bytes),
        Body::Text(text) => text.clone().into_bytes(),
        Body::Reason => format!("{} {}\n", plan.status, reason(plan.status)).into_bytes(),
        Body::Echo | Body::Head => echo,
    };
    let length = if plan.status == 205 { 0 } else { own.len() as u64 };
    (Some(own), length)
}

fn reason(status: u16) -> &'static str {
    let known = http::StatusCode::from_u16(status).ok();
    known.and_then(|status| status.canonical_reason()).unwrap_or("Unnamed")
}

fn head(plan: &Plan, occasion: Occasion, framing: Framing, length: u64) -> Vec<u8> {
    let interims = if occasion.http10 { 0 } else { plan.interims as usize };
    let mut head = String::from_utf8_lossy(CONTINUE).repeat(interims);
    let (status, fields) = (plan.status, &plan.fields);
    let reason = reason(status);
    // Writing to a string does not fail.
    let _ = write!(
        head,
        "HTTP/1.1 {status} {reason}\r\nServer: ringshot\r\nContent-Type: text/plain\r\n{fields}"
    );
    head.push_str(occasion.stay().field());
    match framing {
        _ if bodiless(status) => {}
        Framing::Length => {
            let _ = write!(head, "Content-Length: {length}\r\n");
        }
        Framing::Chunked if plan.trailers => {
            head.push_str("Transfer-Encoding: chunked\r\nTrailer: X-Body-Bytes\r\n");
        }
        Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        Framing::UntilClose => {}
    }
    head.push_str("\r\n");
    head.into_bytes()
}

fn last_chunk(plan: &Plan, length: u64) -> Vec<u8> {
    if plan.trailers {
        return format!("0\r\nX-Body-Bytes: {length}\r\n\r\n").into_bytes();
    }
    LAST_CHUNK.to_vec()
}

#[cfg(test)]
mod tests {
    use super::super::directive::plan_of;
    use super::*;

    const OCCASION: Occasion =
        Occasion { head: false, http10: false, close: false, fixed_bytes: 13 };
    const START: Instant = Instant::from_nanos(1_000_000_000);

    /// All bytes of an answer that is never made to wait, how it ends, and the pieces that it came in.
    fn told(target: &str, occasion: Occasion) -> (String, Ending, usize) {
        let mut delivery = Delivery::new(plan_of(target).unwrap(), occasion, b"echo".to_vec());
        delivery.start(START);
        let (letters, mut text, mut now, mut pieces) = (letters(), Vec::new(), START, 0);
        loop {
            let over = delivery.is_over();
            match delivery.poll(now, &letters) {
                Step::Wait(until) => now = until,
                Step::End(ending) => {
                    assert!(over);
                    return (String::from_utf8(text).unwrap(), ending, pieces);
                }
                Step::Bytes(bytes) => {
                    assert!(!bytes.is_empty() && bytes.len() < (PIECE_BYTES_MAX as usize) + 2048);
                    text.extend(bytes);
                }
                Step::Letters { start, bytes } => {
                    text.extend_from_slice(&letters[start as usize..(start + bytes) as usize]);
                }
            }
            pieces += 1;
        }
    }

    fn body_of(target: &str) -> String {
        let (text, ending, _) = told(target, OCCASION);
        assert_eq!(ending, Ending::Answered, "{target}");
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn text(bytes: usize) -> String {
        String::from_utf8(TEXT.iter().copied().cycle().take(bytes).collect()).unwrap()
    }

    #[test]
    fn bodies_are_whole_however_long() {
        for bytes in [0, 1, 13, 100, 16 << 10, (16 << 10) + 1, 212_979, 212_980, 500_000] {
            assert_eq!(body_of(&format!("/bytes/{bytes}")), text(bytes), "{bytes}");
        }
        let (_, _, pieces) = told("/bytes/100", OCCASION);
        assert_eq!(pieces, 1);
        assert_eq!(body_of("/echo"), "echo");
        assert_eq!(body_of("/status/404"), "404 Not Found\n");
        assert_eq!(body_of("/delay/50"), text(13));
    }

    #[test]
    fn chunks_end_in_the_last() {
        assert_eq!(body_of("/chunked/0"), "0\r\n\r\n");
        assert_eq!(body_of("/chunked/5"), "5\r\nHello\r\n0\r\n\r\n");
        assert_eq!(body_of("/chunked/5?trailers"), "5\r\nHello\r\n0\r\nX-Body-Bytes: 5\r\n\r\n");
        assert_eq!(body_of("/stream/5/2/7?chunked"), "2\r\nHe\r\n2\r\nll\r\n1\r\no\r\n0\r\n\r\n");
        let large = body_of("/chunked/200000");
        assert!(large.starts_with("2000\r\nHello") && large.ends_with("\r\n0\r\n\r\n"));
        assert_eq!(told("/chunked/200000", OCCASION).2, 4);
    }

    #[test]
    fn broken_answers_send_half() {
        let check = |target: &str, announced: &str, body: &str, expected: Ending| {
            let (text, ending, _) = told(target, OCCASION);
            assert!(
                text.contains(announced) && text.ends_with(&format!("\r\n\r\n{body}")),
                "{text}"
            );
            assert_eq!(ending, expected);
        };
        check("/truncate/10", "Content-Length: 10\r\n", "Hello", Ending::Close);
        check("/truncate/10?chunked", "chunked\r\n", "5\r\nHello\r\n", Ending::Close);
        check("/reset", "Content-Length: 1000\r\n", &text(500), Ending::Reset);
        assert_eq!(told("/abort", OCCASION), (String::new(), Ending::Close, 0));
    }

    #[test]
    fn heads_say_what_follows() {
        let head = |target: &str, occasion: Occasion| told(target, occasion).0;
        let asked = Occasion { head: true, ..OCCASION };
        assert!(head("/bytes/500000", asked).ends_with("Content-Length: 500000\r\n\r\n"));
        assert!(head("/chunked/5", asked).ends_with("Transfer-Encoding: chunked\r\n\r\n"));
        assert!(!head("/status/204", OCCASION).contains("Length"));
        assert!(head("/status/205", OCCASION).ends_with("Content-Length: 0\r\n\r\n"));
        assert!(head("/status/599", OCCASION).starts_with("HTTP/1.1 599 Unnamed\r\n"));
        let closing = Occasion { close: true, ..OCCASION };
        assert!(head("/close", closing).contains("Connection: close\r\n"));
        assert!(head("/retry-after/7", OCCASION).contains("\r\nRetry-After: 7\r\n"));
        let kept = Occasion { http10: true, ..OCCASION };
        assert!(head("/status/404", kept).contains("\r\nConnection: keep-alive\r\n"));
        let old = Occasion { http10: true, close: true, ..OCCASION };
        assert!(head("/chunked/5", old).ends_with("Connection: close\r\n\r\nHello"));
        assert!(
            head("/continue/2", OCCASION).starts_with(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(2))
        );
        assert!(head("/continue/2", old).starts_with("HTTP/1.1 200 OK\r\n"));
    }

    #[test]
    fn nothing_comes_before_its_time() {
        let mut delivery = Delivery::new(plan_of("/delay/5").unwrap(), OCCASION, Vec::new());
        let due = START + Duration::from_millis(5);
        delivery.start(START);
        delivery.start(due);
        assert_eq!(delivery.poll(START, &letters()), Step::Wait(due));
        assert!(matches!(delivery.poll(due, &letters()), Step::Bytes(_)) && delivery.is_over());
        let mut hanging = Delivery::new(plan_of("/hang").unwrap(), OCCASION, Vec::new());
        hanging.start(START);
        assert_eq!(
            hanging.poll(START + Duration::from_secs(1 << 30), &[]),
            Step::Wait(Instant::NEVER)
        );
    }
}
