//! Results as they come: the quick before the slow, each with the tag that its URL went in with. Leaving the loop cancels the rest.
//!
//! `cargo run --release --example as_completed [URL]...`; without URLs it starts an origin of its own that takes its time.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ringshot::client::{Engine, blocking::block_on};
use ringshot::origin::{Config, Origin};

const USAGE: &str = "usage: as_completed [URL]...";
/// How long each of the example's own answers takes.
const DELAYS_MS: [u64; 10] = [300, 20, 180, 60, 240, 100, 1, 140, 200, 260];

fn run(mut urls: Vec<String>) -> Result<(), Box<dyn Error>> {
    let origin = Origin::start(&Config::on_loopback())?;
    if urls.is_empty() {
        urls = DELAYS_MS.iter().map(|delay| origin.url(&format!("/delay/{delay}"))).collect();
    }
    let client = Engine::builder().build()?.client().timeout(Duration::from_secs(10)).build()?;

    let start = Instant::now();
    let tagged: Vec<_> = urls.into_iter().map(|url| (url.clone(), url)).collect();
    let mut completed = client.batch(tagged).completed();
    block_on(async {
        while let Some(done) = completed.next().await {
            let at = start.elapsed().as_millis();
            match done.result {
                Ok(response) => {
                    println!("{at:>5} ms  {}  #{} {}", response.status(), done.index, done.tag);
                }
                Err(error) => println!("{at:>5} ms  #{}: {error}", done.index),
            }
        }
    });

    // The first three are enough: the other requests are cancelled, and their connections closed.
    let hang = origin.url("/hang");
    let quick = origin.url("/delay/10");
    let mixed = (0..50).map(move |n| if n % 10 == 0 { quick.clone() } else { hang.clone() });
    let first = client.batch(mixed).completed().into_blocking().take(3).count();
    let left = Instant::now();
    while origin.counters().in_progress > 0 && left.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let gone = left.elapsed().as_millis();
    println!("{first} of 50 were enough; the rest was gone {gone} ms after the loop was left");
    Ok(())
}

/// What went wrong, in one line.
fn failed(error: Box<dyn Error>) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

fn main() -> ExitCode {
    let urls: Vec<String> = std::env::args().skip(1).collect();
    if urls.iter().any(|url| url.starts_with('-')) {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    run(urls).map_or_else(failed, |()| ExitCode::SUCCESS)
}
