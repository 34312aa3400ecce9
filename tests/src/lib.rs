//! Support for the integration tests: scripted peers, real servers and test cases.
//!
//! | file | what it is |
//! |---|---|
//! | `client` | a plain blocking client |
//! | `dns` | messages of the DNS, as far as the tests need them |
//! | `engines` | an engine, a client and an origin on each driver; nothing left behind |
//! | `fuzz` | the bodies of the fuzz targets |
//! | `load` | plans with defaults, run on each driver and within a time; what every report must add up to |
//! | `names` | dnsmasq and a scripted name server behind it, in a namespace of the test's own |
//! | `namespace` | a test run again in network and mount namespaces of its own |
//! | `outcomes` | one peer, both drivers, and how every request must end |
//! | `peer` | a TCP server that does what a closure says |
//! | `reading` | a shard whose handler compares every body byte for byte |
//! | `seccomp` | children behind a filter |
//! | `seeds` | simulated runs from seeds, and what every simulation draws from one |
//! | `servers` | nginx and haproxy on loopback, stopped when dropped |
//! | `watch` | this process's descriptors, threads and memory |
// All of it is test code: a failure here fails the test that called it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod client;
pub mod dns;
pub mod engines;
pub mod fuzz;
pub mod load;
pub mod names;
pub mod namespace;
pub mod outcomes;
pub mod peer;
pub mod reading;
pub mod seccomp;
pub mod seeds;
pub mod servers;
pub mod watch;
