//! Completion queue entries as completions: what each flag and result means, in one place. Never submits, except to re-arm a listener.

use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::cqueue;

use super::sentry::Sentry;
use super::{LARGE_BIT, Uring};
use crate::driver::{Armed, Completion, End, Event, Kind, Lent, REAP_MAX, Slot, Token};
use crate::sys::Errno;

impl Uring {
    /// Drains the completion queue into `into`.
    #[inline]
    pub(super) fn reap_some(&mut self, into: &mut Vec<Completion>) -> usize {
        let before = into.len();
        let mut emptied = false;
        for _ in 0..REAP_MAX {
            // One at a time: the entry is copied out, and handling it may need the ring.
            let Some(cqe) = self.ring.completion().next() else {
                emptied = true;
                break;
            };
            self.counters.completions += 1;
            self.handle(&cqe, into);
        }
        if emptied && self.outboxes.is_settling() {
            self.settle(into);
        }
        if !self.closed.is_empty() {
            let room = REAP_MAX.saturating_sub(into.len() - before).min(self.closed.len());
            let closed = self.closed.drain(..room);
            into.extend(closed.map(|slot| Completion { slot, event: Event::Closed }));
        }
        into.len() - before
    }

    #[inline]
    fn handle(&mut self, cqe: &cqueue::Entry, into: &mut Vec<Completion>) {
        let Some(Token { slot, kind }) = Token::unpack(cqe.user_data()) else {
            debug_assert!(false, "a token that nobody made");
            return;
        };
        match kind {
            Kind::Stream | Kind::Once | Kind::Bulk => self.handle_receive(slot, kind, cqe, into),
            Kind::Accept => self.handle_accept(slot, cqe, into),
            Kind::Bytes | Kind::BytesQuiet => self.handle_sent(slot, kind, cqe.result(), into),
            Kind::Sentry => self.handle_sentry(slot, cqe.result()),
            Kind::Wake => self.handle_wake(cqe.flags()),
            _ => self.handle_single(slot, kind, cqe, into),
        }
    }

    /// A piece of a receive, or its end. Flags count, not the result: a receive without `F_MORE` is over, whatever it brought.
    #[inline]
    fn handle_receive(
        &mut self,
        slot: Slot,
        kind: Kind,
        cqe: &cqueue::Entry,
        into: &mut Vec<Completion>,
    ) {
        let (result, flags) = (cqe.result(), cqe.flags());
        let large = if kind == Kind::Bulk { LARGE_BIT } else { 0 };
        let lent = cqueue::buffer_select(flags).map(|id| {
            // 5.19: bytes, or the end (`tcp_inq_hint` counts a FIN as one).
            let has_more = cqueue::sock_nonempty(flags);
            self.lender.lend(id | large, 0, result.max(0) as u32, has_more)
        });
        let armed = if cqueue::more(flags) { Armed::Yes } else { Armed::No };
        let (closing, sentry) = self
            .in_flight
            .live(slot)
            .map_or((true, Sentry::Nobody), |entry| (entry.closing(), entry.sentry));
        match lent {
            Some(lent) if result > 0 && !closing => {
                into.push(Completion { slot, event: Event::Received(lent, armed) });
                if armed == Armed::Yes && sentry == Sentry::Nobody {
                    self.want_sentry(slot);
                }
            }
            // Late, or an end that took a buffer along: the slot may have gone on, the buffer has not.
            Some(lent) => self.take_back(lent),
            None => {}
        }
        if result <= 0 && !closing {
            self.tell_end(slot, result, into);
        }
        if armed == Armed::No {
            self.receive_ended(slot);
        }
    }

    /// Connects, confirmed and quiet sends, discards and cancellations: one completion each.
    fn handle_single(
        &mut self,
        slot: Slot,
        kind: Kind,
        cqe: &cqueue::Entry,
        into: &mut Vec<Completion>,
    ) {
        let (result, flags) = (cqe.result(), cqe.flags());
        let Some(entry) = self.in_flight.live(slot) else { return };
        if kind == Kind::Connect {
            entry.drop_address();
        }
        if !entry.closing() {
            match kind {
                Kind::Discard if result <= 0 => self.tell_end(slot, result, into),
                _ => into
                    .extend(event_of(kind, result, flags).map(|event| Completion { slot, event })),
            }
        }
        if kind != Kind::SendQuiet {
            match kind {
                Kind::Discard => self.receive_ended(slot),
                _ => self.ended(slot),
            }
        }
        if kind == Kind::Cancel && self.in_flight.live(slot).is_some_and(|entry| entry.closing()) {
            self.lingering.push(slot);
            self.attention = true;
        }
    }

