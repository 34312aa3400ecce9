//! What a head says that framing and persistence need: lists taken apart, numbers read, duplicates
//! settled. It never decides what follows from them; `framing` and `error` do.

use super::fields::{lists, trim};

/// The server's version. A minor version above 1 is read as 1.1 (RFC 9110 2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `HTTP/1.0`: closes unless it says keep-alive.
    Http10,
    /// `HTTP/1.1` to `HTTP/1.9`: stays open unless it says close.
    Http11,
}

/// What all `Content-Length` fields of a head say together (RFC 9110 8.6). It never guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentLength {
    /// No such field.
    Absent,
    /// One length, perhaps repeated.
    Valid(u64),
    /// Not a length; the message cannot be framed by it.
    Invalid(ContentLengthFault),
}

/// Why a `Content-Length` is not a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentLengthFault {
    /// No digits at all, or an empty member of a list.
    #[error("it is empty or has an empty list member")]
    Empty,
    /// Something other than the digits 0 to 9.
    #[error("it holds something other than digits")]
    NotDigits,
    /// More than 64 bits.
    #[error("it does not fit in 64 bits")]
    Overflow,
    /// Two values that differ.
    #[error("it is given twice with different values")]
    Differ,
}

/// What all `Transfer-Encoding` fields of a head say together (RFC 9112 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferEncoding {
    /// No such field.
    Absent,
    /// `chunked` alone.
    Chunked,
    /// `chunked` last, after other codings, which are never undone here.
    CodedChunked,
    /// `chunked` applied twice, which no sender may do.
    ChunkedTwice,
    /// `chunked` followed by another coding.
    ChunkedNotFinal,
    /// Other codings, an empty list, or quoted parameters.
    Other,
}

/// The options of all `Connection` fields that matter to a client (RFC 9110 7.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionTokens(u8);

impl ConnectionTokens {
    const CLOSE: u8 = 1;
    const KEEP_ALIVE: u8 = 2;
    const UPGRADE: u8 = 4;

    /// `close` is in the list. `Proxy-Connection: close` counts as well: closing is always safe.
    #[must_use]
    pub fn close(self) -> bool {
        self.0 & Self::CLOSE != 0
    }

    /// `keep-alive` is in the list. `Proxy-Connection: keep-alive` never counts.
    #[must_use]
    pub fn keep_alive(self) -> bool {
        self.0 & Self::KEEP_ALIVE != 0
    }

    /// `upgrade` is in the list.
    #[must_use]
    pub fn upgrade(self) -> bool {
        self.0 & Self::UPGRADE != 0
    }

    fn add(&mut self, list: &[u8], token: &[u8], bit: u8) {
        self.0 |= if lists(list, token) { bit } else { 0 };
    }
}

/// What a head says that framing and persistence need: a pure function of its bytes. It borrows
/// nothing; the fields themselves are read from the head again by whoever wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadSummary {
    /// What the `Content-Length` fields say.
    pub content_length: ContentLength,
    /// Bytes of the head, its blank line included.
    pub head_bytes: u32,
    /// Bytes of the longest line, its line end included.
    pub line_bytes_longest: u32,
    /// How many fields it has.
    pub fields: u16,
    /// The status code, 100 to 999.
    pub status: u16,
    /// The server's version.
    pub version: Version,
    /// What the `Transfer-Encoding` fields say.
    pub transfer_encoding: TransferEncoding,
    /// What the `Connection` fields say.
    pub connection: ConnectionTokens,
    /// Whether a field is folded over several lines, so that the bytes need unfolding before use.
    pub folded: bool,
}

/// The summary of a whole head that was parsed into `response`.
pub(super) fn summarise(response: &httparse::Response<'_, '_>, head: &[u8]) -> HeadSummary {
    let mut summary = HeadSummary {
        content_length: ContentLength::Absent,
        head_bytes: head.len() as u32,
        line_bytes_longest: 0,
        fields: response.headers.len() as u16,
        status: response.code.unwrap_or_default(),
        version: if response.version == Some(0) { Version::Http10 } else { Version::Http11 },
        transfer_encoding: TransferEncoding::Absent,
        connection: ConnectionTokens::default(),
        folded: false,
    };
    let mut line_start = 0;
    for field in response.headers.iter() {
        summary.note(field.name.as_bytes(), field.value);
        let next = field.name.as_ptr() as usize - head.as_ptr() as usize;
        summary.note_line(next - line_start);
        line_start = next;
    }
    let blank_line = 1 + usize::from(head.ends_with(b"\r\n"));
    summary.note_line(head.len() - blank_line - line_start);
    summary
}

