//! The places of a text, such as `{{seq}}`: where they begin and end. What they mean is for `compile` to say.

use memchr::memmem;

use crate::proto::url::put_percent_encoded;

/// Begins a place; twice in a row it stands for itself.
pub(super) const OPEN: &[u8] = b"{{";
const CLOSE: &[u8] = b"}}";

/// `url` with what stands in its places percent-encoded, as [`Filled::compile`](super::Filled::compile) takes it: `{{users.first name}}` is a place, but no part of a
/// [`Url`](crate::proto::url::Url). What stands between the places is as it was.
///
/// ```
/// use ringshot::load::encode_places;
///
/// let url = encode_places("http://h.test/{{users.first name}}?page={{seq}}");
/// assert_eq!(url, "http://h.test/{{users.first%20name}}?page={{seq}}");
/// ```
#[must_use]
pub fn encode_places(url: &str) -> String {
    let mut out = Vec::with_capacity(url.len());
    for part in Parts(url.as_bytes()) {
        match part {
            Part::Text(text) => out.extend_from_slice(text),
            Part::Braces => out.extend_from_slice(&[OPEN, OPEN].concat()),
            Part::Unclosed(text) | Part::Place(text) => {
                out.extend_from_slice(OPEN);
                put_percent_encoded(&mut out, text);
                let close = if matches!(part, Part::Place(_)) { CLOSE } else { b"" };
                out.extend_from_slice(close);
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A part of a text that may have places.
pub(super) enum Part<'a> {
    /// What stands for itself.
    Text(&'a [u8]),
    /// Two braces, which were written twice.
    Braces,
    /// What stands in a place.
    Place(&'a [u8]),
    /// What stands behind the braces of a place that does not end.
    Unclosed(&'a [u8]),
}

/// The parts of a text, from left to right.
pub(super) struct Parts<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let (part, rest) = match self.0.strip_prefix(OPEN) {
            None => {
                let end = memmem::find(self.0, OPEN).unwrap_or(self.0.len());
                (Part::Text(&self.0[..end]), &self.0[end..])
            }
            Some(inside) if inside.starts_with(OPEN) => (Part::Braces, &inside[OPEN.len()..]),
            Some(inside) => match memmem::find(inside, CLOSE) {
                Some(end) => (Part::Place(&inside[..end]), &inside[end + CLOSE.len()..]),
                None => (Part::Unclosed(inside), &b""[..]),
            },
        };
        self.0 = rest;
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_in_places_is_encoded() {
        for (url, encoded) in [
            ("/?x={{u.first name}}&y", "/?x={{u.first%20name}}&y"),
            ("/{{u.\u{e9}}}/{{ seq }}", "/{{u.%C3%A9}}/{{%20seq%20}}"),
            ("/{{u.a%2F?#/}}#{x}", "/{{u.a%252F%3F%23%2F}}#{x}"),
            ("/{{{{a b}}{{", "/{{{{a b}}{{"),
            ("/{{a b", "/{{a%20b"),
            ("", ""),
        ] {
            assert_eq!(encode_places(url), encoded);
        }
    }
}
