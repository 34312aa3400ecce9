//! The `io_uring` driver: one ring, one `io_uring_enter` a turn, multishot receives from a buffer ring. Never retries, never parses.
//!
//! A request costs one submission (a send that completes only if it fails), one completion (a piece of a receive armed once for the connection's life), and
//! its share of one enter. What can go wrong is told by the completion's flags: see [`reap`](Uring::reap) and `docs/kernel-support.md`.

mod buf_ring;
mod closing;
mod in_flight;
mod outbox;
mod prep;
mod reaping;
mod receiving;
mod sending;
mod sentry;
mod setup;
mod waking;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use io_uring::IoUring;
use io_uring::types::{SubmitArgs, Timespec};

pub use setup::{Config, Descriptors, Tier};
pub(super) use setup::{has_absolute_waits, patiently};

use super::{
    Alarm, Completion, Counters, Driver, Event, Full, Kind, Lender, Lent, Op, SMALL_PIECE_BYTES,
    Slot, TemplateId, Token, Wait,
};
use crate::clock::Instant;
use crate::sys::Errno;
use crate::sys::eventfd::EventFd;
use crate::sys::socket::{self, Blocking};
use buf_ring::BufRing;
use in_flight::{Entry, InFlight};
use outbox::Outboxes;
use prep::{Sqe, Target};
use sentry::Sentries;

/// Size of a buffer for [`Bulk`](super::Window::Bulk).
pub const LARGE_BUFFER_BYTES: u32 = 256 << 10;
/// Small buffers: twice the slots that are used, within this range, so that a turn in which every connection answers finds enough.
const SMALL_BUFFERS: std::ops::RangeInclusive<u32> = 256..=4096;

const SMALL: u16 = 0;
const LARGE: u16 = 1;
/// In a [`Lent`]'s `buffer`: it is a large one. The rest is its id, of which a ring of buffers has
/// 15 bits.
const LARGE_BIT: u16 = 1 << 15;

/// A driver on one ring, of one thread.
///
/// What the kernel was asked for has ended before the memory that it was lent is freed: see `end_lending`.
pub struct Uring {
    ring: IoUring,
    in_flight: InFlight,
    small: BufRing,
    large: Option<BufRing>,
    lender: Lender,
    templates: Vec<Rc<[u8]>>,
    outboxes: Outboxes,
    wakes: Option<EventFd>,
    /// The kernel has stopped to tell wakes.
    deaf: bool,
    /// Waits may end at a point in time (`IORING_ENTER_ABS_TIMER`, 6.12).
    absolute: bool,
    sentries: Sentries,
    /// Counts the times that all of the queue was submitted; from one on.
    batch: u64,
    /// Slots that are being closed and whose cancellation is over: nothing of them should be pending.
    lingering: Vec<Slot>,
    alarm: Option<EventFd>,
    /// Something is to be done before the next enter: see [`Uring::attend`].
    attention: bool,
    /// Completions that were reaped before an enter: told first at the next reap.
    told: Vec<Completion>,
    tier: Tier,
    descriptors: Descriptors,
    /// Slots whose `Closed` is to be told at the next reap.
    closed: Vec<Slot>,
    counters: Counters,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counters = &self.counters;
        f.debug_struct("Uring")
            .field("tier", &self.tier)
            .field("counters", counters)
            .finish_non_exhaustive()
    }
}

impl Uring {
    /// Opens a ring for the calling thread, which must be the one that uses it.
    ///
    /// # Errors
    /// `ENOSYS` or `EPERM` where `io_uring` is missing or forbidden (see [`super::probe`]), `ENOMEM`, `EINVAL` before Linux 5.19.
    pub fn open(config: Config) -> io::Result<Self> {
        patiently(|| Self::open_once(config))
    }

    fn open_once(config: Config) -> io::Result<Self> {
        let slots = config.limits.slots.clamp(1, super::SLOTS_MAX);
        let (mut ring, tier) = setup::open(config.tier, slots)?;
        let absolute = tier >= Tier::MinWait && has_absolute_waits(&mut ring);
        let buffers = (slots.saturating_mul(2)).clamp(*SMALL_BUFFERS.start(), *SMALL_BUFFERS.end());
        let buffers = buffers.next_power_of_two() as u16;
        let counts = (buffers, *SMALL_BUFFERS.start() as u16);
        let small = BufRing::register(&ring, SMALL, counts, SMALL_PIECE_BYTES)?;
        // Before 6.0 what is in flight can't be cancelled by a fixed descriptor (IORING_ASYNC_CANCEL_FD_FIXED): a close would never end.
        let fixed = config.descriptors == Descriptors::Fixed
            && tier >= Tier::Multishot
            && ring.submitter().register_files_sparse(slots).is_ok();
        let descriptors = if fixed { Descriptors::Fixed } else { Descriptors::Plain };
        Ok(Self {
            ring,
            in_flight: InFlight::new(slots),
            small,
            large: None,
            lender: Lender::new(),
            templates: Vec::new(),
            outboxes: Outboxes::new(slots),
            wakes: None,
            deaf: false,
            absolute,
            sentries: Sentries::default(),
            batch: 1,
            lingering: Vec::new(),
            alarm: None,
            attention: false,
            told: Vec::new(),
            tier,
            descriptors,
            closed: Vec::new(),
            counters: Counters::default(),
        })
    }

