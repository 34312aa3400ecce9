//! A client's limits and habits, checked when it is built.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue, USER_AGENT};

use super::engine::Engine;
use super::settings::Settings;
use super::{Client, Retry, redirect};
use crate::error::{Error, Kind, Phase};
use crate::mesh::placement::Homes;
use crate::proto::h1;
use crate::resolve::Resolver;
use crate::shard::pool::config::{PoolConfig, Shared};
use crate::shard::{Reuse, Timeouts};
use crate::sys::process;
use crate::sys::socket::{Keepalive, Options};

/// Body bytes that `bytes()` and batches hold where nothing else was set: 64 MiB.
pub const BODY_BYTES_DEFAULT: u64 = 64 << 20;
/// Descriptors that are not connections: standard streams, rings, helper threads.
const FILES_BESIDES_CONNECTIONS: u64 = 64;
/// What requests say of themselves (RFC 9110 10.1.5).
const USER_AGENT_DEFAULT: &str = concat!("ringshot/", env!("CARGO_PKG_VERSION"));

/// Builds a [`Client`]. Every limit holds over all cores of the engine, and none is ever exceeded.
///
/// | what | default |
/// |---|---|
/// | requests in flight | no limit |
/// | connections | 4096, or what the file limit allows |
/// | connections to a host | 128 |
/// | dials in progress to a host | 16 |
/// | requests that wait for a connection | no limit |
/// | idle connections | kept 30 s, less if the server says so |
/// | timeouts | see [`Timeouts`] |
/// | body held in memory | 64 MiB |
/// | retries | a request that died on a reused connection, once |
///
/// ```
/// use std::time::Duration;
/// use ringshot::client::{Engine, Retry, Reuse, Timeouts};
///
/// let engine = Engine::builder().build()?;
/// let client = engine
///     .client()
///     .max_in_flight(1000)
///     .max_conns(200)
///     .max_conns_per_host(30)
///     .max_connecting_per_host(4)
///     .max_waiters(10_000)
///     .idle_timeout(Duration::from_secs(15))
///     .max_lifetime(Duration::from_secs(300))
///     .reuse(Reuse::Fifo)
///     .timeouts(Timeouts { total: Some(Duration::from_secs(10)), ..Timeouts::default() })
///     .retry(Retry::budget(0.1))
///     .header("accept", "application/json")
///     .user_agent(Some("crawler/1.0 (+https://example.test/)"))
///     .body_buffer_bytes(256 << 10)
///     .build()?;
/// assert_eq!(client.limits_observed().conns_now, 0);
/// assert!(engine.client().max_conns(0).build().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ClientBuilder {
    engine: Engine,
    pool: PoolConfig,
    explicit_conns: Option<u32>,
    headers: HeaderMap,
    problem: Option<String>,
    retry: Retry,
    redirects: Option<u32>,
    max_body_bytes: u64,
    resolver: Option<Resolver>,
}

