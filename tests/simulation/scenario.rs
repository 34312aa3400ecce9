//! One simulated run, drawn from a seed: a shard, its handler, the servers, the kernel's manners, and what breaks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use ringshot::clock::Instant;
use ringshot::driver::sim::{
    Clock, Config as SimConfig, Faults, Line, Logging, Peer, Random, Seen, Sim,
};
use ringshot::proto::h1;
use ringshot::shard::{Body, Config as ShardConfig, Copies, Heads, Settle, Shard};
use ringshot_tests::seeds::{Reach, START, Trouble, faults, micros, quirks, some};

use super::ledger::{Failures, Ledger, Phase, Terms, Totals};
use super::server::{Book, Mix, Server};

/// Turns after which a run is taken to go round in circles.
const TURNS_MAX: u64 = 1_000_000;
/// The longest that a turn may block: either way every timer must end it.
const BLOCKS_MAX: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(3600)];
/// How long after the storm it may take until each lane was answered.
const PROBE_MAX: Duration = Duration::from_secs(5);
/// How long closing may take.
const CLOSE_MAX: Duration = Duration::from_secs(5);

/// How hard servers are to reach.
const REACH: Reach = Reach { refused: 0.3, unanswered: 0.1, late_micros: 80_000 };

/// Everything that a seed decides.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) sim: SimConfig,
    shard: ShardConfig,
    mix: Mix,
    terms: Terms,
    budget: u64,
    /// Virtual time until the run is stopped, and for the responses that are still due then.
    duration: Duration,
    drain: Duration,
    /// Whether each lane is probed after the storm, before it all ends.
    probe: bool,
}

/// What came of a run.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) problems: Vec<String>,
    pub(super) totals: Totals,
    pub(super) seen: Seen,
    pub(super) log: Vec<Line>,
    /// Of the simulation, and of what the handler was told.
    pub(super) digest: u64,
    pub(super) told: u64,
}

impl Scenario {
    /// The scenario of a seed.
    pub(super) fn draw(seed: u64, trouble: Trouble) -> Self {
        let random = &mut Random::new(seed ^ 0x5349_4D00);
        let troubled = trouble == Trouble::Faults;
        let shard = draw_shard(random, troubled);
        let slots = shard.lanes + random.below(3) as u32;
        let duration = draw_duration(random, troubled);
        let sim = SimConfig {
            storm: duration,
            small_buffers: (slots / 4 + random.below(40) as u32).max(1),
            small_buffer_bytes: *random.pick(&[4096, 4096, 512, 65536]).unwrap(),
            large_buffers: random.between(1, 8) as u32,
            queue_entries: random.between(1, 64) as u32,
            latency_max: micros(random, 1, 400),
            quirks: quirks(random),
            faults: if troubled { faults(random, REACH) } else { Faults::default() },
            ..SimConfig::calm(slots, random.number())
        };
        let mix = Mix {
            storm_end: START + duration,
            large: some(random, 0.3),
            dribble: some(random, 0.5),
            closes: some(random, 0.3),
            faults: if troubled { some(random, 0.2) } else { 0.0 },
        };
        let terms = Terms {
            connect_timeout: shard.connect_timeout,
            peers: shard.targets[0].len(),
            response_timeout: shard.response_timeout,
            body: shard.body,
            failures: if troubled { Failures::Expected } else { Failures::Problems },
            idleness: some(random, 0.2),
        };
        Self {
            sim,
            shard,
            mix,
            terms,
            budget: random.between(1, 400),
            duration,
            probe: !troubled || random.chance(0.7),
            drain: if random.chance(0.3) { Duration::ZERO } else { micros(random, 1, 200_000) },
        }
    }

    /// Runs it to its end, which may be a panic.
    pub(super) fn run(self, logging: Logging) -> Outcome {
        let run = AssertUnwindSafe(|| self.run_unguarded(logging));
        catch_unwind(run).unwrap_or_else(|cause| {
            let text = cause.downcast_ref::<String>().cloned();
            let text = text.or_else(|| cause.downcast_ref::<&str>().map(ToString::to_string));
            let problems = vec![format!("panicked: {}", text.unwrap_or_default())];
            Outcome { problems, ..Outcome::default() }
        })
    }