    /// The tier that the kernel gave.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Queues an entry, submitting what is queued if there is no room. `Err` if there is none even then.
    #[inline]
    fn push(&mut self, sqe: &Sqe) -> Result<(), ()> {
        // SAFETY: whatever memory it names is lent by whoever built it (`prep`), and the
        // buffer rings live as long as the driver. Its end: `end_lending`.
        if unsafe { self.ring.submission().push(sqe.entry()) }.is_ok() {
            return Ok(());
        }
        self.counters.system_calls += 1;
        // Receives that starve at once and are asked for again within one reaping would starve for ever.
        self.publish();
        // An error here shows as a queue that is still full.
        let _ = self.ring.submit();
        // SAFETY: as above.
        unsafe { self.ring.submission().push(sqe.entry()) }.map_err(|_| ())
    }

    /// Shows the kernel the buffers that were given back.
    #[inline]
    fn publish(&self) {
        self.small.publish();
        if let Some(large) = &self.large {
            large.publish();
        }
    }

    #[inline]
    fn target(descriptors: Descriptors, slot: Slot, entry: &Entry) -> Target {
        match descriptors {
            Descriptors::Fixed => Target::Fixed(slot.index),
            Descriptors::Plain => Target::Plain(entry.raw()),
        }
    }

    fn started(&mut self, slot: Slot, receive: Option<Kind>) {
        if let Some(entry) = self.in_flight.live(slot) {
            entry.started();
            entry.receive = receive.or(entry.receive);
        }
    }

    /// Takes a socket over. Where the file table refuses it, the slot is taken all the same, until it is closed.
    fn occupy(&mut self, slot: Slot, socket: OwnedFd) -> Result<(), Errno> {
        // Slots are numbered from below: the index tells how many are used at once.
        self.small.provide((slot.index + 1).saturating_mul(2));
        let raw = socket.as_raw_fd();
        if self.in_flight.occupy(slot, socket).is_err() {
            debug_assert!(false, "a slot that is taken");
            return Err(Errno(libc::EINVAL));
        }
        if self.descriptors == Descriptors::Fixed {
            self.counters.system_calls += 1;
            let updated = self.ring.submitter().register_files_update(slot.index, &[raw]);
            updated.map_err(|error| Errno::of(&error))?;
        }
        Ok(())
    }

    /// Connects the socket, or tells at the next reap why it can't.
    fn connect(
        &mut self,
        slot: Slot,
        socket: OwnedFd,
        peer: std::net::SocketAddr,
    ) -> Result<(), Full> {
        // Room first: a connect must not be half done.
        if self.ring.submission().is_full() {
            self.counters.system_calls += 1;
            let _ = self.ring.submit();
            if self.ring.submission().is_full() {
                return Err(Full { op: Op::Connect { socket, peer } });
            }
        }
        if let Err(errno) = self.occupy(slot, socket) {
            self.told.push(Completion { slot, event: Event::ConnectFailed(errno) });
            return Ok(());
        }
        let descriptors = self.descriptors;
        if let Some(entry) = self.in_flight.live(slot) {
            let target = Self::target(descriptors, slot, entry);
            // SAFETY: the boxed address stays until the connect's completion
            // (in_flight, invariant 4).
            let sqe = unsafe { prep::connect(target, entry.keep_address(peer)) };
            entry.started();
            let pushed = self.push(&sqe.told_as(Token { slot, kind: Kind::Connect }));
            debug_assert!(pushed.is_ok(), "room was made above");
        }
        Ok(())
    }
}

