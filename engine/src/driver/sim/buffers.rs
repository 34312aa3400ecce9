//! Receive buffers, few as configured, and who has them. Never grows.

use super::super::{Lender, Lent};

/// Where a buffer is. It goes round in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// Nobody.
    Driver,
    /// A completion that was not handed out yet.
    Completion,
    /// The caller, who has to give it back.
    Caller,
}

#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    holder: Holder,
}

/// All buffers of one size.
#[derive(Debug)]
pub(super) struct Buffers {
    buffers: Vec<Buffer>,
    free: Vec<u16>,
    /// Number of the first, so that those of two sizes have different ones.
    first: u16,
    pub(super) bytes_max: u32,
}

impl Buffers {
    pub(super) fn new(first: u16, count: u16, bytes_max: u32) -> Self {
        let empty = || Buffer { bytes: Vec::new(), holder: Holder::Driver };
        Self {
            buffers: (0..count).map(|_| empty()).collect(),
            free: (0..count).rev().collect(),
            first,
            bytes_max,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// Fills a free buffer for a completion.
    pub(super) fn fill(
        &mut self,
        lender: &Lender,
        bytes: impl Iterator<Item = u8>,
        has_more: bool,
    ) -> Option<Lent> {
        let place = self.free.pop()?;
        let buffer = self.buffers.get_mut(place as usize)?;
        buffer.bytes.clear();
        buffer.bytes.extend(bytes);
        buffer.holder = Holder::Completion;
        let bytes = buffer.bytes.len() as u32;
        Some(lender.lend(self.first + place, 0, bytes, has_more))
    }

    fn get(&self, lent: &Lent) -> Option<&Buffer> {
        self.buffers.get(lent.buffer.checked_sub(self.first)? as usize)
    }

    fn get_mut(&mut self, lent: &Lent) -> Option<&mut Buffer> {
        self.buffers.get_mut(lent.buffer.checked_sub(self.first)? as usize)
    }

    /// Its completion is handed out.
    pub(super) fn hand_out(&mut self, lent: &Lent) {
        if let Some(buffer) = self.get_mut(lent) {
            buffer.holder = Holder::Caller;
        }
    }

    /// Its first byte becomes a wrong one.
    pub(super) fn corrupt(&mut self, lent: &Lent) {
        if let Some(byte) = self.get_mut(lent).and_then(|buffer| buffer.bytes.first_mut()) {
            *byte ^= 0x20;
        }
    }

    /// Bytes of a buffer that the caller has; `None` if it has not.
    pub(super) fn bytes(&self, lent: &Lent) -> Option<&[u8]> {
        let buffer = self.get(lent).filter(|buffer| buffer.holder == Holder::Caller)?;
        Some(&buffer.bytes)
    }

    /// Takes a buffer back from the caller; `false` if the caller did not have it.
    pub(super) fn give_back(&mut self, lent: &Lent) -> bool {
        self.free_from(lent, Holder::Caller)
    }

    /// Takes back the buffer of a completion that is never handed out.
    pub(super) fn drop_unseen(&mut self, lent: &Lent) -> bool {
        self.free_from(lent, Holder::Completion)
    }

    fn free_from(&mut self, lent: &Lent, holder: Holder) -> bool {
        let first = self.first;
        match self.get_mut(lent) {
            Some(buffer) if buffer.holder == holder => {
                buffer.holder = Holder::Driver;
                self.free.push(lent.buffer - first);
                true
            }
            _ => false,
        }
    }

    /// Buffers that the caller has.
    pub(super) fn lent(&self) -> usize {
        self.buffers.iter().filter(|buffer| buffer.holder == Holder::Caller).count()
    }
}