    fn run_unguarded(mut self, logging: Logging) -> Outcome {
        self.sim.log = logging;
        let lanes = self.sim.limits.slots as usize;
        let book = Book { lanes: vec![VecDeque::new(); lanes], ..Book::default() };
        let (book, mix) = (Rc::new(RefCell::new(book)), self.mix);
        let seed = self.sim.seed;
        let pages = Rc::clone(&book);
        let sim = Sim::open(self.sim.clone(), move |visit| -> Box<dyn Peer> {
            Box::new(Server::new(visit, mix, &pages))
        });
        let clock = sim.clock();
        let ledger =
            Ledger::new(self.terms, self.shard.lanes, self.budget, seed, clock.clone(), &book);
        let shard = Shard::new(sim, self.shard.clone()).expect("a shard opens");
        let mut random = Random::new(seed ^ 1);
        // Lanes that were left idle wait for a rouse between two turns.
        let blocks = if self.terms.idleness > 0.0 { &BLOCKS_MAX[..1] } else { &BLOCKS_MAX };
        let block_max = *random.pick(blocks).unwrap();
        let mut run = Run { shard, ledger, clock, random, turns: 0, block_max, lanes_rest: 0 };
        run.work(&self);
        if self.probe && run.ledger.problems.is_empty() {
            run.probe(&self);
        }
        if run.ledger.problems.is_empty() {
            run.finish(&self);
        }
        run.outcome()
    }
}

/// How long a run lasts: without faults as long as it takes.
fn draw_duration(random: &mut Random, troubled: bool) -> Duration {
    match troubled {
        false => Duration::from_secs(7200),
        true if random.chance(0.5) => micros(random, 500, 20_000),
        true => micros(random, 1_000, 1_000_000),
    }
}

fn draw_shard(random: &mut Random, troubled: bool) -> ShardConfig {
    let pipeline = if random.chance(0.4) { 1 } else { random.between(1, 16) as u32 };
    let (request, sent) = draw_request(random);
    let copies = random.between(1, u64::from(pipeline)) as u32;
    let peers = ["192.0.2.1:80", "[2001:db8::1]:80"].map(|text| text.parse().unwrap());
    ShardConfig {
        targets: vec![peers[..random.between(1, 2) as usize].to_vec()],
        sources: Vec::new(),
        sources_taken: 0,
        lanes: random.between(1, 40) as u32,
        templates: vec![Copies::new(&request, sent, copies)],
        pipeline,
        requests_per_connection: u64::MAX,
        heads: Heads::Ignore,
        connect_timeout: if troubled {
            micros(random, 200, 50_000)
        } else {
            Duration::from_secs(60)
        },
        response_timeout: if troubled {
            micros(random, 500, 100_000)
        } else {
            Duration::from_secs(600)
        },
        body: if random.chance(0.5) { Body::Read } else { Body::Discard },
        settle: if random.chance(0.5) { Settle::WhileFree } else { Settle::Never },
        limits: h1::Limits::default(),
    }
}

/// A request, small or so large that few fit into a quiet send.
fn draw_request(random: &mut Random) -> (Vec<u8>, h1::Sent) {
    let close = random.chance(0.2);
    let persistence = if close { h1::Persistence::Close } else { h1::Persistence::KeepAlive };
    let connection = if close { "Connection: close\r\n" } else { "" };
    let (method, kind) = *random
        .pick(&[
            ("GET", h1::MethodKind::Other),
            ("GET", h1::MethodKind::Other),
            ("POST", h1::MethodKind::Other),
            ("HEAD", h1::MethodKind::Head),
        ])
        .unwrap();
    let body = if method == "POST" { random.part(9000, 0.8) } else { 0 };
    let length =
        if method == "POST" { format!("Content-Length: {body}\r\n") } else { String::new() };
    let mut request =
        format!("{method} / HTTP/1.1\r\nHost: sim\r\n{connection}{length}\r\n").into_bytes();
    // Bytes that would be taken for a request if the server lost count.
    request.extend(b"GET /oops\r\n\r\n".iter().cycle().take(body as usize));
    (request, h1::Sent { method: kind, persistence, ..h1::Sent::default() })
}

