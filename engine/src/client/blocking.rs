//! The client for threads without an executor: the same calls, which wait. Not for an executor's thread, which does nothing else meanwhile; in a task of a core they are refused.

use std::os::fd::AsFd;

use bytes::Bytes;
use http::HeaderMap;

use super::request_builder::begin_requests;
use super::{Engine, EngineError, Fetched, Request, RequestBuilder, Response};
use crate::error::{Error, Kind, Phase};
use crate::shard::tasks::is_in_task;
pub use crate::sync::block_on;

/// Why a task of a core may not wait.
pub(super) const IN_A_TASK: &str = "a blocking call in a task would stop the core that the task is on, which serves others too: await a Client or a LocalClient there, or make the call in cpu::offload";

/// Whether the calling thread may wait for an engine: not in a task of a core, nor in one of an executor that turns a core of this engine.
pub(super) fn may_wait_for(engine: &Engine) -> bool {
    !is_in_task() && !engine.is_on_a_core()
}

/// A client whose calls wait for their outcome. `Send`, `Sync`, cheap to clone: share it among threads.
///
/// A task of a core gets [`Kind::Config`] from each call, whichever engine's the client is: waiting
/// there would stop that core, and with it perhaps the one that is to serve the call. So does a task
/// of a glommio executor that turns a core of the client's engine.
///
/// ```
/// use ringshot::client::blocking::Client;
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let url = format!("http://{}/", origin.address());
///
/// let client = Client::new()?;
/// let response = client.get(&url).send()?;
/// println!("{}: {} bytes", response.status(), response.bytes().len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Client(super::Client);

impl Client {
    /// A client of an engine of its own, on one core, with every limit at its default.
    ///
    /// # Errors
    /// [`Kind::Config`] if the engine can't start here.
    pub fn new() -> Result<Self, Error> {
        let failed = |error: EngineError| Error::new(Kind::Config(error.to_string()), Phase::Build);
        let engine = Engine::builder().cores(super::Cores::Count(1)).build().map_err(failed)?;
        engine.client().build().map(Self)
    }

    begin_requests!(Self, Self::clone);

    /// Sends a request and waits for all of its response.
    ///
    /// # Errors
    /// As [`super::Client::fetch`].
    pub fn fetch(&self, request: Request) -> Result<Fetched, Error> {
        self.check(&request)?;
        block_on(self.0.fetch(request))
    }

    /// Sends a request and waits for the head of its response; the body is read with [`Body::chunk`].
    ///
    /// ```
    /// # use ringshot::client::{Engine, blocking::block_on};
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let engine = Engine::builder().build()?;
    /// # let client = engine.client().build()?;
    /// # use ringshot::client::{Request, blocking};
    /// let client = blocking::Client::from(client);
    /// let mut body = client.open(Request::get(origin.url("/bytes/100000"))?)?.into_body();
    /// let mut bytes = 0;
    /// while let Some(chunk) = body.chunk()? {
    ///     bytes += chunk.len();
    /// }
    /// assert_eq!(bytes, 100_000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`super::Client::send`].
    pub fn open(&self, request: Request) -> Result<Response<Body>, Error> {
        self.check(&request)?;
        Ok(block_on(self.0.send(request))?.map(Body))
    }

    fn check(&self, request: &Request) -> Result<(), Error> {
        match may_wait_for(self.0.engine()) {
            true => Ok(()),
            false => Err(request.invalid(IN_A_TASK.to_owned())),
        }
    }

    /// The client that it waits for.
    #[must_use]
    pub fn inner(&self) -> &super::Client {
        &self.0
    }
}

impl From<super::Client> for Client {
    fn from(client: super::Client) -> Self {
        Self(client)
    }
}

impl RequestBuilder<Client> {
    /// Sends it, follows up to [`REDIRECTS_DEFAULT`](super::REDIRECTS_DEFAULT) redirects unless something else was set, and waits for all of the response.
    ///
    /// # Errors
    /// As [`super::Client::fetch`], and what was wrong with the request.
    pub fn send(self) -> Result<Fetched, Error> {
        let (client, parcel) = self.into_parts()?;
        client.check(&parcel.request)?;
        block_on(RequestBuilder::of(client.0, parcel).fetch())
    }
}

/// A response's body, read by waiting.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// # use ringshot::client::{Request, blocking};
/// let client = blocking::Client::from(client);
/// let body = client.open(Request::get(origin.url("/bytes/100000"))?)?.into_body();
/// assert_eq!(body.discard()?, 100_000); // and the connection is kept
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Body(super::Body);

impl Body {
    /// The next piece, as it came; `None` at the end.
    ///
    /// # Errors
    /// As [`super::Body::chunk`].
    pub fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.check()?;
        block_on(self.0.chunk())
    }

    /// Throws the rest away, and keeps the connection. Gives the bytes thrown away.
    ///
    /// # Errors
    /// As [`super::Body::chunk`].
    pub fn discard(self) -> Result<u64, Error> {
        self.check()?;
        block_on(self.0.discard())
    }

    /// Writes all of it to a file, at the file's position, and gives the bytes written.
    ///
    /// # Errors
    /// As [`super::Body::copy_to`].
    pub fn copy_to(self, file: impl AsFd) -> Result<u64, Error> {
        self.check()?;
        block_on(self.0.copy_to(file))
    }

    fn check(&self) -> Result<(), Error> {
        if self.0.engine().map_or_else(|| !is_in_task(), may_wait_for) {
            return Ok(());
        }
        let error = Error::new(Kind::Config(IN_A_TASK.to_owned()), Phase::Body);
        Err(self.0.named(error))
    }

    /// The fields behind a chunked body, once it has been read to its end.
    #[must_use]
    pub fn trailers(&self) -> Option<&HeaderMap> {
        self.0.trailers()
    }
}
