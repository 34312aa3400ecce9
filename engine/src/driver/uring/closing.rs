//! The end of a slot: cancel, wait for the last completion, close, tell. The end of the driver: cancel all of it. Only the latter blocks, for [`CANCEL_MAX`] at most.

use std::time::Duration;

use io_uring::EnterFlags;
use io_uring::types::{CancelBuilder, Timespec};

use super::buf_ring::BufRing;
use super::outbox::Outboxes;
use super::{Descriptors, Uring, prep};
use crate::driver::{Kind, Slot, Token};
use crate::sys::socket;

/// The longest that the kernel is given to cancel what is in flight. On sockets it takes no time: nothing of theirs runs on another thread.
const CANCEL_MAX: Duration = Duration::from_secs(1);
/// Times that all is cancelled: an operation that is about to be tried again is not found, but is when it has been.
const CANCEL_ROUNDS: u32 = 2;

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
        let sqe = prep::cancel_all(Self::target(descriptors, slot, entry));
        self.push(&sqe.user_data(Token { slot, kind: Kind::Cancel }.pack()))?;
        if let Some(entry) = self.in_flight.live(slot) {
            entry.set_closing();
            entry.started();
        }
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

    /// Sees to it that the kernel touches none of the memory that it was lent. A ring is taken down some time after it was closed, and its operations may run until
    /// then, on this thread at the end of any system call. Where nothing can be cancelled (before Linux 6.0) the memory is left.
    pub(super) fn end_lending(&mut self) {
        if (0..CANCEL_ROUNDS).all(|_| self.cancel_everything()) {
            return;
        }
        self.small.leave();
        self.large.iter_mut().for_each(BufRing::leave);
        std::mem::forget(std::mem::take(&mut self.templates));
        std::mem::forget(std::mem::replace(&mut self.outboxes, Outboxes::new(0)));
    }

    /// Whether all that is in flight was cancelled. What is queued stays there, and is never submitted.
    fn cancel_everything(&mut self) -> bool {
        // SAFETY: nothing is submitted and no argument passed; what waits to be tried again is.
        let _ =
            unsafe { self.ring.submitter().enter::<()>(0, 0, EnterFlags::GETEVENTS.bits(), None) };
        let most = Timespec::new().sec(CANCEL_MAX.as_secs());
        let cancelled =
            self.ring.submitter().register_sync_cancel(Some(most), CancelBuilder::any());
        self.counters.system_calls += 2;
        cancelled.map_or_else(|error| error.raw_os_error() == Some(libc::ENOENT), |()| true)
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
    use crate::driver::{Confirm, Driver, End, Event, Op, Payload, Slot, Span, Wait, Window};

    /// Everything that a driver can have in flight, cancelled: what comes then finds nobody, and the memory could be freed.
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
        uring.end_lending();
        far.iter_mut().take(2).for_each(|far| far.write_all(b"late").unwrap());
        let mut told = Vec::new();
        for _ in 0..5 {
            uring.wait(Wait::LOOK).unwrap();
            while uring.reap(&mut told) > 0 {}
        }
        let mut ends: Vec<String> =
            told.iter().map(|it| format!("{} {:?}", it.slot.index, it.event)).collect();
        ends.sort();
        let is_end = |event: &Event| {
            matches!(
                event,
                Event::ReceiveEnded(End::Stopped) | Event::SendFailed { .. } | Event::Sent
            )
        };
        assert!(told.iter().all(|it| is_end(&it.event)), "{ends:?}");
        assert!(ends.len() >= 3, "{ends:?}");
    }
}
