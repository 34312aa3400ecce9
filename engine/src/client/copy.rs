//! A response's body copied to a file by helper threads, so that no core waits for a disk. Never holds more than a piece.

use std::fs::File;
use std::future::poll_fn;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::cpu;

/// Bytes that are gathered, where as many are there, before they are written.
const COPY_PIECE_BYTES: usize = 128 << 10;

/// Why a body was not copied.
pub(super) enum CopyError<E> {
    /// It was cut short, or broke a limit.
    Body(E),
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

/// Writes all that `poll_chunk` gives to what [`open`] gave, in order, and gives the bytes written.
pub(super) async fn copy<E>(
    file: io::Result<Arc<File>>,
    mut poll_chunk: impl FnMut(&mut Context<'_>) -> Poll<Result<Option<Bytes>, E>>,
) -> Result<u64, CopyError<E>> {
    let (file, mut bytes) = (file.map_err(CopyError::File)?, 0);
    loop {
        let mut pieces = Pieces::default();
        let gathered = poll_fn(|cx| pieces.poll_gather(cx, &mut poll_chunk)).await;
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
    fn poll_gather<E>(
        &mut self,
        cx: &mut Context<'_>,
        mut poll_chunk: impl FnMut(&mut Context<'_>) -> Poll<Result<Option<Bytes>, E>>,
    ) -> Poll<Result<bool, E>> {
        while self.bytes < COPY_PIECE_BYTES {
            match poll_chunk(cx) {
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
