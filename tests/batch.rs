//! Batches against the built-in origin: on both drivers, on one core and on two. Each batch leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "batch/ends.rs"]
mod ends;
#[path = "batch/on_cores.rs"]
mod on_cores;
#[path = "batch/pace.rs"]
mod pace;
#[path = "batch/results.rs"]
mod results;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringshot::client::batch::Completed;
use ringshot::client::{Done, Error, Fetched};

fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

fn is_ok(result: &Result<Fetched, Error>) -> bool {
    result.as_ref().is_ok_and(|response| response.status() == 200)
}

/// The rest of a batch's results, as they come.
fn rest<T: Send + 'static>(completed: Completed<T>) -> Vec<Done<T>> {
    completed.into_blocking().collect()
}

/// An iterator that counts what was pulled.
fn counted<I: Iterator>(items: I) -> (Arc<AtomicUsize>, impl Iterator<Item = I::Item> + use<I>) {
    let pulled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&pulled);
    let counts = items.inspect(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    (pulled, counts)
}
