//! A sliding window against barriers: 1,000 URLs whose latencies are log-normal, a few slow among many fast. `cargo run --release -p ringshot-benches --bin window`
//!
//! Arguments: rounds (5), requests in flight (50), median in ms (20), sigma in hundredths (100).
//!
//! A barrier waits for the slowest of each lot before the next begins; a window begins another request as soon as one has ended. The gain is that of the slowest
//! of a lot over the mean: nothing of it is the client's doing, and no client can do without.

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Duration;

use ringshot::client::{Client, Cores, Engine, Target, blocking::block_on};
use ringshot::clock::Instant;
use ringshot_benches::bare::Outcome;
use ringshot_benches::contest::{median, turns};
use ringshot_benches::engine::two_cores;
use ringshot_benches::server::{Server, serve_if_asked};

const URLS: usize = 1_000;

#[derive(Clone, Copy)]
enum Pace {
    Window,
    Barrier,
}

/// One run.
struct Run {
    seconds: f64,
    /// The latencies of all requests together, in seconds: over the time it is the mean number in flight.
    latencies: f64,
}

fn main() -> Outcome<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |place: usize, default: usize| -> Outcome<usize> {
        Ok(arguments.get(place).map_or(Ok(default), |text| text.parse())?)
    };
    let (rounds, in_flight) = (number(0, 5)?, number(1, 50)?);
    let (median_ms, sigma) = (number(2, 20)?, number(3, 100)?);
    let in_flight = NonZeroUsize::new(in_flight).ok_or("at least one request in flight")?;
    let (client_core, server_core) = two_cores();
    let server = Server::start(server_core, 13)?;
    let target = format!("http://{}/lognormal/{median_ms}/{sigma}", server.address).parse()?;
    let engine = Engine::builder().cores(Cores::List(vec![client_core])).build()?;
    let client = engine.client().max_conns_per_host(in_flight.get() as u32).build()?;
    writeln!(
        std::io::stdout(),
        "{URLS} URLs, {in_flight} in flight, median {median_ms} ms, sigma {}, {rounds} rounds",
        sigma as f64 / 100.0
    )?;
    let mut runs: [Vec<Run>; 2] = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for place in turns(round, runs.len()) {
            let pace = [Pace::Window, Pace::Barrier][place];
            runs[place].push(run(&client, &target, pace, in_flight)?);
        }
    }
    report(&runs)
}

fn run(client: &Client, target: &Target, pace: Pace, in_flight: NonZeroUsize) -> Outcome<Run> {
    let batch = client.batch(std::iter::repeat_n(target.clone(), URLS));
    let batch = match pace {
        Pace::Window => batch.window(in_flight),
        Pace::Barrier => batch.barrier(in_flight),
    };
    let begin = Instant::now();
    let mut latencies = Duration::ZERO;
    for response in block_on(batch.collect()) {
        latencies += response?.timings().done.unwrap_or_default();
    }
    let seconds = (Instant::now() - begin).as_secs_f64();
    Ok(Run { seconds, latencies: latencies.as_secs_f64() })
}

fn report(runs: &[Vec<Run>; 2]) -> Outcome<()> {
    let mut out = std::io::stdout();
    for (name, runs) in ["sliding window", "barriers"].iter().zip(runs) {
        let time = median(runs.iter().map(|run| run.seconds * 1e3).collect());
        let busy = median(runs.iter().map(|run| run.latencies / run.seconds).collect());
        writeln!(out, "  {name:<16} {time:>7.0} ms, {busy:.1} in flight in the mean")?;
    }
    let [window, barrier] = runs;
    let ratios =
        window.iter().zip(barrier).map(|(window, barrier)| barrier.seconds / window.seconds);
    writeln!(out, "  barriers take {:.2} times as long", median(ratios.collect()))?;
    Ok(())
}
