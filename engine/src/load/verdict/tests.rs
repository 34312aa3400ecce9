//! Verdicts over reports made up for them.

use super::super::histogram::Histogram;
use super::super::report::{CoreReport, Latency, Slot, SocketsReport};
use super::super::status::StatusCounts;
use super::*;

mod failures;

/// A closed loop of 10 s that leaves its core half idle.
fn closed_loop() -> Report {
    Report {
        seconds: 10.0,
        sending_seconds: 10.0,
        requests: 1_000,
        offered: 1_000,
        sent: 1_000,
        status: StatusCounts { success: 1_000, ..StatusCounts::default() },
        requests_per_second: 100.0,
        cores: vec![
            CoreReport { core: 2, busy: 0.3, ..CoreReport::default() },
            CoreReport { core: 3, busy: 0.5, ..CoreReport::default() },
        ],
        ..Report::default()
    }
}

/// An open loop that reaches its rate.
fn open_loop() -> Report {
    let arrival = "constant".to_owned();
    Report { target_per_second: 100.0, arrival, ..closed_loop() }
}

fn lossy() -> Option<SocketsReport> {
    let (segments_sent, segments_retransmitted) = (10_000, 200);
    Some(SocketsReport { segments_sent, segments_retransmitted, ..SocketsReport::default() })
}

fn lag(p99: f64) -> Latency {
    Latency { p99, p99_interval: [p99, p99], ..Latency::default() }
}

#[track_caller]
fn check(report: Report, change: fn(&mut Report), limit: Limit) {
    let mut report = report;
    change(&mut report);
    let verdict = Verdict::of(&report);
    assert_eq!(verdict.limit, limit, "{verdict:#?}");
    assert_eq!(verdict.valid, matches!(limit, Limit::Server | Limit::None));
}

#[test]
fn closed_loops() {
    let check = |change, limit| check(closed_loop(), change, limit);
    check(|_| (), Limit::Server);
    check(|r| r.cores[1].busy = 0.97, Limit::Client);
    check(|r| r.cores[1].run_delay = 0.48, Limit::Client);
    check(|r| r.cores[1].run_delay = 0.3, Limit::Server);
    // A little to do, for which it waits longer than that takes: a third of the rate is missing.
    check(|r| (r.cores[0].busy, r.cores[0].run_delay) = (0.03, 0.31), Limit::Client);
    check(|r| (r.cores[0].busy, r.cores[0].run_delay) = (0.02, 0.11), Limit::Server);
    // Little to do, and kept from it for most of the time.
    check(|r| (r.cores[1].busy, r.cores[1].run_delay) = (0.15, 0.75), Limit::Client);
    check(|r| r.sockets = lossy(), Limit::Network);
    check(|r| r.seconds = 0.05, Limit::Unknown);
    check(|r| r.requests = 0, Limit::Unknown);
    check(|r| r.think_share = 0.98, Limit::None);
    check(|r| r.think_share = 0.2, Limit::Server);
    check(|r| (r.think_share, r.cores[0].busy) = (0.98, 1.0), Limit::Client);
}

/// What was due is what counts.
#[test]
fn what_was_interrupted_before_it_measured_anything_says_so() {
    let unmeasured = Report { interrupted: true, seconds: 0.0, requests: 0, ..open_loop() };
    let verdict = Verdict::of(&unmeasured);
    assert!(verdict.summary.contains("interrupted before anything was measured"), "{verdict:?}");
    assert!(verdict.limit == Limit::Unknown && verdict.evidence.is_empty(), "{verdict:?}");
    let verdict = Verdict::of(&Report { seconds: 0.05, ..unmeasured });
    assert!(verdict.summary.contains("too short"), "{verdict:?}");
}

#[test]
fn a_poisson_process_may_draw_fewer_than_its_mean() {
    let drawn = |requests, offered| {
        let arrival = "poisson".to_owned();
        Report { arrival, requests, offered, ..open_loop() }
    };
    check(drawn(930, 930), |_| (), Limit::None);
    check(drawn(930, 950), |_| (), Limit::Server);
    check(drawn(890, 890), |_| (), Limit::None);
    check(drawn(930, 930), |r| r.behind = 100, Limit::Server);
}

