//! A response head into a small summary: status, version and what framing and persistence need.
//! httparse does the syntax; around it stands what the RFC asks of a user agent and httparse leaves
//! out. It never keeps the bytes, never decides about the body, and incomplete is not an error.

use std::mem::MaybeUninit;

use super::error::Error;
use super::fields::unfold;
use super::limits::{FIELDS_CEILING, Limits};
use super::summary::{HeadSummary, summarise};

/// Whether a head was whole. `Partial` asks for more bytes and is never an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status<T> {
    /// All of it was there.
    Complete(T),
    /// More bytes are needed.
    Partial,
}

/// Which rule of the grammar a head breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
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
    /// Where the offending byte is, counted from the start of the head or the trailers.
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

    /// Without what does not belong to the `bytes` that came last.
    pub(super) fn within(self, bytes: usize) -> Snippet {
        let shown = usize::from(self.length);
        Snippet::last_of(&self.bytes[shown.saturating_sub(bytes)..shown])
    }

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
            match parse_with(&folding, input)? {
                Status::Complete(head) => summarise_unfolded(&input[..head.head_bytes as usize]),
                Status::Partial => Ok(Status::Partial),
            }
        }
        _ => Err(kind),
    }
}

/// The summary of a folded head: what its fields say once their lines are joined.
fn summarise_unfolded(folded: &[u8]) -> Result<Status<HeadSummary>, ParseKind> {
    let mut head = Vec::with_capacity(folded.len());
    unfold(folded, &mut head);
    Ok(match parse_with(&httparse::ParserConfig::default(), &head)? {
        Status::Complete(summary) => {
            let head_bytes = folded.len() as u32;
            Status::Complete(HeadSummary { folded: true, head_bytes, ..summary })
        }
        Status::Partial => Status::Partial,
    })
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

#[cfg(test)]
mod tests {
    use super::super::transcript::check;

    /// A status line alone, answered until the close.
    fn check_status_line(line: &str, expected: &str) {
        check(format!("{line}\r\nContent-Length: 0\r\n\r\n"), &[expected, "end"]);
    }

    fn check_refused(head: impl AsRef<[u8]>, kind: &str) {
        check(head, &[&format!("error {kind}")]);
    }

    fn check_fields(fields: &str, shown: &str) {
        let head = format!("HTTP/1.1 204 No\r\n{fields}\r\n");
        check(head, &[&format!("head 204{shown} None"), "end"]);
    }

    #[test]
    fn status_lines() {
        let told = "head 200 Content-Length=0 Length(0)";
        check_status_line("HTTP/1.1 200 OK", told);
        check_status_line("HTTP/1.1 200 ", told);
        check_status_line("HTTP/1.1 200", told);
        check_status_line("HTTP/1.1 200  two words\t", told);
        check_status_line("HTTP/1.2 200 OK", told);
        check_status_line("HTTP/1.9 200 OK", told);
        check_status_line("HTTP/1.1 999 OK", "head 999 Content-Length=0 Length(0)");
        check_status_line("HTTP/1.1 600 OK", "head 600 Content-Length=0 Length(0)");
        check(
            b"HTTP/1.1 200 \xff\x80\r\nContent-Length: 0\r\n\r\n",
            &["head 200 Content-Length=0 Length(0)", "end"],
        );
    }

    #[test]
    fn status_lines_refused() {
        for code in ["20", "2", "2000", "0x1", "-1", "20X", "000", "099", "٢٠٠", " 200", "\t200"]
        {
            check_refused(format!("HTTP/1.1 {code} OK\r\n\r\n"), "parse_status");
        }
        for version in [
            "HTP/1.1",
            "HTTP/11.1",
            "HTTP/1.01",
            "http/1.1",
            "HTTP/2.0",
            "HTTP/5.6",
            "HTTP/0.9",
            "HTTP/1.",
            "HTTP/1.x",
            "HTTP/1.1\t",
            "RTSP/1.1",
            "\r\nHTTP/1.1",
            "\nHTTP/1.1",
            "HTTP/1.2\t",
            "HTTPER/1.1",
        ] {
            check_refused(format!("{version} 200 OK\r\n\r\n"), "parse_version");
        }
        check_refused("<html>no head at all</html>", "parse_version");
        check_refused("HTTP/1.1 200 O\0K\r\n\r\n", "parse_status");
        check_refused("HTTP/1.1 200 O\rK\r\n\r\n", "parse_status");
        check_refused("HTTP/1.1 200\rOK\r\n\r\n", "parse_status");
    }

    #[test]
    fn fields() {
        check_fields("a:1\r\nB: \t2 \t\r\na:\r\n", " a=1 B=2 a=");
        check_fields("Set-Cookie: a\r\nset-cookie: b\r\n", " Set-Cookie=a set-cookie=b");
        check_fields("a: b: c\r\n!#$%&'*+-.^_`|~9z: x\r\n", " a=b: c !#$%&\\'*+-.^_`|~9z=x");
        let obs_text = b"HTTP/1.1 204 No\r\na: \xff\x80\xe9\r\n\r\n";
        check(obs_text, &["head 204 a=\\xff\\x80\\xe9 None", "end"]);
    }

    #[test]
    fn bare_lf_ends_a_line() {
        check("HTTP/1.1 204 No\na: b\nc: d\n\n", &["head 204 a=b c=d None", "end"]);
        check("HTTP/1.1 204\na: b\r\n\n", &["head 204 a=b None", "end"]);
    }

    #[test]
    fn fields_refused() {
        for name in ["", "a\0", "a\u{1}", "é", "a b", "a ", "a\t", "a(", "a\"", "a\u{7f}"] {
            let head = format!("HTTP/1.1 204 No\r\n{name}: b\r\n\r\n");
            check_refused(head, "parse_field_name");
        }
        check_refused("HTTP/1.1 204 No\r\nno colon\r\n\r\n", "parse_field_name");
        check_refused("HTTP/1.1 204 No\r\nnocolon\r\n\r\n", "parse_field_name");
        for value in ["\0", "a\0b", "a\rb", "\r", "a\u{7f}", "a\u{1}"] {
            let head = format!("HTTP/1.1 204 No\r\na: {value}b\r\n\r\n");
            check_refused(head, "parse_field_value");
        }
        check_refused("HTTP/1.1 204 No\r\na: b\r\n\rc", "parse_line_end");
    }

    #[test]
    fn white_space_after_the_status_line_is_refused() {
        check_refused("HTTP/1.1 204 No\r\n a: b\r\n\r\n", "parse_field_name");
        check_refused("HTTP/1.1 204 No\r\n \r\na: b\r\n\r\n", "parse_field_name");
        check_refused("HTTP/1.1 204 No\r\n\t\r\n\r\n", "parse_field_name");
    }

    #[test]
    fn folded_lines_are_joined_by_one_space() {
        check_fields("a: just\r\n some\r\n\t  folding\r\n", " a=just some folding");
        check_fields("a: b  \r\n   \r\n c\r\nd: e\r\n", " a=b c d=e");
        check_fields("a:\r\n b\r\n", " a=b");
        check_fields("a: \n\tb\n", " a=b");
        check_fields("a: b\r\n  \r\n", " a=b");
        check_refused("HTTP/1.1 204 No\r\na: b\r\n c\0\r\n\r\n", "parse_field_value");
        check_refused("HTTP/1.1 204 No\r\na: b\r\n c\r\nd e\r\n\r\n", "parse_field_name");
    }

    #[test]
    fn folded_fields_mean_what_they_say_unfolded() {
        let close = "HTTP/1.1 204 No\r\nConnection: x,\r\n close\r\n\r\n";
        check(close, &["head 204 Connection=x, close None", "end: the server asked to close"]);
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip,\r\n chunked\r\n\r\n0\r\n\r\n";
        check(chunked, &["head 200 Transfer-Encoding=gzip, chunked Chunked", "end"]);
    }

    #[test]
    fn cut_short() {
        check("", &["error empty_reply"]);
        for head in
            ["H", "HTTP/1.1", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\na:"]
        {
            check(head, &["error truncated_head"]);
        }
    }

    #[test]
    fn errors_show_what_was_seen() {
        let told = "the server's response has a malformed status line at byte 11: \"HTTP/1.1 20X\"";
        check("HTTP/1.1 20X OK\r\n\r\n", &[&format!("error parse_status: {told}")]);
    }
}
