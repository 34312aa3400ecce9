//! What goes into a batch: anything that is a request, alone or with a tag, from an iterator or a stream. Pulled one at a time, never collected.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::client::queue::{Item, Ticket};
use crate::client::request::Request;
use crate::client::request_body::RequestBody;
use crate::client::{RequestBuilder, Target};
use crate::error::Error;
use crate::proto::url::Url;

/// What is a request, a [`RequestBuilder`], or a URL to `GET`. An error among a batch's inputs becomes the result of its place.
///
/// ```
/// use ringshot::client::{Request, batch::IntoRequest};
///
/// assert!("http://example.test/".into_request().is_ok());
/// assert!(http::Request::get("http://example.test/").body("")?.into_request().is_ok());
/// assert!(Request::get("no URL").into_request().is_err()); // an error stays one
/// # let client = ringshot::Engine::builder().build()?.client().build()?;
/// assert!(client.get("http://example.test/").bearer_auth("token").into_request().is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait IntoRequest {
    /// The request.
    ///
    /// # Errors
    /// What is wrong with it.
    fn into_request(self) -> Result<Request, Error>;
}

impl IntoRequest for Request {
    fn into_request(self) -> Result<Request, Error> {
        Ok(self)
    }
}

impl<R: IntoRequest> IntoRequest for Result<R, Error> {
    fn into_request(self) -> Result<Request, Error> {
        self?.into_request()
    }
}

impl<C> IntoRequest for RequestBuilder<C> {
    fn into_request(self) -> Result<Request, Error> {
        self.build()
    }
}

impl<B: Into<RequestBody>> IntoRequest for http::Request<B> {
    fn into_request(self) -> Result<Request, Error> {
        self.try_into()
    }
}

macro_rules! get {
    ($($url:ty),*) => {$(
        impl IntoRequest for $url {
            fn into_request(self) -> Result<Request, Error> {
                Request::get(self)
            }
        }
    )*};
}

get!(Target, &Target, &str, String, &String, Url, http::Uri, &http::Uri);

/// An input of a batch: a request, a request with a tag, or either out of a [`queue`](crate::queue).
///
/// | input | tag |
/// |---|---|
/// | whatever is [`IntoRequest`] | `()` |
/// | `(tag, request)` | `tag` |
/// | an [`Item`] of a queue with a request | its [`Ticket`]: the item is done when its result's tag is dropped |
/// | an [`Item`] with `(tag, request)` | `(tag, ticket)` |
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// let url = origin.url("/");
/// let plain = client.batch([url.clone()]).completed().into_blocking().next().expect("one");
/// let tagged = client.batch([(7, url)]).completed().into_blocking().next().expect("one");
/// assert_eq!((plain.tag, tagged.tag), ((), 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait BatchItem {
    /// What comes back with the result.
    type Tag: Send + 'static;

    /// The tag, and the request.
    fn into_parts(self) -> (Self::Tag, Result<Request, Error>);
}

impl<R: IntoRequest> BatchItem for R {
    type Tag = ();

    fn into_parts(self) -> ((), Result<Request, Error>) {
        ((), self.into_request())
    }
}

impl<T: Send + 'static, R: IntoRequest> BatchItem for (T, R) {
    type Tag = T;

    fn into_parts(self) -> (T, Result<Request, Error>) {
        (self.0, self.1.into_request())
    }
}

impl<R: IntoRequest> BatchItem for Item<R> {
    type Tag = Ticket;

    fn into_parts(self) -> (Ticket, Result<Request, Error>) {
        let (request, ticket) = self.into_parts();
        (ticket, request.into_request())
    }
}

impl<T: Send + 'static, R: IntoRequest> BatchItem for Item<(T, R)> {
    type Tag = (T, Ticket);

    fn into_parts(self) -> ((T, Ticket), Result<Request, Error>) {
        let ((tag, request), ticket) = self.into_parts();
        ((tag, ticket), request.into_request())
    }
}

/// One input.
pub(super) type Input<T> = (T, Result<Request, Error>);

/// Where inputs are pulled from. Polled by one core at a time.
pub(super) trait Pull<T>: Send {
    fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Input<T>>>;

    /// How many are still to come at most, where that is known.
    fn most(&self) -> Option<usize>;
}

