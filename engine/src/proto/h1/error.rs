//! What went wrong on a connection, and why a connection closes. Plain data: nothing here decides,
//! and nothing allocates.

use super::chunked::ChunkError;
use super::framing::{Framing, FramingError, Persistence, Sent};
use super::limits::Limit;
use super::response::ParseError;
use super::summary::{HeadSummary, Version};

/// Why the response side of a connection failed. Each one ends the connection; none is the fault of
/// the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The head is not HTTP/1.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The head does not say where the body ends.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// The chunked coding is broken.
    #[error(transparent)]
    Chunked(#[from] ChunkError),
    /// A limit of ours was broken.
    #[error(transparent)]
    Limit(#[from] Limit),
    /// Bytes came though no request was unanswered (RFC 9112 6.3, 9.2). They are no response.
    #[error("the server sent bytes that answer no request")]
    Unsolicited,
    /// The connection had answered before and closed without a byte of this response: the usual end
    /// of an idle connection, and safe to retry elsewhere where the method allows it.
    #[error("the server closed the kept-alive connection before answering")]
    ClosedIdle,
    /// A fresh connection closed without a byte.
    #[error("the server closed the connection without answering")]
    EmptyReply,
    /// Only interim responses came (RFC 9110 15.2: a final one has to follow).
    #[error("the server closed the connection after {interims} interim responses and no final one")]
    InterimOnly {
        /// How many interim responses came.
        interims: u8,
    },
    /// The connection closed inside a head.
    #[error("the server closed the connection inside a response head, after {got} bytes of it")]
    TruncatedHead {
        /// Bytes of the head that came.
        got: u64,
    },
    /// The connection closed inside a body of known length (RFC 9112 8).
    #[error("the server closed the connection after {got} of {expected} body bytes")]
    TruncatedBody {
        /// The length announced.
        expected: u64,
        /// Bytes of the body that came.
        got: u64,
    },
    /// The connection closed before the last chunk (RFC 9112 8).
    #[error("the server closed the connection inside a chunked body, after {got} bytes of it")]
    TruncatedChunked {
        /// Bytes of the body that came, without the framing.
        got: u64,
    },
}

impl Error {
    /// A short stable name for counting outcomes. It never changes between releases.
    #[must_use]
    pub fn kind_name(&self) -> &'static str {
        match self {
            Error::Parse(error) => error.kind.kind_name(),
            Error::Framing(error) => error.kind_name(),
            Error::Chunked(error) => error.kind_name(),
            Error::Limit(limit) => limit.kind_name(),
            Error::Unsolicited => "unsolicited_bytes",
            Error::ClosedIdle => "closed_idle",
            Error::EmptyReply => "empty_reply",
            Error::InterimOnly { .. } => "interim_only",
            Error::TruncatedHead { .. } => "truncated_head",
            Error::TruncatedBody { .. } => "truncated_body",
            Error::TruncatedChunked { .. } => "truncated_chunked",
        }
    }
}

/// Why a connection cannot carry another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// `Connection: close` in a response (RFC 9112 9.6).
    #[error("the server asked to close")]
    ServerClose,
    /// An HTTP/1.0 response without `Connection: keep-alive` (RFC 9112 9.3).
    #[error("the server speaks HTTP/1.0 and did not offer keep-alive")]
    Http10,
    /// The body ended where the connection did (RFC 9112 6.3).
    #[error("the body was delimited by the close")]
    CloseDelimited,
    /// We sent `Connection: close` (RFC 9112 9.6).
    #[error("we asked to close")]
    ClientClose,
    /// The response contradicted itself and was taken leniently (RFC 9112 6.3 item 3).
    #[error("the response had ambiguous framing")]
    AmbiguousFraming,
    /// Bytes followed the last response (RFC 9112 6.3).
    #[error("surplus bytes followed the last response")]
    SurplusBytes,
    /// The connection now carries another protocol.
    #[error("the connection became a tunnel")]
    Tunnel,
    /// The server closed it.
    #[error("the server closed the connection")]
    ServerEof,
    /// A response could not be read.
    #[error("a response could not be read")]
    Failed,
}

impl CloseReason {
    /// A short stable name for counting. It never changes between releases.
    #[must_use]
    pub fn kind_name(self) -> &'static str {
        match self {
            CloseReason::ServerClose => "server_close",
            CloseReason::Http10 => "http10",
            CloseReason::CloseDelimited => "close_delimited",
            CloseReason::ClientClose => "client_close",
            CloseReason::AmbiguousFraming => "ambiguous_framing",
            CloseReason::SurplusBytes => "surplus_bytes",
            CloseReason::Tunnel => "tunnel",
            CloseReason::ServerEof => "server_eof",
            CloseReason::Failed => "failed",
        }
    }

    /// Why the connection ends with this response (RFC 9112 9.3): what the server says first, then
    /// what its framing leaves no choice about, then our own wish.
    pub(super) fn of_response(
        sent: Sent,
        head: &HeadSummary,
        framing: Framing,
    ) -> Option<CloseReason> {
        let ours = (sent.persistence == Persistence::Close).then_some(CloseReason::ClientClose);
        let said = if framing == Framing::Tunnel { None } else { CloseReason::of_head(head) };
        said.or_else(|| framing.reason_to_close(head)).or(ours)
    }

    /// What the head alone says about persistence: RFC 9112 9.3, first match wins.
    pub(super) fn of_head(head: &HeadSummary) -> Option<CloseReason> {
        match (head.connection.close(), head.version, head.connection.keep_alive()) {
            (true, _, _) => Some(CloseReason::ServerClose),
            (false, Version::Http10, false) => Some(CloseReason::Http10),
            (false, _, _) => None,
        }
    }
}
