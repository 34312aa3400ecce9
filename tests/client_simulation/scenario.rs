//! What a seed decides: clients and their limits, servers, names, requests, the kernel's manners, and what breaks. Runs nothing.

use std::time::Duration;

use http::Method;
use ringshot::client::{ClientBuilder, Retry, RetryStale, Reuse, Timeouts, TotalFrom};
use ringshot::clock::Instant;
use ringshot::driver::sim::{Config as SimConfig, Faults, Random};
use ringshot_tests::seeds::{Reach, START, Trouble, faults, micros, quirks, some};

use super::book::HostId;
use super::errand::{Errand, Reading, Upload};
use super::ledger::Terms;
use super::names::Manners;
use super::server::Mix;

/// How hard servers are to reach.
const REACH: Reach = Reach { refused: 0.4, unanswered: 0.2, late_micros: 600_000 };

/// One client's limits and hosts.
#[derive(Debug, Clone)]
pub(super) struct ClientPlan {
    pub(super) max_in_flight: Option<u32>,
    pub(super) max_conns: u32,
    pub(super) max_conns_per_host: u32,
    max_connecting: u32,
    max_waiters: Option<u32>,
    reuse: Reuse,
    idle_timeout: Duration,
    max_lifetime: Option<Duration>,
    timeouts: Timeouts,
    attempts: u8,
    retry_stale: RetryStale,
    body_buffer_bytes: u32,
    /// What each host is called.
    authorities: Vec<String>,
}

impl ClientPlan {
    pub(super) fn build(&self, builder: ClientBuilder) -> ClientBuilder {
        let builder = match self.max_in_flight {
            Some(max) => builder.max_in_flight(max),
            None => builder,
        };
        let policy = Retry::budget(1.0).attempts(self.attempts);
        builder
            .max_conns(self.max_conns)
            .max_conns_per_host(self.max_conns_per_host)
            .max_connecting_per_host(self.max_connecting)
            .max_waiters(self.max_waiters)
            .reuse(self.reuse)
            .idle_timeout(self.idle_timeout)
            .max_lifetime(self.max_lifetime)
            .timeouts(self.timeouts)
            .retry(policy.backoff(Duration::ZERO..Duration::ZERO))
            .retry_stale(self.retry_stale)
            .body_buffer_bytes(self.body_buffer_bytes)
    }
}

/// Everything that a seed decides.
#[derive(Debug, Clone)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) sim: SimConfig,
    pub(super) mix: Mix,
    pub(super) manners: Manners,
    pub(super) clients: Vec<ClientPlan>,
    pub(super) terms: Vec<Terms>,
    pub(super) errands: u64,
    /// The longest time between two errands, and how many may begin together.
    pub(super) pause_max: Duration,
    pub(super) burst_max: u64,
    /// In percent of turns: a task is dropped.
    pub(super) task_drops: u64,
    /// The engine is shut down after so many turns.
    pub(super) shutdown: Option<u64>,
    pub(super) block_max: Duration,
    troubled: bool,
    mid_body_quits: bool,
}

fn mix(random: &mut Random, troubled: bool, storm_end: Instant) -> Mix {
    Mix {
        large: some(random, 0.3),
        dribble: some(random, 0.5),
        closes: some(random, 0.3),
        old: some(random, 0.1),
        early: some(random, 0.3),
        hints: some(random, 0.3),
        idle_ends: some(random, 0.5),
        idle_max: micros(random, 1, 50_000),
        faults: if troubled { some(random, 0.2) } else { 0.0 },
        storm_end,
    }
}

impl Scenario {
    /// The scenario of a seed.
    pub(super) fn draw(seed: u64, trouble: Trouble) -> Self {
        let random = &mut Random::new(seed ^ 0x434C_4900);
        let troubled = trouble == Trouble::Faults;
        let storm = if random.chance(0.3) { Duration::MAX } else { micros(random, 500, 400_000) };
        let storm_end = Instant::from_nanos(
            START.as_nanos().saturating_add(u64::try_from(storm.as_nanos()).unwrap_or(u64::MAX)),
        );
        let slots = random.between(1, 24) as u32;
        let mix = mix(random, troubled, storm_end);
        let clients: Vec<_> = (0..random.between(1, 2) as u8)
            .map(|client| draw_client(random, client, slots, troubled))
            .collect();
        let terms = |plan: &ClientPlan| Terms {
            timeouts: plan.timeouts,
            attempts: plan.attempts.into(),
            patient: !troubled,
            idle_ends: mix.idle_ends > 0.0,
            old: mix.old + mix.closes > 0.0,
        };
        Self {
            seed,
            sim: SimConfig {
                storm,
                small_buffers: (slots / 4 + random.below(40) as u32).max(1),
                small_buffer_bytes: *random.pick(&[4096, 4096, 512, 65536]).expect("some"),
                large_buffers: random.between(1, 8) as u32,
                queue_entries: random.between(1, 64) as u32,
                latency_max: micros(random, 1, 400),
                quirks: quirks(random),
                faults: if troubled { faults(random, REACH) } else { Faults::default() },
                ..SimConfig::calm(slots, random.number())
            },
            mix,
            manners: Manners {
                late: some(random, 0.8),
                late_max: micros(random, 1, 20_000),
                failing: if troubled { some(random, 0.4) } else { 0.0 },
                silent: if troubled { some(random, 0.2) } else { 0.0 },
            },
            terms: clients.iter().map(terms).collect(),
            clients,
            errands: random.between(1, 120),
            pause_max: micros(random, 1, 5_000),
            burst_max: random.between(1, 30),
            task_drops: if troubled && random.chance(0.5) { random.below(10) } else { 0 },
            shutdown: random.chance(0.2).then(|| random.below(400)),
            block_max: *random
                .pick(&[Duration::from_millis(20), Duration::from_secs(3600)])
                .expect("some"),
            troubled,
            mid_body_quits: troubled && random.chance(0.7),
        }
    }

