//! One connection of a pool. Plain state: moves are made by `dial`, `acquire`, `resting`, `receive`, `send` and `expiry`.
//!
//! ```text
//!         dial                 connected              response read to its end
//!  Free ───────> Dialing ─────────────────> Idle <─────────────────────────── Resting
//!    ^              │ failed, timeout,        │ a request                       ^
//!    │              │ not wanted              v                                 │
//!    │              v       end, reset,     Busy ───────────────────────────────┤
//!    └───────── Closing <── any byte ──┐      │ body dropped unread, little left│
//!   the driver           while idle or │      v                                 │
//!   says Closed          resting,      └── Draining ────────────────────────────┘
//!                        too old, broken        too much, too slow: Closing
//! ```
//! Most rest for no time: `resting` says when.

use std::net::SocketAddr;
use std::time::Duration;

use super::expiry::Timer;
use super::slab::Id;
use crate::clock::Instant;
use crate::driver::{Slot, Window};
use crate::proto::h1::{Framing, Limits, Machine};
use crate::shard::connection::{Bodies, Receiving, Sending};
use crate::shard::exchange::LARGE_BODY_BYTES;
use crate::shard::limits::Heir;

/// Where a connection is in its life, and with whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Free,
    /// An attempt of this dial.
    Dialing(Id),
    Idle,
    /// Carries this exchange.
    Busy(Id),
    /// Throws away the rest of a body that nobody wants.
    Draining,
    /// Its response is complete, and it is not known yet what stands behind it.
    Resting,
    Closing,
}

impl State {
    /// Whether it counts as active, though whoever asked has all of the response, or left.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Draining | Self::Resting)
    }
}

/// Whether a connection counts in the budgets of its client and host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Charge {
    None,
    /// A unit of each, to be given back when the socket is closed.
    Unit,
}

/// The cores that its units are promised to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Heirs {
    pub(super) of_host: Option<Heir>,
    pub(super) of_client: Option<Heir>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) slot: Slot,
    pub(super) state: State,
    pub(super) charge: Charge,
    pub(super) heirs: Heirs,
    pub(super) receiving: Receiving,
    pub(super) sending: Sending,
    pub(super) bodies: Bodies,
    /// Whether the current body is chunked.
    pub(super) chunked: bool,
    pub(super) client: u32,
    pub(super) host: u32,
    pub(super) machine: Machine,
    /// Whether the driver knows of more than it gave with the last piece.
    pub(super) has_more: bool,
    /// Unique on its core.
    pub(super) id: u64,
    pub(super) peer: Option<SocketAddr>,
    /// Responses that it carried.
    pub(super) served: u64,
    /// Whether it has been idle: the server may have given it up.
    pub(super) rested: bool,
    /// When it last went idle.
    pub(super) idle_since: Instant,
    /// Whether the server spoke HTTP/1.0 last.
    pub(super) is_http10: bool,
    /// Requests that the server will still take, if it said so.
    pub(super) left: Option<u32>,
    /// How long the server keeps it when idle, if it said so.
    pub(super) kept: Option<Duration>,
    /// When its attempt began.
    pub(super) started: Instant,
    pub(super) connected: Instant,
    /// When it is too old for another request.
    pub(super) retires: Instant,
    /// When its present state is over: an attempt, idleness, a drain.
    pub(super) deadline: Instant,
    /// It throws away what nobody reads, and is counted among its host's that drain.
    pub(super) drains: bool,
    /// Bytes that a drain may still throw away.
    pub(super) drain_bytes: u64,
    pub(super) timer: Timer,
}

impl Connection {
    pub(super) fn new(index: u32, limits: &Limits) -> Self {
        Self {
            slot: Slot::first(index),
            state: State::Free,
            charge: Charge::None,
            heirs: Heirs::default(),
            receiving: Receiving::Nothing,
            sending: Sending::Free,
            bodies: Bodies::Small,
            chunked: false,
            client: 0,
            host: 0,
            machine: Machine::new(limits),
            has_more: false,
            id: 0,
            peer: None,
            served: 0,
            rested: false,
            idle_since: Instant::default(),
            is_http10: false,
            left: None,
            kept: None,
            started: Instant::default(),
            connected: Instant::default(),
            retires: Instant::NEVER,
            deadline: Instant::NEVER,
            drains: false,
            drain_bytes: 0,
            timer: Timer::default(),
        }
    }

    /// Whether it may have died before the present request: that request may go to a fresh one.
    pub(super) fn may_be_stale(&self) -> bool {
        self.served > 0 || self.rested
    }

    /// Whether its server has said that it takes no more on it, or keeps it for no time.
    pub(super) fn is_given_up(&self) -> bool {
        self.left == Some(0) || self.kept == Some(Duration::ZERO)
    }

    /// Until when it is kept idle, where its client keeps connections for `idle`: no longer than its server and its age allow.
    pub(super) fn idle_until(&self, idle: Duration) -> Instant {
        let idle = self.kept.map_or(idle, |kept| idle.min(kept));
        (self.idle_since + idle).min(self.retires)
    }

    /// For the next socket: what a connection must not inherit from the one before.
    pub(super) fn renew(&mut self, limits: &Limits) {
        let machine = std::mem::replace(&mut self.machine, Machine::new(limits));
        let fresh = Self::new(self.slot.index, limits);
        *self = Self { slot: self.slot.next(), machine, timer: self.timer, ..fresh };
    }

    /// Takes from a head what receiving the rest of the response needs.
    pub(super) fn handle_head(&mut self, framing: Framing) {
        self.chunked = framing == Framing::Chunked;
        self.bodies = match framing {
            Framing::Length(bytes) if bytes < LARGE_BODY_BYTES => Bodies::Small,
            _ => self.bodies,
        };
    }

    /// How to receive next, where the bytes are wanted.
    pub(super) fn window(&self) -> Window {
        match self.bodies {
            Bodies::Small => Window::Stream,
            Bodies::Large if self.machine.discardable() > 0 || self.chunked => Window::Bulk,
            Bodies::Large => Window::Once,
        }
    }
}
