//! Where a request goes: a URL taken apart once, cheap to clone, ready to be sent any number of times.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};

use super::fields::Fields;
use super::replicas;
use crate::proto::h1::HeadStart;
use crate::proto::url::{Url, UrlError, userinfo};
use crate::shard::pool::origin::Origin;

/// What stands for the whole server. Its URL has no path (RFC 9112 3.2.4).
const ASTERISK: &str = "*";

/// A checked URL: an origin and a request target. Cloning it costs one reference count.
///
/// A user's name and a password in front of the host (RFC 3986 3.2.1), which may hold no control characters however they are encoded, become `Authorization: Basic` of each request that has no `Authorization` of its own, and are shown nowhere.
///
/// Whatever takes a URL takes `&str`, `String`, [`http::Uri`], [`Url`] or a `Target`; made once, it saves the parsing of every request. Pass it by reference where several threads ask for
/// the same one often: each of them uses a copy of its own then, and none waits for the others' counting.
///
/// ```
/// use ringshot::client::Target;
///
/// let target: Target = "http://example.test:8080/a?b#c".parse()?;
/// assert_eq!(target.to_string(), "http://example.test:8080/a?b");
/// assert_eq!(target.path_and_query(), "/a?b");
/// assert!("ftp://example.test/".parse::<Target>().is_err());
/// # Ok::<(), ringshot::client::UrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Target(Arc<Inner>);

#[derive(PartialEq, Eq)]
#[repr(align(64))] // Off the cache line of the reference count: cores read it all the time.
struct Inner {
    origin: Arc<Origin>,
    start: HeadStart,
    /// What the URL's userinfo says to the server.
    authorization: Option<Box<HeaderValue>>,
}

impl Target {
    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.0.origin
    }

    /// Another one that is equal, and shares nothing with this one.
    pub(super) fn replicate(&self) -> Self {
        let origin = Arc::new(Origin::clone(&self.0.origin));
        let (start, authorization) = (self.0.start.clone(), self.0.authorization.clone());
        Self(Arc::new(Inner { origin, start, authorization }))
    }

    /// The fields that a request to it begins with: what its userinfo says, if it has any.
    #[inline]
    pub(super) fn authorization(&self) -> Fields {
        match &self.0.authorization {
            None => Fields::default(),
            Some(value) => HeaderMap::from_iter([(AUTHORIZATION, (**value).clone())]).into(),
        }
    }

    /// Where it lies; clones lie where the original does.
    #[inline]
    pub(super) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// The host, in lower case, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.origin().host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.origin().port
    }

    /// What `Host` says: the port is left out where it is the scheme's own.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.origin().authority
    }

    /// The server as a whole and none of its resources: what `OPTIONS` goes to as `*` (RFC 9112 3.2.4), and nothing else may.
    ///
    /// ```
    /// # use ringshot::client::{Engine, blocking::block_on};
    /// # use ringshot::origin::{Config, Origin};
    /// # let origin = Origin::start(&Config::on_loopback())?;
    /// # let engine = Engine::builder().build()?;
    /// # let client = engine.client().build()?;
    /// # let url = origin.url("/");
    /// use ringshot::client::Target;
    ///
    /// let server = url.parse::<Target>()?.whole_server();
    /// assert_eq!(server.path_and_query(), "*");
    /// let response = block_on(client.request(http::Method::OPTIONS, &server).fetch())?;
    /// assert_eq!(response.status(), 200);
    /// assert!(block_on(client.get(&server).fetch()).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn whole_server(&self) -> Self {
        let url = Url { target: ASTERISK.to_owned(), ..self.url() };
        Self::of(&url, self.0.authorization.clone())
    }

    /// Path and query, as they go on the wire.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        self.0.start.target()
    }

    /// What it says in the head of a request.
    pub(super) fn start(&self) -> &HeadStart {
        &self.0.start
    }

    /// The URL that `reference` means, seen from this one (RFC 3986 5.2).
    ///
    /// # Errors
    /// [`UrlError`] for what is no `http` URL then.
    pub fn join(&self, reference: &str) -> Result<Self, UrlError> {
        self.url().join(reference).map(Self::from)
    }

    /// What it was made of, with the zone of its address, which its text does not have.
    fn url(&self) -> Url {
        let Origin { scheme, host, port, authority, .. } = &**self.origin();
        let target = match self.path_and_query() {
            ASTERISK => "/",
            target => target,
        };
        let target = target.to_owned();
        let (host, authority) = (String::from(&**host), String::from(&**authority));
        Url { scheme: *scheme, host, port: *port, authority, target }
    }

    /// Without the query, which may hold secrets.
    pub(crate) fn redacted(&self) -> String {
        match self.path_and_query().split_once('?') {
            Some((path, _)) => format!("http://{}{path}?...", self.authority()),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.path_and_query();
        let shown = if target == ASTERISK { "" } else { target };
        write!(f, "http://{}{shown}", self.authority())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.redacted())
    }
}

