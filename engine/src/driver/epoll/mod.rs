//! The epoll driver: edge-triggered readiness turned into the same completions. The baseline, and the fallback where `io_uring` is forbidden.
//!
//! A request costs one send, one receive and its share of one `epoll_wait`: sockets are added once, sends go straight out, a receive follows readiness and is
//! not repeated after a short read (epoll(7): with edge triggering a short read on a stream means that it is drained). Never polls a socket that is not ready.

mod entry;
mod reading;
mod sending;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use entry::{Entry, Outgoing, Reading, Role};

use super::payload::Spares;
use super::{
    Alarm, Completion, Counters, Driver, End, Event, Full, Lender, Lent, Limits, Op, REAP_MAX,
    Slot, TemplateId, Wait, Window, keep_template,
};
use crate::clock::Instant;
use crate::sys::eventfd::EventFd;
use crate::sys::socket::{self, Blocking};
use crate::sys::{Errno, epoll as calls};

/// Readiness events taken from one `epoll_wait`.
const EVENTS_MAX: usize = 512;
/// Sockets read in one reap: few, so that what a send touches of a socket is still in the cache from the receive before it.
const READS_MAX: usize = 16;
/// The arena that receives fill one after the other: one piece of a large body, or many small responses.
const ARENA_BYTES: usize = 512 << 10;

/// The data of [`Driver::watch`]'s counter: no slot has it, since generations have 24 bits.
const WAKES: u64 = u64::MAX;

/// A driver on one epoll instance, of one thread.
#[derive(Debug)]
pub struct Epoll {
    epoll: calls::Epoll,
    entries: Vec<Option<Entry>>,
    events: Box<[calls::Event]>,
    /// Events of the last wait that have not been looked at: `events[next..count]`.
    next: usize,
    count: usize,
    /// Slots that are readable and want to read.
    ready: VecDeque<u32>,
    /// Completions that did not come from reading: told at the next reap, unless their slot is closed by then.
    told: Vec<Completion>,
    arena: Box<[u8]>,
    arena_used: usize,
    /// Pieces of the arena that are lent.
    lent: u32,
    lender: Lender,
    templates: Vec<Rc<[u8]>>,
    spares: Spares,
    wakes: Option<EventFd>,
    /// Whether the kernel takes timeouts below a millisecond.
    precise: bool,
    /// Whether the last wait was more than a look.
    slept: bool,
    counters: Counters,
}

impl Epoll {
    /// Opens an instance.
    ///
    /// # Errors
    /// `EMFILE`, `ENFILE` or `ENOMEM`.
    pub fn open(limits: Limits) -> io::Result<Self> {
        let slots = limits.slots.clamp(1, super::SLOTS_MAX);
        Ok(Self {
            epoll: calls::Epoll::open()?,
            entries: (0..slots).map(|_| None).collect(),
            events: vec![calls::Event::NONE; EVENTS_MAX].into_boxed_slice(),
            next: 0,
            count: 0,
            ready: VecDeque::with_capacity(slots.min(1024) as usize),
            told: Vec::new(),
            arena: vec![0; ARENA_BYTES].into_boxed_slice(),
            arena_used: 0,
            lent: 0,
            lender: Lender::new(),
            templates: Vec::new(),
            spares: Spares::default(),
            wakes: None,
            precise: true,
            slept: false,
            counters: Counters::default(),
        })
    }

    /// Waits for readiness. A timeout of a millisecond or more is rounded up to whole ones: a timer must not wake the loop before it is due.
    #[inline]
    fn look(&mut self, timeout: Duration) -> Result<usize, Errno> {
        if !timeout.is_zero() && timeout < Duration::from_millis(1) && self.precise {
            match self.epoll.wait_precisely(&mut self.events, timeout) {
                Err(Errno(libc::ENOSYS | libc::EPERM)) => self.precise = false,
                outcome => return outcome,
            }
        }
        let millis = timeout.as_nanos().div_ceil(1_000_000);
        self.epoll.wait(&mut self.events, i32::try_from(millis).unwrap_or(i32::MAX))
    }

    #[inline]
    fn live(entries: &mut [Option<Entry>], slot: Slot) -> Option<&mut Entry> {
        let entry = entries.get_mut(slot.index as usize)?.as_mut()?;
        (entry.generation == slot.generation).then_some(entry)
    }

    fn tell(&mut self, slot: Slot, event: Event) {
        self.told.push(Completion { slot, event });
    }

