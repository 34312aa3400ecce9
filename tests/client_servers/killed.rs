//! nginx, killed while it sends, and started again.

use ringshot::client::Kind;
use ringshot_tests::servers::{LARGE_BYTES, Nginx, Settings};
use ringshot_tests::watch::wait_until;

use super::rig::{Case, Rig, SOON, each, get, sockets_to};

/// A body that takes longer than any test.
const SLOW: &str = "location = /slow { alias www/large; limit_rate 8k; }";
const REQUESTS: usize = 50;

#[test]
fn a_server_that_is_killed_while_it_sends() {
    each(|case| {
        let settings = Settings { server: SLOW, ..Settings::default() };
        let Some(mut nginx) = Nginx::start_with(settings) else { return };
        check_killed(case, &mut nginx);
    });
}

fn check_killed(case: Case, nginx: &mut Nginx) {
    let rig = Rig::new(case, |client| client.max_conns_per_host(64).max_in_flight(64));
    let (slow, large) = (nginx.url("/slow"), nginx.url("/large"));
    let port = nginx.address().port();
    let outcomes = std::thread::scope(|scope| {
        let fetching =
            scope.spawn(|| rig.fetch_all([(); REQUESTS].iter().map(|()| get(&slow)).collect()));
        // nginx sends the first 8 KiB of each at once, and more of those that came first.
        let begun = || rig.count(|counters| counters.bytes_received) > (REQUESTS as u64) * 8192;
        let all_begun = || sockets_to(port) == REQUESTS && begun();
        assert!(wait_until(SOON, all_begun), "{case}: {:?}", rig.holding());
        nginx.stop();
        fetching.join().unwrap()
    });
    assert_eq!(outcomes.len(), REQUESTS);
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        let cut = match error.kind() {
            Kind::Truncated { expected, got } => *expected == Some(LARGE_BYTES as u64) && *got > 0,
            Kind::Io(_) => true,
            _ => false,
        };
        assert!(cut && error.got_bytes() > 0 && error.may_have_been_processed(), "{case}: {error}");
    }
    rig.check_at_rest();
    assert_eq!(rig.holding().idle, 0);
    assert!(wait_until(SOON, || sockets_to(port) == 0), "{case}: {}", sockets_to(port));
    assert_eq!(rig.client.limits_observed().conns_now, 0);
    let refused = rig.fetch_all(vec![get(&large)]).remove(0).unwrap_err();
    assert!(refused.is_connect() && !refused.may_have_been_processed(), "{case}: {refused}");
    assert!(nginx.restart(), "it starts again");
    for outcome in rig.fetch_all((0..REQUESTS).map(|_| get(&large)).collect()) {
        assert_eq!(outcome.unwrap().bytes().len(), LARGE_BYTES, "{case}");
    }
    rig.check_at_rest();
}
