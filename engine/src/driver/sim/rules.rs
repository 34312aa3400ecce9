//! The contract as the caller must keep it, checked at each submission and each hand-out. Records, never panics: the test decides.

use std::mem::{Discriminant, discriminant};

use super::super::{Armed, Completion, Confirm, End, Event, Op, Slot};

/// Violations that are kept in words; more are only counted.
const VIOLATIONS_KEPT: usize = 16;

/// A slot as the caller knows it: changed by what it submits and by what it is told, not by what the kernel does meanwhile.
#[derive(Debug, Clone, Copy, Default)]
struct Watch {
    /// The last use, if there was any.
    generation: Option<u32>,
    stage: Stage,
    receiving: bool,
    confirming: bool,
    /// A receive told its final end.
    ended: bool,
    /// Handed back by `Full`: it has to come again before any other of its slot.
    refused: Option<Discriminant<Op>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Vacant,
    Connecting,
    Connected,
    Failed,
    Closing,
}

/// Watches the caller of a driver.
#[derive(Debug)]
pub(super) struct Rules {
    slots: Vec<Watch>,
    pub(super) kept: Vec<String>,
    pub(super) count: u64,
}

impl Rules {
    pub(super) fn new(slots: u32) -> Self {
        Self { slots: vec![Watch::default(); slots as usize], kept: Vec::new(), count: 0 }
    }

    pub(super) fn violate(&mut self, what: &str, slot: Slot) {
        self.count += 1;
        if self.kept.len() < VIOLATIONS_KEPT {
            self.kept.push(format!("slot {}/{}: {what}", slot.index, slot.generation));
        }
    }

    /// An operation was handed back for want of room.
    pub(super) fn refuse(&mut self, slot: Slot, op: &Op) {
        if let Some(watch) = self.slots.get_mut(slot.index as usize) {
            let waiting = *watch.refused.get_or_insert(discriminant(op));
            if waiting != discriminant(op) {
                self.violate("an operation overtakes one that was handed back", slot);
            }
        }
    }

    /// An operation is taken: `false` if it can't be executed at all.
    pub(super) fn submit(&mut self, slot: Slot, op: &Op) -> bool {
        let Some(watch) = self.slots.get_mut(slot.index as usize) else {
            self.violate("an index out of range", slot);
            return false;
        };
        let waiting = watch.refused.take();
        let before = *watch;
        let verdict = match op {
            Op::Connect { .. } | Op::Adopt { .. } | Op::Listen { .. } => watch.open(slot, op),
            _ => watch.operate(slot, op),
        };
        if waiting.is_some_and(|waiting| waiting != discriminant(op)) {
            self.violate("an operation overtakes one that was handed back", slot);
        }
        if let Err(what) = verdict {
            self.violate(&format!("{what}: {op:?} on {before:?}"), slot);
            return false;
        }
        true
    }

    /// The caller is told. `confirmed`: the completion is that of a confirmed send.
    pub(super) fn tell(&mut self, completion: &Completion, confirmed: bool) {
        if let Some(watch) = self.slots.get_mut(completion.slot.index as usize) {
            watch.tell(&completion.event, confirmed);
        }
    }

    /// Slots that are in use.
    pub(super) fn open(&self) -> usize {
        self.slots.iter().filter(|watch| watch.stage != Stage::Vacant).count()
    }

    /// Operations that have not told their end.
    pub(super) fn pending(&self) -> usize {
        self.slots.iter().map(Watch::pending).sum()
    }
}

impl Watch {
    fn open(&mut self, slot: Slot, op: &Op) -> Result<(), &'static str> {
        if self.stage != Stage::Vacant {
            return Err("a slot that is taken");
        }
        let next = |last| slot == Slot { index: slot.index, generation: last }.next();
        if !self.generation.is_none_or(next) {
            return Err("not the next generation");
        }
        let connecting = matches!(op, Op::Connect { .. });
        let stage = if connecting { Stage::Connecting } else { Stage::Connected };
        *self = Self { generation: Some(slot.generation), stage, ..Self::default() };
        Ok(())
    }

    fn operate(&mut self, slot: Slot, op: &Op) -> Result<(), &'static str> {
        if self.stage == Stage::Vacant || self.generation != Some(slot.generation) {
            return Err("a slot that is closed");
        }
        match (self.stage, op) {
            (Stage::Closing, _) => return Err("an operation after Close"),
            (_, Op::Close) => self.stage = Stage::Closing,
            (Stage::Connecting, _) => return Err("an operation before Connected"),
            (Stage::Failed, _) => return Err("an operation after ConnectFailed"),
            (_, Op::Receive(_) | Op::Discard { .. }) => return self.receive(op),
            (_, Op::Send { span, confirm }) => {
                if self.confirming {
                    return Err("a send while a confirmed send is in flight");
                }
                if span.bytes == 0 {
                    return Err("a send of nothing");
                }
                self.confirming = *confirm == Confirm::Always;
            }
            _ => {}
        }
        Ok(())
    }

    fn receive(&mut self, op: &Op) -> Result<(), &'static str> {
        if self.receiving {
            return Err("two receives in flight");
        }
        if self.ended {
            return Err("a receive after the final end");
        }
        if matches!(op, Op::Discard { bytes: 0 }) {
            return Err("a discard of nothing");
        }
        self.receiving = true;
        Ok(())
    }

    fn tell(&mut self, event: &Event, confirmed: bool) {
        let connecting = self.stage == Stage::Connecting;
        match event {
            Event::Connected if connecting => self.stage = Stage::Connected,
            Event::ConnectFailed(_) if connecting => self.stage = Stage::Failed,
            Event::Sent | Event::SendFailed(_) => self.confirming &= !confirmed,
            Event::Received(_, Armed::No) | Event::Discarded(_) => self.receiving = false,
            Event::ReceiveEnded(end) => {
                self.receiving = false;
                self.ended |= matches!(end, End::Eof | End::Failed(_));
            }
            Event::Closed => {
                let generation = self.generation;
                *self = Self { generation, ..Self::default() };
            }
            _ => {}
        }
    }

    fn pending(&self) -> usize {
        let opening = matches!(self.stage, Stage::Connecting | Stage::Closing);
        usize::from(self.receiving) + usize::from(self.confirming) + usize::from(opening)
    }
}
