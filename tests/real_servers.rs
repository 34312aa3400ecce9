//! nginx, directly and behind haproxy, against both drivers: what real servers do that a scripted peer would not. Skips, and says so, where they are missing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use ringshot::driver::uring::{self, Descriptors, Tier};
use ringshot::driver::{DriverKind, Limits, Uring};
use ringshot::load::{Control, KeepAlive, Plan, Report, Stop};
use ringshot::proto::url::Url;
use ringshot_tests::load::{
    Asked, RUN_MAX, check_outcomes, drivers, plan, run_controlled, run_whole,
};
use ringshot_tests::reading::{Checker, check_bodies, check_bodies_on, config};
use ringshot_tests::servers::{
    Haproxy, LARGE_BYTES, MEDIUM_BYTES, Nginx, SMALL_BYTES, Settings, content, has_ipv6,
};
use ringshot_tests::watch::{announce, wait_until};

/// nginx, and haproxy before it, with the URL of `path` on each.
fn each_server(path: &str, mut check: impl FnMut(&Nginx, &str)) {
    let Some(nginx) = Nginx::start() else { return };
    check(&nginx, &nginx.url(path));
    if let Some(haproxy) = Haproxy::start(&nginx) {
        check(&nginx, &haproxy.url(path));
    }
}

/// Every request ends in `outcome`, on every server and driver, over kept connections, alone and pipelined; nginx saw each exactly once.
fn check_kept(path: &str, asked: &Asked, outcome: &str) {
    let requests = 200;
    each_server(path, |nginx, url| {
        for driver in drivers() {
            for pipeline in [1, 16] {
                let before = nginx.log().len();
                let stop = Stop::requests(requests);
                let plan = Plan { pipeline, stop, ..plan(url, driver, asked) };
                let report = check_outcomes(&plan, &[(outcome, requests)]);
                assert_eq!(report.connections_opened, 4, "connections are kept: {report:#?}");
                let logged = nginx.logged(before + requests as usize) - before;
                assert_eq!(logged as u64, requests, "{url} on {driver}, pipeline {pipeline}");
            }
        }
    });
}

#[test]
fn small_responses() {
    check_kept("/small", &Asked::default(), "2xx");
}

#[test]
fn chunked_responses() {
    check_kept("/chunked/medium", &Asked::default(), "2xx");
}

#[test]
fn responses_to_head_have_no_body() {
    check_kept("/large", &Asked::method(Method::HEAD), "2xx");
}

#[test]
fn responses_without_content() {
    check_kept("/204", &Asked::default(), "2xx");
}

#[test]
fn responses_not_modified() {
    let later = "Fri, 31 Dec 2100 23:59:59 GMT";
    check_kept("/medium", &Asked::default().header("If-Modified-Since", later), "3xx");
    check_kept("/medium", &Asked::default().header("If-None-Match", "*"), "3xx");
}

#[test]
fn responses_not_found() {
    check_kept("/missing", &Asked::default(), "4xx");
}

#[test]
fn request_bodies() {
    check_kept("/post", &Asked::post(content(100 << 10)), "2xx");
}

/// The response comes before the body was read: the send and the receive cross.
#[test]
fn request_bodies_that_are_answered_early() {
    each_server("/early", |nginx, url| {
        for driver in drivers() {
            for pipeline in [1, 4] {
                let before = nginx.log().len();
                // Whether a connection is kept depends on how far the send was.
                let plan = Plan { pipeline, ..plan(url, driver, &Asked::post(content(1 << 20))) };
                check_outcomes(&plan, &[("2xx", 64)]);
                assert_eq!(nginx.logged(before + 64) - before, 64, "{url} on {driver}, {pipeline}");
            }
        }
    });
}

/// Bodies of `path`, byte for byte, on 64 connections.
fn check_content(path: &str, bytes: usize, requests: u64, pipeline: u32) {
    let lanes = 64;
    let body = content(bytes);
    let Some(nginx) = Nginx::start() else { return };
    let haproxy = Haproxy::start(&nginx);
    let behind = haproxy.as_ref().map(|haproxy| (haproxy.address(), haproxy.url(path)));
    for (address, url) in [(nginx.address(), nginx.url(path))].into_iter().chain(behind) {
        let template = Asked::default().encode(&Url::parse(&url).unwrap());
        for driver in drivers() {
            let config = config(address, &template, lanes, pipeline);
            let checked = check_bodies(driver, config, requests, &body);
            assert!(checked.fewest() > 0, "every connection had a part: {checked:?}");
        }
    }
}

#[test]
fn small_bodies_byte_for_byte() {
    check_content("/small", SMALL_BYTES, 6400, 8);
}

#[test]
fn medium_bodies_byte_for_byte() {
    check_content("/medium", MEDIUM_BYTES, 1000, 1);
    check_content("/medium", MEDIUM_BYTES, 1000, 4);
}

