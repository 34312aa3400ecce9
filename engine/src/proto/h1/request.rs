//! A request head into bytes. Every byte of it is checked first: what could split a request, or make
//! two readers frame it differently, is a typed error and never reaches the wire (RFC 9112 11).

use http::Method;

use super::fields::{is_token, lists, members};
use super::framing::{MethodKind, Persistence, Sent, Upgrade};
use super::summary::ContentLength;

/// How long the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyLength {
    /// There is none. `POST`, `PUT` and `PATCH` then say `Content-Length: 0` (RFC 9110 8.6).
    #[default]
    None,
    /// Exactly so many bytes.
    Known(u64),
    /// Unknown: the chunked coding.
    Chunked,
}

/// The head of one request, apart from its fields. Nothing in it was checked yet.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// Origin-form (`/path?query`), `*` for `OPTIONS`, or `host:port` for `CONNECT`. An empty path
    /// becomes `/`; a fragment is cut off (RFC 9112 3.2).
    pub target: &'a str,
    /// The origin's authority for `Host`, without userinfo, as [`Url`](crate::proto::url::Url)
    /// gives it.
    pub authority: &'a str,
    /// How long the body is.
    pub body: BodyLength,
    /// Whether to ask the server to close.
    pub persistence: Persistence,
}

/// Why a request cannot be sent as it is. The caller's mistake, found before any byte is written.
///
/// ```
/// use ringshot::client::{Engine, Kind, blocking::block_on};
///
/// let client = Engine::builder().build()?.client().build()?;
/// let twice = client.get("http://127.0.0.1:1/").header("host", "a").header("host", "b");
/// let error = block_on(twice.send()).unwrap_err();
/// assert!(matches!(error.kind(), Kind::Request(_)), "{error}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// A byte of the target that may not stand in one (RFC 9112 3.2).
    #[error("byte {byte:#04x} at {offset} of the request target is not allowed; percent-encode it")]
    TargetByte {
        /// The byte.
        byte: u8,
        /// Where it is.
        offset: usize,
    },
    /// The target has no form that goes with the method (RFC 9112 3.2).
    #[error(
        "the request target {0:?} is neither a path, nor * for OPTIONS, nor host:port for CONNECT"
    )]
    TargetForm(String),
    /// The authority is empty or holds a byte that may not stand in `Host` (RFC 9110 7.2).
    #[error("the authority {0:?} is not a host with an optional port")]
    Authority(String),
    /// A field name is not a token (RFC 9110 5.1).
    #[error("the header name \"{0}\" is not a token")]
    FieldName(String),
    /// A field value holds a control byte (RFC 9110 5.5).
    #[error("byte {byte:#04x} in the value of header {name} is not allowed")]
    FieldValue {
        /// The field.
        name: String,
        /// The byte.
        byte: u8,
    },
    /// `Host` twice (RFC 9112 3.2).
    #[error("the header Host is given twice")]
    DuplicateHost,
    /// A `Content-Length` of the caller's that is no number or not the length of the body.
    #[error("the header Content-Length does not agree with the body that is to be sent")]
    ContentLength,
    /// A `Transfer-Encoding` of the caller's without a body of unknown length, or whose last coding
    /// is not `chunked` (RFC 9112 6.1, 6.2).
    #[error("the header Transfer-Encoding needs a body of unknown length, and chunked at its end")]
    TransferEncoding,
    /// `TE: chunked`, which no client may send (RFC 9112 7.4).
    #[error("the header TE must not list chunked")]
    TeChunked,
    /// `Expect: 100-continue` without a body, which no client may send (RFC 9110 10.1.1).
    #[error("the header Expect: 100-continue needs a body: leave it out, or give a body")]
    ExpectWithoutBody,
    /// A body with a method that cannot have one (RFC 9110 9.3.6, 9.3.8).
    #[error("a {0} request cannot have a body")]
    BodyNotAllowed(Method),
}

/// What the caller's own fields say that the head depends on.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wishes<'a> {
    host: Option<&'a [u8]>,
    content_length: Option<ContentLength>,
    transfer_encoding: Option<&'a [u8]>,
    te: bool,
    upgrade: bool,
    expects_continue: bool,
    says_close: bool,
    says_te: bool,
    says_upgrade: bool,
}

