//! The client as a contestant: tasks on one core, each with one request at a time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringshot::client::{Cores, Engine, Target, blocking};
use ringshot::driver::DriverChoice;
use ringshot::host::Host;
use ringshot::sys::process::CpuTime;

use crate::bare::Outcome;
use crate::contest::Score;

/// `tasks` tasks that request `url` on `core`, on a host.
///
/// # Errors
/// If the engine can't start, or a request fails.
pub fn run(
    url: &str,
    core: usize,
    host: Host,
    tasks: u32,
    warm_up: Duration,
    duration: Duration,
) -> Outcome<Score> {
    let cores = Cores::List(vec![core]);
    let engine = Engine::builder().cores(cores).host(host).driver(DriverChoice::IoUring).build()?;
    let client = engine.client().max_conns_per_host(tasks).build()?;
    let target: Target = url.parse()?;
    let score = engine.run_on(0, async move |ctx| {
        let client = ctx.client(&client);
        let done = Rc::new(Cell::new(0_u64));
        let failed = Rc::new(Cell::new(0_u64));
        let _tasks: Vec<_> = (0..tasks)
            .map(|_| {
                let (client, target) = (client.clone(), target.clone());
                let (done, failed) = (Rc::clone(&done), Rc::clone(&failed));
                ctx.spawn(async move {
                    loop {
                        let read = async { client.get(&target).send().await?.bytes().await };
                        let count = if read.await.is_ok() { &done } else { &failed };
                        count.set(count.get() + 1);
                    }
                })
            })
            .collect();
        ctx.sleep(warm_up).await;
        let (start, cpu, before) = (Instant::now(), CpuTime::of_thread(), done.get());
        ctx.sleep(duration).await;
        let (seconds, cpu) = (start.elapsed().as_secs_f64(), CpuTime::of_thread().since(cpu));
        let requests = (done.get() - before) as f64;
        let score = Score {
            rate: requests / seconds,
            cpu_us: cpu.total().as_secs_f64() * 1e6 / requests,
            user_us: cpu.user.as_secs_f64() * 1e6 / requests,
            ..Score::default()
        };
        (score, failed.get())
    });
    let (score, failed) = blocking::block_on(score)?;
    if failed > 0 { Err(format!("{failed} requests failed").into()) } else { Ok(score) }
}