    /// Takes a socket over and watches it. On an error the slot is taken all the same, until it is closed.
    fn occupy(&mut self, slot: Slot, socket: OwnedFd, role: Role) -> Result<(), Errno> {
        let Some(place) = self.entries.get_mut(slot.index as usize) else {
            debug_assert!(false, "a slot out of range");
            return Err(Errno(libc::EINVAL));
        };
        debug_assert!(place.is_none(), "a slot that is taken");
        self.counters.system_calls += 1;
        let data = u64::from(slot.index) | u64::from(slot.generation) << 32;
        let watched = self.epoll.add(socket.as_fd(), data).map_err(|error| Errno::of(&error));
        // Watched or not, it is there to be closed.
        *place = Some(Entry {
            generation: slot.generation,
            socket,
            role,
            reading: Reading::Nothing,
            readable: false,
            ending: false,
            queued: false,
            resting: false,
            unsent: VecDeque::new(),
        });
        watched
    }

    /// Starts a connect. The socket is watched only after connect(2): before it an unconnected socket reports a hang-up.
    fn connect(&mut self, slot: Slot, socket: OwnedFd, peer: std::net::SocketAddr) {
        self.counters.system_calls += 1;
        let started = socket::connect(&socket, &peer.into());
        let role = if started.is_ok() { Role::Connected } else { Role::Connecting };
        let outcome = match started {
            Ok(()) | Err(Errno(libc::EINPROGRESS | libc::EINTR)) => {
                self.occupy(slot, socket, role).and(started)
            }
            Err(errno) => {
                let occupied = self.occupy(slot, socket, Role::Connected);
                occupied.and(Err(errno))
            }
        };
        match outcome {
            Ok(()) => self.tell(slot, Event::Connected),
            Err(Errno(libc::EINPROGRESS | libc::EINTR)) => {}
            Err(errno) => self.tell(slot, Event::ConnectFailed(errno)),
        }
    }

    /// Sets what the reader wants, and queues the slot if there is something to read already.
    fn read(&mut self, slot: Slot, reading: Reading) {
        let Some(entry) = Self::live(&mut self.entries, slot) else { return };
        debug_assert!(entry.reading == Reading::Nothing, "one receive at a time");
        entry.reading = reading;
        if entry.readable && !entry.queued {
            entry.queued = true;
            self.ready.push_back(slot.index);
        }
    }

    /// No edge comes for those who wait at a listener already.
    fn look_again(&mut self, slot: Slot) {
        let Some(entry) = Self::live(&mut self.entries, slot) else { return };
        entry.resting = false;
        if entry.readable && !entry.queued {
            entry.queued = true;
            self.ready.push_back(slot.index);
        }
    }

    fn stop(&mut self, slot: Slot) {
        let Some(entry) = Self::live(&mut self.entries, slot) else { return };
        if std::mem::replace(&mut entry.reading, Reading::Nothing) != Reading::Nothing {
            self.tell(slot, Event::ReceiveEnded(End::Stopped));
        }
    }

    fn reset_on_close(&mut self, slot: Slot) {
        let Some(entry) = Self::live(&mut self.entries, slot) else { return };
        self.counters.system_calls += 1;
        // A socket that refuses has been reset already.
        let _ = socket::reset_on_close(&entry.socket);
    }

    fn close(&mut self, slot: Slot) {
        if Self::live(&mut self.entries, slot).is_none() {
            return;
        }
        self.counters.system_calls += 1;
        if let Some(entry) = self.entries[slot.index as usize].take() {
            entry.unsent.into_iter().for_each(|unsent| self.let_go(unsent.what));
        }
        self.tell(slot, Event::Closed);
    }

    /// Turns the events of the last wait into queued reads, finished connects and continued sends.
    fn sort_events(&mut self) {
        while self.next < self.count {
            let event = self.events[self.next];
            self.next += 1;
            let data = event.data();
            if data == WAKES {
                self.counters.system_calls += 1;
                self.wakes.as_ref().map(EventFd::drain);
                continue;
            }
            let slot = Slot { index: data as u32, generation: (data >> 32) as u32 };
            let Some(entry) = Self::live(&mut self.entries, slot) else { continue };
            let entry = match entry.role {
                Role::Connecting if event.writable() => {
                    self.finish_connect(slot);
                    // What came right behind the connection shows in the same edge.
                    let Some(entry) = Self::live(&mut self.entries, slot) else { continue };
                    entry
                }
                Role::Connecting => continue,
                _ => entry,
            };
            if event.readable() {
                entry.readable = true;
                entry.ending |= event.ending();
                let accepts = entry.role == Role::Listening && !entry.resting;
                let wanted = entry.reading != Reading::Nothing || accepts;
                if wanted && !entry.queued {
                    entry.queued = true;
                    self.ready.push_back(slot.index);
                }
            }
            if !entry.unsent.is_empty() && event.writable() {
                self.send_rest(slot);
            }
        }
    }

    fn finish_connect(&mut self, slot: Slot) {
        let Some(entry) = Self::live(&mut self.entries, slot) else { return };
        self.counters.system_calls += 1;
        entry.role = Role::Connected;
        match socket::take_error(&entry.socket) {
            Ok(()) => self.tell(slot, Event::Connected),
            Err(errno) => self.tell(slot, Event::ConnectFailed(errno)),
        }
    }
}

