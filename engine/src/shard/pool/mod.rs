//! The connections of one core, kept by origin, and the requests that use them. Knows no futures but through its [`desk`], resolves no names, starts no threads.
//!
//! | file | what it is |
//! |---|---|
//! | `config` | what a client may use, and what its cores share |
//! | `origin` | the key: scheme, host, port |
//! | `desk` | where futures and the pool meet |
//! | `in_flight` | a future's hold on its request |
//! | `inbox` | bytes of a body that nobody has read yet |
//! | `exchange` | one request and its response: the state graph |
//! | `outgoing` | a request's body |
//! | `connection` | one connection: the state graph |
//! | `counters` | what was counted, and what is held |
//! | `host` | idle connections and waiters of one origin |
//! | `acquire`, `waiters` | permits, connections, who is next, and who is turned away |
//! | `resting` | connections that are free once it is known what stands behind their response |
//! | `units` | what is scarce: who gives it up, and to whom |
//! | `dial`, `attempt` | new connections: names, addresses, happy eyeballs |
//! | `send` | requests out |
//! | `receive` | responses in |
//! | `end` | how connections and exchanges end, and what is tried again |
//! | `expiry` | what time ends |
//! | `head` | response heads as clients keep them |
//! | `asked` | what futures ask of it, and what it asks of the resolver |
//! | `slab`, `list` | places that are used again, and lists of them |

mod acquire;
pub(crate) mod asked;
mod attempt;
pub(crate) mod config;
mod connection;
mod counters;
pub(crate) mod desk;
mod dial;
mod end;
pub(crate) mod exchange;
mod expiry;
pub(crate) mod head;
mod host;
pub(crate) mod in_flight;
mod inbox;
mod list;
pub(crate) mod origin;
pub(crate) mod outgoing;
mod receive;
mod resting;
mod send;
pub(crate) mod slab;
mod units;
mod waiters;
mod yielding;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use counters::{Holding, PoolCounters};
pub use dial::ATTEMPT_DELAY;
pub use end::{DRAIN_BYTES_MAX, DRAIN_TIME_MAX};

use crate::clock::Instant;
use crate::driver::{Completion, Driver, Event, Op, Slot, Wait};
use crate::error::Kind;
use crate::proto::h1;
use crate::shard::backlog::Backlog;
use crate::shard::intake::{self, Intake, Lateness};
use asked::{Ask, Asked, Command, Lookup};
use config::Shared;
use connection::Connection;
use desk::Desk;
use dial::Dial;
use end::Held;
use head::Head;
use host::{Hosts, Member, Presence};
use list::Links;
use resting::Resting;
use slab::Slab;

/// The connections of one core on one driver.
#[derive(Debug)]
pub(crate) struct Pool<D: Driver> {
    driver: D,
    desk: Rc<Desk>,
    core: u32,
    connections: Vec<Connection>,
    free: Vec<u32>,
    slots: u32,
    /// The clients, by their number on this core.
    members: Vec<Member>,
    /// The first whose turn it is at what was scarce.
    first_member: u32,
    hosts: Hosts,
    dials: Slab<Dial>,
    /// Exchanges in a queue or among waiters.
    waiting: Links,
    /// Dials in their host's list.
    dialing: Links,
    /// Idle connections in their host's list, and in their client's.
    idle_of_host: Links,
    idle_of_member: Links,
    /// Connections whose response is complete, and which are not free yet.
    resting: Vec<Resting>,
    lateness: Lateness,
    /// How often completions were reaped.
    reaps: u64,
    /// Memory for [`Member::blocked`] while it is gone through.
    unblocking: Vec<u32>,
    memo: h1::HeadMemo,
    /// The head that came last: most are the same.
    last_head: Option<Arc<Head>>,
    backlog: Backlog,
    completions: Vec<Completion>,
    asked: Vec<Asked>,
    now: Instant,
    /// When the turn began in whose tasks the present commands were given.
    began: Instant,
    next_id: u64,
    holding: Holding,
    counters: PoolCounters,
}