impl ClientBuilder {
    pub(crate) fn new(engine: Engine) -> Self {
        let probes = Keepalive {
            idle: Duration::from_secs(15),
            interval: Duration::from_secs(15),
            probes: 3,
        };
        let socket = Options {
            user_timeout: Some(Duration::from_secs(30)),
            keepalive: Some(probes),
            ..Options::default()
        };
        let pool = PoolConfig {
            max_in_flight: None,
            max_conns: 4096,
            max_conns_per_host: 128,
            max_connecting_per_host: 16,
            max_waiters: None,
            reuse: Reuse::Lifo,
            idle_timeout: Duration::from_secs(30),
            max_lifetime: None,
            timeouts: Timeouts::default(),
            retry_stale: true,
            body_buffer_bytes: 64 << 10,
            resolves_addresses: false,
            limits: h1::Limits::default(),
            socket,
        };
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_DEFAULT));
        Self {
            engine,
            pool,
            explicit_conns: None,
            headers,
            problem: None,
            retry: Retry::none(),
            redirects: None,
            max_body_bytes: BODY_BYTES_DEFAULT,
            resolver: None,
        }
    }

    /// Limits requests at a time: a fair semaphore, whose permits are held, over redirects, until the body was read or dropped. Who waits for another attempt by a [`Retry`]
    /// policy gives its permit back meanwhile, and comes before those that had none.
    pub fn max_in_flight(mut self, max: u32) -> Self {
        self.pool.max_in_flight = Some(max);
        self
    }

    /// Limits connections, those being made and idle ones included. An idle connection to one host gives way to a new one to another.
    pub fn max_conns(mut self, max: u32) -> Self {
        self.explicit_conns = Some(max);
        self
    }

    /// Limits connections to each host, likewise.
    pub fn max_conns_per_host(mut self, max: u32) -> Self {
        self.pool.max_conns_per_host = max;
        self
    }

    /// Limits dials in progress to each host, over all cores.
    pub fn max_connecting_per_host(mut self, max: u32) -> Self {
        self.pool.max_connecting_per_host = max;
        self
    }

    /// Limits requests that wait for a connection while none is being made for them: one more fails at once with [`Kind::PoolFull`]. With 0 nobody
    /// waits so; `None` is no limit, and the default.
    pub fn max_waiters(mut self, max: impl Into<Option<u32>>) -> Self {
        self.pool.max_waiters = max.into();
        self
    }

    /// Sets how long a connection stays idle.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.pool.idle_timeout = timeout;
        self
    }

    /// Sets how old a connection may get, more than nothing; each lives up to a tenth shorter, at random. What is in flight is finished first, and the request that a
    /// connection was made for is served, however short its life.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.pool.max_lifetime = lifetime.into();
        self
    }

    /// Sets which idle connection is used next.
    pub fn reuse(mut self, reuse: Reuse) -> Self {
        self.pool.reuse = reuse;
        self
    }

    /// Sets all timeouts.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.pool.timeouts = timeouts;
        self
    }

    /// Sets the total timeout of a request, to the end of its body.
    pub fn timeout(mut self, total: Duration) -> Self {
        self.pool.timeouts.total = Some(total);
        self
    }

    /// Sets the policy of retries.
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// Sets whether a request that died on a reused connection goes once to a fresh one: if not a byte of it was sent, or if it is idempotent and not a byte
    /// of a response came (RFC 9110 9.2.2).
    pub fn retry_stale(mut self, retries: RetryStale) -> Self {
        self.pool.retry_stale = retries == RetryStale::Yes;
        self
    }

    /// Sets how many redirects are followed, by every call.
    pub fn redirects(mut self, max: u32) -> Self {
        self.redirects = Some(max);
        self
    }

    /// Adds a field to every request that has none of this name.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        let Ok(name) = name.try_into() else {
            return self.blame("the name of a default header holds bytes that no name may have");
        };
        match value.try_into() {
            Ok(mut value) => {
                redirect::hide(&name, &mut value);
                self.headers.insert(name, value);
                self
            }
            Err(_) => self.blame(&format!(
                "the value of the default header {name} holds bytes that no value may have"
            )),
        }
    }

    /// The first thing that is wrong is told by `build`.
    fn blame(mut self, problem: &str) -> Self {
        self.problem.get_or_insert_with(|| problem.to_owned());
        self
    }

    /// Sets what requests say of themselves; `None` for nothing.
    pub fn user_agent(mut self, agent: Option<&str>) -> Self {
        match agent {
            None => {
                self.headers.remove(USER_AGENT);
                self
            }
            Some(agent) => self.header(USER_AGENT, agent),
        }
    }

    /// Sets the most body bytes that `bytes()` and batches hold of a response: [`BODY_BYTES_DEFAULT`] unless told. With 0 they take empty bodies only.
    pub fn max_body_bytes(mut self, max: u64) -> Self {
        self.max_body_bytes = max;
        self
    }

    /// Sets how many bytes of a body are received ahead of whoever reads it, before the TCP window is left to close: 64 KiB unless told. A piece may exceed
    /// it by its own size, at most 256 KiB. 0 is taken for 1: the next piece comes when there is nothing left to read.
    pub fn body_buffer_bytes(mut self, bytes: u32) -> Self {
        self.pool.body_buffer_bytes = bytes.max(1);
        self
    }

    /// Sets the limits on response heads and trailers.
    pub fn protocol_limits(mut self, limits: h1::Limits) -> Self {
        self.pool.limits = limits;
        self
    }

    /// Sets the options of every socket.
    pub fn socket_options(mut self, options: Options) -> Self {
        self.pool.socket = options;
        self
    }

    /// Sets who resolves names. A resolver that is shared shares its cache.
    pub fn resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = Some(resolver);
        self
    }

    /// Builds the client.
    ///
    /// # Errors
    /// [`Kind::Config`] for `max_in_flight`, `max_conns`, `max_conns_per_host` or `max_connecting_per_host` of zero, a `max_lifetime` of zero, a default header that is none,
    /// and a `max_conns` that is more than the file descriptors allow or than [`conns_per_core`](super::EngineBuilder::conns_per_core) times the cores.
    pub fn build(mut self) -> Result<Client, Error> {
        let problem = self.problem.take().or_else(|| self.fault());
        if let Some(problem) = problem {
            return Err(Error::new(Kind::Config(problem), Phase::Build));
        }
        let resolver = self.resolver.take().unwrap_or_default();
        self.pool.resolves_addresses = resolver.overrides_addresses();
        let room = connections_allowed();
        self.pool.max_conns = self.explicit_conns.unwrap_or_else(|| self.pool.max_conns.min(room));
        let id = Settings::next_id();
        let pool = Arc::new(Shared::new(self.pool, self.engine.bells()));
        let config = &pool.config;
        let homes = Homes::new(
            self.engine.cores() as u32,
            id,
            [Some(config.max_conns), config.max_in_flight],
            config.max_conns_per_host,
        );
        let settings = Settings {
            id,
            gone: AtomicBool::new(false),
            pool: Arc::clone(&pool),
            plain: h1::PlainFields::of(bytes_of(&self.headers)),
            headers: self.headers,
            retry: self.retry,
            redirects: self.redirects,
            max_body_bytes: self.max_body_bytes,
            resolver,
        };
        Ok(Client::new(self.engine, Arc::new(settings), homes))
    }

    /// The first thing that is wrong.
    fn fault(&self) -> Option<String> {
        let pool = &self.pool;
        let limits = [
            ("max_in_flight", pool.max_in_flight.unwrap_or(1)),
            ("max_conns", self.explicit_conns.unwrap_or(1)),
            ("max_conns_per_host", pool.max_conns_per_host),
            ("max_connecting_per_host", pool.max_connecting_per_host),
        ];
        if let Some((name, _)) = limits.into_iter().find(|(_, limit)| *limit == 0) {
            return Some(format!("{name} must be at least 1"));
        }
        if pool.max_lifetime == Some(Duration::ZERO) {
            return Some("max_lifetime must be more than nothing".to_owned());
        }
        let (wanted, room) = (self.explicit_conns.unwrap_or(1), connections_allowed());
        if wanted > room {
            let limit = process::file_limit().soft;
            let needed = u64::from(wanted) + FILES_BESIDES_CONNECTIONS;
            return Some(format!(
                "max_conns is {wanted}, but the limit on open files is {limit}: raise it with `ulimit -n {needed}`"
            ));
        }
        let slots = self.engine.slots();
        (u64::from(wanted) > u64::from(slots) * self.engine.cores() as u64).then(|| {
            format!("max_conns is {wanted}, but the engine has room for {slots} connections a core: raise `conns_per_core`")
        })
    }
}

fn bytes_of(fields: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    fields.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
}

/// Connections that the file limit leaves room for.
fn connections_allowed() -> u32 {
    let soft = process::file_limit().soft;
    u32::try_from(soft.saturating_sub(FILES_BESIDES_CONNECTIONS)).unwrap_or(u32::MAX).max(1)
}

/// Whether a request that died on a reused connection goes to a fresh one.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// use ringshot::client::RetryStale;
///
/// let careful = engine.client().retry_stale(RetryStale::No).build()?;
/// assert_eq!(block_on(careful.get(origin.url("/")).fetch())?.status(), 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RetryStale {
    /// Once, where that can do no harm.
    #[default]
    Yes,
    /// Never: it fails.
    No,
}
