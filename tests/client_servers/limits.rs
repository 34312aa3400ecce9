//! Limits, as the server counts: connections and requests at a time, under load from all cores.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use ringshot_tests::peer::Peer;
use ringshot_tests::servers::{Nginx, Settings};

use super::record::{connections, record};
use super::rig::{Case, Rig, each, each_at_once, get};

/// The most that something was at a time.
#[derive(Debug, Default)]
struct Level {
    now: AtomicU32,
    most: AtomicU32,
    total: AtomicU32,
}

impl Level {
    fn rise(&self) {
        self.total.fetch_add(1, Ordering::SeqCst);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn fall(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> u32 {
        self.most.load(Ordering::SeqCst)
    }

    fn total(&self) -> u32 {
        self.total.load(Ordering::SeqCst)
    }
}

/// Connections to a port of this machine that were open at one moment, as the kernel counts its server's ends: those that were in each of two looks, since none
/// opens twice. The server itself may take in a new connection before it hears of the end of the last.
fn open_at_once(port: u16) -> u32 {
    let first = established(port);
    established(port).intersection(&first).count() as u32
}

/// The clients' addresses of the established connections to a port.
fn established(port: u16) -> BTreeSet<String> {
    const ESTABLISHED: &str = "01";
    let rows = std::fs::read_to_string("/proc/self/net/tcp").expect("/proc is mounted");
    let own = format!(":{port:04X}");
    let clients = rows.lines().skip(1).filter_map(|row| {
        let mut fields = row.split_whitespace().skip(1);
        let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
        (local.ends_with(&own) && state == ESTABLISHED).then(|| remote.to_owned())
    });
    clients.collect()
}

/// The most connections that were open at once until `work` is done, the last look just after it: its idle connections are seen even if it took no longer than a look.
fn most_open(nginx: &Nginx, work: impl FnOnce()) -> u32 {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let mut most = 0;
            loop {
                let last = over.load(Ordering::SeqCst);
                most = most.max(open_at_once(nginx.address().port()));
                if last {
                    return most;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        over.store(true, Ordering::SeqCst);
        done.unwrap();
        counting.join().unwrap()
    })
}

#[test]
fn connections_to_a_host() {
    for keepalive_requests in [1_000_000, 10] {
        each(|case| {
            let settings = Settings { keepalive_requests, ..Settings::default() };
            let Some(nginx) = Nginx::start_with(settings) else { return };
            check_connections(case, &nginx, keepalive_requests);
        });
    }
}

fn check_connections(case: Case, nginx: &Nginx, keepalive_requests: u32) {
    let limit = 5;
    let rig = Rig::new(case, |client| client.max_conns_per_host(limit));
    let requests = 400;
    let most = most_open(nginx, || {
        let url = nginx.url(&format!("/medium?id={case}"));
        let outcomes = rig.fetch_all((0..requests).map(|_| get(&url)).collect());
        outcomes.into_iter().for_each(|outcome| assert_eq!(outcome.unwrap().status(), 200));
    });
    // Where each carries ten requests, few live as long as a look takes.
    let least = u32::from(keepalive_requests as usize > requests);
    assert!((least..=limit).contains(&most), "{case}: {most} connections");
    let record = record(nginx, &case.to_string(), requests);
    assert_eq!(record.len(), requests, "{case}");
    // Where the server ends none, a few are made anew when one core gives way to another.
    let (connections, ends) = (connections(&record), requests / keepalive_requests as usize);
    assert!((ends.max(1)..=ends + 60).contains(&connections), "{case}: {connections}");
    let observed = rig.client.limits_observed();
    assert!(observed.conns_per_host <= limit && observed.conns <= limit, "{observed:?}");
    rig.check_at_rest();
}

#[test]
fn connections_of_a_client() {
    let (limit, hosts) = (6, 4);
    each_at_once(|case| {
        let level = Arc::new(Level::default());
        let peers: Vec<_> = (0..hosts).map(|_| counting_peer(&level)).collect();
        let rig = Rig::new(case, |client| client.max_conns(limit).max_conns_per_host(3));
        let urls: Vec<_> = peers.iter().map(Peer::url).collect();
        let requests = 400;
        let outcomes =
            rig.fetch_all(urls.iter().cycle().take(requests).map(|url| get(url)).collect());
        outcomes.into_iter().for_each(|outcome| assert_eq!(outcome.unwrap().bytes().len(), 100));
        assert!(level.most() <= limit, "{case}: {} at a time", level.most());
        assert_eq!(level.total(), requests as u32);
        let observed = rig.client.limits_observed();
        assert!(observed.conns <= limit && observed.conns_per_host <= 3, "{observed:?}");
        rig.check_at_rest();
    });
}

/// Counts the requests that it works on.
fn counting_peer(level: &Arc<Level>) -> Peer {
    let level = Arc::clone(level);
    Peer::start(move |mut conversation| {
        while conversation.request().is_some() {
            level.rise();
            std::thread::sleep(Duration::from_millis(1));
            let begun = conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
                && conversation.send([b'x'; 50]);
            // Whoever reads to the end lets the next one in: this one is over before.
            level.fall();
            if !begun || !conversation.send([b'x'; 50]) {
                return;
            }
        }
    })
}

#[test]
fn requests_in_flight() {
    for limit in [1, 7] {
        each_at_once(|case| {
            let level = Arc::new(Level::default());
            let peer = counting_peer(&level);
            let rig = Rig::new(case, |client| client.max_in_flight(limit).max_conns_per_host(30));
            let requests = 250;
            let outcomes = rig.fetch_all((0..requests).map(|_| get(&peer.url())).collect());
            outcomes
                .into_iter()
                .for_each(|outcome| assert_eq!(outcome.unwrap().bytes().len(), 100));
            assert_eq!(level.total(), requests);
            assert_eq!(level.most(), limit, "{case}: as many as allowed, and no more");
            assert!(rig.client.limits_observed().in_flight.unwrap() <= limit);
            rig.check_at_rest();
        });
    }
}

/// Accepts slowly, from a backlog of one (listen(2) may be repeated), and counts connections.
struct SlowAcceptor {
    address: SocketAddr,
    level: Arc<Level>,
    over: Arc<AtomicBool>,
}

impl SlowAcceptor {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // SAFETY: listen(2) takes a descriptor, which `listener` owns, and a number.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 1) }, 0);
        let address = listener.local_addr().unwrap();
        let (level, over) = (Arc::<Level>::default(), Arc::<AtomicBool>::default());
        let (counted, ended) = (Arc::clone(&level), Arc::clone(&over));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                counted.rise();
                let level = Arc::clone(&counted);
                std::thread::spawn(move || {
                    answer_slowly(stream);
                    level.fall();
                });
                std::thread::sleep(Duration::from_millis(15));
            }
        });
        Self { address, level, over }
    }
}

impl Drop for SlowAcceptor {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(5));
    }
}

fn answer_slowly(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    while stream.read(&mut bytes).is_ok_and(|count| count > 0) {
        std::thread::sleep(Duration::from_millis(2));
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

#[test]
fn a_backlog_of_one_and_slow_accepts() {
    let limit = 10;
    each_at_once(|case| {
        let server = SlowAcceptor::start();
        let rig = Rig::new(case, |client| client.max_conns_per_host(limit));
        let url = format!("http://{}/", server.address);
        for outcome in rig.fetch_all((0..200).map(|_| get(&url)).collect()) {
            outcome.unwrap_or_else(|error| panic!("{case}: {error}"));
        }
        assert!(server.level.most() <= limit, "{case}: {:?}", server.level);
        assert!(rig.client.limits_observed().conns_per_host <= limit);
    });
}
