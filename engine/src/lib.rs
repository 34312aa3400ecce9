//! Ringshot: an io_uring, thread-per-core HTTP client engine.
#![cfg(target_os = "linux")]

pub mod client;
pub mod clock;
pub mod driver;
pub mod host;
pub mod load;
pub mod origin;
pub mod proto;
pub mod shard;
pub mod sys;

pub use client::{cpu, queue};
