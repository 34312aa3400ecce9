//! How much a server may send in heads and trailers before we stop reading. Numbers with units, and
//! one scan that finds the first limit broken; it never looks at what the lines mean.

use memchr::memchr;

use super::summary::HeadSummary;

/// The most field lines any limit may allow: the size of the parser's table on the stack.
pub(super) const FIELDS_CEILING: u16 = 128;

/// The most interim responses before a final one.
pub const INTERIM_RESPONSES_MAX: u8 = 32;

/// What one response's heads and trailers may hold. The head limits span every interim response and
/// the final head together (a server cannot grow past them with `100 Continue`).
///
/// They never apply to a body.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// use ringshot::client::{Kind, ProtocolLimits};
///
/// let limits = ProtocolLimits { head_bytes_max: 20, ..ProtocolLimits::default() };
/// let client = engine.client().protocol_limits(limits).build()?;
/// let error = block_on(client.get(origin.url("/")).fetch()).unwrap_err();
/// assert!(matches!(error.kind(), Kind::Limit(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all the heads of one response: 64 KiB unless told.
    pub head_bytes_max: u32,
    /// Bytes of one line of a head, its line end included: 64 KiB unless told.
    pub line_bytes_max: u32,
    /// Bytes of one trailer section: 16 KiB unless told.
    pub trailer_bytes_max: u32,
    /// Field lines of all the heads of one response: 128 unless told, and never more than 128 in
    /// one head.
    pub fields_max: u16,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            head_bytes_max: 64 << 10,
            line_bytes_max: 64 << 10,
            trailer_bytes_max: 16 << 10,
            fields_max: FIELDS_CEILING,
        }
    }
}

/// Which limit a server's bytes broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Limit {
    /// The heads of one response are longer than `head_bytes_max`.
    #[error("the server sent a response head of more bytes than allowed")]
    HeadBytes,
    /// One line of a head is longer than `line_bytes_max`.
    #[error("the server sent a head line of more bytes than allowed")]
    LineBytes,
    /// The heads of one response hold more field lines than `fields_max`.
    #[error("the server sent more header fields than allowed")]
    Fields,
    /// The trailer section is longer than `trailer_bytes_max`, or holds too many fields.
    #[error("the server sent a trailer section larger than allowed")]
    Trailers,
    /// More than [`INTERIM_RESPONSES_MAX`](super::INTERIM_RESPONSES_MAX) interim responses.
    #[error("the server sent more interim (1xx) responses than allowed")]
    Interims,
}

impl Limit {
    /// A short stable name for counting. It never changes between releases.
    #[must_use]
    pub fn kind_name(self) -> &'static str {
        match self {
            Limit::HeadBytes => "limit_head_bytes",
            Limit::LineBytes => "limit_line_bytes",
            Limit::Fields => "limit_fields",
            Limit::Trailers => "limit_trailers",
            Limit::Interims => "limit_interims",
        }
    }
}

/// What the interim responses before one final response used up.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Interims {
    bytes: u32,
    fields: u16,
    /// How many they were.
    pub(super) count: u8,
}

impl Interims {
    /// What they leave of `limits` for the next head.
    pub(super) fn room(&self, limits: &Limits) -> Limits {
        Limits {
            head_bytes_max: limits.head_bytes_max.saturating_sub(self.bytes),
            fields_max: limits.fields_max.saturating_sub(self.fields),
            ..*limits
        }
    }

    /// Takes note of one more.
    pub(super) fn note(&mut self, head: &HeadSummary) -> Result<(), Limit> {
        self.bytes = self.bytes.saturating_add(head.head_bytes);
        self.fields = self.fields.saturating_add(head.fields);
        self.count += 1;
        if self.count > INTERIM_RESPONSES_MAX { Err(Limit::Interims) } else { Ok(()) }
    }
}

impl Limits {
    /// The first limit that `head`, whole or not yet, breaks: by position, so that the answer does
    /// not depend on how the bytes were cut. A continuation line counts as a line of its own.
    pub(super) fn check(&self, head: &[u8]) -> Result<(), Limit> {
        let (mut line_start, mut fields) = (0, 0);
        let fields_max = self.fields_max.min(FIELDS_CEILING);
        while line_start < head.len() {
            let rest = &head[line_start..];
            let end = memchr(b'\n', rest).map(|at| at + 1);
            let line = &rest[..end.unwrap_or(rest.len())];
            self.check_line(line_start, line.len())?;
            let blank = matches!(line, b"\n" | b"\r\n");
            if end.is_some() && line_start > 0 && !blank {
                fields += 1;
            }
            if fields > fields_max {
                return Err(Limit::Fields);
            }
            line_start += line.len();
        }
        Ok(())
    }

