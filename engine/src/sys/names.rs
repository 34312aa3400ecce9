//! Names to addresses and interfaces to numbers, as the C library finds them (getaddrinfo(3), if_nametoindex(3)). [`addresses`] blocks; caches nothing.

use std::ffi::{CStr, CString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr::{self, NonNull};

use super::Errno;

/// The name exists, but has no address of the family that was asked for (netdb.h of glibc and musl; the libc crate lacks it).
const EAI_ADDRFAMILY: i32 = -9;

/// Which addresses to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Those that this machine has interfaces for, besides loopback (`AI_ADDRCONFIG`).
    Configured,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// What a failure of getaddrinfo(3) means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// There is no such name.
    NotFound,
    /// The name is there, without an address of the family.
    NoAddress,
    /// Nobody answered, or the answer was a failure that may pass.
    TryAgain,
    /// Anything else.
    Failed,
}

/// A failure of getaddrinfo(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Failure {
    /// The `EAI` code.
    code: i32,
    /// What `EAI_SYSTEM` hides.
    errno: Option<Errno>,
}

impl Failure {
    /// What it means.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.code {
            libc::EAI_NONAME => Kind::NotFound,
            libc::EAI_NODATA | EAI_ADDRFAMILY => Kind::NoAddress,
            libc::EAI_AGAIN => Kind::TryAgain,
            _ => Kind::Failed,
        }
    }
}

impl std::fmt::Display for Failure {
    /// The symbol and the words of gai_strerror(3), such as `EAI_NONAME (Name or service not known)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (symbol(self.code), self.errno) {
            (_, Some(errno)) => write!(f, "EAI_SYSTEM, {errno}"),
            (Some(symbol), None) => write!(f, "{symbol} ({})", words(self.code)),
            (None, None) => write!(f, "EAI {} ({})", self.code, words(self.code)),
        }
    }
}

fn symbol(code: i32) -> Option<&'static str> {
    Some(match code {
        libc::EAI_NONAME => "EAI_NONAME",
        libc::EAI_AGAIN => "EAI_AGAIN",
        libc::EAI_FAIL => "EAI_FAIL",
        libc::EAI_FAMILY => "EAI_FAMILY",
        libc::EAI_MEMORY => "EAI_MEMORY",
        libc::EAI_NODATA => "EAI_NODATA",
        EAI_ADDRFAMILY => "EAI_ADDRFAMILY",
        _ => return None,
    })
}

fn words(code: i32) -> String {
    // SAFETY: gai_strerror(3) takes any number.
    let words = unsafe { libc::gai_strerror(code) };
    // SAFETY: it returns a text that ends in NUL and lives as long as the process (gai_strerror(3)).
    unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned()
}

/// The addresses of `host` in the order of RFC 6724, each once. Blocks, for seconds if a name server is slow (resolv.conf(5), `timeout` and `attempts`).
///
/// # Errors
/// A [`Failure`]; a `host` with a NUL in it is not found.
pub fn addresses(host: &str, family: Family) -> Result<Vec<IpAddr>, Failure> {
    let Ok(host) = CString::new(host) else {
        return Err(Failure { code: libc::EAI_NONAME, errno: None });
    };
    let hints = hints(family);
    let mut found = ptr::null_mut();
    // SAFETY: `host` ends in NUL, `hints` is valid, and both outlive the call; `found` is where the call puts its list.
    let code =
        unsafe { libc::getaddrinfo(host.as_ptr(), ptr::null(), &raw const hints, &raw mut found) };
    if code != 0 {
        let errno = (code == libc::EAI_SYSTEM).then(Errno::last);
        return Err(Failure { code, errno });
    }
    Ok(collect(&List(NonNull::new(found))))
}

