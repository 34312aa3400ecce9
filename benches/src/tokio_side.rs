//! Clients used from tokio as contestants: Ringshot's, reqwest, and the client of hyper-util. One runtime of one thread each, the same loop around each.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ringshot::client::{Client, Target};
use ringshot::clock::Instant;

use crate::bare::Outcome;
use crate::contest::Score;
use crate::cpu::CpuSeconds;

/// What a task fails with.
pub type Problem = Box<dyn std::error::Error + Send + Sync>;

/// A client that can fetch its URL: one `GET`, the body read whole.
pub trait Fetch: Clone + Send + Sync + 'static {
    /// One request.
    fn fetch(&self) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// Ringshot's client and its URL.
#[derive(Debug, Clone)]
pub struct ByRingshot(pub Client, pub Target);

impl Fetch for ByRingshot {
    async fn fetch(&self) -> Result<(), Problem> {
        self.0.get(&self.1).send().await?.bytes().await?;
        Ok(())
    }
}

/// reqwest and its URL.
#[derive(Debug, Clone)]
pub struct ByReqwest(reqwest::Client, reqwest::Url);

impl ByReqwest {
    /// With room for so many idle connections.
    ///
    /// # Errors
    /// What reqwest says.
    pub fn new(url: &str, connections: usize) -> Outcome<Self> {
        let client = reqwest::Client::builder().pool_max_idle_per_host(connections).no_proxy();
        Ok(Self(client.build()?, url.parse()?))
    }
}

impl Fetch for ByReqwest {
    async fn fetch(&self) -> Result<(), Problem> {
        self.0.get(self.1.clone()).send().await?.bytes().await?;
        Ok(())
    }
}

/// The client of hyper-util and its URL.
#[derive(Debug, Clone)]
pub struct ByHyper(Hyper<HttpConnector, Empty<Bytes>>, Uri);

impl ByHyper {
    /// With room for so many idle connections.
    ///
    /// # Errors
    /// If the URL is none.
    pub fn new(url: &str, connections: usize) -> Outcome<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut builder = Hyper::builder(TokioExecutor::new());
        Ok(Self(builder.pool_max_idle_per_host(connections).build(connector), url.parse()?))
    }
}

impl Fetch for ByHyper {
    async fn fetch(&self) -> Result<(), Problem> {
        let response = self.0.get(self.1.clone()).await?;
        response.into_body().collect().await?.to_bytes();
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Shared {
    responses: AtomicU64,
    over: AtomicBool,
}

/// So many tasks fetch in loops; requests a second, and the CPU of the whole process.
///
/// # Errors
/// The first request that fails.
pub async fn closed_loop(
    client: impl Fetch,
    tasks: u32,
    warm_up: Duration,
    duration: Duration,
) -> Result<Score, Problem> {
    let shared = Arc::new(Shared::default());
    let work = |client, shared| tokio::spawn(fetch_on(client, shared));
    let workers: Vec<_> = (0..tasks).map(|_| work(client.clone(), Arc::clone(&shared))).collect();
    let mark =
        || (Instant::now(), shared.responses.load(Ordering::Relaxed), CpuSeconds::of_process());
    tokio::time::sleep(warm_up).await;
    let begin = mark();
    tokio::time::sleep(duration).await;
    let end = mark();
    shared.over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await??;
    }
    let requests = (end.1 - begin.1) as f64;
    let cpu = end.2.since(begin.2);
    Ok(Score {
        rate: requests / (end.0 - begin.0).as_secs_f64(),
        cpu_us: cpu.total() * 1e6 / requests,
        user_us: cpu.user * 1e6 / requests,
        ..Score::default()
    })
}

async fn fetch_on(client: impl Fetch, shared: Arc<Shared>) -> Result<(), Problem> {
    while !shared.over.load(Ordering::Relaxed) {
        client.fetch().await?;
        shared.responses.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// One request after another; the median latency.
///
/// # Errors
/// The first request that fails.
pub async fn one_by_one(
    client: impl Fetch,
    warm_up: Duration,
    duration: Duration,
) -> Result<Score, Problem> {
    let start = Instant::now();
    while Instant::now() < start + warm_up {
        client.fetch().await?;
    }
    let (begin, cpu) = (Instant::now(), CpuSeconds::of_process());
    let mut nanos = Vec::new();
    let mut now = begin;
    while now < begin + duration {
        client.fetch().await?;
        let done = Instant::now();
        nanos.push(done.nanos_since(now));
        now = done;
    }
    let cpu = CpuSeconds::of_process().since(cpu);
    nanos.sort_unstable();
    let requests = nanos.len() as f64;
    Ok(Score {
        rate: requests / (now - begin).as_secs_f64(),
        cpu_us: cpu.total() * 1e6 / requests,
        user_us: cpu.user * 1e6 / requests,
        p50_us: nanos[nanos.len() / 2] as f64 / 1e3,
        ..Score::default()
    })
}

/// Runs a future on a runtime of one thread, pinned to `core`.
///
/// # Errors
/// What the system or the future says.
pub fn on_tokio<F>(core: usize, future: impl FnOnce() -> F + Send + 'static) -> Outcome<Score>
where
    F: Future<Output = Result<Score, Problem>>,
{
    let thread = ringshot::host::thread::spawn(core, move |_| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(future())
    })?;
    thread.join().map_err(|_| "a runtime panicked")?
}
