//! The end of a slot: cancel, wait for the last completion, close, tell. The end of the driver: the end of all that is in flight. Only the latter blocks, for [`DRAIN_MAX`] at most.

use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};

use super::buf_ring::BufRing;
use super::outbox::Outboxes;
use super::prep::Sqe;
use super::{Descriptors, Uring, prep};
use crate::clock::Instant;
use crate::driver::{Kind, Slot, Token};
use crate::sys::socket;

/// The longest that the kernel is given to end what is in flight on sockets that were shut down. It takes a few microseconds each.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// How long one look at what has ended waits for more.
const DRAIN_LOOK: Timespec = Timespec::new().nsec(20_000_000);

impl Uring {
    pub(super) fn close(&mut self, slot: Slot) -> Result<(), ()> {
        let descriptors = self.descriptors;
        let Some(entry) = self.in_flight.live(slot) else { return Ok(()) };
        if entry.closing() {
            return Ok(());
        }
        if entry.sending {
            self.outboxes.forget_waiting(slot);
        }
        // What was queued quietly goes out first: its place in the file table is the next socket's after this.
        if entry.idle() && entry.quiet_batch != self.batch {
            entry.set_closing();
            self.finish_close(slot);
            return Ok(());
        }
        match entry.known_kinds() {
            Some(kinds) => {
                // One at least: its completion wakes whoever waits for a send that ends without a word.
                let any = kinds.iter().all(Option::is_none).then_some(Kind::Stream);
                for kind in kinds.into_iter().chain([any]).flatten() {
                    self.cancel(slot, prep::cancel(Token { slot, kind }))?;
                }
            }
            None => {
                let target = Self::target(descriptors, slot, entry);
                self.cancel(slot, prep::cancel_all(target))?;
            }
        }
        if let Some(entry) = self.in_flight.live(slot) {
            entry.set_closing();
        }
        Ok(())
    }

    pub(super) fn cancel(&mut self, slot: Slot, sqe: Sqe) -> Result<(), ()> {
        self.push(&sqe.told_as(Token { slot, kind: Kind::Cancel }))?;
        self.started(slot, None);
        Ok(())
    }

    /// Ends what a cancellation did not find: an operation that was about to be tried again, and then waits for the peer for ever.
    ///
    /// A send or receive that finds the socket ready while it arms its poll is queued as task work, and a cancellation of the same enter misses it (6.18).
    pub(super) fn end_lingering(&mut self) {
        while let Some(slot) = self.lingering.pop() {
            let socket = self.in_flight.live(slot).and_then(|entry| entry.socket.as_ref());
            if let Some(socket) = socket {
                self.counters.system_calls += 1;
                // ENOTCONN: nothing waits on a socket that is not connected.
                let _ = socket::shut_down(socket);
            }
        }
    }

    /// Closes the socket of a slot that nothing is pending for, and remembers to tell it.
    pub(super) fn finish_close(&mut self, slot: Slot) {
        // A quiet send that waits for room would hold the socket open, and read its
        // template, for as long as the peer likes.
        if let Some(entry) = self.in_flight.live(slot).filter(|entry| entry.may_wait_quietly()) {
            entry.cut_off();
            self.counters.system_calls += 1;
        }
        let Some(socket) = self.in_flight.vacate(slot) else { return };
        if self.descriptors == Descriptors::Fixed {
            self.counters.system_calls += 1;
            // A place that can't be emptied is overwritten by the next socket.
            let _ = self.ring.submitter().register_files_update(slot.index, &[-1]);
        }
        self.counters.system_calls += 1;
        drop(socket);
        self.closed.push(slot);
    }

    /// Sees to it that the kernel touches none of the memory that it was lent. A ring is taken down some time after it was closed, and its operations may run until then: on this thread at the end
    /// of any system call, or, a send that was often short of room, on one of the kernel's. So all sockets are shut down, which ends whatever waits for them, a send before it reads anything more
    /// (`tcp_sendmsg`, `unix_stream_sendmsg`), and all ends are waited for. Cancelling would be no proof, and to cancel everything takes the kernel a time that grows with the square of it.
    /// Where something is in flight still, the memory is left.
    pub(super) fn end_lending(&mut self) {
        // What is queued counts as pending: it has to begin in order to end.
        let _ = self.ring.submit();
        // ENOTCONN: nothing waits for it either.
        self.in_flight.sockets().for_each(|socket| drop(socket::shut_down(socket)));
        let deadline = Instant::now() + DRAIN_MAX;
        let mut told = Vec::new();
        while self.in_flight.is_lending() {
            let args = SubmitArgs::new().timespec(&DRAIN_LOOK);
            // Whatever it says, the completion queue shows it.
            let _ = self.ring.submitter().submit_with_args(1, &args);
            while self.reap_some(&mut told) > 0 {
                told.clear();
            }
            if Instant::now() > deadline {
                self.leave_lent();
                return;
            }
        }
    }

    /// What the kernel may still use outlives the driver.
    fn leave_lent(&mut self) {
        self.small.leave();
        self.large.iter_mut().for_each(BufRing::leave);
        std::mem::forget(std::mem::take(&mut self.templates));
        std::mem::forget(std::mem::replace(&mut self.outboxes, Outboxes::new(0)));
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.end_lending();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::rc::Rc;

    use crate::driver::uring::{Config, Uring};
    use crate::driver::{Confirm, Driver, Op, Payload, Slot, Span, Wait, Window};

    /// Everything that a driver can have in flight has ended: what comes then finds nobody, and the memory can be freed.
    #[test]
    fn what_was_lent_is_nobodys_when_lending_has_ended() {
        let Ok(mut uring) = Uring::open(Config::for_slots(8)) else {
            return eprintln!("skipped: no io_uring here");
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pair = || {
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (near, listener.accept().unwrap().0)
        };
        let pairs: Vec<(TcpStream, TcpStream)> = (0..4).map(|_| pair()).collect();
        let (near, mut far): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let large: Rc<[u8]> = vec![b'x'; 32 << 20].into();
        let bytes = large.len() as u32;
        let template = uring.register(large).unwrap();
        let span = Span { template, start: 0, bytes };
        let payload = Payload::Buffer(vec![b'x'; 32 << 20]);
        let ops = [
            Op::Receive(Window::Stream),
            Op::Receive(Window::Bulk),
            Op::Send { span, confirm: Confirm::Always },
            Op::SendBytes { bytes: payload, confirm: Confirm::OnFailure },
        ];
        for (index, (socket, op)) in near.into_iter().zip(ops).enumerate() {
            let slot = Slot::first(index as u32);
            uring.try_submit(slot, Op::Adopt { socket: OwnedFd::from(socket) }).unwrap();
            uring.try_submit(slot, op).unwrap();
        }
        for _ in 0..3 {
            uring.wait(Wait::LOOK).unwrap();
            assert_eq!(uring.reap(&mut Vec::new()), 0);
        }
        assert!(uring.in_flight.is_lending());
        uring.end_lending();
        assert!(!uring.in_flight.is_lending());
        // The peers may be gone already.
        far.iter_mut().take(2).for_each(|far| drop(far.write_all(b"late")));
        let mut told = Vec::new();
        for _ in 0..5 {
            uring.wait(Wait::LOOK).unwrap();
            while uring.reap(&mut told) > 0 {}
        }
        assert!(told.is_empty(), "{told:?}");
    }
}
