//! Requests, as far as an origin cares: where one ends, and what its answer must look like. Never keeps a body.

use httparse::{EMPTY_HEADER, Header, Status};

use super::directive::plan_of;
use super::plan::{Body, Plan};

/// Fields that a request may have.
const FIELDS_MAX: usize = 64;
/// Bytes of a head that is remembered.
const MEMO_BYTES_MAX: usize = 1024;

/// What the answer to a request depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    /// `HEAD`: the answer has no body.
    pub(super) head: bool,
    /// The connection closes after the answer.
    pub(super) close: bool,
    /// The client speaks HTTP/1.0, and has to be told if it does not close (RFC 9112 9.3).
    pub(super) http10: bool,
}

/// One request head that gets the fixed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) head_bytes: usize,
    pub(super) body_bytes: u64,
    pub(super) wish: Wish,
}

/// One request head that takes more than the fixed answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Special {
    pub(super) head_bytes: usize,
    pub(super) length: Length,
    pub(super) wish: Wish,
    /// `Expect: 100-continue`.
    pub(super) expects: bool,
    /// `None`: the fixed answer, to a request whose body is chunked or expected.
    pub(super) plan: Option<Plan>,
}

/// How long a request's body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    Chunked,
}

/// What stands at the start of the input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A head that is not whole.
    Partial,
    Fixed(Request),
    Special(Box<Special>),
}

/// Why a request can't be answered with 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad;

/// The last head of this core that got the fixed answer: a load generator sends the same bytes again and again.
#[derive(Debug, Default)]
pub(super) struct Memo {
    bytes: Vec<u8>,
    request: Option<Request>,
}

impl Memo {
    /// The request at the start of `input`, if its head is the one remembered.
    #[inline]
    pub(super) fn hit(&self, input: &[u8]) -> Option<Request> {
        self.request.filter(|_| input.starts_with(&self.bytes))
    }

    /// The request at the start of `input`, remembered if it gets the fixed answer.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<Parsed, Bad> {
        let parsed = parse(input)?;
        if let Parsed::Fixed(request) = &parsed
            && request.head_bytes <= MEMO_BYTES_MAX
        {
            self.bytes.clear();
            self.bytes.extend_from_slice(&input[..request.head_bytes]);
            self.request = Some(*request);
        }
        Ok(parsed)
    }
}

impl Special {
    /// Whether the answer is the request's body.
    pub(super) fn echoes(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.body == Body::Echo)
    }
}

fn parse(input: &[u8]) -> Result<Parsed, Bad> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let Status::Complete(head_bytes) = head.parse(input).map_err(|_| Bad)? else {
        return Ok(Parsed::Partial);
    };
    let http10 = head.version == Some(0);
    let mut heard = Heard::new(head.method == Some("HEAD"), http10);
    head.headers.iter().try_for_each(|field| heard.handle(field))?;
    let length = heard.length()?;
    let plan = head.path.and_then(plan_of).map(|plan| with_head(plan, &input[..head_bytes]));
    let (wish, expects) = (heard.wish, heard.expects && !http10);
    Ok(match (length, plan) {
        (Length::Known(body_bytes), None) if !expects => {
            Parsed::Fixed(Request { head_bytes, body_bytes, wish })
        }
        (length, plan) => {
            Parsed::Special(Box::new(Special { head_bytes, length, wish, expects, plan }))
        }
    })
}

/// A plan that shows the request's head gets it.
fn with_head(plan: Plan, head: &[u8]) -> Plan {
    if plan.body != Body::Head {
        return plan;
    }
    let text = String::from_utf8_lossy(head.trim_ascii_end()) + "\n";
    Plan { body: Body::Text(text.into_owned()), ..plan }
}

/// What the fields of a head say.
struct Heard {
    wish: Wish,
    content_length: Option<u64>,
    chunked: bool,
    expects: bool,
}

impl Heard {
    fn new(head: bool, http10: bool) -> Self {
        let wish = Wish { head, close: http10, http10 };
        Self { wish, content_length: None, chunked: false, expects: false }
    }

    fn handle(&mut self, field: &Header<'_>) -> Result<(), Bad> {
        let (name, value) = (field.name, field.value);
        if name.eq_ignore_ascii_case("content-length") {
            let length = length(value).ok_or(Bad)?;
            // Whoever believes the other one sees other requests (RFC 9112 6.3).
            if self.content_length.is_some_and(|other| other != length) {
                return Err(Bad);
            }
            self.content_length = Some(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            // A request with another coding has no end that could be told (RFC 9112 6.3).
            if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Bad);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            self.wish.close |= lists(value, "close");
            self.wish.close &= !(self.wish.http10 && lists(value, "keep-alive"));
        } else if name.eq_ignore_ascii_case("expect") {
            self.expects |= lists(value, "100-continue");
        }
        Ok(())
    }

