//! What the simulated servers write down: connections and requests by their own count, each answer, and how often each request came. Sends nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use ringshot::driver::sim::Random;

/// Problems that are kept.
const PROBLEMS_MAX: usize = 8;

/// A host of a client's: no two clients share one, so that each server knows whose limits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostId {
    pub(super) client: u8,
    pub(super) host: u8,
}

impl HostId {
    /// Its `n`th address: IPv4 and IPv6 in turn.
    pub(super) fn address(self, n: u8) -> IpAddr {
        if n.is_multiple_of(2) {
            Ipv4Addr::new(192, 0, self.client, self.host * 8 + n).into()
        } else {
            let [client, host, n] = [self.client, self.host, n].map(u16::from);
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, client, host, n).into()
        }
    }

    pub(super) fn of(address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(ip) => {
                let [_, _, client, host] = ip.octets();
                Self { client, host: host / 8 }
            }
            IpAddr::V6(ip) => {
                let [.., client, host, _] = ip.segments();
                Self { client: client as u8, host: host as u8 }
            }
        }
    }

    pub(super) fn name(self) -> String {
        format!("h{}.c{}.test", self.host, self.client)
    }

    pub(super) fn of_name(name: &str) -> Self {
        let mut parts = name.split('.');
        let mut number = || parts.next().and_then(|part| part[1..].parse().ok()).expect("a name");
        let host = number();
        Self { client: number(), host }
    }
}

/// Whether a client may take an answer for a whole response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Soundness {
    Sound,
    /// Cut off, or no HTTP: must never look complete.
    Broken,
}

/// What a server answered, or tried to.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) request: u64,
    pub(super) status: u16,
    pub(super) body: Rc<[u8]>,
    pub(super) trailer: Option<u64>,
    pub(super) sound: Soundness,
}

/// A request that came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Receipt {
    /// Requests that the connection had seen before.
    pub(super) before: u64,
}

/// A number, and the most it has been.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Gauge {
    pub(super) now: u32,
    pub(super) most: u32,
}

impl Gauge {
    pub(super) fn add(&mut self) {
        self.now += 1;
        self.most = self.most.max(self.now);
    }
}

/// What one client has open.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Account {
    pub(super) connections: Gauge,
    /// Requests whose head came and whose answer has not begun.
    pub(super) unanswered: Gauge,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) answers: Vec<Answer>,
    pub(super) receipts: BTreeMap<u64, Vec<Receipt>>,
    pub(super) hosts: BTreeMap<HostId, Gauge>,
    pub(super) clients: [Account; 4],
    pub(super) problems: Vec<String>,
}

impl Book {
    pub(super) fn problem(&mut self, problem: impl Into<String>) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem.into());
        }
    }

    pub(super) fn account(&mut self, host: HostId) -> &mut Account {
        &mut self.clients[usize::from(host.client)]
    }

    pub(super) fn open(&mut self, host: HostId) {
        self.hosts.entry(host).or_default().add();
        self.account(host).connections.add();
    }

    pub(super) fn close(&mut self, host: HostId) {
        self.hosts.entry(host).or_default().now -= 1;
        self.account(host).connections.now -= 1;
    }
}

/// Bytes that belong to `key` alone, and differ in each of their neighbourhoods.
pub(super) fn pattern(key: u64, bytes: u64) -> Rc<[u8]> {
    let mut random = Random::new(key.wrapping_mul(0x9E37_79B9));
    let words = (0..bytes.div_ceil(8)).flat_map(|_| random.number().to_le_bytes());
    words.take(bytes as usize).collect()
}

/// The key of a request's body.
pub(super) fn upload_key(request: u64) -> u64 {
    request << 1 | 1
}

/// The key of an answer's body.
pub(super) fn answer_key(answer: usize) -> u64 {
    (answer as u64) << 1
}
