//! Handing completions out: in any order that the contract allows, spoilt where a check is to find it.

use super::socket::{Channel, Phase};
use super::{Sabotage, Sim, Told, audit};
use crate::driver::{Completion, Event};

impl Sim {
    /// Picks any completion that may be next: the first of its channel, and `Closed` only when it is the slot's last.
    pub(super) fn take_ready(&mut self) -> Option<Told> {
        if self.ready.is_empty() {
            return None;
        }
        let drawn = self.random.below(self.ready.len() as u64) as usize;
        let Told { completion: Completion { slot, .. }, channel } = self.ready[drawn];
        let of_slot = |told: &Told| told.completion.slot == slot;
        let closing = channel == Channel::Close;
        let first = self
            .ready
            .iter()
            .position(|told| of_slot(told) && (closing || told.channel == channel));
        Some(self.ready.remove(first.unwrap_or(drawn)))
    }

    /// Hands a completion to the caller.
    pub(super) fn hand_out(&mut self, told: Told, into: &mut Vec<Completion>) {
        let Told { mut completion, channel } = told;
        if self.sabotage(&mut completion) {
            self.drop_unseen(&completion);
            return;
        }
        let slot = completion.slot;
        let (what, number) = audit::words(&completion.event);
        self.note(slot, what, number);
        self.rules.tell(&completion, channel == Channel::Send);
        match &completion.event {
            Event::Received(lent, _) => {
                self.small.hand_out(lent);
                self.large.hand_out(lent);
            }
            Event::Closed => self.sockets[slot.index as usize] = None,
            _ => {}
        }
        if self.socket(slot).is_some_and(|it| it.phase == Phase::Closing) {
            self.seen.afterlives += 1;
        }
        self.counters.completions += 1;
        into.push(completion);
    }

    /// The driver's own bug: `true` if the completion is lost.
    fn sabotage(&mut self, completion: &mut Completion) -> bool {
        let [all, pieces, discards] = self.told;
        self.told[0] += 1;
        match (&mut completion.event, self.config.sabotage) {
            (_, Some(Sabotage::Lose(which))) => return which == all,
            (Event::Received(lent, _), sabotage) => {
                self.told[1] += 1;
                if sabotage == Some(Sabotage::Corrupt(pieces)) {
                    self.small.corrupt(lent);
                    self.large.corrupt(lent);
                }
            }
            (Event::Discarded { bytes, .. }, sabotage) => {
                self.told[2] += 1;
                *bytes += u64::from(sabotage == Some(Sabotage::Miscount(discards)));
            }
            _ => {}
        }
        false
    }

    /// A completion that nobody will see: its buffer goes back.
    pub(super) fn drop_unseen(&mut self, completion: &Completion) {
        if let Event::Received(lent, _) = &completion.event {
            let _ = self.small.drop_unseen(lent) || self.large.drop_unseen(lent);
        }
    }
}
