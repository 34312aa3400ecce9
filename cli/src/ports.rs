//! Local ports: every connection to one server address takes one of its own. Reads what the system allows, and changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use ringshot::load::{Plan, Target};

/// The first and the last local port that the system gives out, both included.
pub(crate) type Range = (u16, u16);

/// More connections to an address than there are local ports for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub(crate) server: SocketAddr,
    /// Addresses of its host, this one among them.
    pub(crate) addresses: usize,
    pub(crate) connections: u64,
    /// Over all local addresses.
    pub(crate) ports: u64,
}

impl Shortage {
    /// What `plan` wants too much of; `None` too where the system does not say what it has.
    pub(crate) fn of_plan(plan: &Plan) -> Option<Self> {
        Self::of(&plan.mix.targets, plan.connections.into(), &plan.sources, range()?)
    }

    /// Each target gets all the connections, and of its addresses the first that answers gets them.
    fn of(targets: &[Target], connections: u64, sources: &[IpAddr], range: Range) -> Option<Self> {
        let mut wanted: BTreeMap<SocketAddr, (u64, usize)> = BTreeMap::new();
        for target in targets {
            let Some(server) = target.peers.first() else { continue };
            let (all, addresses) = wanted.entry(*server).or_default();
            *all += connections;
            *addresses = target.peers.len().max(*addresses);
        }
        let shortages = wanted.into_iter().map(|(server, (connections, addresses))| {
            let ports = local_addresses(sources, server) * size(range);
            Self { server, addresses, connections, ports }
        });
        shortages.filter(|it| it.connections > it.ports).max_by_key(|it| it.connections - it.ports)
    }
}

/// Those that connections to `server` start from; one where the choice is the system's.
fn local_addresses(sources: &[IpAddr], server: SocketAddr) -> u64 {
    let of_family = sources.iter().filter(|source| source.is_ipv4() == server.is_ipv4());
    (of_family.collect::<BTreeSet<_>>().len() as u64).max(1)
}

/// The ports of a range.
fn size((first, last): Range) -> u64 {
    u64::from(last - first) + 1
}

/// What the system gives out, for IPv6 too (ip(7), `ip_local_port_range`); `None` if /proc does not show it.
pub(crate) fn range() -> Option<Range> {
    parse(&std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?)
}

/// Two ports, white space between.
fn parse(text: &str) -> Option<Range> {
    let mut words = text.split_whitespace().map(str::parse);
    match (words.next()?, words.next()?, words.next()) {
        (Ok(first), Ok(last), None) if first <= last => Some((first, last)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let check = |text, expected| assert_eq!(parse(text), expected, "{text}");
        check("32768\t60999\n", Some((32_768, 60_999)));
        check("60999 32768", None);
        check("32768", None);
        check("1 2 3", None);
        check("1 99999", None);
        check("", None);
    }

    #[test]
    fn ports_are_counted_by_server_address_and_local_address() {
        let target = |peers: &[&str]| Target {
            peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
        };
        // 100 ports.
        let check = |targets: &[Target], connections, sources: &[&str], expected| {
            let sources: Vec<IpAddr> =
                sources.iter().map(|source| source.parse().unwrap()).collect();
            let found = Shortage::of(targets, connections, &sources, (1_000, 1_099));
            let most = targets.iter().map(|it| it.peers.len()).max();
            assert!(found.as_ref().is_none_or(|it| Some(it.addresses) == most), "{found:?}");
            assert_eq!(found.map(|it| (it.connections, it.ports)), expected, "{targets:?}");
        };
        let one = [target(&["127.0.0.1:80", "[::1]:80"])];
        check(&one, 100, &[], None);
        check(&one, 101, &[], Some((101, 100)));
        check(&one, 200, &["127.0.0.2", "127.0.0.3"], None);
        check(&one, 201, &["127.0.0.2", "127.0.0.3"], Some((201, 200)));
        // An address given twice, or of the other family, adds none.
        check(&one, 101, &["127.0.0.2", "127.0.0.2", "::1"], Some((101, 100)));
        let two = [target(&["127.0.0.1:80"]), target(&["127.0.0.1:81"])];
        check(&two, 100, &[], None);
        let same = [target(&["127.0.0.1:80"]), target(&["127.0.0.1:80"])];
        check(&same, 51, &[], Some((102, 100)));
    }
}
