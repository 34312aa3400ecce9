//! Sends. Templates go straight through, with nothing to remember; the caller's own bytes stay in the slot's outbox until the kernel is done with them.

use super::outbox::{Current, Stage, Waiting};
use super::{Uring, prep};
use crate::driver::{Completion, Confirm, Event, Full, Kind, Op, Payload, Slot, Span, Token};
use crate::sys::Errno;

/// The most that one submission sends, in bytes; the rest follows when it is done.
const SEND_BYTES_MAX: usize = 1 << 30;

impl Uring {
    #[inline]
    pub(super) fn send(&mut self, slot: Slot, span: Span, confirm: Confirm) -> Result<(), ()> {
        // A quiet send of a slot that closes could go out on its place's next socket.
        let Some(entry) = self.in_flight.live(slot).filter(|entry| !entry.closing()) else {
            return Ok(());
        };
        if entry.sending {
            self.attention |= self.outboxes.wait_behind(slot, Waiting::Span(span, confirm));
            return Ok(());
        }
        self.send_span(slot, span, confirm)
    }

    #[inline]
    fn send_span(&mut self, slot: Slot, span: Span, confirm: Confirm) -> Result<(), ()> {
        let Some(entry) = self.in_flight.live(slot) else { return Ok(()) };
        let target = Self::target(self.descriptors, slot, entry);
        let (start, end) = (span.start as usize, span.start as usize + span.bytes as usize);
        let template = self.templates.get(span.template.0 as usize);
        let Some(bytes) = template.and_then(|template| template.get(start..end)) else {
            debug_assert!(false, "a span outside its template");
            return Ok(());
        };
        // SAFETY: templates stay as they are as long as the driver, whose end ends their
        // sends (`end_lending`); those that a closed slot leaves behind have ended
        // by then: they fitted, or were cut off (`finish_close`).
        let sqe = unsafe { prep::send(target, bytes) };
        match confirm {
            Confirm::OnFailure => {
                entry.quiet_batch = self.batch;
                entry.quiet_bytes = entry.quiet_bytes.saturating_add(span.bytes);
                self.push(&prep::quiet(sqe).told_as(Token { slot, kind: Kind::SendQuiet }))
            }
            Confirm::Always => {
                self.push(&sqe.told_as(Token { slot, kind: Kind::Send }))?;
                self.started(slot, None);
                Ok(())
            }
        }
    }

    pub(super) fn send_bytes(
        &mut self,
        slot: Slot,
        bytes: Payload,
        confirm: Confirm,
    ) -> Result<(), Full> {
        let Some(entry) = self.in_flight.live(slot).filter(|entry| !entry.closing()) else {
            self.outboxes.spares.finish(bytes);
            return Ok(());
        };
        if entry.sending {
            self.attention |= self.outboxes.wait_behind(slot, Waiting::Bytes(bytes, confirm));
            return Ok(());
        }
        let stage = stage_of(&bytes, confirm);
        // SAFETY: `begin` makes it the current payload, whose bytes lie where they are
        // whoever holds it.
        if unsafe { self.push_bytes(slot, &bytes, stage) }.is_err() {
            return Err(Full { op: Op::SendBytes { bytes, confirm } });
        }
        self.begin(slot, Current { payload: bytes, taken: 0, confirm, stage });
        Ok(())
    }

    /// The slot's next sends wait behind this one from now on.
    fn begin(&mut self, slot: Slot, current: Current) {
        if let Some(entry) = self.in_flight.live(slot) {
            entry.sending = true;
            entry.started();
            self.outboxes.begin(slot, current);
        }
    }

    /// Queues what is left of a payload.
    ///
    /// # Safety
    /// If it is queued, the memory belongs to the slot's current payload from now on.
    unsafe fn push_bytes(&mut self, slot: Slot, rest: &[u8], stage: Stage) -> Result<(), ()> {
        let Some(entry) = self.in_flight.live(slot) else { return Err(()) };
        let target = Self::target(self.descriptors, slot, entry);
        let part = &rest[..rest.len().min(SEND_BYTES_MAX)];
        let (kind, sqe) = match stage {
            // SAFETY: a current payload stays as it is until its sends are over
            // (outbox, invariant 1).
            Stage::Quiet => (Kind::BytesQuiet, unsafe { prep::send_now(target, part) }),
            // SAFETY: as above.
            Stage::Told => (Kind::Bytes, unsafe { prep::send(target, part) }),
        };
        self.push(&sqe.told_as(Token { slot, kind }))
    }

