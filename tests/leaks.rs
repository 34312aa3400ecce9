//! After a run, however it ended, the process holds what it held before: descriptors, threads, memory. The tests take turns, since these are the process's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringshot::client::{Cores, Engine, Kind, LimitKind, blocking::block_on};
use ringshot::driver::{DriverChoice, DriverKind};
use ringshot::load::{Control, KeepAlive, Plan, Report, Stop, Timeouts};
use ringshot_tests::load::{Asked, drivers, plan, run_controlled, run_whole};
use ringshot_tests::peer::{Conversation, Peer};
use ringshot_tests::servers::Nginx;
use ringshot_tests::watch::{
    descriptors, keep_no_large_buffers, resident_bytes, threads, wait_until,
};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const REPETITIONS: u32 = 20;
/// Growth over the repetitions that counts as noise: an allocator that settles, not a connection or a ring that stays.
const NOISE_BYTES: u64 = 2 << 20;

fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    keep_no_large_buffers();
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `once` on each driver, a few times to warm up and [`REPETITIONS`] times to see what stays.
fn check(mut once: impl FnMut(DriverKind)) {
    for driver in drivers() {
        (0..3).for_each(|_| once(driver));
        let (before, threads_before, memory) = (descriptors(), threads(), resident_bytes());
        (0..REPETITIONS).for_each(|_| once(driver));
        // The kernel tears a ring down, and takes a joined thread off its list, a moment later. What was there before may have gone since, such as the thread of another test.
        wait_until(Duration::from_secs(5), || {
            descriptors().len() <= before.len() && threads() <= threads_before
        });
        assert!(descriptors().len() <= before.len(), "on {driver}: {:#?}", descriptors());
        assert!(threads() <= threads_before, "{} threads on {driver}", threads());
        let grown = resident_bytes().saturating_sub(memory);
        assert!(grown <= NOISE_BYTES, "{grown} bytes more after {REPETITIONS} runs on {driver}");
    }
}

/// Runs against a scripted peer, which goes with each repetition.
fn check_peer(
    script: impl Fn(Conversation) + Send + Sync + Clone + 'static,
    change: impl Fn(Plan) -> Plan,
    expected: impl Fn(&Report) -> bool,
) {
    let _turn = alone();
    check(|driver| {
        let peer = Peer::start(script.clone());
        let report = run_whole(&change(plan(&peer.url(), driver, &Asked::default())));
        assert!(expected(&report), "{report:#?}");
    });
}

#[test]
fn runs_that_succeed() {
    let _turn = alone();
    let Some(nginx) = Nginx::start() else { return };
    for path in ["/small", "/large", "/chunked/medium"] {
        check(|driver| {
            let plan = plan(&nginx.url(path), driver, &Asked::default());
            let report = run_whole(&Plan { connections: 16, pipeline: 2, ..plan });
            assert_eq!(report.requests, 64);
        });
    }
}

#[test]
fn runs_with_a_connection_for_each_request() {
    let _turn = alone();
    let Some(nginx) = Nginx::start() else { return };
    check(|driver| {
        let asked = Asked { keep_alive: KeepAlive::Off, ..Asked::default() };
        assert_eq!(run_whole(&plan(&nginx.url("/small"), driver, &asked)).requests, 64);
    });
}

#[test]
fn runs_that_are_refused() {
    let _turn = alone();
    let url = Peer::start(drop).url();
    check(|driver| {
        let plan = plan(&url, driver, &Asked::default());
        assert_eq!(run_whole(&Plan { stop: Stop::requests(8), ..plan }).errors, 8);
    });
}

#[test]
fn runs_that_break() {
    let script = |mut peer: Conversation| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nand no more");
        peer.reset();
    };
    let few = |plan| Plan { stop: Stop::requests(8), pipeline: 2, ..plan };
    check_peer(script, few, |report| report.errors == 8);
}

#[test]
fn runs_that_time_out() {
    let script = |mut peer: Conversation| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nand no more");
        peer.read_to_end();
    };
    let change = |plan: Plan| {
        let timeouts = Timeouts { response: Duration::from_millis(30), ..plan.timeouts };
        Plan { stop: Stop::requests(8), timeouts, ..plan }
    };
    check_peer(script, change, |report| report.outcomes["timeout"] == 8);
}

