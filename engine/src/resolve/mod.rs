//! Names to addresses: a resolver that is asked off the core, a cache with a TTL, one lookup at a time for a name. Knows no runtime; opens no connection.
//!
//! | file | what it is |
//! |---|---|
//! | `resolver` | [`Resolver`]: overrides, literals, `localhost`, then the cache |
//! | `resolving` | [`Resolving`]: the future, which shares the flight of its name |
//! | `flight` | one lookup in progress and everybody who waits for it |
//! | `cache` | answers by name, how long each holds, and which one leaves when there are too many |
//! | `system` | [`System`]: getaddrinfo(3) on a few threads of its own |
//! | `host` | a host as it was written: an address, this machine, or a name |
//! | `addresses` | [`Addresses`]: what was found, in the order in which to try it |
//!
//! ```
//! use ringshot::clock::Instant;
//! use ringshot::resolve::{Override, Resolver};
//!
//! let resolver = Resolver::builder()
//!     .with_override("example.test", Override::to([[127, 0, 0, 1]]).at_port(8080))
//!     .build()?;
//! let addresses = resolver.resolve("example.test", 80, Instant::now()).wait()?;
//! assert_eq!(addresses.first(), "127.0.0.1:8080".parse()?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod addresses;
mod builder;
mod cache;
mod error;
mod flight;
mod host;
mod resolver;
mod resolving;
mod system;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use addresses::{ADDRESSES_MAX, Addresses, Families, RotateAddresses};
pub use builder::{BuildError, Override, ResolverBuilder};
pub use cache::{
    CACHE_NAMES_MAX, NEGATIVE_TTL, Stats, TTL_DEFAULT, TTL_MAX, TTL_MIN, UNREACHABLE_INTERVAL,
};
pub use error::ResolveError;
pub use flight::FLIGHT_AGE_MAX;
pub use host::HOST_BYTES_MAX;
pub use resolver::Resolver;
pub use resolving::Resolving;
pub use system::{RESOLVER_IDLE_MAX, RESOLVER_QUEUE_MAX, RESOLVER_THREADS_MAX, System};

/// A lookup in progress. Dropping it abandons the lookup.
///
/// ```
/// use ringshot::resolve::{Answer, Lookup, ResolveError};
///
/// async fn ask(name: &'static str) -> Result<Answer, ResolveError> {
///     Err(ResolveError::NotFound { name: name.into() })
/// }
///
/// let lookup: Lookup = Box::pin(ask("no.test"));
/// # drop(lookup);
/// ```
pub type Lookup = Pin<Box<dyn Future<Output = Result<Answer, ResolveError>> + Send>>;

/// Who finds the addresses of names: the [`System`], or one of your own. It need not cache, nor mind that a name is asked twice: [`Resolver`] does.
///
/// ```
/// use ringshot::clock::Instant;
/// use ringshot::resolve::{Answer, Lookup, Resolve, ResolveError, Resolver};
///
/// /// Knows one name.
/// struct Fixed;
///
/// impl Resolve for Fixed {
///     fn lookup(&self, host: &str) -> Lookup {
///         let found = match host {
///             "one.test" => Ok(Answer::new([[127, 0, 0, 1]])),
///             _ => Err(ResolveError::NotFound { name: host.into() }),
///         };
///         Box::pin(async { found })
///     }
/// }
///
/// let resolver = Resolver::builder().resolve_with(Fixed).build()?;
/// let now = Instant::now();
/// assert_eq!(resolver.resolve("one.test", 80, now).wait()?.to_string(), "127.0.0.1:80");
/// assert!(resolver.resolve("two.test", 80, now).wait().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Resolve: Send + Sync + 'static {
    /// Begins to look up `host`: a name in lower case, never an address, at most [`HOST_BYTES_MAX`] bytes. Must not block: the caller may be a core.
    ///
    /// The future is polled by whoever waits for the name, from any thread, and must wake its waker when there is more to do.
    fn lookup(&self, host: &str) -> Lookup;
}

impl<R: Resolve + ?Sized> Resolve for Arc<R> {
    fn lookup(&self, host: &str) -> Lookup {
        (**self).lookup(host)
    }
}

/// What a lookup found.
///
/// ```
/// use std::time::Duration;
/// use ringshot::resolve::Answer;
///
/// let answer = Answer::new([[127, 0, 0, 1], [127, 0, 0, 2]]).with_ttl(Duration::from_secs(30));
/// assert_eq!(answer.addresses.len(), 2);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The addresses, the one to be preferred first (RFC 6724). Of more than [`ADDRESSES_MAX`], the last are left out.
    pub addresses: Vec<IpAddr>,
    /// For how long they hold, where the resolver knows.
    pub ttl: Option<Duration>,
}

impl Answer {
    /// Addresses for an unknown time.
    pub fn new<A: Into<IpAddr>>(addresses: impl IntoIterator<Item = A>) -> Self {
        Self { addresses: addresses.into_iter().map(Into::into).collect(), ttl: None }
    }

    /// The same addresses, for as long as `ttl`.
    #[must_use]
    pub fn with_ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }
}
