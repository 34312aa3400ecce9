//! What the origin counts, and what it keeps of clients that have gone: nothing.

use super::{check_counters, elapsed, on_each, plain};
use std::io::Read;
use std::net::Shutdown;
use std::time::Duration;

use ringshot::origin::{Config, Counters, Origin};
use ringshot::sys::socket::reset_on_close;
use ringshot_tests::client::Client;
use ringshot_tests::load::{drivers, next_core};

#[test]
fn counters_follow_the_client() {
    on_each(plain, |origin| {
        for round in 1..=20 {
            let mut clients: Vec<Client> =
                (0..5).map(|_| Client::connect(origin.address())).collect();
            clients.iter_mut().for_each(|client| client.ask("GET", "/hang", "\r\n"));
            let hanging = Counters::default();
            check_counters(origin, |now| {
                let here = (now.open, now.in_progress, now.served) == (5, 5, hanging.served);
                here && now.accepted == 5 * round
            });
        }
        check_counters(origin, |now| now.open == 0 && now.in_progress == 0);
        let seen = origin.counters();
        assert_eq!((seen.most_open, seen.most_in_progress), (5, 5), "{seen:?}");
    });
}

/// A client that goes away takes its waiting answers along, whatever they wait for.
#[test]
fn nothing_is_kept_for_a_client_that_has_gone() {
    on_each(plain, |origin| {
        for path in [
            "/hang",
            "/delay/3600000",
            "/stream/9/1/3600000",
            "/close?delay=3600000",
            "/bytes/1000000000",
        ] {
            let mut client = Client::connect(origin.address());
            client.ask("GET", path, "\r\nGET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
            check_counters(origin, |now| now.open == 1);
            client.0.get_ref().shutdown(Shutdown::Write).expect("a socket");
            drop(client);
            check_counters(origin, |now| now.open == 0 && now.in_progress == 0);
        }
    });
}

/// A request and a reset right behind it, so that most origins see both at once.
#[test]
fn nothing_is_kept_for_a_client_that_asked_and_reset() {
    on_each(plain, |origin| {
        let mut clients: Vec<Client> =
            (0..200).map(|_| Client::connect(origin.address())).collect();
        check_counters(origin, |now| now.open == 200);
        for mut client in clients.drain(..) {
            reset_on_close(client.0.get_ref()).expect("a socket");
            client.ask("GET", "/hang", "\r\n");
        }
        check_counters(origin, |now| now.open == 0 && now.in_progress == 0);
    });
}

#[test]
fn a_thousand_hang_and_the_origin_stops_at_once() {
    for driver in drivers() {
        let config = Config { driver, cores: vec![next_core()], ..Config::on_loopback() };
        let origin = Origin::start(&config).expect("an origin");
        let mut clients: Vec<Client> =
            (0..1000).map(|_| Client::connect(origin.address())).collect();
        for (index, client) in clients.iter_mut().enumerate() {
            client.ask("GET", if index % 2 == 0 { "/hang" } else { "/delay/3600000" }, "\r\n");
        }
        check_counters(&origin, |now| now.open == 1000 && now.in_progress == 1000);
        Client::connect(origin.address()).get("/").check_letters(13);
        let (time, served) = elapsed(|| origin.stop());
        assert_eq!(served.expect("it ends"), 1);
        assert!(time < Duration::from_secs(1), "{driver}: {time:?}");
        clients.iter_mut().for_each(|client| {
            // A server that ends does not say goodbye: an end or a reset.
            assert!(!client.0.read(&mut [0]).is_ok_and(|bytes| bytes > 0));
        });
    }
}
