//! What each slot is sending of its caller's bytes, and what waits behind it. Makes no system call.
//!
//! ```text
//!           quiet                over without a completion
//! begin ───────────> Quiet ──────────────────────────────────> end
//!   │                  │ short, or EAGAIN                        ^
//!   └──────────────> Told ── completion: all of it is sent ──────┘
//!       confirmed    ^   └── completion: a part ──┐
//!                    └────────────────────────────┘
//! ```
//!
//! Invariants:
//! 1. Memory of a current payload is not touched from `begin` to `end`, and its slot's `pending` counts it as long.
//! 2. A slot is in `quiet` exactly while the stage of its current payload is `Quiet`, and once: the first `executed` of them have been submitted, and those of
//!    them without a completion in the queue are over.
//! 3. Behind a current payload nothing of the slot is sent.

use std::collections::VecDeque;

use crate::driver::payload::Spares;
use crate::driver::{Confirm, Payload, Slot, Span};

/// A payload that the kernel may be reading.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) payload: Payload,
    /// Bytes of it that the kernel has taken.
    pub(super) taken: usize,
    pub(super) confirm: Confirm,
    pub(super) stage: Stage,
}

/// How the end of what was submitted last is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// From silence, once the enter is over.
    Quiet,
    /// From a completion.
    Told,
}

/// A send that waits.
#[derive(Debug)]
pub(super) enum Waiting {
    Span(Span, Confirm),
    Bytes(Payload, Confirm),
}

#[derive(Debug, Default)]
struct Outbox {
    current: Option<Current>,
    waiting: VecDeque<Waiting>,
}

/// All slots' outboxes.
#[derive(Debug)]
pub(super) struct Outboxes {
    /// By index; made at the first use, since a load generator sends templates only.
    boxes: Vec<Outbox>,
    slots: u32,
    quiet: Vec<Slot>,
    executed: usize,
    /// Slots whose next submission found no room.
    pub(super) stalled: Vec<Slot>,
    /// A send waits behind a quiet one, whose end is to be learnt before the next wait.
    pub(super) crowded: bool,
    pub(super) spares: Spares,
}

impl Outboxes {
    pub(super) fn new(slots: u32) -> Self {
        Self {
            boxes: Vec::new(),
            slots,
            quiet: Vec::new(),
            executed: 0,
            stalled: Vec::new(),
            crowded: false,
            spares: Spares::default(),
        }
    }

    pub(super) fn current(&mut self, slot: Slot) -> Option<&mut Current> {
        self.boxes.get_mut(slot.index as usize)?.current.as_mut()
    }

    /// Takes a payload whose first submission is queued, or will be.
    pub(super) fn begin(&mut self, slot: Slot, current: Current) {
        if self.boxes.is_empty() {
            self.boxes.resize_with(self.slots as usize, Outbox::default);
        }
        let Some(place) = self.boxes.get_mut(slot.index as usize) else { return };
        debug_assert!(place.current.is_none(), "one payload at a time");
        if current.stage == Stage::Quiet {
            self.quiet.push(slot);
            self.crowded |= !place.waiting.is_empty();
        }
        place.current = Some(current);
    }

    /// Gives up a payload that the kernel is done with.
    pub(super) fn end(&mut self, slot: Slot) -> Option<Current> {
        self.boxes.get_mut(slot.index as usize)?.current.take()
    }

    /// Puts a send behind the current one. `true` if that one is quiet.
    pub(super) fn wait_behind(&mut self, slot: Slot, waiting: Waiting) -> bool {
        let Some(place) = self.boxes.get_mut(slot.index as usize) else { return false };
        place.waiting.push_back(waiting);
        let quiet = place.current.as_ref().is_some_and(|current| current.stage == Stage::Quiet);
        self.crowded |= quiet;
        quiet
    }

    pub(super) fn next_waiting(&mut self, slot: Slot) -> Option<Waiting> {
        self.boxes.get_mut(slot.index as usize)?.waiting.pop_front()
    }

    pub(super) fn put_back(&mut self, slot: Slot, waiting: Waiting) {
        if let Some(place) = self.boxes.get_mut(slot.index as usize) {
            place.waiting.push_front(waiting);
        }
    }

    /// Drops what the kernel has not seen.
    pub(super) fn forget_waiting(&mut self, slot: Slot) {
        while let Some(waiting) = self.next_waiting(slot) {
            if let Waiting::Bytes(payload, _) = waiting {
                self.spares.finish(payload);
            }
        }
    }

    /// A quiet send had a completion, or was not submitted: silence means nothing. The last, since `settle` may just have replaced an earlier one.
    pub(super) fn unlist(&mut self, slot: Slot) {
        if let Some(place) = self.quiet.iter().rposition(|quiet| *quiet == slot) {
            self.quiet.remove(place);
            self.executed -= usize::from(place < self.executed);
        }
    }

    /// Whether quiet sends are queued whose execution was not noted.
    #[inline]
    pub(super) fn is_unnoted(&self) -> bool {
        self.executed < self.quiet.len()
    }

    /// All that was queued has been submitted.
    pub(super) fn note_executed(&mut self) {
        self.executed = self.quiet.len();
    }

    /// Whether quiet sends are over unless the completion queue tells otherwise.
    #[inline]
    pub(super) fn is_settling(&self) -> bool {
        self.executed > 0
    }

    /// The quiet sends that are over, by place: to be looked at one by one, then dropped by [`Outboxes::drop_settled`].
    pub(super) fn settled(&self, place: usize) -> Option<Slot> {
        self.quiet.get(..self.executed)?.get(place).copied()
    }

    pub(super) fn drop_settled(&mut self) {
        self.quiet.drain(..self.executed);
        self.executed = 0;
    }
}
