//! Receives, discards and accepts: which submission each window is. Reads no completion.

use super::buf_ring::BufRing;
use super::{LARGE, LARGE_BUFFER_BYTES, SMALL, Tier, Uring, prep};
use crate::driver::{Kind, SMALL_PIECE_BYTES, Slot, Token, Window};

/// Buffers for [`Window::Bulk`], made at the first use.
const LARGE_BUFFERS: u16 = 16;
/// The most that one discard asks for.
const DISCARD_BYTES_MAX: u64 = 1 << 30;

impl Uring {
    pub(super) fn receive(&mut self, slot: Slot, window: Window) -> Result<(), ()> {
        if window == Window::Bulk {
            self.ensure_large();
        }
        let Some(entry) = self.in_flight.live(slot) else { return Ok(()) };
        let target = Self::target(self.descriptors, slot, entry);
        let (kind, sqe) = match window {
            Window::Stream if self.tier >= Tier::Multishot => {
                (Kind::Stream, prep::stream(target, SMALL))
            }
            Window::Stream | Window::Once => {
                (Kind::Once, prep::once(target, SMALL, SMALL_PIECE_BYTES))
            }
            Window::Bulk if self.large.is_some() => {
                (Kind::Bulk, prep::once(target, LARGE, LARGE_BUFFER_BYTES))
            }
            Window::Bulk => (Kind::Once, prep::once(target, SMALL, SMALL_PIECE_BYTES)),
        };
        self.push(&sqe.told_as(Token { slot, kind }))?;
        self.started(slot, Some(kind));
        Ok(())
    }

    /// Makes the large buffers at their first use; without memory for them the small ones do.
    fn ensure_large(&mut self) {
        if self.large.is_none() {
            self.counters.system_calls += 1;
            self.large = BufRing::register(
                &self.ring,
                LARGE,
                (LARGE_BUFFERS, LARGE_BUFFERS),
                LARGE_BUFFER_BYTES,
            )
            .ok();
        }
    }

    pub(super) fn discard(&mut self, slot: Slot, bytes: u64) -> Result<(), ()> {
        let Some(entry) = self.in_flight.live(slot) else { return Ok(()) };
        let target = Self::target(self.descriptors, slot, entry);
        let sqe = prep::discard(target, bytes.min(DISCARD_BYTES_MAX) as u32);
        self.push(&sqe.told_as(Token { slot, kind: Kind::Discard }))?;
        self.started(slot, Some(Kind::Discard));
        Ok(())
    }

    pub(super) fn stop(&mut self, slot: Slot) -> Result<(), ()> {
        let Some(kind) = self.in_flight.live(slot).and_then(|entry| entry.receive) else {
            return Ok(());
        };
        self.cancel(slot, prep::cancel(Token { slot, kind }))
    }

    pub(super) fn accept(&mut self, slot: Slot) -> Result<(), ()> {
        let Some(entry) = self.in_flight.live(slot) else { return Ok(()) };
        let target = Self::target(self.descriptors, slot, entry);
        self.push(&prep::accept(target).told_as(Token { slot, kind: Kind::Accept }))?;
        self.started(slot, None);
        Ok(())
    }
}
