//! Why a plan can't be run, found before anything is sent. Plain data with the words for it.

use super::mix::{NAMES_MAX, REQUESTS_MAX, TARGETS_MAX, WEIGHT_MAX};
use super::plan::{SLACK_MAX, SPIN_MAX};
use super::schedule::{POISSON_RATE_MAX, RATE_MAX, RECORDED_MAX, STAGES_MAX};

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
    /// A time that may be zero, beyond [`DURATION_MAX`](super::DURATION_MAX).
    #[error("{what} must be at most 30 days")]
    TooLong {
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
    /// A mix that can't be sent.
    #[error("{0}")]
    Mix(Invalid),
    /// A schedule that means nothing.
    #[error("{0}")]
    Schedule(Invalid),
}

/// What is wrong with a mix or a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// Nothing to send.
    #[error("there is no request to send")]
    Empty,
    /// More requests than a mix may have.
    #[error("more than {REQUESTS_MAX} different requests")]
    TooManyRequests,
    /// More targets than a mix may have.
    #[error("more than {TARGETS_MAX} different servers")]
    TooManyTargets,
    /// More names than a mix may have.
    #[error("more than {NAMES_MAX} names of requests")]
    TooManyNames,
    /// A weight out of range.
    #[error("a weight must be 1 to {WEIGHT_MAX}")]
    Weight,
    /// A place in a list that it has not: the caller's bug.
    #[error("a request refers to a name, a server or a request that is not there")]
    Place,
    /// A pipeline over several servers.
    #[error("a pipeline needs a single server: a user waits for one server before the next")]
    PipelineOfServers,
    /// A pipeline of requests whose time of sending depends on responses.
    #[error("a pipeline can't have think times")]
    PipelineWithThinkTime,
    /// A rate that is no number, negative or beyond [`RATE_MAX`].
    #[error("a rate must be 0 to {RATE_MAX} requests a second")]
    Rate,
    /// A rate of Poisson arrivals beyond [`POISSON_RATE_MAX`].
    #[error("a rate with Poisson arrivals must be at most {POISSON_RATE_MAX} requests a second")]
    PoissonRate,
    /// No stage, too many, or all of no length.
    #[error("a schedule must have 1 to {STAGES_MAX} stages that take some time, 30 days at most")]
    Stages,
    /// A schedule in which nothing is ever due.
    #[error("the schedule's rate is zero all along")]
    NoRate,
    /// Times of a recording that go backwards, or too many.
    #[error("a recording must have 1 to {RECORDED_MAX} times in order")]
    Recording,
    /// A spin beyond the limit.
    #[error("the time to spin must be at most {SPIN_MAX:?}")]
    Spin,
    /// A slack beyond the limit.
    #[error("the slack must be at most {SLACK_MAX:?}")]
    Slack,
    /// Neither a time nor a number of requests nor a schedule ends the run.
    #[error("nothing ends the run: set a time or a number of requests")]
    Endless,
    /// A source of another family than all servers' addresses.
    #[error("a local address is of another family than every address of a server")]
    SourceFamily,
}
