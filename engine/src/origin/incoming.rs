//! A request whose body is coming, or whose answer its path decides. Reads bytes, keeps them only for an echo, sends nothing.

use super::request::{Length, Refusal, Special};
use crate::proto::h1::{ChunkedDecoder, Piece};

/// The longest body that is sent back, in bytes; a longer one is answered with 413.
pub const ECHO_BYTES_MAX: u64 = 1 << 20;
/// Most bytes of trailers.
const TRAILER_BYTES_MAX: u32 = 64 << 10;

/// One request on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) special: Special,
    /// The body so far; `None` if it is not wanted, or no more.
    pub(super) kept: Option<Vec<u8>>,
    reader: Reader,
}

#[derive(Debug)]
enum Reader {
    /// Bytes still to come.
    Length(u64),
    Chunked(ChunkedDecoder),
    /// Bytes of the line so far, and of all lines.
    Trailers {
        line_bytes: u32,
        bytes: u32,
    },
    Done,
}

impl Incoming {
    pub(super) fn new(special: Special) -> Self {
        let echoed = special.echoes();
        let fits = !matches!(special.length, Length::Known(bytes) if bytes > ECHO_BYTES_MAX);
        let reader = match special.length {
            Length::Known(0) => Reader::Done,
            Length::Known(bytes) => Reader::Length(bytes),
            Length::Chunked => Reader::Chunked(ChunkedDecoder::new()),
        };
        Self { special, kept: (echoed && fits).then(Vec::new), reader }
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self.reader, Reader::Done)
    }

    /// Reads on, and returns how many bytes were this request's: all of them unless it is whole then.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        let mut used = 0;
        while used < input.len() && !self.is_whole() {
            used += self.read_some(&input[used..])?;
        }
        Ok(used)
    }

    fn read_some(&mut self, input: &[u8]) -> Result<usize, Refusal> {
        match &mut self.reader {
            Reader::Length(left) => {
                let bytes = (*left).min(input.len() as u64) as usize;
                *left -= bytes as u64;
                if *left == 0 {
                    self.reader = Reader::Done;
                }
                self.keep(&input[..bytes]);
                Ok(bytes)
            }
            Reader::Chunked(decoder) => {
                let (bytes, piece) = decoder.decode(input).map_err(|_| Refusal::Bad)?;
                match piece {
                    Piece::NeedMore => {}
                    Piece::Data(data) => self.keep(data),
                    Piece::Trailers => self.reader = Reader::Trailers { line_bytes: 0, bytes: 0 },
                    Piece::End => self.reader = Reader::Done,
                }
                Ok(bytes)
            }
            Reader::Trailers { line_bytes, bytes } => {
                let end = *line_bytes == 0 && input[0] == b'\n';
                *line_bytes = match input[0] {
                    b'\n' => 0,
                    b'\r' => *line_bytes,
                    _ => *line_bytes + 1,
                };
                *bytes += 1;
                if *bytes > TRAILER_BYTES_MAX {
                    return Err(Refusal::Bad);
                }
                if end {
                    self.reader = Reader::Done;
                }
                Ok(1)
            }
            Reader::Done => Ok(0),
        }
    }

    fn keep(&mut self, data: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.extend_from_slice(data);
            if kept.len() as u64 > ECHO_BYTES_MAX {
                self.kept = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Memo, Parsed};
    use super::*;

    fn incoming(head: &str) -> Incoming {
        let Ok(Parsed::Special(special)) = Memo::default().read(head.as_bytes()) else {
            panic!("{head}: a fixed answer");
        };
        Incoming::new(*special)
    }

    /// Reads `body` and what follows it, cut at every byte.
    fn check(head: &str, body: &[u8], expected: &[u8]) {
        let input = [body, b"GET /"].concat();
        for cut in 0..input.len() {
            let mut incoming = incoming(head);
            let mut used = incoming.read(&input[..cut]).unwrap();
            if !incoming.is_whole() {
                assert_eq!(used, cut);
                used += incoming.read(&input[cut..]).unwrap();
            }
            assert!(incoming.is_whole(), "{head} {cut}");
            assert_eq!(
                (used, incoming.kept.as_deref()),
                (body.len(), Some(expected)),
                "{head} {cut}"
            );
        }
    }

    #[test]
    fn bodies_are_read_to_their_end_and_no_further() {
        let chunked = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        check("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", b"hello", b"hello");
        check("GET /echo HTTP/1.1\r\nHost: h\r\n\r\n", b"", b"");
        check(chunked, b"2;x=1\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello");
        check(chunked, b"0\r\nA: b\r\nC: d\r\n\r\n", b"");
    }

    #[test]
    fn what_is_too_long_or_broken_is_not_kept() {
        let mut long =
            incoming("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n");
        assert_eq!((long.read(&vec![0; 2_000_000]), long.kept), (Ok(1_048_577), None));
        let chunked = "POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut endless = incoming(chunked);
        endless.read(b"1000000\r\n").unwrap();
        endless.read(&vec![0; 1 << 20]).unwrap();
        assert_eq!(endless.kept.as_ref().map(Vec::len), Some(1 << 20));
        endless.read(&[0]).unwrap();
        assert_eq!(endless.kept, None);
        assert_eq!(incoming(chunked).read(b"x"), Err(Refusal::Bad));
        assert_eq!(
            incoming(chunked).read(format!("0\r\n{}", "a".repeat(70_000)).as_bytes()),
            Err(Refusal::Bad)
        );
        assert_eq!(
            incoming("POST /delay/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n").kept,
            None
        );
    }
}
