//! Who is next where a limit is reached, and who holds it up: http-client.md A5, client-api.md E1 and E3.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use ringshot::client::blocking::block_on;
use ringshot::client::{ClientBuilder, CoreStats, Kind, Phase};
use ringshot::queue::{Sender, bounded};
use ringshot_tests::peer::Peer;
use ringshot_tests::watch::wait_until;

use crate::access::{
    Access, LONG, OK, Started, check, check_on, drivers, friendly, get, millis, origin,
};
use crate::limits::{HOSTS, here};
use crate::pool::narrow;

/// A peer that notes the paths it is asked for, and answers `/first` when it is told to.
struct Noting {
    peer: Peer,
    seen: Arc<Mutex<Vec<String>>>,
    gate: Arc<AtomicBool>,
}

impl Noting {
    fn new() -> Self {
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let gate = Arc::<AtomicBool>::default();
        let (paths, open) = (Arc::clone(&seen), Arc::clone(&gate));
        let peer = Peer::start(move |mut peer| {
            while let Some(request) = peer.request() {
                let text = String::from_utf8(request).unwrap();
                let path = text.split(' ').nth(1).unwrap().to_owned();
                let first = path == "/first";
                paths.lock().unwrap().push(path);
                if first {
                    wait_until(LONG, || open.load(Ordering::SeqCst));
                }
                peer.send(OK);
            }
        });
        Self { peer, seen, gate }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.peer.url())
    }

    fn open(&self) {
        self.gate.store(true, Ordering::SeqCst);
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// `/first` is on its way, and six others wait in order.
fn line_up(access: &Access, peer: &Noting, waits: impl Fn(&Access, u64)) -> Vec<Started> {
    let mut all = vec![access.start(get(&peer.url("first")))];
    access.wait_for(1, |core| core.holding.active.into());
    for n in 1..=6 {
        all.push(access.start(get(&peer.url(&n.to_string()))));
        waits(access, n);
    }
    all
}

fn waits_for_a_connection(access: &Access, expected: u64) {
    access.wait_for(expected, |core| core.holding.waiting.into());
}

fn waits_for_a_permit(access: &Access, expected: u64) {
    access.wait_for(expected, |core| core.holding.queued.into());
}

/// First come, first served; one that is cancelled leaves the others in their order, and takes no turn.
fn check_fair(
    configure: impl Fn(ClientBuilder) -> ClientBuilder + Sync,
    waits: impl Fn(&Access, u64) + Sync,
) {
    check(configure, |access| {
        let peer = Noting::new();
        let mut all = line_up(access, &peer, &waits);
        all.remove(3).cancel();
        waits(access, 5);
        peer.open();
        all.into_iter().for_each(|request| drop(request.outcome().unwrap()));
        assert_eq!(peer.seen(), ["/first", "/1", "/2", "/4", "/5", "/6"]);
        assert_eq!(peer.peer.accepted(), 1);
        assert_eq!(access.total(|core| core.counters.cancelled), 1);
    });
}

#[test]
fn who_waits_longest_for_a_connection_is_next() {
    check_fair(|builder| builder.max_conns_per_host(1), waits_for_a_connection);
}

#[test]
fn who_waits_longest_for_a_permit_is_next() {
    check_fair(|builder| builder.max_in_flight(1), waits_for_a_permit);
}

/// One more than may wait fails at once. Those with a connection in the making don't wait.
#[test]
fn too_many_waiters_are_told_at_once() {
    check(
        |builder| builder.max_conns_per_host(2).max_waiters(3),
        |access| {
            let peer = Noting::new();
            let started: Vec<_> = (0..5).map(|_| access.start(get(&peer.url("first")))).collect();
            // Those that wait for their own connection wait as well.
            access.wait_for(2, |core| core.holding.active.into());
            waits_for_a_connection(access, 3);
            let error = access.get(&peer.url("more")).unwrap_err();
            assert!(matches!(error.kind(), Kind::PoolFull { max_waiters: 3 }), "{error}");
            assert_eq!((error.phase(), error.elapsed() < LONG / 2), (Phase::Acquire, true));
            peer.open();
            for request in started {
                assert_eq!(request.outcome().unwrap().status(), 200);
            }
            assert_eq!(access.get(&peer.url("more")).unwrap().status(), 200);
        },
    );
}

#[test]
fn without_waiters_there_are_still_requests() {
    check(
        |builder| builder.max_conns_per_host(1).max_waiters(0),
        |access| {
            let peer = Noting::new();
            for _ in 0..3 {
                assert_eq!(access.get(&peer.url("")).unwrap().status(), 200);
            }
            access.wait_idle(1);
            let running = access.start(get(&peer.url("first")));
            access.wait_for(1, |core| core.holding.active.into());
            let error = access.get(&peer.url("")).unwrap_err();
            assert!(matches!(error.kind(), Kind::PoolFull { max_waiters: 0 }), "{error}");
            peer.open();
            assert_eq!(running.outcome().unwrap().status(), 200);
        },
    );
}

/// Who was served on its own core wants nothing of another's any more: what is idle there stays.
#[test]
fn what_is_idle_elsewhere_stays_when_nobody_waits() {
    check_on(
        2,
        |builder| builder.max_conns_per_host(2),
        |access| {
            let last = access.engine.cores() - 1;
            let stays = |_| {
                let origin = origin();
                let url = origin.url("/delay/3");
                for core in [0, last] {
                    access.fetch_on(core, get(&url)).unwrap();
                }
                let both: Vec<Started> = (0..2).map(|_| access.start_on(0, get(&url))).collect();
                both.into_iter().for_each(|one| drop(one.outcome().unwrap()));
                std::thread::sleep(millis(60));
                origin.counters().open == origin.counters().accepted
            };
            // Where the machine makes the first of the two last for long, the other core is right to give its connection up.
            assert!((0..8).any(stays));
        },
    );
}

/// A response whose body is held, half read, from the first piece on.
struct Held {
    tell: Sender<()>,
    thread: JoinHandle<()>,
}

impl Held {
    fn new(access: &Access, url: String, end: &'static str) -> Self {
        let (tell, told) = bounded::<()>(NonZeroUsize::MIN);
        let (begin, begun) = channel();
        let access = access.clone();
        let thread = std::thread::spawn(move || {
            on_client!(access, client => {
                let mut response = client.send(get(&url)).await.unwrap();
                response.chunk().await.unwrap();
                begin.send(()).unwrap();
                told.recv().await;
                match end {
                    "read" => while response.chunk().await.unwrap().is_some() {},
                    "discarded" => drop(response.into_body().discard().await.unwrap()),
                    _ => drop(response),
                }
            });
        });
        // What a core tells of itself may be of the request before.
        begun.recv_timeout(LONG).unwrap();
        Self { tell, thread }
    }

    fn end(self) {
        block_on(self.tell.send(())).unwrap();
        self.thread.join().unwrap();
    }
}

/// A permit is held until the body was read to its end, or dropped.
#[test]
fn a_permit_is_held_until_the_body_is_over() {
    check(
        |builder| builder.max_in_flight(1),
        |access| {
            let origin = origin();
            for (url, end) in [
                ("/bytes/1000000", "dropped"),
                ("/bytes/1000000", "read"),
                ("/stream/200000/1000/1", "discarded"),
            ] {
                let held = Held::new(access, origin.url(url), end);
                let other = access.start(get(&origin.url("/")));
                waits_for_a_permit(access, 1);
                std::thread::sleep(millis(30));
                assert!(!other.is_finished(), "{end}");
                held.end();
                assert_eq!(other.outcome().unwrap().status(), 200, "{end}");
            }
            assert_eq!(origin.counters().most_in_progress, 1);
        },
    );
}

/// Requests that wait for a permit keep their host, whoever else comes and goes meanwhile.
#[test]
fn a_request_in_the_queue_keeps_its_host() {
    check(
        |builder| builder.max_in_flight(1),
        |access| {
            let [slow, right, wrong] = [(); 3].map(|()| Noting::new());
            let first = access.start(get(&slow.url("first")));
            access.wait_for(1, |core| core.holding.active.into());
            let kept = access.start(get(&right.url("kept")));
            waits_for_a_permit(access, 1);
            let gone = access.start(get(&right.url("gone")));
            waits_for_a_permit(access, 2);
            gone.cancel();
            waits_for_a_permit(access, 1);
            let other = access.start(get(&wrong.url("other")));
            waits_for_a_permit(access, 2);
            slow.open();
            for request in [first, kept, other] {
                assert_eq!(request.outcome().unwrap().status(), 200);
            }
            assert_eq!((right.seen(), wrong.seen()), (vec!["/kept".into()], vec!["/other".into()]));
        },
    );
}

/// However many wait for one host, another gets its share of the connections before all of them had theirs, be there fewer connections than hosts.
#[test]
fn a_hosts_queue_holds_up_no_other() {
    for max_conns in [1, 4] {
        check(
            |builder| builder.max_conns(max_conns).resolver(here(&HOSTS)),
            |access| {
                let origin = origin();
                let url = |host, path| format!("http://{host}:{}{path}", origin.address().port());
                let urls = std::iter::repeat_n(url(HOSTS[0], "/delay/30"), 300);
                let window = NonZeroUsize::new(300).unwrap();
                let queue = access.client.batch(urls).window(window).completed();
                let in_flight = |core: &CoreStats| core.holding.in_flight.into();
                access.wait_for(300, in_flight);
                for host in HOSTS[1..].iter().chain(&HOSTS[1..]) {
                    access.get(&url(host, "/")).unwrap();
                }
                assert!(access.total(in_flight) > 100, "it waited for the whole queue");
                drop(queue);
            },
        );
    }
}

/// A client's queue for one host, with all of a core's slots, holds up no other client.
#[test]
fn a_clients_queue_holds_up_no_other() {
    for driver in drivers() {
        let engine = narrow(driver, 2);
        let [busy, asker] = [(); 2].map(|()| engine.client().build().unwrap());
        let (crowded, quiet) = (origin(), friendly());
        let urls = std::iter::repeat_n(crowded.url("/delay/30"), 300);
        let queue = busy.batch(urls).window(NonZeroUsize::new(300).unwrap()).completed();
        let in_flight = || engine.stats()[0].holding.in_flight;
        assert!(wait_until(LONG, || in_flight() == 300));
        for _ in 0..6 {
            assert_eq!(block_on(asker.get(quiet.url()).fetch()).unwrap().status(), 200);
        }
        assert!(in_flight() > 100, "it waited for the whole queue");
        drop(queue);
    }
}
