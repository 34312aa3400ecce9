//! The trailer section of a chunked body (RFC 9112 7.1.2), read with the rules of a head: it is laid
//! behind a status line of ours and parsed as one. Unlike a head it has to use CRLF throughout, for
//! it is part of the chunked framing. It never becomes part of the head.

use memchr::memchr_iter;

use super::chunked::ChunkError;
use super::error::Error;
use super::limits::{Limit, Limits};
use super::response::{ParseError, Status, parse_head};
use super::summary::HeadSummary;

/// What stands before the section in the buffer that collects it.
pub(super) const TRAILER_PROLOGUE: &[u8] = b"HTTP/1.1 200\r\n";

/// A whole section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    /// Bytes of prologue, fields and blank line.
    pub(super) bytes: usize,
    /// Whether a line is folded.
    pub(super) folded: bool,
}

/// Reads the section at the start of `input`, which begins with the prologue.
///
/// # Errors
/// [`Error::Parse`] for what is no field, [`Error::Chunked`] for a bare LF, [`Error::Limit`] for too
/// much: whichever comes first in the bytes.
pub(super) fn parse_trailers(input: &[u8], limits: &Limits) -> Result<Status<Section>, Error> {
    let bare_lf = memchr_iter(b'\n', input).find(|at| *at == 0 || input[at - 1] != b'\r');
    let sound = &input[..bare_lf.map_or(input.len(), |at| at + 1)];
    match (parse_head(sound, &limits.of_trailers()).map_err(as_trailers)?, bare_lf) {
        (Status::Complete(section), Some(at)) if section.head_bytes as usize > at => {
            Err(Error::Chunked(ChunkError::TrailerLineEnd))
        }
        (Status::Complete(section), _) => Ok(Status::Complete(Section::of(&section))),
        (Status::Partial, Some(_)) => Err(Error::Chunked(ChunkError::TrailerLineEnd)),
        (Status::Partial, None) => Ok(Status::Partial),
    }
}

impl Section {
    fn of(section: &HeadSummary) -> Section {
        Section { bytes: section.head_bytes as usize, folded: section.folded }
    }
}

impl Limits {
    fn of_trailers(&self) -> Limits {
        let bytes_max = self.trailer_bytes_max.saturating_add(TRAILER_PROLOGUE.len() as u32);
        Limits { head_bytes_max: bytes_max, line_bytes_max: bytes_max, ..*self }
    }
}

/// A head's limit broken by a trailer section is the trailers' limit; and of what the server did not send nothing is said.
fn as_trailers(error: Error) -> Error {
    match error {
        Error::Limit(_) => Error::Limit(Limit::Trailers),
        Error::Parse(ParseError { kind, offset, seen }) => {
            let offset = offset.saturating_sub(TRAILER_PROLOGUE.len() as u32);
            Error::Parse(ParseError { kind, offset, seen: seen.within(offset as usize + 1) })
        }
        other => other,
    }
}
