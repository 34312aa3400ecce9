//! What the kernel knows of TCP connections (sock_diag(7), Linux 3.3). Asks and never changes; where netlink is forbidden (seccomp, gVisor) it says so.
//!
//! A question and its answer are laid out as in `linux/inet_diag.h` and `linux/tcp.h`, read here as bytes at their offsets:
//! ```text
//! question  nlmsghdr 16 | inet_diag_req_v2 8 + inet_diag_sockid 48
//! answer    nlmsghdr 16 | inet_diag_msg 4 + inet_diag_sockid 48 + 20 | attributes: length 2, kind 2, tcp_info
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Bytes read at a time: the largest piece that the kernel makes of an answer.
const READ_BYTES: usize = 32 * 1024;
/// `nlmsghdr`.
const HEADER_BYTES: usize = 16;
/// `inet_diag_msg`.
const MESSAGE_BYTES: usize = 72;
/// `SOCK_DIAG_BY_FAMILY` of `linux/sock_diag.h`.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `INET_DIAG_INFO` of `linux/inet_diag.h`: the attribute that holds a `tcp_info`.
const INET_DIAG_INFO: u16 = 2;
/// The bit of `TCP_ESTABLISHED`.
const ESTABLISHED: u32 = 1 << 1;
const DONE: u16 = libc::NLMSG_DONE as u16;
const ERROR: u16 = libc::NLMSG_ERROR as u16;

/// The end of a connection whose port is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Sockets whose own port it is: a server's.
    Local,
    /// Sockets whose peer has this port: a client's.
    Peer,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, with the IPv4 connections of sockets of that family.
    V6,
}

/// Which established connections are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query {
    /// The family of the sockets.
    pub family: Family,
    /// Whose port [`Query::port`] is.
    pub end: End,
    /// The port.
    pub port: u16,
}

/// One established connection, seen from one of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// A number of its own, as long as the system runs.
    pub cookie: u64,
    /// This end; an IPv4 address in IPv6 is given as IPv4.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// Bytes received and not read.
    pub receive_queue_bytes: u32,
    /// Bytes sent and not acknowledged.
    pub send_queue_bytes: u32,
    /// The kernel's own figures of it, where it gives them.
    pub info: Option<Info>,
}

/// A part of tcp(7)'s `tcp_info`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Info {
    /// Smoothed round trip in microseconds.
    pub rtt_us: u32,
    /// The least round trip of the last minutes in microseconds (Linux 4.6); zero where there is none.
    pub rtt_min_us: u32,
    /// Segments sent since it was made (Linux 4.2).
    pub segments_sent: u32,
    /// Segments among them that were sent again.
    pub segments_retransmitted: u32,
    /// Segments with data received since it was made (Linux 4.6; else zero).
    pub segments_received: u32,
    /// Segments among them that came before one that was sent earlier (Linux 5.4; else zero).
    pub segments_out_of_order: u32,
}

/// The established connections that `query` asks for, at most `most`, of those that the kernel names within `patience`. Never blocks.
///
/// # Errors
/// What the kernel says: `EPERM`, `EPROTONOSUPPORT` and the like where it does not answer such questions.
pub fn established(query: Query, most: usize, patience: Duration) -> io::Result<Vec<Socket>> {
    let netlink = open()?;
    send(&netlink, &question(query))?;
    let deadline = now() + patience.as_nanos();
    let mut found = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    while found.len() < most && now() < deadline {
        let Some(length) = receive(&netlink, &mut buffer)? else { break };
        if let Answer::Over = read(&buffer[..length], &mut found)? {
            break;
        }
    }
    found.truncate(most);
    Ok(found)
}

fn now() -> u128 {
    super::monotonic().unwrap_or_default().into()
}

fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: socket(2) takes three numbers and no pointer.
    let raw = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_SOCK_DIAG) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// To the kernel: a netlink socket without an address sends there (netlink(7)).
fn send(netlink: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: send(2) reads the bytes of the slice, which outlives the call.
    let sent = unsafe { libc::send(netlink.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The length of the next piece, or `None` if there is none.
fn receive(netlink: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let (to, room) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: recv(2) writes at most `room` bytes into the slice, which outlives the call.
    let received = unsafe { libc::recv(netlink.as_raw_fd(), to, room, 0) };
    match usize::try_from(received) {
        Ok(0) => Ok(None),
        Ok(length) => Ok(Some(length)),
        Err(_) => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            error => Err(error),
        },
    }
}

fn question(query: Query) -> Vec<u8> {
    let length = HEADER_BYTES + 56;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let family = match query.family {
        Family::V4 => libc::AF_INET,
        Family::V6 => libc::AF_INET6,
    };
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, libc::IPPROTO_TCP as u8, 1 << (INET_DIAG_INFO - 1), 0]);
    bytes.extend(ESTABLISHED.to_ne_bytes());
    let (local, peer) = match query.end {
        End::Local => (query.port, 0),
        End::Peer => (0, query.port),
    };
    bytes.extend(local.to_be_bytes());
    bytes.extend(peer.to_be_bytes());
    bytes.resize(length, 0);
    bytes
}

/// Whether more is to come.
enum Answer {
    More,
    Over,
}

