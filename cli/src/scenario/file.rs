//! A scenario file as TOML has it: names and types, no more. `docs/scenario.md` and its schema say what each key means.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::path::PathBuf;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{self, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;

use crate::exit::Failure;

/// The largest scenario file, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 16 << 20;

/// Values by name.
pub(super) type Headers = BTreeMap<String, Spanned<String>>;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub(super) base_url: Option<Spanned<String>>,
    pub(super) seed: Option<u64>,
    #[serde(default, deserialize_with = "word")]
    pub(super) order: Order,
    #[serde(default)]
    pub(super) headers: Headers,
    #[serde(default)]
    pub(super) feeds: BTreeMap<Spanned<String>, Table<Feed>>,
    #[serde(default)]
    pub(super) request: Vec<Spanned<Table<Request>>>,
}

/// A table and nothing else: what is derived for a struct takes a list too, for the fields in their order.
#[derive(Debug)]
pub(super) struct Table<T>(T);

impl<T> Deref for Table<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Only<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Only<T> {
            type Value = T;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }
        from.deserialize_map(Only(PhantomData)).map(Table)
    }
}

/// One of several words: what is derived for an enum takes a table too.
fn word<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    let word = String::deserialize(from)?;
    T::deserialize(IntoDeserializer::<D::Error>::into_deserializer(word))
}

/// Which request comes when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    #[default]
    Weighted,
    InOrder,
}

/// A CSV file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Feed {
    pub(super) file: Spanned<PathBuf>,
    #[serde(default, deserialize_with = "word")]
    pub(super) order: Rows,
}

/// Which row a request gets.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rows {
    #[default]
    InOrder,
    Random,
    Unique,
}

/// One request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) name: Option<Spanned<String>>,
    pub(super) weight: Option<Spanned<i64>>,
    pub(super) method: Option<Spanned<String>>,
    pub(super) url: Spanned<String>,
    #[serde(default)]
    pub(super) headers: Headers,
    pub(super) body: Option<Spanned<String>>,
    pub(super) body_file: Option<Spanned<PathBuf>>,
    pub(super) chunked: Option<Spanned<bool>>,
    pub(super) expect: Option<Table<Expect>>,
    pub(super) think: Option<Spanned<Think>>,
}

/// What a response must be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) status: Option<Spanned<Statuses>>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, Spanned<Header>>,
    pub(super) body_contains: Option<Spanned<String>>,
    pub(super) body_sha256: Option<Spanned<String>>,
}

/// One status, or any of a list.
#[derive(Debug)]
pub(super) enum Statuses {
    One(Status),
    AnyOf(Vec<Spanned<Status>>),
}

/// Not derived: an untagged enum forgets the places of what is in it.
impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Statuses;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a status, like 200, \"2xx\" or \"200-204\", or a list of such")
            }

            fn visit_i64<E: de::Error>(self, code: i64) -> Result<Statuses, E> {
                Status::deserialize(code.into_deserializer()).map(Statuses::One)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Statuses, E> {
                Status::deserialize(text.into_deserializer()).map(Statuses::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Statuses, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Statuses::AnyOf)
            }
        }
        from.deserialize_any(Either)
    }
}

/// `200`, `"2xx"` or `"200-204"`.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a status must be like 200, \"2xx\" or \"200-204\"")]
pub(super) enum Status {
    Code(u16),
    Text(String),
}

/// `"value"`, or `true` for any.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a header must be its value in quotes, or true for any value")]
pub(super) enum Header {
    Value(String),
    Present(bool),
}

/// `"100ms"`, or the two ends of a range.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "think must be like \"100ms\" or { min = \"10ms\", max = \"1s\" }")]
pub(super) enum Think {
    Always(String),
    Between(Table<Times>),
}

/// The two ends of a range of times.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Times {
    pub(super) min: String,
    pub(super) max: String,
}

/// Reads TOML; what is wrong comes with its line.
pub(super) fn parse(text: &str) -> Result<Scenario, Failure> {
    toml::from_str(text).map_err(|error| {
        let failure = Failure::unusable(in_plain_words(error.message()));
        match error.span() {
            Some(span) => failure.at(format_args!("line {}", line_of(text, span.start))),
            None => failure,
        }
    })
}

/// What serde calls what it expected, and what people call it.
const EXPECTED: [(&str, &str); 6] = [
    ("u64", "a whole number from 0"),
    ("i64", "a whole number"),
    ("a boolean", "true or false"),
    ("a sequence", "a list"),
    ("a map", "a table"),
    ("path string", "a string"),
];

fn in_plain_words(message: &str) -> String {
    let plain = EXPECTED.iter().find_map(|(theirs, ours)| {
        let before = message.strip_suffix(theirs)?;
        before.ends_with("expected ").then(|| format!("{before}{ours}"))
    });
    plain.unwrap_or_else(|| message.to_owned())
}

/// The line of a byte, from 1.
fn line_of(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|byte| *byte == b'\n').count()
}

/// Which line of a file's text something stands in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lines<'a>(pub(super) &'a str);

impl Lines<'_> {
    /// Puts the line where that begins which is to blame in front of a failure.
    pub(super) fn blame(self, span: &Range<usize>, failure: Failure) -> Failure {
        failure.at(format_args!("line {}", line_of(self.0, span.start)))
    }

    /// What `read` makes of a value, or its failure with the value's line.
    pub(super) fn read<T, R>(
        self,
        said: &Spanned<T>,
        read: impl FnOnce(&T) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        read(said.get_ref()).map_err(|failure| self.blame(&said.span(), failure))
    }
}
