//! A response's body, away from its core: read in pieces, whole, or thrown away.

use std::future::poll_fn;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;

use super::Target;
use super::chunk::{Chunk, Pieces};
use super::copy::{self, CopyError};
use super::engine::Engine;
use super::gathered::{Gathered, TooLong};
use super::handle::Placed;
use super::response::{Fetched, Meta, Response, Sourced, Timings, Whole};
use super::subject::{Origin, Subject};
use crate::error::{Error, Progress};
use crate::shard::pool::exchange::Stamps;

/// A body that is received as it is read: whoever does not read stops the server. Dropping it unread throws away a little, or closes the connection.
///
/// It is a [`Stream`] of its pieces.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// block_on(async {
///     let mut body = client.get(origin.url("/chunked/100000?trailers")).send().await?.into_body();
///     let mut bytes = 0;
///     while let Some(chunk) = body.chunk().await? {
///         bytes += chunk.len();
///     }
///     assert_eq!(bytes, 100_000);
///     assert!(body.trailers().is_some());
///
///     let mut body = client.get(origin.url("/bytes/1000000")).send().await?.into_body();
///     let first = std::future::poll_fn(|cx| body.poll_chunk(cx)).await?.map_or(0, |chunk| chunk.len() as u64);
///     assert_eq!(first + body.discard().await?, 1_000_000);
///     Ok::<_, ringshot::Error>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Body {
    source: Source,
    trailers: Option<Box<HeaderMap>>,
    stamps: Option<Stamps>,
    max_body_bytes: u64,
    /// Bytes that were announced and not read yet.
    left: Option<u64>,
    /// Bytes of the head, and of what was read.
    got_bytes: u64,
    subject: Subject,
}

#[derive(Debug)]
enum Source {
    /// All of it came with the head.
    Whole(Bytes),
    /// It comes in pieces. Dropped midway, it is cancelled.
    Call(Placed),
    Over,
}

impl Source {
    /// All of it was taken, or no more will come.
    fn end(&mut self) {
        if let Self::Call(placed) = std::mem::replace(self, Self::Over) {
            placed.end();
        }
    }
}

impl Body {
    pub(crate) fn whole(whole: Whole, meta: &mut Meta, origin: Origin) -> Self {
        let mut body = Self::new(Source::Whole(whole.bytes), meta, origin);
        (body.trailers, body.stamps) = (whole.trailers, Some(meta.stamps));
        body
    }

    pub(super) fn of_call(placed: Placed, meta: &mut Meta, origin: Origin) -> Self {
        Self::new(Source::Call(placed), meta, origin)
    }

    fn new(source: Source, meta: &mut Meta, origin: Origin) -> Self {
        Self {
            source,
            trailers: None,
            stamps: None,
            max_body_bytes: origin.max_body_bytes,
            left: meta.left,
            got_bytes: meta.head.bytes() as u64,
            subject: Subject::of(meta, origin),
        }
    }

    /// The next piece, as it came; `None` at the end. Dropping the future loses nothing: who awaits another gets what came meanwhile.
    ///
    /// # Errors
    /// Whatever cut the body short; the pieces before it are as they were sent.
    pub fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send {
        Chunk::of(self)
    }

