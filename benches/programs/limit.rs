//! How close the engine is to the bare loops, at 16 to 1024 connections, and `io_uring` to epoll. `cargo run --release -p ringshot-benches --bin limit`
//!
//! Arguments: rounds (7), seconds a round and contestant (1), connections (16,64,256,1024).

use std::io::Write;
use std::time::Duration;

use ringshot::driver::DriverKind;
use ringshot_benches::bare::{self, Load, Outcome};
use ringshot_benches::contest::{Contest, Run};
use ringshot_benches::engine::{self, Engine};
use ringshot_benches::server::{Server, serve_if_asked};

const WARM_UP: Duration = Duration::from_millis(200);
/// A response of the same size as those of the reference measurements: about 100 bytes.
const BODY_BYTES: u64 = 13;

fn main() -> Outcome<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.first().map_or(Ok(7), |text| text.parse())?;
    let seconds = arguments.get(1).map_or(Ok(1.0), |text| text.parse())?;
    let connections = arguments.get(2).map_or("16,64,256,1024", String::as_str);
    let (client, server) = engine::two_cores();
    let server = Server::start(server, BODY_BYTES)?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "client core {client}, {rounds} rounds of {seconds} s, keep-alive GET, {BODY_BYTES} byte body"
    )?;
    for connections in connections.split(',') {
        let connections: usize = connections.parse()?;
        writeln!(out, "{connections} connections")?;
        let contest = hold(&server, client, connections, rounds, Duration::from_secs_f64(seconds))?;
        contest.print()?;
        let rate = |score: &ringshot_benches::contest::Score| score.rate;
        contest.print_ratio("engine on io_uring / bare io_uring", 1, 0, rate, 0.97)?;
        contest.print_ratio("engine on epoll / bare epoll", 3, 2, rate, 0.97)?;
        contest.print_ratio("engine: io_uring / epoll", 1, 3, rate, 1.15)?;
    }
    Ok(())
}

fn hold(
    server: &Server,
    client: usize,
    connections: usize,
    rounds: usize,
    duration: Duration,
) -> Outcome<Contest> {
    let engine = Engine::new(&format!("http://{}/", server.address), client)?;
    let request = engine.request();
    let response_bytes = bare::response_bytes(server.address, &request)?;
    let load = Load {
        address: server.address,
        connections,
        warm_up: WARM_UP,
        duration,
        request,
        response_bytes,
    };
    let load = &load;
    let engine = &engine;
    let run = |driver| -> Run<'_> {
        Box::new(move || engine.run(driver, connections as u32, 1, WARM_UP, duration))
    };
    let mut contestants = [
        ("bare io_uring".to_owned(), engine::bare(client, load, bare::uring::run)),
        ("engine on io_uring".to_owned(), run(DriverKind::IoUring)),
        ("bare epoll".to_owned(), engine::bare(client, load, bare::epoll::run)),
        ("engine on epoll".to_owned(), run(DriverKind::Epoll)),
    ];
    Contest::hold(rounds, &mut contestants)
}
