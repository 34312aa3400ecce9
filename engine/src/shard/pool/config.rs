//! What is fixed for a client's life, and what the cores of a client share. Plain data and counters.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::origin::Origin;
use crate::proto::h1;
use crate::shard::doorbell::Doorbell;
use crate::shard::limits::Budget;
use crate::sync::lock;
use crate::sys::socket;

/// Origins of HTTP/1.0 that a client remembers.
const HTTP10_MAX: usize = 4096;

/// How an idle connection is picked.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// use ringshot::client::Reuse;
///
/// let client = engine.client().reuse(Reuse::Fifo).build()?;
/// assert_eq!(block_on(client.get(origin.url("/")).fetch())?.status(), 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reuse {
    /// The one used last: its window and caches are warm, and those in surplus age out.
    #[default]
    Lifo,
    /// The one idle longest: spreads requests over the servers behind a balancer.
    Fifo,
}

/// From when the total timeout counts.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// use std::time::Duration;
/// use ringshot::client::{Timeouts, TotalFrom};
///
/// let timeouts = Timeouts {
///     total: Some(Duration::from_millis(500)),
///     total_from: TotalFrom::Acquire,
///     ..Timeouts::default()
/// };
/// let client = engine.client().max_conns_per_host(1).timeouts(timeouts).build()?;
/// // One after the other, and each has all of its time.
/// let urls = vec![origin.url("/delay/100"); 8];
/// assert!(block_on(client.batch(urls).collect()).iter().all(Result::is_ok));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TotalFrom {
    /// From the submission: waiting for a permit and for a connection counts.
    #[default]
    Submit,
    /// From the moment at which the request first had a connection
    /// ([`Timings::acquired`](crate::client::Timings)). Waiting for a permit and for that
    /// connection, its resolving and connecting included, does not count: `queue`, `acquire`,
    /// `resolve` and `connect` bound these. A redirect or another attempt goes on with the moment
    /// of the first one, and what it waits for counts.
    Acquire,
}

/// How long each phase of a request may take. `None` is no limit. Each that passes is an error of its own
/// ([`TimeoutKind`](crate::error::TimeoutKind)); none fires early, nor more than 2 ms late on a core that keeps up, but for `send`, which may be late by a sixteenth of itself.
///
/// ```
/// use std::time::Duration;
/// use ringshot::client::{Kind, TimeoutKind, Timeouts};
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// let timeouts = Timeouts { head: Some(Duration::from_millis(20)), ..Timeouts::default() };
/// let client = engine.client().timeouts(timeouts).build()?;
/// let error = block_on(client.get(origin.url("/hang")).send()).unwrap_err();
/// assert!(matches!(error.kind(), Kind::Timeout(TimeoutKind::Head)));
/// assert!(error.elapsed() >= Duration::from_millis(20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Waiting for a permit of `max_in_flight`. Default: none.
    pub queue: Option<Duration>,
    /// Waiting for a connection, its resolving and connecting included. Default: none.
    pub acquire: Option<Duration>,
    /// Resolving a name. Default: 5 s.
    pub resolve: Option<Duration>,
    /// Connecting to a host, over all its addresses. Default: 5 s.
    pub connect: Option<Duration>,
    /// Connecting to one address, after the first. Where the limits on connections leave none for a second attempt beside the first, that has as long from the
    /// moment at which the second would have begun. Default: 2 s.
    pub connect_attempt: Option<Duration>,
    /// Sending, without any progress: nothing that the kernel took, and nothing that the server acknowledged. Default: 30 s.
    pub send: Option<Duration>,
    /// Waiting for `100 Continue` before the body is sent all the same (RFC 9110 10.1.1). Default: 1 s.
    pub expect: Duration,
    /// From the end of sending to the response head. Default: 30 s.
    pub head: Option<Duration>,
    /// Between two pieces of the body, while somebody waits for the next: time in which nobody does is not counted, and waits for the same piece that were given up
    /// are added. Default: 30 s.
    pub read_idle: Option<Duration>,
    /// The whole request, to the end of its body. Default: none.
    pub total: Option<Duration>,
    /// From when `total` counts. Default: submission.
    pub total_from: TotalFrom,
}

