//! CSV files (RFC 4180) into feeds. The first row names the columns.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};
use ringshot::load::{Feed, FeedOrder};

use crate::exit::Failure;

/// The rows of a file.
pub(super) fn read(name: &str, path: &Path, order: FeedOrder) -> Result<Feed, Failure> {
    let file = File::open(path).map_err(|error| super::unreadable(path, &error))?;
    read_from(name, file, order).map_err(|failure| failure.at(path.display()))
}

fn read_from(name: &str, source: impl Read, order: FeedOrder) -> Result<Feed, Failure> {
    let source = Quotes { source, state: State::FieldBegins };
    // The engine counts the values of a row, and says it in fewer words.
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(source);
    let columns = reader.headers().map_err(Failure::unusable)?;
    let columns = columns.iter().map(|column| column.trim().to_owned()).collect();
    let mut feed = Feed::new(name, columns, order).map_err(Failure::unusable)?;
    let (mut record, mut line) = (ByteRecord::new(), 1);
    while reader.read_byte_record(&mut record).map_err(Failure::unusable)? {
        line = record.position().map_or(0, csv::Position::line);
        let pushed = feed.push(record.iter());
        pushed.map_err(|error| Failure::unusable(error).at(format_args!("line {line}")))?;
    }
    match feed.rows() {
        _ if reader.get_ref().state == State::Quoted => {
            let open = Failure::unusable("a quote of the row that begins here is never closed");
            Err(open.at(format_args!("line {line}")))
        }
        0 => Err(Failure::unusable("it has no row below the names of its columns")),
        _ => Ok(feed),
    }
}

/// Passes a file on, and remembers whether a quote is open: the csv crate takes the end of the file for its end.
struct Quotes<R> {
    source: R,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FieldBegins,
    /// In a field without quotes, or behind the closing one.
    Plain,
    Quoted,
    /// Behind a quote in quotes, which ends them unless another follows.
    MayEnd,
}

impl State {
    fn after(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Quoted, b'"') => Self::MayEnd,
            (Self::Quoted, _) | (Self::FieldBegins | Self::MayEnd, b'"') => Self::Quoted,
            (_, b',' | b'\n' | b'\r') => Self::FieldBegins,
            // A byte order mark is no part of the first field.
            (Self::FieldBegins, 0xEF | 0xBB | 0xBF) => Self::FieldBegins,
            _ => Self::Plain,
        }
    }
}

impl<R: Read> Read for Quotes<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.source.read(into)?;
        self.state = into[..bytes].iter().fold(self.state, |state, byte| state.after(*byte));
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let text = "id, name\r\n1,ann\r\n2,\"b, \"\"c\"\"\"\r\n";
        let feed = read_from("users", text.as_bytes(), FeedOrder::InOrder).unwrap();
        assert_eq!((feed.name(), feed.rows()), ("users", 2));
        assert_eq!(feed.columns(), ["id", "name"]);
    }

    #[test]
    fn bad_files_are_refused_with_the_line() {
        let check = |text: &[u8], words: &str| {
            let line = read_from("f", text, FeedOrder::Random).unwrap_err().to_string();
            assert!(line.contains(words), "{line}");
        };
        check(b"", "1 to 1024 columns, not 0");
        check(b"id\n", "no row");
        check(b"id,id\n1,2\n", "two columns are called \"id\"");
        check(b"a,b\n1,2\n3\n", "line 3: a row has 1 values where there are 2 columns");
        check(b"\xff,b\n1,2\n", "UTF-8");
        check(b"a\n\"1\n2\n", "line 2: a quote of the row that begins here is never closed");
        check(b"a,b\n1,2\n3,\"", "line 3: a quote");
        check(b"\"a\n1\n", "line 1: a quote");
        check(b"a\n\"1\"\"\n", "line 2: a quote");
        for text in ["\u{feff}\"a,\"\n1\n", "a\n\"1\"", "a\n1\"\n", "a\n\"1\"x\"\n", "a\n\"\"\n"] {
            assert!(read_from("f", text.as_bytes(), FeedOrder::Random).is_ok(), "{text}");
        }
        let line = read("f", Path::new("/no/such.csv"), FeedOrder::Random).unwrap_err();
        assert!(line.to_string().contains("can't read /no/such.csv"), "{line}");
    }
}
