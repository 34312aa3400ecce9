//! The classic comparison: 50 requests to a server that waits 100 ms, by ever less blocking; and what a task costs. `cargo run --release -p ringshot-benches
//! --bin patterns`
//!
//! Arguments: rounds (3), requests (50), milliseconds (100).
//!
//! | pattern | how |
//! |---|---|
//! | one at a time | a blocking client (ureq) in a loop |
//! | 10 threads | the same client, requests shared out |
//! | epoll, io_uring | tasks on one core, all requests at once |

use std::hint::black_box;
use std::io::Write;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Waker};

use ringshot::client::{Cores, Engine, Target, blocking::block_on};
use ringshot::clock::Instant;
use ringshot::driver::DriverChoice;
use ringshot::host::Host;
use ringshot::shard::doorbell::Doorbell;
use ringshot::shard::tasks::{Spawner, Tasks};
use ringshot_benches::bare::Outcome;
use ringshot_benches::contest::{median, turns};
use ringshot_benches::engine::two_cores;
use ringshot_benches::heap::{Counting, allocations};
use ringshot_benches::server::{Server, serve_if_asked};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const THREADS: usize = 10;
/// Tasks of a lot, and lots: the fastest lot counts, since others are interrupted.
const TASKS: usize = 64;
const LOTS: usize = 20_000;
const TASK_BYTES_MAX: usize = 512;
const TASK_NANOS_MAX: f64 = 150.0;

fn main() -> Outcome<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: usize| -> Outcome<usize> {
        Ok(arguments.get(place).map_or(Ok(default), |text| text.parse())?)
    };
    let (rounds, requests, ms) = (number(0, 3)?, number(1, 50)?, number(2, 100)?);
    let (core, server_core) = two_cores();
    let server = Server::start(server_core, 13)?;
    let url = format!("http://{}/delay/{ms}", server.address);
    let mut out = std::io::stdout();
    writeln!(out, "{requests} requests to a server that waits {ms} ms, {rounds} rounds")?;
    let mut hosts = vec![
        ("epoll", DriverChoice::Epoll, Host::Thread),
        ("io_uring, bare thread", DriverChoice::IoUring, Host::Thread),
    ];
    if let Ok(glommio) = "glommio".parse() {
        hosts.push(("io_uring, glommio", DriverChoice::IoUring, glommio));
    }
    let mut engines = Vec::new();
    for (name, driver, host) in hosts {
        match Running::start(name, driver, host, core) {
            Ok(engine) => engines.push(engine),
            Err(problem) => writeln!(out, "  {name:<22} not built: {problem}")?,
        }
    }
    let mut ways: Vec<Way<'_>> = vec![
        ("one at a time", Box::new(|| one_at_a_time(&url, requests))),
        ("10 threads", Box::new(|| threads(&url, requests))),
    ];
    for it in &engines {
        ways.push((it.name, Box::new(|| tasks(&url, requests, &it.engine))));
    }
    let times = times(rounds, &ways)?;
    for ((name, _), taken) in ways.iter().zip(&times) {
        let factor = times[0] / taken;
        writeln!(out, "  {name:<22} {taken:>8.1} ms, {factor:>5.1} times as fast")?;
    }
    drop(ways);
    engines.into_iter().try_for_each(Running::stop)?;
    task()
}

/// A way to send all requests once, and its name.
type Way<'a> = (&'static str, Box<dyn Fn() -> Outcome<()> + 'a>);

/// An engine that runs through all rounds: idle while it is not its turn.
struct Running {
    name: &'static str,
    engine: Engine,
    started_ms: f64,
}

impl Running {
    fn start(name: &'static str, driver: DriverChoice, host: Host, core: usize) -> Outcome<Self> {
        let begin = Instant::now();
        let cores = Cores::List(vec![core]);
        let engine = Engine::builder().cores(cores).driver(driver).host(host).build()?;
        Ok(Self { name, engine, started_ms: millis_since(begin) })
    }

    fn stop(self) -> Outcome<()> {
        let Self { name, engine, started_ms } = self;
        let end = Instant::now();
        engine.shutdown()?;
        let stopped_ms = millis_since(end);
        writeln!(
            std::io::stdout(),
            "    the engine of {name} started in {started_ms:.1} ms, stopped in {stopped_ms:.1} ms"
        )?;
        Ok(())
    }
}