    fn check_line(&self, start: usize, bytes: usize) -> Result<(), Limit> {
        let head_room = (self.head_bytes_max as usize).saturating_sub(start);
        let line_room = self.line_bytes_max as usize;
        if bytes > head_room.min(line_room) {
            return Err(if head_room <= line_room { Limit::HeadBytes } else { Limit::LineBytes });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::transcript::check_sent;
    use super::super::{INTERIM_RESPONSES_MAX, Sent};
    use super::*;

    const SMALL: Limits =
        Limits { head_bytes_max: 60, line_bytes_max: 30, trailer_bytes_max: 20, fields_max: 3 };

    fn check_with(limits: Limits, raw: &str, expected: &[&str]) {
        check_sent(&[Sent::default()], limits, raw.as_bytes(), expected);
    }

    fn check(raw: &str, expected: &[&str]) {
        check_with(SMALL, raw, expected);
    }

    #[test]
    fn heads_up_to_the_limits_pass() {
        check(
            "HTTP/1.1 204\r\na: 1\r\nb: 2\r\nc: 3\r\n\r\n",
            &["head 204 a=1 b=2 c=3 None", "end"],
        );
        let line = format!("a:{}\r\n", "x".repeat(26));
        let told = format!("head 204 a={} None", "x".repeat(26));
        check(&format!("HTTP/1.1 204\r\n{line}\r\n"), &[&told, "end"]);
        let exact = format!("HTTP/1.1 204\r\n{line}b:{}\r\n\r\n", "x".repeat(10));
        assert_eq!(exact.len(), 60);
        check(&exact, &[&told.replace(" None", &format!(" b={} None", "x".repeat(10))), "end"]);
    }

    #[test]
    fn the_first_limit_broken_is_told() {
        check("HTTP/1.1 204\r\na:1\r\nb:2\r\nc:3\r\nd:4\r\n\r\n", &["error limit_fields"]);
        check(&format!("HTTP/1.1 204\r\na:{}", "x".repeat(99)), &["error limit_line_bytes"]);
        check(
            &format!("HTTP/1.1 204\r\na:{}\r\n\r\n", "x".repeat(27)),
            &["error limit_line_bytes"],
        );
        let long = format!("HTTP/1.1 204\r\na:{0}\r\nb:{0}\r\n\r\n", "x".repeat(20));
        check(&long, &["error limit_head_bytes"]);
        check(&format!("{long}\0"), &["error limit_head_bytes"]);
        check("HTTP/1.1 204\r\na:1\r\n 1\r\n 2\r\n 3\r\n\r\n", &["error limit_fields"]);
        check("HTTP/1.1 204\r\nbad name:1\r\nb:2\r\nc:3\r\nd:4\r\n", &["error parse_field_name"]);
    }

    #[test]
    fn head_limits_span_interim_responses() {
        let interim = "HTTP/1.1 103\r\na: 1\r\n\r\n";
        let last = "HTTP/1.1 204\r\n\r\n";
        let told = ["interim 103 a=1", "interim 103 a=1", "head 204 None", "end"];
        check(&format!("{interim}{interim}{last}"), &told);
        let three = format!("{interim}{interim}{interim}{last}");
        check(&three, &["interim 103 a=1", "interim 103 a=1", "error limit_head_bytes"]);
        let wide = Limits { head_bytes_max: 1000, ..SMALL };
        let told = ["interim 103 a=1"; 3];
        check_with(
            wide,
            &format!("{interim}{three}"),
            &[&told[..], &["error limit_fields"]].concat(),
        );
    }

    #[test]
    fn interim_responses_are_capped() {
        let count = usize::from(INTERIM_RESPONSES_MAX);
        let interims = "HTTP/1.1 100\r\n\r\n".repeat(count);
        let mut told = vec!["interim 100"; count];
        let all = format!("{interims}HTTP/1.1 204\r\n\r\n");
        let raise = Limits::default();
        check_with(raise, &all, &[&told[..], &["head 204 None", "end"]].concat());
        told.push("error limit_interims");
        check_with(raise, &format!("{interims}HTTP/1.1 102\r\n\r\n"), &told);
    }

    #[test]
    fn default_limits() {
        let head = |fields: usize| format!("HTTP/1.1 204\r\n{}\r\n", "a: b\r\n".repeat(fields));
        let told = format!("head 204{} None", " a=b".repeat(128));
        check_with(Limits::default(), &head(128), &[&told, "end"]);
        check_with(Limits::default(), &head(129), &["error limit_fields"]);
        let generous = Limits { fields_max: 999, ..Limits::default() };
        check_with(generous, &head(129), &["error limit_fields"]);
    }

    #[test]
    fn trailers_have_a_limit_of_their_own() {
        let body = "HTTP/1.1 200\r\nTransfer-Encoding:chunked\r\n\r\n0\r\n";
        let head = "head 200 Transfer-Encoding=chunked Chunked";
        check(
            &format!("{body}a: 3456789\r\nb: 4\r\n\r\n"),
            &[head, "trailers a=3456789 b=4", "end"],
        );
        let long = format!("{body}a: 34567890\r\nb: 4\r\n\r\n");
        check(&long, &[head, "error limit_trailers"]);
        check(&format!("{body}a:1\r\nb:2\r\nc:3\r\nd:4\r\n"), &[head, "error limit_trailers"]);
    }
}