impl HeadSummary {
    fn note_line(&mut self, bytes: usize) {
        self.line_bytes_longest = self.line_bytes_longest.max(bytes as u32);
    }

    /// Takes in one field. The length of the name rules out nearly all of them.
    fn note(&mut self, name: &[u8], value: &[u8]) {
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => self.note_connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                self.content_length = self.content_length.with(value);
            }
            16 if name.eq_ignore_ascii_case(b"proxy-connection") => {
                self.connection.add(value, b"close", ConnectionTokens::CLOSE);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.transfer_encoding = self.transfer_encoding.with(value);
            }
            _ => {}
        }
    }

    fn note_connection(&mut self, value: &[u8]) {
        self.connection.add(value, b"close", ConnectionTokens::CLOSE);
        self.connection.add(value, b"keep-alive", ConnectionTokens::KEEP_ALIVE);
        self.connection.add(value, b"upgrade", ConnectionTokens::UPGRADE);
    }
}

impl ContentLength {
    /// This and one more `Content-Length` field, which may itself be a list (RFC 9112 6.3 item 5).
    pub(super) fn with(self, value: &[u8]) -> ContentLength {
        value.split(|byte| *byte == b',').fold(self, |so_far, member| {
            match (so_far, decimal(trim(member))) {
                (ContentLength::Invalid(fault), _) | (_, Err(fault)) => {
                    ContentLength::Invalid(fault)
                }
                (ContentLength::Valid(one), Ok(other)) if one != other => {
                    ContentLength::Invalid(ContentLengthFault::Differ)
                }
                (_, Ok(length)) => ContentLength::Valid(length),
            }
        })
    }
}

/// `1*DIGIT` in 64 bits. No sign, no space, no wrap.
fn decimal(digits: &[u8]) -> Result<u64, ContentLengthFault> {
    if digits.is_empty() {
        return Err(ContentLengthFault::Empty);
    }
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(ContentLengthFault::NotDigits);
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let shifted = value.checked_mul(10).ok_or(ContentLengthFault::Overflow)?;
        shifted.checked_add(u64::from(digit - b'0')).ok_or(ContentLengthFault::Overflow)
    })
}

impl TransferEncoding {
    /// This and one more `Transfer-Encoding` field. A comma in a quoted parameter separates nothing
    /// (RFC 9110 5.6.4, 10.1.4), and a list that ends inside quotes never counts as chunked.
    fn with(self, value: &[u8]) -> TransferEncoding {
        let start = if self == TransferEncoding::Absent { TransferEncoding::Other } else { self };
        let mut first = self == TransferEncoding::Absent;
        let (mut quoted, mut escaped) = (false, false);
        let codings = value.split(|byte| {
            let literal = std::mem::take(&mut escaped);
            match byte {
                b'\\' if quoted => escaped = !literal,
                b'"' if !literal => quoted = !quoted,
                _ => {}
            }
            *byte == b',' && !quoted
        });
        let codings = codings.map(trim).filter(|coding| !coding.is_empty());
        let all = codings.fold(start, |so_far, coding| {
            let so_far = if std::mem::take(&mut first) { TransferEncoding::Absent } else { so_far };
            so_far.then(coding)
        });
        if quoted { TransferEncoding::ChunkedNotFinal } else { all }
    }

    fn then(self, coding: &[u8]) -> TransferEncoding {
        use TransferEncoding::{
            Absent, Chunked, ChunkedNotFinal, ChunkedTwice, CodedChunked, Other,
        };
        match (self, coding.eq_ignore_ascii_case(b"chunked")) {
            (Absent, true) => Chunked,
            (Absent | Other, false) => Other,
            (Other, true) => CodedChunked,
            (Chunked | CodedChunked | ChunkedNotFinal, false) => ChunkedNotFinal,
            (Chunked | CodedChunked | ChunkedNotFinal, true) | (ChunkedTwice, _) => ChunkedTwice,
        }
    }
}
