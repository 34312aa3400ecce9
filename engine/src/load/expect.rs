//! What a response must be, and whether one is. No sending, no counting; of a body it keeps no more than a search needs.

use std::fmt::Write;
use std::ops::RangeInclusive;

use memchr::memmem;
use sha2::{Digest, Sha256};

use crate::proto::h1;

/// What a response must be; what is empty is not looked at.
///
/// ```
/// use ringshot::load::{Expect, ExpectedHeader, Needle};
///
/// let expect = Expect {
///     statuses: vec![200..=299, 304..=304],
///     headers: vec![ExpectedHeader { name: "content-type".to_owned(), value: None }],
///     body_contains: Some(Needle::new(b"welcome")),
///     ..Expect::default()
/// };
/// assert_eq!(expect.body_contains.as_ref().map(Needle::bytes), Some(&b"welcome"[..]));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expect {
    /// Statuses that are all right.
    pub statuses: Vec<RangeInclusive<u16>>,
    /// Headers that it must have.
    pub headers: Vec<ExpectedHeader>,
    /// What its body must contain.
    pub body_contains: Option<Needle>,
    /// The SHA-256 of its body.
    pub body_sha256: Option<[u8; 32]>,
}

/// A header that a response must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedHeader {
    /// Its name, in any case of letters.
    pub name: String,
    /// One of its values, exactly; `None` for any.
    pub value: Option<Vec<u8>>,
}

/// Bytes to search for.
#[derive(Debug, Clone)]
pub struct Needle(memmem::Finder<'static>);

impl Needle {
    /// A needle of these bytes; none at all are found everywhere.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(memmem::Finder::new(bytes).into_owned())
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.0.needle()
    }
}

impl PartialEq for Needle {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Needle {}

impl Expect {
    /// Whether the head is needed, besides the status.
    pub(super) fn looks_at_head(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Whether the body is needed.
    pub(super) fn looks_at_body(&self) -> bool {
        self.body_contains.is_some() || self.body_sha256.is_some()
    }

    fn allows(&self, status: u16) -> bool {
        self.statuses.is_empty() || self.statuses.iter().any(|range| range.contains(&status))
    }

    /// `200, 204 or 300-399`.
    fn shown_statuses(&self) -> String {
        let one = |range: &RangeInclusive<u16>| match (range.start(), range.end()) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        };
        let shown: Vec<String> = self.statuses.iter().map(one).collect();
        match shown.split_last() {
            Some((last, before)) if !before.is_empty() => {
                format!("{} or {last}", before.join(", "))
            }
            _ => shown.concat(),
        }
    }
}

/// How a response was not what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unexpected {
    /// `status`, `header`, `body` or `hash`.
    pub(super) what: &'static str,
    /// The difference, in words.
    pub(super) example: String,
}

/// What was seen of the response that a connection is receiving.
#[derive(Debug, Default)]
pub(super) struct Check {
    /// The first header that was wrong, in words.
    header: Option<String>,
    search: Search,
    hash: Option<Sha256>,
}

impl Check {
    /// Its head is there.
    pub(super) fn handle_head(&mut self, expect: &Expect, head: &h1::Head<'_>) {
        self.header = expect.headers.iter().find_map(|header| header.fault(head.fields()));
    }

    /// A piece of its body is there.
    pub(super) fn handle_body(&mut self, expect: &Expect, piece: &[u8]) {
        if let Some(needle) = &expect.body_contains {
            self.search.handle(needle, piece);
        }
        if expect.body_sha256.is_some() {
            self.hash.get_or_insert_default().update(piece);
        }
    }

    /// It is whole.
    pub(super) fn end(&mut self, expect: &Expect, status: u16) -> Result<(), Unexpected> {
        let header = self.header.take();
        let hash = self.hash.take();
        let found = self.search.end();
        if !expect.allows(status) {
            let example = format!("status {status}, not {}", expect.shown_statuses());
            return Err(Unexpected { what: "status", example });
        }
        if let Some(example) = header {
            return Err(Unexpected { what: "header", example });
        }
        if let Some(needle) = expect.body_contains.as_ref().filter(|it| !found && !it.is_empty()) {
            let example = format!("the body does not contain \"{}\"", needle.shown());
            return Err(Unexpected { what: "body", example });
        }
        match expect.body_sha256 {
            None => Ok(()),
            Some(expected) => compare_hash(expected, hash.unwrap_or_default()),
        }
    }
}

fn compare_hash(expected: [u8; 32], hash: Sha256) -> Result<(), Unexpected> {
    let got: [u8; 32] = hash.finalize().into();
    if got == expected {
        return Ok(());
    }
    let example = format!("the body's SHA-256 is {}, not {}", hex(&got), hex(&expected));
    Err(Unexpected { what: "hash", example })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a string has no way to fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl ExpectedHeader {
    /// What is wrong, in words.
    fn fault<'a>(&self, fields: impl Iterator<Item = h1::Field<'a>> + Clone) -> Option<String> {
        let name = &self.name;
        let mut values = fields
            .filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value);
        let Some(expected) = &self.value else {
            return values.next().is_none().then(|| format!("there is no header {name}"));
        };
        if values.clone().any(|value| value == &expected[..]) {
            return None;
        }
        let expected = expected.escape_ascii();
        Some(match values.next() {
            None => format!("there is no header {name}, which should be \"{expected}\""),
            Some(got) => {
                format!("header {name} is \"{}\", not \"{expected}\"", got.escape_ascii())
            }
        })
    }
}

/// Most bytes of a needle that are shown.
const SHOWN_BYTES_MAX: usize = 64;

