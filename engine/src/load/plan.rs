//! What a run shall do: plain data, checked once in [`Plan::check`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::mix::{Mix, Think};
use super::plan_error::{Invalid, PlanError};
use super::schedule::{Arrival, POISSON_RATE_MAX, RATE_MAX, RECORDED_MAX, STAGES_MAX, Spacing};
use super::template::Template;

use crate::driver::DriverKind;
use crate::host::Host;
use crate::sys::{affinity, process};

/// Most connections a plan may ask for, over all cores.
pub const CONNECTIONS_MAX: u32 = 1 << 20;
/// Most requests that may be on the wire on one connection.
pub const PIPELINE_MAX: u32 = crate::proto::h1::PIPELINE_DEPTH_MAX;
/// The longest duration and the longest timeout of a plan.
pub const DURATION_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest that a core spins before a request is due.
pub const SPIN_MAX: Duration = Duration::from_millis(1);

/// The longest that a request may be held back for company.
pub const SLACK_MAX: Duration = Duration::from_millis(100);

/// When a run stops sending: whichever comes first. A schedule that has come to its end stops it too.
///
/// ```
/// use std::time::Duration;
/// use ringshot::load::Stop;
///
/// let both = Stop { requests: Some(1_000), ..Stop::after(Duration::from_secs(5)) };
/// assert_eq!(both.requests, Stop::requests(1_000).requests);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stop {
    /// After this time on the clock.
    pub after: Option<Duration>,
    /// After exactly this many requests, over all cores.
    pub requests: Option<u64>,
}

impl Stop {
    /// After this time on the clock.
    #[must_use]
    pub const fn after(duration: Duration) -> Self {
        Self { after: Some(duration), requests: None }
    }

    /// After exactly this many requests, over all cores.
    #[must_use]
    pub const fn requests(requests: u64) -> Self {
        Self { after: None, requests: Some(requests) }
    }
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

/// One run.
///
/// ```
/// use std::time::Duration;
/// use ringshot::load::{Arrival, Plan, Stop};
/// # use ringshot::load::{KeepAlive, Request, Template};
/// # let url = ringshot::proto::url::Url::parse("http://127.0.0.1:8080/")?;
/// # let request = Request { method: &http::Method::GET, url: &url, headers: &[], body: b"", keep_alive: KeepAlive::On };
/// # let template = Template::encode(&request)?;
/// # let core = ringshot::sys::affinity::cores()[0];
///
/// let plan = Plan {
///     // An open loop: 500 requests a second for a minute, whatever the server does.
///     arrival: Arrival::at_rate(500.0, Duration::from_secs(60)),
///     connections: 32,
///     stop: Stop::after(Duration::from_secs(20)),
///     ..Plan::closed(template, vec!["127.0.0.1:8080".parse()?], vec![core])
/// };
/// plan.check()?;
/// assert_eq!(plan.length(), Some(Duration::from_secs(20)));
/// assert_eq!(plan.conns_by_core(), [32]);
/// assert!(Plan { connections: 0, ..plan }.check().is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is sent, and where to.
    pub mix: Arc<Mix>,
    /// When requests are due.
    pub arrival: Arrival,
    /// How the client keeps to the schedule of an open loop.
    pub pacing: Pacing,
    /// Connections over all cores, 1 to [`CONNECTIONS_MAX`]; spread evenly, the remainder to the first cores. With several targets, users, each with one
    /// connection to every target that it visits.
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
    /// How long responses may still arrive after the end; what is in flight then is cancelled, and counted as censored.
    pub drain: Duration,
    /// How long responses may still arrive after the last of so many requests ([`Stop::requests`]) was sent, the same; `None` for as long as the run, its drain and the response timeout let them.
    pub drain_sent: Option<Duration>,
    /// Limits of each stage.
    pub timeouts: Timeouts,
    /// Local addresses that connections are spread over; empty to leave the choice to the system.
    pub sources: Vec<IpAddr>,
    /// Requests after which a connection is closed and made anew.
    pub requests_per_connection: Option<u64>,
}

