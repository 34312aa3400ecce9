//! The core-local client beside the load generator's own loop: same driver, same core, same origin. `cargo run --release -p ringshot-benches --bin client`
//!
//! Arguments: rounds (31), seconds a round and contestant (0.4), connections (64), parts (`user,cores,io_uring,epoll`).
//!
//! The load generator sends bytes that were encoded once, and looks at as little of a response as it can: it is what the driver and the parser cost. What a task
//! of `client.get(&target).send().await?.bytes().await` costs above that is the client's: building, limits, timers, stamps, waking. The part `user` measures
//! just that, on a driver without a kernel, and the part `cores` what cores that ask for the same target cost each other.

use std::io::Write;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use ringshot::client::Target;
use ringshot::driver::DriverKind;
use ringshot::host::Host;
use ringshot_benches::bare::Outcome;
use ringshot_benches::contest::{Contest, Run, Score, median, turns};
use ringshot_benches::echo::Loop;
use ringshot_benches::engine::{self, Engine};
use ringshot_benches::heap::{Counting, allocations};
use ringshot_benches::local::Local;
use ringshot_benches::server::{Server, serve_if_asked};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the loops without a kernel ask for.
const URL: &str = "http://127.0.0.1:80/";
const WARM_UP: Duration = Duration::from_millis(200);
const BODY_BYTES: u64 = 13;
/// Rounds of the part `user`, and requests of each: so short that most are not interrupted.
const USER_ROUNDS: u32 = 200;
const USER_REQUESTS: u64 = 6400;
/// What the client may cost above the load generator, in nanoseconds a request.
const USER_NANOS_MAX: f64 = 400.0;
/// What a target that two cores ask for may cost, in times of what one each does.
const SHARED_MAX: f64 = 1.1;

struct Setting {
    rounds: usize,
    duration: Duration,
    connections: u32,
    core: usize,
}

fn main() -> Outcome<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (core, server) = engine::two_cores();
    let setting = Setting {
        rounds: arguments.first().map_or(Ok(31), |text| text.parse())?,
        duration: Duration::from_secs_f64(arguments.get(1).map_or(Ok(0.4), |text| text.parse())?),
        connections: arguments.get(2).map_or(Ok(64), |text| text.parse())?,
        core,
    };
    let Setting { rounds, duration, connections, .. } = setting;
    writeln!(
        std::io::stdout(),
        "client core {core}, {rounds} rounds of {duration:?}, {connections} connections, {BODY_BYTES} byte body"
    )?;
    for part in arguments.get(3).map_or("user,cores,io_uring,epoll", String::as_str).split(',') {
        match part {
            "user" => user(connections)?,
            "cores" => cores(connections, [core, server])?,
            "io_uring" => contest(&setting, server, DriverKind::IoUring)?,
            "epoll" => contest(&setting, server, DriverKind::Epoll)?,
            _ => return Err(format!("there is no part {part:?}").into()),
        }
    }
    Ok(())
}

fn user(connections: u32) -> Outcome<()> {
    let mut loops = [Loop::load(connections)?, Loop::client(connections, &URL.parse()?)?];
    let (mut least, mut counted) = ([f64::INFINITY; 2], [0; 2]);
    for _ in 0..USER_ROUNDS {
        for ((work, least), counted) in loops.iter_mut().zip(&mut least).zip(&mut counted) {
            let before = allocations();
            *least = work.run(USER_REQUESTS)?.min(*least);
            *counted = allocations() - before;
        }
    }
    let [load, client] = least;
    let above = client - load;
    let verdict = if above <= USER_NANOS_MAX { "reached" } else { "BEHIND" };
    writeln!(
        std::io::stdout(),
        "without a kernel: load {load:.0} ns a request, client {client:.0} ns: {above:.0} ns above it (to reach {USER_NANOS_MAX} or less: {verdict}); allocations a request {:.2}",
        counted[1] as f64 / USER_REQUESTS as f64
    )?;
    Ok(())
}

/// What cores that work at the same time share costs each of them: with one target in common and with one each, in turn.
fn cores(connections: u32, cores: [usize; 2]) -> Outcome<()> {
    let [shared, own] = nanos_on(connections, cores)?;
    let ratio = shared / own;
    let verdict = if ratio <= SHARED_MAX { "reached" } else { "BEHIND" };
    writeln!(
        std::io::stdout(),
        "without a kernel, two cores: with a target each {own:.0} ns a request, with one target {shared:.0} ns: {ratio:.2} times (to reach {SHARED_MAX} or less: {verdict})"
    )?;
    Ok(())
}

/// The medians over rounds and cores, with one target for all and with one each: nanoseconds a request.
fn nanos_on(connections: u32, cores: [usize; 2]) -> Outcome<[f64; 2]> {
    let start = Arc::new(Barrier::new(cores.len()));
    let shared: Target = URL.parse()?;
    let mut threads = Vec::new();
    for core in cores {
        let (start, targets) = (Arc::clone(&start), [shared.clone(), URL.parse()?]);
        threads.push(ringshot::host::thread::spawn(core, move |_| {
            rounds_on(connections, &targets, &start)
        })?);
    }
    let mut all = [Vec::new(), Vec::new()];
    for thread in threads {
        let rounds = thread.join().map_err(|_| "a core panicked")??;
        all.iter_mut().zip(rounds).for_each(|(all, rounds)| all.extend(rounds));
    }
    Ok(all.map(median))
}

/// The rounds of one core, each of which both cores begin together: nanoseconds a request, by target.
fn rounds_on(connections: u32, targets: &[Target; 2], start: &Barrier) -> Outcome<[Vec<f64>; 2]> {
    let [shared, own] = targets;
    let mut loops = [Loop::client(connections, shared)?, Loop::client(connections, own)?];
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..USER_ROUNDS as usize {
        for place in turns(round, loops.len()) {
            start.wait();
            rounds[place].push(loops[place].run(USER_REQUESTS)?);
        }
    }
    Ok(rounds)
}

fn contest(setting: &Setting, server: usize, driver: DriverKind) -> Outcome<()> {
    let Setting { rounds, duration, connections, core } = *setting;
    let server = Server::start(server, BODY_BYTES)?;
    let url = format!("http://{}/", server.address);
    let engine = Engine::new(&url, core)?;
    let target = url.parse()?;
    let (host, tasks) = (Host::Thread, connections);
    let local = Local { core, driver, host, target, tasks, warm_up: WARM_UP, duration };
    let load: Run<'_> = Box::new(|| engine.run(driver, connections, 1, WARM_UP, duration));
    let client: Run<'_> = Box::new(|| local.run());
    let mut contestants = [("load generator".to_owned(), load), ("client".to_owned(), client)];
    let contest = Contest::hold(rounds, &mut contestants)?;
    writeln!(std::io::stdout(), "on {driver}")?;
    contest.print()?;
    let rate = |score: &Score| score.rate;
    contest.print_ratio("requests a second, client / load generator", 1, 0, rate, 0.90)?;
    let cpu = |score: &Score| score.cpu_us;
    contest.print_plain_ratio("CPU a request, client / load generator", 1, 0, cpu)?;
    let [load, client] = [0, 1].map(|place| contest.median(place, |score| score.company));
    let allocations = contest.median(1, |score| score.allocations);
    writeln!(
        std::io::stdout(),
        "  completions a turn: {load:.1} and {client:.1}; allocations a request of the client: {allocations:.2}"
    )?;
    Ok(())
}
