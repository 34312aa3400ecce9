//! A thousand URLs of which 5% never answer: 100 requests in flight, 30 connections to a host, a total timeout. All of it takes about as long as the timeout, the others don't
//! notice, and the results are in the order of the URLs.
//!
//! `cargo run --release --example scalable_client [TIMEOUT_SECONDS [URL]]`; without a URL it starts four origins of its own. The timeout is 10 seconds; with 2 it takes 2.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ringshot::client::{Engine, Timeouts, TotalFrom, blocking::block_on};
use ringshot::origin::{Config, Origin};

const USAGE: &str = "usage: scalable_client [TIMEOUT_SECONDS [URL]]";
const URLS: usize = 1000;
const IN_FLIGHT_MAX: u32 = 100;
const CONNS_PER_HOST_MAX: u32 = 30;
/// Of so many URLs one hangs.
const HANGS_ONE_IN: usize = 20;

fn run(total: Duration, url: Option<String>) -> Result<(), Box<dyn Error>> {
    let origins: Vec<_> =
        (0..4).map(|_| Origin::start(&Config::on_loopback())).collect::<Result<_, _>>()?;
    let urls: Vec<String> = (0..URLS)
        .map(|n| match &url {
            Some(url) => url.clone(),
            None if n % HANGS_ONE_IN == 0 => origins[n / HANGS_ONE_IN % 4].url("/hang"),
            None => origins[n % 4].url("/lognormal/10/100"),
        })
        .collect();

    let engine = Engine::builder().build()?;
    let timeouts = Timeouts {
        total: Some(total),
        // As with a semaphore around the request: who waits for a permit is not timed.
        total_from: TotalFrom::Acquire,
        ..Timeouts::default()
    };
    let client = engine
        .client()
        .max_in_flight(IN_FLIGHT_MAX)
        .max_conns_per_host(CONNS_PER_HOST_MAX)
        .timeouts(timeouts)
        .build()?;

    let start = Instant::now();
    let results = block_on(client.batch(urls.clone()).collect());
    let took = start.elapsed();

    let mut outcomes = BTreeMap::<String, usize>::new();
    for (url, result) in urls.iter().zip(&results) {
        let outcome = match result {
            Ok(response) => {
                // Redirects aside, a result is that of the URL at its place.
                debug_assert_eq!(response.target().to_string(), *url);
                response.status().to_string()
            }
            Err(error) => error.kind().name().to_owned(),
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{} URLs in {took:.2?}, with a total timeout of {total:?}", results.len());
    println!("outcomes: {outcomes:?}");
    if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
        println!("one of the errors: {error}");
    }
    println!("the client's own count: {:?}", client.limits_observed());
    if url.is_none() {
        let most: Vec<_> = origins.iter().map(|origin| origin.counters().most_open).collect();
        println!("the most connections that each of the origins saw at once: {most:?}");
    }
    Ok(())
}

/// What went wrong, in one line.
fn failed(error: Box<dyn Error>) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().map_or(Ok(10.0), |text| text.parse::<f64>());
    let (url, more) = (args.next(), args.next());
    match seconds.map(Duration::try_from_secs_f64) {
        Ok(Ok(total)) if more.is_none() => {
            run(total, url).map_or_else(failed, |()| ExitCode::SUCCESS)
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
