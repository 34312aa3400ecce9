//! A shard that reads bodies, and a handler that compares each with what was expected, byte for byte. Runs on the calling thread.

use std::net::SocketAddr;
use std::time::Duration;

use ringshot::clock::Instant;
use ringshot::driver::{Driver, DriverKind, Epoll, Limits, Uring, uring};
use ringshot::load::Template;
use ringshot::shard::{Body, Config, Copies, Failure, Handler, Next, Response, Shard};

use crate::load::RUN_MAX;

/// A shard's configuration with a test's usual values.
#[must_use]
pub fn config(peer: SocketAddr, template: &Template, lanes: u32, pipeline: u32) -> Config {
    let copies = Copies::new(template.bytes(), template.sent(), pipeline);
    let connect_timeout = Duration::from_secs(10);
    Config { connect_timeout, body: Body::Read, ..Config::new(vec![peer], copies, lanes, pipeline) }
}

/// Asks for a fixed number of responses, and checks each against one status and one body.
#[derive(Debug)]
pub struct Checker {
    /// What every body must be.
    body: Vec<u8>,
    status: u16,
    left: u64,
    lanes: Vec<Lane>,
    /// Requests that ended in a failure, in words.
    pub failures: Vec<String>,
    /// Requests sent once more.
    pub resent: u64,
}

/// One lane's responses.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    /// Bytes of the current body so far.
    at: usize,
    responses: u64,
}

impl Checker {
    /// A checker for `requests` responses over `lanes` lanes.
    #[must_use]
    pub fn new(requests: u64, lanes: u32, status: u16, body: &[u8]) -> Self {
        let lanes = vec![Lane::default(); lanes as usize];
        let (left, body) = (requests, body.to_vec());
        Self { body, status, left, lanes, failures: Vec::new(), resent: 0 }
    }

    /// Responses over all lanes.
    #[must_use]
    pub fn responses(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.responses).sum()
    }

    /// Responses of the lane that had the fewest.
    #[must_use]
    pub fn fewest(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.responses).min().unwrap_or(0)
    }
}

impl Handler for Checker {
    fn poll_requests(&mut self, _lane: u32, room: u32, _now: Instant) -> Next {
        let count = self.left.min(u64::from(room));
        self.left -= count;
        (count as u32).into()
    }

    fn wants_connection(&mut self, _lane: u32) -> bool {
        self.left > 0
    }

    fn handle_response(&mut self, lane: u32, response: Response, _now: Instant) {
        let state = &mut self.lanes[lane as usize];
        assert_eq!(response.status, self.status, "on lane {lane}");
        assert_eq!(state.at, self.body.len(), "the length of a body on lane {lane}");
        *state = Lane { at: 0, responses: state.responses + 1 };
    }

    fn handle_body(&mut self, lane: u32, piece: &[u8]) {
        let at = &mut self.lanes[lane as usize].at;
        let expected = self.body.get(*at..*at + piece.len());
        assert!(expected == Some(piece), "lane {lane}: {} bytes at {at} differ", piece.len());
        *at += piece.len();
    }

    fn handle_failure(&mut self, lane: u32, failure: Failure, _: Option<Instant>, _: Instant) {
        self.lanes[lane as usize].at = 0;
        self.failures.push(failure.to_string());
    }

    fn handle_unsent(&mut self, _lane: u32, _sent: Instant) {
        self.left += 1;
        self.resent += 1;
    }
}

/// Turns the shard until every request of `checker` has ended, then closes it.
///
/// # Panics
/// When that takes longer than [`RUN_MAX`], or the driver is lost.
pub fn read_all<D: Driver>(shard: &mut Shard<D>, checker: &mut Checker, requests: u64) {
    let start = Instant::now();
    let mut now = start;
    shard.rouse(checker, now);
    let ended = |checker: &Checker| checker.responses() + checker.failures.len() as u64;
    while ended(checker) < requests {
        now = turn(shard, checker);
        let (done, driver) = (ended(checker), shard.driver().name());
        assert!(now - start < RUN_MAX, "{done} of {requests} ended on {driver}: it hangs");
    }
    close(shard, checker, now);
}

fn turn<D: Driver>(shard: &mut Shard<D>, checker: &mut Checker) -> Instant {
    let turned = shard.turn(Duration::from_millis(50), checker, &mut Instant::now);
    turned.expect("the driver is not lost")
}

fn close<D: Driver>(shard: &mut Shard<D>, checker: &mut Checker, from: Instant) {
    shard.close(checker, from);
    while !shard.is_closed() {
        let now = turn(shard, checker);
        assert!(now - from < RUN_MAX, "{} does not close", shard.driver().name());
    }
}

/// Reads `requests` bodies on each of the ways to open a driver of `kind`'s best, and returns what was checked.
///
/// # Panics
/// As [`read_all`], or when a response differs.
#[must_use]
pub fn check_bodies(kind: DriverKind, config: Config, requests: u64, body: &[u8]) -> Checker {
    let limits = Limits { slots: config.lanes };
    match kind {
        DriverKind::IoUring => {
            let ring = uring::Config::for_slots(config.lanes);
            check_bodies_on(Uring::open(ring).expect("a ring"), config, requests, body)
        }
        DriverKind::Epoll => {
            check_bodies_on(Epoll::open(limits).expect("epoll"), config, requests, body)
        }
    }
}

/// The same on a driver that is open.
///
/// # Panics
/// As [`check_bodies`].
#[must_use]
pub fn check_bodies_on<D: Driver>(
    driver: D,
    config: Config,
    requests: u64,
    body: &[u8],
) -> Checker {
    let lanes = config.lanes;
    let mut checker = Checker::new(requests, lanes, 200, body);
    let mut shard = Shard::new(driver, config).expect("a shard");
    read_all(&mut shard, &mut checker, requests);
    assert_eq!(checker.failures, Vec::<String>::new());
    assert_eq!(checker.responses(), requests);
    checker
}
