//! What trustworthy load generation costs: recording, pacing, memory, templates. `cargo run --release -p ringshot-benches --bin load`
//!
//! Arguments: rounds (7), seconds a round and contestant (1), parts (record,live,lag,cpu,punctual,scenario,memory).

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ringshot::driver::DriverKind;
use ringshot::load::{
    Arrival, Content, Control, Histogram, KeepAlive, Mix, MixRequest, Order, Pacing, Plan, Report,
    Request, Stop, run as run_load,
};
use ringshot::proto::url::Url;
use ringshot_benches::bare::Outcome;
use ringshot_benches::choice;
use ringshot_benches::contest::{Contest, Run, Score, median, turns};
use ringshot_benches::engine::{self, Engine};
use ringshot_benches::lateness::Bare;
use ringshot_benches::peers::{installed, paced, rate_asked};
use ringshot_benches::rated::{Rated, run_if_asked};
use ringshot_benches::server::{Server, serve_if_asked};
use ringshot_benches::terminal;
use ringshot_benches::witness::{Manner, Witness};

const CONNECTIONS: u32 = 64;
const WARM_UP: Duration = Duration::from_millis(200);
/// How often a live view looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const LAG_RATE: f64 = 50_000.0;
const CPU_RATE: u32 = 20_000;
/// The share of the rate that must be made for a comparison of what that costs.
const CPU_RATE_MIN: f64 = 0.99;
const LAG_MAX_US: f64 = 30.0;
/// So many that a server which stops for some milliseconds leaves connections free: waiting for one is no lag of the client's.
const LAG_CONNECTIONS: u32 = 256;
const MEMORY: [u64; 2] = [100_000, 10_000_000];
const MEMORY_GROWTH_MAX: f64 = 1024.0 * 1024.0;

