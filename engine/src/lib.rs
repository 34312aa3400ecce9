//! Ringshot: an io_uring, thread-per-core HTTP client engine.
#![cfg(target_os = "linux")]

pub mod client;
pub mod clock;
pub mod driver;
pub mod error;
pub mod host;
pub mod load;
mod mesh;
pub mod origin;
pub mod proto;
pub mod resolve;
pub mod shard;
pub mod sys;

pub use client::{Client, Engine, cpu, queue};
pub use error::Error;

/// The README's own code.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
