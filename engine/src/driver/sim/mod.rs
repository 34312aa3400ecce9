//! The simulated driver: a virtual network on a virtual clock, from one seed. It takes the contract to its limits, and checks that its caller keeps it.
//! Never reads the time, never touches the network; a socket that it is given is only held.
//!
//! | file | what it is |
//! |---|---|
//! | `config` | what goes wrong, and how often |
//! | `peer` | the scripts behind the connections |
//! | `network` | what travels between client and peers |
//! | `kernel` | what operations do, and when that is told |
//! | `socket` | one connection's state |
//! | `buffers` | lent memory |
//! | `agenda` | what happens when |
//! | `random` | where all chance comes from |
//! | `rules` | what the caller must not do |
//! | `telling` | which completion comes next |
//! | `audit` | what is left at the end, and what was seen on the way |
//!
//! The same [`Config`], world and caller give the same events, told by [`Sim::digest`]. Time passes in [`Driver::wait`] only.

mod agenda;
mod audit;
mod buffers;
mod config;
mod kernel;
mod network;
mod peer;
mod rules;
mod socket;
mod telling;

use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

pub use audit::{Audit, Line, Seen};
pub use config::{BUFFERS_MAX, Config, Faults, Logging, Quirks, Sabotage};
pub use peer::{Act, Peer, Visit};

pub use crate::random::Random;

use super::payload::Spares;
use super::{
    Alarm, Completion, Counters, Driver, Full, Lender, Lent, Op, REAP_MAX, Slot, TemplateId, Wait,
    keep_template,
};
use crate::clock::Instant;
use crate::sys::socket::Blocking;
use agenda::Agenda;
use audit::Log;
use buffers::Buffers;
use network::Travel;
use rules::Rules;
use socket::{Channel, Socket};

/// When a simulation begins. Not zero: an instant that somebody forgot to set shows.
const START_NANOS: u64 = 1_000_000_000;
/// A wait costs this much virtual time, so that a caller that never blocks gets on too.
const WAIT_NANOS: u64 = 1_000;
/// Waits in a row in which nothing could happen, and nothing did, after which the caller spins.
const IDLE_WAITS_MAX: u32 = 1_000;

/// The driver, its network, and who is behind it.
pub struct Sim {
    config: Config,
    clock: Rc<Cell<u64>>,
    random: Random,
    world: Box<dyn FnMut(Visit) -> Box<dyn Peer>>,
    /// Connections established.
    connections: u64,
    agenda: Agenda<Happening>,
    sockets: Vec<Option<Socket>>,
    /// Submitted and not executed.
    queue: VecDeque<(Slot, Op)>,
    /// Operations that the queue takes before the next wait.
    room: usize,
    /// Can be reaped.
    ready: Vec<Told>,
    small: Buffers,
    large: Buffers,
    lender: Lender,
    templates: Vec<Rc<[u8]>>,
    spares: Spares,
    /// Held; nobody wakes a virtual clock.
    wakes: Option<OwnedFd>,
    rules: Rules,
    counters: Counters,
    seen: Seen,
    /// Completions, received pieces and discards told so far: what a [`Sabotage`] counts.
    told: [u64; 3],
    idle_waits: u32,
    log: Log,
}

/// What the agenda holds.
#[derive(Debug)]
enum Happening {
    Tell(Told),
    Travel(Slot, Travel),
}

/// A completion with its place in the order.
#[derive(Debug)]
struct Told {
    completion: Completion,
    channel: Channel,
}

/// The virtual clock of a simulation.
#[derive(Debug, Clone)]
pub struct Clock(Rc<Cell<u64>>);

impl Clock {
    /// The current virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.0.get())
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Sim");
        out.field("seed", &self.config.seed).field("now", &self.clock.get());
        out.field("audit", &self.audit()).finish_non_exhaustive()
    }
}

impl Sim {
    /// Opens a simulation. `world` makes the peer behind each connection that is established.
    #[must_use]
    pub fn open(config: Config, world: impl FnMut(Visit) -> Box<dyn Peer> + 'static) -> Self {
        let slots = config.limits.slots.clamp(1, super::SLOTS_MAX);
        let [small, large] = [config.small_buffers, config.large_buffers]
            .map(|count| count.clamp(1, BUFFERS_MAX) as u16);
        Self {
            clock: Rc::new(Cell::new(START_NANOS)),
            random: Random::new(config.seed),
            world: Box::new(world),
            connections: 0,
            agenda: Agenda::new(),
            sockets: (0..slots).map(|_| None).collect(),
            queue: VecDeque::new(),
            room: config.queue_entries.max(1) as usize,
            ready: Vec::new(),
            small: Buffers::new(0, small, config.small_buffer_bytes.max(1)),
            large: Buffers::new(small, large, config.large_buffer_bytes.max(1)),
            lender: Lender::new(),
            templates: Vec::new(),
            spares: Spares::default(),
            wakes: None,
            rules: Rules::new(slots),
            counters: Counters::default(),
            seen: Seen::default(),
            told: [0; 3],
            idle_waits: 0,
            log: Log::new(config.log),
            config,
        }
    }

    /// The clock, for whoever needs the time of the simulation.
    #[must_use]
    pub fn clock(&self) -> Clock {
        Clock(Rc::clone(&self.clock))
    }

    fn now(&self) -> u64 {
        self.clock.get()
    }