impl RequestHead<'_> {
    /// Appends the head to `out`: request line, `Host`, `headers` in their order, and the framing.
    /// Returns what the response side has to know of it. A `Host` in `headers` replaces the
    /// authority; framing fields in them have to agree with the body and are written once.
    ///
    /// `headers` is called twice, once to check and once to write, and has to give the same both
    /// times: `|| slice.iter().copied()`, or the names and values of a `HeaderMap`.
    ///
    /// # Errors
    /// A [`RequestError`]; `out` is as it was then.
    pub fn encode<'h, I>(
        &self,
        headers: impl Fn() -> I,
        out: &mut Vec<u8>,
    ) -> Result<Sent, RequestError>
    where
        I: Iterator<Item = (&'h [u8], &'h [u8])>,
    {
        let put_fields = |out: &mut Vec<u8>| {
            for (name, value) in headers().filter(|(name, _)| !is_ours(name)) {
                put_field(out, name, value);
            }
        };
        self.put(&Wishes::of(headers())?, put_fields, out)
    }

    /// Checks it, and writes it with fields that were checked.
    #[inline]
    pub(super) fn put(
        &self,
        wishes: &Wishes<'_>,
        put_fields: impl FnOnce(&mut Vec<u8>),
        out: &mut Vec<u8>,
    ) -> Result<Sent, RequestError> {
        let target = self.checked_target()?;
        self.check_body(wishes)?;
        let host = wishes.host.unwrap_or(self.authority.as_bytes());
        check_authority(host)?;
        let put_slash = target.is_empty() || target.starts_with('?');
        let slash = if put_slash { "/" } else { "" };
        put(out, &[self.method.as_str(), " ", slash, target, " HTTP/1.1\r\nHost: "]);
        out.extend_from_slice(host);
        out.extend_from_slice(b"\r\n");
        put_fields(out);
        self.put_connection(wishes, out);
        self.put_framing(wishes, out);
        out.extend_from_slice(b"\r\n");
        Ok(self.sent(wishes))
    }

    /// What has to be right of it whatever its body and its other fields are.
    pub(super) fn check(&self) -> Result<(), RequestError> {
        self.checked_target()?;
        check_authority(self.authority.as_bytes())
    }

    /// The target without its fragment, if its bytes and its form may go out.
    fn checked_target(&self) -> Result<&str, RequestError> {
        let target = self.target.split('#').next().unwrap_or_default();
        if let Some(offset) = target.bytes().position(|byte| !byte.is_ascii_graphic()) {
            return Err(RequestError::TargetByte { byte: target.as_bytes()[offset], offset });
        }
        let fits = match *self.method {
            Method::CONNECT => target.contains(':') && check_authority(target.as_bytes()).is_ok(),
            Method::OPTIONS if target == "*" => true,
            _ => target.is_empty() || target.starts_with(['/', '?']),
        };
        if fits { Ok(target) } else { Err(RequestError::TargetForm(target.to_owned())) }
    }

    /// The caller's framing fields agree with the body, and the method can have one.
    pub(super) fn check_body(&self, wishes: &Wishes<'_>) -> Result<(), RequestError> {
        let has_body = !matches!(self.body, BodyLength::None | BodyLength::Known(0));
        if has_body && matches!(*self.method, Method::CONNECT | Method::TRACE) {
            return Err(RequestError::BodyNotAllowed(self.method.clone()));
        }
        if wishes.expects_continue && !has_body {
            return Err(RequestError::ExpectWithoutBody);
        }
        let agrees = match (wishes.content_length, self.body) {
            (None, _) => true,
            (Some(ContentLength::Valid(said)), BodyLength::Known(known)) => said == known,
            (Some(ContentLength::Valid(said)), BodyLength::None) => said == 0,
            (Some(_), _) => false,
        };
        if !agrees {
            return Err(RequestError::ContentLength);
        }
        match wishes.transfer_encoding {
            Some(codings) if self.body != BodyLength::Chunked || !ends_in_chunked(codings) => {
                Err(RequestError::TransferEncoding)
            }
            _ => Ok(()),
        }
    }

    /// The options that go with what the head says and that the caller did not write.
    fn put_connection(&self, wishes: &Wishes<'_>, out: &mut Vec<u8>) {
        let close = self.persistence == Persistence::Close && !wishes.says_close;
        let te = wishes.te && !wishes.says_te;
        let upgrade = wishes.upgrade && !wishes.says_upgrade;
        let options = [(close, "close"), (te, "TE"), (upgrade, "upgrade")];
        for (_, option) in options.into_iter().filter(|(wanted, _)| *wanted) {
            put(out, &["Connection: ", option, "\r\n"]);
        }
    }

    pub(super) fn put_framing(&self, wishes: &Wishes<'_>, out: &mut Vec<u8>) {
        let expects_body = matches!(*self.method, Method::POST | Method::PUT | Method::PATCH);
        match self.body {
            BodyLength::Chunked => {
                put_field(
                    out,
                    b"Transfer-Encoding",
                    wishes.transfer_encoding.unwrap_or(b"chunked"),
                );
            }
            BodyLength::Known(bytes @ 1..) => put_content_length(out, bytes),
            BodyLength::Known(0) | BodyLength::None
                if expects_body || wishes.content_length.is_some() =>
            {
                put_content_length(out, 0);
            }
            BodyLength::Known(0) | BodyLength::None => {}
        }
    }

    pub(super) fn sent(&self, wishes: &Wishes<'_>) -> Sent {
        Sent {
            method: match *self.method {
                Method::HEAD => MethodKind::Head,
                Method::CONNECT => MethodKind::Connect,
                _ => MethodKind::Other,
            },
            persistence: if wishes.says_close { Persistence::Close } else { self.persistence },
            upgrade: if wishes.upgrade { Upgrade::Asked } else { Upgrade::NotAsked },
        }
    }
}

