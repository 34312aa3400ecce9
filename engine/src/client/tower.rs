//! The client as a `tower_service::Service`, for stacks of middleware. Behind the feature `tower`. Adds no limit and no queue: the client has its own.
//!
//! ```
//! use ringshot::client::{Engine, Request, blocking::block_on};
//! use tower_service::Service;
//! # use ringshot::origin::{Config, Origin};
//! # let origin = Origin::start(&Config::on_loopback())?;
//! # let url = origin.url("/bytes/5");
//!
//! let mut client = Engine::builder().build()?.client().max_in_flight(100).build()?;
//! block_on(async {
//!     let response = client.call(Request::get(&url)?).await?;
//!     assert_eq!(response.bytes().await?.len(), 5);
//!
//!     // Likewise with the types of `http`.
//!     let request = http::Request::get(&url).body("").expect("a valid request");
//!     let response: http::Response<ringshot::client::Body> = client.call(request).await?;
//!     assert_eq!(response.into_body().bytes().await?.len(), 5);
//!     Ok::<(), ringshot::Error>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::pin::Pin;
use std::task::{Context, Poll};

use tower_service::Service;

use super::{Body, Client, Request, RequestBody, Response};
use crate::error::Error;

type Boxed<R> = Pin<Box<dyn Future<Output = Result<R, Error>> + Send>>;

/// [`Client::send`]. Always ready: a call waits where the client's limits or a core's mailbox want it to, and dropping it cancels.
impl Service<Request> for Client {
    type Response = Response;
    type Error = Error;
    type Future = Boxed<Response>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let client = self.clone();
        Box::pin(async move { client.send(request).await })
    }
}

/// [`Client::send`] on the types of `http`; likewise always ready.
impl<B: Into<RequestBody>> Service<http::Request<B>> for Client {
    type Response = http::Response<Body>;
    type Error = Error;
    type Future = Boxed<http::Response<Body>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let client = self.clone();
        let request = Request::try_from(request);
        Box::pin(async move { Ok(client.send(request?).await?.into_http()) })
    }
}
