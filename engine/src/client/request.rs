//! What to send: method, target, fields, body, and the wishes that go with them. Sends nothing.

use std::time::Duration;

use http::header::{AUTHORIZATION, EXPECT, HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use super::fields::Fields;
use super::request_body::RequestBody;
use super::{Target, redirect};
use crate::error::{Error, Kind, Phase};
use crate::proto::url::{UrlError, put_percent_encoded};

/// A request, ready to be sent by any client.
///
/// ```
/// use http::Method;
/// use ringshot::client::Request;
///
/// let request = Request::new(Method::PUT, "http://example.test/things/1")?
///     .header("content-type", "text/plain")?
///     .body("hello")
///     .timeout(std::time::Duration::from_secs(2));
/// assert_eq!(request.target().authority(), "example.test");
/// assert!(request.is_idempotent() && request.method() == Method::PUT);
///
/// let mut again = request.try_clone().expect("bytes can be sent twice").expect_continue();
/// again.headers_mut().insert("x-attempt", "2".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) headers: Fields,
    pub(crate) body: RequestBody,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idempotent: bool,
    pub(crate) expectation: Expectation,
    pub(crate) redirects: Option<u32>,
    pub(crate) max_body_bytes: Option<u64>,
}

/// Whether a request says `Expect: 100-continue`, if it has content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Expectation {
    /// If a header says so.
    #[default]
    AsHeadersSay,
    Wanted,
    /// Not any more: a server has answered 417.
    Dropped,
}

impl Expectation {
    /// With these fields of the request's own, and those that the client adds by default.
    pub(super) fn is_said(self, own: &HeaderMap, defaults: &HeaderMap) -> bool {
        let said = || if own.contains_key(EXPECT) { own.get(EXPECT) } else { defaults.get(EXPECT) };
        match self {
            Self::AsHeadersSay => said().is_some_and(says_continue),
            Self::Wanted => true,
            Self::Dropped => false,
        }
    }
}

/// Whether a value of `Expect` is the one that there is (RFC 9110 10.1.1).
pub(super) fn says_continue(value: &HeaderValue) -> bool {
    value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"100-continue")
}

/// A target, or the error that a request to it fails with.
#[inline]
pub(super) fn target_of<U>(target: U) -> Result<Target, Error>
where
    U: TryInto<Target>,
    UrlError: From<U::Error>,
{
    let wrong = |error| Error::new(Kind::Url(UrlError::from(error)), Phase::Build);
    target.try_into().map_err(wrong)
}

impl Request {
    /// A request without fields and body.
    ///
    /// # Errors
    /// [`Kind::Url`] for what is no `http` URL.
    pub fn new<U>(method: Method, target: U) -> Result<Self, Error>
    where
        U: TryInto<Target>,
        UrlError: From<U::Error>,
    {
        target_of(target).map(|target| Self::to(method, target))
    }

    /// A `GET` request.
    ///
    /// # Errors
    /// As [`Request::new`].
    pub fn get<U>(target: U) -> Result<Self, Error>
    where
        U: TryInto<Target>,
        UrlError: From<U::Error>,
    {
        Self::new(Method::GET, target)
    }

    #[inline(always)] // See `Parcel::of`.
    pub(crate) fn to(method: Method, target: Target) -> Self {
        Self {
            headers: target.authorization(),
            method,
            target,
            body: RequestBody::none(),
            timeout: None,
            idempotent: false,
            expectation: Expectation::default(),
            redirects: None,
            max_body_bytes: None,
        }
    }

    /// Adds a field. One of this name that the client adds by default is left out.
    ///
    /// # Errors
    /// [`Kind::Config`] for what is no name or no value.
    pub fn header<N, V>(mut self, name: N, value: V) -> Result<Self, Error>
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        let name = name.try_into().map_err(|_| {
            self.invalid("the name of a header holds bytes that no name may have".to_owned())
        })?;
        let mut value = value.try_into().map_err(|_| {
            self.invalid(format!(
                "the value of the header {name} holds bytes that no value may have"
            ))
        })?;
        redirect::hide(&name, &mut value);
        let headers = self.headers.to_mut();
        if name == AUTHORIZATION {
            // Never two of them, and not the URL's own beside the caller's.
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
        Ok(self)
    }