    /// Both lengths at once are an attack (RFC 9112 6.1), and chunks in HTTP/1.0 a fault.
    fn length(&self) -> Result<Length, Bad> {
        match (self.chunked, self.content_length) {
            (false, length) => Ok(Length::Known(length.unwrap_or(0))),
            (true, None) if !self.wish.http10 => Ok(Length::Chunked),
            (true, _) => Err(Bad),
        }
    }
}

fn length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?.trim();
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether a comma-separated list holds `token`.
fn lists(value: &[u8], token: &str) -> bool {
    let mut members = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    members.any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_to_their_end_and_no_further() {
        let check = |text: &str, expected: Result<Option<(u64, bool, bool)>, Bad>| {
            let http10 = text.contains("HTTP/1.0");
            let head_bytes = text.find("\r\n\r\n").map_or(0, |end| end + 4);
            let expected = expected.map(|request| match request {
                None => Parsed::Partial,
                Some((body_bytes, head, close)) => {
                    let wish = Wish { head, close, http10 };
                    Parsed::Fixed(Request { head_bytes, body_bytes, wish })
                }
            });
            let mut memo = Memo::default();
            assert_eq!(memo.hit(text.as_bytes()), None, "{text:?}");
            assert_eq!(memo.read(text.as_bytes()), expected, "{text:?}");
            let hit = memo.hit(text.as_bytes()).map(Parsed::Fixed);
            assert_eq!(hit, expected.ok().filter(|parsed| *parsed != Parsed::Partial), "{text:?}");
        };
        check("GET / HTTP/1.1\r\nHost: h\r\n\r\n", Ok(Some((0, false, false))));
        check("GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /", Ok(Some((0, false, false))));
        check("HEAD / HTTP/1.1\r\n\r\n", Ok(Some((0, true, false))));
        check("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n", Ok(Some((0, false, true))));
        check("GET / HTTP/1.0\r\n\r\n", Ok(Some((0, false, true))));
        check("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Ok(Some((0, false, false))));
        check("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", Ok(Some((5, false, false))));
        check("GET / HTTP/1.1\r\nHost", Ok(None));
        check("", Ok(None));
        check("nonsense\r\n\r\n", Err(Bad));
        check("POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", Err(Bad));
        let same = "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n";
        check(same, Ok(Some((3, false, false))));
        check(&same.replacen('3', "2", 1), Err(Bad));
        check("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Err(Bad));
        check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Bad));
        let both = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n";
        check(both, Err(Bad));
    }

    fn special(memo: &mut Memo, text: &str) -> Special {
        match memo.read(text.as_bytes()) {
            Ok(Parsed::Special(special)) => *special,
            other => panic!("{text:?}: {other:?}"),
        }
    }

    #[test]
    fn special_requests_leave_the_memo_alone() {
        let mut memo = Memo::default();
        let fixed = "GET / HTTP/1.1\r\n\r\n";
        let first = memo.read(fixed.as_bytes());
        assert_eq!(memo.hit(b"GET /delay/5 HTTP/1.1\r\n\r\n"), None);
        let delayed = special(&mut memo, "GET /delay/5 HTTP/1.1\r\n\r\n");
        assert_eq!(delayed.plan, plan_of("/delay/5"));
        let chunked = special(&mut memo, "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n");
        assert_eq!((chunked.length, chunked.plan), (Length::Chunked, None));
        let expecting = "POST / HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n";
        assert!(special(&mut memo, expecting).expects);
        assert_eq!(memo.bytes, fixed.as_bytes());
        assert_eq!(memo.hit(fixed.as_bytes()).map(Parsed::Fixed).ok_or(Bad), first);
    }

    #[test]
    fn a_head_that_is_shown_is_the_one_that_came() {
        let text = "PUT /headers?x HTTP/1.1\r\nA: b\r\nContent-Length: 0\r\n\r\n";
        let plan = special(&mut Memo::default(), text).plan.unwrap();
        let shown = "PUT /headers?x HTTP/1.1\r\nA: b\r\nContent-Length: 0\n";
        assert_eq!(plan.body, Body::Text(shown.to_owned()));
    }
}