/// How the client keeps to the schedule of an open loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pacing {
    /// How long before a request is due the core stops sleeping and watches the clock, at most [`SPIN_MAX`]; zero to sleep until it is due.
    pub spin: Duration,
    /// How late a request may leave so that several go out at once, at most [`SLACK_MAX`]: less CPU, less precision. Zero to send each when it is due.
    pub slack: Duration,
    /// A request that finds no connection for this long, from when it was due and its slack over, is given up and counted as shed; `None` to send all, however
    /// late. What the client itself was late with is sent, and its lag is the client's.
    pub shed_after: Option<Duration>,
}

impl Plan {
    /// A closed loop of `template` to `peers` on `cores`, for 10 s: what is to be different is set afterwards.
    #[must_use]
    pub fn closed(template: Template, peers: Vec<SocketAddr>, cores: Vec<usize>) -> Self {
        Self::of(Mix::single(template, peers), cores)
    }

    /// A closed loop of `mix` on `cores`, for 10 s: what is to be different is set afterwards.
    #[must_use]
    pub fn of(mix: impl Into<Arc<Mix>>, cores: Vec<usize>) -> Self {
        Self {
            mix: mix.into(),
            arrival: Arrival::Closed,
            pacing: Pacing::default(),
            connections: 64,
            pipeline: 1,
            cores,
            driver: DriverKind::Epoll,
            host: Host::Thread,
            keep_alive: KeepAlive::On,
            stop: Stop::after(Duration::from_secs(10)),
            warm_up: Duration::ZERO,
            drain: Duration::from_secs(2),
            drain_sent: None,
            timeouts: Timeouts::default(),
            sources: Vec::new(),
            requests_per_connection: None,
        }
    }

    /// Connections that each user may have: one a target.
    pub(super) fn lanes_per_user(&self) -> u32 {
        self.mix.targets.len() as u32
    }

    /// Connections of the core at this place.
    pub(super) fn conns_of(&self, place: usize) -> u32 {
        share(self.connections, self.cores.len(), place).saturating_mul(self.lanes_per_user())
    }

    /// How many connections each core has room for, in the order of the cores.
    #[must_use]
    pub fn conns_by_core(&self) -> Vec<u32> {
        (0..self.cores.len()).map(|place| self.conns_of(place)).collect()
    }

    /// How long the measured time lasts at most.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        match (self.stop.after, self.arrival.length()) {
            (Some(after), Some(length)) => Some(after.min(length)),
            (after, length) => after.or(length),
        }
    }
}

/// The `index`th of `parts` shares of `whole`: they differ by one at most, the first are the larger.
pub(super) fn share(whole: u32, parts: usize, index: usize) -> u32 {
    let parts = parts.max(1) as u32;
    whole / parts + u32::from((index as u32) < whole % parts)
}

/// File descriptors that a run needs besides one a connection: standard streams, rings, libraries.
const FILES_BESIDES_CONNECTIONS: u64 = 16;

impl Plan {
    /// Checks all that can be known before the first connection.
    ///
    /// # Errors
    /// The first [`PlanError`] that holds.
    pub fn check(&self) -> Result<(), PlanError> {
        self.mix.check()?;
        self.check_cores()?;
        in_range("connections", u64::from(self.connections), 1, u64::from(CONNECTIONS_MAX))?;
        in_range(
            "requests in flight on a connection",
            u64::from(self.pipeline),
            1,
            u64::from(PIPELINE_MAX),
        )?;
        if let Some(duration) = self.stop.after {
            in_range_of_time("the duration", duration)?;
        }
        if let Some(requests) = self.stop.requests {
            in_range("requests", requests, 1, u64::MAX / 2)?;
        }
        if let Some(requests) = self.requests_per_connection {
            in_range("requests on a connection", requests, 1, u64::MAX / 2)?;
        }
        self.check_schedule().map_err(PlanError::Schedule)?;
        self.check_users().map_err(PlanError::Mix)?;
        in_range_of_time("the response timeout", self.timeouts.response)?;
        in_range_of_time("the connect timeout", self.timeouts.connect)?;
        self.check_waits()?;
        if (self.connections as usize) < self.cores.len() {
            let (connections, cores) = (self.connections, self.cores.len());
            return Err(PlanError::FewerConnectionsThanCores { connections, cores });
        }
        self.check_files(process::file_limit(), process::open_files().unwrap_or(0))
    }