/// Pulls until there are `most` inputs, or none is to be had. A panic of the caller's is caught.
pub(super) fn pull<T>(
    source: &mut dyn Pull<T>,
    inputs: &mut Vec<Input<T>>,
    most: usize,
    cx: &mut Context<'_>,
) -> Pulled {
    while inputs.len() < most {
        match catch_unwind(AssertUnwindSafe(|| source.poll_pull(cx))) {
            Ok(Poll::Ready(Some(input))) => inputs.push(input),
            Ok(Poll::Ready(None)) => return Pulled::Ended,
            Ok(Poll::Pending) => return Pulled::Dry,
            Err(payload) => return Pulled::Panicked(payload),
        }
    }
    Pulled::More
}

/// How a pull ended.
pub(super) enum Pulled {
    /// With a full block.
    More,
    /// The stream has nothing yet, and will wake who polled it.
    Dry,
    Ended,
    Panicked(Box<dyn Any + Send>),
}

/// Where a batch's inputs come from.
///
/// ```
/// use ringshot::client::batch::{BatchSource, Source};
/// use ringshot::client::Request;
///
/// let requests = (1..=3).map(|page| Request::get(format!("http://a.test/{page}")).unwrap());
/// let source: Source<_> = requests.into_source();
/// println!("{source:?}: pulled one by one, when there is room");
/// ```
pub struct Source<T>(pub(super) Box<dyn Pull<T>>);

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

struct Iterated<I>(I);

impl<I> Pull<<I::Item as BatchItem>::Tag> for Iterated<I>
where
    I: Iterator<Item: BatchItem> + Send,
{
    fn poll_pull(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Option<Input<<I::Item as BatchItem>::Tag>>> {
        Poll::Ready(self.0.next().map(BatchItem::into_parts))
    }

    fn most(&self) -> Option<usize> {
        self.0.size_hint().1
    }
}

struct Streamed<S>(Pin<Box<S>>);

impl<S> Pull<<S::Item as BatchItem>::Tag> for Streamed<S>
where
    S: Stream<Item: BatchItem> + Send,
{
    fn poll_pull(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Input<<S::Item as BatchItem>::Tag>>> {
        self.0.as_mut().poll_next(cx).map(|item| item.map(BatchItem::into_parts))
    }

    fn most(&self) -> Option<usize> {
        self.0.size_hint().1
    }
}

/// Tells [`BatchSource`] that its inputs come from an iterator. Never named by hand.
#[derive(Debug)]
pub enum FromIterator {}

/// Tells [`BatchSource`] that its inputs come from a stream. Never named by hand.
#[derive(Debug)]
pub enum FromStream {}

/// What [`Client::batch`](crate::Client::batch) takes: an iterator, or a [`Stream`], of [`BatchItem`]s. `Kind` is inferred.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// let urls = vec![origin.url("/"); 3];
/// let from_iterator = block_on(client.batch(urls).collect());
/// assert_eq!(from_iterator.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait BatchSource<Kind>: sealed::Sealed<Kind> {
    /// What comes back with each result.
    type Tag: Send + 'static;

    /// The inputs.
    fn into_source(self) -> Source<Self::Tag>;
}

mod sealed {
    /// Nobody else's trait to implement.
    pub trait Sealed<Kind> {}
}

impl<I> sealed::Sealed<FromIterator> for I where
    I: IntoIterator<Item: BatchItem, IntoIter: Send + 'static>
{
}

impl<I> BatchSource<FromIterator> for I
where
    I: IntoIterator<Item: BatchItem, IntoIter: Send + 'static>,
{
    type Tag = <I::Item as BatchItem>::Tag;

    fn into_source(self) -> Source<Self::Tag> {
        Source(Box::new(Iterated(self.into_iter())))
    }
}

impl<S> sealed::Sealed<FromStream> for S where S: Stream<Item: BatchItem> + Send + 'static {}

impl<S> BatchSource<FromStream> for S
where
    S: Stream<Item: BatchItem> + Send + 'static,
{
    type Tag = <S::Item as BatchItem>::Tag;

    fn into_source(self) -> Source<Self::Tag> {
        Source(Box::new(Streamed(Box::pin(self))))
    }
}
