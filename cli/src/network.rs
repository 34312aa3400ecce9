//! How connections are made: which addresses, from where, for how many requests. Resolves names, connects to nothing.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};

use clap::Args;

use crate::exit::Failure;
use crate::units;

/// Most local addresses of `--bind`.
const SOURCES_MAX: u128 = 4096;

/// How connections are made.
#[derive(Debug, Args, Default)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkArgs {
    /// Local addresses to connect from, in turn: 127.0.0.2-127.0.0.9,10.0.0.1
    #[arg(long, value_name = "ADDRESSES", value_parser = sources)]
    pub(crate) bind: Option<Sources>,
    /// Connect to another host and port, as curl does; repeat it for more
    #[arg(long, value_name = "HOST:PORT:HOST:PORT", value_parser = connect_to)]
    pub(crate) connect_to: Vec<ConnectTo>,
    /// Close each connection after this many requests
    #[arg(long, value_name = "COUNT", value_parser = units::positive_count)]
    pub(crate) max_requests_per_connection: Option<u64>,
    /// Use IPv4 addresses only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub(crate) ipv4: bool,
    /// Use IPv6 addresses only
    #[arg(short = '6', long)]
    pub(crate) ipv6: bool,
    /// How long names took to be looked up so far.
    #[arg(skip)]
    looked_up: Cell<Duration>,
}

/// `--bind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sources(pub(crate) Vec<IpAddr>);

/// `--connect-to`: what is empty stands for any host or port, or leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConnectTo {
    host: String,
    port: Option<u16>,
    to_host: String,
    to_port: Option<u16>,
}

impl NetworkArgs {
    /// The local addresses, each of which this machine has; none to leave the choice to the system.
    pub(crate) fn sources(&self) -> Result<Vec<IpAddr>, Failure> {
        let sources = self.bind.as_ref().map(|sources| sources.0.clone()).unwrap_or_default();
        // The system would take them, and choose another address for each connection.
        if let Some(source) = sources.iter().find(|source| is_of_many(**source)) {
            return Err(Failure::unusable(format_args!(
                "--bind: {source} is a multicast or broadcast address, from which nothing can connect: name one of this machine's own"
            )));
        }
        let foreign = |source: &&IpAddr| {
            let bound = UdpSocket::bind((**source, 0));
            bound.is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
        };
        match sources.iter().find(foreign) {
            Some(source) => Err(Failure::unusable(format_args!(
                "--bind: {source} is no address of this machine: add it with `ip address add`, or leave it out"
            ))),
            None => Ok(sources),
        }
    }

    /// The addresses to connect to for a host and port of a URL. Never empty.
    ///
    /// # Errors
    /// A host without addresses, or without any of the family asked for.
    pub(crate) fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let (host, port) = self.instead_of(host, port);
        let unknown = |reason: String| {
            Failure::unusable(format_args!(
                "can't find host {host:?} ({reason}): check the name, or give its address"
            ))
        };
        let asked = Instant::now();
        let found = (host, port).to_socket_addrs().map_err(|error| unknown(error.to_string()))?;
        if host.parse::<IpAddr>().is_err() {
            self.looked_up.set(self.looked_up.get() + asked.elapsed());
        }
        let wanted = |address: &SocketAddr| match (self.ipv4, self.ipv6) {
            (true, _) => address.is_ipv4(),
            (_, true) => address.is_ipv6(),
            _ => true,
        };
        let addresses: Vec<_> = found.filter(wanted).collect();
        match addresses.is_empty() {
            true if self.ipv4 => {
                Err(unknown("it has no IPv4 address, and -4 asks for one".to_owned()))
            }
            true if self.ipv6 => {
                Err(unknown("it has no IPv6 address, and -6 asks for one".to_owned()))
            }
            true => Err(unknown("it has no address".to_owned())),
            false => Ok(addresses),
        }
    }

    /// How long [`NetworkArgs::addresses`] waited for names, all together.
    pub(crate) fn looked_up(&self) -> Duration {
        self.looked_up.get()
    }

    /// Where `--connect-to` leads instead; the first that fits counts.
    fn instead_of<'a>(&'a self, host: &'a str, port: u16) -> (&'a str, u16) {
        let fits = |rule: &&ConnectTo| {
            (rule.host.is_empty() || rule.host.eq_ignore_ascii_case(host))
                && rule.port.is_none_or(|wanted| wanted == port)
        };
        match self.connect_to.iter().find(fits) {
            None => (host, port),
            Some(rule) => {
                let to_host = if rule.to_host.is_empty() { host } else { &rule.to_host };
                (to_host, rule.to_port.unwrap_or(port))
            }
        }
    }
}

