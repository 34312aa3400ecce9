//! How a test reaches a client: on each driver, from a thread and on the core itself, all four at once. Asserts nothing of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use http::Method;
use ringshot::client::blocking::block_on;
use ringshot::client::{Client, ClientBuilder, CoreStats, Cores, Engine, Error, Fetched, Request};
use ringshot::driver::DriverChoice;
use ringshot::origin::{Config, Origin};
pub(crate) use ringshot_tests::load::choices as drivers;
use ringshot_tests::peer::Peer;
use ringshot_tests::watch::wait_until;

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// Long enough for anything on a busy machine that is going to happen at all.
pub(crate) const LONG: Duration = Duration::from_secs(10);

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Where a request is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// On a thread of its own: through [`Client`].
    Thread,
    /// On the core: through the client of that core.
    Core,
}

/// A client on an engine of its own.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) engine: Engine,
    pub(crate) client: Client,
    pub(crate) way: Way,
}

/// Runs `test` on each driver and each way at once, each with an engine of one core.
pub(crate) fn check(
    configure: impl Fn(ClientBuilder) -> ClientBuilder + Sync,
    test: impl Fn(&Access) + Sync,
) {
    check_on(1, configure, test);
}

/// [`check`] with engines of `cores` cores, or as many as there are.
pub(crate) fn check_on(
    cores: usize,
    configure: impl Fn(ClientBuilder) -> ClientBuilder + Sync,
    test: impl Fn(&Access) + Sync,
) {
    std::thread::scope(|scope| {
        for driver in drivers() {
            for way in [Way::Thread, Way::Core] {
                let (configure, test) = (&configure, &test);
                let run = move || test(&Access::new(driver, cores, way, configure));
                let named = std::thread::Builder::new().name(format!("{driver:?} {way:?}"));
                named.spawn_scoped(scope, run).unwrap();
            }
        }
    });
}

impl Access {
    fn new(
        driver: DriverChoice,
        cores: usize,
        way: Way,
        configure: impl Fn(ClientBuilder) -> ClientBuilder,
    ) -> Self {
        let cores = cores.min(ringshot::sys::affinity::cores().len());
        let engine = Engine::builder().cores(Cores::Count(cores)).driver(driver).build().unwrap();
        let client = configure(engine.client()).build().unwrap();
        Self { engine, client, way }
    }

    /// The same engine with another client.
    pub(crate) fn with(&self, configure: impl Fn(ClientBuilder) -> ClientBuilder) -> Self {
        let client = configure(self.engine.client()).build().unwrap();
        Self { client, ..self.clone() }
    }

    /// Sends a request and waits for all of its response.
    pub(crate) fn fetch(&self, request: Request) -> Result<Fetched, Error> {
        self.fetch_on(0, request)
    }

    /// [`Access::fetch`]; on a core it is the `core`th.
    pub(crate) fn fetch_on(&self, core: usize, request: Request) -> Result<Fetched, Error> {
        match self.way {
            Way::Thread => block_on(self.client.fetch(request)),
            Way::Core => {
                let client = self.client.clone();
                let work = async move |ctx: ringshot::client::CoreCtx| {
                    ctx.client(&client).fetch(request).await
                };
                block_on(self.engine.run_on(core, work)).and_then(|fetched| fetched)
            }
        }
    }

    /// Begins a request.
    pub(crate) fn start(&self, request: Request) -> Started {
        self.start_on(0, request)
    }

    /// [`Access::start`]; on a core it is the `core`th.
    pub(crate) fn start_on(&self, core: usize, request: Request) -> Started {
        let cancel = Arc::new(Cancel::default());
        let (ours, access) = (Arc::clone(&cancel), self.clone());
        let thread = std::thread::spawn(move || match access.way {
            Way::Thread => block_on(ours.or(access.client.fetch(request))),
            Way::Core => {
                let client = access.client.clone();
                let work = async move |ctx: ringshot::client::CoreCtx| {
                    ours.or(ctx.client(&client).fetch(request)).await
                };
                block_on(access.engine.run_on(core, work)).unwrap()
            }
        });
        Started { cancel, thread }
    }