    /// Times that may be zero.
    fn check_waits(&self) -> Result<(), PlanError> {
        let thinks =
            self.mix.requests.iter().map(|it| ("a think time", it.think.min.max(it.think.max)));
        let waits = [
            ("the warm-up", self.warm_up),
            ("the drain", self.drain.max(self.drain_sent.unwrap_or_default())),
            ("the time to shed after", self.pacing.shed_after.unwrap_or_default()),
        ];
        let mut all = waits.into_iter().chain(thinks);
        match all.find(|(_, time)| *time > DURATION_MAX) {
            Some((what, _)) => Err(PlanError::TooLong { what }),
            None => Ok(()),
        }
    }

    fn check_schedule(&self) -> Result<(), Invalid> {
        let refuse = |wrong: bool, why| if wrong { Err(why) } else { Ok(()) };
        refuse(self.pacing.spin > SPIN_MAX, Invalid::Spin)?;
        refuse(self.pacing.slack > SLACK_MAX, Invalid::Slack)?;
        match &self.arrival {
            Arrival::Closed => refuse(self.stop == Stop::default(), Invalid::Endless),
            Arrival::Recorded(times) => {
                let ordered = times.is_sorted() && !times.is_empty() && times.len() <= RECORDED_MAX;
                refuse(!ordered, Invalid::Recording)
            }
            Arrival::Open { stages, spacing } => {
                let rates = || stages.iter().flat_map(|stage| [stage.from, stage.to]);
                let length = self.arrival.length().unwrap_or_default();
                let some =
                    !length.is_zero() && length <= DURATION_MAX && stages.len() <= STAGES_MAX;
                refuse(!some, Invalid::Stages)?;
                refuse(!rates().all(|rate| (0.0..=RATE_MAX).contains(&rate)), Invalid::Rate)?;
                let drawn = *spacing != Spacing::Constant;
                refuse(drawn && rates().any(|rate| rate > POISSON_RATE_MAX), Invalid::PoissonRate)?;
                refuse(rates().all(|rate| rate <= 0.0), Invalid::NoRate)
            }
        }
    }

    /// What only a user with one request at a time can do.
    fn check_users(&self) -> Result<(), Invalid> {
        // In an open loop nobody thinks: requests are due at times fixed in advance.
        let thinks = matches!(self.arrival, Arrival::Closed)
            && self.mix.requests.iter().any(|request| request.think != Think::default());
        let families = |source: &IpAddr| {
            let mut peers = self.mix.targets.iter().flat_map(|target| &target.peers);
            peers.any(|peer| peer.is_ipv4() == source.is_ipv4())
        };
        match self.pipeline {
            2.. if self.mix.targets.len() > 1 => Err(Invalid::PipelineOfServers),
            2.. if thinks => Err(Invalid::PipelineWithThinkTime),
            _ if !self.sources.iter().all(families) => Err(Invalid::SourceFamily),
            _ => Ok(()),
        }
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
        let lanes = u64::from(self.connections) * u64::from(self.lanes_per_user());
        let needed = lanes + open.max(3) + besides;
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
    use crate::load::{Request, Stage, Template};
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
        let template = Template::encode(&request).unwrap();
        let peers = vec!["127.0.0.1:80".parse().unwrap()];
        Plan {
            connections: 4,
            stop: Stop::requests(1),
            ..Plan::closed(template, peers, vec![affinity::cores()[0]])
        }
    }

