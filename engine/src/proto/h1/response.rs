//! A response head into a small summary: status, version and what framing and persistence need.
//! httparse does the syntax; around it stands what the RFC asks of a user agent and httparse leaves
//! out. It never keeps the bytes, never decides about the body, and incomplete is not an error.

use std::mem::MaybeUninit;

use super::error::Error;
use super::fields::{lists, members, trim};
use super::limits::{FIELDS_CEILING, Limits};

/// Whether a head was whole. `Partial` asks for more bytes and is never an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status<T> {
    /// All of it was there.
    Complete(T),
    /// More bytes are needed.
    Partial,
}

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

/// Which rule of the grammar a head breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseKind {
    /// It does not begin with `HTTP/1.` and a digit (RFC 9112 2.3).
    Version,
    /// The status line: the code is not three digits, or the reason holds a control byte (4).
    Status,
    /// A field name is empty, not a token, or not followed by its colon (5.1).
    FieldName,
    /// A field value holds a control byte or a bare CR (5.5, 2.2).
    FieldValue,
    /// A CR without its LF (2.2).
    LineEnd,
}

impl ParseKind {
    /// A short stable name for counting. It never changes between releases.
    #[must_use]
    pub fn kind_name(self) -> &'static str {
        match self {
            ParseKind::Version => "parse_version",
            ParseKind::Status => "parse_status",
            ParseKind::FieldName => "parse_field_name",
            ParseKind::FieldValue => "parse_field_value",
            ParseKind::LineEnd => "parse_line_end",
        }
    }

    fn prose(self) -> &'static str {
        match self {
            ParseKind::Version => "does not begin with a version HTTP/1.x",
            ParseKind::Status => "has a malformed status line",
            ParseKind::FieldName => "has a malformed header name",
            ParseKind::FieldValue => "has a control character in a header value",
            ParseKind::LineEnd => "has a CR without its LF",
        }
    }
}

/// A head that is not HTTP/1, with the bytes that showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server's response {} at byte {offset}: \"{seen}\"", kind.prose())]
pub struct ParseError {
    /// The rule broken.
    pub kind: ParseKind,
    /// Where the offending byte is, counted from the start of the head.
    pub offset: u32,
    /// The last bytes up to the offending one.
    pub seen: Snippet,
}

/// A few bytes of what a peer sent, kept in place and escaped when shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snippet {
    bytes: [u8; Snippet::BYTES_MAX],
    length: u8,
}

impl Snippet {
    const BYTES_MAX: usize = 24;

    /// The last bytes of `seen`.
    #[must_use]
    pub fn last_of(seen: &[u8]) -> Snippet {
        let tail = &seen[seen.len().saturating_sub(Self::BYTES_MAX)..];
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..tail.len()].copy_from_slice(tail);
        Snippet { bytes, length: tail.len() as u8 }
    }
}

impl std::fmt::Display for Snippet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bytes[..usize::from(self.length)].escape_ascii().fmt(f)
    }
}

/// Parses one head at the start of `input`. A head is never longer than `limits` allow, and never
/// accepted in parts.
///
/// # Errors
/// [`Error::Parse`] when the bytes cannot become a head whatever follows, [`Error::Limit`] when they
/// break a limit first.
pub fn parse_head(input: &[u8], limits: &Limits) -> Result<Status<HeadSummary>, Error> {
    match parse(input) {
        Ok(Status::Complete(summary)) => {
            if !limits.admit(&summary) {
                limits.check(&input[..summary.head_bytes as usize])?;
            }
            Ok(Status::Complete(summary))
        }
        Ok(Status::Partial) => limits.check(input).map(|()| Status::Partial).map_err(Error::from),
        Err(_) => Err(explain(input, limits)),
    }
}

impl Limits {
    /// Whether a whole head is surely within these limits. A folded one has to be counted by line.
    #[inline]
    pub(super) fn admit(&self, head: &HeadSummary) -> bool {
        head.head_bytes <= self.head_bytes_max
            && head.fields <= self.fields_max
            && head.line_bytes_longest <= self.line_bytes_max
            && !head.folded
    }
}

/// Why no head can begin with `input`: found in the shortest prefix that shows it, so that the
/// answer is the same however the bytes were cut.
#[cold]
fn explain(input: &[u8], limits: &Limits) -> Error {
    let (mut good, mut bad) = (0, input.len());
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        *(if parse(&input[..middle]).is_err() { &mut bad } else { &mut good }) = middle;
    }
    let seen = &input[..bad];
    match (limits.check(seen), parse(seen)) {
        (Err(limit), _) => Error::Limit(limit),
        (Ok(()), result) => Error::Parse(ParseError {
            kind: result.err().unwrap_or(ParseKind::LineEnd),
            offset: (bad as u32).saturating_sub(1),
            seen: Snippet::last_of(seen),
        }),
    }
}

