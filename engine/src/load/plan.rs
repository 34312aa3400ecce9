//! What a run shall do: plain data, checked once in [`Plan::check`].

use std::net::SocketAddr;
use std::time::Duration;

use crate::driver::DriverKind;
use crate::host::Host;
use crate::sys::{affinity, process};

/// Most connections a plan may ask for, over all cores.
pub const CONNECTIONS_MAX: u32 = 1 << 20;
/// Most requests that may be on the wire on one connection.
pub const PIPELINE_MAX: u32 = crate::proto::h1::PIPELINE_DEPTH_MAX;
/// The longest duration and the longest timeout of a plan.
pub const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// When a run stops sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// After this time on the clock.
    After(Duration),
    /// After exactly this many requests, over all cores.
    Requests(u64),
}

/// How long the stages of a request may take; each class ends in its own outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From the start of a dial to a connected socket.
    pub connect: Duration,
    /// From a request being sent to the last byte of its response.
    pub response: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), response: Duration::from_secs(30) }
    }
}

/// Whether a connection serves more than one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// Connections are reused until the server closes them.
    On,
    /// Each request says `Connection: close` and gets a connection of its own.
    Off,
}

/// One closed-loop run: each of `connections` sends its next request when the response is in.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server's addresses, in the order in which they are tried until one answers.
    pub peers: Vec<SocketAddr>,
    /// The request, encoded: see [`crate::load::Template`].
    pub template: crate::load::Template,
    /// Connections over all cores, 1 to [`CONNECTIONS_MAX`]; spread evenly, the remainder to the first cores.
    pub connections: u32,
    /// Requests in flight on one connection, 1 to [`PIPELINE_MAX`].
    pub pipeline: u32,
    /// The cores that send, each on a thread pinned to it. Not empty, no duplicates.
    pub cores: Vec<usize>,
    /// The driver of every core.
    pub driver: DriverKind,
    /// Who turns the loop of every core.
    pub host: Host,
    /// Whether connections are reused.
    pub keep_alive: KeepAlive,
    /// When to stop sending.
    pub stop: Stop,
    /// Time that is driven but not measured, before the clock starts.
    pub warm_up: Duration,
    /// How long responses may still arrive after the end; what is in flight then is cancelled.
    pub drain: Duration,
    /// Limits of each stage.
    pub timeouts: Timeouts,
}

/// Why a plan can't be run: the caller's fault, found before anything is sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// No core to run on.
    #[error("no core to run on: name at least one")]
    NoCores,
    /// A core that this machine has not, or that this process may not use.
    #[error(
        "core {core} does not exist here or is not in this process's affinity mask (there are: {available})"
    )]
    NoSuchCore {
        /// The core asked for.
        core: usize,
        /// The cores that there are.
        available: String,
    },
    /// A core named twice.
    #[error("core {0} is named twice")]
    CoreTwice(usize),
    /// A number outside its range.
    #[error("{what} must be {min} to {max}, not {value}")]
    OutOfRange {
        /// What the number counts.
        what: &'static str,
        /// The value asked for.
        value: u64,
        /// The smallest that is allowed.
        min: u64,
        /// The largest that is allowed.
        max: u64,
    },
    /// A time outside its range.
    #[error("{what} must be more than zero and at most 30 days")]
    Time {
        /// Which time.
        what: &'static str,
    },
    /// Fewer connections than cores.
    #[error(
        "{connections} connections can't be spread over {cores} cores: use at least one a core, or fewer cores"
    )]
    FewerConnectionsThanCores {
        /// Connections asked for.
        connections: u32,
        /// Cores asked for.
        cores: usize,
    },
    /// More connections than file descriptors.
    #[error(
        "{connections} connections need {needed} file descriptors, but the limit is {limit}: raise it with `ulimit -n {needed}` (hard limit {hard})"
    )]
    FileLimit {
        /// Connections asked for.
        connections: u32,
        /// Descriptors needed.
        needed: u64,
        /// The soft limit that holds.
        limit: u64,
        /// The hard limit.
        hard: u64,
    },
    /// No address to connect to.
    #[error("no address to connect to")]
    NoPeer,
}

/// File descriptors that a run needs besides one a connection: standard streams, rings, libraries.
const FILES_BESIDES_CONNECTIONS: u64 = 16;

