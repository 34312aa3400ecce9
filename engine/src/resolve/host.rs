//! A host as it was written: an address, this machine, or a name. Asks nobody but the table of interfaces.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::ResolveError;
use crate::sys::names;

/// Bytes of the longest name: 253 (RFC 1035 3.1, less the length bytes), and a dot at the end.
pub const HOST_BYTES_MAX: usize = 254;

/// What a host is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Host<'a> {
    /// An address, which needs no lookup.
    Literal(SocketAddr),
    /// This machine (RFC 6761 6.3).
    Local,
    /// A name, in lower case.
    Name(Cow<'a, str>),
}

impl<'a> Host<'a> {
    /// Sorts `text`, which may have the brackets of a URL around an IPv6 address.
    pub(super) fn of(text: &'a str, port: u16) -> Result<Self, ResolveError> {
        if let Some(address) = literal(text, port)? {
            return Ok(Self::Literal(address));
        }
        check(text)?;
        let name = lower_case(text);
        Ok(if is_local(&name) { Self::Local } else { Self::Name(name) })
    }
}

/// `text` as names are compared (RFC 4343).
pub(super) fn lower_case(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

fn literal(text: &str, port: u16) -> Result<Option<SocketAddr>, ResolveError> {
    if let Ok(v4) = text.parse::<Ipv4Addr>() {
        return Ok(Some((v4, port).into()));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let (address, zone) = bare.split_once('%').map_or((bare, None), |(a, zone)| (a, Some(zone)));
    let Ok(address) = address.parse::<Ipv6Addr>() else { return Ok(None) };
    let scope = zone.map_or(Ok(0), |zone| scope(text, zone))?;
    Ok(Some(SocketAddrV6::new(address, port, 0, scope).into()))
}

/// The number of a zone, which is one or the name of an interface (RFC 4007 11.2).
fn scope(text: &str, zone: &str) -> Result<u32, ResolveError> {
    let number = zone.parse().ok().filter(|_| zone.bytes().all(|byte| byte.is_ascii_digit()));
    number
        .or_else(|| names::interface_index(zone))
        .ok_or_else(|| invalid(text, &format!("this machine has no interface {zone:?}")))
}

fn check(text: &str) -> Result<(), ResolveError> {
    let reason = match text.len() {
        0 => "it is empty",
        bytes if bytes > HOST_BYTES_MAX => "it is longer than any name may be",
        _ if text.contains('\0') => "it has a NUL in it",
        _ => return Ok(()),
    };
    Err(invalid(text, reason))
}

fn invalid(text: &str, reason: &str) -> ResolveError {
    let bytes = text.len().min(HOST_BYTES_MAX);
    let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    ResolveError::Invalid { name: text[..end].into(), reason: reason.into() }
}

/// `localhost` and all below it, in lower case.
fn is_local(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.strip_suffix("localhost").is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

/// The addresses of this machine, in the order of RFC 6724, whose table ranks `::1` first.
pub(super) fn local_addresses() -> [SocketAddr; 2] {
    [(Ipv6Addr::LOCALHOST, 0).into(), (Ipv4Addr::LOCALHOST, 0).into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_addresses() {
        let check = |text: &str, expected: &str| {
            let expected = Host::Literal(expected.parse().unwrap());
            assert_eq!(Host::of(text, 80), Ok(expected), "{text}");
        };
        check("127.0.0.1", "127.0.0.1:80");
        check("::1", "[::1]:80");
        check("[::1]", "[::1]:80");
        check("FE80::1%lo", "[fe80::1%1]:80");
        check("[fe80::1%7]", "[fe80::1%7]:80");
        check("::ffff:127.0.0.1", "[::ffff:127.0.0.1]:80");
    }

    #[test]
    fn names_are_in_lower_case() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Host::of(text, 80), Ok(Host::Name(expected.into())), "{text}");
        };
        check("example.test", "example.test");
        check("EXAMPLE.Test.", "example.test.");
        check("localhost.example.test", "localhost.example.test");
        check("notlocalhost", "notlocalhost");
        // getaddrinfo(3) knows what to do with these.
        check("127.1", "127.1");
        check("1.2.3.4.5", "1.2.3.4.5");
        check(&"a".repeat(254), &"a".repeat(254));
    }

    #[test]
    fn localhost_is_this_machine() {
        for text in ["localhost", "LocalHost.", "a.localhost", "a.b.localhost."] {
            assert_eq!(Host::of(text, 80), Ok(Host::Local), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_a_host_says_why() {
        let check = |text: &str, words: &str| {
            let error = Host::of(text, 80).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert!(error.name().len() <= HOST_BYTES_MAX);
        };
        check("", "it is empty");
        check("a\0b", "NUL");
        check(&"a".repeat(255), "longer than any name");
        check(&"ä".repeat(200), "longer than any name");
        check("fe80::1%no-such", "no interface \"no-such\"");
        check("fe80::1%", "no interface \"\"");
        check("fe80::1%+1", "no interface \"+1\"");
    }
}
