//! The chunked transfer coding, decoded in pieces (RFC 9112 7.1). It hands out slices of its input,
//! never copies a body byte, and never accepts a line end other than CRLF in the framing: what one
//! side reads as a line and the other does not is how responses are smuggled (erratum 7633).
//!
//! ```text
//!            digit      ';'              CR
//! Size ───────┐  ├──────────> Extension ──┐
//!   ^  <──────┘  │ CR                     v       LF, size 0
//!   │            └──────────────────> SizeEnd ───────────────> Trailers ──CR──> LastEnd ──LF──> End
//!   │ LF                                 │ LF                      │ other byte: the caller collects
//! DataLf <──CR── DataEnd <──last byte── Data                       v the fields, then the End
//! ```

/// The most digits of a chunk size, leading zeros included: what 64 bits can hold.
const SIZE_DIGITS_MAX: u8 = 16;

/// The most bytes of chunk extensions in one body (RFC 9112 7.1.1: a limit is advised).
const EXTENSION_BYTES_MAX: u32 = 16 << 10;

/// What is wrong with a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChunkError {
    /// No hexadecimal digit where a chunk size belongs, or something after it that is neither an
    /// extension nor the line end.
    #[error("the server sent byte {0:#04x} in a chunk size")]
    Size(u8),
    /// A size of more than 16 digits.
    #[error("the server sent a chunk size of more than 16 hexadecimal digits")]
    SizeTooLong,
    /// A control byte, such as a bare LF, in an extension.
    #[error("the server sent control byte {0:#04x} in a chunk extension")]
    Extension(u8),
    /// More than 16 KiB of extensions in one body.
    #[error("the server sent more than 16 KiB of chunk extensions")]
    ExtensionsTooLong,
    /// The line end after a size or the last chunk is not CRLF.
    #[error("the server sent byte {0:#04x} where a chunk line has to end in LF")]
    LineEnd(u8),
    /// The data of a chunk is not followed by CRLF.
    #[error("the server sent byte {0:#04x} where the CRLF after chunk data belongs")]
    DataEnd(u8),
    /// A trailer section with a line that does not end in CRLF.
    #[error("the server sent a trailer line that does not end in CRLF")]
    TrailerLineEnd,
}

impl ChunkError {
    /// A short stable name for counting. It never changes between releases.
    #[must_use]
    pub fn kind_name(self) -> &'static str {
        match self {
            ChunkError::Size(_) | ChunkError::SizeTooLong => "chunk_size",
            ChunkError::Extension(_) | ChunkError::ExtensionsTooLong => "chunk_extension",
            ChunkError::LineEnd(_) => "chunk_line_end",
            ChunkError::DataEnd(_) => "chunk_data_end",
            ChunkError::TrailerLineEnd => "chunk_trailer_line_end",
        }
    }
}

/// What the decoder found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The input is used up.
    NeedMore,
    /// Some of the body; where chunks begin and end does not show.
    Data(&'a [u8]),
    /// Trailer fields begin at the next byte. The decoder is done; the caller reads them.
    Trailers,
    /// The body is whole, and had no trailers.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size,
    SizeEnd,
    Extension,
    Data,
    DataEnd,
    DataLf,
    Trailers,
    LastEnd,
    End,
}

/// Decodes one chunked body. Small and plain: a connection keeps it in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkedDecoder {
    /// The size read so far, then the bytes left in the chunk.
    remaining: u64,
    extension_bytes: u32,
    digits: u8,
    state: State,
}

impl Default for ChunkedDecoder {
    fn default() -> ChunkedDecoder {
        ChunkedDecoder::new()
    }
}

impl ChunkedDecoder {
    /// A decoder at the start of a body.
    #[must_use]
    pub fn new() -> ChunkedDecoder {
        ChunkedDecoder { remaining: 0, extension_bytes: 0, digits: 0, state: State::Size }
    }

    /// Bytes of the current chunk still to come: they may be thrown away unseen.
    #[must_use]
    pub fn discardable(&self) -> u64 {
        if self.state == State::Data { self.remaining } else { 0 }
    }

    /// Takes note that `bytes` of the current chunk were thrown away.
    pub fn handle_discarded(&mut self, bytes: u64) {
        debug_assert!(bytes <= self.discardable(), "more was discarded than the chunk holds");
        if self.state == State::Data {
            self.take(bytes);
        }
    }

