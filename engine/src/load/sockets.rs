//! What the kernel says of a run's connections, now and then, from a thread that sends nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::histogram::Coarse;
use super::plan::Plan;
use super::report::SocketsReport;
use crate::clock::Instant;
use crate::sys::diag::{self, End, Family, Info, Query, Socket};

/// Connections looked at in one sample, and followed from the first to the last.
const SOCKETS_MAX: usize = 256;
/// The least time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// From the second look on they take at most one part of so many of a core: the kernel walks through its whole table of connections for each, which takes it a millisecond on a machine of much memory.
const LOOK_SHARE: u32 = 1000;
/// The most time between two looks.
const LOOK_MAX: Duration = Duration::from_secs(10);
/// How long one question may take; an answer that is longer is cut there.
const PATIENCE: Duration = Duration::from_millis(20);
/// Different servers that are asked for.
const SERVERS_MAX: usize = 4;

/// Samples of a run's connections. Bounded, however long it runs.
#[derive(Debug)]
pub(super) struct Sockets {
    servers: Vec<SocketAddr>,
    next: Instant,
    looks: u64,
    /// The first and the last that was seen of a connection, by its cookie.
    seen: BTreeMap<u64, (Info, Info)>,
    ours: Queues,
    /// The other ends, if the server is on this machine.
    theirs: Queues,
    round_trips: Coarse,
}

/// Sums over all looks.
#[derive(Debug, Clone, Copy, Default)]
struct Queues {
    sockets: u64,
    receive_bytes: u64,
    send_bytes: u64,
}

impl Queues {
    fn add(&mut self, socket: &Socket) {
        self.sockets += 1;
        self.receive_bytes += u64::from(socket.receive_queue_bytes);
        self.send_bytes += u64::from(socket.send_queue_bytes);
    }

    fn mean(&self, bytes: u64) -> f64 {
        bytes as f64 / self.sockets.max(1) as f64
    }
}

impl Sockets {
    /// For the servers of a plan.
    pub(super) fn of(plan: &Plan) -> Self {
        let peers = plan.mix.targets.iter().flat_map(|target| &target.peers);
        Self {
            servers: peers.copied().take(SERVERS_MAX).collect(),
            next: Instant::default(),
            looks: 0,
            seen: BTreeMap::new(),
            ours: Queues::default(),
            theirs: Queues::default(),
            round_trips: Coarse::default(),
        }
    }

    /// Looks, if the last look is long enough ago. After a refusal it never asks again.
    pub(super) fn sample(&mut self, now: Instant) {
        if now < self.next {
            return;
        }
        let looked = self.look();
        self.looks += 1;
        let taken = Instant::now() - now;
        self.next = match looked {
            Ok(()) => now + pause(self.looks, taken),
            Err(_) => Instant::NEVER,
        };
    }

    /// When it is to be asked next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    fn look(&mut self) -> std::io::Result<()> {
        for server in self.servers.clone() {
            for socket in ask(server, End::Peer)? {
                if socket.peer == server {
                    self.see(&socket);
                }
            }
            // Only a server on this machine has its sockets here: what was not twice is not later.
            if self.looks > 1 && self.ours.sockets > 0 && self.theirs.sockets == 0 {
                continue;
            }
            for socket in ask(server, End::Local)? {
                if socket.local == server {
                    self.theirs.add(&socket);
                }
            }
        }
        Ok(())
    }

    fn see(&mut self, socket: &Socket) {
        self.ours.add(socket);
        let Some(info) = socket.info else { return };
        self.round_trips.record(u64::from(info.rtt_us) * 1_000);
        if let Some((_, last)) = self.seen.get_mut(&socket.cookie) {
            *last = info;
        } else if self.seen.len() < SOCKETS_MAX {
            // What was not there at the first look has been made since: all that it did counts.
            let first = if self.looks == 0 { info } else { Info::default() };
            self.seen.insert(socket.cookie, (first, info));
        }
    }

    /// Of each connection that has one.
    fn least_round_trips(&self) -> Coarse {
        let mut least = Coarse::default();
        let last = self.seen.values().map(|(_, last)| u64::from(last.rtt_min_us));
        last.filter(|micros| *micros > 0).for_each(|micros| least.record(micros * 1_000));
        least
    }

    /// What all looks showed; `None` if they showed no connection.
    pub(super) fn report(&self) -> Option<SocketsReport> {
        let Self { ours, theirs, .. } = self;
        let sum = |of: fn(&Info) -> u32| {
            let grown = |(first, last): &(Info, Info)| of(last).wrapping_sub(of(first));
            self.seen.values().map(grown).map(u64::from).sum()
        };
        (ours.sockets > 0).then(|| SocketsReport {
            samples: ours.sockets,
            segments_sent: sum(|info| info.segments_sent),
            segments_retransmitted: sum(|info| info.segments_retransmitted),
            segments_received: sum(|info| info.segments_received),
            segments_out_of_order: sum(|info| info.segments_out_of_order),
            rtt_us: self.round_trips.quantile_us(0.5),
            min_rtt_us: self.least_round_trips().quantile_us(0.5),
            receive_queue_bytes: ours.mean(ours.receive_bytes),
            send_queue_bytes: ours.mean(ours.send_bytes),
            server_queue_bytes: (theirs.sockets > 0).then(|| theirs.mean(theirs.receive_bytes)),
        })
    }
}

