//! Rows of named columns that requests take values from. Read by all cores at once; opens no file and parses nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fill::Exhausted;
use crate::random::Random;

/// Most rows of a feed.
pub const FEED_ROWS_MAX: usize = 1 << 24;
/// Most bytes of a feed's values, all together.
pub const FEED_BYTES_MAX: usize = 1 << 30;
/// Most columns of a feed.
pub const FEED_COLUMNS_MAX: usize = 1024;

/// Rows of named columns that templates take values from.
///
/// ```
/// use ringshot::load::{Feed, FeedError, FeedOrder};
///
/// let columns = ["id", "name"].map(str::to_owned).to_vec();
/// let mut users = Feed::new("users", columns, FeedOrder::InOrder)?;
/// users.push(["1", "Ada"].map(str::as_bytes))?;
/// users.push(["2", "Grace"].map(str::as_bytes))?;
/// assert_eq!(users.push([&b"3"[..]]), Err(FeedError::Width { columns: 2, got: 1 }));
/// assert_eq!((users.name(), users.columns().len(), users.rows()), ("users", 2, 2));
/// assert!(Feed::is_name("users") && !Feed::is_name("users.csv"));
/// # Ok::<(), FeedError>(())
/// ```
#[derive(Debug)]
pub struct Feed {
    name: String,
    columns: Vec<String>,
    order: FeedOrder,
    /// All values, row by row.
    bytes: Vec<u8>,
    /// Where each value ends in `bytes`.
    ends: Vec<u32>,
    /// Rows asked for with [`FeedOrder::Unique`], over all cores; more than there are once one was asked for in vain.
    asked: AtomicU64,
}

/// Which row a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedOrder {
    /// The one with the request's number, over and over.
    InOrder,
    /// Any.
    Random,
    /// The next that no request had. The run ends when one is wanted and none is left.
    Unique,
}

/// Why a feed is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// No column, or too many.
    #[error("a feed must have 1 to {FEED_COLUMNS_MAX} columns, not {0}")]
    Columns(usize),
    /// A name that templates can't have: see [`Feed::is_name`].
    #[error(
        "a feed can't be called {0:?}: its name has none of . {{ and }}, no space at its ends, and no rand: in front"
    )]
    Name(String),
    /// Two columns of one name.
    #[error("two columns are called {0:?}")]
    ColumnTwice(String),
    /// A row that is longer or shorter than the header.
    #[error("a row has {got} values where there are {columns} columns")]
    Width {
        /// Columns of the feed.
        columns: usize,
        /// Values of the row.
        got: usize,
    },
    /// Too many rows.
    #[error("a feed may have {FEED_ROWS_MAX} rows")]
    Rows,
    /// Too many bytes.
    #[error("the values of a feed may have {FEED_BYTES_MAX} bytes together")]
    Bytes,
}

impl Feed {
    /// Whether `{{name.column}}` can be understood as a column of a feed of this name: it has none of `.`, `{` and `}`, no space at its ends, and
    /// does not begin with `rand:`.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        !name.contains(['.', '{', '}']) && name.trim() == name && !name.starts_with("rand:")
    }

    /// A feed without rows.
    ///
    /// # Errors
    /// [`FeedError::Name`], [`FeedError::Columns`] and [`FeedError::ColumnTwice`].
    pub fn new(name: &str, columns: Vec<String>, order: FeedOrder) -> Result<Self, FeedError> {
        if !Self::is_name(name) {
            return Err(FeedError::Name(name.to_owned()));
        }
        if columns.is_empty() || columns.len() > FEED_COLUMNS_MAX {
            return Err(FeedError::Columns(columns.len()));
        }
        for (place, column) in columns.iter().enumerate() {
            if columns[..place].contains(column) {
                return Err(FeedError::ColumnTwice(column.clone()));
            }
        }
        let (name, asked) = (name.to_owned(), AtomicU64::new(0));
        Ok(Self { name, columns, order, bytes: Vec::new(), ends: Vec::new(), asked })
    }

    /// Adds a row of one value a column.
    ///
    /// # Errors
    /// [`FeedError::Width`], [`FeedError::Rows`] and [`FeedError::Bytes`]; the feed is as it was then.
    pub fn push<'a>(&mut self, row: impl IntoIterator<Item = &'a [u8]>) -> Result<(), FeedError> {
        let (bytes, values) = (self.bytes.len(), self.ends.len());
        let pushed = self.push_values(row);
        if pushed.is_err() {
            self.bytes.truncate(bytes);
            self.ends.truncate(values);
        }
        pushed
    }

    fn push_values<'a>(
        &mut self,
        row: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), FeedError> {
        let (before, columns) = (self.ends.len(), self.columns.len());
        if self.rows() >= FEED_ROWS_MAX as u64 {
            return Err(FeedError::Rows);
        }
        for value in row {
            if self.bytes.len() + value.len() > FEED_BYTES_MAX {
                return Err(FeedError::Bytes);
            }
            self.bytes.extend_from_slice(value);
            self.ends.push(self.bytes.len() as u32);
        }
        match self.ends.len() - before {
            got if got == columns => Ok(()),
            got => Err(FeedError::Width { columns, got }),
        }
    }

    /// What templates call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What templates call its columns.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> u64 {
        (self.ends.len() / self.columns.len()) as u64
    }

    /// A value; empty where there is none.
    #[inline]
    pub(super) fn value(&self, row: u64, column: u32) -> &[u8] {
        let place = row as usize * self.columns.len() + column as usize;
        let end = |place: usize| self.ends.get(place).map_or(0, |end| *end as usize);
        let start = place.checked_sub(1).map_or(0, end);
        self.bytes.get(start..end(place)).unwrap_or_default()
    }

    /// The row that request number `index` gets.
    #[inline]
    pub(super) fn row(&self, index: u64, random: &mut Random) -> Result<u64, Exhausted> {
        let rows = self.rows();
        let row = match self.order {
            FeedOrder::InOrder => index.checked_rem(rows).ok_or(Exhausted)?,
            FeedOrder::Random => random.below(rows),
            FeedOrder::Unique => self.asked.fetch_add(1, Ordering::Relaxed),
        };
        if row < rows { Ok(row) } else { Err(Exhausted) }
    }

    /// Whether a row was wanted and none was left.
    #[inline]
    pub(super) fn is_exhausted(&self) -> bool {
        self.order == FeedOrder::Unique && self.asked.load(Ordering::Relaxed) > self.rows()
    }

    /// All rows are there again, for another run.
    pub(super) fn rewind(&self) {
        self.asked.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A feed of these rows, whose values stand between commas; the first row names the columns.
    pub(in crate::load) fn feed(name: &str, order: FeedOrder, rows: &[&str]) -> Feed {
        let columns = rows[0].split(',').map(str::to_owned).collect();
        let mut feed = Feed::new(name, columns, order).unwrap();
        for row in &rows[1..] {
            feed.push(row.split(',').map(str::as_bytes)).unwrap();
        }
        feed
    }
}

