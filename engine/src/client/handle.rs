//! The client on any thread: places requests on cores, and awaits what comes back.

use std::borrow::Borrow;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::body::Body;
use super::call::{Call, Reads, Reply};
use super::engine::{Engine, Note, Observed};
use super::parcel::Parcel;
use super::request::Request;
use super::request_builder::begin_requests;
use super::response::{Fetched, Response};
use super::servers::Delivery;
use super::settings::Settings;
use super::subject::Origin;
use super::{REDIRECTS_DEFAULT, RequestBuilder};
use crate::clock::Instant;
use crate::error::{Error, Kind, Phase};
use crate::mesh::placement::Homes;

/// Makes requests from any thread, on any executor. `Send`, `Sync`, cheap to clone.
///
/// A request goes to the core that is its host's home, or, if that is behind, to the least busy one. Its future may be dropped at any time: that cancels it.
///
/// ```
/// use ringshot::client::Request;
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// let client = engine.client().max_in_flight(10).build()?;
/// let ask = client.clone();
/// let url = origin.url("/bytes/10");
/// let other = std::thread::spawn(move || block_on(ask.get(url).fetch()));
/// let own = block_on(client.fetch(Request::get(origin.url("/bytes/20"))?))?;
/// assert_eq!((own.bytes().len(), other.join().unwrap()?.bytes().len()), (20, 10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    settings: Arc<Settings>,
    homes: Homes,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.settings.gone.store(true, Ordering::Release);
        for core in 0..self.engine.cores() {
            // A core whose mailbox is full forgets it with the next client that it meets; the idle connections close in their own time.
            let _ = self.engine.try_post(core, Note::Forget(self.settings.id));
        }
    }
}

/// A request placed on a core, until it is over there or given up here. By reference while its reply is awaited; one whose body comes in pieces is a handle too:
/// without any the cores stop.
#[derive(Debug)]
pub(super) struct Placed<C: Borrow<Client> = Client> {
    client: C,
    core: u32,
    pub(super) call: Arc<Call>,
    /// Whether all that comes back was taken.
    over: bool,
}

impl<C: Borrow<Client>> Placed<C> {
    fn new(client: C, core: u32, call: Arc<Call>) -> Self {
        let placed = Self { client, core, call, over: false };
        placed.load().fetch_add(1, Ordering::Relaxed);
        placed
    }

    /// The requests of its core that are not over.
    fn load(&self) -> &AtomicU32 {
        &self.client.borrow().0.engine.mesh().seats[self.core as usize].load.placed
    }

    pub(super) fn engine(&self) -> &Engine {
        self.client.borrow().engine()
    }

    /// The time of its engine; zero where that stands still between two turns.
    pub(super) fn now(&self) -> Instant {
        self.engine().now().unwrap_or_default()
    }

    /// All that comes back was taken.
    pub(super) fn end(mut self) {
        self.over = true;
    }
}

impl<C: Borrow<Client>> Drop for Placed<C> {
    fn drop(&mut self) {
        if !self.over {
            self.call.cancel();
        }
        self.load().fetch_sub(1, Ordering::Relaxed);
    }
}

impl Client {
    pub(crate) fn new(engine: Engine, settings: Arc<Settings>, homes: Homes) -> Self {
        Self(Arc::new(Inner { engine, settings, homes }))
    }

    pub(crate) fn settings(&self) -> &Arc<Settings> {
        &self.0.settings
    }

    pub(crate) fn homes(&self) -> Homes {
        self.0.homes
    }

    /// The engine that serves it.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    begin_requests!(Self, Self::clone);