impl Needle {
    fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    fn shown(&self) -> String {
        let shown = &self.bytes()[..self.bytes().len().min(SHOWN_BYTES_MAX)];
        let rest = if shown.len() < self.bytes().len() { "..." } else { "" };
        format!("{}{rest}", shown.escape_ascii())
    }
}

/// A search in a body that comes in pieces.
#[derive(Debug, Default)]
struct Search {
    found: bool,
    /// The end of what came, one byte shorter than the needle: a match may have begun there.
    tail: Vec<u8>,
}

impl Search {
    fn handle(&mut self, needle: &Needle, piece: &[u8]) {
        if self.found || needle.is_empty() {
            return;
        }
        let overlap = needle.bytes().len() - 1;
        // What spans both ends in the first bytes of the piece.
        self.tail.extend_from_slice(&piece[..piece.len().min(overlap)]);
        self.found = needle.0.find(&self.tail).is_some() || needle.0.find(piece).is_some();
        if piece.len() >= overlap {
            self.tail.clear();
            self.tail.extend_from_slice(&piece[piece.len() - overlap..]);
        } else {
            self.tail.drain(..self.tail.len().saturating_sub(overlap));
        }
    }

    /// Whether it was found; the next search begins.
    fn end(&mut self) -> bool {
        self.tail.clear();
        std::mem::take(&mut self.found)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expect(text: &str) -> Expect {
        Expect { body_contains: Some(Needle::new(text.as_bytes())), ..Expect::default() }
    }

    /// What is wrong with a response, or nothing.
    fn judge(expect: &Expect, status: u16, head: &str, body: &[&[u8]]) -> String {
        let mut check = Check::default();
        let fields = head.lines().filter_map(|line| line.split_once(": "));
        let fields = fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        check.header = expect.headers.iter().find_map(|header| header.fault(fields.clone()));
        body.iter().for_each(|piece| check.handle_body(expect, piece));
        let fault = |wrong: Unexpected| format!("{}: {}", wrong.what, wrong.example);
        check.end(expect, status).err().map(fault).unwrap_or_default()
    }

    #[test]
    fn statuses() {
        let expect =
            Expect { statuses: vec![200..=200, 204..=204, 300..=399], ..Expect::default() };
        for (status, words) in [
            (200, ""),
            (204, ""),
            (308, ""),
            (201, "status: status 201, not 200, 204 or 300-399"),
            (503, "status: status 503, not 200, 204 or 300-399"),
        ] {
            assert_eq!(judge(&expect, status, "", &[]), words);
        }
        assert_eq!(judge(&Expect::default(), 599, "", &[b"anything"]), "");
    }

    #[test]
    fn headers() {
        let header = |name: &str, value: Option<&str>| ExpectedHeader {
            name: name.to_owned(),
            value: value.map(|value| value.as_bytes().to_vec()),
        };
        let check = |header: ExpectedHeader, words: &str| {
            let expect = Expect { headers: vec![header], ..Expect::default() };
            assert_eq!(judge(&expect, 200, "A: 1\nb: x\na: 2\n", &[]), words);
        };
        check(header("a", None), "");
        check(header("A", Some("2")), "");
        check(header("B", Some("x")), "");
        check(header("B", Some("X")), "header: header B is \"x\", not \"X\"");
        check(header("C", None), "header: there is no header C");
        check(header("C", Some("1")), "header: there is no header C, which should be \"1\"");
    }

    #[test]
    fn bodies() {
        assert_eq!(judge(&expect("needle"), 200, "", &[b"a ne", b"ed", b"le"]), "");
        let wrong = "body: the body does not contain \"needle\"";
        assert_eq!(judge(&expect("needle"), 200, "", &[b"need", b"-le"]), wrong);
        assert_eq!(judge(&expect("needle"), 200, "", &[]), wrong);
        assert_eq!(judge(&expect(""), 200, "", &[]), "");
    }

    #[test]
    fn hashes() {
        let sum = |body: &[u8]| Some(Sha256::digest(body).into());
        let expect = Expect { body_sha256: sum(b"hello"), ..Expect::default() };
        assert_eq!(judge(&expect, 200, "", &[b"he", b"", b"llo"]), "");
        let words = judge(&expect, 200, "", &[b"hullo"]);
        assert!(words.starts_with("hash: the body's SHA-256 is "), "{words}");
        assert!(words.contains(", not 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e730433"));
        let empty = Expect { body_sha256: sum(b""), ..Expect::default() };
        assert_eq!(judge(&empty, 200, "", &[]), "");
    }

    /// One response's rest is nothing to the next.
    #[test]
    fn every_response_is_judged_alone() {
        let (expect, mut check) = (expect("ab"), Check::default());
        for (body, right) in [(&b"ab"[..], true), (b"xa", false), (b"b", false), (b"ab", true)] {
            check.handle_body(&expect, body);
            assert_eq!(check.end(&expect, 200).is_ok(), right, "{body:?}");
        }
    }

    proptest! {
        /// However a body is cut, the search finds what is in it and nothing else.
        #[test]
        fn a_search_in_pieces_finds_what_a_search_in_one_does(
            body in "[ab]{0,40}",
            needle in "[ab]{1,6}",
            sizes in prop::collection::vec(1_usize..7, 40),
        ) {
            let (expect, mut check) = (expect(&needle), Check::default());
            let mut rest = body.as_bytes();
            for size in sizes {
                let (piece, after) = rest.split_at(size.min(rest.len()));
                check.handle_body(&expect, piece);
                rest = after;
            }
            check.handle_body(&expect, rest);
            prop_assert_eq!(check.end(&expect, 200).is_ok(), body.contains(&needle));
        }
    }
}
