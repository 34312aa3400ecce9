//! Requests, as far as a fixed-response origin cares: where one ends, and what its answer must look like. Never keeps a body.

use httparse::{EMPTY_HEADER, Status};

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
}

/// One request head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) head_bytes: usize,
    pub(super) body_bytes: u64,
    pub(super) wish: Wish,
}

/// Why a request can't be answered with 200.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad;

/// The last head of this core: a load generator sends the same bytes again and again.
#[derive(Debug, Default)]
pub(super) struct Memo {
    bytes: Vec<u8>,
    request: Option<Request>,
}

impl Memo {
    /// The request at the start of `input`; `None` if its head is not whole.
    #[inline]
    pub(super) fn read(&mut self, input: &[u8]) -> Result<Option<Request>, Bad> {
        if let Some(request) = self.request.filter(|_| input.starts_with(&self.bytes)) {
            return Ok(Some(request));
        }
        let request = parse(input)?;
        if let Some(request) = request.filter(|request| request.head_bytes <= MEMO_BYTES_MAX) {
            self.bytes.clear();
            self.bytes.extend_from_slice(&input[..request.head_bytes]);
            self.request = Some(request);
        }
        Ok(request)
    }
}

fn parse(input: &[u8]) -> Result<Option<Request>, Bad> {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut head = httparse::Request::new(&mut fields);
    let Status::Complete(head_bytes) = head.parse(input).map_err(|_| Bad)? else {
        return Ok(None);
    };
    let http10 = head.version == Some(0);
    let mut request = Request {
        head_bytes,
        body_bytes: 0,
        wish: Wish { head: head.method == Some("HEAD"), close: http10 },
    };
    for field in head.headers.iter() {
        let value = field.value;
        if field.name.eq_ignore_ascii_case("content-length") {
            request.body_bytes = length(value).ok_or(Bad)?;
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            // A chunked request would need a decoder that no load of ours uses.
            return Err(Bad);
        } else if field.name.eq_ignore_ascii_case("connection") {
            request.wish.close |= lists(value, "close");
            request.wish.close &= !(http10 && lists(value, "keep-alive"));
        }
    }
    Ok(Some(request))
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
            let head_bytes = text.find("\r\n\r\n").map_or(0, |end| end + 4);
            let expected = expected
                .map(|request| request.map(|(body, head, close)| (head_bytes, body, head, close)));
            let mut memo = Memo::default();
            for _ in 0..2 {
                let read = memo.read(text.as_bytes());
                let seen = read.map(|request| {
                    request.map(|r| (r.head_bytes, r.body_bytes, r.wish.head, r.wish.close))
                });
                assert_eq!(seen, expected, "{text:?}");
            }
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
        check("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Err(Bad));
    }
}