    /// [`Body::chunk`], for whoever polls.
    ///
    /// Who polled and got `Pending` waits, as far as [`Timeouts::read_idle`](super::Timeouts::read_idle) goes, until a later poll gives a piece: only a dropped
    /// [`Body::chunk`] says that nobody does any more.
    ///
    /// # Errors
    /// As [`Body::chunk`].
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        let placed = match &mut self.source {
            Source::Over => return Poll::Ready(Ok(None)),
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                (self.source, self.left) = (Source::Over, None);
                self.got_bytes += bytes.len() as u64;
                return Poll::Ready(Ok(Some(bytes).filter(|bytes| !bytes.is_empty())));
            }
            Source::Call(placed) => &*placed,
        };
        Poll::Ready(match std::task::ready!(placed.call.poll_piece(cx, || placed.now())) {
            Ok(Ok(piece)) => {
                self.got_bytes += piece.len() as u64;
                self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
                Ok(Some(piece))
            }
            Ok(Err(ended)) => {
                self.source.end();
                self.trailers = ended.trailers;
                self.stamps = ended.stamps;
                self.stamps.iter().for_each(|stamps| self.subject.end(stamps));
                Ok(None)
            }
            Err(error) => {
                self.source.end();
                Err(self.told(error))
            }
        })
    }

    /// All of it, at most as many bytes as the request or the client allows.
    ///
    /// # Errors
    /// As [`Body::chunk`], and [`Kind::Limit`](crate::error::Kind::Limit) for a body that is longer.
    pub fn bytes(self) -> impl Future<Output = Result<Bytes, Error>> + Send {
        let max = self.max_body_bytes;
        self.bytes_limited(max)
    }

    /// All of it, if it has at most `max` bytes.
    ///
    /// ```
    /// # use ringshot::client::{Engine, blocking::block_on};
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let engine = Engine::builder().build()?;
    /// # let client = engine.client().build()?;
    /// # use ringshot::client::Kind;
    /// let fetch = async |max| client.get(origin.url("/bytes/1000")).send().await?.into_body().bytes_limited(max).await;
    /// assert_eq!(block_on(fetch(1000))?.len(), 1000);
    /// assert!(matches!(block_on(fetch(999)).unwrap_err().kind(), Kind::Limit(_)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Body::bytes`].
    pub fn bytes_limited(mut self, max: u64) -> impl Future<Output = Result<Bytes, Error>> + Send {
        // An `async fn` would hold the body twice, and be moved as a whole.
        let mut gathered = None;
        poll_fn(move |cx| self.poll_all(cx, max, &mut gathered))
    }

    /// All of it as text; what is no UTF-8 is replaced.
    ///
    /// # Errors
    /// As [`Body::bytes`].
    pub async fn text(self) -> Result<String, Error> {
        let bytes = self.bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Throws it away, a large one inside the kernel, and keeps the connection. Gives the bytes thrown away.
    ///
    /// # Errors
    /// As [`Body::chunk`].
    pub async fn discard(mut self) -> Result<u64, Error> {
        let placed = match &self.source {
            Source::Over => return Ok(0),
            Source::Whole(bytes) => return Ok(bytes.len() as u64),
            Source::Call(placed) => placed,
        };
        placed.call.discard();
        let mut bytes = 0;
        let ended = loop {
            match poll_fn(|cx| placed.call.poll_piece(cx, || placed.now())).await {
                Ok(Ok(piece)) => bytes += piece.len() as u64,
                Ok(Err(ended)) => break Ok(bytes + ended.discarded),
                Err(error) => break Err(error),
            }
        };
        self.source.end();
        ended.map_err(|error| self.told(error))
    }

    /// Writes all of it to a file, at the file's position, and gives the bytes written. Helper threads write, so that no core waits for a disk; a piece of 128 KiB
    /// is held at most besides what the connection holds, whatever the body's length, and `max_body_bytes` does not count.
    ///
    /// The descriptor is duplicated: the caller's may be closed meanwhile. Dropping the future may leave one more piece to be written.
    ///
    /// ```
    /// # use ringshot::client::{Engine, blocking::block_on};
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let engine = Engine::builder().build()?;
    /// # let client = engine.client().build()?;
    /// let path = std::env::temp_dir().join(format!("download-{}", std::process::id()));
    /// let file = std::fs::File::create(&path)?;
    /// block_on(async {
    ///     let body = client.get(origin.url("/bytes/1000000")).send().await?.into_body();
    ///     body.copy_to(&file).await
    /// })?;
    /// assert_eq!(file.metadata()?.len(), 1_000_000);
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Body::chunk`], with what came before in the file, and [`Kind::CopyTo`](crate::error::Kind::CopyTo): the kernel's reason, or that it is a pipe, a socket
    /// or a directory. What is left of the body is given up then.
    pub fn copy_to(mut self, file: impl AsFd) -> impl Future<Output = Result<u64, Error>> + Send {
        let file = copy::open(file);
        async move {
            let copied = copy::copy(file, &mut self).await;
            copied.map_err(|error| match error {
                CopyError::Body(error) => error,
                CopyError::File(problem) => {
                    self.named(Error::not_copied(&problem, &self.progress()))
                }
            })
        }
    }

    /// The fields behind a chunked body, once it has been read to its end. Names that a trailer may not have are left out (RFC 9110 6.5.1).
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref().filter(|_| self.was_read())
    }

    /// How long each phase took, `done` included, once the body has been read to its end.
    ///
    /// ```
    /// # use ringshot::client::{Engine, blocking::block_on};
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let engine = Engine::builder().build()?;
    /// # let client = engine.client().build()?;
    /// block_on(async {
    ///     let mut body = client.get(origin.url("/")).send().await?.into_body();
    ///     while body.chunk().await?.is_some() {}
    ///     let timings = body.timings().expect("it was read to its end");
    ///     assert!(timings.first_byte <= timings.done);
    ///     Ok::<_, ringshot::Error>(())
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn timings(&self) -> Option<Timings> {
        self.stamps.as_ref().filter(|_| self.was_read()).map(Timings::of)
    }

    /// Whether nothing is left of what came with the head.
    fn was_read(&self) -> bool {
        !matches!(self.source, Source::Whole(_))
    }

    /// The engine that is to give more of it.
    pub(super) fn engine(&self) -> Option<&Engine> {
        match &self.source {
            Source::Call(placed) => Some(placed.engine()),
            Source::Whole(_) | Source::Over => None,
        }
    }

    fn too_long(&self, max_bytes: u64) -> Error {
        self.named(Error::body_too_long(max_bytes, &self.progress()))
    }

    fn progress(&self) -> Progress {
        self.subject.progress(self.got_bytes)
    }

    /// With what it is about.
    pub(super) fn named(&self, error: Error) -> Error {
        self.subject.name(error)
    }

    /// What ended with its core, or with a panic there, could not say what it was about.
    fn told(&self, error: Error) -> Error {
        if error.url().is_some() {
            error
        } else {
            self.named(error.with_progress(&self.progress()))
        }
    }

    async fn read_all(&mut self, max: u64) -> Result<Bytes, Error> {
        let mut gathered = None;
        poll_fn(|cx| self.poll_all(cx, max, &mut gathered)).await
    }

    fn poll_all(
        &mut self,
        cx: &mut Context<'_>,
        max: u64,
        gathered: &mut Option<Gathered>,
    ) -> Poll<Result<Bytes, Error>> {
        if gathered.is_none() && self.left.is_some_and(|left| left > max) {
            // It was announced: none of it need be received.
            self.source = Source::Over;
            return Poll::Ready(Err(self.too_long(max)));
        }
        while let Some(chunk) = std::task::ready!(self.poll_chunk(cx))? {
            let gathered = gathered.get_or_insert_with(|| Gathered::new(max));
            gathered.push(chunk).map_err(|TooLong| self.too_long(max))?;
        }
        Poll::Ready(Ok(gathered.take().map(Gathered::finish).unwrap_or_default()))
    }
}