impl Plan {
    /// Checks all that can be known before the first connection.
    ///
    /// # Errors
    /// The first [`PlanError`] that holds.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.peers.is_empty() {
            return Err(PlanError::NoPeer);
        }
        self.check_cores()?;
        in_range("connections", u64::from(self.connections), 1, u64::from(CONNECTIONS_MAX))?;
        in_range(
            "requests in flight on a connection",
            u64::from(self.pipeline),
            1,
            u64::from(PIPELINE_MAX),
        )?;
        match self.stop {
            Stop::After(duration) => in_range_of_time("the duration", duration)?,
            Stop::Requests(requests) => in_range("requests", requests, 1, u64::MAX / 2)?,
        }
        in_range_of_time("the response timeout", self.timeouts.response)?;
        in_range_of_time("the connect timeout", self.timeouts.connect)?;
        if (self.connections as usize) < self.cores.len() {
            let (connections, cores) = (self.connections, self.cores.len());
            return Err(PlanError::FewerConnectionsThanCores { connections, cores });
        }
        self.check_files(process::file_limit(), process::open_files().unwrap_or(0))
    }

    fn check_cores(&self) -> Result<(), PlanError> {
        let available = affinity::cores();
        if self.cores.is_empty() {
            return Err(PlanError::NoCores);
        }
        for (place, core) in self.cores.iter().copied().enumerate() {
            if self.cores[..place].contains(&core) {
                return Err(PlanError::CoreTwice(core));
            }
            if !available.contains(&core) {
                let names: Vec<_> = available.iter().map(ToString::to_string).collect();
                return Err(PlanError::NoSuchCore { core, available: names.join(", ") });
            }
        }
        Ok(())
    }

    fn check_files(&self, limit: process::Limit, open: u64) -> Result<(), PlanError> {
        let besides = FILES_BESIDES_CONNECTIONS + 2 * self.cores.len() as u64;
        let needed = u64::from(self.connections) + open.max(3) + besides;
        if needed > limit.soft {
            let connections = self.connections;
            return Err(PlanError::FileLimit {
                connections,
                needed,
                limit: limit.soft,
                hard: limit.hard,
            });
        }
        Ok(())
    }
}

fn in_range(what: &'static str, value: u64, min: u64, max: u64) -> Result<(), PlanError> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(PlanError::OutOfRange { what, value, min, max })
    }
}

fn in_range_of_time(what: &'static str, duration: Duration) -> Result<(), PlanError> {
    if duration.is_zero() || duration > DURATION_MAX {
        Err(PlanError::Time { what })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::load::{Request, Template};
    use crate::proto::url::Url;

    fn plan() -> Plan {
        let url = Url::parse("http://127.0.0.1/").unwrap();
        let request = Request {
            method: &Method::GET,
            url: &url,
            headers: &[],
            body: b"",
            keep_alive: KeepAlive::On,
        };
        Plan {
            peers: vec!["127.0.0.1:80".parse().unwrap()],
            template: Template::encode(&request).unwrap(),
            connections: 4,
            pipeline: 1,
            cores: vec![affinity::cores()[0]],
            driver: DriverKind::Epoll,
            host: Host::Thread,
            keep_alive: KeepAlive::On,
            stop: Stop::Requests(1),
            warm_up: Duration::ZERO,
            drain: Duration::ZERO,
            timeouts: Timeouts::default(),
        }
    }

    #[test]
    fn bad_plans_are_refused_with_a_reason() {
        let check = |change: fn(&mut Plan), words: &str| {
            let mut plan = plan();
            change(&mut plan);
            let error = plan.check().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        assert_eq!(plan().check(), Ok(()));
        check(|plan| plan.peers.clear(), "no address");
        check(|plan| plan.cores.clear(), "no core");
        check(|plan| plan.cores.push(plan.cores[0]), "named twice");
        check(|plan| plan.cores = vec![9999], "core 9999 does not exist");
        check(|plan| plan.connections = 0, "connections must be 1 to");
        check(|plan| plan.connections = u32::MAX, "connections must be 1 to");
        check(|plan| plan.pipeline = PIPELINE_MAX + 1, "must be 1 to 128");
        check(|plan| plan.stop = Stop::Requests(0), "requests must be 1 to");
        check(|plan| plan.stop = Stop::After(Duration::ZERO), "the duration must be");
        check(|plan| plan.timeouts.response = Duration::ZERO, "the response timeout must be");
        check(|plan| plan.timeouts.connect = Duration::MAX, "the connect timeout must be");
        check(|plan| plan.connections = CONNECTIONS_MAX, "ulimit -n");
    }

    #[test]
    fn the_file_limit_counts_what_is_open_already() {
        let limit = process::Limit { soft: 100, hard: 200 };
        assert_eq!(plan().check_files(limit, 10), Ok(()));
        assert!(matches!(
            plan().check_files(limit, 90),
            Err(PlanError::FileLimit { needed: 112, .. })
        ));
    }
}
