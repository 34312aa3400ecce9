//! The engine beside wrk and oha, on the same core, against the same server. `cargo run --release -p ringshot-benches --bin peers`
//!
//! Arguments: rounds (5), seconds a round and contestant (1), parts (small,pipeline,nginx,bodies,close,memory).

use std::io::Write;
use std::time::Duration;

use ringshot::driver::DriverKind;
use ringshot_benches::bare::Outcome;
use ringshot_benches::contest::{Contest, Run, Score};
use ringshot_benches::engine::{self, Engine};
use ringshot_benches::nginx::Nginx;
use ringshot_benches::peers::{installed, oha, wrk};
use ringshot_benches::rated::{Rated, run_if_asked};
use ringshot_benches::server::{Server, serve_if_asked};

const WARM_UP: Duration = Duration::from_millis(200);
const CONNECTIONS: u32 = 64;
const BODY_BYTES: u64 = 13;
const CLOSE: &[&str] = &["Connection: close"];

/// What every part is run with.
struct Setting {
    client: usize,
    server: usize,
    rounds: usize,
    duration: Duration,
}

fn main() -> Outcome<()> {
    if serve_if_asked()? || run_if_asked()? {
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.first().map_or(Ok(5), |text| text.parse())?;
    let seconds = arguments.get(1).map_or(Ok(1.0), |text| text.parse())?;
    let parts = arguments.get(2).map_or("small,pipeline,nginx,bodies,close,memory", String::as_str);
    let (client, server) = engine::two_cores();
    let setting = Setting { client, server, rounds, duration: Duration::from_secs_f64(seconds) };
    if !installed("wrk") {
        writeln!(
            std::io::stdout(),
            "wrk is not installed (Debian package wrk): its ratios are left out"
        )?;
    }
    for part in parts.split(',') {
        match part {
            "small" => small(&setting)?,
            "pipeline" => pipeline(&setting)?,
            "nginx" => nginx(
                &setting,
                "small",
                "small body from nginx, which is then the limit",
                (1.0, 1.25),
            )?,
            "bodies" => {
                nginx(&setting, "64k", "64 KiB bodies from nginx", (1.05, 1.5))?;
                nginx(&setting, "1m", "1 MiB bodies from nginx", (1.05, 1.5))?;
            }
            "close" => close(&setting)?,
            "memory" => memory(&setting)?,
            _ => return Err(format!("there is no part {part:?}").into()),
        }
    }
    Ok(())
}

fn rate(score: &Score) -> f64 {
    score.rate
}

/// Requests a CPU second of the client.
fn thrift(score: &Score) -> f64 {
    1e6 / score.cpu_us
}

fn title(text: &str) -> Outcome<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// The engine on both drivers, then wrk and oha if they are there.
fn field<'a>(
    setting: &Setting,
    engine: &'a Engine,
    url: &str,
    headers: &[&str],
) -> Vec<(String, Run<'a>)> {
    let duration = setting.duration;
    let run = |driver| -> Run<'a> {
        Box::new(move || engine.run(driver, CONNECTIONS, 1, WARM_UP, duration))
    };
    let mut field = vec![
        ("ringshot, io_uring".to_owned(), run(DriverKind::IoUring)),
        ("ringshot, epoll".to_owned(), run(DriverKind::Epoll)),
    ];
    if installed("wrk") {
        field.push(("wrk".to_owned(), wrk(setting.client, url, CONNECTIONS, duration, headers)));
    }
    if installed("oha") && headers.is_empty() {
        field.push(("oha".to_owned(), oha(setting.client, url, CONNECTIONS, duration)));
    }
    field
}

fn small(setting: &Setting) -> Outcome<()> {
    title("small body, 64 connections, keep-alive, own origin")?;
    let server = Server::start(setting.server, BODY_BYTES)?;
    let url = format!("http://{}/", server.address);
    let engine = Engine::new(&url, setting.client)?;
    let contest = Contest::hold(setting.rounds, &mut field(setting, &engine, &url, &[]))?;
    contest.print()?;
    if installed("wrk") {
        contest.print_ratio("requests a second, io_uring / wrk", 0, 2, rate, 1.6)?;
    }
    let user = contest.median(0, |score| score.user_us);
    title(&format!(
        "  user CPU a request on io_uring: {user:.3} us (to reach 0.35 or less: {})",
        verdict(user <= 0.35)
    ))
}

