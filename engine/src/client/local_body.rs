//! A response's body on the core that receives it. Never leaves the core.

use std::future::poll_fn;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method};

use super::Target;
use super::local::error_of;
use super::response::{Fetched, Response, Timings, Whole};
use super::upload::Upload;
use crate::clock::Instant;
use crate::error::{Error, Kind, LimitKind, Phase};
use crate::shard::pool::desk::InFlight;
use crate::shard::pool::exchange::Failed;

/// A body on the core that receives it. Not reading it stops the receiving, and with it the server; dropping it unread throws away a little, or closes the
/// connection.
#[derive(Debug)]
pub struct LocalBody {
    in_flight: Option<InFlight>,
    upload: Upload,
    origin: Origin,
    trailers: Option<Box<HeaderMap>>,
    timings: Option<Timings>,
    max_body_bytes: u64,
}

/// Which request a body belongs to.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) attempts: u8,
    pub(super) submitted: Instant,
}

impl LocalBody {
    pub(super) fn new(
        in_flight: InFlight,
        upload: Upload,
        origin: Origin,
        max_body_bytes: u64,
    ) -> Self {
        let in_flight = Some(in_flight);
        Self { in_flight, upload, origin, trailers: None, timings: None, max_body_bytes }
    }

    /// The next piece of the body, as it came; `None` at its end.
    ///
    /// # Errors
    /// Whatever cut the body short; the pieces before it are as they were sent.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// [`LocalBody::chunk`], for whoever polls.
    ///
    /// # Errors
    /// As [`LocalBody::chunk`].
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        let Some(in_flight) = &self.in_flight else { return Poll::Ready(Ok(None)) };
        self.upload.poll(in_flight, cx);
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
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        let max = self.max_body_bytes;
        self.read_all(max).await
    }

    /// All of the body, if it has at most `max` bytes.
    ///
    /// # Errors
    /// As [`LocalBody::bytes`].
    pub async fn bytes_limited(mut self, max: u64) -> Result<Bytes, Error> {
        self.read_all(max).await
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
        let Some(in_flight) = &self.in_flight else { return Ok(0) };
        let upload = &mut self.upload;
        let discarded = poll_fn(|cx| {
            upload.poll(in_flight, cx);
            in_flight.poll_discarded(cx)
        });
        match discarded.await {
            Ok(bytes) => Ok(bytes),
            Err(failed) => Err(self.fail(&failed)),
        }
    }

    /// The fields behind a chunked body, once it has been read to its end. Names that a trailer may not have are left out (RFC 9110 6.5.1).
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_deref()
    }

    /// How long each phase took, `done` included, once the body has been read to its end.
    #[must_use]
    pub fn timings(&self) -> Option<Timings> {
        self.timings
    }

    /// All of the body, if it has all come in one piece and is within the limit.
    pub(crate) fn take_whole(&mut self) -> Option<(Whole, Option<Timings>)> {
        let bytes = self.in_flight.as_ref()?.take_whole()?;
        self.finish();
        Some((Whole { bytes, trailers: self.trailers.take() }, self.timings))
    }

    /// What came with the end.
    pub(crate) fn take_end(&mut self) -> (Option<Box<HeaderMap>>, Option<Timings>) {
        (self.trailers.take(), self.timings)
    }

    async fn read_all(&mut self, max: u64) -> Result<Bytes, Error> {
        if let Some(whole) = self.in_flight.as_ref().and_then(InFlight::take_whole) {
            let fits = whole.len() as u64 <= max;
            self.finish();
            return if fits { Ok(whole) } else { Err(self.too_long(max)) };
        }
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if (first.len() + all.len() + chunk.len()) as u64 > max {
                return Err(self.too_long(max));
            }
            if first.is_empty() && all.is_empty() {
                first = chunk;
            } else {
                if all.is_empty() {
                    all.extend_from_slice(&std::mem::take(&mut first));
                }
                all.extend_from_slice(&chunk);
            }
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    fn too_long(&mut self, max_bytes: u64) -> Error {
        self.in_flight = None;
        self.describe(Error::new(Kind::Limit(LimitKind::Body { max_bytes }), Phase::Body))
    }

    /// The end: what comes with it, and the exchange goes back.
    fn finish(&mut self) {
        if let Some(in_flight) = self.in_flight.take() {
            self.trailers = in_flight.take_trailers();
            self.timings = Some(Timings::of(&in_flight.stamps()));
        }
    }

    fn fail(&mut self, failed: &Failed) -> Error {
        self.in_flight = None;
        self.describe(error_of(failed))
    }

    fn describe(&self, error: Error) -> Error {
        let Origin { method, target, attempts, submitted } = &self.origin;
        let elapsed = Instant::now() - *submitted;
        error.with_request(method, target.redacted()).with_attempt(*attempts, elapsed)
    }
}

impl Response<LocalBody> {
    /// All of the body, at most as many bytes as the request or the client allows.
    ///
    /// # Errors
    /// As [`LocalBody::bytes`].
    pub async fn bytes(self) -> Result<Bytes, Error> {
        self.body.bytes().await
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
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.body.chunk().await
    }

    pub(crate) async fn fetch(mut self, max: u64) -> Result<Fetched, Error> {
        let bytes = self.body.read_all(max).await?;
        if let Some(timings) = self.body.timings {
            self.meta.timings = timings;
        }
        Ok(self.map(|body| Whole { bytes, trailers: body.trailers }))
    }
}
