//! Requests with places that are filled anew each time. Filling allocates nothing once buffers have grown, and can't fail but for want of rows.

use std::sync::Arc;

use super::feed::Feed;
use super::template::Coding;
use crate::proto::h1::{self, put_content_length, put_decimal};
use crate::proto::url::put_percent_encoded;
use crate::random::Random;

/// A compiled request.
///
/// ```
/// use std::sync::Arc;
/// use http::Method;
/// use ringshot::load::{Content, Feed, FeedOrder, FillError, Filled, KeepAlive, Place, Request, encode_places};
/// use ringshot::proto::url::Url;
///
/// let mut users = Feed::new("users", vec!["first name".to_owned()], FeedOrder::InOrder)?;
/// users.push([&b"Ada"[..]])?;
/// let feeds = [Arc::new(users)];
/// let compile = |path: &str, body: &str| {
///     let url = Url::parse(&encode_places(&format!("http://example.test{path}"))).expect("a URL");
///     let (method, body) = (Method::POST, body.as_bytes());
///     let request = Request { method: &method, url: &url, headers: &[], body, keep_alive: KeepAlive::On };
///     Filled::compile(&request, &feeds)?;
///     Content::compile_chunked(&request, &feeds)?;
///     Content::compile(&request, &feeds)
/// };
/// assert!(matches!(compile("/", "the same each time")?, Content::Fixed(_)));
/// assert!(matches!(compile("/{{users.first name}}", "number {{seq}}")?, Content::Filled(_)));
/// let error = compile("/", "{{users.last name}}").unwrap_err();
/// assert!(matches!(error, FillError::Column { .. }));
/// assert_eq!(error.place(), Some(Place::Body));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Filled {
    /// All of it; with a `body` of its own, the head, without its end if that is to say how long the body is.
    pub(super) head: Box<[Piece]>,
    /// The body, if its length is only known once it is filled.
    pub(super) body: Option<Box<[Piece]>>,
    /// How that body goes out.
    pub(super) coding: Coding,
    /// Places in the mix's feeds of those that it takes a row of.
    pub(super) feeds: Box<[u32]>,
    pub(super) sent: h1::Sent,
}

/// A part of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// The same each time.
    Literal(Box<[u8]>),
    /// A value as it is.
    Plain(Value),
    /// A value in a request target: what is reserved there is percent-encoded (RFC 3986 2.1).
    Encoded(Value),
}

/// What a place is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// The number of the request over all cores.
    Seq,
    /// A whole number, both ends included.
    Rand {
        /// The lowest.
        low: i128,
        /// How far the highest lies above it.
        span: u64,
    },
    /// A random UUID (RFC 9562 5.4).
    Uuid,
    /// A value of a row.
    Column {
        /// Place of the feed in [`Filled::feeds`].
        feed: u32,
        /// Place of the column.
        column: u32,
    },
}

/// No row is left of a feed that gives each row once: the run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exhausted;

/// What one core needs to fill requests.
#[derive(Debug)]
pub(super) struct Filler {
    seed: u64,
    /// Where the values of the request come from that is being filled.
    random: Random,
    /// The rows of the request that is being filled.
    rows: Vec<u64>,
    body: Vec<u8>,
    value: Vec<u8>,
}

impl Filler {
    /// For a run with this seed: the same number gives the same values, whichever core fills it.
    pub(super) fn new(seed: u64) -> Self {
        let random = Random::new(seed);
        Self { seed, random, rows: Vec::new(), body: Vec::new(), value: Vec::new() }
    }

    /// Appends request number `index` of the run to `out`, which stays as it was if a feed has no row left.
    pub(super) fn fill(
        &mut self,
        filled: &Filled,
        feeds: &[Arc<Feed>],
        index: u64,
        out: &mut Vec<u8>,
    ) -> Result<h1::Sent, Exhausted> {
        self.random = Random::new(self.seed.rotate_left(32) ^ Random::new(index).number());
        self.rows.clear();
        for feed in &filled.feeds {
            let feed = feeds.get(*feed as usize).ok_or(Exhausted)?;
            self.rows.push(feed.row(index, &mut self.random)?);
        }
        let source = Source { filled, feeds, index };
        self.put_pieces(&source, &filled.head, out);
        if let Some(pieces) = &filled.body {
            let mut body = std::mem::take(&mut self.body);
            body.clear();
            self.put_pieces(&source, pieces, &mut body);
            if filled.coding == Coding::Plain {
                put_content_length(out, body.len() as u64);
                out.extend_from_slice(b"\r\n");
            }
            filled.coding.put(&body, out);
            self.body = body;
        }
        Ok(filled.sent)
    }

