//! Parts of request heads that are checked and encoded once, for any number of heads: what a URL says, and a client's own fields.

use http::Method;

use super::framing::{Persistence, Sent};
use super::request::{BodyLength, RequestError, RequestHead, Wishes, put_field};

/// Fields that were checked and encoded once, for any number of heads that have no others. None of them is one that the head depends on.
#[derive(Debug, Clone)]
pub struct PlainFields {
    /// With the empty line behind them.
    bytes: Vec<u8>,
}

impl Default for PlainFields {
    /// No fields.
    fn default() -> Self {
        Self { bytes: LINE_END.into() }
    }
}

impl PlainFields {
    /// Checks and encodes fields. `None` if there is something wrong with one of them, or if one has a meaning for the head: `Host`, `Connection` and the
    /// like. Then [`RequestHead::encode`] has to look at them each time.
    pub fn of<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Option<Self> {
        let mut bytes = Vec::new();
        let put = |(name, value): &(&[u8], &[u8])| put_field(&mut bytes, name, value);
        let wishes = Wishes::of(fields.inspect(put)).ok()?;
        bytes.extend_from_slice(LINE_END.as_bytes());
        (wishes == Wishes::default()).then_some(Self { bytes })
    }

    fn fields(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - LINE_END.len()]
    }
}

/// Between the target and the authority.
const TO_AUTHORITY: &str = " HTTP/1.1\r\nHost: ";
const LINE_END: &str = "\r\n";
/// What most heads begin with.
const GET: &str = "GET";

/// What a URL says in a head: the request target and `Host`, checked and encoded once.
///
/// ```
/// use ringshot::proto::h1::{BodyLength, HeadStart, PlainFields};
///
/// let (start, mut head) = (HeadStart::of("/a?b", "example.test"), Vec::new());
/// start.encode(&http::Method::GET, BodyLength::None, &PlainFields::default(), &mut head)?;
/// assert_eq!(head, b"GET /a?b HTTP/1.1\r\nHost: example.test\r\n\r\n");
/// # Ok::<(), ringshot::proto::h1::RequestError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadStart {
    /// `GET /a?b HTTP/1.1`, `Host: example.test`.
    text: Box<str>,
    target_bytes: usize,
    check: Check,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// An origin-form and an authority: good for every method that takes one.
    Passed,
    /// Something is wrong, or has to be written in another way: [`RequestHead`] knows.
    Needed,
}

impl HeadStart {
    /// That of a URL with this request target and this authority. What is wrong with them is told when a head is encoded.
    #[must_use]
    pub fn of(target: &str, authority: &str) -> Self {
        let text = [GET, " ", target, TO_AUTHORITY, authority, LINE_END].concat().into();
        let mut start = Self { text, target_bytes: target.len(), check: Check::Needed };
        let is_origin_form = target.starts_with('/') && !target.contains('#');
        if is_origin_form && start.head(&Method::GET, BodyLength::None).check().is_ok() {
            start.check = Check::Passed;
        }
        start
    }

    /// The request target.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.text[GET.len() + 1..=GET.len() + self.target_bytes]
    }

    fn authority(&self) -> &str {
        let begin = GET.len() + 1 + self.target_bytes + TO_AUTHORITY.len();
        &self.text[begin..self.text.len() - LINE_END.len()]
    }

    /// A head of this URL, for a connection that is to be kept.
    #[must_use]
    pub fn head<'a>(&'a self, method: &'a Method, body: BodyLength) -> RequestHead<'a> {
        let (target, authority) = (self.target(), self.authority());
        RequestHead { method, target, authority, body, persistence: Persistence::KeepAlive }
    }

    /// Appends a head of this URL that has no other fields than `fields` and those that its body needs.
    ///
    /// # Errors
    /// As [`RequestHead::encode`].
    pub fn encode(
        &self,
        method: &Method,
        body: BodyLength,
        fields: &PlainFields,
        out: &mut Vec<u8>,
    ) -> Result<Sent, RequestError> {
        if self.check == Check::Passed && *method == Method::GET && body == BodyLength::None {
            out.reserve(self.text.len() + fields.bytes.len());
            out.extend_from_slice(self.text.as_bytes());
            out.extend_from_slice(&fields.bytes);
            return Ok(Sent::default());
        }
        let (head, wishes) = (self.head(method, body), Wishes::default());
        if self.check == Check::Needed || *method == Method::CONNECT {
            return head.put(&wishes, |out| out.extend_from_slice(fields.fields()), out);
        }
        head.check_body(&wishes)?;
        let text = &self.text.as_bytes()[GET.len()..];
        for part in [method.as_str().as_bytes(), text, fields.fields()] {
            out.extend_from_slice(part);
        }
        head.put_framing(&wishes, out);
        out.extend_from_slice(LINE_END.as_bytes());
        Ok(head.sent(&wishes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODIES: [BodyLength; 4] =
        [BodyLength::None, BodyLength::Known(0), BodyLength::Known(7), BodyLength::Chunked];

    /// Encoded at once and from parts, every method and body gives the same.
    fn check(target: &str, authority: &str, fields: &[(&[u8], &[u8])]) {
        let start = HeadStart::of(target, authority);
        assert_eq!(start.target(), target);
        let plain = PlainFields::of(fields.iter().copied()).unwrap();
        let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS];
        for method in methods.iter().chain(&[Method::TRACE, Method::CONNECT]) {
            for body in BODIES {
                let (mut expected, mut out) = (b"before".to_vec(), b"before".to_vec());
                let head = start.head(method, body);
                let wanted = head.encode(|| fields.iter().copied(), &mut expected);
                let got = start.encode(method, body, &plain, &mut out);
                assert_eq!((got, out), (wanted, expected), "{method} {target:?} {body:?}");
            }
        }
    }

    #[test]
    fn heads_from_parts_are_those_encoded_at_once() {
        let fields = [(&b"accept"[..], &b"*/*"[..]), (b"user-agent", b"x")];
        for target in ["/", "", "?b", "/a#b", "/a?b=c", "/a b", "/a\r\nX: y", "*", "h:80", "a"] {
            for authority in ["h", "h:81", "[::1]:81", "", "h\r\nX: y", "u@h"] {
                check(target, authority, &[]);
                check(target, authority, &fields);
            }
        }
    }
}