impl<'a> Wishes<'a> {
    pub(super) fn of(
        headers: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Result<Wishes<'a>, RequestError> {
        let mut wishes = Wishes::default();
        for (name, value) in headers {
            check_field(name, value)?;
            wishes.note(name, value)?;
        }
        Ok(wishes)
    }

    fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), RequestError> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("host") && self.host.replace(value).is_some() {
            return Err(RequestError::DuplicateHost);
        }
        if is("transfer-encoding") && self.transfer_encoding.replace(value).is_some() {
            return Err(RequestError::TransferEncoding);
        }
        if is("te") && members(value).any(|coding| names(coding, b"chunked")) {
            return Err(RequestError::TeChunked);
        }
        if is("content-length") {
            let so_far = self.content_length.unwrap_or(ContentLength::Absent);
            self.content_length = Some(so_far.with(value));
        }
        self.te |= is("te");
        self.upgrade |= is("upgrade");
        self.expects_continue |= is("expect") && lists(value, b"100-continue");
        if is("connection") {
            self.says_close |= lists(value, b"close");
            self.says_te |= lists(value, b"te");
            self.says_upgrade |= lists(value, b"upgrade");
        }
        Ok(())
    }
}

/// Whether a list member is `coding`, with or without parameters.
fn names(member: &[u8], coding: &[u8]) -> bool {
    let name = member.split(|byte| *byte == b';').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(coding)
}

fn ends_in_chunked(codings: &[u8]) -> bool {
    let chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let count = members(codings).filter(|coding| chunked(coding)).count();
    count == 1 && members(codings).last().is_some_and(chunked)
}

/// The fields that this module writes itself.
fn is_ours(name: &[u8]) -> bool {
    ["host", "content-length", "transfer-encoding"]
        .iter()
        .any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()))
}

fn check_field(name: &[u8], value: &[u8]) -> Result<(), RequestError> {
    let shown = || name.escape_ascii().to_string();
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(RequestError::FieldName(shown()));
    }
    match value.iter().find(|byte| byte.is_ascii_control() && **byte != b'\t') {
        Some(byte) => Err(RequestError::FieldValue { name: shown(), byte: *byte }),
        None => Ok(()),
    }
}

/// Bytes that an authority may hold (RFC 3986 3.2.2), for a look at each instead of a search.
const IN_AUTHORITY: [bool; 256] = {
    let (mut table, marks) = ([false; 256], b"-._~:[]!$&'()*+,;=");
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut mark = 0;
    while mark < marks.len() {
        table[marks[mark] as usize] = true;
        mark += 1;
    }
    table
};

