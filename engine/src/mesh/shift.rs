//! A core at work: its mailbox, its turns, and how it ends. Opens nothing.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use super::wakes::{GRACE, Wakes};
use super::{OnStall, Seat, mailbox};
use crate::clock::Instant;
use crate::driver::{Alarm, Driver};
use crate::host::Turn;
use crate::shard::Holding;
use crate::shard::core::{Core, Inbox};
use crate::shard::doorbell::Doorbell;

/// A core's mailbox with whoever opens its notes.
pub(super) struct Post<M> {
    pub(super) index: u32,
    pub(super) seats: Arc<[Seat<M>]>,
    pub(super) attend: Box<dyn FnMut(M)>,
}

impl<M> Drop for Post<M> {
    fn drop(&mut self) {
        self.seats[self.index as usize].mailbox.close();
    }
}

impl<M> Inbox for Post<M> {
    #[inline]
    fn drain(&mut self) -> bool {
        let mailbox = &self.seats[self.index as usize].mailbox;
        let mut any = false;
        // As many as were there: those who push meanwhile wait for the next turn.
        for _ in 0..mailbox::MAILBOX_NOTES_MAX {
            let Some(note) = mailbox.pop() else { break };
            any = true;
            (self.attend)(note);
        }
        if any {
            mailbox.made_room();
        }
        any
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.seats[self.index as usize].mailbox.is_empty()
    }
}

/// How long closing connections may take before the driver is closed over them.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// Turns for tasks once all is closed: a task that never rests does not keep its core.
pub(super) const LAST_TURNS_MAX: u32 = 16;

/// A core at work.
pub(crate) struct Shift<D: Driver, M> {
    pub(super) core: Core<D>,
    pub(super) post: Post<M>,
    /// Whom to wake elsewhere.
    pub(super) wakes: Rc<Wakes>,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) on_stall: Option<OnStall>,
    /// When closing is given up.
    pub(super) closing: Option<Instant>,
    /// Turns that are left for tasks once all is closed.
    pub(super) last_turns: u32,
}

impl<D: Driver, M> Shift<D, M> {
    pub(crate) fn core(&self) -> &Core<D> {
        &self.core
    }

    /// [`Turn::turn`] by a clock of the caller's.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub(crate) fn turn_by(
        &mut self,
        max_block: Duration,
        clock: &mut impl FnMut() -> Instant,
    ) -> io::Result<bool> {
        self.core.work(&mut self.post, clock)?;
        // Before the wait: a core that sleeps is seen as it is. And before the wake-ups: whoever has its response finds it counted.
        self.publish();
        // They begin while this submits and waits.
        let owes = self.wakes.flush(self.core.worked_until());
        let max_block = if owes { max_block.min(GRACE) } else { max_block };
        // Once it is closed nothing wakes it any more.
        let max_block = match self.closing {
            None => max_block,
            Some(_) if self.core.pool().is_closed() => Duration::ZERO,
            Some(deadline) => max_block.min(deadline - clock()),
        };
        self.core.wait(max_block, &self.post, clock)?;
        match self.closing {
            None => {
                if self.stop.load(Ordering::Relaxed) {
                    self.core.pool_mut().close();
                    self.closing = Some(clock() + CLOSE_MAX);
                }
                Ok(true)
            }
            Some(deadline) => {
                self.publish();
                Ok(self.has_more_to_do() && clock() < deadline)
            }
        }
    }

    /// Whether a core that closes has connections still, or tasks that were told of the end and have not told others.
    fn has_more_to_do(&mut self) -> bool {
        if !self.core.pool().is_closed() {
            return true;
        }
        self.last_turns = self.last_turns.saturating_sub(1);
        self.last_turns > 0 && self.core.tasks().has_ready()
    }

    #[inline]
    fn publish(&mut self) {
        self.publish_with(self.core.pool().holding(), self.core.tasks().live());
    }

    #[inline]
    fn publish_with(&mut self, holding: Holding, live: usize) {
        let seat = &self.post.seats[self.post.index as usize];
        let (counters, stalls) = (self.core.pool().counters(), self.core.tasks().stalls());
        let (core, kept) = (seat.core, self.core.kept());
        if seat.gauges.publish(holding, counters, (stalls, live), kept) {
            self.tell_stall(core);
        }
    }

    /// Tells of the longest stall since the last that was told of.
    #[cold]
    fn tell_stall(&mut self, core: usize) {
        let stall = self.core.tasks_mut().take_stall();
        if let Some((stall, tell)) = stall.zip(self.on_stall.as_ref()) {
            // The core is others' too: what the closure panics with ends here.
            let told = catch_unwind(AssertUnwindSafe(|| (tell.0)(core, stall)));
            let _ = told.map_err(std::mem::forget);
        }
    }
}

impl<D: Driver, M> Drop for Shift<D, M> {
    /// Nobody else serves what was brought here: a core that ends, be it that its driver is lost or its executor gone, ends the engine.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if self.closing.is_none() {
            self.core.pool_mut().close();
        }
        // What is left goes with the core.
        self.core.pool_mut().abandon();
        self.publish_with(Holding::default(), 0);
        self.post.seats.iter().for_each(|seat| seat.bell.ring());
    }
}

impl<D: Driver, M> Turn for Shift<D, M> {
    #[inline]
    fn turn(&mut self, max_block: Duration) -> io::Result<bool> {
        self.turn_by(max_block, &mut Instant::now)
    }

    fn pause(&mut self) {
        self.core.pause();
    }

    fn resume(&mut self) {
        self.core.resume(Instant::now());
    }

    fn is_quiet(&self) -> bool {
        self.core.holds_nothing() && self.only_waits()
    }

    fn only_waits(&self) -> bool {
        self.closing.is_none()
            && self.core.only_waits()
            && self.post.is_empty()
            && !self.wakes.owes()
    }

    fn next_deadline(&self) -> Instant {
        self.core.pool().next_deadline()
    }

    fn alarm(&mut self) -> io::Result<Alarm> {
        self.core.pool_mut().driver_mut().alarm()
    }

    fn bell(&self) -> &Arc<Doorbell> {
        self.core.bell()
    }

    fn kick_with(&self, waker: &Waker) {
        self.core.desk().kick_with(waker);
    }
}