/// The syntax alone, without limits.
fn parse(input: &[u8]) -> Result<Status<HeadSummary>, ParseKind> {
    if matches!(input, [b'\r' | b'\n', ..]) {
        return Err(ParseKind::Version);
    }
    let strict = httparse::ParserConfig::default();
    match parse_with(&strict, input) {
        Ok(Status::Complete(head)) if head.status < 100 => Err(ParseKind::Status),
        Ok(status) if !is_code_below_100(input) => Ok(status),
        Err(kind) if !is_code_below_100(input) => parse_unusual(kind, input),
        _ => Err(ParseKind::Status),
    }
}

/// A code below 100 is known by its first digit, before the head is whole.
fn is_code_below_100(input: &[u8]) -> bool {
    matches!(input, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9', b' ', b'0', ..])
}

/// What a user agent has to take though the strict grammar does not: folded fields, and minor
/// versions after 1.
#[cold]
fn parse_unusual(kind: ParseKind, input: &[u8]) -> Result<Status<HeadSummary>, ParseKind> {
    match kind {
        ParseKind::Version if is_later_minor_version(input) => {
            let mut as_11 = input.to_vec();
            as_11[7] = b'1';
            parse(&as_11)
        }
        ParseKind::FieldName => {
            let mut folding = httparse::ParserConfig::default();
            folding.allow_obsolete_multiline_headers_in_responses(true);
            let status = parse_with(&folding, input)?;
            Ok(match status {
                Status::Complete(head) => Status::Complete(HeadSummary { folded: true, ..head }),
                Status::Partial => Status::Partial,
            })
        }
        _ => Err(kind),
    }
}

fn is_later_minor_version(input: &[u8]) -> bool {
    matches!(input, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9', ..])
}

fn parse_with(
    config: &httparse::ParserConfig,
    input: &[u8],
) -> Result<Status<HeadSummary>, ParseKind> {
    let mut table = [const { MaybeUninit::uninit() }; FIELDS_CEILING as usize];
    let mut response = httparse::Response::new(&mut []);
    match config.parse_response_with_uninit_headers(&mut response, input, &mut table) {
        Ok(httparse::Status::Complete(bytes)) => {
            Ok(Status::Complete(summarise(&response, &input[..bytes])))
        }
        Ok(httparse::Status::Partial) => Ok(Status::Partial),
        Err(error) => Err(kind_of(error)),
    }
}

fn kind_of(error: httparse::Error) -> ParseKind {
    match error {
        httparse::Error::Version => ParseKind::Version,
        httparse::Error::Status | httparse::Error::Token => ParseKind::Status,
        httparse::Error::HeaderName => ParseKind::FieldName,
        httparse::Error::NewLine => ParseKind::LineEnd,
        // Too many headers shows up as a broken limit, which `explain` finds first.
        httparse::Error::HeaderValue | httparse::Error::TooManyHeaders => ParseKind::FieldValue,
    }
}

fn summarise(response: &httparse::Response<'_, '_>, head: &[u8]) -> HeadSummary {
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
    /// This and one more `Transfer-Encoding` field. A quoted parameter could hide a comma, so a
    /// list with a quote in it never counts as chunked.
    fn with(self, value: &[u8]) -> TransferEncoding {
        let start = if self == TransferEncoding::Absent { TransferEncoding::Other } else { self };
        if value.contains(&b'"') {
            return TransferEncoding::ChunkedNotFinal;
        }
        let mut first = self == TransferEncoding::Absent;
        members(value).fold(start, |so_far, coding| {
            let so_far = if std::mem::take(&mut first) { TransferEncoding::Absent } else { so_far };
            so_far.then(coding.eq_ignore_ascii_case(b"chunked"))
        })
    }

    fn then(self, chunked: bool) -> TransferEncoding {
        use TransferEncoding::{
            Absent, Chunked, ChunkedNotFinal, ChunkedTwice, CodedChunked, Other,
        };
        match (self, chunked) {
            (Absent, true) => Chunked,
            (Absent | Other, false) => Other,
            (Other, true) => CodedChunked,
            (Chunked | CodedChunked | ChunkedNotFinal, false) => ChunkedNotFinal,
            (Chunked | CodedChunked | ChunkedNotFinal, true) | (ChunkedTwice, _) => ChunkedTwice,
        }
    }
}