    /// Sends a request and waits for the head of its response. Dropping the future cancels it.
    ///
    /// Follows redirects only as the request or the client says.
    ///
    /// # Errors
    /// [`Error`] says what happened, in which phase, and whether it may be tried again.
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        self.send_parcel(request.into()).await
    }

    async fn send_parcel(&self, parcel: Box<Parcel>) -> Result<Response, Error> {
        self.call(parcel, Reads::Pieces).await
    }

    async fn fetch_parcel(&self, parcel: Box<Parcel>) -> Result<Fetched, Error> {
        // What may be tried again when its body breaks is read where it can be.
        let reads = if self.0.settings.retry.repeats() { Reads::Whole } else { Reads::Pieces };
        self.call(parcel, reads).await?.fetch().await
    }

    async fn call(&self, mut parcel: Box<Parcel>, reads: Reads) -> Result<Response, Error> {
        let submitted = self.0.engine.now().unwrap_or_default();
        parcel.submitted = submitted;
        let request = &mut parcel.request;
        let default = self.0.settings.max_body_bytes;
        let origin = Origin {
            method: request.method.clone(),
            target: request.target.clone(),
            max_body_bytes: *request.max_body_bytes.get_or_insert(default),
            time: self.0.engine.time(),
        };
        let host = request.target.origin().number();
        let call = Call::new(Arc::clone(&self.0.settings), parcel, reads);
        let placed = self.place(host, call).await.map_err(|()| {
            let error = Error::new(Kind::Shutdown, Phase::Queue);
            error.with_request(&origin.method, origin.target.redacted())
        })?;
        let reply = poll_fn(|cx| placed.call.poll_reply(cx)).await;
        match reply {
            Reply::Failed(error) => {
                placed.end();
                Err(self.named(error, &origin, submitted))
            }
            Reply::Whole { mut meta, whole, parcel } => {
                placed.end();
                meta.target = Some(parcel.into_target());
                let body = Body::whole(whole, &mut meta, origin);
                Ok(Response { meta, body })
            }
            Reply::Head(mut meta) => {
                let reads = Placed::new(self.clone(), placed.core, Arc::clone(&placed.call));
                placed.end();
                let body = Body::of_call(reads, &mut meta, origin);
                Ok(Response { meta, body })
            }
        }
    }

    /// Sends a request and reads all of its body, at most as many bytes as the request or the client allows.
    ///
    /// # Errors
    /// As [`Client::send`], and [`Kind::Limit`] for a body that is longer.
    pub async fn fetch(&self, request: Request) -> Result<Fetched, Error> {
        self.fetch_parcel(request.into()).await
    }

    /// What ended with its core, or with a panic there, could not say what it was about.
    fn named(&self, error: Error, origin: &Origin, submitted: Instant) -> Error {
        if error.url().is_some() {
            return error;
        }
        let elapsed = self.0.engine.now().unwrap_or_default() - submitted;
        let attempt = error.attempt();
        let error = error.with_request(&origin.method, origin.target.redacted());
        error.with_attempt(attempt, elapsed)
    }

    /// Brings a call to the core that is to serve it; waits where all mailboxes are full.
    async fn place(&self, host: u64, call: Arc<Call>) -> Result<Placed<&Self>, ()> {
        let engine = &self.0.engine;
        let (core, spilled) = self.0.homes.place(host, |core| engine.load(core));
        let load = &engine.mesh().seats[core as usize].load;
        load.placed_total.fetch_add(1, Ordering::Relaxed);
        if spilled {
            load.spilled.fetch_add(1, Ordering::Relaxed);
        }
        let placed = Placed::new(self, core, Arc::clone(&call));
        if engine.mesh().is_stopped() {
            return Err(());
        }
        if let Err(note) = engine.try_post(core as usize, Note::Call(Delivery::new(call))) {
            engine.post(core as usize, note).await?;
        }
        Ok(placed)
    }

    /// The most that was in use of each limit, over all cores.
    #[must_use]
    pub fn limits_observed(&self) -> Observed {
        let pool = &self.0.settings.pool;
        Observed {
            conns: pool.connections.most(),
            conns_per_host: pool.most_per_host(),
            in_flight: pool.permits.as_ref().map(|permits| permits.most()),
            conns_now: pool.connections.taken(),
        }
    }
}

impl RequestBuilder<Client> {
    /// The request, which follows redirects unless something else was set.
    fn into_redirected(self) -> Result<(Client, Box<Parcel>), Error> {
        let (client, mut parcel) = self.into_parts()?;
        let default = client.0.settings.redirects.unwrap_or(REDIRECTS_DEFAULT);
        parcel.request.redirects.get_or_insert(default);
        Ok((client, parcel))
    }

    /// Sends it, and follows up to [`REDIRECTS_DEFAULT`] redirects unless something else was set. The future borrows nothing: it may be spawned.
    ///
    /// # Errors
    /// As [`Client::send`], and what was wrong with the request.
    pub async fn send(self) -> Result<Response, Error> {
        let (client, parcel) = self.into_redirected()?;
        client.send_parcel(parcel).await
    }

    /// Sends it, follows redirects likewise, and reads all of the body.
    ///
    /// # Errors
    /// As [`Client::fetch`], and what was wrong with the request.
    pub async fn fetch(self) -> Result<Fetched, Error> {
        let (client, parcel) = self.into_redirected()?;
        client.fetch_parcel(parcel).await
    }
}

impl IntoFuture for RequestBuilder<Client> {
    type Output = Result<Response, Error>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
