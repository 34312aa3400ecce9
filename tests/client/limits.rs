//! Limits, as a server counts them, and who is next when they are reached: http-client.md A5, client-api.md E1 and E3.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use ringshot::client::blocking::block_on;
use ringshot::client::{ClientBuilder, Kind, Phase};
use ringshot::queue::{Sender, bounded};
use ringshot::resolve::{Override, Resolver};
use ringshot_tests::peer::Peer;
use ringshot_tests::watch::wait_until;

use crate::access::{Access, LONG, OK, Started, check, check_on, friendly, get, millis, origin};
use crate::names::full_listener;

/// A resolver for which every name of `names` is this machine.
pub(crate) fn here(names: &[&str]) -> Resolver {
    let local = || Override::to([Ipv4Addr::LOCALHOST]);
    let all = names.iter().fold(Resolver::builder(), |all, name| all.with_override(name, local()));
    all.build().unwrap()
}

const HOSTS: [&str; 4] = ["a.test", "b.test", "c.test", "d.test"];

/// A server that counts, at each accept, the connections that the kernel says are open at both ends: no more are counted than were open at that moment,
/// however late the server hears of an end.
struct Census {
    address: SocketAddr,
    most: Arc<AtomicUsize>,
}

impl Census {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, most) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let seen = Arc::clone(&most);
        std::thread::spawn(move || {
            let mut streams: Vec<Arc<TcpStream>> = Vec::new();
            for stream in listener.incoming().flatten() {
                let stream = Arc::new(stream);
                streams.push(Arc::clone(&stream));
                streams.retain(|stream| is_established(stream));
                seen.fetch_max(streams.len(), Ordering::SeqCst);
                std::thread::spawn(move || answer_slowly(&stream));
            }
        });
        Self { address, most }
    }
}

fn answer_slowly(mut stream: &TcpStream) {
    let mut piece = [0; 4096];
    while stream.read(&mut piece).is_ok_and(|bytes| bytes > 0) {
        std::thread::sleep(millis(5));
        if stream.write_all(OK.as_bytes()).is_err() {
            return;
        }
    }
}

fn is_established(stream: &TcpStream) -> bool {
    const TCP_ESTABLISHED: u8 = 1;
    let mut info = [0_u8; 256];
    let mut bytes = info.len() as libc::socklen_t;
    let into = info.as_mut_ptr().cast();
    // SAFETY: tcp(7), TCP_INFO: writes at most `bytes` bytes to `info`, which outlives the call.
    let read = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            into,
            &raw mut bytes,
        )
    };
    // The first byte is the state.
    read == 0 && info[0] == TCP_ESTABLISHED
}

/// 48 requests at once, spread over the hosts and cores; the most connections that the server saw.
fn most_open(access: &Access, hosts: &[&str]) -> u64 {
    let census = Census::start();
    let port = census.address.port();
    let url = |n: usize| format!("http://{}:{port}/", hosts[n % hosts.len()]);
    let cores = access.engine.cores();
    let start = |n: usize| access.start_on((n / 4) % cores, get(&url(n)));
    let started: Vec<_> = (0..48).map(start).collect();
    for request in started {
        assert_eq!(request.outcome().unwrap().status(), 200);
    }
    census.most.load(Ordering::SeqCst) as u64
}

fn check_hosts_limit(cores: usize, limit: u32) {
    check_on(
        cores,
        |builder| builder.max_conns_per_host(limit).resolver(here(&HOSTS)),
        |access| {
            let most = most_open(access, &HOSTS[..1]);
            assert!((1..=u64::from(limit)).contains(&most), "{most} of {limit}");
            let observed = access.client.limits_observed();
            assert!(observed.conns_per_host <= limit, "{observed:?}");
            assert_eq!(most, u64::from(observed.conns_per_host), "{observed:?}");
        },
    );
}

#[test]
fn connections_to_a_host_are_limited_for_good() {
    for limit in [1, 2, 5] {
        check_hosts_limit(1, limit);
        check_hosts_limit(2, limit);
    }
}

