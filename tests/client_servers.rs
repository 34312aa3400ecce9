//! The client library against real servers: nginx and haproxy as they are in the wild, dnsmasq, and scripted servers that count. Nothing is lost, nothing is
//! sent twice that should not be, and no limit is exceeded by the server's own count. Skips, and says so, where a server is missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "client_servers/bodies.rs"]
mod bodies;
#[path = "client_servers/idle.rs"]
mod idle;
#[path = "client_servers/killed.rs"]
mod killed;
#[path = "client_servers/limits.rs"]
mod limits;
#[path = "client_servers/names.rs"]
mod names;
#[path = "client_servers/proxy.rs"]
mod proxy;
#[path = "client_servers/record.rs"]
mod record;
#[path = "client_servers/rig.rs"]
mod rig;
#[path = "client_servers/slow.rs"]
mod slow;
#[path = "client_servers/uploads.rs"]
mod uploads;
