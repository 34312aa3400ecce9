//! Names and their addresses, as a client uses them.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use ringshot::sys::socket::{Blocking, Share, listen, local_address};

use crate::access::millis;

/// A listener whose backlog is full: the kernel drops further connects, as if nobody were there.
pub(crate) struct FullListener {
    pub(crate) address: SocketAddr,
    _listener: OwnedFd,
    _waiting: Vec<TcpStream>,
}

pub(crate) fn full_listener() -> FullListener {
    full_listener_at("127.0.0.1:0".parse().unwrap())
}

pub(crate) fn full_listener_at(address: SocketAddr) -> FullListener {
    let listener = listen(address, Share::Alone, Blocking::Yes).unwrap();
    // SAFETY: listen(2) on a socket that we own; it takes no pointer. A second call shrinks the backlog.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = local_address(&listener).unwrap();
    let connect = || TcpStream::connect_timeout(&address, millis(100)).ok();
    let waiting = std::iter::from_fn(connect).take(64).collect();
    FullListener { address, _listener: listener, _waiting: waiting }
}
