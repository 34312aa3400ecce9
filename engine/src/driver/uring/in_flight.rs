//! What the kernel holds of each slot: its socket, its address while connecting, and how many operations are to complete.
//!
//! Invariants:
//! 1. `pending` counts the operations whose last completion has not been reaped; quiet sends of templates are not among them.
//! 2. An entry is freed, and its socket closed, only when `pending` is zero: no completion of a live operation finds its slot in other hands.
//! 3. A queued entry names its socket by place: none is freed while a quiet send of its own may not have been submitted.
//! 4. `address` lives from the connect's submission until its completion.

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use socket2::SockAddr;

use super::sentry::Sentry;
use crate::driver::{Kind, Slot};
use crate::sys::socket;

/// Bytes that fit into a send buffer of the kernel's default size, however small the peer's
/// window, and with it the pieces that it is charged for.
const QUIET_BYTES_FIT: u32 = 1024;

/// One slot.
#[derive(Debug, Default)]
pub(super) struct Entry {
    generation: u32,
    pending: u32,
    /// The receive or discard in flight.
    pub(super) receive: Option<Kind>,
    pub(super) sentry: Sentry,
    pub(super) socket: Option<OwnedFd>,
    address: Option<Box<SockAddr>>,
    closing: bool,
    /// The batch that its last quiet send was queued in.
    pub(super) quiet_batch: u64,
    /// Bytes of templates that were sent quietly.
    pub(super) quiet_bytes: u32,
    /// Its close resets the connection.
    resets: bool,
    /// Bytes of the caller's are being sent: later sends wait behind them (see `outbox`).
    pub(super) sending: bool,
}

impl Entry {
    pub(super) fn raw(&self) -> RawFd {
        self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Keeps `peer` for the kernel, at an address that does not move.
    pub(super) fn keep_address(&mut self, peer: SocketAddr) -> &SockAddr {
        self.address.insert(Box::new(peer.into()))
    }

    pub(super) fn drop_address(&mut self) {
        self.address = None;
    }

    /// One more operation whose completion is to come.
    #[inline]
    pub(super) fn started(&mut self) {
        self.pending += 1;
    }

    /// The last completion of an operation was reaped.
    #[inline]
    pub(super) fn ended(&mut self) {
        debug_assert!(self.pending > 0, "a completion that nothing is pending for");
        self.pending = self.pending.saturating_sub(1);
    }

    pub(super) fn idle(&self) -> bool {
        self.pending == 0
    }

    /// What is in flight, if that is all known by kind: to be cancelled one by one, which takes the kernel a look into a table. To find them by their descriptor it looks at all
    /// that waits on the ring, three times (6.18): half a millisecond with 4,000 connections.
    pub(super) fn known_kinds(&self) -> Option<[Option<Kind>; 4]> {
        let kinds = [
            self.receive,
            (self.sentry == Sentry::Posted).then_some(Kind::Sentry),
            self.sending.then_some(Kind::Bytes),
            self.address.is_some().then_some(Kind::Connect),
        ];
        (kinds.iter().flatten().count() == self.pending as usize).then_some(kinds)
    }

    /// Whether quiet sends may wait for room in the kernel, which tells neither that nor
    /// their end. The first few bytes never do: connections of one request are not asked.
    pub(super) fn may_wait_quietly(&self) -> bool {
        self.quiet_bytes > QUIET_BYTES_FIT
    }

    /// Ends what waits for the socket: with a reset, if that is how it is to be closed.
    pub(super) fn cut_off(&self) {
        let Some(socket) = &self.socket else { return };
        // ENOTCONN, EINVAL: nothing waits on a socket that is not connected, or of a
        // kind that has no reset.
        let _ = if self.resets { socket::reset(socket) } else { socket::shut_down(socket) };
    }

    pub(super) fn closing(&self) -> bool {
        self.closing
    }

    pub(super) fn set_closing(&mut self) {
        self.closing = true;
    }
}

/// All slots of a driver.
#[derive(Debug)]
pub(super) struct InFlight {
    entries: Vec<Entry>,
}

impl InFlight {
    pub(super) fn new(slots: u32) -> Self {
        Self { entries: (0..slots).map(|_| Entry::default()).collect() }
    }

    /// The entry of a live slot; `None` for a stale or empty one.
    #[inline]
    pub(super) fn live(&mut self, slot: Slot) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(slot.index as usize)?;
        (entry.generation == slot.generation && entry.socket.is_some()).then_some(entry)
    }

    /// All sockets.
    pub(super) fn sockets(&self) -> impl Iterator<Item = &OwnedFd> {
        self.entries.iter().filter_map(|entry| entry.socket.as_ref())
    }

    /// Whether an operation is in flight that uses memory: one of those that are counted,
    /// since what is not fits into its socket's buffer, or was cut off. A connect has had
    /// its address read, and may go on where a shutdown does not end it.
    pub(super) fn is_lending(&self) -> bool {
        self.entries.iter().any(|entry| !entry.idle() && entry.address.is_none())
    }

    /// Fills an empty slot; hands the socket back if the index is out of range or taken.
    pub(super) fn occupy(&mut self, slot: Slot, socket: OwnedFd) -> Result<&mut Entry, OwnedFd> {
        match self.entries.get_mut(slot.index as usize) {
            Some(entry) if entry.socket.is_none() => {
                *entry =
                    Entry { generation: slot.generation, socket: Some(socket), ..Entry::default() };
                Ok(entry)
            }
            _ => Err(socket),
        }
    }

    /// Makes the close of a live slot's socket reset its connection; `false` for a slot that is not live.
    pub(super) fn reset_on_close(&mut self, slot: Slot) -> bool {
        let Some(entry) = self.live(slot) else { return false };
        entry.resets = true;
        // A socket that refuses has been reset already.
        entry.socket.as_ref().map(socket::reset_on_close).is_some()
    }

    /// Empties a slot whose last completion was reaped; the socket closes when the caller drops it.
    pub(super) fn vacate(&mut self, slot: Slot) -> Option<OwnedFd> {
        let entry = self.live(slot)?;
        debug_assert!(entry.idle());
        entry.socket.take()
    }
}
