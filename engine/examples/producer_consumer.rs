//! Producers, a bounded queue, a batch, a consumer: each waits for the next, and nothing grows in between.
//!
//! `cargo run --release --example producer_consumer [COUNT [URL]]`; without a URL it starts an origin of its own.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::error::Error;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ringshot::client::{Engine, blocking::block_on};
use ringshot::origin::{Config, Origin};
use ringshot::queue;

const USAGE: &str = "usage: producer_consumer [COUNT [URL]]";
const COUNT_DEFAULT: u64 = 600;
const PRODUCERS: u64 = 3;
const QUEUE: NonZeroUsize = NonZeroUsize::new(10).unwrap();
const WINDOW: NonZeroUsize = NonZeroUsize::new(20).unwrap();
/// What the consumer does with each result.
const WORK: Duration = Duration::from_millis(1);

/// Sends its share, and tells how long the queue kept it waiting.
fn produce(sender: &queue::Sender<(u64, String)>, url: &str, count: u64) -> Duration {
    let mut waited = Duration::ZERO;
    for n in 0..count {
        let begun = Instant::now();
        if block_on(sender.send((n, format!("{url}?n={n}")))).is_err() {
            break; // the batch is gone
        }
        waited += begun.elapsed();
    }
    waited
}

fn run(count: u64, url: Option<String>) -> Result<(), Box<dyn Error>> {
    let origin = Origin::start(&Config::on_loopback())?;
    let own = url.is_none();
    let url = url.unwrap_or_else(|| origin.url("/delay/2"));
    let client = Engine::builder().build()?.client().build()?;

    let start = Instant::now();
    // The last sender that goes closes the queue, and so ends the batch.
    let (sender, receiver) = queue::bounded(QUEUE);
    let mut completed = client.batch(receiver).window(WINDOW).completed();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (sender, url) = (sender.clone(), url.clone());
            let share = count / PRODUCERS + u64::from(producer < count % PRODUCERS);
            std::thread::spawn(move || produce(&sender, &url, share))
        })
        .collect();
    let joins = std::thread::spawn(move || {
        let waited = producers.into_iter().map(|producer| producer.join().unwrap_or_default());
        let waited: Vec<_> = waited.collect();
        let sent = start.elapsed();
        block_on(sender.joined());
        (waited, sent, start.elapsed())
    });

    let (mut consumed, mut failed) = (0_u64, 0_u64);
    while let Some(done) = block_on(completed.next()) {
        std::thread::sleep(WORK);
        failed += u64::from(done.result.is_err());
        consumed += 1;
        let (_n, ticket) = done.tag;
        drop(ticket); // only now the queue takes it for done
    }
    let (waited, sent, joined) = joins.join().map_err(|_| "a producer panicked")?;

    println!("{consumed} consumed, {failed} failed, in {:.2?}", start.elapsed());
    println!(
        "{WORK:?} of work each, so the consumer sets the pace for all: producers waited {waited:.2?}"
    );
    println!("all was sent after {sent:.2?}, and all was done after {joined:.2?}");
    println!("never more than {QUEUE} queued and {WINDOW} in flight or waiting to be consumed");
    if own {
        println!("most in progress, as the origin saw it: {}", origin.counters().most_in_progress);
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