    /// Something that was asked of it can't be.
    pub(super) fn invalid(&self, problem: String) -> Error {
        Error::new(Kind::Config(problem), Phase::Build)
            .with_request(&self.method, self.target.redacted())
    }

    /// Adds names and values to the query, percent-encoded.
    pub(super) fn query<N: AsRef<str>, V: AsRef<str>>(
        mut self,
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, Error> {
        let has = self.target.path_and_query().split_once('?').map(|(_, query)| query);
        let mut query = b"?".to_vec();
        query.extend_from_slice(has.unwrap_or_default().as_bytes());
        for (name, value) in pairs {
            if !query.ends_with(b"?") && !query.ends_with(b"&") {
                query.push(b'&');
            }
            put_percent_encoded(&mut query, name.as_ref().as_bytes());
            query.push(b'=');
            put_percent_encoded(&mut query, value.as_ref().as_bytes());
        }
        // No pair at all adds no question mark.
        if query.len() > 1 {
            let reference = String::from_utf8_lossy(&query);
            let wrong = |error| Error::new(Kind::Url(error), Phase::Build);
            self.target = self.target.join(&reference).map_err(wrong)?;
        }
        Ok(self)
    }

    /// Sets the body: bytes, text, or a [`RequestBody`].
    #[must_use]
    pub fn body(mut self, body: impl Into<RequestBody>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the total timeout of this request, instead of the client's.
    #[must_use]
    pub fn timeout(mut self, total: Duration) -> Self {
        self.timeout = Some(total);
        self
    }

    /// Says that the request may be sent twice, whatever its method. A header `Idempotency-Key` says the same.
    #[must_use]
    pub fn idempotent(mut self) -> Self {
        self.idempotent = true;
        self
    }

    /// Sends the head alone with `Expect: 100-continue`, and the body when the server says `100 Continue` or after the `expect` timeout (RFC 9110 10.1.1).
    ///
    /// A header `Expect: 100-continue`, of the request or of the client, says the same. Without content there is nothing to wait with: then neither sends an expectation.
    ///
    /// A server that answers 417 is asked once more without the expectation, if the body is bytes or a file. A stream can't be made again: there the 417 is the response.
    #[must_use]
    pub fn expect_continue(mut self) -> Self {
        self.expectation = Expectation::Wanted;
        self
    }

    /// Follows at most this many redirects.
    #[must_use]
    pub fn redirects(mut self, max: u32) -> Self {
        self.redirects = Some(max);
        self
    }

    /// The most body bytes that `bytes()` and batches hold of the response, instead of the client's.
    #[must_use]
    pub fn max_body_bytes(mut self, max: u64) -> Self {
        self.max_body_bytes = Some(max);
        self
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Where it goes.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The fields given so far.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The fields, to change them.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers.to_mut()
    }

    /// Whether it may be sent twice (RFC 9110 9.2.2).
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
            || self.method.is_idempotent()
            || self.method.as_str() == "QUERY"
            || self.headers.contains_key("idempotency-key")
    }

    /// Another one that is the same; `None` where the body is a stream.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        Some(Self {
            method: self.method.clone(),
            target: self.target.clone(),
            headers: self.headers.clone(),
            body: RequestBody(self.body.0.try_clone()?),
            ..*self
        })
    }
}

impl<B: Into<RequestBody>> TryFrom<http::Request<B>> for Request {
    type Error = Error;

    fn try_from(request: http::Request<B>) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let mut request = Self::new(parts.method, parts.uri)?.body(body);
        request.headers.extend(parts.headers);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_added_to() {
        let check = |url: &str, pairs: &[(&str, &str)], expected: &str| {
            let request = Request::get(url).unwrap().query(pairs.iter().copied()).unwrap();
            assert_eq!(request.target().to_string(), expected);
        };
        check("http://h", &[], "http://h/");
        check("http://h/a", &[("b", "")], "http://h/a?b=");
        check("http://h/a/?b", &[("c", "1"), ("c", "2")], "http://h/a/?b&c=1&c=2");
        check("http://h/a?b&", &[("c", "1")], "http://h/a?b&c=1");
        check("http://h/a?", &[("c", "1")], "http://h/a?c=1");
        check(
            "http://h/a?b=%20",
            &[("é/?#", "a+b=c\0")],
            "http://h/a?b=%20&%C3%A9%2F%3F%23=a%2Bb%3Dc%00",
        );
    }
}