/// From one look to the next, after so many, the last of which took so long.
fn pause(looks: u64, taken: Duration) -> Duration {
    if looks < 2 { LOOK_EVERY } else { (taken * LOOK_SHARE).clamp(LOOK_EVERY, LOOK_MAX) }
}

/// A server's end may be a socket of the other family, which listens for both.
fn ask(server: SocketAddr, end: End) -> std::io::Result<Vec<Socket>> {
    let ask = |family| {
        diag::established(Query { family, end, port: server.port() }, SOCKETS_MAX, PATIENCE)
    };
    match (server, end) {
        (SocketAddr::V4(_), End::Peer) => ask(Family::V4),
        (SocketAddr::V6(_), _) => ask(Family::V6),
        (SocketAddr::V4(_), End::Local) => match ask(Family::V4)? {
            none if none.is_empty() => ask(Family::V6),
            found => Ok(found),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets() -> Sockets {
        let server = SocketAddr::from(([127, 0, 0, 1], 1));
        Sockets {
            servers: vec![server],
            next: Instant::default(),
            looks: 0,
            seen: BTreeMap::new(),
            ours: Queues::default(),
            theirs: Queues::default(),
            round_trips: Coarse::default(),
        }
    }

    fn socket(cookie: u64, sent: u32, again: u32) -> Socket {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Socket {
            cookie,
            local: address,
            peer: address,
            receive_queue_bytes: 10,
            send_queue_bytes: 4,
            info: Some(Info {
                rtt_us: 100,
                rtt_min_us: 50,
                segments_sent: sent,
                segments_retransmitted: again,
                segments_received: 2 * sent,
                segments_out_of_order: 3 * again,
            }),
        }
    }

    #[test]
    fn only_what_came_between_the_first_look_and_the_last_counts() {
        let mut sockets = sockets();
        assert_eq!(sockets.report(), None);
        for (cookie, sent, again) in [(1, 1_000, 50), (2, 5, 0), (1, 1_100, 52), (3, 9, 9)] {
            sockets.see(&socket(cookie, sent, again));
        }
        let report = sockets.report().unwrap();
        assert_eq!((report.segments_sent, report.segments_retransmitted), (100, 2));
        assert_eq!((report.samples, report.receive_queue_bytes), (4, 10.0));
        assert_eq!((report.send_queue_bytes, report.server_queue_bytes), (4.0, None));
        assert!((95.0..105.0).contains(&report.rtt_us), "{report:?}");
        assert!((47.0..53.0).contains(&report.min_rtt_us), "{report:?}");
        assert_eq!((report.segments_received, report.segments_out_of_order), (200, 6));
        // Connections that a later look finds were made since.
        sockets.looks = 1;
        sockets.see(&socket(4, 30, 1));
        let report = sockets.report().unwrap();
        assert_eq!((report.segments_sent, report.segments_retransmitted), (130, 3));
    }

    #[test]
    fn it_follows_only_so_many_connections_and_waits_between_looks() {
        let mut sockets = sockets();
        (0..1_000).for_each(|cookie| sockets.see(&socket(cookie, 1, 0)));
        assert_eq!(sockets.seen.len(), SOCKETS_MAX);
        let now = Instant::now();
        sockets.sample(now);
        assert!(sockets.next >= now + LOOK_EVERY);
        let next = sockets.next;
        sockets.sample(now + LOOK_EVERY / 2);
        assert_eq!(sockets.next, next);
    }

    #[test]
    fn looks_take_a_thousandth_of_a_core() {
        let [brief, long, endless] = [1, 3_000, 1_000_000].map(Duration::from_micros);
        assert_eq!([brief, long, endless].map(|taken| pause(1, taken)), [LOOK_EVERY; 3]);
        assert_eq!(pause(2, brief), LOOK_EVERY);
        assert_eq!(pause(2, long), Duration::from_secs(3));
        assert_eq!(pause(2, endless), LOOK_MAX);
    }
}