/// `host [":" port]`, the host perhaps in brackets. No userinfo, no zone, nothing to be escaped.
fn check_authority(authority: &[u8]) -> Result<(), RequestError> {
    let allowed = |byte: &u8| IN_AUTHORITY[usize::from(*byte)];
    if authority.is_empty() || authority[0] == b':' || !authority.iter().all(allowed) {
        return Err(RequestError::Authority(authority.escape_ascii().to_string()));
    }
    Ok(())
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

pub(super) fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Appends the field that says how long a body is.
pub(crate) fn put_content_length(out: &mut Vec<u8>, bytes: u64) {
    out.extend_from_slice(b"Content-Length: ");
    put_decimal(out, bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends a number. Written by hand: formatting would be the only machinery on this path.
pub(crate) fn put_decimal(out: &mut Vec<u8>, number: u64) {
    let (mut digits, mut at, mut rest) = ([0_u8; 20], 20, number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: RequestHead<'_> = RequestHead {
        method: &Method::GET,
        target: "/",
        authority: "h",
        body: BodyLength::None,
        persistence: Persistence::KeepAlive,
    };
    const POST: RequestHead<'_> = RequestHead { method: &Method::POST, ..GET };
    const CLOSE: RequestHead<'_> = RequestHead { persistence: Persistence::Close, ..GET };

    type Header<'a> = (&'a str, &'a str);

    fn encode(
        head: RequestHead<'_>,
        headers: &[Header<'_>],
    ) -> Result<(String, Sent), RequestError> {
        let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
        let mut out = b"before".to_vec();
        let result = head.encode(|| headers.iter().copied(), &mut out);
        let text = String::from_utf8_lossy(&out).strip_prefix("before").unwrap().to_owned();
        assert!(result.is_ok() || text.is_empty(), "an error wrote {text:?}");
        result.map(|sent| (text, sent))
    }

    fn check(head: RequestHead<'_>, headers: &[Header<'_>], expected: &str) {
        let expected = format!("{}\r\n\r\n", expected.replace('|', "\r\n"));
        assert_eq!(encode(head, headers).map(|done| done.0), Ok(expected));
    }

    fn check_target(method: &Method, target: &str, line: &str) {
        let head = RequestHead { method, target, ..GET };
        check(head, &[], &format!("{line} HTTP/1.1|Host: h"));
    }

    fn check_error(head: RequestHead<'_>, headers: &[Header<'_>], expected: &str) {
        let error = encode(head, headers).map(|done| done.0).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }

    #[test]
    fn targets() {
        check_target(&Method::GET, "/a?b", "GET /a?b");
        check_target(&Method::GET, "", "GET /");
        check_target(&Method::GET, "?", "GET /?");
        check_target(&Method::GET, "?q=1#f", "GET /?q=1");
        check_target(&Method::GET, "/a#f?x", "GET /a");
        check_target(&Method::OPTIONS, "*", "OPTIONS *");
        check_target(&Method::CONNECT, "h:443", "CONNECT h:443");
        for target in ["*", "a", "http://h/"] {
            check_error(RequestHead { target, ..GET }, &[], "request target");
        }
        check_error(RequestHead { method: &Method::CONNECT, ..GET }, &[], "host:port for CONNECT");
    }

    #[test]
    fn bytes_that_could_split_a_request_are_refused() {
        for byte in ['\r', '\n', '\0', ' ', '\t', '\u{7f}', 'é'] {
            let text = format!("/a{byte}b");
            check_error(RequestHead { target: &text, ..GET }, &[], "at 2 of the request target");
            check_error(RequestHead { authority: &text[1..], ..GET }, &[], "not a host");
            check_error(GET, &[(&text[1..], "v")], "not a token");
            check_error(GET, &[("Host", &text[1..])], "is not a");
        }
        for byte in ['\r', '\n', '\0', '\u{7f}', '\u{1}'] {
            check_error(GET, &[("x", &format!("a{byte}b"))], "in the value of header x");
            check_error(GET, &[("x", &format!("a{byte}"))], "in the value of header x");
        }
        check_error(GET, &[("", "v")], "not a token");
        check_error(GET, &[("a:", "v")], "not a token");
        check_error(RequestHead { authority: "", ..GET }, &[], "not a host");
        check_error(RequestHead { authority: "u@h", ..GET }, &[], "not a host");
        check(GET, &[("x", "a b\tc")], "GET / HTTP/1.1|Host: h|x: a b\tc");
    }

    #[test]
    fn host_is_one_and_first() {
        check(GET, &[("A", "1"), ("hOST", "o:8")], "GET / HTTP/1.1|Host: o:8|A: 1");
        check_error(GET, &[("Host", "a"), ("host", "a")], "Host is given twice");
    }

    #[test]
    fn body_lengths() {
        let known = |length| RequestHead { body: BodyLength::Known(length), ..POST };
        let chunked = RequestHead { body: BodyLength::Chunked, ..POST };
        let get_empty = RequestHead { body: BodyLength::Known(0), ..GET };
        check(GET, &[], "GET / HTTP/1.1|Host: h");
        check(get_empty, &[], "GET / HTTP/1.1|Host: h");
        check(POST, &[], "POST / HTTP/1.1|Host: h|Content-Length: 0");
        check(known(0), &[], "POST / HTTP/1.1|Host: h|Content-Length: 0");
        check(known(1234567890), &[], "POST / HTTP/1.1|Host: h|Content-Length: 1234567890");
        let max = "POST / HTTP/1.1|Host: h|Content-Length: 18446744073709551615";
        check(known(u64::MAX), &[], max);
        check(chunked, &[], "POST / HTTP/1.1|Host: h|Transfer-Encoding: chunked");
        let mine = ("content-length", "007");
        check(known(7), &[mine, mine], "POST / HTTP/1.1|Host: h|Content-Length: 7");
        check_error(known(8), &[mine], "Content-Length does not agree");
        check_error(known(7), &[mine, ("Content-Length", "8")], "Content-Length does not agree");
        check_error(known(7), &[("Content-Length", "+7")], "Content-Length does not agree");
        check_error(POST, &[mine], "Content-Length does not agree");
        check_error(chunked, &[mine], "Content-Length does not agree");
        let trace = RequestHead { method: &Method::TRACE, body: BodyLength::Known(1), ..GET };
        check_error(trace, &[], "TRACE request cannot have a body");
    }

    #[test]
    fn nothing_is_expected_without_a_body() {
        let expect = ("Expect", "100-Continue");
        for body in [BodyLength::None, BodyLength::Known(0)] {
            check_error(
                RequestHead { body, ..POST },
                &[expect],
                "Expect: 100-continue needs a body",
            );
            check_error(RequestHead { body, ..GET }, &[("expect", "x, 100-continue")], "a body");
        }
        check(GET, &[("Expect", "100-continued")], "GET / HTTP/1.1|Host: h|Expect: 100-continued");
        let known = RequestHead { body: BodyLength::Known(7), ..POST };
        check(known, &[expect], "POST / HTTP/1.1|Host: h|Expect: 100-Continue|Content-Length: 7");
    }

    #[test]
    fn transfer_encoding_of_the_caller() {
        let chunked = RequestHead { body: BodyLength::Chunked, ..POST };
        let coded = "POST / HTTP/1.1|Host: h|Transfer-Encoding: gzip, chunked";
        check(chunked, &[("transfer-encoding", "gzip, chunked")], coded);
        for codings in ["gzip", "chunked, gzip", "chunked, chunked", ""] {
            check_error(chunked, &[("Transfer-Encoding", codings)], "Transfer-Encoding needs");
        }
        check_error(POST, &[("Transfer-Encoding", "chunked")], "Transfer-Encoding needs");
        let known = RequestHead { body: BodyLength::Known(1), ..POST };
        check_error(known, &[("Transfer-Encoding", "chunked")], "Transfer-Encoding needs");
        let twice = [("Transfer-Encoding", "chunked"), ("transfer-encoding", "chunked")];
        check_error(chunked, &twice, "Transfer-Encoding needs");
    }

    #[test]
    fn connection_options() {
        check(CLOSE, &[], "GET / HTTP/1.1|Host: h|Connection: close");
        let said = ("connection", "foo, Close");
        check(CLOSE, &[said], "GET / HTTP/1.1|Host: h|connection: foo, Close");
        let te = ("TE", "trailers");
        check(GET, &[te], "GET / HTTP/1.1|Host: h|TE: trailers|Connection: TE");
        let both = [te, ("Connection", "te")];
        check(GET, &both, "GET / HTTP/1.1|Host: h|TE: trailers|Connection: te");
        check_error(GET, &[("te", "trailers, Chunked;q=1")], "TE must not list chunked");
        let h2c = [("Upgrade", "h2c")];
        check(GET, &h2c, "GET / HTTP/1.1|Host: h|Upgrade: h2c|Connection: upgrade");
    }

    #[test]
    fn what_the_response_side_is_told() {
        let sent = |head, headers: &[Header<'_>]| encode(head, headers).unwrap().1;
        assert_eq!(sent(GET, &[]), Sent::default());
        let head = RequestHead { method: &Method::HEAD, ..GET };
        assert_eq!(sent(head, &[]).method, MethodKind::Head);
        let connect = RequestHead { method: &Method::CONNECT, target: "h:1", ..GET };
        assert_eq!(sent(connect, &[]).method, MethodKind::Connect);
        assert_eq!(sent(CLOSE, &[]).persistence, Persistence::Close);
        assert_eq!(sent(GET, &[("connection", "close")]).persistence, Persistence::Close);
        assert_eq!(sent(GET, &[("upgrade", "websocket")]).upgrade, Upgrade::Asked);
    }

    #[test]
    fn a_header_map_is_written_without_a_copy() {
        let mut map = http::HeaderMap::new();
        map.append("a", "1".parse().unwrap());
        map.append("a", "2".parse().unwrap());
        let pairs = || map.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        let mut out = Vec::new();
        assert_eq!(GET.encode(pairs, &mut out), Ok(Sent::default()));
        assert_eq!(out, b"GET / HTTP/1.1\r\nHost: h\r\na: 1\r\na: 2\r\n\r\n");
    }
}
