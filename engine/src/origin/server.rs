//! One core of an origin: accept, read requests, send answers, in the order of the requests. The same contract as a shard, from the other side.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Config;
use super::answer::{Answer, Body, Stay};
use super::connection::{Account, Connection, PLANNED, Rules, State};
use super::counters::{Open, Published, Tally};
use super::delivery;
use super::hold::{PATIENCE, Receive};
use super::request::Memo;
use super::timers::Timers;
use crate::clock::Instant;
use crate::driver::{
    Armed, Completion, Driver, End, Event, Full, Lent, Op, Slot, TemplateId, Wait, Window,
};
use crate::random::Random;
use crate::shard::intake::Intake;
use crate::sys::socket::{self, Blocking};

/// How often a stop is looked for.
const BLOCK_MAX: Duration = Duration::from_millis(20);
/// How often a request that has not been answered is asked for its client's end anew.
const RENEW_EVERY: Duration = Duration::from_millis(500);
/// How long a listener rests that could not accept: at once it would fail again, and the core do nothing else.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long closing the listener may take.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// Connections from which turns gather requests: below it each one is answered at once.
const GATHER_CONNECTIONS: u32 = 8;
/// How long a turn gathers.
const GATHER_MAX: Duration = Duration::from_micros(20);

const LISTENER: Slot = Slot::first(0);

/// An answer registered with the driver.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registered {
    pub(super) template: TemplateId,
    pub(super) one_bytes: u32,
    pub(super) copies: u32,
}

/// One core of an origin.
#[derive(Debug)]
pub(super) struct Server<D: Driver> {
    pub(super) driver: D,
    pub(super) answers: [Registered; PLANNED],
    /// What bodies of planned answers are made of, and its name with the driver.
    pub(super) letters: (TemplateId, Rc<[u8]>),
    pub(super) connections: Vec<Connection>,
    free: Vec<u32>,
    pub(super) rules: Rules,
    completions: Vec<Completion>,
    backlog: VecDeque<(Slot, Op)>,
    /// Fixed answers that wait for their time: equal delays keep them in order.
    pub(super) delayed: VecDeque<(Instant, Slot)>,
    pub(super) delay: Duration,
    pub(super) timers: Timers,
    pub(super) tally: Tally,
    /// Connections that were open when the account was last written.
    told: u64,
    published: Arc<Published>,
    account: Arc<Open>,
    /// Slots in use, those whose close is under way among them.
    open: u32,
    /// Until the driver has let go of the listener.
    listening: bool,
    bytes_received: u64,
    /// When receives are next asked for anew.
    renew_at: Instant,
    /// When the listener goes on that could not accept.
    accept_at: Instant,
    /// How long a client that is held may take nothing.
    pub(super) patience: Duration,
}

impl<D: Driver> Server<D> {
    pub(super) fn new(
        mut driver: D,
        slots: u32,
        config: &Config,
        listener: OwnedFd,
        (published, account): (Arc<Published>, Arc<Open>),
    ) -> io::Result<Self> {
        let bytes = config.body_bytes;
        let mut fixed = |body, stay| register(&mut driver, &Answer::ok(bytes, body, stay));
        let (sent, announced) = (Body::Sent, Body::Announced);
        let answers = [
            fixed(sent, Stay::Implied)?,
            fixed(sent, Stay::Never)?,
            fixed(sent, Stay::Told)?,
            fixed(announced, Stay::Implied)?,
            fixed(announced, Stay::Never)?,
            fixed(announced, Stay::Told)?,
            register(&mut driver, &Answer::bad_request())?,
            register(&mut driver, &Answer::too_long())?,
            register(&mut driver, &Answer::no_tunnel())?,
        ];
        let letters: Rc<[u8]> = delivery::letters().into();
        let letters = (driver.register(Rc::clone(&letters))?, letters);
        socket::set_blocking(&listener, driver.blocking())?;
        // An empty queue takes one operation.
        let _ = driver.try_submit(LISTENER, Op::Listen { socket: listener });
        let rules = Rules {
            memo: Memo::default(),
            close_every: config.close_every.unwrap_or(u64::MAX),
            fixed_bytes: bytes,
            random: Random::new(config.seed),
        };
        Ok(Self {
            driver,
            answers,
            letters,
            connections: Vec::new(),
            free: (1..slots).rev().collect(),
            rules,
            completions: Vec::new(),
            backlog: VecDeque::new(),
            delayed: VecDeque::new(),
            delay: config.delay,
            timers: Timers::default(),
            tally: Tally::default(),
            told: 0,
            published,
            account,
            open: 0,
            listening: true,
            bytes_received: 0,
            renew_at: Instant::coarse() + RENEW_EVERY,
            accept_at: Instant::NEVER,
            patience: PATIENCE,
        })
    }

