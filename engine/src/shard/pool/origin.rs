//! The key of a pool: whom a connection leads to. Compared often, made seldom.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use crate::proto::url::{Scheme, Url};

/// A scheme, a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) scheme: Scheme,
    /// In lower case, without brackets.
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
    /// What `Host` says.
    pub(crate) authority: Box<str>,
    /// The address, if the host is one.
    pub(crate) address: Option<SocketAddr>,
    /// Of the fields above: random in each process, so that nobody can make names collide.
    hash: u64,
}

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Origin {
    /// The origin of a URL.
    pub(crate) fn of(url: &Url) -> Self {
        let address = url.host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, url.port));
        Self {
            scheme: url.scheme,
            host: url.host.as_str().into(),
            port: url.port,
            authority: url.authority.as_str().into(),
            address,
            hash: HASHER.hash_one((&url.host, url.port)),
        }
    }

    /// A number that spreads origins evenly.
    pub(crate) fn number(&self) -> u64 {
        self.hash
    }
}

impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Takes a number as its hash: that of an [`Origin`], or one that was counted.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Numbered(u64);

impl Hasher for Numbered {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Never used: what is looked up writes one number.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_differ_by_host_and_port_and_not_by_path() {
        let origin = |text: &str| Origin::of(&Url::parse(text).unwrap());
        assert_eq!(origin("http://a/x"), origin("http://A:80/y"));
        assert_ne!(origin("http://a/"), origin("http://a:81/"));
        assert_ne!(origin("http://a/"), origin("http://b/"));
        assert_eq!(origin("http://127.0.0.1:81/").address, "127.0.0.1:81".parse().ok());
        assert_eq!(origin("http://[::1]/").address, "[::1]:80".parse().ok());
        assert_eq!(origin("http://h/").address, None);
        assert_eq!(origin("http://h/").number(), origin("http://h/").number());
    }
}
