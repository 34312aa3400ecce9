//! Made-up runs for tests: every figure follows from the seconds since the start.

use std::time::Duration;

use ringshot::load::{Arrival, Coarse, CoreSnapshot, Phase, Snapshot, StatusCounts, Stop};

use super::Facts;

/// An open loop of 50,000 requests a second for 10 s.
pub(super) fn facts(cores: usize) -> Facts {
    let length = Duration::from_secs(10);
    Facts {
        title: "GET http://127.0.0.1:8080/".to_owned(),
        setup: "io_uring, 64 connections".to_owned(),
        cores: (0..cores).collect(),
        arrival: Arrival::at_rate(50_000.0, length),
        stop: Stop::after(length),
    }
}

/// That run after `seconds`, on two cores.
pub(super) fn snapshot(seconds: f64) -> Snapshot {
    on_cores(seconds, 2)
}

pub(super) fn on_cores(seconds: f64, cores: u32) -> Snapshot {
    let requests = (seconds * 50_000.0) as u64;
    let mut response_time = Coarse::default();
    response_time.add(Coarse::bucket_of(300_000), (requests as f64 * 0.95) as u32);
    response_time.add(Coarse::bucket_of(650_000), (requests as f64 * 0.05) as u32);
    let core = |number: u32| CoreSnapshot {
        requests: requests / u64::from(cores),
        cpu: Duration::from_secs_f64(seconds * f64::from(number + 1) / f64::from(cores)),
        connected: u64::from(64 / cores),
    };
    Snapshot {
        offered: requests,
        requests,
        errors: 3,
        late: 12,
        in_flight: 64,
        connected: 64,
        measured: Duration::from_secs_f64(seconds),
        elapsed: Duration::from_secs_f64(seconds),
        cores: (0..cores).map(core).collect(),
        response_time,
        status: StatusCounts { success: requests, ..StatusCounts::default() },
        ..Snapshot::at(Phase::Measuring)
    }
}