#[test]
fn open_loops() {
    let check = |change, limit| check(open_loop(), change, limit);
    check(|_| (), Limit::None);
    // Late is who sends late.
    check(|r| (r.cores[0].busy, r.cores[0].run_delay) = (0.03, 0.31), Limit::None);
    check(
        |r| (r.requests, r.cores[0].busy, r.cores[0].run_delay) = (900, 0.03, 0.31),
        Limit::Server,
    );
    // Spinning for exact times keeps a core busy, and is no limit.
    check(|r| r.cores[0].busy = 1.0, Limit::None);
    let late = |r: &mut Report| r.client_lag_us = lag(1_500.0);
    check(late, Limit::Client);
    let mut reached = open_loop();
    late(&mut reached);
    assert!(reached.reached_its_rate() && !closed_loop().reached_its_rate());
    reached.requests = 900;
    assert!(!reached.reached_its_rate());
    let one_disturbed = |r: &mut Report| {
        let mut times = Histogram::new();
        (0..49).for_each(|_| times.record(40_000));
        times.record(9_000_000);
        r.client_lag_us = times.latency();
        assert!(r.client_lag_us.p99 > 1_000.0);
    };
    check(one_disturbed, Limit::None);
    check(|r| r.sockets = lossy(), Limit::None);
    check(|r| r.requests = 900, Limit::Server);
    check(|r| (r.requests, r.cores[0].busy) = (900, 0.96), Limit::Client);
    check(|r| (r.requests, r.client_lag_us) = (900, lag(5_000.0)), Limit::Client);
    check(|r| (r.requests, r.sockets) = (900, lossy()), Limit::Network);
    check(|r| r.seconds = 0.0, Limit::Unknown);
    let mut short = Report { requests: 900, sent: 900, ..open_loop() };
    assert!(!Verdict::of(&short).summary.contains("more connections"));
    short.waited = 800;
    assert!(Verdict::of(&short).summary.contains("more connections"));
}

#[test]
fn a_server_that_leaves_all_connections_busy_is_the_limit_however_late_the_few_are() {
    // Eight times too slow: most was given up, and of the few that were sent some were late.
    let overloaded = |r: &mut Report| {
        (r.sent, r.requests, r.waited, r.shed) = (160, 120, 120, 840);
        r.client_lag_us = lag(8_000.0);
    };
    check(open_loop(), overloaded, Limit::Server);
    let mut report = open_loop();
    overloaded(&mut report);
    assert!(Verdict::of(&report).summary.contains("more connections"));
    report.cores[0].busy = 0.99;
    check(report, |_| (), Limit::Client);
}

#[test]
fn slack_is_told_as_waiting_of_the_clients_own() {
    let lines = |slack_us, p50| {
        let mut report = Report { slack_us, ..open_loop() };
        report.response_time_us.p50 = p50;
        Verdict::of(&report).evidence.join("\n")
    };
    let told = lines(Some(1_000.0), 1_210.0);
    assert!(told.contains("from a request being due, its slack over and a connection free"));
    assert!(told.contains("slack: response times hold up to 1.00 ms of the client's own waiting"));
    assert!(told.contains("beside a median of 1.21 ms"), "{told}");
    assert!(!lines(Some(1_000.0), 11_000.0).contains("slack: "));
    for none in [Some(0.0), None] {
        assert!(!lines(none, 1_210.0).contains("slack"));
    }
}

/// Of a server on another machine, 25 ms away, with its answers there and then.
fn far() -> SocketsReport {
    SocketsReport {
        segments_sent: 2_000,
        segments_received: 2_000,
        rtt_us: 51_400.0,
        min_rtt_us: 50_100.0,
        ..SocketsReport::default()
    }
}

#[test]
fn a_network_is_told_by_its_length() {
    let of = |report: Report| {
        let mut report = Report { sockets: Some(far()), ..report };
        report.service_time_us.p50 = 51_200.0;
        report
    };
    check(of(closed_loop()), |_| (), Limit::Network);
    check(of(closed_loop()), |r| r.service_time_us.p50 = 200_000.0, Limit::Server);
    check(of(closed_loop()), |r| r.think_share = 0.9, Limit::None);
    check(of(closed_loop()), |r| r.cores[0].busy = 0.99, Limit::Client);
    check(of(open_loop()), |_| (), Limit::None);
    check(of(open_loop()), |r| (r.requests, r.waited) = (400, 400), Limit::Network);
    // Near, and the request is over in no time.
    let near = |r: &mut Report| {
        r.service_time_us.p50 = 300.0;
        r.sockets = Some(SocketsReport { min_rtt_us: 200.0, ..far() });
    };
    check(of(closed_loop()), near, Limit::Server);
    // On this machine.
    let local = |r: &mut Report| {
        r.sockets = Some(SocketsReport { server_queue_bytes: Some(0.0), ..far() });
    };
    check(of(closed_loop()), local, Limit::Server);
    let nothing_measured = |r: &mut Report| r.service_time_us.p50 = 0.0;
    check(of(closed_loop()), nothing_measured, Limit::Server);
}