impl Driver for Epoll {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn blocking(&self) -> Blocking {
        Blocking::No
    }

    fn register(&mut self, bytes: Rc<[u8]>) -> io::Result<TemplateId> {
        keep_template(&mut self.templates, bytes)
    }

    #[inline]
    fn try_submit(&mut self, slot: Slot, op: Op) -> Result<(), Full> {
        match op {
            Op::Send { span, confirm } => self.send(slot, Outgoing::Span(span), confirm),
            Op::SendBytes { bytes, confirm } => self.send(slot, Outgoing::Bytes(bytes), confirm),
            Op::Receive(Window::Stream) => self.read(slot, Reading::Stream),
            Op::Receive(Window::Once | Window::Bulk) => self.read(slot, Reading::Once),
            Op::Discard { bytes } => self.read(slot, Reading::Discard(bytes)),
            Op::Accept => self.look_again(slot),
            Op::Stop => self.stop(slot),
            Op::ResetOnClose => self.reset_on_close(slot),
            Op::Close => self.close(slot),
            Op::Connect { socket, peer } => self.connect(slot, socket, peer),
            Op::Adopt { socket } => {
                if let Err(errno) = self.occupy(slot, socket, Role::Connected) {
                    self.tell(slot, Event::ReceiveEnded(End::Failed(errno)));
                }
            }
            Op::Listen { socket } => {
                if let Err(errno) = self.occupy(slot, socket, Role::Listening) {
                    self.tell(slot, Event::AcceptFailed(errno));
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn wait(&mut self, wait: Wait) -> io::Result<()> {
        // A look that nobody reaped after is not lost.
        self.sort_events();
        self.next = 0;
        let pending = !self.ready.is_empty() || !self.told.is_empty();
        // What was to be sent has been.
        let spent = wait.since.map_or(Duration::ZERO, |since| Instant::now() - since);
        let left = wait.timeout.saturating_sub(spent);
        let timeout = if wait.completions == 0 || pending { Duration::ZERO } else { left };
        self.counters.system_calls += 1;
        self.counters.waits += 1;
        self.slept = !timeout.is_zero();
        match self.look(timeout) {
            Ok(count) => self.count = count,
            // A signal hides what there is: it may be old by now.
            Err(Errno(libc::EINTR)) => self.count = self.look(Duration::ZERO).unwrap_or(0),
            Err(Errno(errno)) => return Err(io::Error::from_raw_os_error(errno)),
        }
        Ok(())
    }

    fn has_more(&mut self) -> bool {
        // It may be long since the sleep ended, where the process was stopped just then.
        self.slept
    }

    #[inline]
    fn reap(&mut self, into: &mut Vec<Completion>) -> usize {
        let before = into.len();
        self.sort_events();
        let told = self.told.len().min(REAP_MAX);
        let entries = &mut self.entries;
        // What was told of a slot that has been closed since must not come after `Closed`; buffers of it don't exist, since only reading lends.
        into.extend(self.told.drain(..told).filter(|Completion { slot, event }| {
            let is_known = entries.len() > slot.index as usize;
            matches!(event, Event::Closed) || !is_known || Self::live(entries, *slot).is_some()
        }));
        while into.len() - before < READS_MAX && self.read_one(into) {}
        self.counters.completions += (into.len() - before) as u64;
        into.len() - before
    }

    #[inline]
    fn buffer(&mut self) -> Vec<u8> {
        self.spares.take()
    }

    fn watch(&mut self, wakes: OwnedFd) -> io::Result<()> {
        super::keep_wakes(&mut self.wakes, wakes.into())?;
        self.counters.system_calls += 1;
        let watched = self.wakes.as_ref().map(|wakes| self.epoll.add_reader(wakes.as_fd(), WAKES));
        watched.unwrap_or(Ok(())).inspect_err(|_| self.wakes = None)
    }

    fn alarm(&mut self) -> io::Result<Alarm> {
        self.epoll.as_fd().try_clone_to_owned().map(Alarm::Readable)
    }

    fn acknowledged(&mut self, slot: Slot) -> Option<u64> {
        self.counters.system_calls += 1;
        socket::acknowledged(&Self::live(&mut self.entries, slot)?.socket)
    }

    #[inline]
    fn bytes(&self, lent: &Lent) -> &[u8] {
        self.lender.check(lent);
        let start = lent.start as usize;
        self.arena.get(start..start + lent.bytes as usize).unwrap_or_default()
    }

    #[inline]
    fn give_back(&mut self, lent: Lent) {
        self.lender.check(&lent);
        debug_assert!(self.lent > 0, "a buffer that was not lent: {lent:?}");
        self.lent = self.lent.saturating_sub(1);
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}