    /// Gets `url` and reads all of it.
    pub(crate) fn get(&self, url: &str) -> Result<Fetched, Error> {
        self.fetch(get(url))
    }

    /// The engine's cores added up.
    pub(crate) fn total(&self, of: impl Fn(&CoreStats) -> u64) -> u64 {
        self.engine.stats().iter().map(of).sum()
    }

    /// Waits until a figure of all cores is `expected`.
    #[track_caller]
    pub(crate) fn wait_for(&self, expected: u64, of: impl Fn(&CoreStats) -> u64) {
        let reached = wait_until(LONG, || self.total(&of) == expected);
        assert!(reached, "{} instead of {expected}: {:#?}", self.total(&of), self.engine.stats());
    }

    /// Waits until so many connections are idle.
    #[track_caller]
    pub(crate) fn wait_idle(&self, expected: u64) {
        self.wait_for(expected, |core| core.holding.idle.into());
    }

    /// Waits until nothing is in flight, waiting or being closed, and no connection is open.
    #[track_caller]
    pub(crate) fn wait_empty(&self) {
        self.wait_for(0, |core| {
            let held = core.holding;
            let requests = held.in_flight + held.queued + held.waiting;
            (requests + held.active + held.idle + held.connecting + held.closing).into()
        });
    }
}

/// Runs an expression on a client, where the access says.
macro_rules! on_client {
    ($access:expr, $client:ident => $body:expr) => {
        match $access.way {
            $crate::access::Way::Thread => {
                let $client = $access.client.clone();
                ringshot::client::blocking::block_on(async move { $body })
            }
            $crate::access::Way::Core => {
                let inner = $access.client.clone();
                let work = async move |ctx: ringshot::client::CoreCtx| {
                    let $client = ctx.client(&inner);
                    $body
                };
                ringshot::client::blocking::block_on($access.engine.run_on(0, work)).unwrap()
            }
        }
    };
}

pub(crate) fn get(url: &str) -> Request {
    Request::get(url).unwrap()
}

pub(crate) fn post(url: &str, body: &'static str) -> Request {
    Request::new(Method::POST, url).unwrap().body(body)
}

/// A request that is on its way on another thread.
#[derive(Debug)]
pub(crate) struct Started {
    cancel: Arc<Cancel>,
    thread: JoinHandle<Option<Result<Fetched, Error>>>,
}

impl Started {
    /// What came of it.
    #[track_caller]
    pub(crate) fn outcome(self) -> Result<Fetched, Error> {
        self.thread.join().unwrap().expect("nobody cancelled it")
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Drops its future, wherever that is.
    pub(crate) fn cancel(self) {
        self.cancel.cancelled.store(true, Ordering::SeqCst);
        if let Some(waker) = self.cancel.waker.lock().unwrap().take() {
            waker.wake();
        }
        assert!(self.thread.join().unwrap().is_none(), "it was over before it was cancelled");
    }
}

#[derive(Debug, Default)]
struct Cancel {
    cancelled: AtomicBool,
    waker: std::sync::Mutex<Option<Waker>>,
}

impl Cancel {
    /// The outcome of `work`, or nothing once it is cancelled.
    async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        std::future::poll_fn(|cx| {
            *self.waker.lock().unwrap() = Some(cx.waker().clone());
            if self.cancelled.load(Ordering::SeqCst) {
                return Poll::Ready(None);
            }
            work.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

/// The built-in origin on loopback.
pub(crate) fn origin() -> Origin {
    Origin::start(&Config::on_loopback()).unwrap()
}

/// A peer that answers everything with 200.
pub(crate) fn friendly() -> Peer {
    Peer::start(|mut peer| peer.answer_all(OK))
}