#[test]
fn a_network_is_told_by_its_losses() {
    let check = |change: fn(&mut SocketsReport), limit| {
        let mut sockets = SocketsReport { min_rtt_us: 100.0, ..far() };
        change(&mut sockets);
        check(Report { sockets: Some(sockets), ..closed_loop() }, |_| (), limit);
    };
    check(|_| (), Limit::Server);
    // Of few segments more must be lost to prove it.
    check(|s| (s.segments_sent, s.segments_retransmitted) = (181, 10), Limit::Network);
    check(|s| (s.segments_sent, s.segments_retransmitted) = (181, 4), Limit::Server);
    check(|s| s.segments_retransmitted = 25, Limit::Server);
    check(|s| s.segments_retransmitted = 40, Limit::Network);
    check(|s| s.segments_out_of_order = 300, Limit::Network);
    check(|s| s.segments_out_of_order = 100, Limit::Server);
    let local = |s: &mut SocketsReport| {
        (s.segments_retransmitted, s.segments_out_of_order) = (500, 500);
        s.server_queue_bytes = Some(0.0);
    };
    check(local, Limit::Server);
    let mut brief = Report { sockets: lossy(), ..closed_loop() };
    brief.connections_opened = 500;
    self::check(brief.clone(), |_| (), Limit::Server);
    // All of them but one were there from the start to the end: each is as likely to be looked at.
    brief.cores[0].connections = 499;
    self::check(brief, |_| (), Limit::Network);
}

#[test]
fn bodies_that_are_long_on_their_way_may_be_the_networks() {
    let summary = |server_queue_bytes| {
        let sockets = SocketsReport { min_rtt_us: 100.0, server_queue_bytes, ..far() };
        let mut report = Report { sockets: Some(sockets), ..closed_loop() };
        (report.first_byte_us.p50, report.service_time_us.p50) = (40_000.0, 550_000.0);
        let Verdict { limit, summary, evidence, .. } = Verdict::of(&report);
        assert_eq!(limit, Limit::Server);
        assert!(evidence.iter().any(|line| line.starts_with("bodies: 92.7%")), "{evidence:#?}");
        summary
    };
    assert!(summary(None).contains("or the network"));
    assert!(!summary(Some(0.0)).contains("network"));
}

/// What was cut off had no first byte: its age is no body's.
#[test]
fn what_was_never_answered_has_no_body() {
    let lines = |answered: u64, cancelled: u64| {
        let mut report = Report { requests: answered, cancelled, ..closed_loop() };
        report.censored = cancelled;
        report.status.success = answered;
        report.service_time_us.p50 = 550_000.0;
        let mut times = Histogram::new();
        times.record_many(41_000_000, answered);
        report.first_byte_us.p50 = if answered > 0 { 40_000.0 } else { 0.0 };
        report.histograms.service_time.insert("2xx".to_owned(), times);
        Verdict::of(&report).evidence.join("\n")
    };
    assert!(!lines(400, 600).contains("bodies"), "{}", lines(400, 600));
    assert!(!lines(0, 600).contains("bodies"), "{}", lines(0, 600));
}

#[test]
fn the_last_answers_may_take_their_time_but_a_backlog_is_none() {
    // Each takes as long as the median, and none is behind.
    let slow = |r: &mut Report| (r.last_response_seconds, r.service_time_us.p50) = (11.5, 1.5e6);
    check(open_loop(), slow, Limit::None);
    // A few stragglers, whenever they come.
    let few = |r: &mut Report| (r.last_response_seconds, r.behind) = (30.0, 10);
    check(open_loop(), few, Limit::None);
    let mut one_of_few = Report { requests: 30, offered: 30, behind: 1, ..open_loop() };
    one_of_few.status.success = 30;
    one_of_few.response_time_us.p50 = 2_000.0;
    check(one_of_few.clone(), |_| (), Limit::None);
    // The others waited too: not even one is to spare.
    check(one_of_few, |r| r.response_time_us.p50 = 0.2e6, Limit::Server);
    // 100 a second came in, 98.9 went out.
    check(open_loop(), |r| r.behind = 11, Limit::Server);
    // Many slow answers, and as many at the end as halfway.
    let steady = |r: &mut Report| {
        r.behind = 50;
        r.timeline = slots(&[100.0; 11]);
    };
    check(open_loop(), steady, Limit::None);
    // 160 a second answered of 200: the backlog is worked off when nothing is due any more.
    let overloaded = |r: &mut Report| {
        (r.offered, r.requests, r.target_per_second) = (1_001, 1_000, 200.0);
        (r.seconds, r.service_time_us.p50, r.waited, r.behind) = (6.3, 50_000.0, 990, 200);
        r.timeline = due_slots(&[
            [202, 152],
            [199, 160],
            [201, 159],
            [199, 159],
            [199, 154],
            [0, 161],
            [0, 55],
        ]);
    };
    check(open_loop(), overloaded, Limit::Server);
}

