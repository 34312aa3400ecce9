//! The answers that an origin gives, made once. Bytes only.

use std::rc::Rc;

use super::delivery::TEXT;

/// Most bytes of repeated answers that go out in one send.
const COPIES_BYTES_MAX: usize = 64 << 10;
/// Most answers in one send.
const COPIES_MAX: usize = 128;

/// One answer, repeated so that several go out at once.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) bytes: Rc<[u8]>,
    pub(super) one_bytes: u32,
    pub(super) copies: u32,
}

impl Answer {
    fn new(one: &[u8], copies_max: usize) -> Self {
        let copies = (COPIES_BYTES_MAX / one.len()).clamp(1, copies_max);
        let bytes = if copies == 1 { one.into() } else { one.repeat(copies).into() };
        Self { bytes, one_bytes: one.len() as u32, copies: copies as u32 }
    }

    /// A 200 with a body of `body_bytes` letters.
    pub(super) fn ok(body_bytes: u64, body: Body, stay: Stay) -> Self {
        let connection = stay.field();
        let mut one = format!(
            "HTTP/1.1 200 OK\r\nServer: ringshot\r\nContent-Type: text/plain\r\n{connection}Content-Length: {body_bytes}\r\n\r\n"
        )
        .into_bytes();
        if body == Body::Sent {
            one.extend(TEXT.iter().copied().cycle().take(body_bytes as usize));
        }
        Self::new(&one, if stay == Stay::Never { 1 } else { COPIES_MAX })
    }

    /// The answer to what is not a request that this origin serves.
    pub(super) fn bad_request() -> Self {
        Self::new(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", 1)
    }

    /// The answer to a request for a tunnel, which this origin does not make (RFC 9110 15.6.2).
    pub(super) fn no_tunnel() -> Self {
        Self::new(
            b"HTTP/1.1 501 Not Implemented\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            1,
        )
    }

    /// The answer to a head that does not end, or has too many fields (RFC 6585 5).
    pub(super) fn too_long() -> Self {
        Self::new(
            b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            1,
        )
    }
}

/// Whether the connection stays after an answer, and what the answer says of it (RFC 9112 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stay {
    /// It does, as all do in HTTP/1.1.
    Implied,
    /// It does, which a client that speaks HTTP/1.0 has to be told.
    Told,
    Never,
}

impl Stay {
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Implied => "",
            Self::Told => "Connection: keep-alive\r\n",
            Self::Never => "Connection: close\r\n",
        }
    }
}

/// Whether the body follows the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// It does.
    Sent,
    /// The request was `HEAD`.
    Announced,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_repeated_within_bounds() {
        let small = Answer::ok(13, Body::Sent, Stay::Implied);
        let text = String::from_utf8_lossy(&small.bytes[..small.one_bytes as usize]).into_owned();
        assert!(text.ends_with("Content-Length: 13\r\n\r\nHello, world\n"), "{text}");
        assert_eq!(small.bytes.len() as u32, small.copies * small.one_bytes);
        assert_eq!(small.copies, 128);
        let large = Answer::ok(1 << 20, Body::Sent, Stay::Implied);
        assert_eq!((large.copies, large.bytes.len() as u32), (1, large.one_bytes));
        let head = Answer::ok(1 << 20, Body::Announced, Stay::Never);
        assert!(head.bytes.len() < 200 && head.copies == 1);
        let told = Answer::ok(13, Body::Sent, Stay::Told);
        assert!(String::from_utf8_lossy(&told.bytes).contains("\r\nConnection: keep-alive\r\n"));
    }
}
