//! What was found for a name, in the order in which to try it (RFC 8305 4). Computes the order, allocates nothing for it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Addresses kept of one answer: far more than anybody tries before giving up.
pub const ADDRESSES_MAX: usize = 64;

/// Which addresses are used, and which are tried first. An address that is given literally is used in any case.
///
/// ```
/// use ringshot::clock::Instant;
/// use ringshot::resolve::{Families, Override, Resolver};
/// use std::net::{Ipv4Addr, Ipv6Addr};
///
/// let both = Override::to([std::net::IpAddr::from(Ipv6Addr::LOCALHOST), Ipv4Addr::LOCALHOST.into()]);
/// let resolver = Resolver::builder().families(Families::V4Only).with_override("a.test", both).build()?;
/// let addresses = resolver.resolve("a.test", 80, Instant::now()).wait()?;
/// assert!(addresses.iter().all(|address| address.is_ipv4()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Families {
    /// Both; the family of the resolver's first address comes first.
    #[default]
    Both,
    /// Only IPv4.
    V4Only,
    /// Only IPv6.
    V6Only,
    /// Both; IPv4 first.
    V4First,
    /// Both; IPv6 first.
    V6First,
}

impl Families {
    pub(super) fn allows(self, address: &SocketAddr) -> bool {
        match self {
            Self::V4Only => address.is_ipv4(),
            Self::V6Only => address.is_ipv6(),
            Self::Both | Self::V4First | Self::V6First => true,
        }
    }

    /// Whether the first address to try is to be an IPv6 address, when the resolver's first is `first`.
    fn leads_v6(self, first: &SocketAddr) -> bool {
        match self {
            Self::V4Only | Self::V4First => false,
            Self::V6Only | Self::V6First => true,
            Self::Both => first.is_ipv6(),
        }
    }
}

impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "IPv4 or IPv6",
            Self::V4Only => "IPv4 only",
            Self::V6Only => "IPv6 only",
            Self::V4First => "IPv4, then IPv6",
            Self::V6First => "IPv6, then IPv4",
        })
    }
}

/// Whether everybody gets the same first address.
///
/// ```
/// use ringshot::clock::Instant;
/// use ringshot::resolve::{Override, Resolver, RotateAddresses};
///
/// let servers = Override::to([[127, 0, 0, 1], [127, 0, 0, 2]]);
/// let builder = Resolver::builder().rotate_addresses(RotateAddresses::RoundRobin);
/// let resolver = builder.with_override("two.test", servers).build()?;
/// let first = || resolver.resolve("two.test", 80, Instant::now()).wait().map(|all| all.first());
/// assert_ne!(first()?, first()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RotateAddresses {
    /// Yes: the resolver's order holds until it gives another one.
    #[default]
    Never,
    /// No: each who asks begins one further within each family, which spreads connections over the servers of a name at the price of the order in RFC 6724.
    RoundRobin,
}

/// The addresses of one name. Shared by everybody who asks for it.
pub(super) struct Set {
    /// All of the family to begin with, then all of the other; each in the resolver's order. Port 0 stands for the one that is asked for.
    addresses: Box<[SocketAddr]>,
    /// How many are of the first family; not 0 unless there is no address.
    leading: usize,
    /// How many have asked, where addresses rotate.
    turn: AtomicUsize,
}

