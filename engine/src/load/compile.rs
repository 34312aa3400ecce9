//! A request with `{{places}}` into pieces that are filled fast. All that can be wrong with it is found here, before the run.

use std::fmt;
use std::sync::Arc;

use memchr::memmem;

use super::feed::Feed;
use super::fill::{Filled, Piece, Value};
use super::mix::Content;
use super::places::{OPEN, Part, Parts};
use super::template::{Coding, Request, Template};
use crate::proto::h1::{BodyLength, RequestError};
use crate::proto::url::percent_decoded;

/// The name by which a mix's only feed is known besides its own.
const ONLY_FEED: &str = "csv";

/// Fields that the framing or the connection depend on: they must be known before the run.
const FIXED_FIELDS: [&[u8]; 7] =
    [b"host", b"connection", b"content-length", b"transfer-encoding", b"te", b"upgrade", b"expect"];

/// Where in a request a template stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Path and query.
    Path,
    /// The value of this header.
    Header(String),
    /// The body.
    Body,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("the path"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Body => f.write_str("the body"),
        }
    }
}

/// Why a request with places can't be compiled: the caller's mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FillError {
    /// It can't go on the wire, whatever its places hold.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A place that does not end.
    #[error("{place} has {{{{ without }}}}; write {{{{{{{{ for two braces")]
    Unclosed {
        /// Where.
        place: Place,
    },
    /// A place for something that there is not.
    #[error(
        "{place} has {{{{{text}}}}}, which is none of {{{{seq}}}}, {{{{uuid}}}}, {{{{rand:LOW:HIGH}}}} and {{{{FEED.COLUMN}}}}; write {{{{{{{{ for two braces"
    )]
    Unknown {
        /// Where.
        place: Place,
        /// What stands between the braces.
        text: String,
    },
    /// A range that is none.
    #[error(
        "{place} has {{{{{text}}}}}: write {{{{rand:LOW:HIGH}}}} with two whole numbers, the lower one first"
    )]
    Range {
        /// Where.
        place: Place,
        /// What stands between the braces.
        text: String,
    },
    /// A feed that there is not.
    #[error("{place} has {{{{{text}}}}}, but there is no such feed{}", known(.feeds))]
    Feed {
        /// Where.
        place: Place,
        /// What stands between the braces.
        text: String,
        /// The feeds that there are.
        feeds: Vec<String>,
    },
    /// A column that the feed has not.
    #[error("{place} has {{{{{text}}}}}, but the feed has no such column{}", known(.columns))]
    Column {
        /// Where.
        place: Place,
        /// What stands between the braces.
        text: String,
        /// The columns that it has.
        columns: Vec<String>,
    },
    /// A feed without rows.
    #[error("feed {0} has no row")]
    NoRows(String),
    /// A value that would end a header, and could begin another.
    #[error(
        "{place} takes column {column} of feed {feed}, whose row {row} holds byte {byte:#04x}, which no header may: take it out of the feed"
    )]
    Value {
        /// Where.
        place: Place,
        /// The feed.
        feed: String,
        /// The column.
        column: String,
        /// The row, from 1.
        row: u64,
        /// The byte.
        byte: u8,
    },
    /// A place in a header that must be known before the run.
    #[error("header {0} can't have a template: the connection depends on it")]
    FixedField(String),
}

impl FillError {
    /// The part of the request that is to blame, if it is one.
    #[must_use]
    pub fn place(&self) -> Option<Place> {
        let header = |name: &str| Some(Place::Header(name.to_owned()));
        match self {
            Self::Unclosed { place }
            | Self::Unknown { place, .. }
            | Self::Range { place, .. }
            | Self::Feed { place, .. }
            | Self::Column { place, .. }
            | Self::Value { place, .. } => Some(place.clone()),
            Self::FixedField(name) => header(name),
            Self::NoRows(_) => None,
            Self::Request(error) => match error {
                RequestError::TargetByte { .. } | RequestError::TargetForm(_) => Some(Place::Path),
                RequestError::FieldName(name) | RequestError::FieldValue { name, .. } => {
                    header(name)
                }
                RequestError::Authority(_) | RequestError::DuplicateHost => header("Host"),
                RequestError::ContentLength => header("Content-Length"),
                RequestError::TransferEncoding => header("Transfer-Encoding"),
                RequestError::TeChunked => header("TE"),
                RequestError::ExpectWithoutBody => header("Expect"),
                RequestError::BodyNotAllowed(_) => Some(Place::Body),
            },
        }
    }
}

fn known(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; there are: {}", names.join(", ")),
    }
}