    /// Stages of so many seconds each.
    fn open(seconds: &[u64], rate: f64, spacing: Spacing) -> Arrival {
        let length = |seconds: &u64| Duration::from_secs(*seconds);
        let stage = |seconds| Stage { length: length(seconds), from: rate, to: rate };
        Arrival::Open { stages: seconds.iter().map(stage).collect(), spacing }
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
        check(|plan| Arc::make_mut(&mut plan.mix).targets.clear(), "no address");
        check(|plan| Arc::make_mut(&mut plan.mix).requests.clear(), "no request");
        check(|plan| Arc::make_mut(&mut plan.mix).requests[0].weight = 0, "a weight must be");
        check(|plan| Arc::make_mut(&mut plan.mix).requests[0].target = 1, "not there");
        check(|plan| plan.stop = Stop::default(), "nothing ends the run");
        let rate = |rate| Arrival::at_rate(rate, Duration::from_secs(1));
        assert_eq!(Plan { arrival: rate(1e3), ..plan() }.check(), Ok(()));
        for (arrival, words) in [
            (rate(-1.0), "a rate must be"),
            (rate(f64::NAN), "a rate must be"),
            (rate(0.0), "zero all along"),
            (Arrival::at_rate(1.0, Duration::ZERO), "take some time"),
            (Arrival::Recorded(Arc::new([2, 1])), "in order"),
            (open(&[u64::MAX / 2; 3], 1.0, Spacing::Constant), "30 days at most"),
            (open(&[1], POISSON_RATE_MAX * 1.1, Spacing::Poisson { seed: 1 }), "Poisson arrivals"),
        ] {
            let error = Plan { arrival, ..plan() }.check().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        check(|plan| plan.pacing.spin = Duration::from_secs(1), "spin");
        check(|plan| plan.pacing.slack = Duration::from_secs(1), "slack");
        check(|plan| plan.sources = vec!["::1".parse().unwrap()], "another family");
        check(|plan| plan.cores.clear(), "no core");
        check(|plan| plan.cores.push(plan.cores[0]), "named twice");
        check(|plan| plan.cores = vec![9999], "core 9999 does not exist");
        check(|plan| plan.connections = 0, "connections must be 1 to");
        check(|plan| plan.connections = u32::MAX, "connections must be 1 to");
        check(|plan| plan.pipeline = PIPELINE_MAX + 1, "must be 1 to 128");
        check(|plan| plan.stop = Stop::requests(0), "requests must be 1 to");
        check(|plan| plan.stop = Stop::after(Duration::ZERO), "the duration must be");
        check(|plan| plan.timeouts.response = Duration::ZERO, "the response timeout must be");
        check(|plan| plan.timeouts.connect = Duration::MAX, "the connect timeout must be");
        check(|plan| plan.warm_up = Duration::MAX, "the warm-up must be at most");
        check(|plan| plan.drain = Duration::MAX, "the drain must be at most");
        check(|plan| plan.pacing.shed_after = Some(Duration::MAX), "to shed after must be at most");
        check(
            |plan| Arc::make_mut(&mut plan.mix).requests[0].think.max = Duration::MAX,
            "a think time must be at most",
        );
        check(|plan| plan.connections = CONNECTIONS_MAX, "ulimit -n");
    }

    #[test]
    fn a_pipeline_leaves_no_time_to_think_in_a_closed_loop() {
        let mut plan = plan();
        plan.pipeline = 2;
        let mix = Arc::get_mut(&mut plan.mix).unwrap();
        mix.requests[0].think.max = Duration::from_millis(1);
        assert_eq!(plan.check_users(), Err(Invalid::PipelineWithThinkTime));
        plan.arrival = Arrival::Recorded(Arc::from([0]));
        assert_eq!(plan.check_users(), Ok(()));
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

    #[test]
    fn connections_are_spread_with_the_remainder() {
        let shares =
            |whole, parts| (0..parts).map(|index| share(whole, parts, index)).collect::<Vec<_>>();
        assert_eq!(shares(10, 4), [3, 3, 2, 2]);
        assert_eq!(shares(3, 3), [1, 1, 1]);
        assert_eq!(shares(1, 1), [1]);
    }
}
