//! A response's body on the core that receives it. Never leaves the core.

use std::future::poll_fn;
use std::os::fd::AsFd;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;

use super::Target;
use super::chunk::{Chunk, Pieces};
use super::copy::{self, CopyError};
use super::gathered::{Gathered, TooLong};
use super::job::error_of;
use super::parcel::Parcel;
use super::response::{Fetched, Response, Sourced, Timings, Whole};
use crate::clock::Instant;
use crate::error::{Error, Kind, Progress, TimeoutKind};
use crate::shard::pool::exchange::{Failed, Stamps};
use crate::shard::pool::in_flight::InFlight;

/// A body on the core that receives it. Not reading it stops the receiving, and with it the server; dropping it unread throws away a little, or closes the
/// connection.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// # let url = origin.url("/chunked/5000?trailers");
/// let bytes = block_on(engine.run_on(0, async move |ctx| {
///     let mut body = ctx.client(&client).get(url).send().await?.into_body();
///     let mut bytes = std::future::poll_fn(|cx| body.poll_chunk(cx)).await?.map_or(0, |chunk| chunk.len());
///     while let Some(chunk) = body.chunk().await? {
///         bytes += chunk.len();
///     }
///     assert!(body.trailers().is_some() && body.timings().is_some());
///     Ok::<_, ringshot::Error>(bytes)
/// }))??;
/// assert_eq!(bytes, 5000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LocalBody {
    in_flight: Option<InFlight>,
    /// Whether it has been read to its end.
    over: bool,
    /// Whether the request counts as in flight, and with it holds its permit, until this is dropped: who reads is elsewhere, and behind.
    keeps: bool,
    parcel: Box<Parcel>,
}

impl LocalBody {
    pub(super) fn new(in_flight: Option<InFlight>, parcel: Box<Parcel>) -> Self {
        Self { in_flight, over: false, keeps: false, parcel }
    }

    /// The request counts as in flight until this is dropped, though it has been read.
    pub(super) fn keep(&mut self) {
        self.keeps = true;
    }

    /// Who reads it is ahead of who wants it, and sees to it that nobody waits in vain: see [`LocalBody::time_out`].
    pub(super) fn read_ahead(&self) {
        self.in_flight.iter().for_each(InFlight::read_ahead);
    }

    /// Gives it up: whoever wants it has waited for `read_idle`.
    pub(super) fn time_out(&mut self) -> Error {
        let standing = self.in_flight.as_ref().map(InFlight::standing).unwrap_or_default();
        let kind = Kind::Timeout(TimeoutKind::ReadIdle);
        self.fail(&Failed { kind, standing, others: None })
    }

    /// What is still to be read from.
    #[inline]
    fn live(&self) -> Option<&InFlight> {
        self.in_flight.as_ref().filter(|_| !self.over)
    }

    /// The next piece of the body, as it came; `None` at its end. Dropping the future loses nothing: who awaits another gets what came meanwhile.
    ///
    /// # Errors
    /// Whatever cut the body short; the pieces before it are as they were sent.
    pub fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> {
        Chunk::of(self)
    }

