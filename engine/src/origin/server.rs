//! One core of an origin: accept, read requests, send answers, in the order of the requests. The same contract as a shard, from the other side.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::Config;
use super::answer::{Answer, Body};
use super::connection::{Connection, State};
use super::request::Memo;
use crate::clock::Instant;
use crate::driver::{
    Armed, Completion, Confirm, Driver, End, Event, Full, Lent, Op, Slot, Span, TemplateId, Wait,
    Window,
};
use crate::sys::socket::{self, Blocking};

/// How often a stop is looked for.
const BLOCK_MAX: Duration = Duration::from_millis(20);
/// How long closing the listener may take.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// Answers that a connection may be owed; a client that wants more without reading is cut off.
const OWED_MAX: usize = 4096;
/// Answer bytes in one send up to which it is quiet, as in `shard::exchange`.
const QUIET_BYTES_MAX: u32 = crate::shard::QUIET_BYTES_MAX;
/// Connections from which turns gather requests: below it each one is answered at once.
const GATHER_CONNECTIONS: u32 = 8;
/// How long a turn gathers.
const GATHER_MAX: Duration = Duration::from_micros(20);

const LISTENER: Slot = Slot::first(0);

/// An answer registered with the driver.
#[derive(Debug, Clone, Copy)]
struct Registered {
    template: TemplateId,
    one_bytes: u32,
    copies: u32,
}

/// One core of an origin.
#[derive(Debug)]
pub(super) struct Server<D: Driver> {
    driver: D,
    answers: [Registered; 5],
    connections: Vec<Connection>,
    free: Vec<u32>,
    memo: Memo,
    completions: Vec<Completion>,
    backlog: VecDeque<(Slot, Op)>,
    /// Answers that wait for their time: equal delays keep them in order.
    delayed: VecDeque<(Instant, Slot)>,
    delay: Duration,
    close_every: u64,
    served: Arc<AtomicU64>,
    count: u64,
    open: u32,
    /// Until the driver has let go of the listener.
    listening: bool,
}