    /// The socket of a slot that is in use.
    fn socket(&mut self, slot: Slot) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(slot.index as usize)?.as_mut()?;
        (socket.generation == slot.generation).then_some(socket)
    }

    /// What breaks at this time.
    fn faults(&self) -> Faults {
        let calm = Duration::from_nanos(self.now() - START_NANOS) >= self.config.storm;
        if calm { Faults::default() } else { self.config.faults }
    }

    /// Whether a fault strikes.
    fn strikes(&mut self, of: impl Fn(&Faults) -> f32) -> bool {
        let probability = of(&self.faults());
        self.random.chance(probability)
    }

    fn travel_at(&mut self, at: u64, slot: Slot, travel: Travel) {
        self.agenda.enter(at, Happening::Travel(slot, travel));
    }

    fn note(&mut self, slot: Slot, what: &'static str, number: u64) {
        self.log.note(Line { at: self.clock.get(), slot, what, number });
    }

    fn execute_queued(&mut self) {
        while let Some((slot, op)) = self.queue.pop_front() {
            self.execute(slot, op);
        }
        let most = u64::from(self.config.queue_entries.max(1));
        let tight = self.random.chance(self.config.quirks.full);
        self.room = if tight { self.random.between(1, most.min(4)) } else { most } as usize;
    }

    /// Lets time pass up to `to`, and everything happen that is due by then, each at its time.
    fn advance(&mut self, to: u64) {
        while let Some(at) = self.agenda.next_at().filter(|at| *at <= to) {
            self.clock.set(at.max(self.now()));
            match self.agenda.take_due(at) {
                Some(Happening::Tell(told)) => self.show(told),
                Some(Happening::Travel(slot, travel)) => self.arrive(slot, travel),
                None => return,
            }
        }
        self.clock.set(to.max(self.now()));
    }

    /// Sleeps until there are completions as asked for, or the time is up.
    fn sleep(&mut self, wait: Wait, start: u64) {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos());
        let after =
            |start: u64, duration| start.saturating_add(nanos(duration).unwrap_or(u64::MAX));
        let (deadline, settled) = (after(start, wait.timeout), after(start, wait.settle));
        loop {
            let now = self.now();
            let some = wait.settle.is_zero() || now < settled;
            let want = if some { wait.completions as usize } else { 1 };
            if self.ready.len() >= want || now >= deadline {
                return;
            }
            let settled = if now < settled { settled } else { u64::MAX };
            let next = self.agenda.next_at().unwrap_or(u64::MAX).min(settled);
            if next.min(deadline) == u64::MAX {
                self.rules.violate("a wait for nothing, without a timeout", Slot::first(0));
                return;
            }
            self.advance(next.min(deadline));
        }
    }
}

impl Driver for Sim {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn blocking(&self) -> Blocking {
        Blocking::Yes
    }

    fn register(&mut self, bytes: Rc<[u8]>) -> io::Result<TemplateId> {
        keep_template(&mut self.templates, bytes)
    }

    fn try_submit(&mut self, slot: Slot, op: Op) -> Result<(), Full> {
        let at_once = self.queue.is_empty() && self.random.chance(self.config.quirks.at_once);
        if !at_once && self.queue.len() >= self.room {
            self.seen.full += 1;
            self.seen.full_closes += u64::from(matches!(op, Op::Close));
            self.rules.refuse(slot, &op);
            return Err(Full { op });
        }
        self.idle_waits = 0;
        if !self.rules.submit(slot, &op) {
            return Ok(());
        }
        if at_once {
            self.execute(slot, op);
        } else {
            self.queue.push_back((slot, op));
        }
        Ok(())
    }

    fn wait(&mut self, wait: Wait) -> io::Result<()> {
        self.counters.waits += 1;
        self.idle_waits += 1;
        if self.idle_waits == IDLE_WAITS_MAX {
            self.rules
                .violate("the caller spins: waits in which nothing can happen", Slot::first(0));
        }
        let start = self.now();
        self.execute_queued();
        self.advance(start + WAIT_NANOS);
        if wait.completions > 0 && !wait.timeout.is_zero() {
            if self.random.chance(self.config.quirks.early_wake) {
                let next = self.agenda.next_at().unwrap_or(0).min(self.now() + WAIT_NANOS * 10);
                self.advance(next);
            } else {
                self.sleep(wait, start);
                self.idle_waits = 0;
            }
            let late = self.random.below(self.config.quirks.oversleep_max.as_nanos() as u64);
            self.advance(self.now() + late);
        }
        Ok(())
    }

    fn reap(&mut self, into: &mut Vec<Completion>) -> usize {
        let before = into.len();
        let most = self.ready.len().min(REAP_MAX) as u64;
        let most = if most == 0 { 0 } else { self.random.part(most, self.config.quirks.partial) };
        // A lost completion does not count: fewer may come, but none only if none are left.
        while ((into.len() - before) as u64) < most {
            let Some(told) = self.take_ready() else { break };
            self.idle_waits = 0;
            self.hand_out(told, into);
        }
        into.len() - before
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.spares.take()
    }

    fn watch(&mut self, wakes: OwnedFd) -> io::Result<()> {
        super::keep_wakes(&mut self.wakes, wakes)
    }

    fn alarm(&mut self) -> io::Result<Alarm> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn bytes(&self, lent: &Lent) -> &[u8] {
        self.lender.check(lent);
        self.small.bytes(lent).or_else(|| self.large.bytes(lent)).unwrap_or_default()
    }

    fn give_back(&mut self, lent: Lent) {
        self.lender.check(&lent);
        if !self.small.give_back(&lent) && !self.large.give_back(&lent) {
            self.rules.violate("a buffer given back that was not lent", Slot::first(0));
        }
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}
