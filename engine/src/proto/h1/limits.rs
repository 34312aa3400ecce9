//! How much a server may send in heads and trailers before we stop reading. Numbers with units, and
//! one scan that finds the first limit broken; it never looks at what the lines mean.

use memchr::memchr;

/// The most field lines any limit may allow: the size of the parser's table on the stack.
pub(super) const FIELDS_CEILING: u16 = 128;

/// What one response's heads and trailers may hold. The head limits span every interim response and
/// the final head together (a server cannot grow past them with `100 Continue`).
///
/// They never apply to a body.
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

impl Limits {
    /// What is left for the next head once `bytes` and `fields` were spent on interim ones.
    pub(super) fn less(&self, bytes: u32, fields: u16) -> Limits {
        Limits {
            head_bytes_max: self.head_bytes_max.saturating_sub(bytes),
            fields_max: self.fields_max.saturating_sub(fields),
            ..*self
        }
    }

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
