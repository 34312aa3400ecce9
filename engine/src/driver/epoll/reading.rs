//! Reading what is ready: receives, discards and accepts, each one call for each readiness. Never waits.

use std::os::fd::AsFd;

use super::entry::{Reading, Role};
use super::{ARENA_BYTES, Epoll};
use crate::driver::{Armed, Completion, Event, REAP_MAX, Slot};
use crate::sys::{Errno, epoll as calls, socket};

/// Room that a receive must have: with less the arena is used up until its pieces are given back.
const ROOM_BYTES: usize = 64 << 10;
/// The most that one receive asks for.
const RECEIVE_BYTES_MAX: usize = 256 << 10;
/// The most that one discard asks for.
const DISCARD_BYTES_MAX: u64 = 1 << 30;

impl Epoll {
    /// Reads one piece of a queued slot. `false` if the arena is used up.
    #[inline]
    pub(super) fn read_one(&mut self, into: &mut Vec<Completion>) -> bool {
        if self.lent == 0 {
            self.arena_used = 0;
        }
        if ARENA_BYTES - self.arena_used < ROOM_BYTES {
            return false;
        }
        let Some(index) = self.ready.pop_front() else { return false };
        let Some(entry) = self.entries.get_mut(index as usize).and_then(Option::as_mut) else {
            return true;
        };
        entry.queued = false;
        let slot = Slot { index, generation: entry.generation };
        if entry.role == Role::Listening {
            self.accept(slot, into);
            return true;
        }
        self.counters.system_calls += 1;
        let start = self.arena_used;
        let event = match entry.reading {
            Reading::Nothing => {
                self.counters.system_calls -= 1;
                return true;
            }
            Reading::Discard(bytes) => {
                let asked = bytes.min(DISCARD_BYTES_MAX) as usize;
                let outcome = calls::discard(entry.socket.as_fd(), asked);
                // It never reads beyond the body: only the kernel knows whether that was all.
                let drained = outcome == Ok(asked) && !entry.ending && {
                    self.counters.system_calls += 1;
                    calls::readable_bytes(entry.socket.as_fd()) == Ok(0)
                };
                entry.after_read(outcome, asked).map(|taken| {
                    entry.readable &= !drained;
                    Event::Discarded { bytes: taken as u64, has_more: entry.readable }
                })
            }
            Reading::Stream | Reading::Once => {
                let room = (ARENA_BYTES - start).min(RECEIVE_BYTES_MAX);
                let outcome =
                    calls::receive(entry.socket.as_fd(), &mut self.arena[start..start + room]);
                entry.after_read(outcome, room).map(|taken| {
                    self.arena_used += taken;
                    self.lent += 1;
                    let has_more = entry.readable;
                    let (start, bytes) = (start as u32, taken as u32);
                    let lent = self.lender.lend(0, start, bytes, has_more);
                    let stream = entry.reading == Reading::Stream;
                    Event::Received(lent, if stream { Armed::Yes } else { Armed::No })
                })
            }
        };
        let event = match event {
            Ok(event) => event,
            // Nothing was there after all: the next edge queues the slot again.
            Err(None) => return true,
            Err(Some(end)) => Event::ReceiveEnded(end),
        };
        if !matches!(event, Event::Received(_, Armed::Yes)) {
            entry.reading = Reading::Nothing;
        } else if entry.readable {
            entry.queued = true;
            self.ready.push_back(index);
        }
        into.push(Completion { slot, event });
        true
    }

    /// Accepts all that is waiting.
    fn accept(&mut self, slot: Slot, into: &mut Vec<Completion>) {
        while let Some(entry) = Self::live(&mut self.entries, slot) {
            self.counters.system_calls += 1;
            let event = match socket::accept(&entry.socket) {
                Ok(socket) => Event::Accepted(socket),
                Err(Errno(libc::EAGAIN)) => {
                    entry.readable = false;
                    return;
                }
                Err(Errno(libc::ECONNABORTED | libc::EINTR)) => continue,
                Err(errno) => {
                    entry.resting = true;
                    Event::AcceptFailed(errno)
                }
            };
            let failed = matches!(event, Event::AcceptFailed(_));
            into.push(Completion { slot, event });
            if failed {
                return;
            }
            if into.len() >= REAP_MAX {
                // Looked at again in the next turn.
                self.look_again(slot);
                return;
            }
        }
    }
}
