//! What came back: the head, how long each phase took, and which connection carried it. The body comes separately.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};

use super::Target;
use crate::clock::Instant;
use crate::shard::pool::exchange::{Carrier, Stamps};
use crate::shard::pool::head::Head;

/// When each phase of a request had ended, counted from its submission. `None` where the phase did not take place, or not yet.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// let timings = block_on(client.get(origin.url("/delay/5")).fetch())?.timings();
/// assert!(timings.sent < timings.first_byte && timings.first_byte <= timings.done);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Timings {
    /// A permit of `max_in_flight` was held.
    pub queued: Option<Duration>,
    /// A connection was assigned.
    pub acquired: Option<Duration>,
    /// The name was resolved: of the connection, if it was made for this request or while it waited.
    pub resolved: Option<Duration>,
    /// The connection was established, likewise.
    pub connected: Option<Duration>,
    /// All of the request was handed to the kernel.
    pub sent: Option<Duration>,
    /// The first byte of the response came; of the final one, where interim ones went before it.
    pub first_byte: Option<Duration>,
    /// The response was complete.
    pub done: Option<Duration>,
}

impl Timings {
    pub(crate) fn of(stamps: &Stamps) -> Self {
        let since = |stamp: Instant| {
            (stamp != Instant::default() && stamp >= stamps.submitted)
                .then(|| stamp - stamps.submitted)
        };
        Self {
            queued: since(stamps.queued),
            acquired: since(stamps.acquired),
            resolved: since(stamps.resolved),
            connected: since(stamps.connected),
            sent: since(stamps.sent),
            first_byte: since(stamps.first_byte),
            done: since(stamps.done),
        }
    }
}

/// The connection that carried a response.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// let ask = || block_on(client.get(origin.url("/")).fetch()).map(|response| response.connection());
/// let (first, second) = (ask()?, ask()?);
/// assert_eq!((first.reused, first.peer), (false, Some(origin.address())));
/// println!("{first:?}, then {second:?}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnInfo {
    /// The server's address.
    pub peer: Option<SocketAddr>,
    /// The core, by its number on this machine.
    pub core: usize,
    /// Unique among the connections of its core, as long as the engine lives.
    pub id: u64,
    /// Whether it had carried another request before.
    pub reused: bool,
}

impl ConnInfo {
    pub(crate) fn of(carrier: &Carrier, core: usize) -> Self {
        Self { peer: carrier.peer, core, id: carrier.id, reused: carrier.reused }
    }
}

/// What is known of a response besides its body.
#[derive(Clone)]
pub(crate) struct Meta {
    pub(crate) head: Arc<Head>,
    pub(crate) stamps: Stamps,
    pub(crate) connection: ConnInfo,
    /// Where it came from, if its body does not know.
    pub(crate) target: Option<Target>,
    /// Body bytes that were announced, where all of it is still to come.
    pub(crate) left: Option<u64>,
    pub(crate) attempts: u8,
    pub(crate) redirects: u32,
}

mod sealed {
    use super::Target;

    /// What a response can have for a body.
    pub trait Sourced {
        /// Where it came from, if it knows.
        fn target(&self) -> Option<&Target>;
    }
}
pub(crate) use sealed::Sourced;

/// A response: its head, and a body that is still to be read.
///
/// A status of 400 or more is a response like any other: see [`Response::error_for_status`].
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// let mut response = block_on(client.get(origin.url("/bytes/5")).send())?;
/// assert_eq!((response.version(), response.content_length()), (http::Version::HTTP_11, Some(5)));
/// assert_eq!(block_on(response.body_mut().chunk())?.as_deref(), Some(&b"Hello"[..]));
///
/// let response = block_on(client.get(origin.url("/status/404")).send())?;
/// assert_eq!(response.status(), 404);
/// assert_eq!(response.connection().peer, Some(origin.address()));
/// assert!(response.timings().first_byte >= response.timings().sent);
/// let error = response.error_for_status().unwrap_err();
/// assert!(error.to_string().ends_with("/status/404 answered 404 Not Found"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Response<B = super::Body> {
    pub(crate) meta: Box<Meta>,
    pub(crate) body: B,
}