fn check_total_limit(cores: usize, limit: u32) {
    check_on(
        cores,
        |builder| builder.max_conns(limit).resolver(here(&HOSTS)),
        |access| {
            let most = most_open(access, &HOSTS);
            assert!((1..=u64::from(limit)).contains(&most), "{most} of {limit}");
            assert!(access.client.limits_observed().conns <= limit);
        },
    );
}

#[test]
fn connections_are_limited_for_good() {
    for limit in [1, 3] {
        check_total_limit(1, limit);
        check_total_limit(2, limit);
    }
}

/// At the limit an idle connection to one host gives way to a new one to another, and never makes it one too many.
#[test]
fn an_idle_connection_gives_way_to_another_host() {
    check(
        |builder| builder.max_conns(2).resolver(here(&HOSTS)),
        |access| {
            let census = Census::start();
            for n in 0..12 {
                let url = format!("http://{}:{}/", HOSTS[n % 3], census.address.port());
                assert!(!access.get(&url).unwrap().connection().reused);
            }
            assert_eq!(census.most.load(Ordering::SeqCst), 2);
        },
    );
}

#[test]
fn dials_in_progress_are_limited() {
    check(
        |builder| builder.max_connecting_per_host(2),
        |access| {
            let listener = full_listener();
            let url = format!("http://{}/", listener.address);
            let started: Vec<_> = (0..5).map(|_| access.start(get(&url))).collect();
            access.wait_for(5, |core| core.holding.waiting.into());
            access.wait_for(2, |core| core.holding.connecting.into());
            started.into_iter().for_each(Started::cancel);
            access.wait_empty();
        },
    );
}

/// A host that takes no connection delays nobody but those who want it.
#[test]
fn a_host_that_hangs_delays_no_other() {
    let builder = |builder: ClientBuilder| builder.max_connecting_per_host(2).max_conns(4);
    check(builder, |access| {
        let (listener, peer) = (full_listener(), friendly());
        let url = format!("http://{}/", listener.address);
        let stuck: Vec<_> = (0..6).map(|_| access.start(get(&url))).collect();
        access.wait_for(6, |core| core.holding.waiting.into());
        let begun = std::time::Instant::now();
        for _ in 0..20 {
            assert_eq!(access.get(&peer.url()).unwrap().status(), 200);
        }
        assert!(begun.elapsed() < millis(800), "{:?}", begun.elapsed());
        stuck.into_iter().for_each(Started::cancel);
    });
}

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
            waits_for_a_connection(access, 3);
            let error = access.get(&peer.url("more")).unwrap_err();
            assert!(matches!(error.kind(), Kind::PoolFull { max_waiters: 3 }), "{error}");
            assert_eq!((error.phase(), error.elapsed() < millis(500)), (Phase::Acquire, true));
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

fn check_in_flight(cores: usize, limit: u32) {
    check_on(
        cores,
        |builder| builder.max_in_flight(limit),
        |access| {
            let origin = origin();
            let start =
                |n: usize| access.start_on(n % access.engine.cores(), get(&origin.url("/delay/4")));
            let started: Vec<_> = (0..40).map(start).collect();
            for request in started {
                assert_eq!(request.outcome().unwrap().status(), 200);
            }
            let most = origin.counters().most_in_progress;
            assert!(most <= u64::from(limit), "{most} of {limit}");
            assert!(access.client.limits_observed().in_flight.unwrap() <= limit);
        },
    );
}

#[test]
fn requests_in_flight_are_limited() {
    for limit in [1, 3, 16] {
        check_in_flight(1, limit);
        check_in_flight(2, limit);
    }
}

/// A response whose body is held, half read.
struct Held {
    tell: Sender<()>,
    thread: JoinHandle<()>,
}

impl Held {
    fn new(access: &Access, url: String, end: &'static str) -> Self {
        let (tell, told) = bounded::<()>(NonZeroUsize::MIN);
        let access = access.clone();
        let thread = std::thread::spawn(move || {
            on_client!(access, client => {
                let mut response = client.send(get(&url)).await.unwrap();
                response.chunk().await.unwrap();
                told.recv().await;
                match end {
                    "read" => while response.chunk().await.unwrap().is_some() {},
                    "discarded" => drop(response.into_body().discard().await.unwrap()),
                    _ => drop(response),
                }
            });
        });
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
                access.wait_for(1, |core| core.holding.active.into());
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