    /// [`LocalBody::chunk`], for whoever polls.
    ///
    /// Who polled and got `Pending` waits, as far as [`Timeouts::read_idle`](super::Timeouts::read_idle) goes, until a later poll gives a piece: only a dropped
    /// [`LocalBody::chunk`] says that nobody does any more.
    ///
    /// # Errors
    /// As [`LocalBody::chunk`].
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        let Some(in_flight) = self.in_flight.as_ref().filter(|_| !self.over) else {
            return Poll::Ready(Ok(None));
        };
        self.parcel.upload.poll(in_flight, cx);
        let polled = std::task::ready!(in_flight.poll_chunk(cx));
        Poll::Ready(match polled {
            Ok(Some(chunk)) => Ok(Some(chunk)),
            Ok(None) => {
                self.finish();
                Ok(None)
            }
            Err(failed) => Err(self.fail(&failed)),
        })
    }

    /// All of the body, at most as many bytes as the request or the client allows.
    ///
    /// # Errors
    /// As [`LocalBody::chunk`], and [`Kind::Limit`] for a body that is longer.
    pub fn bytes(self) -> impl Future<Output = Result<Bytes, Error>> {
        let max = self.max_body_bytes();
        self.bytes_limited(max)
    }

    /// All of the body, if it has at most `max` bytes.
    ///
    /// # Errors
    /// As [`LocalBody::bytes`].
    pub fn bytes_limited(mut self, max: u64) -> impl Future<Output = Result<Bytes, Error>> {
        // An `async fn` would move the body once more.
        let mut gathered = None;
        poll_fn(move |cx| self.poll_all(cx, max, &mut gathered))
    }

    /// All of the body as text; what is no UTF-8 is replaced.
    ///
    /// # Errors
    /// As [`LocalBody::bytes`].
    pub async fn text(self) -> Result<String, Error> {
        let bytes = self.bytes().await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Throws the body away, large ones inside the kernel, and keeps the connection. Gives the bytes thrown away.
    ///
    /// # Errors
    /// As [`LocalBody::chunk`].
    pub async fn discard(mut self) -> Result<u64, Error> {
        let Some(in_flight) = self.in_flight.as_ref().filter(|_| !self.over) else { return Ok(0) };
        let upload = &mut self.parcel.upload;
        let discarded = poll_fn(|cx| {
            upload.poll(in_flight, cx);
            in_flight.poll_discarded(cx)
        });
        match discarded.await {
            Ok(bytes) => Ok(bytes),
            Err(failed) => Err(self.fail(&failed)),
        }
    }

    /// Writes all of it to a file, at the file's position, and gives the bytes written. Helper threads write, so that no core waits for a disk; a piece of 128 KiB
    /// is held at most besides what the connection holds, whatever the body's length, and `max_body_bytes` does not count.
    ///
    /// The descriptor is duplicated: the caller's may be closed meanwhile. Dropping the future may leave one more piece to be written.
    ///
    /// # Errors
    /// As [`LocalBody::chunk`], with what came before in the file, and [`Kind::CopyTo`]: the kernel's reason, or that it is a pipe, a socket
    /// or a directory. What is left of the body is given up then.
    pub fn copy_to(self, file: impl AsFd) -> impl Future<Output = Result<u64, Error>> {
        let file = copy::open(file);
        async move {
            let mut copied = Copied { body: self, progress: Progress::default() };
            let outcome = copy::copy(file, &mut copied).await;
            outcome.map_err(|error| match error {
                CopyError::Body(error) => error,
                CopyError::File(problem) => {
                    copied.look();
                    let error = Error::not_copied(&problem, &copied.progress);
                    copied.body.give_up(error)
                }
            })
        }
    }

    /// The fields behind a chunked body, once it has been read to its end. Names that a trailer may not have are left out (RFC 9110 6.5.1).
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.parcel.trailers.as_deref()
    }

    /// How long each phase took, `done` included, once the body has been read to its end.
    #[must_use]
    pub fn timings(&self) -> Option<Timings> {
        self.parcel.stamps.as_ref().map(Timings::of)
    }

    /// All of the body, if it has all come in one piece, and when what happened.
    pub(crate) fn take_whole(&mut self, stamps: &mut Stamps) -> Option<Whole> {
        let in_flight = self.live()?;
        let bytes = in_flight.take_whole()?;
        let trailers = in_flight.take_end(|trailers, ended| {
            *stamps = *ended;
            trailers
        });
        self.over = true;
        self.in_flight = None;
        Some(Whole { bytes, trailers: trailers? })
    }

    /// The request, once it is over.
    pub(super) fn into_parcel(self) -> Box<Parcel> {
        self.parcel
    }

    /// What came with the end.
    pub(crate) fn take_end(&mut self) -> (Option<Box<HeaderMap>>, Option<Stamps>) {
        (self.parcel.trailers.take(), self.parcel.stamps)
    }

    /// The whole body. It may be left to the caller to [`finish`](Self::finish).
    async fn read_all(&mut self, max: u64) -> Result<Bytes, Error> {
        let mut gathered = None;
        poll_fn(|cx| self.poll_all(cx, max, &mut gathered)).await
    }

    #[inline]
    fn poll_all(
        &mut self,
        cx: &mut Context<'_>,
        max: u64,
        gathered: &mut Option<Gathered>,
    ) -> Poll<Result<Bytes, Error>> {
        if gathered.is_none()
            && let Some(whole) = self.live().and_then(InFlight::take_whole)
        {
            let fits = whole.len() as u64 <= max;
            return Poll::Ready(if fits { Ok(whole) } else { Err(self.too_long(max)) });
        }
        if gathered.is_none() && self.live().and_then(InFlight::left).is_some_and(|left| left > max)
        {
            // It was announced: none of it need be received.
            return Poll::Ready(Err(self.too_long(max)));
        }
        while let Some(chunk) = std::task::ready!(self.poll_chunk(cx))? {
            if let Err(TooLong) = gathered.get_or_insert_with(|| Gathered::new(max)).push(chunk) {
                return Poll::Ready(Err(self.too_long(max)));
            }
        }
        Poll::Ready(Ok(gathered.take().map(Gathered::finish).unwrap_or_default()))
    }

    fn too_long(&mut self, max_bytes: u64) -> Error {
        let standing = self.in_flight.as_ref().map(InFlight::standing).unwrap_or_default();
        self.give_up(Error::body_too_long(max_bytes, &standing.progress))
    }

    /// The end: what comes with it, and the exchange goes back.
    fn finish(&mut self) {
        let parcel = &mut *self.parcel;
        if let Some(in_flight) = self.in_flight.as_ref().filter(|_| !self.over) {
            in_flight.take_end(|trailers, stamps| {
                (parcel.trailers, parcel.stamps) = (trailers, Some(*stamps));
            });
        }
        self.over = true;
        if !self.keeps {
            self.in_flight = None;
        }
    }

    fn fail(&mut self, failed: &Failed) -> Error {
        self.give_up(error_of(failed))
    }

    fn give_up(&mut self, error: Error) -> Error {
        // By the core's own clock, as long as it is at hand.
        let now = self.in_flight.take().map_or_else(Instant::now, |in_flight| in_flight.now());
        self.parcel.describe(error, now)
    }

    /// How much of it may be held.
    pub(super) fn max_body_bytes(&self) -> u64 {
        self.parcel.request.max_body_bytes.unwrap_or(u64::MAX)
    }
}