#[cfg(test)]
mod tests {
    use super::testing::feed;
    use super::*;

    #[test]
    fn values_are_found() {
        let feed = feed("users", FeedOrder::InOrder, &["id,name", "1,ann", ",", "3,"]);
        let value = |row, column| String::from_utf8_lossy(feed.value(row, column)).into_owned();
        assert_eq!([value(0, 0), value(0, 1), value(1, 0), value(1, 1)], ["1", "ann", "", ""]);
        assert_eq!([value(2, 0), value(2, 1), value(3, 0)], ["3", "", ""]);
        assert_eq!((feed.rows(), feed.name(), feed.columns()[1].as_str()), (3, "users", "name"));
    }

    #[test]
    fn each_order_gives_its_rows() {
        let rows = ["id", "a", "b", "c"];
        let mut random = Random::new(1);
        let mut take = |feed: &Feed, count: u64| -> Vec<Option<u64>> {
            (0..count).map(|index| feed.row(index, &mut random).ok()).collect()
        };
        let in_order = feed("f", FeedOrder::InOrder, &rows);
        assert_eq!(take(&in_order, 5), [0, 1, 2, 0, 1].map(Some));
        let unique = feed("f", FeedOrder::Unique, &rows);
        assert_eq!(take(&unique, 3), [0, 1, 2].map(Some));
        assert!(!unique.is_exhausted(), "nobody was refused yet");
        assert_eq!((take(&unique, 1), unique.is_exhausted()), (vec![None], true));
        unique.rewind();
        assert_eq!((take(&unique, 1), unique.is_exhausted()), (vec![Some(0)], false));
        let any = take(&feed("f", FeedOrder::Random, &rows), 300);
        for row in 0..3 {
            assert!(any.iter().filter(|it| **it == Some(row)).count() > 50, "{any:?}");
        }
        for order in [FeedOrder::InOrder, FeedOrder::Random, FeedOrder::Unique] {
            assert_eq!(take(&feed("f", order, &["id"]), 1), [None]);
        }
    }

    #[test]
    fn bad_feeds_are_refused_and_leave_nothing_behind() {
        let named = |name: &str, columns: &[&str]| {
            let columns = columns.iter().map(|column| (*column).to_owned()).collect();
            Feed::new(name, columns, FeedOrder::Random)
        };
        for name in ["a.b", " a", "a ", "{a", "a}", "rand:a"] {
            assert_eq!(named(name, &["x"]).unwrap_err(), FeedError::Name(name.to_owned()));
        }
        assert!(named("rand", &["x"]).is_ok() && named("a b", &["x"]).is_ok());
        let new = |columns: &[&str]| named("f", columns);
        assert_eq!(new(&[]).unwrap_err(), FeedError::Columns(0));
        assert_eq!(new(&["a", "b", "a"]).unwrap_err(), FeedError::ColumnTwice("a".to_owned()));
        let mut feed = new(&["a", "b"]).unwrap();
        feed.push([&b"1"[..], b"2"]).unwrap();
        assert_eq!(feed.push([&b"3"[..]]), Err(FeedError::Width { columns: 2, got: 1 }));
        feed.push([&b"5"[..], b"6"]).unwrap();
        assert_eq!((feed.rows(), feed.value(1, 0), feed.value(1, 1)), (2, &b"5"[..], &b"6"[..]));
    }
}
