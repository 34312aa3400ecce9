//! No runtime at all: ten threads share a client, and each call waits for its outcome.
//!
//! `cargo run --release --example blocking [URL]`; without a URL it starts an origin of its own.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use ringshot::client::blocking::Client;
use ringshot::origin::{Config, Origin};

/// Threads that share the client.
const THREADS: usize = 10;
/// Requests of each thread.
const REQUESTS: usize = 500;

fn run() -> Result<(), Box<dyn Error>> {
    let origin = Origin::start(&Config::on_loopback())?;
    let url = std::env::args().nth(1).unwrap_or_else(|| origin.url("/bytes/1000"));
    let client = Client::new()?;

    let response = client.get(&url).send()?;
    println!("{} from {url}: {} bytes", response.status(), response.bytes().len());
    println!("headers: {:?}", response.headers());
    println!("timings: {:?}", response.timings());

    let start = Instant::now();
    let work = || {
        let responses = (0..REQUESTS).filter_map(|_| client.get(&url).send().ok());
        responses.map(|response| response.bytes().len()).sum::<usize>()
    };
    let bytes: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    });
    let seconds = start.elapsed().as_secs_f64();
    let rate = (THREADS * REQUESTS) as f64 / seconds;
    println!("{THREADS} threads: {bytes} bytes in {seconds:.2} s, {rate:.0} requests/s");

    if let Err(error) = client.get("http://127.0.0.1:1/").send() {
        println!("an error in one line: {error}");
    }
    Ok(())
}

/// What goes wrong is told in one line.
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