impl Content {
    /// A request that may have places: [`Content::Fixed`] without any.
    ///
    /// # Errors
    /// As [`Filled::compile`].
    pub fn compile(request: &Request<'_>, feeds: &[Arc<Feed>]) -> Result<Self, FillError> {
        Self::compile_as(request, feeds, Coding::Plain)
    }

    /// The same with a body that goes out in chunks, as [`Template::encode_chunked`] has it.
    ///
    /// # Errors
    /// As [`Filled::compile`].
    pub fn compile_chunked(request: &Request<'_>, feeds: &[Arc<Feed>]) -> Result<Self, FillError> {
        Self::compile_as(request, feeds, Coding::Chunked)
    }

    fn compile_as(
        request: &Request<'_>,
        feeds: &[Arc<Feed>],
        coding: Coding,
    ) -> Result<Self, FillError> {
        let has_place = |bytes: &[u8]| memmem::find(bytes, OPEN).is_some();
        let places = has_place(request.url.target.as_bytes())
            || has_place(request.body)
            || request.headers.iter().any(|(_, value)| has_place(value));
        if places {
            let filled = Filled::compile_as(request, feeds, coding)?;
            Ok(Self::Filled(Arc::new(filled)))
        } else {
            Ok(Self::Fixed(Template::encode_as(request, coding)?))
        }
    }
}

impl Filled {
    /// Compiles a request whose path, header values and body may have places like `{{seq}}`. `feeds` are those of the mix that it will be part of.
    /// What stands in the places of the path may be percent-encoded, as [`encode_places`](super::encode_places) does it.
    ///
    /// # Errors
    /// [`FillError`] says what is wrong, and where.
    pub fn compile(request: &Request<'_>, feeds: &[Arc<Feed>]) -> Result<Self, FillError> {
        Self::compile_as(request, feeds, Coding::Plain)
    }

    fn compile_as(
        request: &Request<'_>,
        feeds: &[Arc<Feed>],
        coding: Coding,
    ) -> Result<Self, FillError> {
        let mut compiler = Compiler { feeds, used: Vec::new() };
        compiler.check_fields(request)?;
        let body = compiler.pieces(request.body, &Place::Body)?;
        let fixed = match &body[..] {
            [] => Some(&b""[..]),
            [Piece::Literal(bytes)] => Some(&bytes[..]),
            _ => None,
        };
        // The real length of a body that varies is written when it is there.
        let length = coding.length(fixed.map_or(u64::MAX, |bytes| bytes.len() as u64));
        // Its places stand in it as they are written: none of their bytes is one that a head may not have.
        let (mut bytes, sent) = request.encode_head(length)?;
        if fixed.is_none() && length != BodyLength::Chunked {
            bytes.truncate(length_field(&bytes));
        }
        let mut head = compiler.head(&bytes)?;
        let body = match fixed {
            Some(fixed) => {
                let mut coded = Vec::new();
                coding.put(fixed, &mut coded);
                head.push(Piece::Literal(coded.into()));
                None
            }
            None => Some(body.into()),
        };
        Ok(Self { head: merged(head).into(), body, coding, feeds: compiler.used.into(), sent })
    }
}

/// Where `Content-Length` begins, which is the last field of a head.
fn length_field(head: &[u8]) -> usize {
    memmem::rfind(head, b"Content-Length: ").unwrap_or(head.len())
}

/// The same with neighbouring literals as one.
fn merged(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut merged: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match (merged.last_mut(), piece) {
            (Some(Piece::Literal(before)), Piece::Literal(bytes)) => {
                *before = [&before[..], &bytes[..]].concat().into();
            }
            (_, piece) => merged.push(piece),
        }
    }
    merged
}

struct Compiler<'a> {
    feeds: &'a [Arc<Feed>],
    /// Places of the feeds that were met.
    used: Vec<u32>,
}

