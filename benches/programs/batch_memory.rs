//! A million requests through `batch(...).completed()`, and a consumer that slows down to ten a second for a while: how much memory is held. `cargo run
//! --release -p ringshot-benches --bin batch_memory`
//!
//! Arguments: requests (1000000), seconds of slowness (10), window (100).
//!
//! Growth is the most that was resident at any sample after the batch began over what was resident just before, with client and engine in place: so the pool, its
//! connections and the buffers of the batch itself count as growth.

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Duration;

use ringshot::client::batch::Completed;
use ringshot::client::{Cores, Engine, Target, blocking::block_on};
use ringshot::clock::Instant;
use ringshot_benches::bare::Outcome;
use ringshot_benches::cpu::resident_bytes;
use ringshot_benches::engine::two_cores;
use ringshot_benches::server::{Server, serve_if_asked};

const MEBIBYTE: f64 = 1024.0 * 1024.0;
const GROWTH_MAX: f64 = 8.0;
/// Results between two looks at the memory.
const SAMPLE_EVERY: u64 = 1_000;
/// A result every so often, while it is slow.
const SLOW_EVERY: Duration = Duration::from_millis(100);

fn main() -> Outcome<()> {
    if serve_if_asked()? {
        return Ok(());
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let requests: u64 = arguments.first().map_or(Ok(1_000_000), |text| text.parse())?;
    let slow_for: u64 = arguments.get(1).map_or(Ok(10), |text| text.parse())?;
    let window = arguments.get(2).map_or(Ok(100), |text| text.parse())?;
    let window = NonZeroUsize::new(window).ok_or("a window of at least one")?;
    let (client_core, server_core) = two_cores();
    let server = Server::start(server_core, 13)?;
    let target: Target = format!("http://{}/", server.address).parse()?;
    let engine = Engine::builder().cores(Cores::List(vec![client_core])).build()?;
    let client = engine.client().build()?;

    let before = resident_bytes()?;
    let (mut most, mut most_slow) = (before, 0);
    let begin = Instant::now();
    let inputs = (0..requests).map(move |_| target.clone());
    let mut completed = client.batch(inputs).window(window).completed();
    let mut count = 0;
    while let Some(done) = block_on(completed.next()) {
        done.result?;
        count += 1;
        if count % SAMPLE_EVERY == 0 {
            most = most.max(resident_bytes()?);
        }
        if count == requests / 2 {
            most_slow = slowly(&mut completed, slow_for, &mut count)?;
        }
    }
    let took = (Instant::now() - begin).as_secs_f64();
    most = most.max(most_slow).max(resident_bytes()?);
    let grown = (most - before) as f64 / MEBIBYTE;
    let verdict = if grown <= GROWTH_MAX { "reached" } else { "BEHIND" };
    writeln!(
        std::io::stdout(),
        "{count} requests in {took:.1} s, {slow_for} s of them at ten a second, window {window}\n  \
         resident: {:.1} MiB before, {:.1} MiB at most, {:.1} MiB at most while slow\n  \
         growth {grown:.2} MiB (to reach {GROWTH_MAX} or less: {verdict})",
        before as f64 / MEBIBYTE,
        most as f64 / MEBIBYTE,
        most_slow as f64 / MEBIBYTE,
    )?;
    Ok(())
}

/// Takes ten results a second for so many seconds; the most that was resident meanwhile.
fn slowly(completed: &mut Completed<()>, seconds: u64, count: &mut u64) -> Outcome<u64> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut most = 0;
    while Instant::now() < end {
        std::thread::sleep(SLOW_EVERY);
        let Some(done) = block_on(completed.next()) else { break };
        done.result?;
        *count += 1;
        most = most.max(resident_bytes()?);
    }
    Ok(most)
}
