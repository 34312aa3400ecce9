//! What it costs a core to close a connection while others are idle: CPU a request, each on a connection that its response closes. `cargo run --release -p ringshot-benches --bin closing`
//!
//! Arguments: rounds (5), requests a run (500), idle connections (0, 1000 and 4000: any list).
//!
//! A close has to end what is armed on its connection, and a kernel that looks for that among all that is armed makes every close dearer with every idle connection.

use std::io::Write;
use std::num::NonZeroUsize;

use ringshot::client::{Client, Cores, Engine, Target, blocking::block_on};
use ringshot::driver::DriverChoice;
use ringshot_benches::bare::Outcome;
use ringshot_benches::contest::{median, turns};
use ringshot_benches::cpu::CpuSeconds;
use ringshot_benches::engine::two_cores;
use ringshot_benches::server::{Server, serve_if_asked};

/// How long the server keeps a response back, so that each of those asked for at once needs a connection, in milliseconds.
const HOLD_MS: u64 = 1_000;

/// A client that has connections idle to one server, and closes those to another.
struct Contestant {
    name: String,
    client: Client,
    figures: Vec<f64>,
    _engine: Engine,
}

fn main() -> Outcome<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let numbers: Result<Vec<usize>, _> = std::env::args().skip(1).map(|it| it.parse()).collect();
    let numbers = numbers?;
    let rounds = numbers.first().copied().unwrap_or(5);
    let requests = numbers.get(1).copied().unwrap_or(500).max(1);
    let idle = numbers.get(2..).filter(|list| !list.is_empty()).unwrap_or(&[0, 1_000, 4_000]);
    let (client_core, server_core) = two_cores();
    let (kept, closing) = (Server::start(server_core, 13)?, Server::start(server_core, 13)?);
    let held: Target = format!("http://{}/delay/{HOLD_MS}", kept.address).parse()?;
    let closed: Target = format!("http://{}/close", closing.address).parse()?;
    let mut contestants = Vec::new();
    for driver in [DriverChoice::IoUring, DriverChoice::Epoll] {
        for idle in idle {
            let builder = Engine::builder().cores(Cores::List(vec![client_core])).driver(driver);
            let engine = builder.conns_per_core(*idle as u32 + 16).build()?;
            let client = engine.client().max_conns_per_host(*idle as u32 + 8).build()?;
            if let Some(window) = NonZeroUsize::new(*idle) {
                let batch = client.batch(std::iter::repeat_n(held.clone(), *idle)).window(window);
                block_on(batch.collect()).into_iter().collect::<Result<Vec<_>, _>>()?;
            }
            let name = format!("{}, {idle} idle", engine.driver());
            contestants.push(Contestant { name, client, figures: Vec::new(), _engine: engine });
        }
    }
    writeln!(std::io::stdout(), "{requests} requests a run, one at a time, {rounds} rounds")?;
    for round in 0..rounds {
        for place in turns(round, contestants.len()) {
            let contestant = &mut contestants[place];
            contestant.figures.push(run(&contestant.client, &closed, requests)?);
        }
    }
    report(&contestants)
}

/// CPU microseconds a request, of all threads of this process.
fn run(client: &Client, target: &Target, requests: usize) -> Outcome<f64> {
    let before = CpuSeconds::of_process();
    let batch = client.batch(std::iter::repeat_n(target.clone(), requests));
    for response in block_on(batch.window(NonZeroUsize::MIN).collect()) {
        response?;
    }
    Ok(CpuSeconds::of_process().since(before).total() * 1e6 / requests as f64)
}

fn report(contestants: &[Contestant]) -> Outcome<()> {
    let mut out = std::io::stdout();
    for contestant in contestants {
        let figure = median(contestant.figures.clone());
        writeln!(out, "  {:<24} {figure:>7.1} us of CPU a request", contestant.name)?;
    }
    Ok(())
}
