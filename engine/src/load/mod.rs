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
//! | `tallies` | failures by kind, and each name's share |
//! | `timeline` | what came in each second |
//! | `sockets` | what the kernel says of the connections |
//! | `quota` | whether a CPU quota stopped it |
//! | `verdict` | what limited the run |
//! | `control` | stopping a run, and watching it, from another thread |
//! | `compare` | rounds of reports set against each other |
//! | `statistics` | medians and bootstrap intervals |
//! | `binomial` | ranks of percentiles, tests of shares |
//! | `report`, `details` | what a run found, and what of its parts: plain data |
//!
//! # Schedules
//!
//! ```
//! use std::time::Duration;
//! use ringshot::load::{Arrival, Spacing, Stage};
//!
//! // From 100 to 300 requests a second in ten seconds, then as many for as long again.
//! let length = Duration::from_secs(10);
//! let stages = vec![Stage { length, from: 100.0, to: 300.0 }, Stage { length, from: 300.0, to: 300.0 }];
//! let ramp = Arrival::Open { stages, spacing: Spacing::Poisson { seed: 7 } };
//! assert_eq!((ramp.name(), ramp.length()), ("poisson", Some(2 * length)));
//! assert_eq!((ramp.mean_rate(10.0), ramp.mean_rate(20.0)), (200.0, 250.0));
//! assert_eq!(ramp.rate_at(Duration::from_secs(5)), Some(200.0));
//! assert_eq!(Arrival::at_rate(50.0, length).rate_at(length / 2), Some(50.0));
//! assert_eq!(Arrival::Closed.rate_at(length), None);
//! ```
//!
//! # Samples
//!
//! What a run records can be recorded by others, too: each request once, with its stamps.
//!
//! ```
//! use ringshot::clock::Instant;
//! use ringshot::load::{Recorder, Sample, Stamps};
//! use ringshot::shard::Failure;
//!
//! let at = |micros: u64| Instant::from_nanos(micros * 1_000);
//! let sample = Sample { name: 0, intended: at(1), sent: at(50), first_byte: at(900), done: at(1_000) };
//! let mut one = Recorder::new(Stamps::Intended, 1);
//! one.record_connect(80_000);
//! one.record_lag(sample.intended, sample.intended, sample.sent);
//! one.record(200, &sample);
//! one.record_failure(&Failure::Timeout, 0, Some(&sample));
//!
//! let mut other = Recorder::new(Stamps::Intended, 1);
//! other.record_unexpected("body", || "no \"welcome\" in it".to_owned(), &sample);
//! other.record_failure(&Failure::Cancelled, 0, Some(&sample));
//! other.record_unsent(500_000, 3, 0); // they were due for half a millisecond
//! other.record_failure(&Failure::ConnectTimeout, 0, None);
//! other.record_unmade(700_000); // due for so long when its connect failed
//! one.merge(&other);
//!
//! assert_eq!((one.responses(), one.errors(), one.cancelled(), one.censored()), (1, 3, 1, 4));
//! assert_eq!((one.status().success, one.outcomes()["timeout"], one.causes()["timeout"]), (1, 1, 1));
//! assert_eq!(one.examples()["unexpected_body"], one.cause_examples()["unexpected_body"]);
//! assert_eq!((one.coarse().len(), one.latency().samples), (1, 1));
//! let histograms = one.into_histograms();
//! assert_eq!(histograms.success_response_time().len(), 1 + 4); // censored ones at their age
//! assert_eq!(histograms.success_service_time().len(), 1 + 1);
//! assert!(histograms.service_time_exact_below() < 1.0); // from there on they are lower bounds
//! ```

mod binomial;
mod budget;
pub mod compare;
mod compile;
mod control;
mod details;
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
mod packed;
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
mod stages;
pub mod statistics;
mod status;
mod tallies;
mod template;
mod timeline;
mod times;
mod users;
mod verdict;
mod worker;

pub use compare::Comparison;
pub use compile::{FillError, Place};
pub use control::{Control, CoreSnapshot, PUBLISH_EVERY, Phase, Snapshot};
pub use details::{NameReport, StageReport, WarmUp};
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
pub use report::{CoreReport, Histograms, Latency, Report, SCHEMA_VERSION, Slot, SocketsReport};
pub use run::{RunError, run};
pub use schedule::{Arrival, POISSON_RATE_MAX, RATE_MAX, RECORDED_MAX, STAGES_MAX, Spacing, Stage};
pub use status::StatusCounts;
pub use template::{CHUNK_BYTES, Request, Template};
pub use timeline::{SLOT, TIMELINE_SLOTS_MAX};
pub use verdict::{CLIENT_BUSY_MIN, Drift, Limit, SECONDS_MIN, Verdict};
pub use worker::LATE_AFTER;