    /// Serves until `stop`; then its port is free. The other sockets close with the driver.
    pub(super) fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            self.turn()?;
        }
        self.close_listener()
    }

    /// A ring gives the descriptors of its operations back only some time after it was closed, and even after its process has ended.
    fn close_listener(&mut self) -> io::Result<()> {
        self.submit(LISTENER, Op::Close);
        let deadline = Instant::now() + CLOSE_MAX;
        while self.listening && Instant::now() < deadline {
            self.turn()?;
        }
        Ok(())
    }

    pub(super) fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        while let Some((slot, op)) = self.backlog.pop_front() {
            if let Err(Full { op }) = self.driver.try_submit(slot, op) {
                self.backlog.push_front((slot, op));
                break;
            }
        }
        let mut intake = Intake::from(self.bytes_received);
        loop {
            let mut completions = std::mem::take(&mut self.completions);
            let count = self.driver.reap(&mut completions);
            completions.drain(..).for_each(|completion| self.handle(completion));
            self.completions = completions;
            if !intake.goes_on(count, self.bytes_received) {
                break;
            }
        }
        self.send_delayed();
        self.send_timed();
        self.look_round();
        self.accept_again();
        self.tally.publish(&mut self.told, &self.published, &self.account);
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let timeout =
            self.next_due().map_or(BLOCK_MAX, |due| (due - Instant::now()).min(BLOCK_MAX));
        let gather = self.delay.is_zero() && self.open >= GATHER_CONNECTIONS;
        let completions = if gather { (self.open / 4).clamp(1, 32) } else { 1 };
        let completions =
            if self.backlog.is_empty() && !timeout.is_zero() { completions } else { 0 };
        self.driver.wait(Wait { completions, settle: GATHER_MAX, timeout, since: None })
    }

    /// Cuts off those who are held and take nothing, and asks anew to receive on connections that have a request without an answer. A ring's multishot receive misses a reset that comes right behind
    /// bytes, one in some ten thousand (6.18), and who has gone would count as waiting for good: `tests/cancellation.rs`.
    fn look_round(&mut self) {
        let now = Instant::coarse();
        if now < self.renew_at {
            return;
        }
        self.renew_at = now + RENEW_EVERY;
        for place in 0..self.connections.len() {
            let Connection { slot, state, requests, .. } = self.connections[place];
            match state {
                State::Open if requests > 0 => self.submit(slot, Op::Stop),
                State::Held => self.look_at(slot, now),
                _ => {}
            }
        }
    }

    fn accept_again(&mut self) {
        if self.accept_at <= Instant::coarse() {
            self.accept_at = Instant::NEVER;
            self.submit(LISTENER, Op::Accept);
        }
    }

    /// When the next answer goes out that waits for its time.
    #[inline]
    fn next_due(&self) -> Option<Instant> {
        let delayed = self.delayed.front().map(|(due, _)| *due);
        if self.timers.is_empty() {
            return delayed;
        }
        delayed.into_iter().chain(self.timers.next_due()).min()
    }

    pub(super) fn submit(&mut self, slot: Slot, op: Op) {
        if !self.backlog.is_empty() {
            self.backlog.push_back((slot, op));
        } else if let Err(Full { op }) = self.driver.try_submit(slot, op) {
            self.backlog.push_back((slot, op));
        }
    }

    #[inline]
    fn handle(&mut self, completion: Completion) {
        let Completion { slot, event } = completion;
        if slot.index == LISTENER.index {
            match event {
                Event::Accepted(socket) => self.handle_accepted(socket),
                Event::AcceptFailed(_) => {
                    self.tally.accept_failures += 1;
                    self.accept_at = Instant::coarse() + ACCEPT_RETRY;
                }
                Event::Closed => self.listening = false,
                _ => {}
            }
            return;
        }
        match event {
            Event::Received(lent, armed) => self.handle_received(slot, lent, armed),
            Event::Sent => self.handle_sent(slot),
            Event::SendFailed { .. } => self.close(slot),
            Event::ReceiveEnded(End::Starved | End::Stopped) => self.handle_rest(slot),
            Event::ReceiveEnded(End::Failed(_)) => self.close(slot),
            Event::ReceiveEnded(End::Eof) => self.handle_end(slot),
            Event::Closed => self.handle_closed(slot),
            _ => {}
        }
    }

    /// Takes a connection in; beyond the limit it is closed at once.
    fn handle_accepted(&mut self, socket: OwnedFd) {
        let Some(index) = self.free.pop() else { return };
        // A socket that has been reset already may refuse; the receive will tell.
        let _ = socket::set_nodelay(&socket);
        if self.driver.blocking() == Blocking::No {
            let _ = socket::set_blocking(&socket, Blocking::No);
        }
        let place = index as usize - 1;
        while self.connections.len() <= place {
            let index = self.connections.len() as u32 + 1;
            self.connections.push(Connection::new(Slot::first(index)));
        }
        let connection = &mut self.connections[place];
        connection.state = State::Open;
        connection.counted = true;
        connection.due = if self.delay.is_zero() { u64::MAX } else { 0 };
        let slot = connection.slot;
        self.open += 1;
        self.tally.accepted += 1;
        self.tally.open += 1;
        self.submit(slot, Op::Adopt { socket });
        self.submit(slot, Op::Receive(Window::Stream));
    }

    /// While the last answer is on its way the client's end is still listened for.
    pub(super) fn receive(&mut self, slot: Slot) {
        let live = self.live(slot).map(|connection| connection.state);
        if matches!(live, Some(State::Open | State::Ending)) {
            self.submit(slot, Op::Receive(Window::Stream));
        }
    }

    pub(super) fn live(&mut self, slot: Slot) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(slot.index as usize - 1)?;
        (connection.slot == slot).then_some(connection)
    }

    #[inline]
    fn handle_received(&mut self, slot: Slot, lent: Lent, armed: Armed) {
        self.bytes_received += self.driver.bytes(&lent).len() as u64;
        let connection = self.connections.get_mut(slot.index as usize - 1);
        let Some(connection) = connection.filter(|c| c.slot == slot && c.state == State::Open)
        else {
            return self.handle_unread(slot, lent, armed);
        };
        let before = connection.account();
        connection.read(self.driver.bytes(&lent), &mut self.rules);
        let (after, full) = (connection.account(), connection.is_full());
        self.driver.give_back(lent);
        if armed == Armed::No && !full {
            self.receive(slot);
        }
        self.begin(slot, before, after);
        if full {
            self.hold(slot, armed);
        }
    }

    /// Takes requests up that have been read.
    #[inline]
    pub(super) fn begin(&mut self, slot: Slot, before: Account, after: Account) {
        self.tally.begin(after.requests - before.requests);
        let deliveries = after.deliveries - before.deliveries;
        if deliveries > 0 {
            self.start_deliveries(slot);
        }
        if !self.delay.is_zero() {
            let fixed = after.owed - before.owed - deliveries;
            let due = Instant::now() + self.delay;
            self.delayed.extend(std::iter::repeat_n((due, slot), fixed));
        }
        self.answer(slot);
    }

    /// The client closed its side. What is being sent is sent to its end; what waits for its time is not waited for.
    pub(super) fn handle_end(&mut self, slot: Slot) {
        let Some(connection) = self.live(slot) else { return };
        if !connection.busy {
            self.close(slot);
        } else if connection.state == State::Open {
            connection.state = State::Ending;
        } else if let Some(hold) = &mut connection.hold {
            hold.receive = Receive::AtEnd;
        }
        self.discount(slot);
    }

    /// Closes a connection. Nothing of it is owed or counted any more.
    pub(super) fn close(&mut self, slot: Slot) {
        let Some(connection) = self.live(slot) else { return };
        if connection.state == State::Closing {
            return;
        }
        connection.state = State::Closing;
        connection.deliveries.clear();
        connection.hold = None;
        if let Some(due) = connection.timer.take() {
            self.timers.stop(slot.index, due);
        }
        self.discount(slot);
        self.submit(slot, Op::Close);
    }

    /// The connection and its requests don't count as open and in progress any more.
    pub(super) fn discount(&mut self, slot: Slot) {
        let Some(connection) = self.live(slot) else { return };
        let requests = std::mem::take(&mut connection.requests);
        let counted = std::mem::take(&mut connection.counted);
        self.tally.open -= u64::from(counted);
        self.tally.end(requests);
    }

    fn handle_closed(&mut self, slot: Slot) {
        let Some(connection) = self.live(slot) else { return };
        connection.renew();
        self.open -= 1;
        self.free.push(slot.index);
        if self.accept_at != Instant::NEVER {
            // A descriptor came free, for want of which most accepts fail.
            self.accept_at = Instant::default();
        }
    }
}

fn register<D: Driver>(driver: &mut D, answer: &Answer) -> io::Result<Registered> {
    let template = driver.register(Rc::clone(&answer.bytes))?;
    Ok(Registered { template, one_bytes: answer.one_bytes, copies: answer.copies })
}