/// The run is stopped while requests are unanswered, and sends are not through: all of it is cancelled.
#[test]
fn runs_that_are_cancelled() {
    let _turn = alone();
    check(|driver| {
        let peer = Peer::start(|peer| peer.stall());
        let asked = Asked::post(vec![b'x'; 4 << 20]);
        let plan = plan(&peer.url(), driver, &asked);
        let drain = Duration::from_millis(1);
        let plan =
            Plan { stop: Stop::after(Duration::from_millis(30)), drain, pipeline: 3, ..plan };
        assert!(run_whole(&plan).cancelled > 0);
    });
}

#[test]
fn runs_that_are_stopped_early() {
    let _turn = alone();
    let peer = Peer::start(|mut peer| peer.answer_all(OK));
    check(|driver| {
        let plan = plan(&peer.url(), driver, &Asked::default());
        let plan = Plan { stop: Stop::after(Duration::from_secs(60)), ..plan };
        let control = Arc::new(Control::new());
        let report = std::thread::scope(|scope| {
            let run = scope.spawn(|| run_controlled(&plan, &control));
            assert!(wait_until(Duration::from_secs(20), || control.snapshot().requests > 10));
            control.stop();
            run.join().unwrap()
        });
        assert!(report.interrupted && report.requests > 10, "{report:#?}");
        // The peer notices the closed connections in its own time.
        assert!(wait_until(Duration::from_secs(5), || peer.open() == 0));
    });
}

/// A run stopped before it began ends at once.
#[test]
fn runs_that_never_begin() {
    let _turn = alone();
    let peer = Peer::start(|mut peer| peer.answer_all(OK));
    check(|driver| {
        let plan = plan(&peer.url(), driver, &Asked::default());
        let control = Arc::new(Control::new());
        control.stop();
        assert!(run_controlled(&plan, &control).interrupted);
        assert!(wait_until(Duration::from_secs(5), || peer.open() == 0));
    });
}

/// Bytes of an answer that has no end, if nobody stops it.
const ENDLESS_BYTES: usize = 256 << 20;

/// A client whose answer is `start`, and then `again` for ever: what `expected` says ends it, and no more of it was held than the limits allow.
fn check_endless(start: &str, again: &str, expected: impl Fn(&Kind) -> bool) {
    let (start, again) = (start.to_owned(), again.repeat((64 << 10) / again.len()));
    let peer = Peer::start(move |mut peer: Conversation| {
        peer.request();
        let mut sent = peer.send(&start);
        for _ in 0..ENDLESS_BYTES / again.len() {
            sent = sent && peer.send(&again);
        }
        assert!(!sent, "nobody stopped it");
    });
    check(|driver| {
        let driver = match driver {
            DriverKind::IoUring => DriverChoice::IoUring,
            DriverKind::Epoll => DriverChoice::Epoll,
        };
        let engine = Engine::builder().cores(Cores::Count(1)).driver(driver).build().unwrap();
        let client = engine.client().max_body_bytes(1 << 20).build().unwrap();
        let error = block_on(client.get(peer.url()).fetch()).unwrap_err();
        assert!(expected(error.kind()), "{error}");
        drop((client, engine));
        assert!(wait_until(Duration::from_secs(5), || peer.open() == 0));
    });
}

#[test]
fn answers_without_end_to_a_client() {
    let _turn = alone();
    let limit = |kind: &Kind| matches!(kind, Kind::Limit(LimitKind::Protocol(_)));
    let protocol = |kind: &Kind| limit(kind) || matches!(kind, Kind::Framing(_));
    let body = |kind: &Kind| matches!(kind, Kind::Limit(LimitKind::Body { .. }));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    check_endless("HTTP/1.1 200 OK\r\n", "X-Pad: 0123456789\r\n", protocol);
    check_endless("HTTP/1.1 200 OK\r\nX-Pad: ", "0123456789", protocol);
    check_endless("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", protocol);
    check_endless(&format!("{chunked}1;pad="), "0123456789", protocol);
    check_endless(chunked, "1;pad=0123456789\r\nx\r\n", |kind| protocol(kind) || body(kind));
    check_endless(&format!("{chunked}0\r\n"), "X-Pad: 0123456789\r\n", protocol);
    check_endless("HTTP/1.1 200 OK\r\n\r\n", "0123456789", body);
}
