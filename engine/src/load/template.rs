//! The request, encoded once and sent many times. Nothing of it changes during a run.

use std::sync::Arc;

use http::Method;

use super::KeepAlive;
use crate::proto::h1::{self, BodyLength, Persistence, RequestError, RequestHead, Sent};
use crate::proto::url::Url;
use crate::shard::Copies;

/// Most bytes of repeated requests that are kept for pipelining: what goes out in one send.
const COPIES_BYTES_MAX: usize = 64 << 10;

/// Bytes of a chunk of a body of which no length is announced.
pub const CHUNK_BYTES: usize = 16 << 10;

/// How a request's body goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is, behind its length.
    Plain,
    /// In chunks of [`CHUNK_BYTES`], as of a stream of unknown length (RFC 9112 7.1).
    Chunked,
}

impl Coding {
    /// What the head says of a body of so many bytes.
    pub(super) fn length(self, bytes: u64) -> BodyLength {
        match (self, bytes) {
            (Self::Chunked, _) => BodyLength::Chunked,
            (Self::Plain, 0) => BodyLength::None,
            (Self::Plain, bytes) => BodyLength::Known(bytes),
        }
    }

    /// Appends a whole body.
    pub(super) fn put(self, body: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Plain => out.extend_from_slice(body),
            Self::Chunked => {
                body.chunks(CHUNK_BYTES).for_each(|chunk| h1::encode_chunk(chunk, out));
                out.extend_from_slice(h1::LAST_CHUNK);
            }
        }
    }
}

/// A request, before it is encoded.
#[derive(Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// Where to, and what to ask for.
    pub url: &'a Url,
    /// Fields besides those that the head makes by itself; a `Host` here replaces the URL's. `Expect: 100-continue` needs a body, which does not wait for the answer
    /// (RFC 9110 10.1.1 leaves that to the client).
    pub headers: &'a [(Vec<u8>, Vec<u8>)],
    /// The body; empty for none.
    pub body: &'a [u8],
    /// Whether the request says `Connection: close`.
    pub keep_alive: KeepAlive,
}

impl Request<'_> {
    /// The head, and what the protocol must know of it.
    pub(super) fn encode_head(&self, body: BodyLength) -> Result<(Vec<u8>, Sent), RequestError> {
        let head = RequestHead {
            method: self.method,
            target: &self.url.target,
            authority: &self.url.authority,
            body,
            persistence: match self.keep_alive {
                KeepAlive::On => Persistence::KeepAlive,
                KeepAlive::Off => Persistence::Close,
            },
        };
        let fields = || self.headers.iter().map(|(name, value)| (&name[..], &value[..]));
        let mut bytes = Vec::new();
        let sent = head.encode(fields, &mut bytes)?;
        Ok((bytes, sent))
    }
}

/// One request as bytes, with what the protocol must know of it.
///
/// ```
/// use http::Method;
/// use ringshot::load::{KeepAlive, Request, Template};
/// use ringshot::proto::url::Url;
///
/// let url = Url::parse("http://example.test/things")?;
/// let headers = [(b"content-type".to_vec(), b"text/plain".to_vec())];
/// let request = Request { method: &Method::POST, url: &url, headers: &headers, body: b"hello", keep_alive: KeepAlive::On };
/// let whole = Template::encode(&request)?;
/// assert!(whole.bytes().starts_with(b"POST /things HTTP/1.1") && whole.bytes().ends_with(b"hello"));
/// let chunked = Template::encode_chunked(&request)?;
/// assert!(chunked.bytes().ends_with(b"5\r\nhello\r\n0\r\n\r\n"));
/// assert_eq!(whole.sent(), chunked.sent()); // the response is read alike
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Arc<[u8]>,
    sent: Sent,
}

impl Template {
    /// Encodes a request.
    ///
    /// # Errors
    /// [`RequestError`] names what can't go on the wire.
    pub fn encode(request: &Request<'_>) -> Result<Self, RequestError> {
        Self::encode_as(request, Coding::Plain)
    }

    /// Encodes a request whose body goes out in chunks of [`CHUNK_BYTES`], as of a stream of unknown length (RFC 9112 7.1).
    ///
    /// # Errors
    /// As [`Template::encode`].
    pub fn encode_chunked(request: &Request<'_>) -> Result<Self, RequestError> {
        Self::encode_as(request, Coding::Chunked)
    }

    pub(super) fn encode_as(request: &Request<'_>, coding: Coding) -> Result<Self, RequestError> {
        let length = coding.length(request.body.len() as u64);
        let (mut bytes, sent) = request.encode_head(length)?;
        coding.put(request.body, &mut bytes);
        Ok(Self { bytes: bytes.into(), sent })
    }

    /// The request's bytes, head and body.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the response side must know.
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.sent
    }

    /// The request as often as goes out at once with this pipeline.
    pub(super) fn copies(&self, pipeline: u32) -> Copies {
        let most = (COPIES_BYTES_MAX / self.bytes.len().max(1)).max(1);
        Copies::new(&self.bytes, self.sent, most.min(pipeline as usize) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(url: &str, body: &[u8], keep_alive: KeepAlive) -> Template {
        let url = Url::parse(url).unwrap();
        let headers = [(b"X-A".to_vec(), b"1".to_vec())];
        let method = if body.is_empty() { Method::GET } else { Method::POST };
        Template::encode(&Request {
            method: &method,
            url: &url,
            headers: &headers,
            body,
            keep_alive,
        })
        .unwrap()
    }

    #[test]
    fn a_template_holds_head_and_body_and_is_repeated_within_bounds() {
        let get = encode("http://127.0.0.1:81/x?y", b"", KeepAlive::On);
        let text = "GET /x?y HTTP/1.1\r\nHost: 127.0.0.1:81\r\nX-A: 1\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(get.bytes()), text);
        assert_eq!(get.copies(3).bytes.len(), 3 * text.len());
        let post = encode("http://h/", b"body", KeepAlive::Off);
        let text = String::from_utf8_lossy(post.bytes()).into_owned();
        assert!(
            text.contains("Content-Length: 4\r\n") && text.contains("Connection: close\r\n"),
            "{text}"
        );
        assert!(text.ends_with("\r\n\r\nbody") && post.sent().persistence == Persistence::Close);
        let url = Url::parse("http://h/").unwrap();
        let (method, keep_alive, body) = (Method::PUT, KeepAlive::On, &vec![b'x'; CHUNK_BYTES + 5]);
        let request = Request { method: &method, url: &url, headers: &[], body, keep_alive };
        let chunked = Template::encode_chunked(&request).unwrap();
        let text = String::from_utf8_lossy(chunked.bytes()).into_owned();
        assert!(text.contains("Transfer-Encoding: chunked\r\n\r\n4000\r\nxx"), "{text}");
        assert!(text.ends_with("x\r\n5\r\nxxxxx\r\n0\r\n\r\n"), "{text}");
        let large = encode("http://h/", &vec![b'x'; 100_000], KeepAlive::On);
        assert_eq!(large.copies(16).count(), 1);
    }
}
