//! A glommio application whose own executor carries a shard: its tasks call the client beside the connections, while a glommio timer keeps ticking.
//!
//! `cargo run --release --example inside_glommio [URL]`; without a URL it starts an origin of its own.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::cell::Cell;
use std::error::Error;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use glommio::timer::sleep;
use glommio::{LocalExecutorBuilder, Placement, spawn_local};
use ringshot::client::{Engine, Target};
use ringshot::origin::{Config, Origin};

/// Tasks of the application.
const TASKS: usize = 32;
/// Requests of each.
const REQUESTS: usize = 1_000;
/// How often the application's own timer is due.
const TICK: Duration = Duration::from_millis(1);

/// A timer of the application's, beside the requests: how late it was at worst.
async fn tick(over: Rc<Cell<bool>>) -> (u32, Duration) {
    let (mut ticks, mut latest) = (0, Duration::ZERO);
    while !over.get() {
        let before = Instant::now();
        sleep(TICK).await;
        latest = latest.max(before.elapsed().saturating_sub(TICK));
        ticks += 1;
    }
    (ticks, latest)
}

async fn application(target: Target) -> Result<(), Box<dyn Error>> {
    let (engine, ctx) = Engine::builder().attach()?;
    let client = ctx.client(&engine.client().max_conns_per_host(TASKS as u32).build()?);
    let over = Rc::new(Cell::new(false));
    let ticking = spawn_local(tick(Rc::clone(&over)));
    let start = Instant::now();
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (client, target) = (client.clone(), target.clone());
            spawn_local(async move {
                let mut bytes = 0;
                for _ in 0..REQUESTS {
                    bytes += client.get(&target).send().await?.bytes().await?.len();
                }
                Ok::<usize, ringshot::Error>(bytes)
            })
        })
        .collect();
    let mut bytes = 0;
    for task in tasks {
        bytes += task.await?;
    }
    let seconds = start.elapsed().as_secs_f64();
    over.set(true);
    let (ticks, latest) = ticking.await;
    let rate = (TASKS * REQUESTS) as f64 / seconds;
    println!("{} requests, {bytes} bytes in {seconds:.2} s: {rate:.0} a second", TASKS * REQUESTS);
    println!("beside them {ticks} ticks of a {TICK:?} timer, the latest {latest:?} late");
    let connected: u64 = engine.stats().iter().map(|core| core.counters.connected).sum();
    println!("{connected} connections, on the executor's own core");
    engine.shutdown()?;
    Ok(())
}

fn run() -> Result<(), Box<dyn Error>> {
    let origin = Origin::start(&Config::on_loopback())?;
    let url = std::env::args().nth(1).unwrap_or_else(|| origin.url("/bytes/100"));
    let target: Target = url.parse()?;
    let executor = LocalExecutorBuilder::new(Placement::Fixed(0)).io_memory(0).make()?;
    executor.run(application(target))
}

/// What goes wrong is told in one line.
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
