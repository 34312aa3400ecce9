//! nginx that sends slowly: timeouts, limits on bodies, and giving up in the middle.

use std::time::{Duration, Instant};

use ringshot::client::blocking::block_on;
use ringshot::client::{Kind, LimitKind, TimeoutKind, Timeouts};
use ringshot_tests::servers::{LARGE_BYTES, MEDIUM_BYTES, Nginx, Settings, content};

use super::rig::{Case, Rig, SOON, Way, each_at_once, get, join_all};

/// 4 KiB every eighth of a second, and 64 KiB a second all at once.
const SERVER: &str = "location = /trickle { alias www/medium; limit_rate 32k; sendfile_max_chunk 4k; } \
    location = /gaps { alias www/large; limit_rate 64k; }";

fn check_slow(check: impl Fn(&Nginx, Case) + Sync) {
    let settings = Settings { server: SERVER, ..Settings::default() };
    let Some(nginx) = Nginx::start_with(settings) else { return };
    each_at_once(|case| check(&nginx, case));
}

fn millis(millis: u64) -> Option<Duration> {
    Some(Duration::from_millis(millis))
}

#[test]
fn bytes_that_trickle_keep_a_body_alive() {
    check_slow(|nginx, case| {
        let timeouts =
            Timeouts { read_idle: millis(900), total: Some(SOON), ..Timeouts::default() };
        let rig = Rig::new(case, |client| client.timeouts(timeouts));
        let start = Instant::now();
        let outcomes = rig.fetch_all((0..8).map(|_| get(&nginx.url("/trickle"))).collect());
        assert!(start.elapsed() > Duration::from_millis(1200), "it was slow");
        let body = content(MEDIUM_BYTES);
        outcomes.into_iter().for_each(|outcome| assert!(*outcome.unwrap().bytes() == body));
        rig.check_at_rest();
    });
}

/// All requests end in this timeout, after so many milliseconds, and nothing is left.
fn check_timeout(timeouts: Timeouts, kind: TimeoutKind, after: u64) {
    check_slow(|nginx, case| {
        let rig = Rig::new(case, |client| client.timeouts(timeouts));
        let start = Instant::now();
        for outcome in rig.fetch_all((0..8).map(|_| get(&nginx.url("/gaps"))).collect()) {
            let error = outcome.unwrap_err();
            let is_it = matches!(error.kind(), Kind::Timeout(found) if *found == kind);
            assert!(is_it && error.is_timeout() && error.got_bytes() > 0, "{case}: {error}");
            assert!(error.elapsed() >= Duration::from_millis(after), "{case}: {error}");
        }
        assert!(start.elapsed() < Duration::from_millis(after) + Duration::from_secs(3), "{case}");
        rig.check_at_rest();
        assert_eq!((rig.holding().idle, rig.client.limits_observed().conns_now), (0, 0));
    });
}

#[test]
fn a_pause_in_a_body_that_is_too_long() {
    check_timeout(
        Timeouts { read_idle: millis(300), ..Timeouts::default() },
        TimeoutKind::ReadIdle,
        300,
    );
}

#[test]
fn a_body_that_takes_too_long() {
    check_timeout(Timeouts { total: millis(600), ..Timeouts::default() }, TimeoutKind::Total, 600);
}

#[test]
fn bodies_that_are_too_long() {
    check_slow(|nginx, case| {
        let rig = Rig::new(case, |client| client.max_body_bytes(MEDIUM_BYTES as u64 - 1));
        let paths = ["/gaps", "/medium", "/large", "/chunked/medium"];
        let outcomes = rig.fetch_all(paths.iter().map(|path| get(&nginx.url(path))).collect());
        for (path, outcome) in paths.iter().zip(outcomes) {
            let error = outcome.expect_err(path);
            let expected = LimitKind::Body { max_bytes: MEDIUM_BYTES as u64 - 1 };
            assert!(matches!(error.kind(), Kind::Limit(kind) if *kind == expected), "{error}");
        }
        let fits = get(&nginx.url("/medium")).max_body_bytes(MEDIUM_BYTES as u64);
        let body = rig.fetch_all(vec![fits]).remove(0).unwrap();
        assert!(*body.bytes() == content(MEDIUM_BYTES), "{case}");
        rig.check_at_rest();
    });
}

/// Reads a piece of each of ten, and gives up five, then the others.
async fn give_up_locally(client: ringshot::client::LocalClient, url: String) {
    let mut responses = join_all((0..10).map(|_| client.send(get(&url)))).await;
    for response in &mut responses {
        assert!(response.as_mut().unwrap().chunk().await.unwrap().is_some());
    }
    responses.truncate(5);
    client.ctx().sleep(Duration::from_millis(20)).await;
}

async fn give_up(rig: &Rig, url: &str) {
    let mut responses = join_all((0..10).map(|_| rig.client.send(get(url)))).await;
    for response in &mut responses {
        assert!(response.as_mut().unwrap().chunk().await.unwrap().is_some());
    }
    responses.truncate(5);
}

#[test]
fn bodies_that_are_given_up() {
    check_slow(|nginx, case| {
        let rig = Rig::new(case, |client| client.max_conns_per_host(10).max_in_flight(10));
        let url = nginx.url("/gaps");
        match case.way {
            Way::Cross => block_on(give_up(&rig, &url)),
            Way::Local => {
                let (client, url) = (rig.client.clone(), url.clone());
                let work =
                    rig.engine.run_on(0, move |ctx| give_up_locally(ctx.client(&client), url));
                block_on(work).unwrap();
            }
        }
        rig.check_at_rest();
        // Far too much is left of them to keep their connections.
        assert_eq!((rig.holding().idle, rig.client.limits_observed().conns_now), (0, 0));
        assert_eq!(rig.count(|counters| counters.cancelled), 10);
        let outcomes = rig.fetch_all((0..20).map(|_| get(&nginx.url("/large"))).collect());
        assert!(outcomes.into_iter().all(|outcome| outcome.unwrap().bytes().len() == LARGE_BYTES));
        rig.check_at_rest();
    });
}