    /// A payload's completion: all of it is sent, or a part, or it failed.
    pub(super) fn handle_sent(
        &mut self,
        slot: Slot,
        kind: Kind,
        result: i32,
        into: &mut Vec<Completion>,
    ) {
        if kind == Kind::BytesQuiet {
            self.outboxes.unlist(slot);
        }
        let closing = self.in_flight.live(slot).is_none_or(|entry| entry.closing());
        let Some(current) = self.outboxes.current(slot) else {
            debug_assert!(false, "a completion of bytes that nobody sends");
            return;
        };
        current.stage = Stage::Told;
        current.taken += result.max(0) as usize;
        let whole = current.taken >= current.payload.len();
        let again = match -result {
            libc::EAGAIN => kind == Kind::BytesQuiet,
            libc::EINTR => true,
            // A part: the rest either follows, or says why it can't.
            _ => result > 0,
        };
        match whole || closing {
            true => self.finish(slot, into),
            false if again => self.go_on(slot),
            false if result == 0 => self.fail(slot, Errno(libc::EPIPE), into),
            false => self.fail(slot, Errno(-result), into),
        }
    }

    /// Submits what is left of the current payload.
    fn go_on(&mut self, slot: Slot) {
        let Some(current) = self.outboxes.current(slot) else { return };
        let rest = &raw const current.payload[current.taken..];
        let stage = current.stage;
        // SAFETY: the current payload stays as it is until `end` (outbox, invariant 1), which nothing below calls.
        let rest = unsafe { &*rest };
        // SAFETY: it is the current payload.
        if unsafe { self.push_bytes(slot, rest, stage) }.is_err() {
            self.stall(slot);
        }
    }

    /// No room to submit a slot's next send: the next wait tries again. What is not submitted must not be taken for a quiet send that is over.
    fn stall(&mut self, slot: Slot) {
        if let Some(current) = self.outboxes.current(slot) {
            current.stage = Stage::Told;
            self.outboxes.unlist(slot);
        }
        self.outboxes.stalled.push(slot);
        self.attention = true;
    }

    /// The kernel has all of the current payload, or the slot is closing: what waits comes next.
    fn finish(&mut self, slot: Slot, into: &mut Vec<Completion>) {
        let Some(current) = self.outboxes.end(slot) else { return };
        let closing = self.in_flight.live(slot).is_none_or(|entry| entry.closing());
        if current.confirm == Confirm::Always && !closing {
            into.push(Completion { slot, event: Event::Sent });
        }
        self.outboxes.spares.finish(current.payload);
        self.send_next(slot);
        self.ended(slot);
    }

    /// Starts what waits, up to the next payload.
    fn send_next(&mut self, slot: Slot) {
        while let Some(next) = self.outboxes.next_waiting(slot) {
            match next {
                Waiting::Span(span, confirm) => {
                    if self.send_span(slot, span, confirm).is_err() {
                        self.outboxes.put_back(slot, Waiting::Span(span, confirm));
                        return self.stall(slot);
                    }
                }
                Waiting::Bytes(payload, confirm) => {
                    let stage = stage_of(&payload, confirm);
                    self.begin(slot, Current { payload, taken: 0, confirm, stage });
                    self.attention |= self.outboxes.crowded;
                    return self.go_on(slot);
                }
            }
        }
        if let Some(entry) = self.in_flight.live(slot) {
            entry.sending = false;
        }
    }

    /// The current payload failed, and with it all that waits.
    fn fail(&mut self, slot: Slot, errno: Errno, into: &mut Vec<Completion>) {
        let Some(current) = self.outboxes.end(slot) else { return };
        let taken = current.taken as u64;
        into.push(Completion { slot, event: Event::SendFailed { errno, taken } });
        self.outboxes.spares.finish(current.payload);
        while let Some(waiting) = self.outboxes.next_waiting(slot) {
            into.push(Completion { slot, event: Event::SendFailed { errno, taken: 0 } });
            if let Waiting::Bytes(payload, _) = waiting {
                self.outboxes.spares.finish(payload);
            }
        }
        if let Some(entry) = self.in_flight.live(slot) {
            entry.sending = false;
        }
        self.ended(slot);
    }

    /// After an enter: if it took all that was queued, quiet sends of bytes are over, and those of templates name no socket any more.
    #[inline]
    pub(super) fn note_submitted(&mut self) {
        if self.ring.submission().is_empty() {
            self.batch += 1;
            self.outboxes.note_executed();
        }
    }