    fn put_pieces(&mut self, source: &Source<'_>, pieces: &[Piece], out: &mut Vec<u8>) {
        for piece in pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Plain(value) => self.put_value(source, *value, out),
                Piece::Encoded(value) => {
                    let mut plain = std::mem::take(&mut self.value);
                    plain.clear();
                    self.put_value(source, *value, &mut plain);
                    put_percent_encoded(out, &plain);
                    self.value = plain;
                }
            }
        }
    }

    fn put_value(&mut self, source: &Source<'_>, value: Value, out: &mut Vec<u8>) {
        match value {
            Value::Seq => put_decimal(out, source.index),
            Value::Rand { low, span } => {
                let number = low + i128::from(self.random.between(0, span));
                if number < 0 {
                    out.push(b'-');
                }
                put_decimal(out, number.unsigned_abs() as u64);
            }
            Value::Uuid => put_uuid(out, self.random.number(), self.random.number()),
            Value::Column { feed, column } => {
                let row = self.rows.get(feed as usize).copied().unwrap_or_default();
                let place = source.filled.feeds.get(feed as usize).copied().unwrap_or_default();
                if let Some(feed) = source.feeds.get(place as usize) {
                    out.extend_from_slice(feed.value(row, column));
                }
            }
        }
    }
}

/// Where the values of one request come from, besides chance.
struct Source<'a> {
    filled: &'a Filled,
    feeds: &'a [Arc<Feed>],
    index: u64,
}

const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";

