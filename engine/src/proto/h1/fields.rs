//! Names and values of a head that was already validated. It never validates and never copies,
//! apart from [`unfold`], which runs only where a server still folds lines.

use memchr::memchr;

/// One field: the name as the server wrote it, and the value without the white space around it.
pub type Field<'a> = (&'a [u8], &'a [u8]);

/// The fields of a head in the server's order, duplicates kept (RFC 9110 5.2, 5.3). It never joins,
/// sorts or lower-cases them.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `head`, a whole head that starts with its status line.
    pub(crate) fn of(head: &'a [u8]) -> Fields<'a> {
        Fields { rest: split_line(head).1 }
    }

    /// The value of the first field called `name`, in any case of letters.
    #[must_use]
    pub fn value_of(mut self, name: &str) -> Option<&'a [u8]> {
        self.find(|field| field.0.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.1)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let (line, rest) = split_line(self.rest);
        let colon = memchr(b':', line)?;
        self.rest = rest;
        Some((&line[..colon], trim(&line[colon + 1..])))
    }
}

/// The fields after a chunked body (RFC 9112 7.1.2). They are never merged into the head's.
#[derive(Debug, Clone, Copy)]
pub struct Trailers<'a>(Fields<'a>);

/// What a trailer may not say: framing, routing, authentication and what must be known before the
/// content (RFC 9110 6.5.1).
const TRAILERS_FORBIDDEN: [&[u8]; 24] = [
    b"transfer-encoding",
    b"content-length",
    b"content-encoding",
    b"content-type",
    b"content-range",
    b"trailer",
    b"host",
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"upgrade",
    b"te",
    b"authorization",
    b"proxy-authorization",
    b"www-authenticate",
    b"proxy-authenticate",
    b"authentication-info",
    b"proxy-authentication-info",
    b"set-cookie",
    b"cache-control",
    b"expires",
    b"location",
    b"retry-after",
    b"vary",
];

impl<'a> Trailers<'a> {
    pub(super) fn of(section: &'a [u8]) -> Trailers<'a> {
        Trailers(Fields::of(section))
    }

    /// The trailers that may mean something. Names of framing, routing and authentication are
    /// dropped, whatever the server meant by them (RFC 9110 6.5.1).
    pub fn fields(self) -> impl Iterator<Item = Field<'a>> {
        self.0.filter(|(name, _)| {
            !TRAILERS_FORBIDDEN.iter().any(|forbidden| forbidden.eq_ignore_ascii_case(name))
        })
    }

    /// Every trailer as it came, forbidden names too: to show, never to act on.
    #[must_use]
    pub fn as_sent(self) -> Fields<'a> {
        self.0
    }
}

/// The line up to its line end, without it, and what follows.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr(b'\n', bytes).unwrap_or(bytes.len());
    let line = &bytes[..end];
    (line.strip_suffix(b"\r").unwrap_or(line), bytes.get(end + 1..).unwrap_or_default())
}

/// `value` without the spaces and tabs around it: OWS of RFC 9110 5.6.3, and nothing else.
pub(super) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// The members of a comma-separated list, white space trimmed, empty ones left out (RFC 9110 5.6.1).
pub(super) fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(trim).filter(|member| !member.is_empty())
}

/// Whether any member of `list` is `token`, in any case of letters.
pub(super) fn lists(list: &[u8], token: &[u8]) -> bool {
    members(list).any(|member| member.eq_ignore_ascii_case(token))
}

/// A token of RFC 9110 5.6.2: what a method and a field name are made of.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// `head` into `out` with each folded line joined to the one before by one space, as a user agent
/// must (RFC 9112 5.2).
pub(super) fn unfold(head: &[u8], out: &mut Vec<u8>) {
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let blank = line.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if blank > 0 {
            out.truncate(out.trim_ascii_end().len());
            out.push(b' ');
        }
        out.extend_from_slice(&line[blank..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of them by its name here, so that none can be forgotten in the table above.
    #[test]
    fn what_a_trailer_may_not_say_is_dropped() {
        const FORBIDDEN: &str = "Transfer-Encoding Content-Length Content-Encoding Content-Type Content-Range Trailer Host Connection Keep-Alive \
            Proxy-Connection Upgrade TE Authorization Proxy-Authorization WWW-Authenticate Proxy-Authenticate Authentication-Info \
            Proxy-Authentication-Info Set-Cookie Cache-Control Expires Location Retry-After Vary";
        for name in FORBIDDEN.split(' ') {
            for name in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
                let section = format!("first: 1\r\n{name}: x\r\nX-{name}: 2\r\n\r\n");
                let trailers = Trailers(Fields { rest: section.as_bytes() });
                let kept: Vec<_> = trailers.fields().map(|(_, value)| value).collect();
                assert_eq!(kept, [b"1", b"2"], "{name}");
                assert_eq!(trailers.as_sent().count(), 3, "{name}");
            }
        }
    }
}
