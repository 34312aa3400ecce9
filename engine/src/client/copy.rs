//! A response's body copied to a file by helper threads, so that no core waits for a disk. Never holds more than a piece.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::{chunk, cpu};
use crate::error::Error;

/// Bytes that are gathered, where as many are there, before they are written.
const COPY_PIECE_BYTES: usize = 128 << 10;

/// Why a body was not copied.
pub(super) enum CopyError {
    /// It was cut short, or broke a limit.
    Body(Error),
    /// The file did not take it.
    File(io::Error),
}

/// A file to copy to: a descriptor of our own for it, with the position that it shares with the caller's.
///
/// # Errors
/// The kernel's, and [`io::ErrorKind::InvalidInput`] for what can make a writer wait for a reader: helper threads are few.
pub(super) fn open(file: impl AsFd) -> io::Result<Arc<File>> {
    let file = File::from(file.as_fd().try_clone_to_owned()?);
    let kind = file.metadata()?.file_type();
    if kind.is_fifo() || kind.is_socket() || kind.is_dir() {
        let what = if kind.is_dir() { "a directory" } else { "a pipe or a socket" };
        let problem = format!("{what} is no file; read the body with chunk() and write it there");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    Ok(Arc::new(file))
}

/// Writes all of `body` to what [`open`] gave, in order, and gives the bytes written.
pub(super) async fn copy(
    file: io::Result<Arc<File>>,
    body: &mut impl chunk::Pieces,
) -> Result<u64, CopyError> {
    let (file, mut bytes) = (file.map_err(CopyError::File)?, 0);
    loop {
        let mut pieces = Pieces::default();
        let gathered = poll_fn(|cx| pieces.poll_gather(cx, body)).await;
        // It is the disk that is waited for, not the server.
        body.stop_waiting();
        bytes += pieces.bytes as u64;
        let written = if pieces.bytes > 0 { pieces.write(&file).await } else { Ok(()) };
        // What came before the body broke is in the file by now.
        let more = gathered.map_err(CopyError::Body)?;
        written.map_err(CopyError::File)?;
        if !more {
            return Ok(bytes);
        }
    }
}

/// What is to be written next.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Bytes>,
    bytes: usize,
}

impl Pieces {
    /// Takes what is there, up to [`COPY_PIECE_BYTES`] and the piece that passes them; whether more may come.
    fn poll_gather(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut impl chunk::Pieces,
    ) -> Poll<Result<bool, Error>> {
        while self.bytes < COPY_PIECE_BYTES {
            match body.poll_piece(cx) {
                Poll::Ready(Ok(Some(piece))) => {
                    self.bytes += piece.len();
                    self.pieces.push(piece);
                }
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(false)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if self.bytes == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(true))
    }

    async fn write(self, file: &Arc<File>) -> io::Result<()> {
        let file = Arc::clone(file);
        let write = move || self.pieces.iter().try_for_each(|piece| (&*file).write_all(piece));
        cpu::use_file(write).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::blocking::block_on;

    /// What a body is asked and told, in order, with each answer: `.` for a piece, `-` for none yet, `|` for the end, `s` where nobody waits any more.
    struct Scripted {
        answers: std::str::Chars<'static>,
        log: String,
    }

    impl chunk::Pieces for Scripted {
        fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
            let answer = self.answers.next().unwrap();
            self.log.push(answer);
            match answer {
                '.' => Poll::Ready(Ok(Some(Bytes::from_static(b"x")))),
                '-' => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                _ => Poll::Ready(Ok(None)),
            }
        }

        fn stop_waiting(&mut self) {
            self.log.push('s');
        }
    }

    /// While a piece is written nobody waits for the server.
    #[test]
    fn the_disk_is_not_the_servers_fault() {
        let check = |answers: &'static str, log: &str| {
            let file = open(File::create("/dev/null").unwrap());
            let mut body = Scripted { answers: answers.chars(), log: String::new() };
            let bytes = block_on(copy(file, &mut body)).ok();
            assert_eq!((bytes, &*body.log), (Some(answers.matches('.').count() as u64), log));
        };
        check("|", "|s");
        check("..|", "..|s");
        check("--.-|", "--.-s|s");
        check(".-..--.|", ".-s..-s-.|s");
    }

    #[test]
    fn pipes_sockets_and_directories_are_refused() {
        let refused = |file: &dyn AsFd| {
            let error = open(file.as_fd()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        };
        refused(&io::pipe().unwrap().1);
        refused(&std::os::unix::net::UnixDatagram::unbound().unwrap());
        refused(&File::open("/").unwrap());
    }
}
