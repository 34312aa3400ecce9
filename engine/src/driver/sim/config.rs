//! What a simulation does to its caller: plain data, all probabilities from 0.0 to 1.0.

use std::time::Duration;

use super::super::Limits;

/// Most buffers of one size: as many as a ring of buffers has at most.
pub const BUFFERS_MAX: u32 = 1 << 15;

/// One simulation. The same configuration and the same caller give the same events.
#[derive(Debug, Clone)]
pub struct Config {
    /// Slots.
    pub limits: Limits,
    /// Where all chance comes from.
    pub seed: u64,
    /// Buffers for streams and single pieces, from 1 to [`BUFFERS_MAX`].
    pub small_buffers: u32,
    /// Bytes of each.
    pub small_buffer_bytes: u32,
    /// Buffers for bulk receives, from 1 to [`BUFFERS_MAX`].
    pub large_buffers: u32,
    /// Bytes of each.
    pub large_buffer_bytes: u32,
    /// Most operations queued between two waits, at least one.
    pub queue_entries: u32,
    /// One way through the network takes up to this long, at least a microsecond.
    pub latency_max: Duration,
    /// What a kernel may do within the contract.
    pub quirks: Quirks,
    /// What breaks.
    pub faults: Faults,
    /// How long it does: later nothing new breaks.
    pub storm: Duration,
    /// A bug of the driver's own, to show that a check finds it.
    pub sabotage: Option<Sabotage>,
    /// Whether [`Sim::log`](super::Sim::log) is kept.
    pub log: Logging,
}

impl Config {
    /// A driver and a network that do their best, for so many slots.
    #[must_use]
    pub fn calm(slots: u32, seed: u64) -> Self {
        Self {
            limits: Limits { slots },
            seed,
            small_buffers: slots.saturating_mul(2).max(16),
            small_buffer_bytes: 4096,
            large_buffers: 16,
            large_buffer_bytes: 256 << 10,
            queue_entries: 1024,
            latency_max: Duration::from_micros(100),
            quirks: Quirks::default(),
            faults: Faults::default(),
            storm: Duration::MAX,
            sabotage: None,
            log: Logging::Off,
        }
    }
}

/// What a driver may do within its contract: no request fails of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Quirks {
    /// A receive or discard takes less than there is, a reap hands out less than it has, bytes cross the network in pieces.
    pub partial: f32,
    /// A stream ends with a piece ([`Armed::No`](crate::driver::Armed)).
    pub stream_ends: f32,
    /// A receive or discard ends for no reason: `Starved` or `Stopped`.
    pub interrupted: f32,
    /// Between two waits the queue takes only a few operations.
    pub full: f32,
    /// An operation is executed when it is submitted, not at the next wait.
    pub at_once: f32,
    /// A completion is told late, by up to [`Quirks::late_max`].
    pub late: f32,
    /// How late.
    pub late_max: Duration,
    /// After `Close`, what was in flight still tells its end before `Closed`.
    pub afterlife: f32,
    /// A wait returns early.
    pub early_wake: f32,
    /// A wait returns late by up to this, with all that happened meanwhile.
    pub oversleep_max: Duration,
}

/// What breaks: requests may fail of it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    /// A connect is refused, at once or later.
    pub refused: f32,
    /// A connect is never answered.
    pub unanswered: f32,
    /// A connect is answered late, by up to [`Faults::late_connect_max`].
    pub late_connect: f32,
    /// How late.
    pub late_connect_max: Duration,
    /// A send fails, whole or in part, and the connection breaks soon after. All of it may have reached the peer.
    pub send_fails: f32,
    /// A connection is reset at some moment within [`Faults::reset_within`].
    pub reset: f32,
    /// When, counted from its start.
    pub reset_within: Duration,
    /// A reset takes what was not received yet along.
    pub reset_purges: f32,
}

/// A driver's bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// This completion, counted from zero, is never told.
    Lose(u64),
    /// This received piece has a wrong byte.
    Corrupt(u64),
    /// This discard tells one byte more than it took.
    Miscount(u64),
}

/// Whether what happened is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logging {
    /// Only a digest is kept.
    Off,
    /// All of it.
    On,
}
