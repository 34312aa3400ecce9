//! A million URLs from an iterator, in flat memory: they are pulled as the window has room, and not while whoever reads the results is slow.
//!
//! `cargo run --release --example million_urls [COUNT [URL]]`; without a URL it starts an origin of its own.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::error::Error;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringshot::client::{Engine, blocking::block_on};
use ringshot::origin::{Config, Origin};

const USAGE: &str = "usage: million_urls [COUNT [URL]]";
const COUNT_DEFAULT: u64 = 1_000_000;
const WINDOW: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// For so many results the reader takes [`SLOW_TIME`] each.
const SLOW_RESULTS: u64 = 20;
const SLOW_TIME: Duration = Duration::from_millis(100);

/// Resident memory of this process, in KiB (proc_pid_status(5)).
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or_default()
}

fn run(count: u64, url: Option<String>) -> Result<(), Box<dyn Error>> {
    let origin = Origin::start(&Config::on_loopback())?;
    let base = url.unwrap_or_else(|| origin.url("/"));
    let client = Engine::builder().build()?.client().build()?;

    // Never all of them at a time.
    let pulled = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&pulled);
    let urls = (0..count).map(move |n| {
        counter.fetch_add(1, Ordering::Relaxed);
        format!("{base}?n={n}")
    });

    let start = Instant::now();
    let (mut consumed, mut bytes, mut failed) = (0_u64, 0, 0_u64);
    let (mut first, mut most, mut pauses) = (0, 0, Duration::ZERO);
    let mut completed = client.batch(urls).window(WINDOW).completed();
    while let Some(done) = block_on(completed.next()) {
        match done.result {
            Ok(response) => bytes += response.bytes().len(),
            Err(_) => failed += 1,
        }
        consumed += 1;
        // Somewhere in the midst the reader is slow for a while.
        let slow = (count / 2..count / 2 + SLOW_RESULTS).contains(&consumed);
        if slow {
            let paused = Instant::now();
            std::thread::sleep(SLOW_TIME);
            pauses += paused.elapsed();
        }
        if consumed.is_multiple_of((count / 10).max(1)) || (slow && consumed % 5 == 0) {
            let (resident, ahead) = (resident_kib(), pulled.load(Ordering::Relaxed) - consumed);
            first = if first == 0 { resident } else { first };
            most = most.max(resident);
            let slow = if slow { ", reader slow" } else { "" };
            println!("{consumed:>9} consumed, {ahead:>4} ahead, {resident} KiB resident{slow}");
        }
    }
    let took = start.elapsed().saturating_sub(pauses);
    println!("{consumed} results, {failed} failed, {bytes} bytes");
    println!("{:.0} requests/s while the reader was quick", consumed as f64 / took.as_secs_f64());
    println!("memory grew by {} KiB after the first tenth", most.saturating_sub(first));
    Ok(())
}

/// What went wrong, in one line.
fn failed(error: Box<dyn Error>) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let count = args.next().map_or(Ok(COUNT_DEFAULT), |text| text.parse());
    let (url, more) = (args.next(), args.next());
    match count {
        Ok(count) if more.is_none() => run(count, url).map_or_else(failed, |()| ExitCode::SUCCESS),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