fn millis_since(begin: Instant) -> f64 {
    (Instant::now() - begin).as_secs_f64() * 1e3
}

/// The median time of each way in milliseconds.
fn times(rounds: usize, ways: &[Way<'_>]) -> Outcome<Vec<f64>> {
    let mut times = vec![Vec::new(); ways.len()];
    for round in 0..rounds {
        for place in turns(round, ways.len()) {
            let begin = Instant::now();
            ways[place].1()?;
            times[place].push(millis_since(begin));
        }
    }
    Ok(times.into_iter().map(median).collect())
}

fn one_at_a_time(url: &str, requests: usize) -> Outcome<()> {
    let agent = ureq::Agent::new_with_defaults();
    for _ in 0..requests {
        agent.get(url).call()?.body_mut().read_to_vec()?;
    }
    Ok(())
}

fn threads(url: &str, requests: usize) -> Outcome<()> {
    let (agent, next) = (ureq::Agent::new_with_defaults(), AtomicUsize::new(0));
    let work = || -> Result<(), ureq::Error> {
        while next.fetch_add(1, Ordering::Relaxed) < requests {
            agent.get(url).call()?.body_mut().read_to_vec()?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().map_err(|_| "a thread panicked")??;
        }
        Ok(())
    })
}

/// Each round with a client of its own, whose connections are new, as those of the others are.
fn tasks(url: &str, requests: usize, engine: &Engine) -> Outcome<()> {
    let client = engine.client().max_conns_per_host(requests as u32).build()?;
    let target: Target = url.parse()?;
    let window = NonZeroUsize::new(requests).ok_or("no requests")?;
    let batch = client.batch(std::iter::repeat_n(target, requests)).window(window);
    for response in block_on(batch.collect()) {
        response?;
    }
    Ok(())
}

/// What a task costs: bytes, and nanoseconds to make and finish, and to wake and poll.
fn task() -> Outcome<()> {
    let mut tasks = Tasks::new(Arc::new(Doorbell::new()?));
    let spawner = tasks.spawner();
    let spawned = least(|| {
        for _ in 0..TASKS {
            spawner.spawn(async { black_box(()) }).detach();
        }
        tasks.run(TASKS);
    });
    let before = allocations();
    spawner.spawn(async { black_box(()) }).detach();
    tasks.run(TASKS);
    let counted = allocations() - before;
    let mut out = std::io::stdout();
    let bytes = bytes_of(async { black_box(()) });
    writeln!(out, "a task")?;
    writeln!(
        out,
        "  {bytes} bytes in {counted} allocation (to reach {TASK_BYTES_MAX} or less: {})",
        verdict(bytes <= TASK_BYTES_MAX)
    )?;
    writeln!(
        out,
        "  {spawned:.0} ns to spawn and finish (to reach {TASK_NANOS_MAX} or less: {})",
        verdict(spawned <= TASK_NANOS_MAX)
    )?;
    writeln!(out, "  {:.0} ns to wake and poll", woken()?)?;
    Ok(())
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "BEHIND" }
}

fn bytes_of<F: Future>(_future: F) -> usize {
    Spawner::task_bytes::<F>()
}

fn woken() -> Outcome<f64> {
    let mut tasks = Tasks::new(Arc::new(Doorbell::new()?));
    let wakers = std::rc::Rc::new(std::cell::RefCell::new(Vec::<Waker>::new()));
    for _ in 0..TASKS {
        let (wakers, mut first) = (std::rc::Rc::clone(&wakers), true);
        let wait = std::future::poll_fn(move |context| {
            if std::mem::replace(&mut first, false) {
                wakers.borrow_mut().push(context.waker().clone());
            }
            Poll::<()>::Pending
        });
        tasks.spawner().spawn(wait).detach();
    }
    tasks.run(TASKS);
    Ok(least(|| {
        wakers.borrow().iter().for_each(Waker::wake_by_ref);
        tasks.run(TASKS);
    }))
}

/// Nanoseconds a task of the fastest lot.
fn least(mut lot: impl FnMut()) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..LOTS {
        let begin = Instant::now();
        lot();
        least = least.min(Instant::now().nanos_since(begin) as f64 / TASKS as f64);
    }
    least
}