impl Default for Timeouts {
    fn default() -> Self {
        let secs = |secs| Some(Duration::from_secs(secs));
        Self {
            queue: None,
            acquire: None,
            resolve: secs(5),
            connect: secs(5),
            connect_attempt: secs(2),
            send: secs(30),
            expect: Duration::from_secs(1),
            head: secs(30),
            read_idle: secs(30),
            total: None,
            total_from: TotalFrom::Submit,
        }
    }
}

/// What a client may use, over all cores.
#[derive(Debug, Clone)]
pub(crate) struct PoolConfig {
    /// Requests at a time, from permit to the end of the body.
    pub(crate) max_in_flight: Option<u32>,
    /// Connections, connecting ones included.
    pub(crate) max_conns: u32,
    pub(crate) max_conns_per_host: u32,
    /// Dials in progress to a host.
    pub(crate) max_connecting_per_host: u32,
    /// Requests that wait for a connection.
    pub(crate) max_waiters: Option<u32>,
    pub(crate) reuse: Reuse,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) timeouts: Timeouts,
    /// Whether a request that died on a reused connection goes once to a fresh one.
    pub(crate) retry_stale: bool,
    /// Body bytes received and not read from which a connection stops receiving.
    pub(crate) body_buffer_bytes: u32,
    /// Whether addresses are asked for like names, since some have overrides.
    pub(crate) resolves_addresses: bool,
    pub(crate) limits: h1::Limits,
    pub(crate) socket: socket::Options,
}

/// What the cores share of one host's limits.
#[derive(Debug)]
pub(crate) struct HostLimits {
    /// Connections, from the dial to the close.
    pub(crate) conns: Budget,
    /// Dials in progress.
    pub(crate) dials: Budget,
    /// Requests of all cores that wait and that the limit on waiters let in.
    waiters: AtomicU32,
}

impl HostLimits {
    /// How many wait, with so many `more`, beyond those that a connection comes for.
    fn waits_beyond(&self, more: u32) -> u32 {
        if self.waiters.load(Ordering::SeqCst) + more == 0 {
            return 0;
        }
        let coming = self.conns.coming().min(self.dials.coming());
        (self.waiters.load(Ordering::SeqCst) + more).saturating_sub(coming)
    }

    /// `core` wants neither a connection nor a dial any more: what was granted to it is others'.
    pub(super) fn renounce(&self, core: u32) {
        self.conns.renounce(core);
        self.dials.renounce(core);
    }
}

/// What the cores of one client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: PoolConfig,
    pub(crate) connections: Budget,
    pub(crate) permits: Option<Arc<Budget>>,
    /// Requests that wait for a connection and had none in the making when they came.
    waiters: AtomicU32,
    hosts: Mutex<HashMap<Arc<Origin>, Arc<HostLimits>>>,
    /// Origins that answered in HTTP/1.0: remembered beyond their connections, which such servers close.
    http10: Mutex<HashSet<Arc<Origin>>>,
    bells: Arc<[Arc<Doorbell>]>,
    /// How often a core came to starve.
    news: Arc<AtomicU64>,
    /// The most connections that any one host had at once.
    most_per_host: AtomicU32,
}

impl Shared {
    pub(crate) fn new(config: PoolConfig, bells: Arc<[Arc<Doorbell>]>) -> Self {
        let news = Arc::<AtomicU64>::default();
        let budget = |max| Budget::new(max, bells.clone(), news.clone());
        let permits = config.max_in_flight.map(|max| Arc::new(budget(max)));
        Self {
            connections: budget(config.max_conns),
            permits,
            waiters: AtomicU32::new(0),
            hosts: Mutex::default(),
            http10: Mutex::default(),
            news,
            bells,
            most_per_host: AtomicU32::new(0),
            config,
        }
    }

