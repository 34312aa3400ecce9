//! The core-local client as a contestant: tasks on one core, each of which sends its next request when it has read its response.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use ringshot::client::{Client, CoreCtx, Cores, Engine, LocalClient, Target, blocking};
use ringshot::clock::Instant;
use ringshot::driver::{DriverChoice, DriverKind};
use ringshot::host::Host;
use ringshot::sys::process::CpuTime;

use crate::bare::Outcome;
use crate::contest::Score;
use crate::heap::allocations;

/// What the tasks of a core share.
#[derive(Debug, Default)]
struct Shared {
    responses: Cell<u64>,
    over: Cell<bool>,
}

/// How a core stands at one moment.
#[derive(Debug, Clone, Copy)]
struct Mark {
    now: Instant,
    responses: u64,
    allocations: u64,
    cpu: CpuTime,
}

/// An engine on one core, and its load.
#[derive(Debug)]
pub struct Local {
    /// The core.
    pub core: usize,
    /// Its driver.
    pub driver: DriverKind,
    /// Who turns it.
    pub host: Host,
    /// What is asked for.
    pub target: Target,
    /// Tasks, and connections.
    pub tasks: u32,
    /// Before the measuring begins.
    pub warm_up: Duration,
    /// How long is measured.
    pub duration: Duration,
}

impl Local {
    /// One run.
    ///
    /// # Errors
    /// What stands in the way of an engine, and the first request that fails.
    pub fn run(&self) -> Outcome<Score> {
        let driver = match self.driver {
            DriverKind::IoUring => DriverChoice::IoUring,
            DriverKind::Epoll => DriverChoice::Epoll,
        };
        let cores = Cores::List(vec![self.core]);
        let engine = Engine::builder().cores(cores).driver(driver).host(self.host).build()?;
        let client = engine.client().max_conns_per_host(self.tasks).build()?;
        let (target, tasks, times) =
            (self.target.clone(), self.tasks, (self.warm_up, self.duration));
        let work = move |ctx| serve(ctx, client, target, tasks, times);
        let (begin, end) = blocking::block_on(engine.run_on(0, work))??;
        let stats = engine.stats();
        engine.shutdown()?;
        let turns: u64 = stats.iter().map(|core| core.counters.turns).sum();
        let completions: u64 = stats.iter().map(|core| core.counters.completions).sum();
        let requests = (end.responses - begin.responses) as f64;
        let cpu = end.cpu.since(begin.cpu);
        Ok(Score {
            rate: requests / (end.now - begin.now).as_secs_f64(),
            cpu_us: cpu.total().as_secs_f64() * 1e6 / requests,
            user_us: cpu.user.as_secs_f64() * 1e6 / requests,
            company: completions as f64 / turns as f64,
            allocations: (end.allocations - begin.allocations) as f64 / requests,
            ..Score::default()
        })
    }
}

async fn serve(
    ctx: CoreCtx,
    client: Client,
    target: Target,
    tasks: u32,
    (warm_up, duration): (Duration, Duration),
) -> Result<(Mark, Mark), ringshot::Error> {
    let shared = Rc::new(Shared::default());
    let worker = || work(ctx.client(&client), target.clone(), Rc::clone(&shared));
    let tasks: Vec<_> = (0..tasks).map(|_| ctx.spawn(worker())).collect();
    ctx.sleep(warm_up).await;
    let begin = shared.mark();
    ctx.sleep(duration).await;
    let end = shared.mark();
    shared.over.set(true);
    for task in tasks {
        if let Ok(outcome) = task.await {
            outcome?;
        }
    }
    Ok((begin, end))
}

async fn work(
    client: LocalClient,
    target: Target,
    shared: Rc<Shared>,
) -> Result<(), ringshot::Error> {
    while !shared.over.get() {
        client.get(&target).send().await?.bytes().await?;
        shared.responses.set(shared.responses.get() + 1);
    }
    Ok(())
}

impl Shared {
    fn mark(&self) -> Mark {
        Mark {
            now: Instant::now(),
            responses: self.responses.get(),
            allocations: allocations(),
            cpu: CpuTime::of_thread(),
        }
    }
}