impl Pieces for LocalBody {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        self.poll_chunk(cx)
    }

    fn stop_waiting(&mut self) {
        self.live().into_iter().for_each(InFlight::stop_waiting);
    }
}

/// A body that is copied, and how far its request had come when it was looked at last: behind its end nobody knows.
struct Copied {
    body: LocalBody,
    progress: Progress,
}

impl Copied {
    fn look(&mut self) {
        if let Some(in_flight) = self.body.live() {
            self.progress = in_flight.standing().progress;
        }
    }
}

impl Pieces for Copied {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        self.look();
        self.body.poll_chunk(cx)
    }

    fn stop_waiting(&mut self) {
        self.body.stop_waiting();
    }
}

impl Sourced for LocalBody {
    fn target(&self) -> Option<&Target> {
        Some(&self.parcel.request.target)
    }
}

impl Response<LocalBody> {
    /// All of the body, at most as many bytes as the request or the client allows.
    ///
    /// # Errors
    /// As [`LocalBody::bytes`].
    pub fn bytes(self) -> impl Future<Output = Result<Bytes, Error>> {
        self.body.bytes()
    }

    /// All of the body as text.
    ///
    /// # Errors
    /// As [`LocalBody::bytes`].
    pub async fn text(self) -> Result<String, Error> {
        self.body.text().await
    }

    /// The next piece of the body.
    ///
    /// # Errors
    /// As [`LocalBody::chunk`].
    pub fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, Error>> {
        self.body.chunk()
    }

    /// The response with all of its body, and the request, which is there after a failure too.
    pub(super) async fn fetch(
        mut self,
        max: u64,
    ) -> Result<(Fetched, Box<Parcel>), (Error, Box<Parcel>)> {
        let bytes = match self.body.read_all(max).await {
            Ok(bytes) => bytes,
            Err(error) => return Err((error, self.body.parcel)),
        };
        self.body.finish();
        let mut parcel = self.body.parcel;
        let trailers = parcel.trailers.take();
        self.meta.stamps = parcel.stamps.unwrap_or(self.meta.stamps);
        self.meta.target = Some(parcel.request.target.clone());
        Ok((Response { meta: self.meta, body: Whole { bytes, trailers } }, parcel))
    }
}
