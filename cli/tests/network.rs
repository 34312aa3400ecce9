//! The binary end to end, over loopback: `serve`, `run`, `compare` and `doctor` as a user starts them. No test here judges speed.
//!
//! Every wait is bounded by [`program::PATIENCE`], which only a hang reaches. Where `io_uring` is unavailable its parts say so and are skipped.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)] // The lints know test functions, not their helpers.

#[path = "network/blocked.rs"]
mod blocked;
#[path = "network/compare.rs"]
mod compare;
#[path = "network/exact.rs"]
mod exact;
#[path = "network/failures.rs"]
mod failures;
#[path = "network/find_max.rs"]
mod find_max;
#[path = "network/input.rs"]
mod input;
#[path = "network/interrupt.rs"]
mod interrupt;
#[path = "network/json.rs"]
mod json;
#[path = "network/metrics.rs"]
mod metrics;
#[path = "network/peer.rs"]
mod peer;
#[path = "network/ports.rs"]
mod ports;
#[path = "network/program.rs"]
mod program;
#[path = "network/scenario.rs"]
mod scenario;
#[path = "network/serve.rs"]
mod serve;
#[path = "network/thresholds.rs"]
mod thresholds;
