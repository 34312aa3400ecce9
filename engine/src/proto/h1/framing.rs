//! Where a response body ends: RFC 9112 6.3 as one enum, decided once. It reads no bytes, and it
//! never falls back to a guess: what cannot be framed is an error.

use super::error::CloseReason;
use super::summary::{ContentLength, ContentLengthFault, HeadSummary, TransferEncoding, Version};

/// The request methods that change how a response is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MethodKind {
    /// No response to it has a body (RFC 9110 9.3.2).
    Head,
    /// A 2xx response turns the connection into a tunnel (RFC 9110 9.3.6).
    Connect,
    /// All the others.
    #[default]
    Other,
}

/// Whether this side wants to use the connection again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Persistence {
    /// Keep it.
    #[default]
    KeepAlive,
    /// `Connection: close` goes with the request; nothing may follow it (RFC 9112 9.6).
    Close,
}

/// Whether the request asked for another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Upgrade {
    /// It had no `Upgrade` field, so that a 101 is an error.
    #[default]
    NotAsked,
    /// It had one (RFC 9110 7.8).
    Asked,
}

/// What the response side has to know of a request. The default is a plain `GET`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// The kind of its method.
    pub method: MethodKind,
    /// Whether it said `Connection: close`.
    pub persistence: Persistence,
    /// Whether it asked for an upgrade.
    pub upgrade: Upgrade,
}

impl Sent {
    /// Whether nothing may follow it until it is answered: RFC 9112 9.6 for a close, RFC 9110 9.3.6 and 7.8 for a connection that may become something else.
    #[must_use]
    pub fn is_final(self) -> bool {
        self.persistence == Persistence::Close
            || self.upgrade == Upgrade::Asked
            || self.method == MethodKind::Connect
    }
}

/// How to take responses whose framing contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leniency {
    /// They are errors: they are how responses are smuggled (RFC 9112 11.2).
    #[default]
    Strict,
    /// `Transfer-Encoding` wins over `Content-Length`, and is ignored on HTTP/1.0; the connection
    /// closes after either.
    Lenient,
}

/// Where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// Exactly so many bytes.
    Length(u64),
    /// At the last chunk and its trailers.
    Chunked,
    /// Where the server closes.
    UntilClose,
    /// There is no body; the bytes that follow belong to another protocol.
    Tunnel,
}

/// A head that does not say where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FramingError {
    /// The length is not one, or there are two (RFC 9112 6.3 item 5).
    #[error("the server's Content-Length is no length: {0}")]
    ContentLength(ContentLengthFault),
    /// Both framings at once (RFC 9112 6.3 item 3).
    #[error("the server sent both Transfer-Encoding and Content-Length")]
    BothFramings,
    /// A transfer coding in an HTTP/1.0 message (RFC 9112 6.1).
    #[error("the server sent Transfer-Encoding in an HTTP/1.0 response")]
    Http10TransferEncoding,
    /// `chunked` twice (RFC 9112 6.1).
    #[error("the server applied the chunked coding twice")]
    ChunkedTwice,
    /// A 101 that no request asked for (RFC 9110 15.2.2).
    #[error("the server switched protocols (101) though no upgrade was asked for")]
    UnaskedUpgrade,
}

impl FramingError {
    /// A short stable name for counting. It never changes between releases.
    #[must_use]
    pub fn kind_name(self) -> &'static str {
        match self {
            FramingError::ContentLength(_) => "framing_content_length",
            FramingError::BothFramings => "framing_both",
            FramingError::Http10TransferEncoding => "framing_http10_transfer_encoding",
            FramingError::ChunkedTwice => "framing_chunked_twice",
            FramingError::UnaskedUpgrade => "framing_unasked_upgrade",
        }
    }
}

impl Framing {
    /// The framing of the response `head` to the request `sent`: the first row of RFC 9112 6.3 that
    /// matches. An interim response other than 101 has no body and is not the last one.
    ///
    /// # Errors
    /// A [`FramingError`] when the head contradicts itself; the connection has to close.
    pub fn of(sent: Sent, head: &HeadSummary, leniency: Leniency) -> Result<Framing, FramingError> {
        match (sent.method, head.status) {
            // RFC 9110 15.2.2: the bytes after a 101 are the new protocol's.
            (_, 101) if sent.upgrade == Upgrade::Asked => Ok(Framing::Tunnel),
            (_, 101) => Err(FramingError::UnaskedUpgrade),
            // RFC 9112 6.3 item 1.
            (MethodKind::Head, _) | (_, 100..=199 | 204 | 304) => Ok(Framing::None),
            // RFC 9112 6.3 item 2.
            (MethodKind::Connect, 200..=299) => Ok(Framing::Tunnel),
            _ => Framing::of_content(head, leniency),
        }
    }