    /// The next piece of the body and how many bytes of `input` it took. Incomplete is not an error.
    ///
    /// # Errors
    /// A [`ChunkError`] at the first byte that breaks the coding. What was handed out before stands.
    pub fn decode<'a>(&mut self, input: &'a [u8]) -> Result<(usize, Piece<'a>), ChunkError> {
        let mut at = 0;
        while at < input.len() {
            match self.state {
                State::Data => {
                    let length = self.remaining.min((input.len() - at) as u64) as usize;
                    self.take(length as u64);
                    return Ok((at + length, Piece::Data(&input[at..at + length])));
                }
                State::Trailers if input[at] != b'\r' => return Ok((at, Piece::Trailers)),
                State::End => break,
                _ => self.step(input[at])?,
            }
            at += 1;
        }
        let piece = if self.state == State::End { Piece::End } else { Piece::NeedMore };
        Ok((at, piece))
    }

    fn take(&mut self, bytes: u64) {
        self.remaining = self.remaining.saturating_sub(bytes);
        if self.remaining == 0 {
            self.state = State::DataEnd;
        }
    }

    /// One byte of framing.
    fn step(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.state = match (self.state, byte) {
            (State::Size, _) => return self.step_size(byte),
            (State::Extension, _) => return self.step_extension(byte),
            (State::SizeEnd, b'\n') if self.remaining == 0 => State::Trailers,
            (State::SizeEnd, b'\n') => State::Data,
            (State::DataEnd, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.digits = 0;
                State::Size
            }
            (State::DataEnd | State::DataLf, _) => return Err(ChunkError::DataEnd(byte)),
            (State::Trailers, b'\r') => State::LastEnd,
            (State::LastEnd, b'\n') => State::End,
            (State::SizeEnd | State::LastEnd, _) => return Err(ChunkError::LineEnd(byte)),
            (State::Data | State::Trailers | State::End, _) => self.state,
        };
        Ok(())
    }

    /// White space after the size is refused, too: it is one more thing that peers read apart.
    fn step_size(&mut self, byte: u8) -> Result<(), ChunkError> {
        match (byte, self.digits) {
            (b'\r', 1..) => self.state = State::SizeEnd,
            (b';', 1..) => return self.step_extension(byte),
            (_, SIZE_DIGITS_MAX) if byte.is_ascii_hexdigit() => {
                return Err(ChunkError::SizeTooLong);
            }
            _ => {
                let digit = (byte as char).to_digit(16).ok_or(ChunkError::Size(byte))?;
                self.remaining = self.remaining << 4 | u64::from(digit);
                self.digits += 1;
            }
        }
        Ok(())
    }

    /// Extensions are ignored, quoted strings and all: none may hold a CR (RFC 9110 5.6.4).
    fn step_extension(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.state = State::Extension;
        self.extension_bytes += 1;
        match byte {
            b'\r' => self.state = State::SizeEnd,
            b'\t' | b' '..=b'~' | 0x80.. if self.extension_bytes <= EXTENSION_BYTES_MAX => {}
            b'\t' | b' '..=b'~' | 0x80.. => return Err(ChunkError::ExtensionsTooLong),
            _ => return Err(ChunkError::Extension(byte)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::transcript::check as check_response;

    /// The body of a chunked response.
    fn check(body: impl AsRef<[u8]>, expected: &[&str]) {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let told = [&["head 200 Transfer-Encoding=chunked Chunked"], expected].concat();
        check_response([&head[..], body.as_ref()].concat(), &told);
    }

    #[test]
    fn chunks_join() {
        check("0\r\n\r\n", &["end"]);
        check("4\r\nwiki\r\n5\r\npedia\r\n0\r\n\r\n", &["data wikipedia", "end"]);
        check("a\r\n0123456789\r\n00\r\n\r\n", &["data 0123456789", "end"]);
        check("A\r\n0123456789\r\n0\r\n\r\n", &["data 0123456789", "end"]);
        check("000000000000001\r\nx\r\n0\r\n\r\n", &["data x", "end"]);
        check("0000000000000001\r\nx\r\n0000000000000000\r\n\r\n", &["data x", "end"]);
        check("2\r\n\r\n\r\n0\r\n\r\n", &["data \\r\\n", "end"]);
    }

    #[test]
    fn extensions_are_ignored() {
        check("4;x=1\r\nwiki\r\n0;y\r\n\r\n", &["data wiki", "end"]);
        check("1;a=\"q;\\\"x\";b\r\nx\r\n0\r\n\r\n", &["data x", "end"]);
        check("1;\r\nx\r\n0;;; ;\t\r\n\r\n", &["data x", "end"]);
        check(b"1;\xff\r\nx\r\n0\r\n\r\n", &["data x", "end"]);
        let long = |bytes: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(bytes));
        let mut one = super::ChunkedDecoder::new();
        assert!(one.decode(long(16_000).as_bytes()).is_ok());
        let many = "1;eeeeeeeeeeeeeee\r\nx\r\n".repeat(1030);
        let mut decoder = super::ChunkedDecoder::new();
        let mut rest = many.as_bytes();
        let error = loop {
            match decoder.decode(rest) {
                Ok((consumed, _)) => rest = &rest[consumed..],
                Err(error) => break error,
            }
        };
        assert_eq!(error, super::ChunkError::ExtensionsTooLong);
        let mut decoder = super::ChunkedDecoder::new();
        let error = decoder.decode(long(16_400).as_bytes()).unwrap_err();
        assert_eq!(error, super::ChunkError::ExtensionsTooLong);
    }

    #[test]
    fn sizes_refused() {
        for size in ["", "-1", "1x", "0_2e", "+1", "0x1", "1 ", " 1", "1\t", "1 ;a", "g", ";a"] {
            check(format!("{size}\r\nx\r\n0\r\n\r\n"), &["error chunk_size"]);
        }
        for size in ["10000000000000000", "f0000000000000003", "00000000000000001"] {
            check(format!("{size}\r\n"), &["error chunk_size"]);
        }
        check("ffffffffffffffff\r\nx", &["data x", "error truncated_chunked"]);
    }

    #[test]
    fn line_ends_are_crlf() {
        check("1\nx\r\n0\r\n\r\n", &["error chunk_size"]);
        check("1\rx\r\n0\r\n\r\n", &["error chunk_line_end"]);
        check("1\r\r\nx\r\n0\r\n\r\n", &["error chunk_line_end"]);
        check("1;a\nx\r\n0\r\n\r\n", &["error chunk_extension"]);
        check("1;a\rb\r\nx\r\n0\r\n\r\n", &["error chunk_line_end"]);
        check("1;a\0\r\n", &["error chunk_extension"]);
        check("1\r\nx\n0\r\n\r\n", &["data x", "error chunk_data_end"]);
        check("1\r\nxy\r\n0\r\n\r\n", &["data x", "error chunk_data_end"]);
        check("1\r\nx\ry", &["data x", "error chunk_data_end"]);
        check("0\r\n\rx", &["error chunk_line_end"]);
        check("0\r\n\n", &["error chunk_trailer_line_end"]);
        check("0\r\na: b\n\r\n", &["error chunk_trailer_line_end"]);
        check("0\r\na: b\r\n\n", &["error chunk_trailer_line_end"]);
    }

    #[test]
    fn cut_short() {
        for body in ["", "5", "5\r", "5;x", "0\r\n", "0\r\n\r", "0\r\na: b\r\n", "0\r\na: b\r\n\r"]
        {
            check(body, &["error truncated_chunked"]);
        }
        for body in ["5\r\nabc", "3\r\nabc", "3\r\nabc\r", "3\r\nabc\r\n", "3\r\nabc\r\n0\r\n"] {
            check(body, &["data abc", "error truncated_chunked"]);
        }
    }

    #[test]
    fn trailers_are_kept_apart_and_filtered() {
        check("1\r\nx\r\n0\r\na: b\r\nA:\tc \r\n\r\n", &["data x", "trailers a=b A=c", "end"]);
        check("0\r\na: b\r\n c\r\n\r\n", &["trailers a=b c", "end"]);
        let smuggled = "0\r\nContent-Length: 5\r\ntransfer-encoding: x\r\nHost: h\r\nok: 1\r\n\r\n";
        check(smuggled, &["trailers ok=1", "end"]);
        check("0\r\nbad name: 1\r\n\r\n", &["error parse_field_name"]);
        check("0\r\na: \0\r\n\r\n", &["error parse_field_value"]);
        check("0\r\n fold: 1\r\n\r\n", &["error parse_field_name"]);
    }

    #[test]
    fn bytes_after_the_last_chunk_are_surplus() {
        let surplus = "end: surplus bytes followed the last response";
        check("0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", &[surplus]);
        check("0\r\na: b\r\n\r\nX", &["trailers a=b", surplus]);
    }

    #[test]
    fn a_mebibyte_of_tiny_chunks_passes() {
        let body = "1\r\nx\r\n".repeat(1 << 20) + "0\r\n\r\n";
        let (mut decoder, mut rest, mut bytes) = (super::ChunkedDecoder::new(), body.as_bytes(), 0);
        loop {
            match decoder.decode(rest).unwrap() {
                (consumed, super::Piece::Data(data)) => {
                    bytes += data.len();
                    rest = &rest[consumed..];
                }
                (_, piece) => break assert_eq!(piece, super::Piece::End),
            }
        }
        assert_eq!(bytes, 1 << 20);
    }
}