impl<D: Driver> Server<D> {
    pub(super) fn new(
        mut driver: D,
        slots: u32,
        config: &Config,
        listener: OwnedFd,
        served: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let bytes = config.body_bytes;
        let answers = [
            register(&mut driver, &Answer::ok(bytes, Body::Sent, false))?,
            register(&mut driver, &Answer::ok(bytes, Body::Sent, true))?,
            register(&mut driver, &Answer::ok(bytes, Body::Announced, false))?,
            register(&mut driver, &Answer::ok(bytes, Body::Announced, true))?,
            register(&mut driver, &Answer::bad_request())?,
        ];
        socket::set_blocking(&listener, driver.blocking())?;
        // An empty queue takes one operation.
        let _ = driver.try_submit(LISTENER, Op::Listen { socket: listener });
        Ok(Self {
            driver,
            answers,
            connections: Vec::new(),
            free: (1..slots).rev().collect(),
            memo: Memo::default(),
            completions: Vec::new(),
            backlog: VecDeque::new(),
            delayed: VecDeque::new(),
            delay: config.delay,
            close_every: config.close_every.unwrap_or(u64::MAX),
            served,
            count: 0,
            open: 0,
            listening: true,
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

    fn turn(&mut self) -> io::Result<()> {
        self.wait()?;
        while let Some((slot, op)) = self.backlog.pop_front() {
            if let Err(Full { op }) = self.driver.try_submit(slot, op) {
                self.backlog.push_front((slot, op));
                break;
            }
        }
        loop {
            let mut completions = std::mem::take(&mut self.completions);
            let count = self.driver.reap(&mut completions);
            completions.drain(..).for_each(|completion| self.handle(completion));
            self.completions = completions;
            if count == 0 {
                break;
            }
        }
        self.send_delayed();
        self.served.store(self.count, Ordering::Relaxed);
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let timeout = match self.delayed.front() {
            Some((due, _)) => (*due - Instant::now()).min(BLOCK_MAX),
            None => BLOCK_MAX,
        };
        let gather = self.delay.is_zero() && self.open >= GATHER_CONNECTIONS;
        let completions = if gather { (self.open / 4).clamp(1, 32) } else { 1 };
        let completions =
            if self.backlog.is_empty() && !timeout.is_zero() { completions } else { 0 };
        self.driver.wait(Wait { completions, settle: GATHER_MAX, timeout })
    }

    fn submit(&mut self, slot: Slot, op: Op) {
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
                Event::Closed => self.listening = false,
                _ => {}
            }
            return;
        }
        match event {
            Event::Received(lent, armed) => self.handle_received(slot, lent, armed),
            Event::Sent => self.handle_sent(slot),
            Event::SendFailed { .. } => self.close(slot),
            Event::ReceiveEnded(End::Starved | End::Stopped) => self.receive(slot),
            Event::ReceiveEnded(_) => self.handle_end(slot),
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
        let slot = connection.slot;
        self.open += 1;
        self.submit(slot, Op::Adopt { socket });
        self.submit(slot, Op::Receive(Window::Stream));
    }

    fn receive(&mut self, slot: Slot) {
        if self.live(slot).is_some_and(|connection| connection.state == State::Open) {
            self.submit(slot, Op::Receive(Window::Stream));
        }
    }

    fn live(&mut self, slot: Slot) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(slot.index as usize - 1)?;
        (connection.slot == slot).then_some(connection)
    }

    #[inline]
    fn handle_received(&mut self, slot: Slot, lent: Lent, armed: Armed) {
        let connection = self.connections.get_mut(slot.index as usize - 1);
        let Some(connection) = connection.filter(|c| c.slot == slot && c.state == State::Open)
        else {
            self.driver.give_back(lent);
            return;
        };
        let requests = connection.owed.len();
        let read = connection.read(self.driver.bytes(&lent), &mut self.memo, self.close_every);
        let requests = connection.owed.len() - requests;
        let too_many = connection.owed.len() > OWED_MAX;
        self.driver.give_back(lent);
        if read.is_err() || too_many {
            self.close(slot);
            return;
        }
        if armed == Armed::No {
            self.receive(slot);
        }
        if self.delay.is_zero() {
            self.answer(slot, usize::MAX);
        } else if requests > 0 {
            let due = Instant::now() + self.delay;
            self.delayed.extend(std::iter::repeat_n((due, slot), requests));
        }
    }

    fn send_delayed(&mut self) {
        if self.delayed.is_empty() {
            return;
        }
        let now = Instant::now();
        while let Some((_, slot)) = self.delayed.front().copied().filter(|(due, _)| *due <= now) {
            self.delayed.pop_front();
            self.answer(slot, 1);
        }
    }

    /// Sends up to `most` of the answers owed: all equal ones at the front in one send.
    #[inline]
    fn answer(&mut self, slot: Slot, mut most: usize) {
        while most > 0 {
            let Some(connection) = self.connections.get_mut(slot.index as usize - 1) else {
                return;
            };
            if connection.slot != slot || connection.busy || connection.state == State::Closing {
                return;
            }
            let Some(kind) = connection.owed.front().copied() else { return };
            let answer = self.answers[kind];
            let limit = most.min(answer.copies as usize);
            let count =
                connection.owed.iter().take(limit).take_while(|owed| **owed == kind).count();
            connection.owed.drain(..count);
            most -= count;
            self.count += count as u64;
            let bytes = count as u32 * answer.one_bytes;
            let last = connection.state == State::Ending && connection.owed.is_empty();
            connection.busy = last || bytes > QUIET_BYTES_MAX;
            let confirm = if connection.busy { Confirm::Always } else { Confirm::OnFailure };
            let span = Span { template: answer.template, start: 0, bytes };
            self.submit(slot, Op::Send { span, confirm });
        }
    }

    fn handle_sent(&mut self, slot: Slot) {
        let Some(connection) = self.live(slot) else { return };
        connection.busy = false;
        if connection.state == State::Ending && connection.owed.is_empty() {
            self.close(slot);
        } else if self.delay.is_zero() {
            self.answer(slot, usize::MAX);
        }
    }

    /// The client closed its side or broke off. What it is owed goes out first, if it still wants it.
    fn handle_end(&mut self, slot: Slot) {
        let Some(connection) = self.live(slot) else { return };
        if connection.owed.is_empty() && !connection.busy {
            self.close(slot);
        } else if connection.state == State::Open {
            connection.state = State::Ending;
        }
    }

    fn close(&mut self, slot: Slot) {
        let Some(connection) = self.live(slot) else { return };
        if connection.state != State::Closing {
            connection.state = State::Closing;
            self.submit(slot, Op::Close);
        }
    }

    fn handle_closed(&mut self, slot: Slot) {
        let Some(connection) = self.live(slot) else { return };
        connection.renew();
        self.open -= 1;
        self.free.push(slot.index);
    }
}

fn register<D: Driver>(driver: &mut D, answer: &Answer) -> io::Result<Registered> {
    let template = driver.register(Rc::clone(&answer.bytes))?;
    Ok(Registered { template, one_bytes: answer.one_bytes, copies: answer.copies })
}