struct Run {
    shard: Shard<Sim>,
    ledger: Ledger,
    clock: Clock,
    random: Random,
    turns: u64,
    block_max: Duration,
    /// Turns until lanes that were left idle are asked again.
    lanes_rest: u64,
}

impl Run {
    fn turn(&mut self, until: Instant) -> bool {
        self.turns += 1;
        if self.turns > TURNS_MAX {
            self.ledger.problem(format!("no end after {TURNS_MAX} turns"));
            return false;
        }
        let block = (until - self.clock.now()).min(self.block_max);
        let clock = self.clock.clone();
        let turned = self.shard.turn(block, &mut self.ledger, &mut || clock.now());
        turned.expect("the simulated driver is never lost");
        self.ledger.handle_turn();
        let outstanding = self.ledger.outstanding();
        if u64::from(self.shard.in_flight()) != outstanding {
            let counted = self.shard.in_flight();
            self.ledger.problem(format!("{counted} in flight, {outstanding} outstanding"));
        }
        self.ledger.problems.is_empty()
    }

    /// Until all is done, or time is up.
    fn work(&mut self, scenario: &Scenario) {
        let end = self.clock.now() + scenario.duration;
        self.shard.rouse(&mut self.ledger, self.clock.now());
        while self.clock.now() < end && !(self.ledger.budget == 0 && self.shard.is_idle()) {
            if !self.turn(end) {
                return;
            }
            if scenario.terms.idleness > 0.0 && self.lanes_rest == 0 {
                self.shard.rouse(&mut self.ledger, self.clock.now());
                self.lanes_rest = self.random.below(20);
            }
            self.lanes_rest = self.lanes_rest.saturating_sub(1);
        }
        let Totals { responses, given, unsent, .. } = self.ledger.totals;
        if scenario.terms.failures == Failures::Problems && responses + unsent != given {
            self.ledger.problem("not every request succeeded");
        }
    }

    /// Once nothing breaks any more, every lane must get a request through.
    fn probe(&mut self, scenario: &Scenario) {
        self.ledger.phase = Phase::Probing;
        self.shard.rouse(&mut self.ledger, self.clock.now());
        let calm = if scenario.sim.faults == Faults::default() && scenario.mix.faults == 0.0 {
            self.clock.now()
        } else {
            self.clock.now().max(scenario.mix.storm_end)
        };
        let end = calm + PROBE_MAX;
        while !self.ledger.all_alive() && self.clock.now() < end && self.turn(end) {}
        let stuck = self.ledger.stuck();
        if !stuck.is_empty() && self.ledger.problems.is_empty() {
            self.ledger.problem(format!("lanes are stuck after {PROBE_MAX:?}: {stuck:?}"));
        }
    }

    /// Drains, closes, and looks at what is left.
    fn finish(&mut self, scenario: &Scenario) {
        self.shard.drain();
        self.ledger.phase = Phase::Draining;
        let end = self.clock.now() + scenario.drain;
        while !self.shard.is_idle() && self.clock.now() < end && self.turn(end) {}
        self.shard.close(&mut self.ledger, self.clock.now());
        self.ledger.phase = Phase::Closed;
        let end = self.clock.now() + CLOSE_MAX;
        while !self.shard.is_closed() && self.clock.now() < end && self.turn(end) {}
        self.ledger.settle();
        if !self.shard.is_closed() || self.shard.in_flight() != 0 {
            self.ledger.problem(format!("not closed in {CLOSE_MAX:?}"));
        }
        let audit = self.shard.driver().audit();
        if !audit.is_clean() {
            self.ledger.problem(format!("{audit:?}"));
        }
    }

    fn outcome(self) -> Outcome {
        let sim = self.shard.driver();
        Outcome {
            problems: self.ledger.problems,
            totals: self.ledger.totals,
            seen: sim.seen(),
            log: sim.log().to_vec(),
            digest: sim.digest(),
            told: self.ledger.digest,
        }
    }
}