impl Pieces for Body {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        self.poll_chunk(cx)
    }

    fn stop_waiting(&mut self) {
        if let Source::Call(placed) = &self.source {
            placed.call.stop_waiting(placed.now());
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(cx).map(Result::transpose)
    }
}

impl Sourced for Body {
    fn target(&self) -> Option<&Target> {
        Some(self.subject.target())
    }
}

impl Response<Body> {
    /// All of the body, at most as many bytes as the request or the client allows.
    ///
    /// # Errors
    /// As [`Body::bytes`].
    pub fn bytes(self) -> impl Future<Output = Result<Bytes, Error>> + Send {
        self.body.bytes()
    }

    /// All of the body as text.
    ///
    /// # Errors
    /// As [`Body::bytes`].
    pub async fn text(self) -> Result<String, Error> {
        self.body.text().await
    }

    /// The next piece of the body.
    ///
    /// # Errors
    /// As [`Body::chunk`].
    pub fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> + Send {
        self.body.chunk()
    }

    /// The response with all of its body, at most as many bytes as the request or the client allows.
    ///
    /// # Errors
    /// As [`Body::bytes`].
    pub async fn fetch(mut self) -> Result<Fetched, Error> {
        let max = self.body.max_body_bytes;
        let bytes = self.body.read_all(max).await?;
        self.meta.stamps = self.body.stamps.unwrap_or(self.meta.stamps);
        self.meta.target = Some(self.body.subject.target().clone());
        Ok(self.map(|mut body| Whole { bytes, trailers: body.trailers.take() }))
    }
}
