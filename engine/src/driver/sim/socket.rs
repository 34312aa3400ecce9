//! One simulated socket: what has arrived, what is being read, and how it ends. Decides nothing by chance.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::super::Window;
use super::peer::Peer;
use crate::sys::Errno;

/// What a socket is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Connected,
    /// The connect failed.
    Failed,
    /// `Close` was executed; only its last completions are to come.
    Closing,
}

/// How the peer's side ended, as far as that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// In order: the bytes before it are all there. It stands even if a reset follows (`tcp_recvmsg` looks at `SOCK_DONE` first).
    Fin,
    /// It broke.
    Reset(Errno),
}

/// What the kernel is reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Piece(Window),
    Discard(u64),
}

/// The order in which a slot's completions are told: within a channel as they happened, between channels in any order; `Close` comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel {
    Connect = 0,
    Receive = 1,
    Send = 2,
    QuietSend = 3,
    Close = 4,
}

pub(super) const CHANNELS: usize = 5;

pub(super) struct Socket {
    pub(super) generation: u32,
    /// Held so that a descriptor that is closed early or never shows.
    pub(super) descriptor: Option<OwnedFd>,
    pub(super) phase: Phase,
    /// Where it connects to.
    pub(super) address: Option<SocketAddr>,
    pub(super) peer: Option<Box<dyn Peer>>,
    /// Arrived and not received.
    pub(super) inbound: VecDeque<u8>,
    pub(super) ending: Option<Ending>,
    pub(super) reading: Option<Reading>,
    /// Sends fail with this.
    pub(super) broken: Option<Errno>,
    /// When the peer closed its side.
    pub(super) peer_closed_at: Option<u64>,
    /// When the last bytes sent arrive at the peer, and the peer's last bytes here: the network keeps the order.
    pub(super) uplink_at: u64,
    pub(super) downlink_at: u64,
    /// When the peer's last act was over.
    pub(super) acted_at: u64,
    /// When each channel's last completion is told.
    pub(super) told_at: [u64; CHANNELS],
}

impl Socket {
    pub(super) fn new(generation: u32, descriptor: OwnedFd, now: u64) -> Self {
        Self {
            generation,
            descriptor: Some(descriptor),
            phase: Phase::Connecting,
            address: None,
            peer: None,
            inbound: VecDeque::new(),
            ending: None,
            reading: None,
            broken: None,
            peer_closed_at: None,
            uplink_at: now,
            downlink_at: now,
            acted_at: now,
            told_at: [now; CHANNELS],
        }
    }

    /// Ends everything but the telling.
    pub(super) fn shut(&mut self) {
        self.phase = Phase::Closing;
        self.reading = None;
        self.peer = None;
        self.inbound = VecDeque::new();
        self.descriptor = None;
    }

    /// When a completion of `channel` that happens at `at` can be told. `Close` comes after all others.
    pub(super) fn tell_at(&mut self, channel: Channel, at: u64) -> u64 {
        let all = self.told_at.iter().copied().max().unwrap_or(at);
        let place = &mut self.told_at[channel as usize];
        *place = at.max(if channel == Channel::Close { all } else { *place });
        *place
    }
}