impl Set {
    /// Those of `found` that `families` allows, each once.
    pub(super) fn new(found: impl IntoIterator<Item = SocketAddr>, families: Families) -> Self {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in found.into_iter().filter(|address| families.allows(address)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
            if addresses.len() == ADDRESSES_MAX {
                break;
            }
        }
        let v6_leads = addresses.first().is_some_and(|first| families.leads_v6(first));
        // The sort is stable: within a family, the resolver's order stays.
        addresses.sort_by_key(|address| address.is_ipv6() != v6_leads);
        let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
        let leading = addresses.partition_point(|address| address.is_ipv6() == first_is_v6);
        Self { addresses: addresses.into(), leading, turn: AtomicUsize::new(0) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Goes on where `older`, of the same name, stands.
    pub(super) fn follow(&self, older: &Self) {
        self.turn.store(older.turn.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The `index`th to try: the families take turns, then what is left of the longer one.
    fn at(&self, index: usize, turn: usize) -> Option<SocketAddr> {
        let (first, second) = self.addresses.split_at(self.leading);
        let pairs = first.len().min(second.len());
        let longer = if first.len() > pairs { first } else { second };
        let (family, place) = match index.checked_sub(2 * pairs) {
            Some(past) => (longer, pairs + past),
            None if index.is_multiple_of(2) => (first, index / 2),
            None => (second, index / 2),
        };
        (place < family.len()).then(|| family[(place + turn % family.len()) % family.len()])
    }
}

/// Where a host can be reached: socket addresses in the order in which to try them, the families interleaved (RFC 8305 4). Never empty. Cheap to clone.
///
/// ```
/// use ringshot::clock::Instant;
/// use ringshot::resolve::Resolver;
///
/// let addresses = Resolver::new().resolve("127.0.0.1", 80, Instant::now()).wait()?;
/// assert_eq!(addresses.len(), 1);
/// assert!(addresses.iter().all(|address| address.ip().is_loopback()));
/// # Ok::<(), ringshot::resolve::ResolveError>(())
/// ```
#[derive(Clone)]
pub struct Addresses(Held);

#[derive(Clone)]
enum Held {
    One(SocketAddr),
    Many { set: Arc<Set>, port: u16, turn: usize },
}

impl Addresses {
    pub(super) fn one(address: SocketAddr) -> Self {
        Self(Held::One(address))
    }

    /// `set` is not empty.
    pub(super) fn many(set: Arc<Set>, port: u16, rotate: RotateAddresses) -> Self {
        debug_assert!(!set.is_empty());
        let turn = match rotate {
            RotateAddresses::Never => 0,
            RotateAddresses::RoundRobin => set.turn.fetch_add(1, Ordering::Relaxed),
        };
        Self(Held::Many { set, port, turn })
    }

    /// How many there are, 1 to [`ADDRESSES_MAX`].
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        match &self.0 {
            Held::One(_) => 1,
            Held::Many { set, .. } => set.addresses.len(),
        }
    }

    /// The one to try first.
    #[must_use]
    pub fn first(&self) -> SocketAddr {
        match &self.0 {
            Held::One(address) => *address,
            Held::Many { set, port, turn } => {
                let leading = &set.addresses[..set.leading];
                with_port(leading[turn % leading.len()], *port)
            }
        }
    }

    /// The one to try after `index` others.
    #[must_use]
    pub fn at(&self, index: usize) -> Option<SocketAddr> {
        match &self.0 {
            Held::One(address) => (index == 0).then_some(*address),
            Held::Many { set, port, turn } => {
                set.at(index, *turn).map(|address| with_port(address, *port))
            }
        }
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> + Clone + '_ {
        (0..self.len()).filter_map(|index| self.at(index))
    }
}

fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    if address.port() == 0 {
        address.set_port(port);
    }
    address
}

impl PartialEq for Addresses {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Addresses {}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl fmt::Display for Addresses {
    /// With commas between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.iter().enumerate() {
            write!(f, "{}{address}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Letters are IPv6 addresses, digits are IPv4 addresses; upper-case letters and spaces only group.
    fn sockets(text: &str) -> Vec<SocketAddr> {
        let socket = |letter: char| match letter.to_digit(10) {
            Some(digit) => SocketAddr::from(([127, 0, 0, digit as u8], 0)),
            None => SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, letter as u16], 0)),
        };
        text.chars().map(socket).collect()
    }

    fn letters(addresses: &Addresses) -> String {
        let letter = |address: SocketAddr| match address {
            SocketAddr::V4(v4) => char::from(b'0' + v4.ip().octets()[3]),
            SocketAddr::V6(v6) => char::from(v6.ip().octets()[15]),
        };
        assert!(addresses.iter().all(|address| address.port() == 80));
        assert_eq!(Some(addresses.first()), addresses.iter().next());
        assert_eq!(
            (addresses.iter().count(), addresses.at(addresses.len())),
            (addresses.len(), None)
        );
        addresses.iter().map(letter).collect()
    }

    fn check(found: &str, families: Families, expected: &str) {
        let set = Set::new(sockets(found), families);
        if set.is_empty() {
            assert_eq!(expected, "", "{found} {families}");
            return;
        }
        let addresses = Addresses::many(Arc::new(set), 80, RotateAddresses::Never);
        assert_eq!(letters(&addresses), expected, "{found} {families}");
    }

    #[test]
    fn families_take_turns() {
        use Families::{Both, V4First, V4Only, V6First, V6Only};
        check("1", Both, "1");
        check("a", Both, "a");
        check("ab12", Both, "a1b2");
        check("12ab", Both, "1a2b");
        check("a1234", Both, "a1234");
        check("1abcd", Both, "1abcd");
        check("abc1", Both, "a1bc");
        check("1a2b3", Both, "1a2b3");
        check("ab12", V4First, "1a2b");
        check("12ab", V6First, "a1b2");
        check("12", V6First, "12");
        check("ab", V4First, "ab");
        check("a1b2", V4Only, "12");
        check("a1b2", V6Only, "ab");
        check("12", V6Only, "");
        check("", Both, "");
        check("1a1a2", Both, "1a2");
    }

    #[test]
    fn an_answer_has_a_limit() {
        let many = (0..=u8::MAX).map(|byte| SocketAddr::from(([127, 0, 1, byte], 0)));
        assert_eq!(Set::new(many, Families::Both).addresses.len(), ADDRESSES_MAX);
    }

    #[test]
    fn rotation_goes_round_each_family() {
        let set = Arc::new(Set::new(sockets("abc12"), Families::Both));
        let turns = |rotate, count| -> Vec<String> {
            (0..count).map(|_| letters(&Addresses::many(Arc::clone(&set), 80, rotate))).collect()
        };
        assert_eq!(turns(RotateAddresses::Never, 2), ["a1b2c", "a1b2c"]);
        let expected = ["a1b2c", "b2c1a", "c1a2b", "a2b1c", "b1c2a", "c2a1b", "a1b2c"];
        assert_eq!(turns(RotateAddresses::RoundRobin, 7), expected);
        let newer = Arc::new(Set::new(sockets("abc12"), Families::Both));
        newer.follow(&set);
        let next = Addresses::many(newer, 80, RotateAddresses::RoundRobin);
        assert_eq!(letters(&next), "b2c1a");
    }

    #[test]
    fn addresses_read_as_a_list() {
        let set = Set::new(sockets("12"), Families::Both);
        let addresses = Addresses::many(Arc::new(set), 80, RotateAddresses::Never);
        assert_eq!(addresses.to_string(), "127.0.0.1:80, 127.0.0.2:80");
        assert_eq!(format!("{addresses:?}"), "[127.0.0.1:80, 127.0.0.2:80]");
        assert_eq!(addresses, addresses.clone());
        assert_ne!(addresses, Addresses::one(addresses.first()));
    }
}