    /// An accepted connection. A listener that stopped by itself is armed again, unless it would stop at once.
    fn handle_accept(&mut self, slot: Slot, cqe: &cqueue::Entry, into: &mut Vec<Completion>) {
        let result = cqe.result();
        let closing = self.in_flight.live(slot).is_none_or(|entry| entry.closing());
        if result >= 0 {
            // SAFETY: the kernel has just made this descriptor for us (io_uring_prep_multishot_accept(3)), and nobody else knows it.
            let socket = unsafe { OwnedFd::from_raw_fd(result) };
            if !closing {
                into.push(Completion { slot, event: Event::Accepted(socket) });
            }
        }
        if cqueue::more(cqe.flags()) {
            return;
        }
        self.ended(slot);
        let failure = match -result {
            _ if closing => None,
            // Whoever had connected has gone (accept(2)), or nothing is wrong.
            ..=0 | libc::ECONNABORTED | libc::EINTR => {
                self.accept(slot).err().map(|()| libc::EBUSY)
            }
            errno => Some(errno),
        };
        into.extend(
            failure.map(|errno| Completion { slot, event: Event::AcceptFailed(Errno(errno)) }),
        );
    }

    /// The end of a receive or discard that brought no bytes.
    fn tell_end(&mut self, slot: Slot, result: i32, into: &mut Vec<Completion>) {
        let end = match -result {
            0 => End::Eof,
            libc::ENOBUFS => {
                self.counters.buffers_starved += 1;
                End::Starved
            }
            libc::ECANCELED | libc::EINTR => End::Stopped,
            errno => End::Failed(Errno(errno)),
        };
        into.push(Completion { slot, event: Event::ReceiveEnded(end) });
    }

    /// The last completion of a receive or discard: another may be asked for.
    fn receive_ended(&mut self, slot: Slot) {
        if let Some(entry) = self.in_flight.live(slot) {
            entry.receive = None;
        }
        self.ended(slot);
    }

    /// An operation's last completion: a closing slot that was waiting for it closes now.
    pub(super) fn ended(&mut self, slot: Slot) {
        let Some(entry) = self.in_flight.live(slot) else { return };
        entry.ended();
        if entry.closing() && entry.idle() {
            self.finish_close(slot);
        }
    }

    /// Hands out what was reaped before an enter.
    pub(super) fn reap_told(&mut self, into: &mut Vec<Completion>) -> usize {
        let count = self.told.len().min(REAP_MAX);
        into.extend(self.told.drain(..count));
        count
    }

    fn take_back(&mut self, lent: Lent) {
        use crate::driver::Driver;
        self.give_back(lent);
    }
}

/// What a single completion says; `None` for one that needs no telling.
fn event_of(kind: Kind, result: i32, flags: u32) -> Option<Event> {
    let errno = Errno(-result);
    Some(match kind {
        Kind::Connect if result < 0 => Event::ConnectFailed(errno),
        Kind::Connect => Event::Connected,
        Kind::Send if result >= 0 => Event::Sent,
        Kind::Send => Event::SendFailed { errno, taken: 0 },
        // With MSG_WAITALL a short send means that the rest failed.
        Kind::SendQuiet if result >= 0 => {
            Event::SendFailed { errno: Errno(libc::EPIPE), taken: result as u64 }
        }
        Kind::SendQuiet => Event::SendFailed { errno, taken: 0 },
        Kind::Discard => {
            Event::Discarded { bytes: result as u64, has_more: cqueue::sock_nonempty(flags) }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use crate::driver::uring::{Config, Uring};
    use crate::driver::{Driver, End, Event, Op, Slot, Wait, Window};

    /// A single look brings some of it, and the driver knows that there is more.
    #[test]
    fn many_ends_at_once_are_all_brought_in() {
        const SOCKETS: u32 = 100;
        let Ok(mut uring) = Uring::open(Config::for_slots(SOCKETS)) else {
            return eprintln!("skipped: no io_uring here");
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut far = Vec::new();
        for index in 0..SOCKETS {
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            far.push(listener.accept().unwrap().0);
            let slot = Slot::first(index);
            uring.try_submit(slot, Op::Adopt { socket: OwnedFd::from(near) }).unwrap();
            uring.try_submit(slot, Op::Receive(Window::Stream)).unwrap();
        }
        for _ in 0..3 {
            uring.wait(Wait::LOOK).unwrap();
            assert_eq!(uring.reap(&mut Vec::new()), 0);
        }
        drop(far);
        uring.wait(Wait::LOOK).unwrap();
        let mut looks = 0;
        while uring.has_more() && looks < SOCKETS {
            uring.wait(Wait::LOOK).unwrap();
            looks += 1;
        }
        let mut told = Vec::new();
        while uring.reap(&mut told) > 0 {}
        let ends = told.iter().filter(|it| matches!(it.event, Event::ReceiveEnded(End::Eof)));
        assert_eq!(ends.count(), SOCKETS as usize, "after {looks} looks more");
    }
}
