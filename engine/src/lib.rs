//! Ringshot: an `io_uring`, thread-per-core HTTP/1.1 client engine for Linux, with epoll as the baseline and the fallback.
//!
//! Each core of an [`Engine`] has its own ring, connections and timers; a [`Client`] brings requests to them from any thread and any executor, or from none:
//!
//! ```
//! use ringshot::Engine;
//! use ringshot::client::blocking::block_on;
//! use ringshot::origin::{Config, Origin};
//!
//! let origin = Origin::start(&Config::on_loopback())?; // a server to try it on
//! let client = Engine::builder().build()?.client().max_conns_per_host(8).build()?;
//! let body = block_on(async { client.get(origin.url("/")).send().await?.bytes().await })?;
//! assert_eq!(&body[..], b"Hello, world\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | for |
//! |---|---|
//! | [`client`], with [`queue`] and [`cpu`] | requests, one at a time or [many](client::Client::batch); bodies, retries, redirects; tasks on the cores; [`client::blocking`] |
//! | [`resolve`] | names: cache, overrides, a resolver of one's own |
//! | [`error`] | what went wrong, at which stage, whose fault, what to do next |
//! | [`load`] | load generation: a plan in, a report out; what the command `ringshot run` is made of |
//! | [`origin`] | a server for tests and benchmarks, whose paths say what shall happen |
//! | [`host`] | who turns the cores: threads of their own, or glommio |
//! | [`driver`], [`shard`], [`proto`], [`sys`], [`clock`] | the engine's inside |
//!
//! The engine's inside is public for benchmarks, simulations and those who want to see it. It may change with any version, but for what the other modules' signatures name; the
//! rest follows Semantic Versioning.
//!
//! Features: `glommio` (on by default) for the host of that name, which needs a C compiler; `tower` for a `tower::Service`.
#[cfg(not(target_os = "linux"))]
compile_error!("ringshot needs Linux: io_uring(7) or epoll(7)");

pub mod client;
pub mod clock;
pub mod driver;
pub mod error;
pub mod host;
pub mod load;
mod mesh;
pub mod origin;
pub mod proto;
mod random;
pub mod resolve;
pub mod shard;
mod sync;
pub mod sys;

pub use client::{Client, Engine, cpu, queue};
pub use error::Error;

/// The README's own code.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;
