//! What an origin serves and where, checked; and why one can't start.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::driver::{DriverChoice, DriverKind, probe};
use crate::sys::{affinity, process};

/// The largest body that an origin serves.
pub const BODY_BYTES_MAX: u64 = 1 << 30;
/// Most connections of one core.
pub const CONNECTIONS_MAX: u32 = 1 << 17;
/// Descriptors that are not connections.
const FILES_BESIDES_CONNECTIONS: u64 = 32;
/// The longest delay of an answer.
pub const DELAY_MAX: Duration = Duration::from_secs(3600);

/// What an origin serves, and where.
///
/// ```
/// use std::time::Duration;
/// use ringshot::origin::{Config, Origin, OriginError};
///
/// let config = Config { body_bytes: 1000, delay: Duration::from_millis(1), ..Config::on_loopback() };
/// println!("room for {} connections a core", config.conns_per_core());
/// let origin = Origin::start(&config)?;
/// println!("on {}", origin.address());
/// let nowhere = Origin::start(&Config { cores: Vec::new(), ..config });
/// assert!(matches!(nowhere, Err(OriginError::OutOfRange { .. })));
/// # Ok::<(), OriginError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// The cores that serve, a pinned thread each. Not empty.
    pub cores: Vec<usize>,
    /// The driver of every core.
    pub driver: DriverKind,
    /// Bytes of the fixed answer's body, at most [`BODY_BYTES_MAX`].
    pub body_bytes: u64,
    /// How long each answer waits, at most [`DELAY_MAX`].
    pub delay: Duration,
    /// Close each connection, with notice, after so many answers; `None` never.
    pub close_every: Option<u64>,
    /// What random delays and failures follow from. With one core and one connection the same requests get the same answers.
    pub seed: u64,
}

/// Why an origin could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OriginError {
    /// A value outside its range.
    #[error("{what} must be {range}")]
    OutOfRange {
        /// Which value.
        what: &'static str,
        /// What it may be.
        range: String,
    },
    /// The address can't be listened on.
    #[error("can't listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A thread or its driver could not be started.
    #[error("can't serve on core {core}: {source}")]
    Core {
        /// The core.
        core: usize,
        /// What the system said.
        source: io::Error,
    },
}

impl Config {
    /// Any free port of 127.0.0.1, on the last core that this process may use, with `io_uring` where it works: a server for an example or a test. Its fixed
    /// answer has 13 bytes, at once, on a connection that stays.
    #[must_use]
    pub fn on_loopback() -> Self {
        let config = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            // A process that may use no core at all does not run.
            cores: vec![affinity::cores().last().copied().unwrap_or(0)],
            driver: DriverKind::Epoll,
            body_bytes: 13,
            delay: Duration::ZERO,
            close_every: None,
            seed: 1,
        };
        let places = [config.conns_per_core()];
        let driver = probe::choose(DriverChoice::Auto, &places).map(|choice| choice.kind);
        Self { driver: driver.unwrap_or(config.driver), ..config }
    }

    /// Connections that each core has room for: its share of the descriptors that the process may have, at most [`CONNECTIONS_MAX`].
    ///
    /// ```
    /// use ringshot::origin::{CONNECTIONS_MAX, Config};
    ///
    /// assert!((2..=CONNECTIONS_MAX).contains(&Config::on_loopback().conns_per_core()));
    /// ```
    #[must_use]
    pub fn conns_per_core(&self) -> u32 {
        let files = process::file_limit().soft.saturating_sub(FILES_BESIDES_CONNECTIONS);
        let share = files / (self.cores.len() as u64).max(1);
        share.clamp(2, CONNECTIONS_MAX.into()) as u32
    }

    pub(super) fn check(&self) -> Result<(), OriginError> {
        let out = |what, range: String| Err(OriginError::OutOfRange { what, range });
        if self.cores.is_empty() {
            return out("the number of cores", "at least 1".to_owned());
        }
        if self.body_bytes > BODY_BYTES_MAX {
            return out("the body", format!("at most {BODY_BYTES_MAX} bytes"));
        }
        if self.delay > DELAY_MAX {
            return out("the delay", format!("at most {} s", DELAY_MAX.as_secs()));
        }
        if self.close_every == Some(0) {
            return out("the number of answers a connection", "at least 1".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_told() {
        let good = Config::on_loopback();
        assert!(good.check().is_ok());
        let check = |config: Config, words: &str| {
            assert_eq!(config.check().unwrap_err().to_string(), words);
        };
        check(
            Config { cores: Vec::new(), ..good.clone() },
            "the number of cores must be at least 1",
        );
        let body_bytes = BODY_BYTES_MAX + 1;
        check(Config { body_bytes, ..good.clone() }, "the body must be at most 1073741824 bytes");
        let delay = DELAY_MAX + Duration::from_nanos(1);
        check(Config { delay, ..good.clone() }, "the delay must be at most 3600 s");
        let close_every = Some(0);
        check(
            Config { close_every, ..good },
            "the number of answers a connection must be at least 1",
        );
    }
}
