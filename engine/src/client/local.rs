//! The client of one core: its futures run beside the connections that they use, and never leave the core.

use std::rc::Rc;

use super::core_ctx::{CoreCtx, Member};
use super::job::Job;
use super::local_body::LocalBody;
use super::parcel::Parcel;
use super::request::Request;
use super::request_builder::begin_requests;
use super::response::{Fetched, Response};
use super::{REDIRECTS_DEFAULT, RequestBuilder};
use crate::clock::Instant;
use crate::error::Error;
use crate::shard::pool::exchange::Trace;

/// A client on one core. Cheap to clone, not `Send`: its futures run on the core that owns the connections.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// let client = engine.client().build()?;
/// let url = origin.url("/bytes/10");
/// let bytes = block_on(engine.run_on(0, move |ctx| async move {
///     let client = ctx.client(&client);
///     let fetch = || {
///         let (client, url) = (client.clone(), url.clone());
///         ctx.spawn(async move { client.get(&url).send().await?.bytes().await })
///     };
///     let tasks: Vec<_> = (0..20).map(|_| fetch()).collect();
///     let mut bytes = 0;
///     for task in tasks {
///         bytes += task.await.map_or(0, |body| body.map_or(0, |body| body.len()));
///     }
///     bytes
/// }))?;
/// assert_eq!(bytes, 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LocalClient {
    pub(super) ctx: CoreCtx,
    pub(super) member: Rc<Member>,
}

impl LocalClient {
    /// The core that it runs on.
    #[must_use]
    pub fn ctx(&self) -> &CoreCtx {
        &self.ctx
    }

    begin_requests!(&Self, std::convert::identity);

    /// Sends a request and waits for the head of its response. Dropping the future cancels it.
    ///
    /// Follows redirects only as the request or the client says.
    ///
    /// # Errors
    /// [`Error`] says what happened, in which phase, and whether it may be tried again.
    pub async fn send(&self, request: Request) -> Result<Response<LocalBody>, Error> {
        self.send_parcel(request.into(), None).await
    }

    pub(super) fn send_parcel(
        &self,
        parcel: Box<Parcel>,
        trace: Option<Rc<Trace>>,
    ) -> impl Future<Output = Result<Response<LocalBody>, Error>> {
        self.begin(parcel, trace).run()
    }

    fn begin(&self, mut parcel: Box<Parcel>, trace: Option<Rc<Trace>>) -> Job<'_> {
        if parcel.submitted == Instant::default() {
            parcel.submitted = self.now();
        }
        let settings = &self.member.settings;
        settings.retry.deposit();
        Job::new(self, parcel, trace)
    }

    /// Sends a request and reads all of its body, at most as many bytes as the request or the client allows.
    ///
    /// # Errors
    /// As [`LocalClient::send`], and [`Kind::Limit`](super::Kind::Limit) for a body that is longer.
    pub async fn fetch(&self, request: Request) -> Result<Fetched, Error> {
        self.fetch_parcel(request.into(), None).await.map(|(fetched, _)| fetched)
    }

    /// [`LocalClient::fetch`], with the request, to be freed where it was made.
    pub(super) async fn fetch_parcel(
        &self,
        parcel: Box<Parcel>,
        trace: Option<Rc<Trace>>,
    ) -> Result<(Fetched, Box<Parcel>), Error> {
        let max = self.max_body_bytes(&parcel.request);
        self.begin(parcel, trace).fetch(max).await
    }

    /// [`LocalClient::fetch`], which tells how far it came even if it is dropped.
    pub(super) async fn fetch_traced(
        &self,
        request: Request,
        trace: Rc<Trace>,
    ) -> Result<Fetched, Error> {
        self.fetch_parcel(request.into(), Some(trace)).await.map(|(fetched, _)| fetched)
    }

    fn max_body_bytes(&self, request: &Request) -> u64 {
        request.max_body_bytes.unwrap_or(self.member.settings.max_body_bytes)
    }

    pub(super) fn now(&self) -> Instant {
        self.ctx.desk().now()
    }
}

impl<'a> RequestBuilder<&'a LocalClient> {
    /// The request, which follows redirects unless something else was set.
    fn into_redirected(self) -> Result<(&'a LocalClient, Box<Parcel>), Error> {
        let (client, mut parcel) = self.into_parts()?;
        let default = client.member.settings.redirects.unwrap_or(REDIRECTS_DEFAULT);
        parcel.request.redirects.get_or_insert(default);
        Ok((client, parcel))
    }

    /// Sends it, and follows up to [`REDIRECTS_DEFAULT`] redirects unless something else was set.
    ///
    /// # Errors
    /// As [`LocalClient::send`], and what was wrong with the request.
    pub async fn send(self) -> Result<Response<LocalBody>, Error> {
        let (client, parcel) = self.into_redirected()?;
        client.send_parcel(parcel, None).await
    }

    /// Sends it, follows redirects likewise, and reads all of the body.
    ///
    /// ```
    /// # use ringshot::client::{Engine, blocking::block_on};
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let engine = Engine::builder().build()?;
    /// let client = engine.client().build()?;
    /// let url = origin.url("/bytes/10");
    /// let fetched = block_on(engine.run_on(0, async move |ctx| ctx.client(&client).get(&url).fetch().await))??;
    /// assert_eq!(fetched.bytes().len(), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`LocalClient::fetch`], and what was wrong with the request.
    pub async fn fetch(self) -> Result<Fetched, Error> {
        let (client, parcel) = self.into_redirected()?;
        client.fetch_parcel(parcel, None).await.map(|(fetched, _)| fetched)
    }
}

impl<'a> IntoFuture for RequestBuilder<&'a LocalClient> {
    type Output = Result<Response<LocalBody>, Error>;
    type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}
