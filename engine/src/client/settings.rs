//! What is fixed for a client's life, over all cores. Plain data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::HeaderMap;

use super::Retry;
use crate::proto::h1;
use crate::resolve::Resolver;
use crate::shard::pool::config::Shared;

/// One client, as its cores and its handles share it.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Unique in this process.
    pub(crate) id: u64,
    /// Its last handle is gone: cores no longer keep it for those to come.
    pub(crate) gone: AtomicBool,
    pub(crate) pool: Arc<Shared>,
    /// Fields of every request that has none of the same name.
    pub(crate) headers: HeaderMap,
    /// The same, encoded, for requests that have no others.
    pub(crate) plain: Option<h1::PlainFields>,
    pub(crate) retry: Retry,
    /// Redirects followed; `None`: none by `send` and `fetch` of a request, and [`REDIRECTS_DEFAULT`](super::REDIRECTS_DEFAULT) by batches and the calls of a request
    /// builder.
    pub(crate) redirects: Option<u32>,
    pub(crate) max_body_bytes: u64,
    pub(crate) resolver: Resolver,
}

impl Settings {
    /// Whether its last handle is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// A number that no other client of this process has.
    pub(crate) fn next_id() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }
}