    /// Why a response framed like this ends its connection: the body ends where it does, or a
    /// lenient reading of a contradictory head cannot be trusted any further (RFC 9112 6.3 item 3).
    pub(super) fn reason_to_close(self, head: &HeadSummary) -> Option<CloseReason> {
        let both = head.content_length != ContentLength::Absent;
        match self {
            Framing::UntilClose => Some(CloseReason::CloseDelimited),
            Framing::Chunked if both => Some(CloseReason::AmbiguousFraming),
            Framing::Tunnel => Some(CloseReason::Tunnel),
            Framing::None | Framing::Length(_) | Framing::Chunked => None,
        }
    }

    fn of_content(head: &HeadSummary, leniency: Leniency) -> Result<Framing, FramingError> {
        match (head.transfer_encoding, head.content_length) {
            // RFC 9112 6.3 items 6 and 7: a length, or neither.
            (TransferEncoding::Absent, ContentLength::Valid(bytes)) => Ok(Framing::Length(bytes)),
            (TransferEncoding::Absent, ContentLength::Absent) => Ok(Framing::UntilClose),
            // Item 5: there is no telling where the message ends.
            (TransferEncoding::Absent, ContentLength::Invalid(fault)) => {
                Err(FramingError::ContentLength(fault))
            }
            // RFC 9112 6.1: a transfer coding in a 1.0 message makes its framing faulty.
            _ if head.version == Version::Http10 => match leniency {
                Leniency::Strict => Err(FramingError::Http10TransferEncoding),
                Leniency::Lenient => Ok(Framing::UntilClose),
            },
            // Item 3: Transfer-Encoding overrides, and ought to be handled as an error.
            (_, ContentLength::Valid(_) | ContentLength::Invalid(_))
                if leniency == Leniency::Strict =>
            {
                Err(FramingError::BothFramings)
            }
            // Item 4.
            (TransferEncoding::Chunked | TransferEncoding::CodedChunked, _) => Ok(Framing::Chunked),
            // RFC 9112 6.1: a sender must not apply chunked more than once.
            (TransferEncoding::ChunkedTwice, _) => Err(FramingError::ChunkedTwice),
            // Item 4: chunked is not final, so that the body ends at the close.
            (TransferEncoding::ChunkedNotFinal | TransferEncoding::Other, _) => {
                Ok(Framing::UntilClose)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::super::response::{Status, parse_head};
    use super::*;

    const GET: Sent = Sent {
        method: MethodKind::Other,
        persistence: Persistence::KeepAlive,
        upgrade: Upgrade::NotAsked,
    };
    const HEAD: Sent = Sent { method: MethodKind::Head, ..GET };
    const CONNECT: Sent = Sent { method: MethodKind::Connect, ..GET };
    const UPGRADE: Sent = Sent { upgrade: Upgrade::Asked, ..GET };

    fn frame(sent: Sent, status: &str, fields: &str, leniency: Leniency) -> String {
        let head = format!("{status}\r\n{}\r\n\r\n", fields.replace('|', "\r\n"));
        let head = head.replace("\r\n\r\n\r\n", "\r\n\r\n");
        let Ok(Status::Complete(summary)) = parse_head(head.as_bytes(), &Limits::default()) else {
            panic!("no head: {head:?}");
        };
        match Framing::of(sent, &summary, leniency) {
            Ok(framing) => format!("{framing:?}"),
            Err(error) => error.kind_name().to_owned(),
        }
    }

    fn check_sent(sent: Sent, status: u16, fields: &str, expected: &str) {
        let line = format!("HTTP/1.1 {status} x");
        assert_eq!(frame(sent, &line, fields, Leniency::Strict), expected, "{status} {fields:?}");
    }

    fn check(fields: &str, expected: &str) {
        check_sent(GET, 200, fields, expected);
    }

    #[test]
    fn no_body_whatever_the_fields_say() {
        for fields in ["", "Content-Length: 5", "Transfer-Encoding: chunked", "Content-Length: x"] {
            for status in [100, 102, 103, 199, 204, 304] {
                check_sent(GET, status, fields, "None");
            }
            check_sent(HEAD, 200, fields, "None");
            check_sent(HEAD, 404, fields, "None");
            check_sent(CONNECT, 200, fields, "Tunnel");
            check_sent(CONNECT, 299, fields, "Tunnel");
            check_sent(UPGRADE, 101, fields, "Tunnel");
            check_sent(GET, 101, fields, "framing_unasked_upgrade");
            check_sent(CONNECT, 101, fields, "framing_unasked_upgrade");
        }
        check_sent(CONNECT, 407, "Content-Length: 5", "Length(5)");
        check_sent(UPGRADE, 200, "Content-Length: 5", "Length(5)");
    }

    #[test]
    fn content_length() {
        check("Content-Length: 0", "Length(0)");
        check("content-LENGTH: 007", "Length(7)");
        check("Content-Length: 42,42", "Length(42)");
        check("Content-Length: 42 ,\t042", "Length(42)");
        check("Content-Length: 42|Content-Length: 42", "Length(42)");
        check("Content-Length: 18446744073709551615", "Length(18446744073709551615)");
        check("Content-Length-X: 1", "UntilClose");
        for value in [
            "+8",
            "-1",
            "0x20",
            "8s",
            "8 8",
            "",
            " ",
            "18446744073709551616",
            "42,30",
            "30,",
            ",30",
            ",",
            "1.0",
            "1e3",
            "\"1\"",
            "99999999999999999999999",
            "1_0",
            "4\u{b2}",
        ] {
            check(&format!("Content-Length: {value}"), "framing_content_length");
        }
        check("Content-Length: 42|Content-Length: 30", "framing_content_length");
        check("Content-Length: x|Content-Length: 30", "framing_content_length");
        check("Content-Length: 8|Content-Length:", "framing_content_length");
    }

    #[test]
    fn transfer_encoding() {
        check("Transfer-Encoding: chunked", "Chunked");
        check("transfer-encoding:\tCHUNKED ", "Chunked");
        check("Transfer-Encoding: , chunked,", "Chunked");
        check("Transfer-Encoding: gzip, chunked", "Chunked");
        check("Transfer-Encoding: gzip|Transfer-Encoding: chunked", "Chunked");
        check("Transfer-Encoding: gzip;a=\"x\", chunked", "Chunked");
        check("Transfer-Encoding: gzip;a=\"x,\\\",y\", chunked", "Chunked");
        check("Transfer-Encoding: gzip;a=\"\\\\\", chunked", "Chunked");
        check("Transfer-Encoding: chunked, gzip;a=\"\", chunked", "framing_chunked_twice");
        for value in [
            "chunkedchunked",
            "xchunked",
            "chunked, gzip",
            "gzip",
            "identity",
            "yolo",
            "",
            ",  ,",
            "chunked;q=1",
            "chunked gzip",
            "\"chunked\"",
            "gzip;a=\"x, chunked",
            "gzip;a=\"x\\\", chunked",
            "chunked, x;a=\"",
            "chunked, gzip;a=\",\"",
        ] {
            check(&format!("Transfer-Encoding: {value}"), "UntilClose");
        }
        check("Transfer-Encoding: chunked|Transfer-Encoding: identity", "UntilClose");
        check("Transfer-Encoding: chunked, chunked", "framing_chunked_twice");
        check("Transfer-Encoding: chunked|Transfer-Encoding: chunked", "framing_chunked_twice");
        check("Transfer-Encoding: chunked, gzip, chunked", "framing_chunked_twice");
    }

    #[test]
    fn contradictions() {
        for codings in ["chunked", "gzip", "chunked, gzip", ","] {
            for length in ["5", "x", ""] {
                let fields = format!("Transfer-Encoding: {codings}|Content-Length: {length}");
                check(&fields, "framing_both");
            }
        }
        let lenient = |line, fields| frame(GET, line, fields, Leniency::Lenient);
        let both = "Transfer-Encoding: chunked|Content-Length: 5";
        assert_eq!(lenient("HTTP/1.1 200 x", both), "Chunked");
        assert_eq!(lenient("HTTP/1.0 200 x", both), "UntilClose");
        let strict = frame(GET, "HTTP/1.0 200 x", "Transfer-Encoding: chunked", Leniency::Strict);
        assert_eq!(strict, "framing_http10_transfer_encoding");
    }

    #[test]
    fn neither_means_until_close() {
        check("", "UntilClose");
        check_sent(GET, 500, "Connection: keep-alive", "UntilClose");
    }
}
