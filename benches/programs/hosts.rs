//! What the glommio host costs against the bare thread, on the load generator's loop and in the client's tasks. `cargo run --release -p ringshot-benches --bin hosts`
//!
//! Arguments: rounds (7), seconds a round and contestant (1), connections (1,16,64,256).

use std::io::Write;
use std::time::Duration;

use ringshot::client::Target;
use ringshot::driver::DriverKind;
use ringshot::host::Host;
use ringshot_benches::bare::Outcome;
use ringshot_benches::contest::{Contest, Run, Score};
use ringshot_benches::engine::{self, Engine};
use ringshot_benches::local::Local;
use ringshot_benches::server::{Server, serve_if_asked};

const WARM_UP: Duration = Duration::from_millis(200);
const BODY_BYTES: u64 = 13;

fn main() -> Outcome<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.first().map_or(Ok(7), |text| text.parse())?;
    let seconds = arguments.get(1).map_or(Ok(1.0), |text| text.parse())?;
    let connections = arguments.get(2).map_or("1,16,64,256", String::as_str);
    let (client, server) = engine::two_cores();
    let server = Server::start(server, BODY_BYTES)?;
    let mut out = std::io::stdout();
    writeln!(out, "client core {client}, {rounds} rounds of {seconds} s, keep-alive GET")?;
    for connections in connections.split(',') {
        let connections: u32 = connections.parse()?;
        writeln!(out, "{connections} connections")?;
        let duration = Duration::from_secs_f64(seconds);
        let contest = hold(&server, client, connections, rounds, duration)?;
        contest.print()?;
        let rate = |score: &Score| score.rate;
        let cpu = |score: &Score| 1.0 / score.cpu_us;
        let pairs = ["load on io_uring", "load on epoll", "tasks on io_uring"];
        for (pair, what) in pairs.into_iter().enumerate() {
            let (glommio, thread) = (2 * pair + 1, 2 * pair);
            contest.print_ratio(
                &format!("{what}: glommio / thread, rate"),
                glommio,
                thread,
                rate,
                0.95,
            )?;
            contest.print_ratio(
                &format!("{what}: glommio / thread, 1/CPU"),
                glommio,
                thread,
                cpu,
                0.95,
            )?;
        }
    }
    Ok(())
}

fn hold(
    server: &Server,
    client: usize,
    connections: u32,
    rounds: usize,
    duration: Duration,
) -> Outcome<Contest> {
    let url = format!("http://{}/", server.address);
    let engine = &Engine::new(&url, client)?;
    let target: Target = url.parse()?;
    let load = |driver, host| -> (String, Run<'_>) {
        let run = move || engine.run_on(host, driver, connections, 1, WARM_UP, duration);
        (format!("load, {driver}, {host}"), Box::new(run))
    };
    let tasks = |host| -> (String, Run<'_>) {
        let local = Local {
            core: client,
            driver: DriverKind::IoUring,
            host,
            target: target.clone(),
            tasks: connections,
            warm_up: WARM_UP,
            duration,
        };
        let run = move || local.run();
        (format!("tasks, {host}"), Box::new(run))
    };
    let mut contestants = [
        load(DriverKind::IoUring, Host::Thread),
        load(DriverKind::IoUring, Host::Glommio),
        load(DriverKind::Epoll, Host::Thread),
        load(DriverKind::Epoll, Host::Glommio),
        tasks(Host::Thread),
        tasks(Host::Glommio),
    ];
    Contest::hold(rounds, &mut contestants)
}
