//! A driver without a kernel: every connect succeeds and every send is answered at once. What a loop on it costs is what it does in user space.
//!
//! Nothing else on the machine can make it slower but by taking the processor away, so the fastest of many short rounds is its figure.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use ringshot::client::{Solo, Target};
use ringshot::clock::Instant;
use ringshot::driver::{
    Alarm, Armed, Completion, Counters, Driver, Event, Full, Lender, Lent, Op, Payload, Slot,
    TemplateId, Wait,
};
use ringshot::proto::h1;
use ringshot::shard::{Config, Copies, Failure, Handler, Next, Response, Settle, Shard};
use ringshot::sys::socket::Blocking;

use crate::bare::Outcome;

/// What every request is answered with.
pub const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: ringshot\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world\n";

/// Answers everything at the next wait.
#[derive(Debug, Default)]
pub struct Echo {
    coming: Vec<Completion>,
    told: Vec<Completion>,
    spares: Vec<Vec<u8>>,
    lender: Lender,
}

impl Echo {
    fn tell(&mut self, slot: Slot, event: Event) {
        self.coming.push(Completion { slot, event });
    }

    fn answer(&mut self, slot: Slot) {
        let lent = self.lender.lend(0, 0, RESPONSE.len() as u32, false);
        self.tell(slot, Event::Received(lent, Armed::Yes));
    }
}

impl Driver for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn blocking(&self) -> Blocking {
        Blocking::No
    }

    fn register(&mut self, _bytes: Rc<[u8]>) -> io::Result<TemplateId> {
        Ok(TemplateId(0))
    }

    fn try_submit(&mut self, slot: Slot, op: Op) -> Result<(), Full> {
        match op {
            Op::Connect { .. } => self.tell(slot, Event::Connected),
            Op::Send { .. } => self.answer(slot),
            Op::SendBytes { bytes, .. } => {
                self.answer(slot);
                if let Payload::Buffer(mut buffer) = bytes {
                    buffer.clear();
                    self.spares.push(buffer);
                }
            }
            Op::Close => self.tell(slot, Event::Closed),
            _ => {}
        }
        Ok(())
    }

    fn wait(&mut self, _wait: Wait) -> io::Result<()> {
        self.told.append(&mut self.coming);
        Ok(())
    }

    fn reap(&mut self, into: &mut Vec<Completion>) -> usize {
        let count = self.told.len();
        into.append(&mut self.told);
        count
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_default()
    }

    fn watch(&mut self, _wakes: OwnedFd) -> io::Result<()> {
        Ok(())
    }

    fn alarm(&mut self) -> io::Result<Alarm> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn bytes(&self, lent: &Lent) -> &[u8] {
        self.lender.check(lent);
        RESPONSE
    }

    fn give_back(&mut self, lent: Lent) {
        self.lender.check(&lent);
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// Counts, and sends for ever.
#[derive(Debug, Default)]
struct Counter(u64);

impl Handler for Counter {
    fn poll_requests(&mut self, _lane: u32, room: u32, _now: Instant) -> Next {
        room.into()
    }

    fn wants_connection(&mut self, _lane: u32) -> bool {
        true
    }

    fn handle_response(&mut self, _lane: u32, _response: Response, _now: Instant) {
        self.0 += 1;
    }

    fn handle_body(&mut self, _lane: u32, _piece: &[u8]) {}

    fn handle_failure(&mut self, _: u32, _: Failure, _: Option<Instant>, _: Instant) {}

    fn handle_unsent(&mut self, _lane: u32, _sent: Instant) {}
}

/// A loop that is turned until so many more requests were answered.
#[derive(Debug)]
pub enum Loop {
    /// The load generator's.
    Load(Box<LoadLoop>),
    /// The client's, with a task for each request in flight.
    Client(Box<ClientLoop>),
}

/// See [`Loop::Load`].
#[derive(Debug)]
pub struct LoadLoop {
    shard: Shard<Echo>,
    counter: Counter,
}

/// See [`Loop::Client`].
#[derive(Debug)]
pub struct ClientLoop {
    solo: Solo<Echo>,
    responses: Rc<Cell<u64>>,
}

impl Loop {
    /// The load generator's loop over so many connections.
    ///
    /// # Errors
    /// None that is to be expected.
    pub fn load(connections: u32) -> Outcome<Self> {
        let request = b"GET / HTTP/1.1\r\nhost: 127.0.0.1:80\r\n\r\n";
        let copies = Copies::new(request, h1::Sent::default(), 1);
        let peers = vec![([127, 0, 0, 1], 80).into()];
        let settle = Settle::Never;
        let config = Config { settle, ..Config::new(peers, copies, connections, 1) };
        let mut shard = Shard::new(Echo::default(), config)?;
        let mut counter = Counter::default();
        shard.rouse(&mut counter, Instant::now());
        Ok(Self::Load(Box::new(LoadLoop { shard, counter })))
    }

    /// The client's loop over so many tasks and connections, all of which ask for `target`.
    ///
    /// # Errors
    /// What [`Solo::new`] reports.
    pub fn client(tasks: u32, target: &Target) -> Outcome<Self> {
        let solo = Solo::new(Echo::default(), tasks, Instant::now())?;
        let client = solo.engine().client().max_conns_per_host(tasks).build()?;
        let responses = Rc::new(Cell::new(0));
        for _ in 0..tasks {
            let (client, target) = (solo.ctx().client(&client), target.clone());
            let responses = Rc::clone(&responses);
            let work = async move {
                while let Ok(response) = client.get(&target).send().await {
                    if response.bytes().await.is_err() {
                        break;
                    }
                    responses.set(responses.get() + 1);
                }
            };
            solo.ctx().spawn(work).detach();
        }
        Ok(Self::Client(Box::new(ClientLoop { solo, responses })))
    }

    fn responses(&self) -> u64 {
        match self {
            Self::Load(load) => load.counter.0,
            Self::Client(client) => client.responses.get(),
        }
    }

    /// Turns until `requests` more were answered; nanoseconds a request.
    ///
    /// # Errors
    /// None that is to be expected.
    pub fn run(&mut self, requests: u64) -> Outcome<f64> {
        let (begin, before) = (Instant::now(), self.responses());
        while self.responses() < before + requests {
            match self {
                Self::Load(load) => {
                    let LoadLoop { shard, counter } = &mut **load;
                    shard.turn(Duration::from_secs(1), counter, &mut Instant::now)?;
                }
                Self::Client(client) => {
                    client.solo.turn(Duration::from_secs(1), &mut Instant::now)?;
                }
            }
        }
        let answered = self.responses() - before;
        Ok(Instant::now().nanos_since(begin) as f64 / answered as f64)
    }
}