/// Takes the sockets out of one piece of an answer. What is too short to be one is left out.
fn read(mut bytes: &[u8], found: &mut Vec<Socket>) -> io::Result<Answer> {
    while let (Some(length), Some(kind)) = (u32_at(bytes, 0), u16_at(bytes, 4)) {
        let length = length as usize;
        let Some(body) = bytes.get(HEADER_BYTES..length) else { break };
        match kind {
            DONE => return Ok(Answer::Over),
            ERROR => {
                let errno = u32_at(body, 0).map_or(libc::EIO, |code| (code as i32).wrapping_neg());
                return Err(io::Error::from_raw_os_error(errno));
            }
            _ => found.extend(socket(body)),
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    Ok(Answer::More)
}

fn socket(body: &[u8]) -> Option<Socket> {
    let address = |place: usize, port: usize| {
        Some(SocketAddr::new(ip(body, place)?, u16::from_be(u16_at(body, port)?)))
    };
    Some(Socket {
        cookie: u64::from(u32_at(body, 44)?) | u64::from(u32_at(body, 48)?) << 32,
        local: address(8, 4)?,
        peer: address(24, 6)?,
        receive_queue_bytes: u32_at(body, 56)?,
        send_queue_bytes: u32_at(body, 60)?,
        info: info(body.get(MESSAGE_BYTES..)?),
    })
}

fn ip(body: &[u8], place: usize) -> Option<IpAddr> {
    let bytes: [u8; 16] = body.get(place..place + 16)?.try_into().ok()?;
    let [a, b, c, d, ..] = bytes;
    match i32::from(*body.first()?) {
        libc::AF_INET => Some(Ipv4Addr::new(a, b, c, d).into()),
        _ => Some(Ipv6Addr::from(bytes).to_canonical()),
    }
}

/// The `tcp_info` among the attributes.
fn info(mut attributes: &[u8]) -> Option<Info> {
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length);
        let value = attributes.get(4..length)?;
        if kind == INET_DIAG_INFO {
            return tcp_info(value);
        }
        attributes = attributes.get(aligned(length)..)?;
    }
    None
}

/// Older kernels' is shorter.
fn tcp_info(value: &[u8]) -> Option<Info> {
    let later = |place| u32_at(value, place).unwrap_or_default();
    Some(Info {
        rtt_us: u32_at(value, 68)?,
        // All ones before the first measurement.
        rtt_min_us: Some(later(148)).filter(|micros| *micros < u32::MAX).unwrap_or_default(),
        segments_sent: u32_at(value, 136)?,
        segments_retransmitted: u32_at(value, 100)?,
        segments_received: later(152),
        segments_out_of_order: later(224),
    })
}

/// Messages and attributes begin at multiples of four (netlink(3)).
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], place: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(place..place + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], place: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(place..place + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// A connection to a listener on `ip`, with five unread bytes at the server's end, as the kernel shows both ends.
    fn check_pair(ip: IpAddr, family: Family) {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let server = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(server).unwrap();
        let _accepted = listener.accept().unwrap();
        client.write_all(b"hello").unwrap();
        let ask = |end| {
            let query = Query { family, end, port: server.port() };
            established(query, 16, Duration::from_secs(5))
        };
        let found = match ask(End::Peer) {
            Ok(found) => found,
            // Where netlink is forbidden there is an error, and no more to see.
            Err(error) => return assert!(error.raw_os_error().is_some(), "{error}"),
        };
        let [ours] = found[..] else { panic!("{found:?}") };
        assert_eq!((ours.local, ours.peer), (client.local_addr().unwrap(), server));
        assert!(ours.info.is_some_and(|info| info.segments_sent >= 2), "{ours:?}");
        // A round trip over loopback: the kernel says none where it is older than 4.6.
        assert!(ours.info.is_some_and(|info| info.rtt_min_us < 1_000_000), "{ours:?}");
        let theirs = ask(End::Local).unwrap();
        let [theirs] = theirs[..] else { panic!("{theirs:?}") };
        assert_eq!((theirs.local, theirs.receive_queue_bytes), (server, 5));
        assert_ne!(theirs.cookie, ours.cookie);
    }

    #[test]
    fn both_ends_of_a_connection_are_found() {
        check_pair(Ipv4Addr::LOCALHOST.into(), Family::V4);
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            check_pair(Ipv6Addr::LOCALHOST.into(), Family::V6);
        }
    }

    #[test]
    fn answers_cut_anywhere_give_nothing_and_no_panic() {
        let mut message = vec![0; HEADER_BYTES + MESSAGE_BYTES + 4 + 140];
        let length = message.len() as u32;
        message[..4].copy_from_slice(&length.to_ne_bytes());
        message[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message[HEADER_BYTES] = libc::AF_INET as u8;
        let attribute = HEADER_BYTES + MESSAGE_BYTES;
        message[attribute..attribute + 2].copy_from_slice(&144_u16.to_ne_bytes());
        message[attribute + 2..attribute + 4].copy_from_slice(&INET_DIAG_INFO.to_ne_bytes());
        message[attribute + 4 + 68] = 9;
        for cut in 0..=message.len() {
            let mut found = Vec::new();
            assert!(matches!(read(&message[..cut], &mut found), Ok(Answer::More)));
            let rtt = found.first().and_then(|socket| socket.info).map(|info| info.rtt_us);
            let whole = cut == message.len();
            assert_eq!((found.len(), rtt.is_some()), (usize::from(whole), whole), "{cut}");
        }
    }

    #[test]
    fn a_refusal_is_an_error_of_its_number() {
        let mut message = vec![0; 36];
        message[..4].copy_from_slice(&36_u32.to_ne_bytes());
        message[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        message[16..20].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        let refused = read(&message, &mut Vec::new());
        assert_eq!(refused.err().and_then(|error| error.raw_os_error()), Some(libc::EPERM));
    }
}
