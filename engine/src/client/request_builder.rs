//! A request while it is put together. What is wrong with it is told when it is sent.

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use super::Target;
use super::parcel::Parcel;
use super::request::{Request, target_of};
use super::request_body::RequestBody;
use crate::error::Error;
use crate::proto::url::{UrlError, check_credentials};

/// The ways to begin a request, which each client has. A builder holds what `hold` makes of the client.
macro_rules! begin_requests {
    ($held:ty, $hold:path) => {
        /// Begins a request; what is wrong with the URL is told when it is sent.
        #[inline(always)] // It is to stay in registers: what is returned through memory is read in other pieces than it was written in.
        pub fn request<U>(
            &self,
            method: http::Method,
            target: U,
        ) -> $crate::client::RequestBuilder<$held>
        where
            U: TryInto<$crate::client::Target>,
            $crate::client::UrlError: From<U::Error>,
        {
            $crate::client::RequestBuilder::new($hold(self), method, target)
        }

        /// Begins a `GET` request.
        #[inline(always)] // As `request`.
        pub fn get<U>(&self, target: U) -> $crate::client::RequestBuilder<$held>
        where
            U: TryInto<$crate::client::Target>,
            $crate::client::UrlError: From<U::Error>,
        {
            self.request(http::Method::GET, target)
        }

        /// Begins a `POST` request.
        pub fn post<U>(&self, target: U) -> $crate::client::RequestBuilder<$held>
        where
            U: TryInto<$crate::client::Target>,
            $crate::client::UrlError: From<U::Error>,
        {
            self.request(http::Method::POST, target)
        }

        /// Begins a `PUT` request.
        pub fn put<U>(&self, target: U) -> $crate::client::RequestBuilder<$held>
        where
            U: TryInto<$crate::client::Target>,
            $crate::client::UrlError: From<U::Error>,
        {
            self.request(http::Method::PUT, target)
        }

        /// Begins a `PATCH` request.
        pub fn patch<U>(&self, target: U) -> $crate::client::RequestBuilder<$held>
        where
            U: TryInto<$crate::client::Target>,
            $crate::client::UrlError: From<U::Error>,
        {
            self.request(http::Method::PATCH, target)
        }

        /// Begins a `DELETE` request.
        pub fn delete<U>(&self, target: U) -> $crate::client::RequestBuilder<$held>
        where
            U: TryInto<$crate::client::Target>,
            $crate::client::UrlError: From<U::Error>,
        {
            self.request(http::Method::DELETE, target)
        }

        /// Begins a `HEAD` request.
        pub fn head<U>(&self, target: U) -> $crate::client::RequestBuilder<$held>
        where
            U: TryInto<$crate::client::Target>,
            $crate::client::UrlError: From<U::Error>,
        {
            self.request(http::Method::HEAD, target)
        }
    };
}
pub(super) use begin_requests;

/// A request of a client, while it is put together: [`Client::get`](super::Client::get) begins one, `send` ends it.
///
/// It holds a [`Client`](super::Client) as one of its handles, so its future may be spawned as it is; of a [`LocalClient`](super::LocalClient) it borrows the client.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// use std::time::Duration;
///
/// let request = client.post(origin.url("/echo"))
///     .header("x-mine", "1")
///     .bearer_auth("token")
///     .body("hello")
///     .idempotent()
///     .timeout(Duration::from_secs(5))
///     .max_body_bytes(1000);
/// assert_eq!(block_on(request.fetch())?.text(), "hello");
///
/// // Its body goes out once the server has said that it wants it.
/// let upload = client.put(origin.url("/echo")).expect_continue().body("large");
/// assert_eq!(block_on(upload.fetch())?.text(), "large");
/// let patched = client.patch(origin.url("/echo")).body("a part");
/// assert_eq!(block_on(patched.fetch())?.text(), "a part");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct RequestBuilder<C> {
    client: C,
    request: Result<Box<Parcel>, Error>,
}

impl<C> RequestBuilder<C> {
    #[inline(always)] // As `get`.
    pub(crate) fn new<U>(client: C, method: Method, target: U) -> Self
    where
        U: TryInto<Target>,
        UrlError: From<U::Error>,
    {
        let request = target_of(target).map(|target| Parcel::of(Request::to(method, target)));
        Self { client, request }
    }

