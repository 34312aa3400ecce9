//! The client against scripted servers and the built-in origin: on each driver, away from the cores and on one. Never leaves loopback.
//!
//! | module | what is held to what |
//! |---|---|
//! | `access` | how a test reaches a client: four ways at once |
//! | `feed` | bodies that are made while they are sent |
//! | `pool` | which connection is used, and what becomes of idle ones |
//! | `limits` | connections, dials and waiters, as a server counts them |
//! | `permits` | requests in flight, likewise, and who keeps a permit |
//! | `stale` | what is sent again because a connection died, and what is not |
//! | `timeouts` | every timeout as itself, in its phase, and not for the wrong reason |
//! | `total` | the total timeout: what it covers, and from when |
//! | `read_idle` | the time between two pieces of a body, and when it counts |
//! | `response` | heads, timings, interim responses |
//! | `body` | reading, limits, throwing away, dropping |
//! | `upload` | request bodies, and `Expect` |
//! | `redirects` | where they lead, and what goes along |
//! | `retries` | policies, budgets, waits |
//! | `errors` | every kind: its line, phase, fault |
//! | `progress` | how far a request had come that failed behind its head |
//! | `names` | names, several addresses |
//! | `threads` | executors, drops |
//! | `services` | the client behind layers of `tower_service` |
//! | `sharing` | what goes to other threads, and what may be shared among them |
//! | `shutdown` | the end of an engine |
//! | `panics` | panics of a caller's code away from the caller |
//! | `isolation` | user code that computes, panics, loops, holds on to what it has |
//! | `waiting` | the client that blocks: where it may, and where not |
//! | `wakes` | futures on other threads, woken in batches |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
#[path = "client/access.rs"]
mod access;
#[path = "client/body.rs"]
mod body;
#[path = "client/errors.rs"]
mod errors;
#[path = "client/expect.rs"]
mod expect;
#[path = "client/feed.rs"]
mod feed;
#[path = "client/fields.rs"]
mod fields;
#[path = "client/isolation.rs"]
mod isolation;
#[path = "client/limits.rs"]
mod limits;
#[path = "client/names.rs"]
mod names;
#[path = "client/panics.rs"]
mod panics;
#[path = "client/permits.rs"]
mod permits;
#[path = "client/pool.rs"]
mod pool;
#[path = "client/progress.rs"]
mod progress;
#[path = "client/read_idle.rs"]
mod read_idle;
#[path = "client/redirects.rs"]
mod redirects;
#[path = "client/response.rs"]
mod response;
#[path = "client/retries.rs"]
mod retries;
#[path = "client/services.rs"]
mod services;
#[path = "client/sharing.rs"]
mod sharing;
#[path = "client/shutdown.rs"]
mod shutdown;
#[path = "client/stale.rs"]
mod stale;
#[path = "client/threads.rs"]
mod threads;
#[path = "client/timeouts.rs"]
mod timeouts;
#[path = "client/total.rs"]
mod total;
#[path = "client/turns.rs"]
mod turns;
#[path = "client/upload.rs"]
mod upload;
#[path = "client/waiters.rs"]
mod waiters;
#[path = "client/waiting.rs"]
mod waiting;
#[path = "client/wakes.rs"]
mod wakes;
