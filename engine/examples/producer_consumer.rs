//! Producers, a bounded queue, a batch, a consumer: each waits for the next, and nothing grows in between.
//!
//! `cargo run --release --example producer_consumer [COUNT [URL]]`; without a URL it starts an origin of its own.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]

use std::error::Error;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// Sends its share, counts what was sent, and tells how long the queue kept it waiting, and how many it saw queued.
fn produce(
    sender: &queue::Sender<(u64, String)>,
    url: &str,
    count: u64,
    sent: &AtomicUsize,
) -> (Duration, usize) {
    let (mut waited, mut queued) = (Duration::ZERO, 0);
    for n in 0..count {
        let begun = Instant::now();
        if block_on(sender.send((n, format!("{url}?n={n}")))).is_err() {
            break; // the batch is gone
        }
        waited += begun.elapsed();
        sent.fetch_add(1, Ordering::SeqCst);
        queued = queued.max(sender.queued());
    }
    (waited, queued)
}

fn run(count: u64, url: Option<String>) -> Result<(), Box<dyn Error>> {
    let origin = Origin::start(&Config::on_loopback())?;
    let own = url.is_none();
    let url = url.unwrap_or_else(|| origin.url("/delay/2"));
    let client = Engine::builder().build()?.client().build()?;

    let start = Instant::now();
    // The last sender that goes closes the queue, and so ends the batch.
    let (sender, receiver) = queue::bounded(QUEUE);
    let (put, seen) = (Arc::new(AtomicUsize::new(0)), receiver.clone());
    let mut completed = client.batch(receiver).window(WINDOW).completed();
    let producers: Vec<_> = (0..PRODUCERS)
        .map(|producer| {
            let (sender, url, put) = (sender.clone(), url.clone(), Arc::clone(&put));
            let share = count / PRODUCERS + u64::from(producer < count % PRODUCERS);
            std::thread::spawn(move || produce(&sender, &url, share, &put))
        })
        .collect();
    let joins = std::thread::spawn(move || {
        let told = producers.into_iter().map(|producer| producer.join().unwrap_or_default());
        let (waited, queued): (Vec<_>, Vec<_>) = told.unzip();
        let sent = start.elapsed();
        block_on(sender.joined());
        (waited, queued, sent, start.elapsed())
    });

    let (mut consumed, mut failed, mut out) = (0_usize, 0_u64, 0);
    while let Some(done) = block_on(completed.next()) {
        // Out of the queue, and not consumed. What is sent between the two looks is not counted.
        let sent = put.load(Ordering::SeqCst);
        out = out.max(sent.saturating_sub(seen.queued() + consumed + 1));
        std::thread::sleep(WORK);
        failed += u64::from(done.result.is_err());
        consumed += 1;
        let (_n, ticket) = done.tag;
        drop(ticket); // only now the queue takes it for done
    }
    drop(seen);
    let (waited, queued, sent, joined) = joins.join().map_err(|_| "a producer panicked")?;

    println!("{consumed} consumed, {failed} failed, in {:.2?}", start.elapsed());
    println!(
        "{WORK:?} of work each, so the consumer sets the pace for all: producers waited {waited:.2?}"
    );
    println!("all was sent after {sent:.2?}, and all was done after {joined:.2?}");
    let queued = queued.into_iter().max().unwrap_or_default();
    println!("at most {queued} of {QUEUE} that may be were queued");
    println!("at most {out} of {WINDOW} that may be were in flight or waiting to be consumed");
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