fn hints(family: Family) -> libc::addrinfo {
    // AI_ADDRCONFIG counts no loopback interface: for one family alone, it would refuse a machine that has no other.
    let (family, flags) = match family {
        Family::Configured => (libc::AF_UNSPEC, libc::AI_ADDRCONFIG),
        Family::V4 => (libc::AF_INET, 0),
        Family::V6 => (libc::AF_INET6, 0),
    };
    libc::addrinfo {
        ai_flags: flags,
        ai_family: family,
        // One kind of socket, so that each address comes once.
        ai_socktype: libc::SOCK_STREAM,
        ai_protocol: 0,
        ai_addrlen: 0,
        ai_addr: ptr::null_mut(),
        ai_canonname: ptr::null_mut(),
        ai_next: ptr::null_mut(),
    }
}

/// What getaddrinfo(3) allocated.
struct List(Option<NonNull<libc::addrinfo>>);

impl Drop for List {
    fn drop(&mut self) {
        if let Some(first) = self.0 {
            // SAFETY: the list came from getaddrinfo(3), is freed here only, and nothing borrows from it any more.
            unsafe { libc::freeaddrinfo(first.as_ptr()) };
        }
    }
}

fn collect(list: &List) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    let mut next = list.0;
    while let Some(entry) = next {
        // SAFETY: `entry` is of the list, which lives until `list` is dropped.
        let entry = unsafe { entry.as_ref() };
        addresses.extend(address(entry).filter(|address| !addresses.contains(address)));
        next = NonNull::new(entry.ai_next);
    }
    addresses
}

fn address(entry: &libc::addrinfo) -> Option<IpAddr> {
    let socket = NonNull::new(entry.ai_addr)?;
    match entry.ai_family {
        libc::AF_INET => {
            // SAFETY: an entry of AF_INET points to a sockaddr_in that lives as long as the entry (getaddrinfo(3)).
            let socket = unsafe { socket.cast::<libc::sockaddr_in>().as_ref() };
            Some(Ipv4Addr::from(socket.sin_addr.s_addr.to_ne_bytes()).into())
        }
        libc::AF_INET6 => {
            // SAFETY: an entry of AF_INET6 points to a sockaddr_in6 that lives as long as the entry (getaddrinfo(3)).
            let socket = unsafe { socket.cast::<libc::sockaddr_in6>().as_ref() };
            Some(Ipv6Addr::from(socket.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// The number of the interface called `name`, or `None` if there is none (if_nametoindex(3)).
#[must_use]
pub fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` ends in NUL and outlives the call, which keeps no pointer.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_need_no_server() {
        let v4 = IpAddr::from([127, 0, 0, 1]);
        assert_eq!(addresses("127.0.0.1", Family::Configured), Ok(vec![v4]));
        assert_eq!(addresses("127.1", Family::V4), Ok(vec![v4]));
        assert_eq!(addresses("::1", Family::V6), Ok(vec![Ipv6Addr::LOCALHOST.into()]));
    }

    #[test]
    fn failures_are_told_apart() {
        let failure = addresses("a\0b", Family::Configured).unwrap_err();
        assert_eq!(failure.kind(), Kind::NotFound);
        assert_eq!(failure.to_string(), "EAI_NONAME (Name or service not known)");
        // An IPv4 literal has no IPv6 address.
        assert_eq!(addresses("127.0.0.1", Family::V6).unwrap_err().kind(), Kind::NoAddress);
        let kind = |code| Failure { code, errno: None }.kind();
        assert_eq!(kind(libc::EAI_AGAIN), Kind::TryAgain);
        assert_eq!(kind(libc::EAI_FAIL), Kind::Failed);
        let hidden = Failure { code: libc::EAI_SYSTEM, errno: Some(Errno(libc::EMFILE)) };
        assert_eq!(hidden.to_string(), "EAI_SYSTEM, EMFILE (Too many open files)");
    }

    #[test]
    fn loopback_is_an_interface() {
        assert_eq!(interface_index("lo"), Some(1));
        assert_eq!((interface_index("no-such"), interface_index("a\0b")), (None, None));
    }
}
