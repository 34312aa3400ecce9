//! Sends: straight to the kernel, and behind what it did not take. Never waits, never copies.

use std::os::fd::AsFd;
use std::rc::Rc;

use super::Epoll;
use super::entry::{Outgoing, Unsent};
use crate::driver::{Confirm, Event, Slot, Span};
use crate::sys::{Errno, epoll as calls};

impl Epoll {
    #[inline]
    pub(super) fn send(&mut self, slot: Slot, what: Outgoing, confirm: Confirm) {
        let Some(entry) = Self::live(&mut self.entries, slot) else { return self.let_go(what) };
        if !entry.unsent.is_empty() {
            entry.unsent.push_back(Unsent { what, taken: 0, confirm });
            return;
        }
        self.counters.system_calls += 1;
        let bytes = bytes_of(&self.templates, &what);
        match calls::send(entry.socket.as_fd(), bytes) {
            Ok(taken) if taken == bytes.len() => {
                if confirm == Confirm::Always {
                    self.tell(slot, Event::Sent);
                }
                self.let_go(what);
            }
            Ok(taken) => entry.unsent.push_back(Unsent { what, taken, confirm }),
            Err(Errno(libc::EAGAIN)) => {
                entry.unsent.push_back(Unsent { what, taken: 0, confirm });
            }
            Err(errno) => {
                self.tell(slot, Event::SendFailed { errno, taken: 0 });
                self.let_go(what);
            }
        }
    }

    /// Goes on with what the kernel did not take, now that it has room.
    pub(super) fn send_rest(&mut self, slot: Slot) {
        while let Some(entry) = Self::live(&mut self.entries, slot) {
            let Some(first) = entry.unsent.front_mut() else { return };
            self.counters.system_calls += 1;
            let rest = &bytes_of(&self.templates, &first.what)[first.taken..];
            match calls::send(entry.socket.as_fd(), rest) {
                Ok(taken) if taken < rest.len() => first.taken += taken,
                Err(Errno(libc::EAGAIN)) => return,
                Ok(_) => {
                    let Some(Unsent { what, confirm, .. }) = entry.unsent.pop_front() else {
                        return;
                    };
                    if confirm == Confirm::Always {
                        self.tell(slot, Event::Sent);
                    }
                    self.let_go(what);
                }
                Err(errno) => self.fail_unsent(slot, errno),
            }
        }
    }

    /// Tells of each send that waits that it failed.
    fn fail_unsent(&mut self, slot: Slot, errno: Errno) {
        while let Some(Unsent { what, taken, .. }) =
            Self::live(&mut self.entries, slot).and_then(|entry| entry.unsent.pop_front())
        {
            self.tell(slot, Event::SendFailed { errno, taken: taken as u64 });
            self.let_go(what);
        }
    }

    /// The kernel is done with it.
    #[inline]
    pub(super) fn let_go(&mut self, what: Outgoing) {
        if let Outgoing::Bytes(payload) = what {
            self.spares.finish(payload);
        }
    }
}

#[inline]
fn bytes_of<'a>(templates: &'a [Rc<[u8]>], what: &'a Outgoing) -> &'a [u8] {
    match what {
        Outgoing::Span(span) => span_of(templates, *span),
        Outgoing::Bytes(payload) => payload,
    }
}

#[inline]
fn span_of(templates: &[Rc<[u8]>], span: Span) -> &[u8] {
    let (start, end) = (span.start as usize, span.start as usize + span.bytes as usize);
    let template = templates.get(span.template.0 as usize);
    let bytes = template.and_then(|template| template.get(start..end));
    debug_assert!(bytes.is_some(), "a span outside its template");
    bytes.unwrap_or_default()
}