impl<D: Driver> Pool<D> {
    /// A pool on `driver` with at most `slots` connections.
    pub(crate) fn new(driver: D, slots: u32, core: u32, now: Instant) -> Self {
        Self {
            driver,
            desk: Rc::new(Desk::new(now)),
            core,
            connections: Vec::new(),
            free: Vec::new(),
            slots,
            members: Vec::new(),
            first_member: 0,
            hosts: Hosts::default(),
            dials: Slab::default(),
            waiting: Links::default(),
            dialing: Links::default(),
            idle_of_host: Links::default(),
            idle_of_member: Links::default(),
            resting: Vec::new(),
            lateness: Lateness::default(),
            reaps: 0,
            unblocking: Vec::new(),
            memo: h1::HeadMemo::new(),
            last_head: None,
            backlog: Backlog::default(),
            completions: Vec::with_capacity(2 * crate::driver::REAP_MAX),
            asked: Vec::new(),
            now,
            began: now,
            next_id: 0,
            holding: Holding::default(),
            counters: PoolCounters::default(),
        }
    }

    /// Where its futures meet it.
    pub(crate) fn desk(&self) -> &Rc<Desk> {
        &self.desk
    }

    /// Takes a client in, in a place of its own or in that of one that left.
    fn join(&mut self, client: u32, shared: Arc<Shared>) {
        let member = Member::new(shared, self.core);
        match self.members.get_mut(client as usize) {
            Some(place) => {
                debug_assert_eq!(place.presence, Presence::Left);
                *place = member;
            }
            None => self.members.push(member),
        }
    }

    /// Nobody uses a client any more: what it kept idle is closed.
    fn leave(&mut self, client: u32) {
        self.member(client).presence = Presence::Leaving;
        while let Some(index) = self.member(client).idle.first() {
            self.counters.reaped += 1;
            self.close_connection(index);
        }
        self.vacate(client);
    }

    /// Gives a client's place back, once it is leaving and nothing is left of it.
    fn vacate(&mut self, client: u32) {
        let core = self.core;
        let member = self.member(client);
        if member.presence == Presence::Leaving && member.is_unused() {
            member.presence = Presence::Left;
            // With its permits, which other cores may want.
            member.lease = None;
            member.shared.connections.renounce(core);
            self.desk.want_lookup(Lookup::Left { client });
        }
    }

    /// Forgets a host that nothing is left of.
    fn forget_unused(&mut self, place: u32) {
        if let Some(client) = self.hosts.forget_unused(place, &mut self.members, self.core) {
            self.vacate(client);
        }
    }

    /// Acts on what futures asked for in the turn that `began` then, until `now`. Call it after they ran and before [`Pool::wait`].
    #[inline]
    pub(crate) fn act(&mut self, began: Instant, now: Instant) {
        self.began = began;
        self.set_now(now);
        let mut asked = std::mem::take(&mut self.asked);
        std::mem::swap(&mut asked, &mut *self.desk.asked.borrow_mut());
        asked.drain(..).for_each(|asked| self.handle_asked(asked));
        self.asked = asked;
        self.serve_starving();
    }

    #[inline]
    fn handle_asked(&mut self, asked: Asked) {
        match asked.ask {
            Ask::Start => self.start(asked.id()),
            Ask::Drop => self.drop_exchange(asked.id()),
            Ask::Over => self.count_out(asked.client(), asked.host(), Held::Nothing),
            Ask::OverWithPermit => self.count_out(asked.client(), asked.host(), Held::Permit),
            Ask::Permit => self.give_permit(asked.client()),
            Ask::Read | Ask::Discard => self.read_on(asked.id()),
            Ask::Send => self.send_on(asked.id()),
            Ask::Else => {
                let command = self.desk.next_command();
                command.into_iter().for_each(|command| self.handle_command(command));
            }
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Join(client, shared) => self.join(client, shared),
            Command::Leave(client) => self.leave(client),
            Command::Abort(exchange, problem) => {
                self.abort(exchange, Kind::RequestBody(problem));
            }
            Command::Sleep(sleeper, duration) => {
                self.desk.start_sleep(sleeper, self.now + duration);
            }
            Command::Resolved(dial, outcome) => self.handle_resolved(dial, outcome),
        }
    }

    /// Submits, and waits for at most `max_block`, less if a timer is due.
    ///
    /// # Errors
    /// Only when the driver is lost.
    #[inline]
    pub(crate) fn wait(&mut self, max_block: Duration) -> io::Result<()> {
        let timeout = (self.desk.wheel.borrow().next_deadline() - self.now).min(max_block);
        let block = self.backlog.is_empty() && self.resting.is_empty() && !timeout.is_zero();
        let completions = u32::from(block);
        self.driver.wait(Wait { completions, timeout, ..Wait::LOOK })
    }