/// Whether an address is that of a group or of all in a network: only who asks for it may send to the latter (socket(7), SO_BROADCAST).
fn is_of_many(address: IpAddr) -> bool {
    let to_all = || {
        let sent = UdpSocket::bind((address, 0)).and_then(|socket| socket.connect((address, 9)));
        sent.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    address.is_multicast() || address.is_ipv4() && to_all()
}

/// Addresses and ranges of them, separated by commas.
fn sources(text: &str) -> Result<Sources, String> {
    let mut all = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let address = |text: &str| {
            text.trim().parse::<IpAddr>().map_err(|_| {
                format!("{text:?} is not an address: write 127.0.0.2 or 127.0.0.2-127.0.0.9")
            })
        };
        all.extend(range(address(first)?, address(last)?)?);
        if all.len() as u128 > SOURCES_MAX {
            return Err(format!("more than {SOURCES_MAX} addresses"));
        }
    }
    Ok(Sources(all))
}

fn range(first: IpAddr, last: IpAddr) -> Result<Vec<IpAddr>, String> {
    let (from, to) = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (first.to_bits().into(), last.to_bits().into()),
        (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits(), last.to_bits()),
        _ => return Err(format!("{first}-{last} goes from one family to the other")),
    };
    match u128::checked_sub(to, from) {
        None => Err(format!("{first}-{last} goes backwards")),
        Some(more) if more >= SOURCES_MAX => {
            Err(format!("{first}-{last} has more than {SOURCES_MAX} addresses"))
        }
        Some(_) => Ok((from..=to).map(|bits| like(first, bits)).collect()),
    }
}

/// The address of these bits in the family of `model`.
fn like(model: IpAddr, bits: u128) -> IpAddr {
    match model {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(bits).unwrap_or(u32::MAX).into()),
        IpAddr::V6(_) => IpAddr::V6(bits.into()),
    }
}

/// `HOST:PORT:HOST:PORT`, each of which may be empty; IPv6 addresses in brackets.
fn connect_to(text: &str) -> Result<ConnectTo, String> {
    let wrong = || {
        format!(
            "{text:?} is not of the form HOST:PORT:HOST:PORT, like example.com:80:127.0.0.1:8080"
        )
    };
    let (host, rest) = host_of(text).ok_or_else(wrong)?;
    let (port, rest) = rest.split_once(':').ok_or_else(wrong)?;
    let (to_host, to_port) = host_of(rest).ok_or_else(wrong)?;
    let number = |text: &str| match text {
        "" => Ok(None),
        text => text.parse::<u16>().ok().filter(|port| *port > 0).map(Some).ok_or_else(wrong),
    };
    let (port, to_port) = (number(port)?, number(to_port)?);
    Ok(ConnectTo { host: host.to_owned(), port, to_host: to_host.to_owned(), to_port })
}

/// A host and what stands behind the colon after it.
fn host_of(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(address) => {
            let (address, rest) = address.split_once(']')?;
            Some((address, rest.strip_prefix(':')?))
        }
        None => text.split_once(':'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_addresses_and_ranges() {
        let check = |text: &str, expected: &[&str]| {
            let expected: Vec<IpAddr> = expected.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(sources(text).unwrap().0, expected, "{text}");
        };
        check("127.0.0.2", &["127.0.0.2"]);
        check("127.0.0.255-127.0.1.1, ::1", &["127.0.0.255", "127.0.1.0", "127.0.1.1", "::1"]);
        check("::1-::2", &["::1", "::2"]);
        for (text, words) in [
            ("", "not an address"),
            ("127.0.0.9-127.0.0.2", "backwards"),
            ("127.0.0.1-::1", "family"),
            ("0.0.0.0-255.255.255.255", "more than 4096"),
            ("lo", "not an address"),
        ] {
            let error = sources(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn connections_are_led_elsewhere() {
        let args = |rules: &[&str]| NetworkArgs {
            connect_to: rules.iter().map(|rule| connect_to(rule).unwrap()).collect(),
            ..NetworkArgs::default()
        };
        let check = |rules: &[&str], expected: (&str, u16)| {
            assert_eq!(args(rules).instead_of("example.com", 80), expected, "{rules:?}");
        };
        check(&[], ("example.com", 80));
        check(&["EXAMPLE.com:80:127.0.0.1:8080"], ("127.0.0.1", 8080));
        check(&["other:80:1.2.3.4:1", "::[::1]:81"], ("::1", 81));
        check(&[":81:1.2.3.4:1"], ("example.com", 80));
        check(&["::localhost:"], ("localhost", 80));
        for text in ["", "a:80", "a:80:b", "a:x:b:1", "[::1:80:b:1", "a:0:b:1", "a:80:b:99999"] {
            assert!(connect_to(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_family_asked_for() {
        let four = NetworkArgs { ipv4: true, ..NetworkArgs::default() };
        assert_eq!(four.addresses("127.0.0.1", 80).unwrap().len(), 1);
        assert_eq!(four.looked_up(), Duration::ZERO);
        assert!(four.addresses("localhost", 80).is_ok() && four.looked_up() > Duration::ZERO);
        let error = four.addresses("::1", 80).unwrap_err().to_string();
        assert!(error.contains("no IPv4 address, and -4"), "{error}");
    }
}