/// Slots of a second with what was due and what was answered.
fn due_slots(slots: &[[u64; 2]]) -> Vec<Slot> {
    let slot = |[offered, requests]: &[u64; 2]| Slot {
        seconds: 1.0,
        offered: *offered,
        requests: *requests,
        ..Slot::default()
    };
    slots.iter().map(slot).collect()
}

fn slots(requests: &[f64]) -> Vec<Slot> {
    let slot = |requests: &f64| Slot {
        seconds: 1.0,
        offered: 100,
        requests: *requests as u64,
        p50: 1e5 / requests,
        ..Slot::default()
    };
    requests.iter().map(slot).collect()
}

#[test]
fn drift_is_told_from_noise_and_from_a_rate_that_was_to_change() {
    let drift = |rates: &[f64]| Drift::of(&Report { timeline: slots(rates), ..closed_loop() });
    assert_eq!(drift(&[]), None);
    assert_eq!(drift(&[100.0, 10.0]), None);
    assert_eq!(drift(&[100.0, 96.0, 103.0, 99.0, 100.0, 101.0, 97.0, 95.0, 9.0]), None);
    let slower = [1e3, 1e3, 900.0, 900.0, 900.0, 900.0, 800.0, 800.0, 1.0];
    let found = drift(&slower).map(|found| (found.per_second, found.p50_us));
    assert_eq!(found, Some(([1e3, 800.0], [100.0, 125.0])));
    let report = Report { timeline: slots(&slower), ..closed_loop() };
    let lines = Verdict::of(&report).evidence;
    let told = "1000 to 800 a second, p50 100 us to 125 us";
    assert!(lines.iter().any(|line| line.contains(told)), "{lines:#?}");
    let mut ramp = Report { timeline: slots(&slower), ..open_loop() };
    ramp.timeline.iter_mut().for_each(|slot| slot.offered = slot.requests);
    assert_eq!(Drift::of(&ramp), None);
}

/// Slots of a second with so many answers, whose median is the second figure.
fn few_slots(slots: &[(u64, f64)]) -> Vec<Slot> {
    let slot = |(requests, p50): &(u64, f64)| Slot {
        seconds: 1.0,
        requests: *requests,
        p50: *p50,
        ..Slot::default()
    };
    slots.iter().map(slot).collect()
}

#[test]
fn drift_is_no_matter_of_slots_in_which_nothing_ended_or_of_a_few_requests() {
    let drift = |slots: &[(u64, f64)]| {
        Drift::of(&Report { timeline: few_slots(slots), ..closed_loop() }).map(|it| it.to_string())
    };
    // Four connections to a server that takes three seconds, whose slots are empty but for every third.
    let threes = (0..20).map(|second| if second % 3 == 2 { (4, 3e6) } else { (0, 0.0) });
    assert_eq!(drift(&threes.collect::<Vec<_>>()), None);
    // By chance: 4 and 8 requests, and medians of a few.
    assert_eq!(drift(&[[(2, 1e5); 6], [(4, 2e5); 6]].concat()), None);
    let median = |requests: u64| drift(&[[(requests, 1e5); 12], [(requests, 2.5e5); 12]].concat());
    assert_eq!(median(5), None);
    let told =
        "changed from its first quarter to its last: 50 to 50 a second, p50 100 ms to 250 ms";
    assert_eq!(median(50), Some(told.to_owned()));
    let slower = drift(&[[(12, 0.0); 50], [(3, 0.0); 50]].concat());
    let told = "changed from its first quarter to its last: 12 to 3.00 a second";
    assert_eq!(slower, Some(told.to_owned()));
}

#[test]
fn the_evidence_names_figures() {
    let mut report = open_loop();
    report.sockets = lossy();
    report.cores[1].queue_overflows = 4;
    (report.waited, report.shed) = (250, 10);
    report.sockets.iter_mut().for_each(|sockets| sockets.receive_queue_bytes = 1.0);
    let lines = Verdict::of(&report).evidence;
    for part in [
        "100.0 a second asked for, 100.0 answered",
        "25.0% waited for a connection, 0.0% late, 1.0% shed",
        "cores: 3 had the least time to spare, busy for 50.0% of the time; 0 of 2 had none",
        "overflowed it 4 times",
        "2.0% of 10000 segments sent again",
        "queues of a connection: 1 byte unread by the client, ",
    ] {
        assert!(lines.iter().any(|line| line.contains(part)), "{part}: {lines:#?}");
    }
}
