//! Load generation: a plan in, a report out. Speaks to shards, never to a socket, and prints nothing.
//!
//! | file | what it is |
//! |---|---|
//! | `plan` | what to do: plain data, checked once |
//! | `template` | the request, encoded once |
//! | `run` | one host a core: connect, warm up, measure, drain, cancel |
//! | `gate` | where the cores wait for each other before they start |
//! | `worker` | what one core sends and counts |
//! | `merge` | what the cores found, as one report |
//! | `recorder` | latencies and outcomes of one core, merged at the end |
//! | `control` | stopping a run, and watching it, from another thread |
//! | `compare` | rounds of reports set against each other |
//! | `statistics` | medians and bootstrap intervals |
//! | `report` | what a run found: plain data |

pub mod compare;
mod control;
mod gate;
mod merge;
mod plan;
mod recorder;
mod report;
mod run;
pub mod statistics;
mod template;
mod worker;

pub use compare::Comparison;
pub use control::{Control, Phase, Snapshot};
pub use plan::{
    CONNECTIONS_MAX, DURATION_MAX, KeepAlive, PIPELINE_MAX, Plan, PlanError, Stop, Timeouts,
};
pub use recorder::{LATENCY_MAX, Recorder};
pub use report::{CoreReport, Latency, Report, SCHEMA_VERSION, StatusCounts};
pub use run::{RunError, run};
pub use template::{Request, Template};
