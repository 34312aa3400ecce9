//! What the engine's own choices are worth, each against its alternative. `cargo run --release -p ringshot-benches --bin choices`
//!
//! Arguments: rounds (9), seconds a round and contestant (0.5), parts (descriptors,tiers,settle,bodies), connections (64).

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use ringshot::driver::uring::{Descriptors, Tier};
use ringshot::shard::{Body, Settle};
use ringshot_benches::bare::Outcome;
use ringshot_benches::choice::{self, Choice, DEFAULT};
use ringshot_benches::contest::{Contest, Score};
use ringshot_benches::engine::{self, Engine};
use ringshot_benches::nginx::Nginx;
use ringshot_benches::peers::installed;
use ringshot_benches::server::{Server, serve_if_asked};

const WARM_UP: Duration = Duration::from_millis(200);

/// What every part is run with.
struct Setting {
    client: usize,
    server: usize,
    rounds: usize,
    duration: Duration,
    connections: u32,
}

fn main() -> Outcome<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.first().map_or(Ok(9), |text| text.parse())?;
    let seconds = arguments.get(1).map_or(Ok(0.5), |text| text.parse())?;
    let parts = arguments.get(2).map_or("descriptors,tiers,settle,bodies", String::as_str);
    let (client, server) = engine::two_cores();
    let connections = arguments.get(3).map_or(Ok(64), |text| text.parse())?;
    let duration = Duration::from_secs_f64(seconds);
    let setting = Setting { client, server, rounds, duration, connections };
    for part in parts.split(',') {
        match part {
            "descriptors" => {
                let plain = Choice { descriptors: Descriptors::Plain, ..DEFAULT };
                own(
                    &setting,
                    "how sockets are named",
                    &[("file table", DEFAULT), ("descriptor", plain)],
                )?;
            }
            "tiers" => tiers(&setting)?,
            "settle" => settle(&setting)?,
            "bodies" => bodies(&setting)?,
            _ => return Err(format!("there is no part {part:?}").into()),
        }
    }
    Ok(())
}

fn tiers(setting: &Setting) -> Outcome<()> {
    let on = |tier| Choice { tier, ..DEFAULT };
    let field = [
        ("single-shot (5.19)", on(Tier::SingleShot)),
        ("multishot (6.0)", on(Tier::Multishot)),
        ("deferred (6.1)", on(Tier::Deferred)),
        ("minimum wait (6.12)", on(Tier::MinWait)),
    ];
    own(setting, "tiers", &field)
}

fn settle(setting: &Setting) -> Outcome<()> {
    let never = Choice { settle: Settle::Never, ..DEFAULT };
    let field = [("gather while free", DEFAULT), ("never gather", never)];
    own(setting, "waiting for company, own origin", &field)?;
    nginx(setting, "small", "waiting for company, nginx (the limit)", &field)
}

fn bodies(setting: &Setting) -> Outcome<()> {
    let read = Choice { body: Body::Read, ..DEFAULT };
    let field = [("dropped in the kernel", DEFAULT), ("256 KiB buffers", read)];
    nginx(setting, "64k", "64 KiB bodies", &field)?;
    nginx(setting, "1m", "1 MiB bodies", &field)
}

fn own(setting: &Setting, what: &str, field: &[(&str, Choice)]) -> Outcome<()> {
    let server = Server::start(setting.server, 13)?;
    hold(setting, what, server.address, "", field)
}

fn nginx(setting: &Setting, path: &str, what: &str, field: &[(&str, Choice)]) -> Outcome<()> {
    if !installed("nginx") {
        writeln!(std::io::stdout(), "{what}: nginx is not installed: left out")?;
        return Ok(());
    }
    let server = Nginx::start(setting.server)?;
    hold(setting, what, server.address, path, field)
}

fn hold(
    setting: &Setting,
    what: &str,
    address: SocketAddr,
    path: &str,
    field: &[(&str, Choice)],
) -> Outcome<()> {
    writeln!(std::io::stdout(), "{what}, {} connections", setting.connections)?;
    let request = Engine::new(&format!("http://{address}/{path}"), setting.client)?.request();
    let times = (WARM_UP, setting.duration);
    let run =
        |choice| choice::run(setting.client, address, &request, setting.connections, choice, times);
    let mut contestants: Vec<_> =
        field.iter().map(|(name, choice)| ((*name).to_owned(), run(*choice))).collect();
    let contest = Contest::hold(setting.rounds, &mut contestants)?;
    contest.print()?;
    let last = field.len() - 1;
    let names = format!("{} / {}", field[0].0, field[last].0);
    let thrift = |score: &Score| 1.0 / score.cpu_us;
    contest
        .print_plain_ratio(&format!("requests a second, {names}"), 0, last, |score| score.rate)?;
    contest.print_plain_ratio(&format!("requests a CPU second, {names}"), 0, last, thrift)
}