fn main() -> Outcome<()> {
    if serve_if_asked()? || run_if_asked()? {
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds = arguments.first().map_or(Ok(7), |text| text.parse())?;
    let seconds = arguments.get(1).map_or(Ok(1.0), |text| text.parse())?;
    let parts =
        arguments.get(2).map_or("record,live,lag,cpu,punctual,scenario,memory", String::as_str);
    let (client, first) = engine::two_cores();
    let server = Server::start(first, 13)?;
    let url = format!("http://{}/", server.address);
    let bench = Bench {
        engine: Engine::new(&url, client)?,
        server,
        client,
        first,
        rounds,
        duration: Duration::from_secs_f64(seconds),
        url,
    };
    for part in parts.split(',') {
        match part {
            "record" => bench.record()?,
            "live" => bench.live()?,
            "lag" => bench.lag()?,
            "cpu" => bench.cpu()?,
            "punctual" => bench.punctual()?,
            "scenario" => bench.scenario()?,
            "memory" => bench.memory()?,
            part => return Err(format!("no part is called {part:?}").into()),
        }
    }
    Ok(())
}

struct Bench {
    engine: Engine,
    server: Server,
    client: usize,
    /// The server's core.
    first: usize,
    rounds: usize,
    duration: Duration,
    url: String,
}

impl Bench {
    fn plan(&self) -> Outcome<Plan> {
        let stop = Stop::after(self.duration);
        Ok(Plan { connections: CONNECTIONS, stop, warm_up: WARM_UP, ..self.engine.plan()? })
    }

    /// The load generator with all it records, watched, beside a shard that only counts.
    fn record(&self) -> Outcome<()> {
        let plan = Plan { driver: DriverKind::IoUring, ..self.plan()? };
        let request = self.engine.request();
        let times = (WARM_UP, self.duration);
        let bare = choice::run(
            self.client,
            self.server.address,
            &request,
            CONNECTIONS,
            choice::DEFAULT,
            times,
        );
        let mut contestants: [(String, Run<'_>); 2] = [
            ("a shard that counts".to_owned(), bare),
            ("all recorded and watched".to_owned(), Box::new(|| score(&watched(&plan)?))),
        ];
        let contest = Contest::hold(self.rounds, &mut contestants)?;
        writeln!(std::io::stdout(), "recording, {CONNECTIONS} connections on io_uring")?;
        contest.print()?;
        contest.print_ratio("recorded / counted", 1, 0, |score| score.rate, 0.97)
    }

    /// The command with its full screen and without: the screen is drawn by a thread of its own, from snapshots.
    fn live(&self) -> Outcome<()> {
        let Some(command) = terminal::command() else {
            writeln!(
                std::io::stdout(),
                "live view: left out, build the command first: cargo build --release -p ringshot-cli"
            )?;
            return Ok(());
        };
        let length = self.duration.max(Duration::from_secs(2));
        let show = |live| {
            terminal::run(command.clone(), live, self.client, &self.url, CONNECTIONS, length)
        };
        let mut contestants =
            [("--live off".to_owned(), show("off")), ("--live full".to_owned(), show("full"))];
        let contest = Contest::hold(self.rounds, &mut contestants)?;
        writeln!(std::io::stdout(), "live view, {CONNECTIONS} connections on io_uring")?;
        contest.print()?;
        contest.print_ratio("full / off", 1, 0, |score| score.rate, 0.97)
    }

    /// How late requests leave at a rate that leaves the core half idle.
    fn lag(&self) -> Outcome<()> {
        let mut out = std::io::stdout();
        writeln!(
            out,
            "schedule lag at {LAG_RATE} requests/s, {LAG_CONNECTIONS} connections: medians of the rounds' p50 and p99"
        )?;
        let length = self.duration;
        let arrival = Arrival::at_rate(LAG_RATE, length);
        let paced = |driver, spin| -> Outcome<[Histogram; 2]> {
            let pacing = Pacing { spin, ..Pacing::default() };
            let (stop, arrival) = (Stop::after(length), arrival.clone());
            let report = run_load(
                &Plan {
                    connections: LAG_CONNECTIONS,
                    driver,
                    pacing,
                    stop,
                    arrival,
                    ..self.plan()?
                },
                &Control::new(),
            )?;
            Ok([report.histograms.schedule_lag, report.histograms.client_lag])
        };
        let bare = |how: Bare| {
            let lag = how.lag(self.client, LAG_RATE, length)?;
            Ok([lag.clone(), lag])
        };
        let (spin, asleep) = (Duration::from_micros(100), Duration::ZERO);
        let ways: [Way<'_>; 6] = [
            ("io_uring", &|| paced(DriverKind::IoUring, asleep), Some(LAG_MAX_US)),
            ("epoll", &|| paced(DriverKind::Epoll, asleep), None),
            ("a loop that sleeps, sending nothing", &|| bare(Bare::Sleeping), None),
            ("io_uring --spin 100us", &|| paced(DriverKind::IoUring, spin), Some(LAG_MAX_US)),
            ("a loop that spins, sending nothing", &|| bare(Bare::Spinning), None),
            ("timers of 1 ms, sending nothing", &|| bare(Bare::Milliseconds), None),
        ];
        let mut figures = vec![[const { Vec::new() }; 3]; ways.len()];
        for round in 0..self.rounds {
            for place in turns(round, ways.len()) {
                let [p50, p99, own] = &mut figures[place];
                let [lag, own_lag] = ways[place].1()?;
                p50.push(lag.quantile_us(0.5));
                p99.push(lag.quantile_us(0.99));
                own.push(own_lag.quantile_us(0.99));
            }
        }
        for ((name, _, reach), figures) in ways.iter().zip(figures) {
            let [p50, p99, own] = figures.map(median);
            let verdict = reach.map_or(String::new(), |most| {
                let word = if p99 <= most { "reached" } else { "BEHIND" };
                format!("  (p99 to reach {most} us or less: {word})")
            });
            writeln!(
                out,
                "  {name:<36} p50 {p50:>8.1} us  p99 {p99:>8.1} us, without waiting for a connection {own:>8.1} us{verdict}"
            )?;
        }
        Ok(())
    }

    /// Programs that send [`CPU_RATE`] requests a second to a server: with little slack, with as much as the others' timers have, and the others.
    fn at_a_rate(&self, url: &str) -> Outcome<Vec<(String, Run<'static>)>> {
        let rated = Rated { core: self.client, url: url.to_owned(), connections: CONNECTIONS };
        let length = self.duration.max(Duration::from_secs(2));
        let ours = |driver, millis| {
            rated.ringshot(driver, CPU_RATE, Duration::from_millis(millis), length)
        };
        let mut contestants: Vec<(String, Run<'_>)> = vec![
            ("ringshot --slack 2ms".to_owned(), ours(DriverKind::IoUring, 2)),
            ("the same on epoll".to_owned(), ours(DriverKind::Epoll, 2)),
            ("ringshot --slack 1ms".to_owned(), ours(DriverKind::IoUring, 1)),
            ("ringshot".to_owned(), ours(DriverKind::IoUring, 0)),
        ];
        for program in ["oha", "hey"] {
            if installed(program) {
                let run = paced(program, self.client, url, CONNECTIONS, CPU_RATE, length);
                contestants.push((program.to_owned(), run));
            } else {
                writeln!(std::io::stdout(), "  {program} is not installed and left out")?;
            }
        }
        Ok(contestants)
    }

    /// What a request costs at a rate, as the kernel charges the process; who does not make the rate is not judged by it. `punctual` shows how late each sends: the others' timers are of a millisecond, so ours may be as
    /// late; precise sending costs a wake-up a request and stands beside it.
    fn cpu(&self) -> Outcome<()> {
        let mut contestants = self.at_a_rate(&self.url)?;
        let contest = Contest::hold(self.rounds, &mut contestants)?;
        writeln!(
            std::io::stdout(),
            "CPU a request at {CPU_RATE}/s, {CONNECTIONS} connections, one core"
        )?;
        contest.print()?;
        let names: Vec<String> = contestants.iter().map(|(name, _)| name.clone()).collect();
        let made = |place| contest.median(place, |score| score.rate);
        let least = f64::from(CPU_RATE) * CPU_RATE_MIN;
        for (place, name) in names.iter().enumerate().skip(4) {
            let (what, cpu) =
                (format!("CPU of {name} / ringshot --slack 2ms"), |it: &Score| it.cpu_us);
            match [0, place].into_iter().find(|place| made(*place) < least) {
                None => contest.print_ratio(&what, place, 0, cpu, 2.0)?,
                Some(slow) => {
                    let (who, made) = (&names[slow], made(slow));
                    let what = format!("{what}, not judged since {who} made {made:.0}/s");
                    contest.print_plain_ratio(&what, place, 0, cpu)?;
                }
            }
        }
        Ok(())
    }

    /// How late each program of `cpu` sends, by the clock of the server and the rate that was asked of it.
    fn punctual(&self) -> Outcome<()> {
        let mut out = std::io::stdout();
        writeln!(out, "late by, at {CPU_RATE}/s as the server sees it: medians of the rounds")?;
        let server = Witness::start(self.first, Manner::Fixed(Duration::ZERO))?;
        let mut contestants = self.at_a_rate(&format!("http://{}/", server.address))?;
        let mut figures = vec![[const { Vec::new() }; 3]; contestants.len()];
        for round in 0..self.rounds {
            for place in turns(round, contestants.len()) {
                let (name, run) = &mut contestants[place];
                run()?;
                let late = server.lateness(f64::from(rate_asked(name, CONNECTIONS, CPU_RATE)));
                for (part, figures) in [0.5, 0.9, 0.99].into_iter().zip(&mut figures[place]) {
                    figures.push(late.quantile_us(part));
                }
            }
        }
        for ((name, _), figures) in contestants.iter().zip(figures) {
            let [p50, p90, p99] = figures.map(median);
            writeln!(out, "  {name:<22} p50 {p50:>9.1} us  p90 {p90:>9.1} us  p99 {p99:>9.1} us")?;
        }
        Ok(())
    }

    /// A mix of templates beside a request that is the same each time.
    fn scenario(&self) -> Outcome<()> {
        let fixed = Plan { driver: DriverKind::IoUring, ..self.plan()? };
        let mixed = Plan { mix: Arc::new(mix(&fixed.mix, self.server.address)?), ..fixed.clone() };
        let mut contestants: [(String, Run<'_>); 2] = [
            (
                "one fixed request".to_owned(),
                Box::new(|| score(&run_load(&fixed, &Control::new())?)),
            ),
            (
                "weighted templates".to_owned(),
                Box::new(|| score(&run_load(&mixed, &Control::new())?)),
            ),
        ];
        let contest = Contest::hold(self.rounds, &mut contestants)?;
        writeln!(std::io::stdout(), "scenario, {CONNECTIONS} connections on io_uring")?;
        contest.print()?;
        contest.print_ratio("templates / fixed", 1, 0, |score| score.rate, 0.90)
    }

    /// What stays in memory after many requests and after few, each in a process of its own.
    fn memory(&self) -> Outcome<()> {
        let rated = Rated { core: self.client, url: self.url.clone(), connections: CONNECTIONS };
        let [few, many] = MEMORY.map(|requests| rated.resident_after(requests));
        let (few, many) = (few?, many?);
        let growth = many as f64 - few as f64;
        let verdict = if growth <= MEMORY_GROWTH_MAX { "reached" } else { "BEHIND" };
        let mebibytes = |bytes: f64| bytes / (1024.0 * 1024.0);
        writeln!(
            std::io::stdout(),
            "resident memory after {} and {} requests\n  {:.2} MiB and {:.2} MiB: growth {:.2} MiB (to reach 1 or less: {verdict})",
            MEMORY[0],
            MEMORY[1],
            mebibytes(few as f64),
            mebibytes(many as f64),
            mebibytes(growth),
        )?;
        Ok(())
    }
}

/// A way to keep a schedule: its name, a round of it (the lag, and the part of it that is not the server's), and what its p99 is to reach in microseconds.
type Way<'a> = (&'a str, &'a dyn Fn() -> Outcome<[Histogram; 2]>, Option<f64>);

fn score(report: &Report) -> Outcome<Score> {
    if report.errors > 0 {
        return Err(format!("requests failed: {:?}", report.error_examples).into());
    }
    Ok(Score {
        rate: report.requests_per_second,
        cpu_us: report.cpu_us_per_request,
        user_us: report.cpu_user_us_per_request,
        bytes_rate: report.bytes_per_second,
        ..Score::default()
    })
}

/// A run that somebody looks at, as a live view does.
fn watched(plan: &Plan) -> Outcome<Report> {
    let (control, over) = (Control::new(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                std::hint::black_box(control.snapshot());
                std::thread::sleep(LOOK_EVERY);
            }
        });
        let report = run_load(plan, &control);
        over.store(true, Ordering::Relaxed);
        Ok(report?)
    })
}

/// Five requests with weights, four of them templates, as a scenario has them.
fn mix(one: &Mix, address: SocketAddr) -> Outcome<Mix> {
    let templates = [
        ("/", 4),
        ("/items/{{seq}}", 3),
        ("/items/{{rand:1:100000}}?n={{seq}}", 2),
        ("/users/{{uuid}}", 1),
        ("/search?q={{rand:1:9}}", 1),
    ];
    let request = |(place, (path, weight)): (usize, (&str, u32))| -> Outcome<MixRequest> {
        let mut url = Url::parse(&format!("http://{address}/"))?;
        path.clone_into(&mut url.target);
        let (method, keep_alive) = (http::Method::GET, KeepAlive::On);
        let request = Request { method: &method, url: &url, headers: &[], body: b"", keep_alive };
        let content = Content::compile(&request, &[])?;
        Ok(MixRequest { name: place as u32, weight, content, ..one.requests[0].clone() })
    };
    let requests = templates.into_iter().enumerate().map(request).collect::<Outcome<_>>()?;
    let names = templates.map(|(path, _)| path.to_owned()).into();
    Ok(Mix { requests, names, order: Order::Weighted, ..one.clone() })
}
