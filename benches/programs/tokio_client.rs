//! Clients used from tokio: Ringshot's beside reqwest and hyper-util. `cargo run --release -p ringshot-benches --bin tokio_client`
//!
//! Arguments: rounds (9), seconds a round and contestant (0.5), connections (64), parts (`beside-origin,beside-tokio,one`).
//!
//! Every contestant has the same two cores and the same share of each: a tokio runtime of one thread on the last core, the origin, in a process of its own, on
//! the first. Ringshot needs a core for its shard besides, and there is no third: `beside-origin` puts the shard on the first core, where the others leave to the
//! origin alone what they can't use anyway; `beside-tokio` puts it on the last, so that the client has no more than one core in all, as the others have. Both are
//! measured. CPU is that of all threads of this process: tokio's and the shard's, not the origin's.

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
    };
    let server = Server::start(origin, BODY_BYTES)?;
    let url = format!("http://{}/", server.address);
    writeln!(
        std::io::stdout(),
        "tokio on core {tokio}, origin on core {origin}, {} rounds of {:?}",
        setting.rounds,
        setting.duration
    )?;
    let parts = arguments.get(3).map_or("beside-origin,beside-tokio,one", String::as_str);
    for part in parts.split(',') {
        match part {
            "beside-origin" => busy(&url, setting)?,
            "beside-tokio" => busy(&url, Setting { shard: tokio, ..setting })?,
            "one" => {
                one(&url, Setting { tasks: 1, ..setting })?;
                one(&url, Setting { tasks: 1, shard: tokio, ..setting })?;
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
fn hold(url: &str, setting: Setting) -> Outcome<Contest> {
    let Setting { tasks, shard, .. } = setting;
    let ringshot: Run<'_> = Box::new(move || {
        let engine = Engine::builder().cores(Cores::List(vec![shard])).build()?;
        let client = engine.client().max_conns_per_host(tasks).build()?;
        run(setting, ByRingshot(client, url.parse()?))
    });
    let reqwest: Run<'_> = Box::new(move || run(setting, ByReqwest::new(url, tasks as usize)?));
    let hyper: Run<'_> = Box::new(move || run(setting, ByHyper::new(url, tasks as usize)?));
    let mut contestants = [
        ("ringshot".to_owned(), ringshot),
        ("reqwest".to_owned(), reqwest),
        ("hyper-util".to_owned(), hyper),
    ];
    let place = if shard == setting.tokio { "tokio" } else { "the origin" };
    writeln!(std::io::stdout(), "{tasks} in flight, the shard on the core of {place}")?;
    Contest::hold(setting.rounds, &mut contestants)
}

fn busy(url: &str, setting: Setting) -> Outcome<()> {
    let contest = hold(url, setting)?;
    contest.print()?;
    let rate = |score: &Score| score.rate;
    let thrift = |score: &Score| 1.0 / score.cpu_us;
    for (place, name) in [(1, "reqwest"), (2, "hyper-util")] {
        contest.print_ratio(&format!("requests a second, / {name}"), 0, place, rate, 1.5)?;
        contest.print_ratio(&format!("requests a CPU second, / {name}"), 0, place, thrift, 1.0)?;
    }
    Ok(())
}

fn one(url: &str, setting: Setting) -> Outcome<()> {
    let contest = hold(url, setting)?;
    contest.print()?;
    let p50 = |score: &Score| score.p50_us;
    for (place, name) in [(0, "ringshot"), (1, "reqwest"), (2, "hyper-util")] {
        writeln!(std::io::stdout(), "  {name}: p50 {:.1} us", contest.median(place, p50))?;
    }
    // The other way round, since more is worse: 1 / 1.5.
    let speed = |score: &Score| 1.0 / score.p50_us;
    contest.print_ratio("speed of one request (1 / p50), / hyper-util", 0, 2, speed, 1.0 / 1.5)
}
