//! The engine's own choices as contestants: one shard on one thread, with one thing done otherwise.

use std::net::SocketAddr;
use std::time::Duration;

use ringshot::clock::Instant;
use ringshot::driver::Limits;
use ringshot::driver::Uring;
use ringshot::driver::uring::{Config as RingConfig, Descriptors, Tier};
use ringshot::proto::h1;
use ringshot::shard::{Body, Config, Copies, Failure, Handler, Next, Response, Settle, Shard};
use ringshot::sys::process::CpuTime;

use crate::bare::Outcome;
use crate::contest::{Run, Score};

/// A way to run the `io_uring` driver.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// What becomes of bodies.
    pub body: Body,
    /// How operations name sockets.
    pub descriptors: Descriptors,
    /// How turns wait.
    pub settle: Settle,
    /// The best tier to use.
    pub tier: Tier,
}

/// What the engine does by default.
pub const DEFAULT: Choice = Choice {
    body: Body::Discard,
    descriptors: Descriptors::Fixed,
    settle: Settle::WhileFree,
    tier: Tier::MinWait,
};

/// Counts, and sends for ever.
#[derive(Debug, Default)]
struct Counter {
    responses: u64,
    body_bytes: u64,
    failures: u64,
}

impl Handler for Counter {
    fn poll_requests(&mut self, _lane: u32, room: u32, _now: Instant) -> Next {
        room.into()
    }

    fn wants_connection(&mut self, _lane: u32) -> bool {
        true
    }

    fn handle_response(&mut self, _lane: u32, _response: Response, _now: Instant) {
        self.responses += 1;
    }

    fn handle_body(&mut self, _lane: u32, piece: &[u8]) {
        self.body_bytes += piece.len() as u64;
    }

    fn handle_failure(&mut self, _: u32, _: Failure, _: Option<Instant>, _: Instant) {
        self.failures += 1;
    }

    fn handle_unsent(&mut self, _lane: u32, _sent: Instant) {}
}

/// Runs `choice` on a thread pinned to `core`: `connections` connections, keep-alive.
#[must_use]
pub fn run(
    core: usize,
    address: SocketAddr,
    request: &[u8],
    connections: u32,
    choice: Choice,
    (warm_up, duration): (Duration, Duration),
) -> Run<'static> {
    let request = request.to_vec();
    Box::new(move || {
        let request = request.clone();
        let body = move |_| measure(address, &request, connections, choice, warm_up, duration);
        let thread = ringshot::host::thread::spawn(core, body)?;
        thread.join().map_err(|_| "a shard panicked")?
    })
}

fn measure(
    address: SocketAddr,
    request: &[u8],
    connections: u32,
    choice: Choice,
    warm_up: Duration,
    duration: Duration,
) -> Outcome<Score> {
    let limits = Limits { slots: connections };
    let ring = RingConfig { limits, tier: choice.tier, descriptors: choice.descriptors };
    let copies = Copies::new(request, h1::Sent::default(), 1);
    let Choice { body, settle, .. } = choice;
    let config = Config { body, settle, ..Config::new(vec![address], copies, connections, 1) };
    let mut shard = Shard::new(Uring::open(ring)?, config)?;
    let mut counter = Counter::default();
    let mut now = Instant::now();
    shard.rouse(&mut counter, now);
    let mut turn_until =
        |shard: &mut Shard<Uring>, counter: &mut Counter, end| -> Outcome<Instant> {
            while now < end {
                now = shard.turn(Duration::from_millis(20), counter, &mut Instant::now)?;
            }
            Ok(now)
        };
    let begin = Instant::now() + warm_up;
    let begin = turn_until(&mut shard, &mut counter, begin)?;
    let (cpu, before, bytes) =
        (CpuTime::of_thread(), counter.responses, shard.counters().bytes_received);
    let end = turn_until(&mut shard, &mut counter, begin + duration)?;
    let cpu = CpuTime::of_thread().since(cpu);
    let seconds = (end - begin).as_secs_f64();
    let requests = (counter.responses - before) as f64;
    let received = (shard.counters().bytes_received - bytes) as f64;
    let failures = counter.failures;
    shard.close(&mut counter, end);
    while !shard.is_closed() {
        shard.turn(Duration::from_millis(20), &mut counter, &mut Instant::now)?;
    }
    if failures > 0 {
        return Err(format!("{failures} requests failed").into());
    }
    Ok(Score {
        rate: requests / seconds,
        cpu_us: cpu.total().as_secs_f64() * 1e6 / requests,
        user_us: cpu.user.as_secs_f64() * 1e6 / requests,
        bytes_rate: received / seconds,
        ..Score::default()
    })
}
