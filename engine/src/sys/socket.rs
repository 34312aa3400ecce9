//! TCP sockets, made and set up through socket2. Nothing here blocks but closing, and nothing retries.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

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
    new_for_peer(peer, blocking).map(OwnedFd::from)
}

fn new_for_peer(peer: SocketAddr, blocking: Blocking) -> io::Result<Socket> {
    let kind = match blocking {
        Blocking::Yes => Type::STREAM,
        Blocking::No => Type::STREAM.nonblocking(),
    };
    let socket = Socket::new_raw(Domain::for_address(peer), kind.cloexec(), Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

/// System calls that [`bind_source`] makes: setsockopt(2), bind(2).
pub const CALLS_TO_BIND: u64 = 2;

/// Binds a socket that will connect to a local address, and leaves the choice of its port to the connect, where it need be free for that peer only
/// (ip(7), `IP_BIND_ADDRESS_NO_PORT`, Linux 4.2; it holds for IPv6 too).
///
/// # Errors
/// `EADDRNOTAVAIL` for an address that is not local, `EINVAL` for one of another family.
pub fn bind_source(socket: &OwnedFd, source: IpAddr) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    let (level, name) = (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT);
    // SAFETY: the pointer is to an integer of ours of the length given, which the call reads and does not keep.
    let status = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), length)
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    socket2::SockRef::from(socket).bind(&SocketAddr::new(source, 0).into())
}

/// What a client may ask of its sockets; the default asks nothing and costs no call.
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// use std::time::Duration;
/// use ringshot::client::SocketOptions;
///
/// let options = SocketOptions {
///     user_timeout: Some(Duration::from_secs(10)),
///     recv_buffer_bytes: Some(256 << 10),
///     ..SocketOptions::default()
/// };
/// let client = engine.client().socket_options(options).build()?;
/// assert_eq!(block_on(client.get(origin.url("/")).fetch())?.status(), 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// How long sent bytes may go unacknowledged before the connection is given up, in whole milliseconds (tcp(7), `TCP_USER_TIMEOUT`).
    pub user_timeout: Option<Duration>,
    /// Probes of an idle connection (`SO_KEEPALIVE`).
    pub keepalive: Option<Keepalive>,
    /// Bytes that the kernel holds unsent and unacknowledged; it doubles the number for its own needs (socket(7), `SO_SNDBUF`).
    pub send_buffer_bytes: Option<u32>,
    /// Bytes that the kernel holds unread, doubled alike, which bounds the window that the peer is offered (`SO_RCVBUF`).
    pub recv_buffer_bytes: Option<u32>,
}

/// When and how often an idle connection is probed (tcp(7)).
///
/// ```
/// # use ringshot::client::{Engine, blocking::block_on};
/// # use ringshot::origin::{Config, Origin};
/// # let origin = Origin::start(&Config::on_loopback())?;
/// # let engine = Engine::builder().build()?;
/// use std::time::Duration;
/// use ringshot::client::{Keepalive, SocketOptions};
///
/// let (idle, interval) = (Duration::from_secs(60), Duration::from_secs(10));
/// let keepalive = Some(Keepalive { idle, interval, probes: 3 });
/// let options = SocketOptions { keepalive, ..SocketOptions::default() };
/// let client = engine.client().socket_options(options).build()?;
/// assert_eq!(block_on(client.get(origin.url("/")).fetch())?.status(), 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe, in whole seconds, 1 to 32767 (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// Time between probes, in whole seconds, 1 to 32767 (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// Unanswered probes after which the connection is given up, 1 to 127 (`TCP_KEEPCNT`).
    pub probes: u32,
}

impl Options {
    /// System calls that setting them takes.
    #[must_use]
    pub fn calls(&self) -> u64 {
        let single = [self.send_buffer_bytes.is_some(), self.recv_buffer_bytes.is_some()];
        let single = single.into_iter().chain([self.user_timeout.is_some()]).map(u64::from);
        single.sum::<u64>() + self.keepalive.map_or(0, |_| 4)
    }

    /// Before the connect, whose handshake fixes the window's scale by the receive buffer.
    fn apply(&self, socket: &Socket) -> io::Result<()> {
        if self.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.user_timeout)?;
        }
        if let Some(Keepalive { idle, interval, probes }) = self.keepalive {
            let keepalive = TcpKeepalive::new().with_time(idle).with_interval(interval);
            socket.set_tcp_keepalive(&keepalive.with_retries(probes))?;
        }
        if let Some(bytes) = self.send_buffer_bytes {
            socket.set_send_buffer_size(bytes as usize)?;
        }
        if let Some(bytes) = self.recv_buffer_bytes {
            socket.set_recv_buffer_size(bytes as usize)?;
        }
        Ok(())
    }
}