#[test]
fn large_bodies_byte_for_byte() {
    check_content("/large", LARGE_BYTES, 256, 1);
}

#[test]
fn chunked_bodies_byte_for_byte() {
    check_content("/chunked/large", LARGE_BYTES, 192, 1);
    check_content("/chunked/small", SMALL_BYTES, 3000, 4);
}

/// Large bodies that nobody looks at take another way through both drivers than those that are read.
#[test]
fn large_bodies_discarded() {
    let Some(nginx) = Nginx::start() else { return };
    for (path, bytes) in
        [("/large", LARGE_BYTES), ("/medium", MEDIUM_BYTES), ("/chunked/large", LARGE_BYTES)]
    {
        for driver in drivers() {
            for pipeline in [1, 4] {
                let plan = plan(&nginx.url(path), driver, &Asked::default());
                let stop = Stop::requests(256);
                let plan = Plan { connections: 16, pipeline, stop, ..plan };
                let report = check_outcomes(&plan, &[("2xx", 256)]);
                let received = report.bytes_per_second * report.seconds;
                let least = 256.0 * bytes as f64;
                assert!(
                    received >= least && received < least * 1.02,
                    "{received} of {least}: {report:#?}"
                );
            }
        }
    }
}

/// Every rung of the ladder, with both kinds of descriptor, on bodies small, large and chunked.
#[test]
fn every_tier_of_io_uring() {
    let Some(nginx) = Nginx::start() else { return };
    if !drivers().contains(&DriverKind::IoUring) {
        return;
    }
    let cases = [
        ("/small", SMALL_BYTES, 2000, 4),
        ("/large", LARGE_BYTES, 48, 1),
        ("/chunked/medium", MEDIUM_BYTES, 300, 2),
    ];
    for (path, bytes, requests, pipeline) in cases {
        let template = Asked::default().encode(&Url::parse(&nginx.url(path)).unwrap());
        for tier in [Tier::SingleShot, Tier::Multishot, Tier::Deferred, Tier::MinWait] {
            for descriptors in [Descriptors::Fixed, Descriptors::Plain] {
                let ring = uring::Config { limits: Limits { slots: 16 }, tier, descriptors };
                let driver = Uring::open(ring).unwrap();
                if driver.tier() != tier {
                    announce(&format!("SKIPPED tier {tier}: this kernel gives {}", driver.tier()));
                }
                let config = config(nginx.address(), &template, 16, pipeline);
                let checked = check_bodies_on(driver, config, requests, &content(bytes));
                assert_eq!(checked.resent, 0, "{path} on {tier}, {descriptors:?}");
            }
        }
    }
}

/// The server closes after every 100 requests, in the middle of a pipeline too: none is lost, none is counted twice, none is sent twice to be answered twice.
#[test]
fn a_server_that_closes_often() {
    let Some(nginx) =
        Nginx::start_with(Settings { keepalive_requests: 100, ..Settings::default() })
    else {
        return;
    };
    let requests = 10_000;
    for driver in drivers() {
        for pipeline in [1, 4, 16] {
            let before = nginx.log().len();
            let plan = plan(&nginx.url("/small"), driver, &Asked::default());
            let stop = Stop::requests(requests);
            let plan = Plan { connections: 8, pipeline, stop, ..plan };
            let report = check_outcomes(&plan, &[("2xx", requests)]);
            assert!(report.connections_opened >= requests / 100, "{report:#?}");
            assert!(pipeline == 1 || report.resent > 0, "{report:#?}");
            let logged = nginx.logged(before + requests as usize) - before;
            assert_eq!(
                logged as u64, requests,
                "on {driver}, pipeline {pipeline}: {} sent again",
                report.resent
            );
        }
    }
}

/// The same with bodies compared: what a close throws away must not shift what follows.
#[test]
fn bodies_of_a_server_that_closes_often() {
    let Some(nginx) = Nginx::start_with(Settings { keepalive_requests: 7, ..Settings::default() })
    else {
        return;
    };
    for driver in drivers() {
        for (path, bytes) in [("/small", SMALL_BYTES), ("/medium", MEDIUM_BYTES)] {
            let template = Asked::default().encode(&Url::parse(&nginx.url(path)).unwrap());
            let config = config(nginx.address(), &template, 16, 4);
            let checked: Checker = check_bodies(driver, config, 1000, &content(bytes));
            assert!(checked.resent > 0, "{checked:?}");
        }
    }
}

