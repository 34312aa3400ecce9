//! What the load generator records beside what the server did, over real sockets. `cargo run --release -p ringshot-benches --bin accuracy`
//!
//! Arguments: seconds a run (4), drivers (`io_uring,epoll`).
//!
//! The server waits for times that it measures itself, from having read a request to writing its answer. What the client records is longer by two ways through the kernel and the wake-ups at
//! both ends; it is right if it lies within 1% or 20 us of the truth. In an open loop a stall shows at its full weight, since requests come while it lasts; a closed loop sends none then: what it omits
//! is shown beside what a schedule would have met, and not counted.
//! On a machine that others share, the highest percentiles show its hiccups as well: the exact proof is the simulator's (`cargo test -p ringshot --lib load::simulated`).

use std::io::Write;
use std::time::Duration;

use ringshot::driver::DriverKind;
use ringshot::load::{Arrival, Control, Histogram, Plan, Stop, run};
use ringshot_benches::bare::Outcome;
use ringshot_benches::engine::{self, Engine};
use ringshot_benches::witness::{Manner, Witness};

/// Requests a second in open loops.
const RATE: f64 = 400.0;
/// Connections of closed loops; open loops have as many as a stall can use.
const CLOSED: u32 = 16;
const OPEN: u32 = 600;
const PARTS: [f64; 4] = [0.5, 0.75, 0.95, 0.99];
/// What an answer takes where it does not depend on a stall.
const DELAY: Duration = Duration::from_millis(50);
/// How far off a figure may be: of its own size, and in microseconds.
const OFF_MAX: (f64, f64) = (0.01, 20.0);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = arguments.first().map_or(Ok(4.0), |text| text.parse())?;
    let length = Duration::from_secs_f64(seconds);
    let mut off = 0;
    for driver in arguments.get(1).map_or("io_uring,epoll", String::as_str).split(',') {
        let driver = if driver == "epoll" { DriverKind::Epoll } else { DriverKind::IoUring };
        let bimodal = Manner::Bimodal(DELAY, 3 * DELAY);
        for (name, manner) in [("fixed", Manner::Fixed(DELAY)), ("bimodal", bimodal)] {
            for open in [Loop::Closed, Loop::Open] {
                off += delays(driver, open, name, manner, length)?;
            }
        }
        off += stall(driver, Loop::Open)?;
        stall(driver, Loop::Closed)?;
    }
    writeln!(std::io::stdout(), "{off} figures are off by more than 1% and 20 us")?;
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loop {
    Closed,
    Open,
}

/// A run against a server of such manners: what it recorded, response and service time.
fn load(
    driver: DriverKind,
    of: Loop,
    server: &Witness,
    length: Duration,
) -> Outcome<[Histogram; 2]> {
    let (core, _) = engine::two_cores();
    let plan = Engine::new(&format!("http://{}/", server.address), core)?.plan()?;
    let (connections, arrival) = match of {
        Loop::Closed => (CLOSED, Arrival::Closed),
        Loop::Open => (OPEN, Arrival::at_rate(RATE, length)),
    };
    let plan = Plan { driver, connections, arrival, stop: Stop::after(length), ..plan };
    let report = run(&plan, &Control::new())?;
    if report.errors > 0 {
        return Err(format!("requests failed: {:?}", report.error_examples).into());
    }
    let kinds = [report.histograms.response_time, report.histograms.service_time];
    Ok(kinds.map(|mut classes| classes.remove("2xx").unwrap_or_default()))
}

/// Prints percentiles beside the truth; how many are off.
fn compare(what: &str, truth: impl Fn(f64) -> f64, recorded: &Histogram) -> Outcome<u32> {
    let mut out = std::io::stdout();
    write!(out, "{what:<50}")?;
    let mut off = 0;
    for part in PARTS {
        let (truth, recorded) = (truth(part), recorded.quantile_us(part));
        let difference = recorded - truth;
        let fits = difference.abs() <= (truth * OFF_MAX.0).max(OFF_MAX.1);
        off += u32::from(!fits);
        let mark = if fits { ' ' } else { '!' };
        write!(out, "  p{:<2.0} {truth:>9.0} {difference:>+7.0}{mark}", part * 100.0)?;
    }
    writeln!(out, "  us")?;
    Ok(off)
}

fn delays(
    driver: DriverKind,
    of: Loop,
    name: &str,
    manner: Manner,
    length: Duration,
) -> Outcome<u32> {
    let (_, core) = engine::two_cores();
    let server = Witness::start(core, manner)?;
    let [_, service] = load(driver, of, &server, length)?;
    let truth = server.delays();
    compare(&format!("{driver}, {of:?}, {name}, service"), |part| truth.quantile_us(part), &service)
}

/// Ten seconds with a stall of one.
fn stall(driver: DriverKind, of: Loop) -> Outcome<u32> {
    let (_, core) = engine::two_cores();
    let (length, from) = (Duration::from_secs(10), Duration::from_secs(5));
    let to = from + Duration::from_secs(1);
    let server = Witness::start(core, Manner::Stall(DELAY, [from, to]))?;
    let [response, _] = load(driver, of, &server, length)?;
    let seen = server.delays();
    if of == Loop::Open {
        let what = format!("{driver}, {of:?}, 1 s stall, response");
        return compare(&what, |part| seen.quantile_us(part), &response);
    }
    // Sent by a schedule, a tenth would have been due in the stall, and waited for what was left of it: from nothing to all.
    let stalled = (to - from).as_secs_f64() / length.as_secs_f64();
    let truth = |part: f64| {
        let within = ((part - (1.0 - stalled)) / stalled).max(0.0);
        (DELAY + (to - from).mul_f64(within)).as_secs_f64() * 1e6
    };
    compare(&format!("{driver}, {of:?}, 1 s stall, omitted"), truth, &response)
}
