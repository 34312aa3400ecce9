//! What a core's pool counted, and what it holds. Plain figures.

/// What a core's pool counted.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// # let client = engine.client().build()?;
/// use ringshot::client::PoolCounters;
///
/// for _ in 0..3 {
///     block_on(client.get(origin.url("/")).fetch())?;
/// }
/// let sum = |of: fn(&PoolCounters) -> u64| engine.stats().iter().map(|core| of(&core.counters)).sum::<u64>();
/// assert!(sum(|counters| counters.responses) <= 3); // as of each core's last turn
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolCounters {
    /// Requests submitted.
    pub requests: u64,
    /// Responses that were read to their end, discarded ones included.
    pub responses: u64,
    /// Requests that failed, after any retry on a fresh connection.
    pub failures: u64,
    /// Requests whose future was dropped before their end.
    pub cancelled: u64,
    /// Connections established.
    pub connected: u64,
    /// Requests that went out on a connection that had carried another.
    pub reused: u64,
    /// Requests that died on a reused connection and went to a fresh one.
    pub stale_retries: u64,
    /// Idle connections that the server ended, or that spoke unasked.
    pub evicted: u64,
    /// Idle connections closed for their age, or to make room.
    pub reaped: u64,
    /// Bytes received, discarded ones included.
    pub bytes_received: u64,
    /// Turns that reaped completions.
    pub turns: u64,
    /// Completions reaped.
    pub completions: u64,
}

/// What a core holds at this moment.
///
/// ```
/// # use ringshot::client::Engine;
/// # let engine = Engine::builder().build()?;
/// use ringshot::client::Holding;
///
/// // Nothing was asked for yet.
/// assert!(engine.stats().iter().all(|core| core.holding == Holding::default()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Holding {
    /// Requests from submission to the end of the body.
    pub in_flight: u32,
    /// Requests that wait for a permit.
    pub queued: u32,
    /// Requests that wait for a connection.
    pub waiting: u32,
    /// Connections that carry a request.
    pub active: u32,
    /// Idle connections.
    pub idle: u32,
    /// Connections in the making.
    pub connecting: u32,
    /// Connections being closed.
    pub closing: u32,
}
