//! Clients used from tokio: Ringshot's beside reqwest and hyper-util. `cargo run --release -p ringshot-benches --bin tokio_client`
//!
//! Arguments: rounds (9), seconds a round and contestant (0.5), connections (64), parts (`apart,beside-tokio,beside-origin,one`).
//!
//! Every contestant has the same two cores for itself and the origin, which is a process of its own; the tokio runtime of one thread is on the last one, and for reqwest and hyper-util the origin
//! is on the first, which they leave to it alone. Ringshot needs a core for its shard besides, and there is no third, so all that can share do:
//!
//! | part | first core | last core |
//! |---|---|---|
//! | `apart` | shard | tokio, origin |
//! | `beside-tokio` | origin | tokio, shard: the client has one core in all, as the others have |
//! | `beside-origin` | origin, shard: together they need more than a core, and are the limit | tokio |
//!
//! CPU is that of all threads of this process: tokio's and the shard's, not the origin's.

use std::io::Write;
use std::time::Duration;

use ringshot::client::{Cores, Engine};
use ringshot_benches::bare::Outcome;
use ringshot_benches::contest::{Contest, Run, Score};
use ringshot_benches::engine::two_cores;
use ringshot_benches::server::{Server, serve_if_asked};
use ringshot_benches::tokio_side::{
    ByHyper, ByReqwest, ByRingshot, Fetch, closed_loop, on_tokio, one_by_one,
};

const WARM_UP: Duration = Duration::from_millis(200);
const BODY_BYTES: u64 = 13;

#[derive(Clone, Copy)]
struct Setting {
    rounds: usize,
    duration: Duration,
    /// Tasks, connections; one: latency is what counts.
    tasks: u32,
    tokio: usize,
    shard: usize,
    /// Whether Ringshot's origin is on tokio's core.
    shares: bool,
}

/// Origins on each core.
#[derive(Clone, Copy)]
struct Urls<'a> {
    alone: &'a str,
    beside_tokio: &'a str,
}

fn main() -> Outcome<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (tokio, origin) = two_cores();
    let setting = Setting {
        rounds: arguments.first().map_or(Ok(9), |text| text.parse())?,
        duration: Duration::from_secs_f64(arguments.get(1).map_or(Ok(0.5), |text| text.parse())?),
        tasks: arguments.get(2).map_or(Ok(64), |text| text.parse())?,
        tokio,
        shard: origin,
        shares: false,
    };
    let servers = [Server::start(origin, BODY_BYTES)?, Server::start(tokio, BODY_BYTES)?];
    let [alone, beside_tokio] =
        servers.each_ref().map(|server| format!("http://{}/", server.address));
    let urls = Urls { alone: &alone, beside_tokio: &beside_tokio };
    writeln!(
        std::io::stdout(),
        "tokio on core {tokio}, origin on core {origin}, {} rounds of {:?}",
        setting.rounds,
        setting.duration
    )?;
    let parts = arguments.get(3).map_or("apart,beside-tokio,beside-origin,one", String::as_str);
    for part in parts.split(',') {
        match part {
            "apart" => busy(urls, Setting { shares: true, ..setting })?,
            "beside-tokio" => busy(urls, Setting { shard: tokio, ..setting })?,
            "beside-origin" => busy(urls, setting)?,
            "one" => {
                one(urls, Setting { tasks: 1, ..setting })?;
                one(urls, Setting { tasks: 1, shard: tokio, ..setting })?;
            }
            _ => return Err(format!("there is no part {part:?}").into()),
        }
    }
    Ok(())
}

fn run(setting: Setting, client: impl Fetch) -> Outcome<Score> {
    let Setting { tasks, duration, .. } = setting;
    on_tokio(setting.tokio, move || async move {
        if tasks > 1 {
            closed_loop(client, tasks, WARM_UP, duration).await
        } else {
            one_by_one(client, WARM_UP, duration).await
        }
    })
}

/// The contest; every client is made anew for each round.
fn hold(urls: Urls<'_>, setting: Setting) -> Outcome<Contest> {
    let Setting { tasks, shard, .. } = setting;
    let (url, own) = (urls.alone, if setting.shares { urls.beside_tokio } else { urls.alone });
    let ringshot: Run<'_> = Box::new(move || {
        let engine = Engine::builder().cores(Cores::List(vec![shard])).build()?;
        let client = engine.client().max_conns_per_host(tasks).build()?;
        let score = run(setting, ByRingshot(client, own.parse()?))?;
        let of_core = engine.stats()[0].counters;
        Ok(Score { company: of_core.completions as f64 / of_core.turns as f64, ..score })
    });
    let reqwest: Run<'_> = Box::new(move || run(setting, ByReqwest::new(url, tasks as usize)?));
    let hyper: Run<'_> = Box::new(move || run(setting, ByHyper::new(url, tasks as usize)?));
    let mut contestants = [
        ("ringshot".to_owned(), ringshot),
        ("reqwest".to_owned(), reqwest),
        ("hyper-util".to_owned(), hyper),
    ];
    let place = match (shard == setting.tokio, setting.shares) {
        (true, _) => "on the core of tokio",
        (_, true) => "on a core of its own, its origin on that of tokio",
        _ => "on the core of the origin",
    };
    writeln!(std::io::stdout(), "{tasks} in flight, the shard {place}")?;
    Contest::hold(setting.rounds, &mut contestants)
}

fn busy(urls: Urls<'_>, setting: Setting) -> Outcome<()> {
    let contest = hold(urls, setting)?;
    contest.print()?;
    let rate = |score: &Score| score.rate;
    let thrift = |score: &Score| 1.0 / score.cpu_us;
    let company = contest.median(0, |score| score.company);
    writeln!(std::io::stdout(), "  completions a turn of the shard: {company:.1}")?;
    for (place, name) in [(1, "reqwest"), (2, "hyper-util")] {
        contest.print_ratio(&format!("requests a second, / {name}"), 0, place, rate, 1.5)?;
        contest.print_ratio(&format!("requests a CPU second, / {name}"), 0, place, thrift, 1.0)?;
    }
    Ok(())
}

fn one(urls: Urls<'_>, setting: Setting) -> Outcome<()> {
    let contest = hold(urls, setting)?;
    contest.print()?;
    let p50 = |score: &Score| score.p50_us;
    for (place, name) in [(0, "ringshot"), (1, "reqwest"), (2, "hyper-util")] {
        writeln!(std::io::stdout(), "  {name}: p50 {:.1} us", contest.median(place, p50))?;
    }
    // The other way round, since more is worse: 1 / 1.5.
    let speed = |score: &Score| 1.0 / score.p50_us;
    contest.print_ratio("speed of one request (1 / p50), / hyper-util", 0, 2, speed, 1.0 / 1.5)
}