    /// The completion queue is empty: quiet sends that were executed and told nothing went out whole.
    pub(super) fn settle(&mut self, into: &mut Vec<Completion>) {
        // Completions may wait in the kernel for room in the queue.
        if self.ring.submission().cq_overflow() {
            return;
        }
        let mut place = 0;
        while let Some(slot) = self.outboxes.settled(place) {
            self.finish(slot, into);
            place += 1;
        }
        self.outboxes.drop_settled();
    }

    /// Before an enter: what found no room tries again, and what waits behind quiet sends learns whether they are over, so that it does not wait for the
    /// completions that the enter waits for.
    pub(super) fn attend(&mut self) {
        self.attention = false;
        if std::mem::take(&mut self.deaf) && self.listen_for_wakes().is_err() {
            (self.deaf, self.attention) = (true, true);
        }
        self.end_lingering();
        self.attend_sentries();
        let mut told = std::mem::take(&mut self.told);
        for slot in std::mem::take(&mut self.outboxes.stalled) {
            self.retry(slot, &mut told);
        }
        while std::mem::take(&mut self.outboxes.crowded) {
            self.counters.system_calls += 1;
            // An error here shows as entries that are not taken.
            let _ = self.ring.submit();
            self.note_submitted();
            let stuck = self.outboxes.is_unnoted();
            while self.reap_some(&mut told) > 0 {}
            if stuck || self.outboxes.is_settling() {
                (self.outboxes.crowded, self.attention) = (true, true);
                break;
            }
        }
        self.told = told;
    }

    fn retry(&mut self, slot: Slot, into: &mut Vec<Completion>) {
        let Some(entry) = self.in_flight.live(slot) else { return };
        if self.outboxes.current(slot).is_none() {
            self.send_next(slot);
        } else if entry.closing() {
            self.finish(slot, into);
        } else {
            self.go_on(slot);
        }
    }
}

fn stage_of(bytes: &Payload, confirm: Confirm) -> Stage {
    let quiet = confirm == Confirm::OnFailure && bytes.len() <= SEND_BYTES_MAX;
    if quiet { Stage::Quiet } else { Stage::Told }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use io_uring::IoUring;

    use super::super::prep::Target;
    use super::*;

    /// Sends without confirmation and returns what the kernel said of it by the end of the enter.
    fn send_now(ring: &mut IoUring, socket: &TcpStream, bytes: &[u8]) -> Vec<i32> {
        let target = Target::Plain(socket.as_raw_fd());
        // SAFETY: the bytes outlive the enter, and with it the send: what this test is about.
        let sqe = unsafe { prep::send_now(target, bytes) };
        // SAFETY: as above.
        unsafe { ring.submission().push(sqe.entry()) }.unwrap();
        ring.submit().unwrap();
        assert!(ring.submission().is_empty());
        ring.completion().map(|entry| entry.result()).collect()
    }

    /// What quiet sends rely on: a short send and one without room tell it in spite of `IOSQE_CQE_SKIP_SUCCESS`, and leave nothing in the kernel.
    #[test]
    fn the_kernel_ends_a_quiet_send_within_its_enter() {
        let mut deferred = IoUring::builder();
        deferred.setup_single_issuer().setup_defer_taskrun();
        let mut cooperative = IoUring::builder();
        cooperative.setup_coop_taskrun();
        let rings = [deferred.build(8), cooperative.build(8), IoUring::builder().build(8)];
        for mut ring in rings.into_iter().flatten() {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut far = listener.accept().unwrap().0;
            socket2::SockRef::from(&near).set_send_buffer_size(8192).unwrap();
            assert_eq!(send_now(&mut ring, &near, b"fits"), []);
            let (mut sent, mut short) = (4, 0);
            let large = vec![b'x'; 16 << 20];
            loop {
                match send_now(&mut ring, &near, &large)[..] {
                    [count] if count > 0 => (sent, short) = (sent + count as usize, short + 1),
                    [error] => break assert_eq!(error, -libc::EAGAIN),
                    ref other => panic!("{other:?} for a send that can't fit"),
                }
            }
            assert!(short > 0);
            far.read_exact(&mut vec![0; sent]).unwrap();
            // There is room now: what the kernel still held would come.
            std::thread::sleep(std::time::Duration::from_millis(20));
            ring.submit().unwrap();
            assert_eq!(ring.completion().count(), 0);
            far.set_nonblocking(true).unwrap();
            assert_eq!(far.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }
}