    /// Whether the core with this bell is one of those that share it.
    pub(crate) fn is_shared_by(&self, bell: &Arc<Doorbell>) -> bool {
        self.bells.iter().any(|other| Arc::ptr_eq(other, bell))
    }

    /// The limits of a host.
    pub(super) fn host(&self, origin: &Arc<Origin>) -> Arc<HostLimits> {
        let mut hosts = lock(&self.hosts);
        match hosts.entry(Arc::clone(origin)) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(place) => {
                let budget = |max| Budget::new(max, self.bells.clone(), self.news.clone());
                let conns = budget(self.config.max_conns_per_host);
                let dials = budget(self.config.max_connecting_per_host);
                let waiters = AtomicU32::new(0);
                Arc::clone(place.insert(Arc::new(HostLimits { conns, dials, waiters })))
            }
        }
    }

    /// Forgets a host that no other core uses.
    pub(super) fn forget(&self, origin: &Arc<Origin>, limits: Arc<HostLimits>) {
        self.most_per_host.fetch_max(limits.conns.most(), Ordering::Relaxed);
        drop(limits);
        let mut hosts = lock(&self.hosts);
        if hosts.get(origin).is_some_and(|limits| Arc::strong_count(limits) == 1) {
            hosts.remove(origin);
        }
    }

    /// The most connections that any one host had at once.
    pub(crate) fn most_per_host(&self) -> u32 {
        let hosts = lock(&self.hosts);
        let most = hosts.values().map(|limits| limits.conns.most()).max().unwrap_or_default();
        most.max(self.most_per_host.load(Ordering::Relaxed))
    }

    /// How often a core came to starve: a change means that something may have to be shared.
    #[inline]
    pub(super) fn news(&self) -> u64 {
        // What starved is seen after the news of it.
        self.news.load(Ordering::Acquire)
    }

    /// Whether an origin answered in HTTP/1.0 last.
    pub(super) fn is_http10(&self, origin: &Arc<Origin>) -> bool {
        lock(&self.http10).contains(origin)
    }

    /// Remembers that an origin answered in HTTP/1.0.
    pub(super) fn note_http10(&self, origin: &Arc<Origin>) {
        let mut known = lock(&self.http10);
        if known.len() < HTTP10_MAX {
            known.insert(Arc::clone(origin));
        }
    }

    /// An origin answers in HTTP/1.1 now.
    pub(super) fn forget_http10(&self, origin: &Arc<Origin>) {
        lock(&self.http10).remove(origin);
    }

    /// One more request waits for a connection to a host; `false` if too many do.
    pub(super) fn join_waiters(&self, host: &HostLimits, max: u32) -> bool {
        let joins = |waiters| (waiters < max).then_some(waiters + 1);
        if self.waiters.fetch_update(Ordering::SeqCst, Ordering::SeqCst, joins).is_err() {
            // As many more as connections come.
            let hosts = lock(&self.hosts);
            let coming = self.connections.coming();
            let one = |other: &HostLimits| u32::from(std::ptr::eq(other, host));
            let by_host: u32 = hosts.values().map(|other| other.waits_beyond(one(other))).sum();
            let of_all = self.waiters.load(Ordering::SeqCst) + 1;
            if by_host.max(of_all.saturating_sub(coming)) > max {
                return false;
            }
            self.waiters.fetch_add(1, Ordering::SeqCst);
        }
        host.waiters.fetch_add(1, Ordering::SeqCst);
        true
    }

    pub(super) fn leave_waiters(&self, host: &HostLimits, requests: u32) {
        host.waiters.fetch_sub(requests, Ordering::SeqCst);
        self.waiters.fetch_sub(requests, Ordering::SeqCst);
    }
}
