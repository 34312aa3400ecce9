//! Where a response body ends: RFC 9112 6.3 as one enum, decided once. It reads no bytes, and it
//! never falls back to a guess: what cannot be framed is an error.

use super::error::CloseReason;
use super::response::{ContentLength, ContentLengthFault, HeadSummary, TransferEncoding, Version};

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