impl Compiler<'_> {
    fn check_fields(&self, request: &Request<'_>) -> Result<(), FillError> {
        for (name, value) in request.headers {
            let fixed = FIXED_FIELDS.iter().any(|fixed| name.eq_ignore_ascii_case(fixed));
            if fixed && memmem::find(value, OPEN).is_some() {
                return Err(FillError::FixedField(name.escape_ascii().to_string()));
            }
        }
        Ok(())
    }

    /// The head's lines: the first has the target, each other one a field.
    fn head(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, FillError> {
        let mut pieces = Vec::new();
        for (number, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            let place = match number {
                0 => Place::Path,
                _ => Place::Header(name.escape_ascii().to_string()),
            };
            pieces.extend(self.pieces(line, &place)?);
        }
        Ok(pieces)
    }

    /// The pieces of a text, no two literals side by side.
    fn pieces(&mut self, bytes: &[u8], place: &Place) -> Result<Vec<Piece>, FillError> {
        let piece = |part| match part {
            Part::Text(text) => Ok(Piece::Literal(text.into())),
            Part::Braces => Ok(Piece::Literal(OPEN.into())),
            Part::Unclosed(_) => Err(FillError::Unclosed { place: place.clone() }),
            Part::Place(text) if *place == Place::Path => {
                let text = percent_decoded(text);
                self.value(&String::from_utf8_lossy(&text), place).map(Piece::Encoded)
            }
            Part::Place(text) => {
                self.value(&String::from_utf8_lossy(text), place).map(Piece::Plain)
            }
        };
        Parts(bytes).map(piece).collect::<Result<_, _>>().map(merged)
    }

    fn value(&mut self, text: &str, place: &Place) -> Result<Value, FillError> {
        let trimmed = text.trim();
        match trimmed {
            "seq" => Ok(Value::Seq),
            "uuid" => Ok(Value::Uuid),
            _ if trimmed == "rand" || trimmed.starts_with("rand:") => {
                let wrong = || FillError::Range { place: place.clone(), text: text.to_owned() };
                range(trimmed).ok_or_else(wrong)
            }
            _ => match trimmed.split_once('.') {
                Some((feed, column)) => self.column(feed, column, text, place),
                None => Err(FillError::Unknown { place: place.clone(), text: text.to_owned() }),
            },
        }
    }

    fn column(
        &mut self,
        name: &str,
        column: &str,
        text: &str,
        place: &Place,
    ) -> Result<Value, FillError> {
        let (place, text) = (place.clone(), text.to_owned());
        let named = self.feeds.iter().position(|feed| feed.name() == name);
        let only = (name == ONLY_FEED && self.feeds.len() == 1).then_some(0);
        let Some(at) = named.or(only) else {
            let feeds = self.feeds.iter().map(|feed| feed.name().to_owned()).collect();
            return Err(FillError::Feed { place, text, feeds });
        };
        let feed = &self.feeds[at];
        let Some(column) = feed.columns().iter().position(|known| known == column) else {
            return Err(FillError::Column { place, text, columns: feed.columns().to_vec() });
        };
        check_values(feed, column as u32, &place)?;
        Ok(Value::Column { feed: self.place_of(at as u32), column: column as u32 })
    }

    /// The place of a feed among those of this request.
    fn place_of(&mut self, feed: u32) -> u32 {
        let place = self.used.iter().position(|used| *used == feed).unwrap_or_else(|| {
            self.used.push(feed);
            self.used.len() - 1
        });
        place as u32
    }
}

/// Every value of a column may stand where it is to be.
fn check_values(feed: &Feed, column: u32, place: &Place) -> Result<(), FillError> {
    if feed.rows() == 0 {
        return Err(FillError::NoRows(feed.name().to_owned()));
    }
    if !matches!(place, Place::Header(_)) {
        return Ok(());
    }
    for row in 0..feed.rows() {
        let bad = |byte: &&u8| byte.is_ascii_control() && **byte != b'\t';
        if let Some(byte) = feed.value(row, column).iter().find(bad) {
            return Err(FillError::Value {
                place: place.clone(),
                feed: feed.name().to_owned(),
                column: feed.columns()[column as usize].clone(),
                row: row + 1,
                byte: *byte,
            });
        }
    }
    Ok(())
}