#[test]
fn a_connection_for_each_request() {
    let requests = 500;
    each_server("/small", |nginx, url| {
        for driver in drivers() {
            let before = nginx.log().len();
            let asked = Asked { keep_alive: KeepAlive::Off, ..Asked::default() };
            let stop = Stop::requests(requests);
            let plan = Plan { stop, connections: 16, pipeline: 4, ..plan(url, driver, &asked) };
            let report = check_outcomes(&plan, &[("2xx", requests)]);
            // A lane may have dialled before others took the last requests.
            let opened = requests..requests + u64::from(plan.connections);
            assert!(opened.contains(&report.connections_opened), "{report:#?}");
            assert_eq!(nginx.logged(before + requests as usize) - before, requests as usize);
        }
    });
}

#[test]
fn internet_protocol_version_six() {
    let Some(nginx) = Nginx::start() else { return };
    if !has_ipv6() {
        announce("SKIPPED: this machine has no IPv6 on loopback");
        return;
    }
    for driver in drivers() {
        check_outcomes(&plan(&nginx.url_v6("/small"), driver, &Asked::default()), &[("2xx", 64)]);
    }
}

/// Connections over two cores, where there are two: the budget is shared and still exact.
#[test]
fn two_cores_share_one_budget() {
    let Some(nginx) = Nginx::start() else { return };
    let cores: Vec<_> = ringshot::sys::affinity::cores().into_iter().take(2).collect();
    for driver in drivers() {
        let before = nginx.log().len();
        let plan = plan(&nginx.url("/small"), driver, &Asked::default());
        let plan = Plan {
            cores: cores.clone(),
            connections: 9,
            pipeline: 3,
            stop: Stop::requests(5001),
            ..plan
        };
        check_outcomes(&plan, &[("2xx", 5001)]);
        assert_eq!(nginx.logged(before + 5001) - before, 5001);
    }
}

/// Requests of the warm-up are not measured, and those after it are exactly as many as asked for.
#[test]
fn a_budget_is_exact_after_a_warm_up() {
    let Some(nginx) = Nginx::start() else { return };
    for driver in drivers() {
        let plan = plan(&nginx.url("/small"), driver, &Asked::default());
        let warm_up = Duration::from_millis(100);
        let plan = Plan { warm_up, pipeline: 4, stop: Stop::requests(1000), ..plan };
        check_outcomes(&plan, &[("2xx", 1000)]);
    }
}

/// nginx dies during a run, is gone for a while, and comes back on the same port: errors while it is gone, then successes again.
#[test]
fn a_server_that_dies_and_comes_back() {
    let Some(mut nginx) = Nginx::start() else { return };
    for driver in drivers() {
        let plan = plan(&nginx.url("/small"), driver, &Asked::default());
        let plan = Plan { connections: 16, pipeline: 2, stop: Stop::after(RUN_MAX / 2), ..plan };
        let control = Arc::new(Control::new());
        let report = std::thread::scope(|scope| {
            let run = scope.spawn(|| run_controlled(&plan, &control));
            let wait = |what: &str, holds: &dyn Fn() -> bool| {
                assert!(
                    wait_until(RUN_MAX / 4, holds),
                    "{what} on {driver}: {:?}",
                    control.snapshot()
                );
            };
            wait("successes at first", &|| control.snapshot().requests > 1000);
            nginx.stop();
            wait("errors while it is gone", &|| control.snapshot().errors > 100);
            assert!(nginx.restart(), "nginx comes back");
            let before = control.snapshot().requests;
            wait("successes again", &|| control.snapshot().requests > before + 1000);
            control.stop();
            run.join().expect("the run")
        });
        check_survival(&report);
    }
}

fn check_survival(report: &Report) {
    assert!(report.interrupted && report.requests > 2000, "{report:#?}");
    assert!(report.outcomes.get("connect").is_some_and(|count| *count > 0), "{report:#?}");
    assert_eq!(report.cancelled, 0, "the drain waits for the last responses: {report:#?}");
    let truncated = ["protocol_truncated_body", "protocol_truncated_head"];
    let known = [&["2xx", "connect", "reset", "behind_failed"], &truncated[..]].concat();
    let told = report.outcomes.keys();
    assert_eq!(told.filter(|kind| !known.contains(&kind.as_str())).count(), 0, "{report:#?}");
}

/// A run on the clock ends by draining: nothing is cancelled, and nginx logged what was counted.
#[test]
fn a_run_on_the_clock_counts_what_the_server_counts() {
    let Some(nginx) = Nginx::start() else { return };
    for driver in drivers() {
        let before = nginx.log().len();
        let plan = plan(&nginx.url("/small"), driver, &Asked::default());
        let stop = Stop::after(Duration::from_millis(500));
        let report = run_whole(&Plan { stop, pipeline: 4, ..plan });
        assert_eq!((report.errors, report.cancelled), (0, 0), "{report:#?}");
        let requests = report.requests as usize;
        assert_eq!(nginx.logged(before + requests) - before, requests, "{report:#?}");
    }
}
