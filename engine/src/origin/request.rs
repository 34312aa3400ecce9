//! Requests, as far as an origin cares: where one ends, and what its answer must look like. Never keeps a body.

use httparse::{EMPTY_HEADER, Header, Status};
use memchr::memmem;

use super::directive::plan_of;
use super::plan::{Body, Plan};

/// Fields that a request may have.
const FIELDS_MAX: usize = 128;
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

/// Why a request is refused, and the connection closed behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is not HTTP, or could be read in two ways.
    Bad,
    /// It is of another major version.
    Version,
    /// It has more than [`FIELDS_MAX`] fields.
    TooManyFields,
    /// `CONNECT`.
    Tunnel,
}

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
    pub(super) fn read(&mut self, input: &[u8]) -> Result<Parsed, Refusal> {
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

fn parse(input: &[u8]) -> Result<Parsed, Refusal> {
    match parse_as(input, input) {
        Err(Refusal::Version) => {
            let lowered = lowered(input).ok_or(Refusal::Version)?;
            parse_as(&lowered, input)
        }
        parsed => parsed,
    }
}

/// With a minor version that is higher than ours made ours: a request is read as one of HTTP/1.1 then (RFC 9110 2.5), which the parser does not do.
#[cold]
fn lowered(input: &[u8]) -> Option<Vec<u8>> {
    const VERSION: &[u8] = b" HTTP/1.";
    let minor = memmem::find(input, VERSION)? + VERSION.len();
    let mut lowered = input.to_vec();
    *lowered.get_mut(minor).filter(|digit| (b'2'..=b'9').contains(*digit))? = b'1';
    Some(lowered)
}

/// Reads `input` as it is read in `told`, which has as many bytes.
fn parse_as(told: &[u8], input: &[u8]) -> Result<Parsed, Refusal> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let Status::Complete(head_bytes) = head.parse(told).map_err(refusal_of)? else {
        return Ok(Parsed::Partial);
    };
    let mut heard = Heard::of(&head);
    head.headers.iter().try_for_each(|field| heard.handle(field))?;
    heard.check_host()?;
    if head.method == Some("CONNECT") {
        return Err(Refusal::Tunnel);
    }
    let length = heard.length()?;
    let plan = head.path.and_then(plan_of).map(|plan| with_head(plan, &input[..head_bytes]));
    let (wish, expects) = (heard.wish, heard.expects && !heard.wish.http10);
    Ok(match (length, plan) {
        (Length::Known(body_bytes), None) if !expects => {
            Parsed::Fixed(Request { head_bytes, body_bytes, wish })
        }
        (length, plan) => {
            Parsed::Special(Box::new(Special { head_bytes, length, wish, expects, plan }))
        }
    })
}

fn refusal_of(error: httparse::Error) -> Refusal {
    match error {
        httparse::Error::Version => Refusal::Version,
        httparse::Error::TooManyHeaders => Refusal::TooManyFields,
        _ => Refusal::Bad,
    }
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
    host: bool,
    content_length: Option<u64>,
    chunked: bool,
    expects: bool,
}

impl Heard {
    /// What the request line says, before any field.
    fn of(request: &httparse::Request<'_, '_>) -> Self {
        let http10 = request.version == Some(0);
        let wish = Wish { head: request.method == Some("HEAD"), close: http10, http10 };
        Self { wish, host: false, content_length: None, chunked: false, expects: false }
    }

    fn handle(&mut self, field: &Header<'_>) -> Result<(), Refusal> {
        let (name, value) = (field.name, field.value);
        if name.eq_ignore_ascii_case("content-length") {
            let length = length(value).ok_or(Refusal::Bad)?;
            // Whoever believes the other one sees other requests (RFC 9112 6.3).
            if self.content_length.is_some_and(|other| other != length) {
                return Err(Refusal::Bad);
            }
            self.content_length = Some(length);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            // A request with another coding has no end that could be told (RFC 9112 6.3).
            if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::Bad);
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            self.wish.close |= lists(value, "close");
            self.wish.close &= !(self.wish.http10 && lists(value, "keep-alive"));
        } else if name.eq_ignore_ascii_case("expect") {
            self.expects |= lists(value, "100-continue");
        } else if name.eq_ignore_ascii_case("host") {
            if self.host || !is_host(value) {
                return Err(Refusal::Bad);
            }
            self.host = true;
        }
        Ok(())
    }

    /// Every request names its host (RFC 9112 3.2), but for those of HTTP/1.0.
    fn check_host(&self) -> Result<(), Refusal> {
        if self.host || self.wish.http10 { Ok(()) } else { Err(Refusal::Bad) }
    }

    /// Both lengths at once are an attack (RFC 9112 6.1), and chunks in HTTP/1.0 a fault.
    fn length(&self) -> Result<Length, Refusal> {
        match (self.chunked, self.content_length) {
            (false, length) => Ok(Length::Known(length.unwrap_or(0))),
            (true, None) if !self.wish.http10 => Ok(Length::Chunked),
            (true, _) => Err(Refusal::Bad),
        }
    }
}

