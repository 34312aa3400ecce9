//! An engine, a client of it, and from where its requests are made: every driver, one core and two, from a thread of the test's own and on the cores.

use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use http::Method;
use ringshot::client::blocking::block_on;
use ringshot::client::{
    Client, ClientBuilder, Cores, Engine, Error, Fetched, Holding, PoolCounters, Request,
};
use ringshot::driver::{DriverChoice, DriverKind};
use ringshot::sys::affinity;
use ringshot_tests::load::drivers;
use ringshot_tests::watch::{descriptors, wait_until};

/// How long anything may take that should take no time at all: test machines are busy.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// From where requests are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// A thread of the test's own.
    Cross,
    /// Tasks on the cores.
    Local,
}

/// Where and how a test runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) driver: DriverKind,
    pub(crate) cores: usize,
    pub(crate) way: Way,
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{:?}", self.driver, self.cores, self.way)
    }
}

/// All of them: each driver, from outside on one core and on two, and on the cores themselves.
pub(crate) fn cases() -> Vec<Case> {
    let most = affinity::cores().len().min(2);
    let ways = [(1, Way::Cross), (most, Way::Cross), (most, Way::Local)];
    let of = |driver| ways.map(move |(cores, way)| Case { driver, cores, way });
    drivers().into_iter().flat_map(of).collect()
}

/// One after the other.
pub(crate) fn each(mut check: impl FnMut(Case)) {
    cases().into_iter().for_each(&mut check);
}

/// All at once: for tests that mostly wait.
pub(crate) fn each_at_once(check: impl Fn(Case) + Sync) {
    std::thread::scope(|scope| {
        for case in cases() {
            let check = &check;
            scope.spawn(move || check(case));
        }
    });
}

/// An engine and a client of it.
pub(crate) struct Rig {
    pub(crate) case: Case,
    pub(crate) engine: Engine,
    pub(crate) client: Client,
}

impl Rig {
    pub(crate) fn new(case: Case, build: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Self {
        let driver = match case.driver {
            DriverKind::Epoll => DriverChoice::Epoll,
            _ => DriverChoice::IoUring,
        };
        let engine = Engine::builder().cores(Cores::Count(case.cores)).driver(driver);
        let engine = engine.build().unwrap();
        let client = build(engine.client()).build().unwrap();
        Self { case, engine, client }
    }

    /// Sends all at once, and reads every response; the outcomes in order.
    pub(crate) fn fetch_all(&self, requests: Vec<Request>) -> Vec<Result<Fetched, Error>> {
        match self.case.way {
            Way::Cross => {
                let client = &self.client;
                block_on(join_all(requests.into_iter().map(|request| client.fetch(request))))
            }
            Way::Local => self.fetch_locally(requests),
        }
    }

    fn fetch_locally(&self, requests: Vec<Request>) -> Vec<Result<Fetched, Error>> {
        let share = requests.len().div_ceil(self.engine.cores()).max(1);
        let mut requests = requests.into_iter();
        let mut running = Vec::new();
        for core in 0..self.engine.cores() {
            let part: Vec<_> = requests.by_ref().take(share).collect();
            let client = self.client.clone();
            running.push(self.engine.run_on(core, move |ctx| async move {
                let client = ctx.client(&client);
                let fetches = part.into_iter().map(|request| client.fetch(request));
                join_all(fetches).await
            }));
        }
        let parts = block_on(join_all(running));
        parts.into_iter().flat_map(|part| part.expect("the core lives")).collect()
    }

    /// What all cores hold.
    pub(crate) fn holding(&self) -> Holding {
        let mut all = Holding::default();
        for Holding { in_flight, queued, waiting, active, idle, connecting, closing, .. } in
            self.engine.stats().into_iter().map(|stats| stats.holding)
        {
            all.in_flight += in_flight;
            all.queued += queued;
            all.waiting += waiting;
            all.active += active;
            all.idle += idle;
            all.connecting += connecting;
            all.closing += closing;
        }
        all
    }

    /// The sum of a counter over all cores.
    pub(crate) fn count(&self, counter: impl Fn(&PoolCounters) -> u64) -> u64 {
        self.engine.stats().iter().map(|stats| counter(&stats.counters)).sum()
    }

    /// Nothing is left but idle connections.
    pub(crate) fn check_at_rest(&self) {
        let rests = || {
            let mut holding = self.holding();
            holding.idle = 0;
            holding == Holding::default()
        };
        assert!(wait_until(SOON, rests), "{}: {:?}", self.case, self.holding());
        let placed = || self.engine.stats().iter().map(|stats| stats.placed).sum::<u32>();
        assert!(wait_until(SOON, || placed() == 0), "{}: {} placed", self.case, placed());
    }
}

pub(crate) fn get(url: &str) -> Request {
    Request::get(url).unwrap()
}

pub(crate) fn post(url: &str, body: Vec<u8>) -> Request {
    Request::new(Method::POST, url).unwrap().body(body)
}

/// Awaits all futures, each polled when any of them wakes: for tests, which have few.
pub(crate) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outcomes: Vec<_> = running.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, outcome) in running.iter_mut().zip(&mut outcomes) {
            if outcome.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *outcome = Some(value);
            }
        }
        if outcomes.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}

/// Sockets of this process that are connected to `port` of this machine, or on their way there, from /proc/net/tcp.
pub(crate) fn sockets_to(port: u16) -> usize {
    let own = descriptors();
    let mut count = 0;
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let rows = std::fs::read_to_string(table).unwrap_or_default();
        for row in rows.lines().skip(1) {
            let fields: Vec<_> = row.split_whitespace().collect();
            let inode = format!("socket:[{}]", fields[9]);
            let to_port = fields[2].ends_with(&format!(":{port:04X}"));
            count += usize::from(to_port && own.binary_search(&inode).is_ok());
        }
    }
    count
}