/// `rand:1:1000`.
fn range(text: &str) -> Option<Value> {
    let (low, high) = text.strip_prefix("rand:")?.split_once(':')?;
    let (low, high): (i128, i128) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
    let fits = |number| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number);
    let span = u64::try_from(high.checked_sub(low)?).ok()?;
    (fits(low) && fits(high)).then_some(Value::Rand { low, span })
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::load::KeepAlive;
    use crate::load::feed::FeedOrder;
    use crate::load::feed::testing::feed;
    use crate::proto::h1::Persistence;
    use crate::proto::url::Url;

    fn compile(
        target: &str,
        header: (&str, &str),
        body: &str,
        feeds: &[Arc<Feed>],
    ) -> Result<Content, FillError> {
        let request = Request {
            method: &Method::POST,
            url: &Url::parse(&format!("http://h{target}")).unwrap(),
            headers: &[(header.0.into(), header.1.into())],
            body: body.as_bytes(),
            keep_alive: KeepAlive::Off,
        };
        Content::compile(&request, feeds)
    }

    #[test]
    fn what_has_no_place_is_fixed() {
        let content = compile("/{x}", ("A", "}}"), "{\"a\":{\"b\":1}}", &[]).unwrap();
        assert!(matches!(content, Content::Fixed(_)), "{content:?}");
        let content = compile("/", ("A", "b"), "{{{{", &[]).unwrap();
        let Content::Filled(filled) = content else { panic!("{content:?}") };
        assert!(filled.body.is_none() && filled.head.len() == 1, "{filled:?}");
        assert_eq!(filled.sent.persistence, Persistence::Close);
    }

    #[test]
    fn what_stands_in_places_of_a_url_may_be_encoded() {
        let columns = "first name,\u{e9},a%2F?#/";
        let feeds = [Arc::new(feed("u", FeedOrder::Random, &[columns, "1,2,3"]))];
        let target =
            crate::load::encode_places("/{{u.first name}}{{u.\u{e9}}}{{u.a%2F?#/}}{{ seq }}");
        let content = compile(&target, ("A", "b"), "", &feeds).unwrap();
        let Content::Filled(filled) = content else { panic!("{content:?}") };
        let column = |column| Piece::Encoded(Value::Column { feed: 0, column });
        assert_eq!(filled.head[1..4], [column(0), column(1), column(2)]);
        assert_eq!(filled.head[4], Piece::Encoded(Value::Seq));
    }

    #[test]
    fn the_part_to_blame_is_named() {
        let check = |method: Method, header: (&str, &str), body: &str, expected: Place| {
            let request = Request {
                method: &method,
                url: &Url::parse("http://h/").unwrap(),
                headers: &[(header.0.into(), header.1.into())],
                body: body.as_bytes(),
                keep_alive: KeepAlive::On,
            };
            let error = Content::compile(&request, &[]).unwrap_err();
            assert_eq!(error.place(), Some(expected), "{error}");
        };
        let header = |name: &str| Place::Header(name.to_owned());
        check(Method::GET, ("Transfer-Encoding", "gzip"), "", header("Transfer-Encoding"));
        check(Method::GET, ("TE", "chunked"), "", header("TE"));
        check(Method::GET, ("Host", ""), "", header("Host"));
        check(Method::GET, ("Content-Length", "3"), "", header("Content-Length"));
        check(Method::TRACE, ("A", "b"), "x", Place::Body);
    }

    #[test]
    fn errors_say_what_and_where() {
        let check = |target: &str, header: (&str, &str), body: &str, words: &str| {
            let feeds = [
                Arc::new(feed("u", FeedOrder::Random, &["id,name", "1,x", "2,a\r\nEvil: 1"])),
                Arc::new(feed("none", FeedOrder::Random, &["id"])),
            ];
            let error = compile(target, header, body, &feeds).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        let (plain, x) = (("A", "b"), "x");
        check("/{{seq", plain, x, "the path has {{ without }}");
        check("/", ("X-A", "{{sequence}}"), x, "header X-A has {{sequence}}, which is none of");
        check("/", plain, "{{rand:9:1}}", "the body has {{rand:9:1}}: write {{rand:LOW:HIGH}}");
        check("/", plain, "{{rand}}", "write {{rand:LOW:HIGH}}");
        check("/", plain, "{{rand:-1:-2}}", "two whole numbers");
        check("/{{v.id}}", plain, x, "no such feed; there are: u, none");
        check("/{{csv.id}}", plain, x, "no such feed");
        check("/{{u.idd}}", plain, x, "no such column; there are: id, name");
        check("/{{none.id}}", plain, x, "feed none has no row");
        check("/", ("X-A", "{{u.name}}"), x, "header X-A takes column name of feed u, whose row 2");
        check("/", ("connection", "{{u.id}}"), x, "header connection can't have a template");
        check("/{{seq%20%C3%A9", plain, x, "the path has {{ without }}");
        check("/{{no%20one}}", plain, x, "the path has {{no one}}, which is none of");
        check("/", ("X A", "b"), "{{seq}}", "not a token");
        check("/", ("Content-Length", "3"), "{{seq}}", "Content-Length does not agree");
        // What would be an injection in a header is data in a path and in a body.
        let feeds = [Arc::new(feed("u", FeedOrder::Random, &["name", "a\r\nb"]))];
        assert!(compile("/{{u.name}}", plain, "{{u.name}}", &feeds).is_ok());
    }

    #[test]
    fn a_feed_is_asked_for_one_row_a_request() {
        let feeds = ["a", "b"].map(|name| Arc::new(feed(name, FeedOrder::Unique, &["x,y", "1,2"])));
        let content = compile("/{{b.x}}/{{b.y}}", ("X", "{{b.x}}{{a.y}}"), "", &feeds).unwrap();
        let Content::Filled(filled) = content else { panic!("{content:?}") };
        assert_eq!(filled.feeds[..], [1, 0]);
    }
}