impl<B> Response<B> {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.meta.head.status
    }

    /// HTTP/1.0 or HTTP/1.1.
    #[must_use]
    pub fn version(&self) -> Version {
        self.meta.head.version
    }

    /// The fields, parsed at the first call.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.meta.head.headers()
    }

    /// How long each phase took until now; `done` is known once the body has ended.
    #[must_use]
    pub fn timings(&self) -> Timings {
        Timings::of(&self.meta.stamps)
    }

    /// Which connection carried it.
    #[must_use]
    pub fn connection(&self) -> ConnInfo {
        self.meta.connection
    }

    /// How many times the request was sent to get it, retries on fresh connections included: 1 at least. A redirect counts as none, but retries before it do.
    #[must_use]
    pub fn attempts(&self) -> u8 {
        self.meta.attempts
    }

    /// Redirects that led to it.
    #[must_use]
    pub fn redirects(&self) -> u32 {
        self.meta.redirects
    }

    /// The announced length of the body, in bytes.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        // A list says the same again and again, or the response would have been refused (RFC 9112 6.3).
        let value = self.headers().get(http::header::CONTENT_LENGTH)?.to_str().ok()?;
        value.split(',').next()?.trim().parse().ok()
    }

    /// The body, to read it where it is.
    pub fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }

    /// The body.
    #[must_use]
    pub fn into_body(self) -> B {
        self.body
    }

    /// With another body.
    pub(crate) fn map<C>(self, map: impl FnOnce(B) -> C) -> Response<C> {
        Response { meta: self.meta, body: map(self.body) }
    }

    /// The parts as the types of `http`.
    ///
    /// ```
    /// # use ringshot::client::{Engine, blocking::block_on};
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let engine = Engine::builder().build()?;
    /// # let client = engine.client().build()?;
    /// let response = block_on(client.get(origin.url("/bytes/3")).fetch())?.into_http();
    /// assert_eq!((response.status().as_u16(), response.into_body().bytes.len()), (200, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn into_http(self) -> http::Response<B> {
        let mut response = http::Response::new(self.body);
        *response.status_mut() = self.meta.head.status;
        *response.version_mut() = self.meta.head.version;
        response.extensions_mut().insert(Timings::of(&self.meta.stamps));
        response.extensions_mut().insert(self.meta.connection);
        *response.headers_mut() = Head::into_headers(self.meta.head);
        response
    }
}

impl<B: Sourced> Response<B> {
    /// Where it came from, after redirects.
    #[must_use]
    pub fn target(&self) -> &Target {
        let Some(target) = self.body.target().or(self.meta.target.as_ref()) else {
            unreachable!("a body without a target has it beside it")
        };
        target
    }

    /// The response itself, or an error that says its status.
    ///
    /// # Errors
    /// [`StatusError`] for 400 and above.
    pub fn error_for_status(self) -> Result<Self, StatusError> {
        let status = self.status();
        if status.is_client_error() || status.is_server_error() {
            return Err(StatusError { status, url: self.target().redacted() });
        }
        Ok(self)
    }
}

impl<B: fmt::Debug + Sourced> fmt::Debug for Response<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status())
            .field("target", self.target())
            .field("connection", &self.meta.connection)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// A response of which all is there: what batches give.
///
/// The body is in memory, bounded by the batch's or the client's limit.
pub type Fetched = Response<Whole>;

/// A body that has been read.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// let fetched = block_on(client.get(origin.url("/bytes/5")).fetch())?;
/// assert_eq!((fetched.bytes().len(), &*fetched.text()), (5, "Hello"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Whole {
    /// The bytes.
    pub bytes: Bytes,
    /// The fields behind a chunked body.
    pub trailers: Option<Box<HeaderMap>>,
}

impl Sourced for Whole {
    fn target(&self) -> Option<&Target> {
        None
    }
}

impl Fetched {
    /// The body's bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.body.bytes
    }

    /// The body as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.body.bytes)
    }

    /// The fields behind a chunked body.
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.body.trailers.as_deref()
    }
}

/// A status of 400 or more, from [`Response::error_for_status`].
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// let response = block_on(client.get(origin.url("/status/503")).fetch())?;
/// assert_eq!(response.error_for_status().unwrap_err().status, 503);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url} answered {status}")]
pub struct StatusError {
    /// The status.
    pub status: StatusCode,
    url: String,
}
