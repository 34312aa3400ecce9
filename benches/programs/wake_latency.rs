//! How late a glommio timer and a glommio channel are while requests are in flight on the same executor. `cargo run --release -p ringshot-benches --bin wake_latency`
//!
//! Arguments: seconds for each (2), tasks with a request each (0,1,64).

use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use glommio::timer::Timer;
use glommio::{LocalExecutorBuilder, Placement, spawn_local};
use ringshot::client::{Engine, Target};
use ringshot::driver::DriverChoice;
use ringshot_benches::bare::Outcome;
use ringshot_benches::engine;
use ringshot_benches::server::{Server, serve_if_asked};

/// How long each timer runs, and the pause between two messages.
const PERIOD: Duration = Duration::from_millis(2);

fn main() -> Outcome<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = arguments.first().map_or(Ok(2.0), |text| text.parse())?;
    let loads = arguments.get(1).map_or("0,1,64", String::as_str);
    let (client, server) = engine::two_cores();
    let server = Server::start(server, 13)?;
    let url = format!("http://{}", server.address);
    let rounds = (seconds / PERIOD.as_secs_f64()) as usize;
    for driver in [DriverChoice::IoUring, DriverChoice::Epoll] {
        for load in loads.split(',') {
            let load: usize = load.parse()?;
            // The last one asks for what takes long: one request in flight, and nothing comes.
            for path in if load == 1 { &["/", "/delay/1000"][..] } else { &["/"] } {
                let target: Target = format!("{url}{path}").parse()?;
                let builder = LocalExecutorBuilder::new(Placement::Fixed(client)).io_memory(0);
                let executor = builder.make().map_err(|error| error.to_string())?;
                let measured = executor.run(measure(driver, target, load, rounds))?;
                print(&format!("{driver:?}, {load} in flight, {path}"), measured)?;
            }
        }
    }
    Ok(())
}

/// Delays of timers, of messages from another executor, and requests a second.
type Measured = (Vec<Duration>, Vec<Duration>, f64);

async fn measure(
    driver: DriverChoice,
    target: Target,
    load: usize,
    rounds: usize,
) -> Outcome<Measured> {
    let (engine, ctx) = Engine::builder().driver(driver).attach()?;
    let client = ctx.client(&engine.client().max_conns_per_host(1024).build()?);
    let (done, stop) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(false)));
    let tasks: Vec<_> = (0..load)
        .map(|_| {
            let (client, target) = (client.clone(), target.clone());
            let (done, stop) = (Rc::clone(&done), Rc::clone(&stop));
            spawn_local(async move {
                while !stop.get() {
                    let read = async { client.get(&target).send().await?.bytes().await };
                    // Awaited before the count is read: others count meanwhile.
                    let ok = u64::from(read.await.is_ok());
                    done.set(done.get() + ok);
                }
            })
        })
        .collect();
    Timer::new(Duration::from_millis(200)).await;
    let (start, before) = (Instant::now(), done.get());
    let mut timers = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let due = Instant::now() + PERIOD;
        Timer::new(PERIOD).await;
        timers.push(due.elapsed());
    }
    let rate = (done.get() - before) as f64 / start.elapsed().as_secs_f64();
    let messages = messages(rounds).await?;
    stop.set(true);
    for task in tasks {
        task.await;
    }
    Ok((timers, messages, rate))
}

/// Messages that another executor sends through a shared channel.
async fn messages(rounds: usize) -> Outcome<Vec<Duration>> {
    let (sender, receiver) = glommio::channels::shared_channel::new_bounded(16);
    let builder = LocalExecutorBuilder::new(Placement::Unbound).io_memory(0);
    let other = builder.spawn(move || async move {
        let sender = sender.connect().await;
        for _ in 0..rounds {
            Timer::new(PERIOD).await;
            if sender.send(Instant::now()).await.is_err() {
                return;
            }
        }
    });
    let other = other.map_err(|error| error.to_string())?;
    let receiver = receiver.connect().await;
    let mut late = Vec::with_capacity(rounds);
    while let Some(sent) = receiver.recv().await {
        late.push(sent.elapsed());
    }
    other.join().map_err(|error| error.to_string())?;
    Ok(late)
}

fn print(what: &str, (timers, messages, rate): Measured) -> Outcome<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{what}: {rate:.0} requests/s")?;
    for (what, mut late) in [("timer", timers), ("channel", messages)] {
        late.sort();
        let at = |part: f64| late[((late.len() - 1) as f64 * part) as usize];
        writeln!(
            out,
            "  {what:<8} late by p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
            at(0.5),
            at(0.99),
            at(0.999),
            at(1.0)
        )?;
    }
    Ok(())
}
