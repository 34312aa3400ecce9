//! What is said where requests fail, or are answered as nobody expected.

use super::*;

#[test]
fn a_rate_that_failures_alone_miss_was_sent() {
    let mut report = open_loop();
    (report.requests, report.errors) = (950, 50);
    check(report.clone(), |_| (), Limit::Server);
    let verdict = Verdict::of(&report);
    assert!(verdict.summary.contains("some of the requests failed"), "{verdict:#?}");
    assert!(verdict.evidence.iter().any(|line| line.contains("5.0% of the requests failed")));
    // A client that was late is part of the response times, be it that it made connections anew.
    report.client_lag_us = lag(2_600.0);
    check(report.clone(), |_| (), Limit::Client);
    let summary = Verdict::of(&report).summary;
    assert!(summary.contains("lacks only what failed, but the client sent"), "{summary}");
    report.outcomes = [("unexpected_status".to_owned(), 50)].into();
    check(report.clone(), |_| (), Limit::Client);
    check(report.clone(), |r| r.client_lag_us = lag(10.0), Limit::Server);
    // And too slow all the same.
    check(report, |r| (r.requests, r.client_lag_us) = (850, lag(10.0)), Limit::Server);
}

#[test]
fn failures_at_our_own_limits_are_the_clients() {
    let of = |cause: &str, errors: u64| {
        let error_causes = [(cause.to_owned(), errors), ("reset ECONNRESET".to_owned(), 1)].into();
        Report { errors: errors + 1, error_causes, ..closed_loop() }
    };
    for cause in ["EADDRNOTAVAIL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EACCES", "EPERM"] {
        let report = of(&format!("connect {cause}"), 1_600);
        check(report.clone(), |_| (), Limit::Client);
        let summary = Verdict::of(&report).summary;
        assert!(summary.contains("61.5% of the requests"), "{summary}");
        assert!(summary.contains(&format!("with {cause}: ")), "{summary}");
    }
    check(of("connect EMFILE", 5), |_| (), Limit::Server);
    check(of("connect EADDRNOTAVAIL", 300), |r| r.requests = 0, Limit::Client);
}

#[test]
fn nothing_is_said_of_a_server_that_mostly_fails() {
    check(closed_loop(), |r| r.errors = 900, Limit::Server);
    check(closed_loop(), |r| r.errors = 1_001, Limit::Unknown);
    check(open_loop(), |r| (r.errors, r.offered) = (9_000, 10_000), Limit::Unknown);
    // Hangs, and is asked on many connections.
    let hanging = |r: &mut Report| (r.requests, r.sent, r.cancelled) = (200, 1_000, 800);
    check(open_loop(), hanging, Limit::Unknown);
    let mut report = open_loop();
    hanging(&mut report);
    let summary = Verdict::of(&report).summary;
    assert!(summary.contains("had no answer when the run ended: the server hung"), "{summary}");
    // As many failed: it is not silence alone.
    (report.errors, report.cancelled) = (150, 150);
    let summary = Verdict::of(&report).summary;
    assert!(summary.contains("failed, or had no answer"), "{summary}");
    check(closed_loop(), |r| (r.sent, r.cancelled) = (1_900, 900), Limit::Server);
    // Dies: what finds no connection is not even sent.
    let dead = |connect| {
        let outcomes = [(if connect { "connect" } else { "timeout" }.to_owned(), 219)].into();
        let (requests, errors, shed, offered) = (238, 219, 143, 600);
        Report { requests, errors, shed, offered, sent: 238, outcomes, ..open_loop() }
    };
    check(dead(true), |_| (), Limit::Unknown);
    check(dead(false), |_| (), Limit::Server);
    let refusing = |success, redirect, server_error| {
        let status = StatusCounts { success, redirect, server_error, ..StatusCounts::default() };
        Report { status, ..closed_loop() }
    };
    check(refusing(0, 0, 1_000), |_| (), Limit::Unknown);
    check(refusing(0, 1_000, 0), |_| (), Limit::Server);
    let told = |success, server_error| {
        let Verdict { limit, summary, evidence, .. } =
            Verdict::of(&refusing(success, 0, server_error));
        let evidence = evidence.iter().any(|line| line.starts_with("responses: "));
        (limit, summary.contains("most responses were no success"), evidence)
    };
    assert_eq!(told(300, 700), (Limit::Server, true, true));
    assert_eq!(told(900, 100), (Limit::Server, false, true));
    assert_eq!(told(995, 5), (Limit::Server, false, false));
}

#[test]
fn who_waits_for_a_connection_does_not_wait_for_the_server() {
    let refused = |report: Report, count: u64| Report {
        errors: count,
        outcomes: [("connect".to_owned(), count)].into(),
        ..report
    };
    let Verdict { limit, valid, summary, .. } = Verdict::of(&refused(closed_loop(), 900));
    assert_eq!((limit, valid), (Limit::Unknown, false));
    assert!(summary.starts_with("Connections could not be made"), "{summary}");
    check(refused(closed_loop(), 10), |_| (), Limit::Server);
    check(refused(closed_loop(), 900), |r| r.cores[0].busy = 1.0, Limit::Client);
    // An open loop goes on with the others, and says whether the failed ones were sent.
    let told = |sent: u64| {
        let report = refused(Report { sent, requests: 600, ..open_loop() }, 400);
        let Verdict { limit, summary, .. } = Verdict::of(&report);
        assert_eq!(limit, Limit::Server);
        summary
    };
    assert!(told(600).contains("connections to it could not be made"), "{}", told(600));
    assert!(told(1_000).contains("the rate was sent"), "{}", told(1_000));
}

#[test]
fn what_was_answered_and_not_as_expected_is_told_so() {
    let outcomes = [("unexpected_body", 9), ("unexpected_status", 990), ("timeout", 1)];
    let outcomes = outcomes.map(|(kind, count)| (kind.to_owned(), count)).into();
    let report = Report { requests: 0, errors: 1_000, outcomes, ..closed_loop() };
    let Verdict { limit, summary, .. } = Verdict::of(&report);
    assert_eq!(limit, Limit::Unknown);
    assert!(summary.starts_with("No response was as expected, most often because of its status"));
    let nothing = Verdict::of(&Report { outcomes: [].into(), ..report }).summary;
    assert!(nothing.starts_with("Nothing was answered"), "{nothing}");
}

#[test]
fn a_status_that_was_expected_is_no_refusal() {
    let not_found = |client_error| StatusCounts { client_error, ..StatusCounts::default() };
    let wanted = |status, status_expected| Report { status, status_expected, ..closed_loop() };
    let verdict = Verdict::of(&wanted(not_found(1_000), not_found(1_000)));
    assert_eq!((verdict.limit, verdict.valid), (Limit::Server, true));
    assert!(!verdict.summary.contains("refused"), "{verdict:#?}");
    assert!(!verdict.evidence.iter().any(|line| line.starts_with("responses: ")), "{verdict:#?}");
    let verdict = Verdict::of(&wanted(not_found(1_000), not_found(300)));
    assert!(verdict.summary.contains("most responses were no success"), "{verdict:#?}");
}
