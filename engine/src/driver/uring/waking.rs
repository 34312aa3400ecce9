//! Wakes from other threads, and the alarm for a host that sleeps elsewhere. Lends the kernel no memory.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use io_uring::cqueue;

use super::{Uring, prep};
use crate::driver::{Kind, Slot, Token, keep_wakes};
use crate::sys::eventfd::EventFd;
use crate::sys::socket::{self, Blocking};

impl Uring {
    pub(super) fn watch_counter(&mut self, wakes: EventFd) -> io::Result<()> {
        keep_wakes(&mut self.wakes, wakes)?;
        self.listen_for_wakes().map_err(|()| {
            self.wakes = None;
            io::Error::from_raw_os_error(libc::EBUSY)
        })
    }

    /// Has the kernel tell wakes from now on.
    pub(super) fn listen_for_wakes(&mut self) -> Result<(), ()> {
        let Some(wakes) = &self.wakes else { return Ok(()) };
        let token = Token { slot: Slot::first(0), kind: Kind::Wake };
        self.push(&prep::poll_counter(wakes.as_fd().as_raw_fd()).told_as(token))
    }

    /// Somebody woke the driver, which is all that was wanted.
    pub(super) fn handle_wake(&mut self, cqe_flags: u32) {
        self.counters.system_calls += 1;
        self.wakes.as_ref().map(EventFd::drain);
        if !cqueue::more(cqe_flags) {
            self.deaf = true;
            self.attention = true;
        }
    }

    /// A counter that the ring signals when completions, or work that leads to them, arrive (io_uring_register(2), `IORING_REGISTER_EVENTFD`).
    pub(super) fn alarm_counter(&mut self) -> io::Result<OwnedFd> {
        if self.alarm.is_none() {
            let counter = EventFd::new()?;
            socket::set_blocking(&counter, Blocking::Yes)?;
            self.ring.submitter().register_eventfd(counter.as_fd().as_raw_fd())?;
            self.counters.system_calls += 1;
            self.alarm = Some(counter);
        }
        let alarm = self.alarm.as_ref().map(EventFd::try_clone);
        alarm.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into())).map(OwnedFd::from)
    }
}