impl From<Url> for Target {
    fn from(url: Url) -> Self {
        Self::of(&url, None)
    }
}

impl Target {
    fn of(url: &Url, authorization: Option<Box<HeaderValue>>) -> Self {
        let origin = Arc::new(Origin::of(url));
        let start = HeadStart::of(&url.target, &url.authority);
        Self(Arc::new(Inner { origin, start, authorization }))
    }
}

/// `Basic` of a URL's userinfo, whose percent-encoding is undone (RFC 7617 2). A value of base64 is always one.
fn basic_of(text: &str) -> Option<Box<HeaderValue>> {
    let (name, password) = userinfo(text)?;
    let pair = [&*name, b":", &*password].concat();
    let pair = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
    let mut value = HeaderValue::try_from(format!("Basic {pair}")).ok()?;
    value.set_sensitive(true);
    Some(Box::new(value))
}

impl From<&Target> for Target {
    #[inline]
    fn from(target: &Target) -> Self {
        replicas::clone_of(target)
    }
}

impl FromStr for Target {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Url::parse(text).map(|url| Self::of(&url, basic_of(text)))
    }
}

impl TryFrom<&str> for Target {
    type Error = UrlError;

    fn try_from(text: &str) -> Result<Self, UrlError> {
        text.parse()
    }
}

impl TryFrom<&String> for Target {
    type Error = UrlError;

    fn try_from(text: &String) -> Result<Self, UrlError> {
        text.parse()
    }
}

impl TryFrom<String> for Target {
    type Error = UrlError;

    fn try_from(text: String) -> Result<Self, UrlError> {
        text.parse()
    }
}

impl TryFrom<http::Uri> for Target {
    type Error = UrlError;

    fn try_from(uri: http::Uri) -> Result<Self, UrlError> {
        uri.to_string().parse()
    }
}

impl TryFrom<&http::Uri> for Target {
    type Error = UrlError;

    fn try_from(uri: &http::Uri) -> Result<Self, UrlError> {
        uri.to_string().parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_shows_holds_no_secrets() {
        let target: Target = "http://user:pass@h/p?token=1".parse().unwrap();
        assert_eq!(target.redacted(), "http://h/p?...");
        assert_eq!(target.to_string(), "http://h/p?token=1");
        assert!(!format!("{:?}", target.authorization()).contains("Basic"));
    }

    /// An address with a zone is another one than without it, which its text does not tell.
    #[test]
    fn a_zone_stays_with_its_address() {
        let target: Target = "http://[fe80::1%25eth0]:81/a/b?c".parse().unwrap();
        for (reference, expected) in [("?d", "/a/b?d"), ("/d", "/d"), ("d", "/a/d"), ("", "/a/b?c")]
        {
            let joined = target.join(reference).unwrap();
            assert_eq!((joined.host(), joined.path_and_query()), ("fe80::1%eth0", expected));
            assert_eq!((joined.origin(), joined.authority()), (target.origin(), "[fe80::1]:81"));
        }
        assert_eq!(target.join("//[fe80::2]/").unwrap().host(), "fe80::2");
    }

    #[test]
    fn userinfo_is_basic_authorization() {
        let check = |url: &str, expected: Option<&str>| {
            let target: Target = url.parse().unwrap();
            let fields = target.authorization();
            let value = fields.get(AUTHORIZATION).map(|value| value.to_str().unwrap());
            assert_eq!(value, expected, "{url}");
            assert_eq!(target.replicate(), target);
        };
        check("http://h/@u", None);
        check("http://@h/", None);
        check("http://user:open%20sesame@h/", Some("Basic dXNlcjpvcGVuIHNlc2FtZQ=="));
        check("http://user@h", Some("Basic dXNlcjo="));
        check("http://us%zz:@h", Some("Basic dXMleno6"));
        for url in ["http://a%0d%0aX:%00@h/", "http://a%3Ab:c@h/"] {
            assert!(matches!(url.parse::<Target>(), Err(UrlError::Credentials(_))), "{url}");
        }
        let target: Target = "http://u:p@h/a".parse().unwrap();
        assert!(target.join("http://u%0a@h/").is_err());
        assert_eq!(target.join("/b").unwrap().authorization().len(), 0);
    }
}