fn verdict(reached: bool) -> &'static str {
    if reached { "reached" } else { "BEHIND" }
}

fn pipeline(setting: &Setting) -> Outcome<()> {
    title("16 requests in flight a connection against 1, 64 connections, own origin")?;
    let server = Server::start(setting.server, BODY_BYTES)?;
    let engine = Engine::new(&format!("http://{}/", server.address), setting.client)?;
    let engine = &engine;
    let run = |driver, depth| -> Run<'_> {
        Box::new(move || engine.run(driver, CONNECTIONS, depth, WARM_UP, setting.duration))
    };
    let mut field = [
        ("io_uring, 1".to_owned(), run(DriverKind::IoUring, 1)),
        ("io_uring, 16".to_owned(), run(DriverKind::IoUring, 16)),
        ("epoll, 1".to_owned(), run(DriverKind::Epoll, 1)),
        ("epoll, 16".to_owned(), run(DriverKind::Epoll, 16)),
    ];
    let contest = Contest::hold(setting.rounds, &mut field)?;
    contest.print()?;
    contest.print_ratio("requests a second, --pipeline 16 / 1", 1, 0, rate, 10.0)
}

fn nginx(setting: &Setting, path: &str, what: &str, reach: (f64, f64)) -> Outcome<()> {
    title(&format!("{what}, 64 connections"))?;
    if !installed("nginx") {
        return title("  nginx is not installed: left out");
    }
    let server = Nginx::start(setting.server)?;
    let url = format!("http://{}/{path}", server.address);
    let engine = Engine::new(&url, setting.client)?;
    let mut field = field(setting, &engine, &url, &[]);
    field.truncate(3);
    let contest = Contest::hold(setting.rounds, &mut field)?;
    contest.print()?;
    if installed("wrk") {
        contest.print_ratio(
            "requests (and bytes) a second, io_uring / wrk",
            0,
            2,
            rate,
            reach.0,
        )?;
        contest.print_ratio(
            "requests (and bytes) a CPU second, io_uring / wrk",
            0,
            2,
            thrift,
            reach.1,
        )?;
        contest.print_plain_ratio("the same, epoll / wrk", 1, 2, thrift)?;
    }
    Ok(())
}

fn close(setting: &Setting) -> Outcome<()> {
    title("a connection for each request, 64 at a time, own origin")?;
    let server = Server::start(setting.server, BODY_BYTES)?;
    let url = format!("http://{}/", server.address);
    let engine = Engine::new(&url, setting.client)?.without_keep_alive();
    let contest = Contest::hold(setting.rounds, &mut field(setting, &engine, &url, CLOSE))?;
    contest.print()?;
    if installed("wrk") {
        contest.print_ratio("connections a second, io_uring / wrk", 0, 2, rate, 1.1)?;
    }
    Ok(())
}

/// Each driver in a process of its own: what is resident at most never falls again, and other parts have run in this one.
fn memory(setting: &Setting) -> Outcome<()> {
    title("10,000 connections on one core: the largest resident set of a process each")?;
    let server = Server::start(setting.server, BODY_BYTES)?;
    let url = format!("http://{}/", server.address);
    let rated = Rated { core: setting.client, url, connections: 10_000 };
    for driver in [DriverKind::IoUring, DriverKind::Epoll] {
        let (resident, rate) = rated.resident_on(driver, setting.duration)?;
        let mebibytes = resident / f64::from(1 << 20);
        let reached = verdict(mebibytes <= 64.0);
        title(&format!(
            "  {driver}: {mebibytes:.1} MiB, {rate:.0} req/s (to reach 64 or less: {reached})"
        ))?;
    }
    Ok(())
}
