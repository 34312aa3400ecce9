//! A response's head as clients keep it: the bytes once, the fields parsed when somebody asks. Shared by responses whose heads are the same.

use std::sync::OnceLock;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};

use crate::proto::h1;

/// One head.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    /// Status line, fields and blank line.
    pub(super) bytes: Box<[u8]>,
    headers: OnceLock<HeaderMap>,
    /// What `Keep-Alive` says (RFC 2068 19.7.1, as servers still send it).
    pub(super) keep_alive: KeepAliveHint,
}

/// The server's wishes for an idle connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct KeepAliveHint {
    /// How long it keeps one.
    pub(super) timeout: Option<Duration>,
    /// Requests that it still takes on this one.
    pub(super) max: Option<u32>,
}

impl Head {
    pub(super) fn of(head: &h1::Head<'_>) -> Self {
        Self::of_bytes(head.bytes(), head.status())
    }

    /// A head that was validated.
    pub(super) fn of_bytes(bytes: &[u8], status: u16) -> Self {
        let mut hint = KeepAliveHint::default();
        let fields = h1::Fields::of(bytes);
        let lines = fields.filter(|(name, _)| name.eq_ignore_ascii_case(b"keep-alive"));
        lines.for_each(|(_, value)| hint.handle_line(value));
        let old = bytes.trim_ascii_start().starts_with(b"HTTP/1.0");
        Self {
            status: StatusCode::from_u16(status).unwrap_or_default(),
            version: if old { Version::HTTP_10 } else { Version::HTTP_11 },
            bytes: bytes.into(),
            headers: OnceLock::new(),
            keep_alive: hint,
        }
    }

    /// Its length.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The fields, in the server's order for each name.
    pub(crate) fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| map_of(h1::Fields::of(&self.bytes)))
    }

    /// The fields, as the only owner's if it is the only one.
    pub(crate) fn into_headers(mut self: std::sync::Arc<Self>) -> HeaderMap {
        match std::sync::Arc::get_mut(&mut self).and_then(|head| head.headers.take()) {
            Some(headers) => headers,
            None => self.headers().clone(),
        }
    }
}

/// A map of fields that were validated; those that `http` does not take all the same are left out.
pub(super) fn map_of<'a>(fields: impl Iterator<Item = h1::Field<'a>>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

/// Time kept off a server's own: our request must not cross its close.
const MARGIN_MAX: Duration = Duration::from_secs(2);

impl KeepAliveHint {
    /// How long to keep an idle connection: what the server says, less a margin of half of it, at most [`MARGIN_MAX`].
    pub(super) fn idle(&self) -> Option<Duration> {
        self.timeout.map(|timeout| timeout - (timeout / 2).min(MARGIN_MAX))
    }

    /// Reads `timeout=5, max=100`, all or a part of what the server says; what is no number says nothing.
    fn handle_line(&mut self, value: &[u8]) {
        let text = String::from_utf8_lossy(value).to_ascii_lowercase();
        for member in text.split(',') {
            let Some((name, number)) = member.split_once('=') else { continue };
            let number = number.trim().trim_matches('"').parse::<u32>().ok();
            match name.trim() {
                "timeout" => {
                    self.timeout = number.map(|secs| Duration::from_secs(secs.into()));
                }
                "max" => self.max = number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alive_hints() {
        let check = |value: &str, timeout: Option<u64>, max: Option<u32>| {
            let mut hint = KeepAliveHint::default();
            value.split('|').for_each(|line| hint.handle_line(line.as_bytes()));
            assert_eq!(
                (hint.timeout, hint.max),
                (timeout.map(Duration::from_secs), max),
                "{value}"
            );
        };
        check("timeout=5", Some(5), None);
        check("timeout=5, max=100", Some(5), Some(100));
        check("max=100|timeout=5", Some(5), Some(100));
        check(" Max = 1 ,TIMEOUT=\"7\"", Some(7), Some(1));
        check("timeout=x, max", None, None);
        check("", None, None);
    }
}
