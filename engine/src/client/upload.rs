//! A request's body on its way out, where it is made while it is sent: a stream, or a file read by helper threads. Never holds more than a piece.

use std::fs::File;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::cpu;
use super::request_body::{Pieces, Source};
use crate::error::text_of;
use crate::proto::h1::BodyLength;
use crate::shard::pool::in_flight::InFlight;
use crate::shard::pool::outgoing::{self, Outgoing};

/// Bytes of a file that are read at once.
const FILE_PIECE_BYTES: u64 = 128 << 10;
/// Pieces that are taken in a row before others have their turn: a stream can be ready for ever with pieces of nothing.
const PIECES_AT_ONCE: u32 = 64;

type Reading = Pin<Box<dyn Future<Output = io::Result<Vec<u8>>> + Send>>;

/// Who makes the pieces of a body.
pub(crate) enum Upload {
    Stream(Pieces),
    File(Box<FileUpload>),
    /// All was made, or nobody wants more.
    Over,
}

/// A file on its way out.
pub(crate) struct FileUpload {
    file: Arc<File>,
    at: u64,
    /// Its end when the head was made: what is appended later was not announced. Beyond all files where it is not known.
    end: u64,
    reading: Option<Reading>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stream(_) => "Stream",
            Self::File(_) => "File",
            Self::Over => "Over",
        })
    }
}

/// A body as the head announces it, as the pool sends it, and who makes it.
pub(crate) fn open(source: Source) -> io::Result<(BodyLength, Outgoing, Upload)> {
    Ok(match source {
        Source::None => (BodyLength::None, Outgoing::None, Upload::Over),
        Source::Bytes(bytes) if bytes.is_empty() => {
            (BodyLength::Known(0), Outgoing::None, Upload::Over)
        }
        Source::Bytes(bytes) => {
            let length = BodyLength::Known(bytes.len() as u64);
            (length, Outgoing::Whole { bytes, sent: 0 }, Upload::Over)
        }
        Source::File(file) => {
            let end = length_of(&file)?;
            let length = end.map_or(BodyLength::Chunked, BodyLength::Known);
            let file = FileUpload { file, at: 0, end: end.unwrap_or(u64::MAX), reading: None };
            (length, pieces(length), Upload::File(Box::new(file)))
        }
        Source::Stream { pieces: made, length } => {
            let length = length.map_or(BodyLength::Chunked, BodyLength::Known);
            (length, pieces(length), Upload::Stream(made))
        }
    })
}

/// Bytes of a file. A regular one without any may be made as it is read, as those in `/proc` are (proc(5)): its length is not known then.
fn length_of(file: &File) -> io::Result<Option<u64>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() { "a directory" } else { "a pipe or a device" };
        let problem = format!("{what} is no regular file; send what is in it as a stream");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let length = metadata.len();
    Ok(if length == 0 && file.read_at(&mut [0], 0)? > 0 { None } else { Some(length) })
}

fn pieces(length: BodyLength) -> Outgoing {
    Outgoing::Pieces(outgoing::Pieces::new(length))
}

impl Upload {
    /// Makes pieces as long as the pool wants them. Never ends a request: the pool tells how it ended.
    #[inline]
    pub(crate) fn poll(&mut self, in_flight: &InFlight, cx: &mut Context<'_>) {
        if !matches!(self, Self::Over) {
            self.poll_pieces(in_flight, cx);
        }
    }

    fn poll_pieces(&mut self, in_flight: &InFlight, cx: &mut Context<'_>) {
        for _ in 0..PIECES_AT_ONCE {
            if matches!(self, Self::Over) {
                return;
            }
            match in_flight.poll_room(cx) {
                Poll::Pending => return,
                Poll::Ready(false) => {
                    *self = Self::Over;
                    return;
                }
                Poll::Ready(true) => {}
            }
            let Poll::Ready(made) = self.poll_piece(cx) else { return };
            let outcome = match made {
                Some(Ok(piece)) => in_flight.push_piece(piece).map_err(|error| error.to_string()),
                Some(Err(problem)) => Err(problem),
                None => {
                    *self = Self::Over;
                    in_flight.finish_body().map_err(|error| error.to_string())
                }
            };
            if let Err(problem) = outcome {
                in_flight.abort(problem);
                *self = Self::Over;
            }
        }
        cx.waker().wake_by_ref();
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, String>>> {
        match self {
            Self::Over => Poll::Ready(None),
            Self::Stream(pieces) => {
                let piece = pieces.as_mut().poll_next(cx);
                piece.map(|piece| piece.map(|piece| piece.map_err(|error| text_of(&*error))))
            }
            Self::File(file) => file.poll_piece(cx),
        }
    }
}

impl FileUpload {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, String>>> {
        let (from, bytes) = (self.at, (self.end - self.at).min(FILE_PIECE_BYTES));
        if bytes == 0 {
            return Poll::Ready(None);
        }
        let file = Arc::clone(&self.file);
        let read = move || read_piece(&file, from, bytes);
        let read = self.reading.get_or_insert_with(|| Box::pin(cpu::use_file(read)));
        let Poll::Ready(outcome) = read.as_mut().poll(cx) else { return Poll::Pending };
        self.reading = None;
        Poll::Ready(match outcome {
            Ok(piece) if piece.is_empty() => None,
            Ok(piece) => {
                self.at += piece.len() as u64;
                Some(Ok(piece.into()))
            }
            Err(error) => Some(Err(format!("reading the file: {error}"))),
        })
    }
}

fn read_piece(file: &File, at: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let mut piece = vec![0; bytes as usize];
    let read = file.read_at(&mut piece, at)?;
    piece.truncate(read);
    Ok(piece)
}