    /// The next errand.
    pub(super) fn draw_errand(&self, id: u64, random: &mut Random) -> Errand {
        let client = random.below(self.clients.len() as u64) as u8;
        let authorities = &self.clients[usize::from(client)].authorities;
        let host = random.below(authorities.len() as u64) as u8;
        let methods =
            [Method::GET, Method::GET, Method::GET, Method::HEAD, Method::POST, Method::PUT];
        let method = random.pick(&methods).expect("some").clone();
        let sends = method == Method::POST || method == Method::PUT;
        let upload = if sends { self.draw_upload(random) } else { Upload::None };
        let quits = self.mid_body_quits && random.chance(0.3);
        Errand {
            id,
            host: HostId { client, host },
            authority: authorities[usize::from(host)].clone(),
            method,
            upload,
            expects: upload != Upload::None && random.chance(0.3),
            idempotent: random.chance(0.1),
            total: (self.troubled && random.chance(0.3)).then(|| micros(random, 1, 100_000)),
            reading: self.draw_reading(random),
            quits: quits.then(|| micros(random, 0, 30_000)),
            seed: random.number(),
        }
    }

    fn draw_upload(&self, random: &mut Random) -> Upload {
        let most = *random.pick(&[10, 3000, 40_000, 400_000]).expect("some");
        let bytes = random.below(most);
        match random.below(if self.troubled { 7 } else { 5 }) {
            0 => Upload::None,
            1 | 2 => Upload::Bytes(bytes),
            3 => Upload::Stream(bytes),
            4 => Upload::StreamOf(bytes),
            5 => Upload::Failing(bytes),
            _ => Upload::Short(bytes),
        }
    }

    fn draw_reading(&self, random: &mut Random) -> Reading {
        match random.below(10) {
            0..=3 => Reading::Whole,
            4 => Reading::Pieces(random.below(100), micros(random, 1, 3000)),
            5 => Reading::Pieces(0, Duration::from_nanos(1)),
            6 => Reading::Discard,
            7 => Reading::DiscardAfter(random.below(4)),
            8 => Reading::DropAfter(random.below(4)),
            _ => Reading::Hold(micros(random, 1, 20_000)),
        }
    }
}

fn draw_client(random: &mut Random, client: u8, slots: u32, troubled: bool) -> ClientPlan {
    let named = random.chance(0.6);
    let hosts = random.between(1, 5) as u8;
    let authority = |host| {
        let id = HostId { client, host };
        if named && host % 2 == 0 { id.name() } else { id.address(0).to_string() }
    };
    let (mut attempts, mut retry_stale) = (1, RetryStale::Yes);
    if troubled && random.chance(0.3) {
        attempts = random.between(2, 3) as u8;
    }
    if troubled && random.chance(0.1) {
        retry_stale = RetryStale::No;
    }
    ClientPlan {
        max_in_flight: random.chance(0.6).then(|| random.between(1, 20) as u32),
        max_conns: random.between(1, slots.into()) as u32,
        max_conns_per_host: random.between(1, 8) as u32,
        max_connecting: random.between(1, 4) as u32,
        max_waiters: (troubled && random.chance(0.3)).then(|| random.between(1, 20) as u32),
        reuse: if random.chance(0.5) { Reuse::Lifo } else { Reuse::Fifo },
        idle_timeout: micros(random, 100, 2_000_000),
        max_lifetime: random.chance(0.3).then(|| micros(random, 100, 200_000)),
        timeouts: draw_timeouts(random, troubled),
        attempts,
        retry_stale,
        body_buffer_bytes: random.between(1, 128 << 10) as u32,
        authorities: (0..hosts).map(authority).collect(),
    }
}

fn draw_timeouts(random: &mut Random, troubled: bool) -> Timeouts {
    let expect = micros(random, 100, 5_000);
    if !troubled {
        // Far longer than anything takes.
        let long = Some(Duration::from_secs(600));
        return Timeouts {
            resolve: long,
            connect: long,
            send: long,
            head: long,
            read_idle: long,
            expect,
            ..Timeouts::default()
        };
    }
    let limit = |random: &mut Random| random.chance(0.5).then(|| micros(random, 200, 100_000));
    Timeouts {
        queue: limit(random),
        acquire: limit(random),
        // A surplus dial that nobody waits for has nothing else that ends it.
        resolve: Some(micros(random, 200, 300_000)),
        connect: Some(micros(random, 200, 300_000)),
        connect_attempt: limit(random),
        send: limit(random),
        expect,
        head: limit(random),
        read_idle: limit(random),
        total: Some(micros(random, 1_000, 500_000)),
        total_from: if random.chance(0.7) { TotalFrom::Submit } else { TotalFrom::Acquire },
    }
}
