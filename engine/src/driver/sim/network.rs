//! The virtual network: connects that are answered, bytes that travel, peers that act. Keeps the order of each direction, and nothing else.

use std::time::Duration;

use super::socket::{Channel, Ending, Phase};
use super::{Act, Sim, Visit};
use crate::clock::Instant;
use crate::driver::{Event, Slot};
use crate::sys::Errno;

/// Pieces that a transmission is cut into at most.
const PIECES_MAX: u64 = 24;

/// Something that the network does to a slot's socket.
#[derive(Debug)]
pub(super) enum Travel {
    /// The connect is answered.
    Answer(Result<(), Errno>),
    /// The client's bytes reach the peer.
    Uplink(Vec<u8>),
    /// The peer's bytes reach the client.
    Downlink(Vec<u8>),
    /// So does the end of its side.
    Fin,
    /// The connection breaks.
    Reset,
}

impl Sim {
    pub(super) fn arrive(&mut self, slot: Slot, travel: Travel) {
        let phase = self.socket(slot).map(|socket| socket.phase);
        match (phase, travel) {
            (Some(Phase::Connecting), Travel::Answer(Ok(()))) => {
                self.tell(slot, Channel::Connect, Event::Connected);
                self.establish(slot);
            }
            (Some(Phase::Connecting), Travel::Answer(Err(errno))) => self.refuse(slot, errno),
            (Some(Phase::Connected), Travel::Uplink(bytes)) => self.reach_peer(slot, &bytes),
            (Some(Phase::Connected), Travel::Downlink(bytes)) => self.reach_client(slot, &bytes),
            (Some(Phase::Connected), Travel::Fin) => self.end(slot, Ending::Fin),
            (Some(Phase::Connected), Travel::Reset) => {
                self.seen.resets += 1;
                self.end(slot, Ending::Reset(Errno(libc::ECONNRESET)));
            }
            // What travels to a socket that is gone.
            _ => {}
        }
    }

    fn refuse(&mut self, slot: Slot, errno: Errno) {
        if let Some(socket) = self.socket(slot) {
            socket.phase = Phase::Failed;
        }
        self.tell(slot, Channel::Connect, Event::ConnectFailed(errno));
    }

    /// The connection stands, with its peer behind it.
    pub(super) fn establish(&mut self, slot: Slot) {
        let (now, random) = (Instant::from_nanos(self.now()), self.random.fork());
        let number = self.connections;
        self.connections += 1;
        let address = self.socket(slot).and_then(|socket| socket.address);
        let mut peer = (self.world)(Visit { number, index: slot.index, address, random });
        let mut acts = Vec::new();
        peer.handle_connected(now, &mut acts);
        if let Some(socket) = self.socket(slot) {
            socket.phase = Phase::Connected;
            socket.peer = Some(peer);
        }
        self.act(slot, acts);
        if self.strikes(|faults| faults.reset) {
            let within = self.faults().reset_within.as_nanos() as u64;
            let at = self.now() + self.random.below(within);
            self.travel_at(at, slot, Travel::Reset);
        }
    }

    /// Bytes for the peer; a peer that has closed answers them with a reset (RFC 9293 3.6.1).
    fn reach_peer(&mut self, slot: Slot, bytes: &[u8]) {
        let now = self.now();
        let Some(socket) = self.socket(slot) else { return };
        if socket.peer_closed_at.is_some_and(|at| at <= now) {
            let at = socket.downlink_at.max(now) + self.latency();
            self.travel_at(at, slot, Travel::Reset);
            return;
        }
        let Some(mut peer) = socket.peer.take() else { return };
        let mut acts = Vec::new();
        peer.handle_bytes(bytes, Instant::from_nanos(now), &mut acts);
        if let Some(socket) = self.socket(slot) {
            socket.peer = Some(peer);
        }
        self.act(slot, acts);
    }

    fn reach_client(&mut self, slot: Slot, bytes: &[u8]) {
        let Some(socket) = self.socket(slot) else { return };
        if socket.ending.is_none() {
            socket.inbound.extend(bytes);
            self.feed(slot);
        }
    }

    fn end(&mut self, slot: Slot, ending: Ending) {
        let purge = self.strikes(|faults| faults.reset_purges);
        let Some(socket) = self.socket(slot) else { return };
        if matches!(ending, Ending::Reset(_)) {
            socket.broken = Some(Errno(libc::EPIPE));
        }
        if socket.ending.is_some() {
            return;
        }
        socket.ending = Some(ending);
        if purge && ending != Ending::Fin {
            socket.inbound.clear();
        }
        self.feed(slot);
    }

    /// Puts a peer's acts on the agenda, after those that are on it; none follow a close.
    fn act(&mut self, slot: Slot, acts: Vec<Act>) {
        for act in acts {
            let now = self.now();
            let Some(socket) = self.socket(slot) else { return };
            if socket.peer_closed_at.is_some() {
                return;
            }
            socket.acted_at = socket.acted_at.max(now);
            let at = socket.acted_at;
            match act {
                Act::Pause(pause) => socket.acted_at += nanos(pause),
                Act::Send(bytes) => self.send_down(slot, at, &bytes),
                Act::Close => {
                    socket.peer_closed_at = Some(at);
                    let at = socket.downlink_at.max(at) + self.latency();
                    self.travel_down(slot, at, Travel::Fin);
                }
                Act::Reset => {
                    socket.peer_closed_at = Some(at);
                    let at = socket.downlink_at.max(at) + self.latency();
                    self.travel_down(slot, at, Travel::Reset);
                }
            }
        }
    }

    fn travel_down(&mut self, slot: Slot, at: u64, travel: Travel) {
        if let Some(socket) = self.socket(slot) {
            socket.downlink_at = at;
        }
        self.travel_at(at, slot, travel);
    }

    fn send_down(&mut self, slot: Slot, at: u64, bytes: &[u8]) {
        for piece in self.cut(bytes) {
            let sent_at = at + self.latency();
            let Some(socket) = self.socket(slot) else { return };
            let at = socket.downlink_at.max(sent_at);
            self.travel_down(slot, at, Travel::Downlink(piece));
        }
    }

    pub(super) fn send_up(&mut self, slot: Slot, bytes: &[u8]) {
        for piece in self.cut(bytes) {
            let sent_at = self.now() + self.latency();
            let Some(socket) = self.socket(slot) else { return };
            socket.uplink_at = socket.uplink_at.max(sent_at);
            let at = socket.uplink_at;
            self.travel_at(at, slot, Travel::Uplink(piece));
        }
    }

    /// The pieces in which bytes travel.
    fn cut(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let (mut pieces, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            let last = pieces.len() as u64 + 1 >= PIECES_MAX;
            let partial = if last { 0.0 } else { self.config.quirks.partial };
            let bytes = self.random.part(rest.len() as u64, partial) as usize;
            let (piece, behind) = rest.split_at(bytes);
            pieces.push(piece.to_vec());
            rest = behind;
        }
        pieces
    }

    pub(super) fn latency(&mut self) -> u64 {
        let most = self.config.latency_max.as_nanos() as u64;
        self.random.between(1_000, most.max(1_000))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}