    /// [`intake::catch_up`].
    ///
    /// # Errors
    /// Only when the driver is lost.
    pub(crate) fn catch_up(&mut self) -> io::Result<()> {
        self.lateness.note();
        intake::catch_up(&mut self.driver)
    }

    /// Time has passed since the last turn.
    #[inline]
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = now;
        self.desk.set_now(now);
    }

    /// Takes in what happened until `now`, as far as a turn may, and wakes whom it concerns. Returns how many completions there were: zero if none are left.
    #[inline]
    pub(crate) fn reap(&mut self, now: Instant) -> u64 {
        self.set_now(now);
        self.reaps += 1;
        self.backlog.flush(&mut self.driver);
        let mut intake = Intake::from(self.counters.bytes_received);
        let reaped_last = loop {
            let mut completions = std::mem::take(&mut self.completions);
            let count = self.driver.reap(&mut completions);
            completions.drain(..).for_each(|completion| self.handle_completion(completion));
            self.completions = completions;
            if !intake.goes_on(count, self.counters.bytes_received) {
                break count;
            }
        };
        let reaped = intake.completions() as u64;
        self.counters.turns += u64::from(reaped > 0);
        self.counters.completions += reaped;
        self.release_rested();
        if self.lateness.may_expire(reaped_last) {
            self.expire();
        }
        reaped
    }

    #[inline]
    fn handle_completion(&mut self, completion: Completion) {
        let Completion { slot, event } = completion;
        let index = slot.index;
        let live = self.connections.get(index as usize).is_some_and(|known| known.slot == slot);
        if !live {
            if let Event::Received(lent, _) = event {
                self.driver.give_back(lent);
            }
            return;
        }
        match event {
            Event::Received(lent, armed) => self.handle_received(index, lent, armed),
            Event::Discarded { bytes, has_more } => self.handle_discarded(index, bytes, has_more),
            Event::ReceiveEnded(end) => self.handle_receive_ended(index, end),
            Event::Sent => self.handle_sent(index),
            Event::SendFailed { errno, taken } => self.handle_send_failed(index, errno, taken),
            Event::Connected => self.handle_connected(index),
            Event::ConnectFailed(errno) => self.attempt_failed(index, Kind::Connect(errno)),
            Event::Closed => self.handle_closed(index),
            Event::Accepted(_) | Event::AcceptFailed(_) => {}
        }
    }

    /// Hands an operation to the driver, now or in a later turn.
    #[inline]
    fn submit(&mut self, slot: Slot, op: Op) {
        self.backlog.submit(&mut self.driver, slot, op);
    }

    /// Fails everything that is not over with [`Kind::Shutdown`] and closes every connection: turn until [`Pool::is_closed`].
    pub(crate) fn close(&mut self) {
        self.desk.close();
        let exchanges = self.desk.exchanges.borrow().ids();
        exchanges.into_iter().for_each(|exchange| self.abort(exchange, Kind::Shutdown));
        self.dials.ids().into_iter().for_each(|dial| self.cancel_dial(dial));
        for index in 0..self.connections.len() as u32 {
            if self.connections[index as usize].state.is_over() {
                self.retire_active(index);
            }
            self.close_connection(index);
        }
        self.desk.wake_sleepers();
    }

    /// Whether no connection is open or in the making.
    pub(crate) fn is_closed(&self) -> bool {
        self.holding.active + self.holding.idle + self.holding.connecting + self.holding.closing
            == 0
    }

    /// Whether nothing is going on: all that may come is the end of an idle connection.
    #[inline]
    pub(crate) fn holds_nothing(&self) -> bool {
        let Holding { in_flight, connecting, closing, active, .. } = self.holding;
        in_flight + connecting + closing + active == 0
    }

    /// When the next timer is due.
    pub(crate) fn next_deadline(&self) -> Instant {
        self.desk.wheel.borrow().next_deadline()
    }

    /// What is held at this moment.
    #[inline]
    pub(crate) fn holding(&self) -> Holding {
        self.holding
    }

    /// Hosts that something is held of.
    pub(crate) fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// Places for clients: as many as there were at once.
    pub(crate) fn client_places(&self) -> usize {
        self.members.len()
    }

    /// What was counted.
    pub(crate) fn counters(&self) -> PoolCounters {
        self.counters
    }

    /// The driver.
    pub(crate) fn driver(&self) -> &D {
        &self.driver
    }

    pub(crate) fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    fn member(&mut self, client: u32) -> &mut Member {
        &mut self.members[client as usize]
    }
}
