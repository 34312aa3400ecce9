//! One peer, both drivers, and the outcome in which every request must end.

use std::time::Duration;

use ringshot::driver::DriverKind;
use ringshot::load::{Plan, Report, Stop, Timeouts};

use crate::load::{Asked, check_outcomes, drivers, plan, run_whole};
use crate::peer::{Conversation, Peer};

/// Requests of a run, over its four connections.
pub const REQUESTS: u64 = 12;
/// A small response.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
/// A response timeout that a peer is meant to miss.
pub const SHORT: Duration = Duration::from_millis(150);

/// How a run differs from `REQUESTS` plain `GET`s, one at a time.
#[derive(Debug, Clone, Default)]
pub struct Variant {
    /// The request.
    pub asked: Asked,
    /// Requests on the wire; one unless told.
    pub pipeline: Option<u32>,
    /// The response timeout; ample unless told.
    pub response_timeout: Option<Duration>,
}

/// A variant with a timeout that is meant to be missed.
#[must_use]
pub fn impatient() -> Variant {
    Variant { response_timeout: Some(SHORT), ..Variant::default() }
}

/// A variant with so many requests on the wire.
#[must_use]
pub fn pipelined(pipeline: u32) -> Variant {
    Variant { pipeline: Some(pipeline), ..Variant::default() }
}

impl Variant {
    /// The plan of it.
    #[must_use]
    pub fn plan(&self, url: &str, driver: DriverKind) -> Plan {
        let plan = plan(url, driver, &self.asked);
        let response = self.response_timeout.unwrap_or(plan.timeouts.response);
        let timeouts = Timeouts { response, ..plan.timeouts };
        let pipeline = self.pipeline.unwrap_or(1);
        Plan { stop: Stop::requests(REQUESTS), pipeline, timeouts, ..plan }
    }
}

/// Each driver against a peer that does this with every connection: all requests end in `outcome`.
pub fn check(script: impl Fn(Conversation) + Send + Sync + 'static, outcome: &str) {
    check_variant(script, &Variant::default(), outcome);
}

/// Each driver, with requests that differ.
pub fn check_variant(
    script: impl Fn(Conversation) + Send + Sync + 'static,
    variant: &Variant,
    outcome: &str,
) {
    let peer = Peer::start(script);
    for driver in drivers() {
        check_outcomes(&variant.plan(&peer.url(), driver), &[(outcome, REQUESTS)]);
    }
}

/// Each driver against a peer whose outcomes depend on timing: the sums are exact, and only these outcomes occur.
///
/// # Panics
/// When others occur, or a run fails.
pub fn check_among(
    script: impl Fn(Conversation) + Send + Sync + 'static,
    variant: &Variant,
    outcomes: &[&str],
) -> Vec<Report> {
    let peer = Peer::start(script);
    let run = |driver| {
        let report = run_whole(&variant.plan(&peer.url(), driver));
        let known = report.outcomes.keys().all(|kind| outcomes.contains(&kind.as_str()));
        assert!(known, "on {driver}: {:?}", report.error_examples);
        report
    };
    drivers().into_iter().map(run).collect()
}

/// Answers the first request with these bytes and keeps the connection until the client goes.
pub fn answer(bytes: impl Into<Vec<u8>>) -> impl Fn(Conversation) + Send + Sync + 'static {
    let bytes = bytes.into();
    move |mut peer| {
        if peer.request().is_some() && peer.send(&bytes) {
            peer.read_to_end();
        }
    }
}

/// The same, and closes.
pub fn answer_and_close(
    bytes: impl Into<Vec<u8>>,
) -> impl Fn(Conversation) + Send + Sync + 'static {
    let bytes = bytes.into();
    move |mut peer| {
        if peer.request().is_some() {
            peer.send(&bytes);
        }
    }
}