    /// Goes on with a request.
    pub(crate) fn of(client: C, request: Box<Parcel>) -> Self {
        Self { client, request: Ok(request) }
    }

    fn with(mut self, change: impl FnOnce(Request) -> Result<Request, Error>) -> Self {
        self.request = self.request.and_then(|parcel| change(parcel.request)).map(Into::into);
        self
    }

    /// Adds a field. One of this name that the client adds by default is left out.
    pub fn header<N, V>(self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.with(|request| request.header(name, value))
    }

    /// Adds fields.
    pub fn headers(self, headers: HeaderMap) -> Self {
        self.with(|mut request| {
            request.headers.extend(headers);
            Ok(request)
        })
    }

    /// Adds names and values to the query of the URL, percent-encoded (RFC 3986 2.1), behind what it has.
    ///
    /// ```
    /// # use ringshot::client::{Engine, blocking::block_on};
    /// # let client = Engine::builder().build()?.client().build()?;
    /// let request = client.get("http://h/find?lang=en").query([("q", "salt & pepper"), ("page", "2")]).build()?;
    /// assert_eq!(request.target().path_and_query(), "/find?lang=en&q=salt%20%26%20pepper&page=2");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn query<N, V>(self, pairs: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        self.with(|request| request.query(pairs))
    }

    /// Adds `Authorization: Basic` (RFC 7617). It stays with its origin when a redirect leads elsewhere. A control character, or a colon in the name, is told when it
    /// is sent.
    ///
    /// ```
    /// # use ringshot::client::{Engine, blocking::block_on};
    /// # let client = Engine::builder().build()?.client().build()?;
    /// let request = client.delete("http://h/").basic_auth("user", "open sesame").build()?;
    /// assert_eq!(request.headers()["authorization"], "Basic dXNlcjpvcGVuIHNlc2FtZQ==");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn basic_auth(self, name: &str, password: &str) -> Self {
        if let Err(problem) = check_credentials(name.as_bytes(), password.as_bytes()) {
            return self.with(|request| Err(request.invalid(problem.to_owned())));
        }
        let pair = format!("{name}:{password}");
        let pair = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
        self.authorization(format!("Basic {pair}"))
    }

    /// Adds `Authorization: Bearer` (RFC 6750). It stays with its origin when a redirect leads elsewhere.
    pub fn bearer_auth(self, token: &str) -> Self {
        self.authorization(format!("Bearer {token}"))
    }

    fn authorization(self, value: String) -> Self {
        let value = HeaderValue::try_from(value);
        self.with(|request| match value {
            Ok(mut value) => {
                value.set_sensitive(true);
                request.header(http::header::AUTHORIZATION, value)
            }
            Err(_) => {
                Err(request.invalid("the token holds bytes that no header may have".to_owned()))
            }
        })
    }

    /// Sets the body: bytes, text, or a [`RequestBody`].
    pub fn body(self, body: impl Into<RequestBody>) -> Self {
        self.with(|request| Ok(request.body(body)))
    }

    /// Sets the total timeout of this request, instead of the client's.
    pub fn timeout(self, total: Duration) -> Self {
        self.with(|request| Ok(request.timeout(total)))
    }

    /// Says that the request may be sent twice, whatever its method.
    pub fn idempotent(self) -> Self {
        self.with(|request| Ok(request.idempotent()))
    }

    /// Waits for `100 Continue` before the body is sent: see [`Request::expect_continue`].
    pub fn expect_continue(self) -> Self {
        self.with(|request| Ok(request.expect_continue()))
    }

    /// Follows at most this many redirects.
    pub fn redirects(self, max: u32) -> Self {
        self.with(|request| Ok(request.redirects(max)))
    }

    /// The most body bytes that `bytes()` holds, instead of the client's.
    pub fn max_body_bytes(self, max: u64) -> Self {
        self.with(|request| Ok(request.max_body_bytes(max)))
    }

    /// The request, for a batch or another client.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn build(self) -> Result<Request, Error> {
        self.request.map(|parcel| parcel.request)
    }

    pub(crate) fn into_parts(self) -> Result<(C, Box<Parcel>), Error> {
        Ok((self.client, self.request?))
    }
}
