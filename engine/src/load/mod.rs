//! Load generation: a plan in, a report out. Speaks to shards, never to a socket, and prints nothing.
//!
//! | file | what it is |
//! |---|---|
//! | `plan` | what to do: plain data, checked once |
//! | `plan_error` | why a plan can't be run |
//! | `mix` | what is sent: requests, weights, servers |
//! | `schedule` | when requests are due |
//! | `template`, `fill` | a request encoded once; one whose places are filled each time |
//! | `places`, `compile`, `feed` | where places are; what is wrong with them, before the run; rows of values for them |
//! | `expect` | what a response must be |
//! | `run` | one host a core, merged at the end |
//! | `drive` | the loop of a core: connect, warm up, measure, drain, cancel |
//! | `gate` | where the cores wait for each other before they start |
//! | `worker` | what one core sends and counts |
//! | `open`, `users` | where its requests come from, but for a plain closed loop |
//! | `queue` | requests that wait for one server |
//! | `flights` | requests given to lanes |
//! | `budget` | how many requests are left, over all cores |
//! | `merge` | what the cores found, as one report |
//! | `times` | what follows from a report's histograms |
//! | `machines` | several machines' reports as one |
//! | `recorder`, `histogram` | times and outcomes of one core |
//! | `timeline` | what came in each second |
//! | `sockets` | what the kernel says of the connections |
//! | `quota` | whether a CPU quota stopped it |
//! | `verdict` | what limited the run |
//! | `control` | stopping a run, and watching it, from another thread |
//! | `compare` | rounds of reports set against each other |
//! | `statistics` | medians and bootstrap intervals |
//! | `binomial` | ranks of percentiles, tests of shares |
//! | `report` | what a run found: plain data |

mod binomial;
mod budget;
pub mod compare;
mod compile;
mod control;
mod drive;
mod expect;
mod feed;
mod fill;
mod flights;
mod gate;
mod histogram;
mod machines;
mod merge;
mod mix;
mod open;
mod places;
mod plan;
mod plan_error;
mod queue;
mod quota;
mod recorder;
mod report;
mod run;
mod schedule;
mod simulated;
mod sockets;
pub mod statistics;
mod status;
mod template;
mod timeline;
mod times;
mod users;
mod verdict;
mod worker;

pub use compare::Comparison;
pub use compile::{FillError, Place};
pub use control::{Control, CoreSnapshot, PUBLISH_EVERY, Phase, Snapshot};
pub use expect::{Expect, ExpectedHeader, Needle};
pub use feed::{FEED_BYTES_MAX, FEED_COLUMNS_MAX, FEED_ROWS_MAX, Feed, FeedError, FeedOrder};
pub use fill::Filled;
pub use histogram::{COARSE_BUCKETS, Coarse, Histogram, LATENCY_MAX};
pub use machines::MergeError;
pub use mix::{
    Content, Mix, MixRequest, NAMES_MAX, Order, REQUESTS_MAX, TARGETS_MAX, Target, Think,
    WEIGHT_MAX,
};
pub use places::encode_places;
pub use plan::{
    CONNECTIONS_MAX, DURATION_MAX, KeepAlive, PIPELINE_MAX, Pacing, Plan, SLACK_MAX, SPIN_MAX,
    Stop, Timeouts,
};
pub use plan_error::{Invalid, PlanError};
pub use recorder::{CLASSES, Recorder, Sample, Stamps};
pub use report::{
    CoreReport, Histograms, Latency, NameReport, Report, SCHEMA_VERSION, Slot, SocketsReport,
    WarmUp,
};
pub use run::{RunError, run};
pub use schedule::{Arrival, RATE_MAX, RECORDED_MAX, STAGES_MAX, Spacing, Stage};
pub use status::StatusCounts;
pub use template::{CHUNK_BYTES, Request, Template};
pub use timeline::{SLOT, TIMELINE_SLOTS_MAX};
pub use verdict::{CLIENT_BUSY_MIN, Drift, Limit, SECONDS_MIN, Verdict};
pub use worker::LATE_AFTER;
