//! What a request's body is made of: bytes, a file, or a stream. Reads nothing itself.

use std::error::Error as StdError;
use std::fmt;
use std::fs::File;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;

/// What a body stream fails with.
pub type BoxError = Box<dyn StdError + Send + Sync>;

pub(crate) type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send + Sync>>;

/// The body of a request.
///
/// ```
/// use ringshot::client::RequestBody;
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// # let path = std::env::temp_dir().join(format!("ringshot-doc-{}", std::process::id()));
/// # std::fs::write(&path, b"from a file")?;
/// block_on(async {
///     let echo = client.post(origin.url("/echo")).body("bytes or text").fetch().await?;
///     assert_eq!(echo.bytes(), "bytes or text");
///
///     let file = RequestBody::file(std::fs::File::open(&path)?);
///     let echo = client.post(origin.url("/echo")).body(file).fetch().await?;
///     assert_eq!(echo.bytes(), "from a file");
///
///     // A stream of pieces, as another response's body is one.
///     let download = client.get(origin.url("/bytes/5")).send().await?.into_body();
///     let upload = RequestBody::stream_of(download, 5);
///     let echo = client.post(origin.url("/echo")).body(upload).fetch().await?;
///     assert_eq!(echo.bytes(), "Hello");
///     Ok::<_, Box<dyn std::error::Error>>(())
/// })?;
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
pub struct RequestBody(pub(crate) Source);

#[derive(Default)]
pub(crate) enum Source {
    #[default]
    None,
    Bytes(Bytes),
    /// Read by helper threads, from its start to its present end.
    File(Arc<File>),
    Stream {
        pieces: Pieces,
        /// Bytes, where that is known: else the chunked coding.
        length: Option<u64>,
    },
}

impl RequestBody {
    /// No body.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The bytes of a regular file, from its start to the end that it has when it is sent. Helper threads read it; the core
    /// itself only asks for its length, and, of a file without any, for a first byte.
    ///
    /// One whose length is not known before it is read, as of those in `/proc`, is sent with the chunked coding. What is no regular file (a directory, a pipe, a device) fails with
    /// [`Kind::RequestBody`](crate::error::Kind::RequestBody) before anything is sent: read it yourself, and send a [`RequestBody::stream`].
    #[must_use]
    pub fn file(file: File) -> Self {
        Self(Source::File(Arc::new(file)))
    }

    /// A body of unknown length, sent with the chunked coding as it is made. It can't be sent twice: no retry, and no redirect that keeps the body.
    pub fn stream<S, B, E>(pieces: S) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<BoxError>,
    {
        Self(Source::Stream { pieces: Plain::of(pieces), length: None })
    }

    /// [`RequestBody::stream`] of exactly `length` bytes: more or fewer end the request and its connection.
    ///
    /// Behind the last of them the stream is asked at once for its end, and from then on as it wakes the request, until the response is complete. The server waits for none of that: who says
    /// later that there is more, or no more, is not listened to; no byte more than `length` is ever sent.
    pub fn stream_of<S, B, E>(pieces: S, length: u64) -> Self
    where
        S: Stream<Item = Result<B, E>> + Send + 'static,
        B: Into<Bytes>,
        E: Into<BoxError>,
    {
        Self(Source::Stream { pieces: Plain::of(pieces), length: Some(length) })
    }
}

/// A stream with pieces and errors of the one kind that is sent. Nobody locks it: the mutex makes a request `Sync` whose stream is only `Send`.
struct Plain<S>(Mutex<Pin<Box<S>>>);

impl<S> Plain<S> {
    fn of(stream: S) -> Pin<Box<Self>> {
        Box::pin(Self(Mutex::new(Box::pin(stream))))
    }
}

impl<S, B, E> Stream for Plain<S>
where
    S: Stream<Item = Result<B, E>>,
    B: Into<Bytes>,
    E: Into<BoxError>,
{
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let stream = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let piece = ready!(stream.as_mut().poll_next(cx));
        Poll::Ready(piece.map(|piece| piece.map(Into::into).map_err(Into::into)))
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::None => f.write_str("None"),
            Source::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Source::File(file) => write!(f, "File({file:?})"),
            Source::Stream { length, .. } => write!(f, "Stream({length:?})"),
        }
    }
}

impl<T: Into<Bytes>> From<T> for RequestBody {
    fn from(bytes: T) -> Self {
        Self(Source::Bytes(bytes.into()))
    }
}

impl Source {
    /// Another one that is the same; a stream has none.
    pub(crate) fn try_clone(&self) -> Option<Self> {
        Some(match self {
            Self::None => Self::None,
            Self::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Self::File(file) => Self::File(Arc::clone(file)),
            Self::Stream { .. } => return None,
        })
    }
}