/// As [`for_peer`], with options; [`CALLS_FOR_PEER`] and [`Options::calls`] system calls.
///
/// # Errors
/// As [`for_peer`]; `EINVAL` for a value out of its range.
pub fn for_peer_with(
    peer: SocketAddr,
    blocking: Blocking,
    options: &Options,
) -> io::Result<OwnedFd> {
    let socket = new_for_peer(peer, blocking)?;
    options.apply(&socket)?;
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

/// Ends both directions (shutdown(2)): what is sent or received from now on, or waits to be, ends at once.
///
/// # Errors
/// `ENOTCONN`.
pub fn shut_down(socket: &impl AsFd) -> io::Result<()> {
    socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Both)
}

/// Resets the connection at once, whoever else holds the socket: what is sent or received from now
/// on, or waits to be, ends (connect(2) with `AF_UNSPEC`).
///
/// # Errors
/// `EINVAL` for a socket that is not of TCP.
pub fn reset(socket: &impl AsFd) -> io::Result<()> {
    let nowhere =
        libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let raw = socket.as_fd().as_raw_fd();
    let bytes = size_of_val(&nowhere) as libc::socklen_t;
    // SAFETY: the pointer is to an address of ours of so many bytes, which the call does not keep.
    let status = unsafe { libc::connect(raw, &raw const nowhere, bytes) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes that the peer has acknowledged since the connection began (tcp(7), `TCP_INFO`; `tcpi_bytes_acked`, Linux 4.1).
#[must_use]
pub fn acknowledged(socket: &impl AsFd) -> Option<u64> {
    /// Up to `tcpi_bytes_acked` in `linux/tcp.h`, and where that is.
    const INFO_BYTES: usize = 128;
    const ACKED_AT: usize = 120;
    let mut info = [0_u8; INFO_BYTES];
    let mut length = INFO_BYTES as libc::socklen_t;
    let raw = socket.as_fd().as_raw_fd();
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: the pointers are to bytes of ours and to their number, which the call writes within that number and does not keep.
    let status =
        unsafe { libc::getsockopt(raw, level, name, info.as_mut_ptr().cast(), &raw mut length) };
    let acked = info.get(ACKED_AT..length as usize)?.try_into().ok()?;
    (status == 0).then(|| u64::from_ne_bytes(acked))
}

/// Makes closing the socket send a reset and keep no state (`SO_LINGER` with zero, socket(7)): for a connection that is given up.
///
/// # Errors
/// What setsockopt(2) reports.
pub fn reset_on_close(socket: &impl AsFd) -> io::Result<()> {
    socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO))
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
    fn options_reach_the_socket() {
        let peer: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let seconds = Duration::from_secs;
        let keepalive = Some(Keepalive { idle: seconds(7), interval: seconds(3), probes: 5 });
        let options = Options {
            user_timeout: Some(Duration::from_millis(1500)),
            keepalive,
            send_buffer_bytes: Some(20_000),
            recv_buffer_bytes: Some(30_000),
        };
        let socket = Socket::from(for_peer_with(peer, Blocking::No, &options).unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), options.user_timeout);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(7));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(3));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 5);
        assert_eq!(socket.send_buffer_size().unwrap(), 40_000);
        assert_eq!(socket.recv_buffer_size().unwrap(), 60_000);
        assert_eq!((options.calls(), Options::default().calls()), (7, 0));

        let never = Keepalive { idle: Duration::ZERO, interval: seconds(1), probes: 1 };
        let options = Options { keepalive: Some(never), ..Options::default() };
        let refused = for_peer_with(peer, Blocking::No, &options).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn what_the_peer_acknowledged_is_counted() {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut far = listener.accept().unwrap().0;
        let before = acknowledged(&near).unwrap();
        near.write_all(&[0; 1000]).unwrap();
        far.read_exact(&mut [0; 1000]).unwrap();
        while acknowledged(&near).unwrap() < before + 1000 {
            std::thread::yield_now();
        }
        assert_eq!(acknowledged(&near), Some(before + 1000));
        assert_eq!(acknowledged(&std::fs::File::open("/dev/null").unwrap()), None);
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
