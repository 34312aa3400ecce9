//! The bare epoll loop: edge-triggered, one receive and one send for each readiness, one `epoll_wait` for each batch.

use std::os::fd::{AsFd, BorrowedFd};

use ringshot::sys::epoll::{self, Epoll, Event};

use super::{Figures, Load, Outcome, Watch, connect};

/// The receive buffer, the same for all.
const BUFFER_BYTES: usize = 256 << 10;
const EVENTS: usize = 512;

/// Runs the loop on the calling thread.
///
/// # Errors
/// Any failure of a call or a connection.
pub fn run(load: &Load) -> Outcome<Figures> {
    let streams = connect(load)?;
    let poll = Epoll::open()?;
    for (index, stream) in streams.iter().enumerate() {
        stream.set_nonblocking(true)?;
        poll.add(stream.as_fd(), index as u64)?;
    }
    let sockets: Vec<BorrowedFd<'_>> = streams.iter().map(AsFd::as_fd).collect();
    let mut received = vec![0; sockets.len()];
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events = [Event::NONE; EVENTS];
    let mut requests = 0;
    for socket in &sockets {
        send(*socket, &load.request)?;
    }
    let mut watch = Watch::new(load);
    loop {
        let count = poll.wait(&mut events, 100).map_err(|errno| errno.to_string())?;
        for event in &events[..count] {
            let index = event.data() as usize;
            if !event.readable() {
                continue;
            }
            loop {
                match epoll::receive(sockets[index], &mut buffer) {
                    Ok(0) => return Err("the server closed".into()),
                    Ok(bytes) => {
                        received[index] += bytes;
                        if received[index] >= load.response_bytes {
                            received[index] = 0;
                            requests += 1;
                            send(sockets[index], &load.request)?;
                        }
                        if bytes < BUFFER_BYTES {
                            break;
                        }
                    }
                    Err(ringshot::sys::Errno(libc::EAGAIN)) => break,
                    Err(errno) => return Err(errno.to_string().into()),
                }
            }
        }
        if let Some(figures) = watch.look(requests) {
            return Ok(figures);
        }
    }
}

fn send(socket: BorrowedFd<'_>, request: &[u8]) -> Outcome<()> {
    match epoll::send(socket, request) {
        Ok(bytes) if bytes == request.len() => Ok(()),
        Ok(_) => Err("a short send".into()),
        Err(errno) => Err(errno.to_string().into()),
    }
}