fn length(value: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(value).ok()?.trim();
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Whether it is `uri-host [":" port]` (RFC 9110 7.2). The host may be empty.
fn is_host(value: &[u8]) -> bool {
    let bracketed = value.starts_with(b"[");
    let end = if bracketed { b']' } else { b':' };
    let (host, port) = match value.iter().position(|byte| *byte == end) {
        Some(place) => value.split_at(place + usize::from(bracketed)),
        None if bracketed => return false,
        None => (value, &[][..]),
    };
    let inside = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    let in_host = |byte: &u8| {
        let mark = b"-._~%!$&'()*+,;=".contains(byte) || bracketed && *byte == b':';
        byte.is_ascii_alphanumeric() || mark
    };
    let digits = port.strip_prefix(b":").unwrap_or(port);
    inside.unwrap_or(host).iter().all(in_host)
        && (port.is_empty() || port[0] == b':')
        && digits.iter().all(u8::is_ascii_digit)
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
        let check = |text: &str, expected: Result<Option<(u64, bool, bool)>, Refusal>| {
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
        check("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", Ok(Some((0, true, false))));
        check(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n",
            Ok(Some((0, false, true))),
        );
        check("GET / HTTP/1.0\r\n\r\n", Ok(Some((0, false, true))));
        check("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", Ok(Some((0, false, false))));
        check(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab",
            Ok(Some((5, false, false))),
        );
        check("GET / HTTP/1.1\r\nHost", Ok(None));
        check("", Ok(None));
        check("nonsense\r\n\r\n", Err(Refusal::Bad));
        check("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\n", Err(Refusal::Bad));
        let same = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n";
        check(same, Ok(Some((3, false, false))));
        check(&same.replacen('3', "2", 1), Err(Refusal::Bad));
        check(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Err(Refusal::Bad),
        );
        check("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Refusal::Bad));
        let both =
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n";
        check(both, Err(Refusal::Bad));
    }

    fn check_refused(text: &str, expected: Option<Refusal>) {
        assert_eq!(Memo::default().read(text.as_bytes()).err(), expected, "{text:.80}");
        // Nothing else is refused before it is whole.
        for cut in 0..text.len() {
            let refusal = Memo::default().read(&text.as_bytes()[..cut]).err();
            assert!(refusal.is_none() || refusal == expected, "{text:.80} {cut}");
        }
    }

    #[test]
    fn requests_name_one_host() {
        let with = |hosts: &str, refused: bool| {
            let bad = refused.then_some(Refusal::Bad);
            check_refused(&format!("GET / HTTP/1.1\r\n{hosts}A: b\r\n\r\n"), bad);
        };
        for host in
            ["h", "a.b-c:80", "h:", "", "[::1]:9", "[::1]", "1.2.3.4", "a%20b", "a_b", " h "]
        {
            with(&format!("Host: {host}\r\n"), false);
        }
        for host in ["a b", "a/", "u@h", "h:8x", "h:1:2", "[::1", "[::1]x", "a]", "a\tb", "é", "h#"]
        {
            with(&format!("Host: {host}\r\n"), true);
        }
        with("", true);
        with("Host: h\r\nhost: h\r\n", true);
        check_refused("GET / HTTP/1.0\r\n\r\n", None);
        check_refused("GET / HTTP/1.0\r\nHost: a b\r\n\r\n", Some(Refusal::Bad));
    }

    #[test]
    fn what_is_not_for_this_origin_is_told() {
        check_refused("CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", Some(Refusal::Tunnel));
        check_refused("GET / HTTP/2.0\r\nHost: h\r\n\r\n", Some(Refusal::Version));
        check_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(Refusal::Version));
        check_refused("GET / HTTP/2.0\r\nA: HTTP/1.2\r\n\r\n", Some(Refusal::Version));
        let fields = |count: usize| {
            format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(count - 1))
        };
        check_refused(&fields(FIELDS_MAX), None);
        check_refused(&fields(FIELDS_MAX + 1), Some(Refusal::TooManyFields));
    }

    #[test]
    fn a_higher_minor_version_is_read_as_ours_and_remembered_as_it_came() {
        let mut memo = Memo::default();
        for (text, close) in [
            ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", false),
            ("\r\nGET /a HTTP/1.9\r\nHost: h\r\nConnection: close\r\n\r\n", true),
        ] {
            let wish = Wish { head: false, close, http10: false };
            let request = Request { head_bytes: text.len(), body_bytes: 0, wish };
            assert_eq!(memo.read(text.as_bytes()), Ok(Parsed::Fixed(request)));
            assert_eq!(memo.hit(text.as_bytes()), Some(request));
            assert_eq!(memo.hit(text.replace("1.2", "1.1").replace("1.9", "1.1").as_bytes()), None);
            check_refused(text, None);
        }
        check_refused("GET / HTTP/1.10\r\nHost: h\r\n\r\n", Some(Refusal::Bad));
        let shown = special(&mut memo, "GET /headers HTTP/1.3\r\nHost: h\r\n\r\n").plan.unwrap();
        assert_eq!(shown.body, Body::Text("GET /headers HTTP/1.3\r\nHost: h\n".to_owned()));
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
        let fixed = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let first = memo.read(fixed.as_bytes());
        assert_eq!(memo.hit(b"GET /delay/5 HTTP/1.1\r\nHost: h\r\n\r\n"), None);
        let delayed = special(&mut memo, "GET /delay/5 HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(delayed.plan, plan_of("/delay/5"));
        let chunked =
            special(&mut memo, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n");
        assert_eq!((chunked.length, chunked.plan), (Length::Chunked, None));
        let expecting =
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n";
        assert!(special(&mut memo, expecting).expects);
        assert_eq!(memo.bytes, fixed.as_bytes());
        assert_eq!(memo.hit(fixed.as_bytes()).map(Parsed::Fixed).ok_or(Refusal::Bad), first);
    }

    #[test]
    fn a_head_that_is_shown_is_the_one_that_came() {
        let text = "PUT /headers?x HTTP/1.1\r\nHost: h\r\nA: b\r\nContent-Length: 0\r\n\r\n";
        let plan = special(&mut Memo::default(), text).plan.unwrap();
        let shown = "PUT /headers?x HTTP/1.1\r\nHost: h\r\nA: b\r\nContent-Length: 0\n";
        assert_eq!(plan.body, Body::Text(shown.to_owned()));
    }
}
