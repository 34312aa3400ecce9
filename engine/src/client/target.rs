//! Where a request goes: a URL taken apart once, cheap to clone, ready to be sent any number of times.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::replicas;
use crate::proto::h1::HeadStart;
use crate::proto::url::{Url, UrlError};
use crate::shard::pool::origin::Origin;

/// A checked URL: an origin and a request target. Cloning it costs one reference count.
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
}

impl Target {
    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.0.origin
    }

    /// Another one that is equal, and shares nothing with this one.
    pub(super) fn replicate(&self) -> Self {
        let origin = Arc::new(Origin::clone(&self.0.origin));
        Self(Arc::new(Inner { origin, start: self.0.start.clone() }))
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
        Url::parse(&self.to_string())?.join(reference).map(Self::from)
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
        write!(f, "http://{}{}", self.authority(), self.path_and_query())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.redacted())
    }
}

impl From<Url> for Target {
    fn from(url: Url) -> Self {
        let origin = Arc::new(Origin::of(&url));
        Self(Arc::new(Inner { origin, start: HeadStart::of(&url.target, &url.authority) }))
    }
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
        Url::parse(text).map(Self::from)
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
    }
}
