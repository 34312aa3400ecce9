//! Who answers behind a simulated connection: scripts that the test supplies. Knows no HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use crate::clock::Instant;
use crate::random::Random;

/// A connection that was established: what a peer is made for.
#[derive(Debug)]
pub struct Visit {
    /// Which connection of the simulation, counted from zero.
    pub number: u64,
    /// The slot that the client uses for it.
    pub index: u32,
    /// The address that was connected to; `None` for an adopted socket.
    pub address: Option<SocketAddr>,
    /// Chance of the peer's own.
    pub random: Random,
}

/// One side of a conversation, told what the client sent and asked what to do.
pub trait Peer {
    /// The connection is established.
    fn handle_connected(&mut self, now: Instant, acts: &mut Vec<Act>) {
        let _ = (now, acts);
    }

    /// Bytes of the client's arrived: any number, in order.
    fn handle_bytes(&mut self, bytes: &[u8], now: Instant, acts: &mut Vec<Act>);
}

impl<F: FnMut(&[u8], Instant, &mut Vec<Act>)> Peer for F {
    fn handle_bytes(&mut self, bytes: &[u8], now: Instant, acts: &mut Vec<Act>) {
        self(bytes, now, acts);
    }
}

/// What a peer does. Acts follow one after the other: each waits for the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Does nothing for this long.
    Pause(Duration),
    /// Sends.
    Send(Vec<u8>),
    /// Closes its side in order: what it sent arrives. Bytes of the client's that come later are answered by a reset.
    Close,
    /// Breaks the connection.
    Reset,
}
