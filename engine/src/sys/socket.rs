//! TCP sockets, made and set up through socket2. Nothing here blocks but closing, and nothing retries.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Errno;

/// Connections that the kernel may queue for a listener; it takes the smaller of this and `net.core.somaxconn` (listen(2)).
const LISTEN_BACKLOG: i32 = 4096;

/// How a socket's calls behave when they can't go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// As `io_uring` needs it: an operation waits inside the kernel, and `EAGAIN` is never seen.
    Yes,
    /// As epoll needs it.
    No,
}

/// System calls that [`for_peer`] makes: socket(2), setsockopt(2).
pub const CALLS_FOR_PEER: u64 = 2;

/// A TCP socket for `peer`'s address family, with Nagle's algorithm off (`TCP_NODELAY`), not inherited by children.
///
/// # Errors
/// `EMFILE` and `ENFILE` when descriptors run out, `EAFNOSUPPORT` without IPv6.
pub fn for_peer(peer: SocketAddr, blocking: Blocking) -> io::Result<OwnedFd> {
    let kind = match blocking {
        Blocking::Yes => Type::STREAM,
        Blocking::No => Type::STREAM.nonblocking(),
    };
    let socket = Socket::new_raw(Domain::for_address(peer), kind.cloexec(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

/// A listening TCP socket on `address`. Several may share the address (`SO_REUSEPORT`), one a core, and the kernel spreads connections over them.
///
/// # Errors
/// `EADDRINUSE`, `EACCES` for a low port, `EADDRNOTAVAIL`.
pub fn listen(address: SocketAddr, share: Share, blocking: Blocking) -> io::Result<OwnedFd> {
    let socket =
        Socket::new_raw(Domain::for_address(address), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    socket.set_nonblocking(blocking == Blocking::No)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share == Share::Port)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

/// Whether several listeners may have one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// This listener alone: a second one gets `EADDRINUSE`.
    Alone,
    /// All that ask for it (`SO_REUSEPORT`).
    Port,
}

/// The address that a socket is bound to (getsockname(2)).
///
/// # Errors
/// `EINVAL` for a socket that is not of the internet families.
pub fn local_address(socket: &impl AsFd) -> io::Result<SocketAddr> {
    let address = socket2::SockRef::from(socket).local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))
}

/// Turns Nagle's algorithm off for an accepted socket (`TCP_NODELAY`, tcp(7)).
///
/// # Errors
/// What setsockopt(2) reports; a socket that has been reset may refuse.
pub fn set_nodelay(socket: &impl AsFd) -> io::Result<()> {
    socket2::SockRef::from(socket).set_tcp_nodelay(true)
}

/// Sets whether the socket's calls block (fcntl(2), `O_NONBLOCK`).
///
/// # Errors
/// What fcntl(2) reports.
pub fn set_blocking(socket: &impl AsFd, blocking: Blocking) -> io::Result<()> {
    socket2::SockRef::from(socket).set_nonblocking(blocking == Blocking::No)
}

/// Starts a non-blocking connect (connect(2)).
///
/// # Errors
/// `EINPROGRESS` is the usual answer and means that writability will tell the outcome ([`take_error`]).
pub fn connect(socket: &impl AsFd, peer: &SockAddr) -> Result<(), Errno> {
    socket2::SockRef::from(socket).connect(peer).map_err(|error| Errno::of(&error))
}

/// Takes the socket's pending error, and with it the outcome of a connect (`SO_ERROR`, socket(7)).
///
/// # Errors
/// The pending error itself.
pub fn take_error(socket: &impl AsFd) -> Result<(), Errno> {
    match socket2::SockRef::from(socket).take_error() {
        Ok(None) => Ok(()),
        Ok(Some(error)) | Err(error) => Err(Errno::of(&error)),
    }
}

/// Accepts one waiting connection of a non-blocking listener as a non-blocking socket (accept4(2)).
///
/// # Errors
/// `EAGAIN` if none is waiting, `EMFILE` when descriptors run out.
pub fn accept(listener: &impl AsFd) -> Result<OwnedFd, Errno> {
    let accepted = socket2::SockRef::from(listener).accept_raw();
    let (socket, _) = accepted.map_err(|error| Errno::of(&error))?;
    let ready = socket.set_nonblocking(true).and_then(|()| socket.set_cloexec(true));
    ready.map_err(|error| Errno::of(&error))?;
    Ok(socket.into())
}

/// Makes closing the socket send a reset and keep no state (`SO_LINGER` with zero, socket(7)): for a connection that is given up.
///
/// # Errors
/// What setsockopt(2) reports.
pub fn reset_on_close(socket: &impl AsFd) -> io::Result<()> {
    socket2::SockRef::from(socket).set_linger(Some(std::time::Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_alone_keeps_its_port_and_shared_ones_do_not() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let alone = listen(any, Share::Alone, Blocking::No).unwrap();
        let address = local_address(&alone).unwrap();
        let second = listen(address, Share::Alone, Blocking::No).unwrap_err();
        assert_eq!(second.raw_os_error(), Some(libc::EADDRINUSE));

        let shared = listen(any, Share::Port, Blocking::No).unwrap();
        assert!(listen(local_address(&shared).unwrap(), Share::Port, Blocking::No).is_ok());
    }

    #[test]
    fn a_refused_connect_is_told_by_the_pending_error() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let peer = local_address(&listen(any, Share::Alone, Blocking::No).unwrap()).unwrap();
        let socket = for_peer(peer, Blocking::No).unwrap();
        let started = connect(&socket, &peer.into());
        let outcome =
            if started == Err(Errno(libc::EINPROGRESS)) { take_error(&socket) } else { started };
        assert_eq!(outcome, Err(Errno(libc::ECONNREFUSED)));
    }
}