impl Driver for Uring {
    fn name(&self) -> &'static str {
        "io_uring"
    }

    fn blocking(&self) -> Blocking {
        Blocking::Yes
    }

    fn register(&mut self, bytes: Rc<[u8]>) -> io::Result<TemplateId> {
        super::keep_template(&mut self.templates, bytes)
    }

    #[inline]
    fn try_submit(&mut self, slot: Slot, op: Op) -> Result<(), Full> {
        let outcome = match op {
            Op::SendBytes { bytes, confirm } => return self.send_bytes(slot, bytes, confirm),
            Op::Send { span, confirm } => self.send(slot, span, confirm),
            Op::Receive(window) => self.receive(slot, window),
            Op::Discard { bytes } => self.discard(slot, bytes),
            Op::Stop => self.stop(slot),
            Op::ResetOnClose => {
                self.counters.system_calls += u64::from(self.in_flight.reset_on_close(slot));
                return Ok(());
            }
            Op::Close => self.close(slot),
            Op::Connect { socket, peer } => return self.connect(slot, socket, peer),
            Op::Adopt { socket } => {
                // What is asked of a socket that the table refused fails, and says so.
                let _ = self.occupy(slot, socket);
                return Ok(());
            }
            Op::Listen { socket } => {
                if let Err(errno) = self.occupy(slot, socket) {
                    self.told.push(Completion { slot, event: Event::AcceptFailed(errno) });
                } else if self.accept(slot).is_err() {
                    let event = Event::AcceptFailed(Errno(libc::EBUSY));
                    self.told.push(Completion { slot, event });
                }
                return Ok(());
            }
            Op::Accept => self.accept(slot),
        };
        outcome.map_err(|()| Full { op })
    }

    #[inline]
    fn wait(&mut self, wait: Wait) -> io::Result<()> {
        self.publish();
        if self.attention {
            self.attend();
        }
        let deadline = wait.since.map(|since| since + wait.timeout);
        let timeout = timespec(match deadline {
            None => wait.timeout,
            Some(deadline) if self.absolute => deadline - Instant::default(),
            // What is submitted below still comes on top.
            Some(deadline) => deadline - Instant::now(),
        });
        let mut args = SubmitArgs::new().timespec(&timeout);
        let mut want = wait.completions.min(1);
        if self.attention || !self.told.is_empty() || !self.closed.is_empty() {
            want = 0;
        } else if wait.completions > 1 && !wait.settle.is_zero() && self.tier == Tier::MinWait {
            want = wait.completions;
            args = args.min_wait_usec(wait.settle.as_micros() as u32);
        }
        if self.ring.submission().cq_overflow() {
            self.counters.queue_overflows += 1;
        }
        self.counters.system_calls += 1;
        self.counters.waits += 1;
        let entered = match deadline {
            Some(_) if self.absolute => setup::submit_until(&mut self.ring, want, &args),
            _ => self.ring.submitter().submit_with_args(want as usize, &args),
        };
        self.note_submitted();
        match entered {
            Ok(_) => Ok(()),
            // ETIME: time is up. EINTR: a signal. EBUSY, EAGAIN, ENOMEM: reap, then try again.
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN | libc::ENOMEM) => {
                    Ok(())
                }
                _ => Err(error),
            },
        }
    }

    fn has_more(&mut self) -> bool {
        // An enter runs some twenty pieces of deferred work (6.18), and one that a signal interrupts runs none.
        self.ring.submission().taskrun()
    }

    #[inline]
    fn reap(&mut self, into: &mut Vec<Completion>) -> usize {
        if !self.told.is_empty() {
            return self.reap_told(into);
        }
        self.reap_some(into)
    }

    #[inline]
    fn buffer(&mut self) -> Vec<u8> {
        self.outboxes.spares.take()
    }

    fn watch(&mut self, wakes: OwnedFd) -> io::Result<()> {
        self.watch_counter(wakes.into())
    }

    fn alarm(&mut self) -> io::Result<Alarm> {
        self.alarm_counter().map(Alarm::Counter)
    }

    fn acknowledged(&mut self, slot: Slot) -> Option<u64> {
        self.counters.system_calls += 1;
        socket::acknowledged(self.in_flight.live(slot)?.socket.as_ref()?)
    }

    #[inline]
    fn bytes(&self, lent: &Lent) -> &[u8] {
        self.lender.check(lent);
        let id = lent.buffer & !LARGE_BIT;
        if lent.buffer & LARGE_BIT != 0 {
            return self.large.as_ref().map_or(&[], |large| large.slice(id, lent.bytes));
        }
        self.small.slice(id, lent.bytes)
    }

    #[inline]
    fn give_back(&mut self, lent: Lent) {
        self.lender.check(&lent);
        let id = lent.buffer & !LARGE_BIT;
        if lent.buffer & LARGE_BIT != 0 {
            if let Some(large) = &mut self.large {
                large.give_back(id);
            }
        } else {
            self.small.give_back(id);
        }
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec::new().sec(duration.as_secs()).nsec(duration.subsec_nanos())
}
