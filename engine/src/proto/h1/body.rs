//! The body of a request: its bytes counted against what the head promised, and the chunked coding
//! for bodies of unknown length. It holds no body bytes.

use super::request::BodyLength;

/// The body and its head do not agree. The connection has to be aborted: the server would take what
/// follows for a part of it (RFC 9112 6.2, 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// More bytes than promised. None of the surplus may be sent.
    #[error("the request body is longer than the {promised} bytes its head promised")]
    TooLong {
        /// What the head says.
        promised: u64,
    },
    /// Fewer bytes than promised.
    #[error("the request body ended after {given} of the {promised} bytes its head promised")]
    TooShort {
        /// What the head says.
        promised: u64,
        /// What the body had.
        given: u64,
    },
}

/// Counts a request body, so that never more or less goes out than its head says.
#[derive(Debug, Clone, Copy)]
pub struct BodyCount {
    length: BodyLength,
    given: u64,
}

impl BodyCount {
    /// A count for a body of which nothing was given yet.
    #[must_use]
    pub fn new(length: BodyLength) -> BodyCount {
        BodyCount { length, given: 0 }
    }

    /// Takes note of `bytes` more, before they are sent.
    ///
    /// # Errors
    /// [`BodyError::TooLong`]; they must not be sent then.
    pub fn handle_bytes(&mut self, bytes: u64) -> Result<(), BodyError> {
        self.given = self.given.saturating_add(bytes);
        match self.promised() {
            Some(promised) if self.given > promised => Err(BodyError::TooLong { promised }),
            _ => Ok(()),
        }
    }

    /// Takes note of the body's end.
    ///
    /// # Errors
    /// [`BodyError::TooShort`]; the connection is of no use then.
    pub fn handle_end(&self) -> Result<(), BodyError> {
        match self.promised() {
            Some(promised) if self.given < promised => {
                Err(BodyError::TooShort { promised, given: self.given })
            }
            _ => Ok(()),
        }
    }

    /// Whether the length that was announced has been given: always `false` where none was.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.promised().is_some_and(|promised| self.given >= promised)
    }

    fn promised(&self) -> Option<u64> {
        match self.length {
            BodyLength::None => Some(0),
            BodyLength::Known(bytes) => Some(bytes),
            BodyLength::Chunked => None,
        }
    }
}

/// What ends a chunked body without trailers (RFC 9112 7.1).
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends `data` to `out` as one chunk. Empty data adds nothing: an empty chunk would be the last.
pub fn encode_chunk(data: &[u8], out: &mut Vec<u8>) {
    if data.is_empty() {
        return;
    }
    let digits = (data.len().ilog2() / 4) as usize;
    for digit in (0..=digits).rev() {
        out.push(b"0123456789abcdef"[data.len() >> (digit * 4) & 15]);
    }
    for part in [b"\r\n", data, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunked::{ChunkedDecoder, Piece};
    use super::*;

    fn check(length: BodyLength, parts: &[u64], expected: Result<(), BodyError>) {
        let mut count = BodyCount::new(length);
        let given = parts.iter().try_for_each(|bytes| count.handle_bytes(*bytes));
        assert_eq!(given.and_then(|()| count.handle_end()), expected, "{length:?} {parts:?}");
    }

    #[test]
    fn a_body_is_exactly_as_long_as_promised() {
        check(BodyLength::None, &[], Ok(()));
        check(BodyLength::None, &[1], Err(BodyError::TooLong { promised: 0 }));
        check(BodyLength::Known(3), &[1, 2], Ok(()));
        check(BodyLength::Known(3), &[1, 3], Err(BodyError::TooLong { promised: 3 }));
        check(BodyLength::Known(3), &[2], Err(BodyError::TooShort { promised: 3, given: 2 }));
        check(BodyLength::Chunked, &[5, 0, 7], Ok(()));
    }

    #[test]
    fn chunks_decode_to_what_went_in() {
        for length in [1, 9, 15, 16, 17, 255, 256, 4095, 4096, 65536] {
            let (data, mut out) = (vec![b'x'; length], Vec::new());
            encode_chunk(b"", &mut out);
            encode_chunk(&data, &mut out);
            out.extend_from_slice(LAST_CHUNK);
            let mut decoder = ChunkedDecoder::new();
            let (at, piece) = decoder.decode(&out).unwrap();
            assert_eq!(piece, Piece::Data(&data[..]));
            assert_eq!(decoder.decode(&out[at..]).unwrap(), (out.len() - at, Piece::End));
        }
    }
}
