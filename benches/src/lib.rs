//! Support for the benchmarks: bare loops, an origin in a process of its own, interleaved rounds, and figures that are ratios.
//!
//! A lone absolute figure means nothing on a shared machine: what is set against another runs in turn with it, round after round, and medians and the ratios
//! within the rounds are printed. `docs/benchmarking.md` names the exceptions.

pub mod bare;
pub mod choice;
pub mod contest;
pub mod cpu;
pub mod echo;
pub mod engine;
pub mod heap;
pub mod lateness;
pub mod local;
pub mod nginx;
pub mod peers;
pub mod rated;
pub mod server;
pub mod terminal;
pub mod tokio_side;
pub mod witness;