/// A UUID of version 4 and variant 10 with these random bits.
fn put_uuid(out: &mut Vec<u8>, high: u64, low: u64) {
    let high = (high & !0xF000) | 0x4000;
    let low = (low & !(0b11 << 62)) | (0b10 << 62);
    for (place, byte) in high.to_be_bytes().into_iter().chain(low.to_be_bytes()).enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX_LOWER[usize::from(byte >> 4)]);
        out.push(HEX_LOWER[usize::from(byte & 0xF)]);
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::load::feed::FeedOrder;
    use crate::load::feed::testing::feed;
    use crate::load::{CHUNK_BYTES, Content, KeepAlive, Request};
    use crate::proto::url::Url;

    fn compile(url: &str, headers: &[(&str, &str)], body: &str, feeds: &[Arc<Feed>]) -> Filled {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect();
        let request = Request {
            method: if body.is_empty() { &Method::GET } else { &Method::POST },
            url: &Url::parse(url).unwrap(),
            headers: &headers,
            body: body.as_bytes(),
            keep_alive: KeepAlive::On,
        };
        Filled::compile(&request, feeds).unwrap()
    }

    fn fill(filled: &Filled, feeds: &[Arc<Feed>], index: u64) -> String {
        let mut out = Vec::new();
        Filler::new(1).fill(filled, feeds, index, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_place_is_filled_and_the_length_is_right() {
        let feeds = [Arc::new(feed(
            "users",
            FeedOrder::InOrder,
            &["id,name", "7,ann", "1234,b&b /\u{e9}"],
        ))];
        let filled = compile(
            "http://h/u/{{users.id}}?n={{users.name}}&s={{seq}}",
            &[("X-Name", "<{{users.name}}>")],
            r#"{"id":{"n":{{csv.id}}}}"#,
            &feeds,
        );
        let first = "POST /u/7?n=ann&s=0 HTTP/1.1\r\nHost: h\r\nX-Name: <ann>\r\n\
                     Content-Length: 14\r\n\r\n{\"id\":{\"n\":7}}";
        assert_eq!(fill(&filled, &feeds, 0), first);
        let second = "POST /u/1234?n=b%26b%20%2F%C3%A9&s=3 HTTP/1.1\r\nHost: h\r\n\
                      X-Name: <b&b /\u{e9}>\r\nContent-Length: 17\r\n\r\n{\"id\":{\"n\":1234}}";
        assert_eq!(fill(&filled, &feeds, 3), second);
    }

    #[test]
    fn a_chunked_body_says_no_length() {
        let check = |target: &str, body: &[u8], expected: &str| {
            let request = Request {
                method: &Method::POST,
                url: &Url::parse(&format!("http://h{target}")).unwrap(),
                headers: &[],
                body,
                keep_alive: KeepAlive::On,
            };
            let text = match Content::compile_chunked(&request, &[]).unwrap() {
                Content::Fixed(template) => String::from_utf8_lossy(template.bytes()).into_owned(),
                Content::Filled(filled) => fill(&filled, &[], 7),
            };
            let head = "HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
            let (_, sent) = text.split_once(head).unwrap();
            assert_eq!(sent, expected, "{text}");
        };
        check("/", b"hello", "5\r\nhello\r\n0\r\n\r\n");
        check("/{{seq}}", b"a{{{{", "3\r\na{{\r\n0\r\n\r\n");
        check("/", b"n={{seq}}", "3\r\nn=7\r\n0\r\n\r\n");
        check("/{{seq}}", b"", "0\r\n\r\n");
        let long = [&b"{{seq}}"[..], &[b'x'; CHUNK_BYTES]].concat();
        let whole = format!("7{}", "x".repeat(CHUNK_BYTES - 1));
        check("/", &long, &format!("4000\r\n{whole}\r\n1\r\nx\r\n0\r\n\r\n"));
    }

    #[test]
    fn a_body_without_places_keeps_its_length_and_braces_can_be_written() {
        let filled = compile("http://h/{{seq}}", &[], "x{{{{y}}", &[]);
        let expected = "POST /18446744073709551615 HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\n\
                        x{{y}}";
        assert_eq!(fill(&filled, &[], u64::MAX), expected);
    }

    #[test]
    fn numbers_and_uuids_are_in_range_and_follow_the_seed() {
        let filled = compile("http://h/{{rand:3:5}}/{{uuid}}", &[], "", &[]);
        let take = |seed, numbers: &mut dyn Iterator<Item = u64>| -> Vec<String> {
            let mut filler = Filler::new(seed);
            let one = |index| {
                let mut out = Vec::new();
                filler.fill(&filled, &[], index, &mut out).unwrap();
                String::from_utf8(out).unwrap().split(' ').nth(1).unwrap().to_owned()
            };
            numbers.map(one).collect()
        };
        let paths = take(1, &mut (0..200));
        for path in &paths {
            let (number, uuid) = path[1..].split_once('/').unwrap();
            assert!(["3", "4", "5"].contains(&number), "{path}");
            let groups: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12], "{path}");
            assert!(uuid[14..].starts_with('4') && b"89ab".contains(&uuid.as_bytes()[19]));
        }
        assert!(["/3/", "/4/", "/5/"].iter().all(|n| paths.iter().any(|path| path.contains(n))));
        // In whatever order, on whichever core.
        let backwards: Vec<String> = take(1, &mut (0..200).rev()).into_iter().rev().collect();
        assert_eq!(paths, backwards);
        assert!(paths != take(2, &mut (0..200)) && paths != take(1, &mut (200..400)));
    }

    #[test]
    fn numbers_may_be_negative_and_of_any_width() {
        let take = |range: &str| -> Vec<i128> {
            let filled = compile(&format!("http://h/{{{{rand:{range}}}}}"), &[], "", &[]);
            let mut filler = Filler::new(1);
            let one = |index| {
                let mut out = Vec::new();
                filler.fill(&filled, &[], index, &mut out).unwrap();
                let head = String::from_utf8(out).unwrap();
                head.split([' ', '/']).nth(2).unwrap().parse().unwrap()
            };
            (0..200).map(one).collect()
        };
        let mut seen = take("-2:2");
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [-2, -1, 0, 1, 2]);
        let all = take("0:18446744073709551615");
        assert!(all.iter().any(|number| *number > i128::from(u64::MAX / 2)));
        let low = take("-9223372036854775808:0");
        assert!(low.iter().all(|number| (i128::from(i64::MIN)..=0).contains(number)));
    }

    #[test]
    fn a_feed_that_is_used_up_writes_nothing() {
        let feeds = [Arc::new(feed("f", FeedOrder::Unique, &["id", "1"]))];
        let filled = compile("http://h/{{f.id}}", &[], "", &feeds);
        assert!(fill(&filled, &feeds, 0).starts_with("GET /1 "));
        let mut out = b"before".to_vec();
        assert_eq!(Filler::new(1).fill(&filled, &feeds, 1, &mut out), Err(Exhausted));
        assert_eq!(out, b"before");
    }

    /// The largest values come first; after that no buffer grows.
    #[test]
    fn buffers_stop_growing() {
        let rows: Vec<String> = (0..50).rev().map(|length| "v".repeat(length)).collect();
        let rows: Vec<&str> = ["v"].into_iter().chain(rows.iter().map(String::as_str)).collect();
        let feeds = [Arc::new(feed("f", FeedOrder::InOrder, &rows))];
        let filled = compile("http://h/{{f.v}}/{{uuid}}", &[], "{{f.v}}{{rand:1:9}}", &feeds);
        let (mut filler, mut out) = (Filler::new(1), Vec::new());
        let mut room = |index| {
            out.clear();
            filler.fill(&filled, &feeds, index, &mut out).unwrap();
            (
                out.capacity(),
                filler.rows.capacity(),
                filler.body.capacity(),
                filler.value.capacity(),
            )
        };
        let first = room(0);
        assert!((1..1_000).all(|index| room(index) == first));
    }
}
