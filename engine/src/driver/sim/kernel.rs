//! What operations do to simulated sockets, and when the caller is told: the part of a kernel.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::network::Travel;
use super::socket::{Channel, Ending, Phase, Reading, Socket};
use super::{Happening, Sim, Told};
use crate::driver::{Armed, Completion, Confirm, End, Event, Op, Slot, Span, Window};
use crate::sys::Errno;

/// How a connect can be refused.
const REFUSALS: [i32; 4] =
    [libc::ECONNREFUSED, libc::EHOSTUNREACH, libc::ENETUNREACH, libc::ETIMEDOUT];

impl Sim {
    /// Executes an operation of a slot that the rules admit.
    pub(super) fn execute(&mut self, slot: Slot, op: Op) {
        match op {
            Op::Connect { socket, peer } => self.connect(slot, socket, peer),
            Op::Send { span, confirm } => {
                let bytes = self.span(slot, span);
                self.send(slot, &bytes, confirm);
            }
            Op::SendBytes { bytes, confirm } => {
                self.send(slot, &bytes, confirm);
                self.spares.finish(bytes);
            }
            Op::Receive(window) => self.read(slot, Reading::Piece(window)),
            Op::Discard { bytes } => self.read(slot, Reading::Discard(bytes)),
            Op::Stop => self.stop(slot),
            // Peers of the simulation don't tell one end from the other.
            Op::ResetOnClose => self.note(slot, "reset on close", 0),
            Op::Close => self.close(slot),
            Op::Adopt { socket } => {
                self.note(slot, "adopt", 0);
                self.occupy(slot, socket);
                self.establish(slot);
            }
            // Nobody dials into the simulation: a listener hears nothing until it is closed.
            Op::Accept => {}
            Op::Listen { socket } => {
                self.note(slot, "listen", 0);
                self.occupy(slot, socket);
            }
        }
    }

    fn occupy(&mut self, slot: Slot, descriptor: OwnedFd) {
        let now = self.now();
        if let Some(place) = self.sockets.get_mut(slot.index as usize) {
            *place = Some(Socket::new(slot.generation, descriptor, now));
        }
    }

    fn connect(&mut self, slot: Slot, descriptor: OwnedFd, peer: SocketAddr) {
        self.note(slot, "connect", 0);
        self.occupy(slot, descriptor);
        if let Some(socket) = self.socket(slot) {
            socket.address = Some(peer);
        }
        let faults = self.faults();
        let mut at = self.now() + self.latency();
        if self.random.chance(faults.unanswered) {
            return;
        }
        let refused = self.random.chance(faults.refused);
        if self.random.chance(faults.late_connect) {
            at += self.random.below(faults.late_connect_max.as_nanos() as u64);
        } else if refused && self.random.chance(0.5) {
            at = self.now();
        }
        let errno = Errno(self.random.pick(&REFUSALS).copied().unwrap_or(libc::ECONNREFUSED));
        self.travel_at(at, slot, Travel::Answer(if refused { Err(errno) } else { Ok(()) }));
    }

    fn send(&mut self, slot: Slot, bytes: &[u8], confirm: Confirm) {
        self.note(slot, "send", bytes.len() as u64);
        let channel = match confirm {
            Confirm::OnFailure => Channel::QuietSend,
            Confirm::Always => Channel::Send,
        };
        let Some(socket) = self.socket(slot) else { return };
        if let Some(errno) = socket.broken {
            self.fail_send(slot, channel, errno, 0);
            return;
        }
        if self.strikes(|faults| faults.send_fails) {
            let reached = self.random.below(bytes.len() as u64 + 1) as usize;
            let whole = self.random.chance(0.3);
            let reached = if whole { bytes.len() } else { reached };
            self.send_up(slot, &bytes[..reached]);
            self.fail_send(slot, channel, Errno(libc::ECONNRESET), reached);
            self.break_soon(slot);
            return;
        }
        self.send_up(slot, bytes);
        if confirm == Confirm::Always {
            let at = self.now() + self.random.below(2) * self.latency();
            self.tell_from(at, slot, channel, Event::Sent);
        }
    }

    /// Tells a failed send now, or so late that the response may come before it.
    fn fail_send(&mut self, slot: Slot, channel: Channel, errno: Errno, taken: usize) {
        self.seen.send_failures += 1;
        let at = self.now() + self.random.below(5) * self.latency();
        let event = Event::SendFailed { errno, taken: taken as u64 };
        self.tell_from(at, slot, channel, event);
    }

    /// Later sends fail, and a reset arrives: at once, or after what the peer still answers.
    fn break_soon(&mut self, slot: Slot) {
        let at = self.now() + self.random.below(5) * self.latency();
        if let Some(socket) = self.socket(slot) {
            socket.broken = Some(Errno(libc::EPIPE));
        }
        self.travel_at(at, slot, Travel::Reset);
    }

    fn span(&mut self, slot: Slot, span: Span) -> Vec<u8> {
        let (start, end) = (span.start as usize, span.start as usize + span.bytes as usize);
        let template = self.templates.get(span.template.0 as usize);
        let bytes = template.and_then(|template| template.get(start..end)).map(<[u8]>::to_vec);
        bytes.unwrap_or_else(|| {
            self.rules.violate("a span outside its template", slot);
            Vec::new()
        })
    }

    fn read(&mut self, slot: Slot, reading: Reading) {
        let what = match reading {
            Reading::Piece(Window::Stream) => "stream",
            Reading::Piece(Window::Once) => "once",
            Reading::Piece(Window::Bulk) => "bulk",
            Reading::Discard(_) => "discard",
        };
        self.note(slot, what, if let Reading::Discard(bytes) = reading { bytes } else { 0 });
        if let Some(socket) = self.socket(slot) {
            socket.reading = Some(reading);
        }
        self.feed(slot);
    }

    /// Gives a reader what there is, for as long as it reads.
    pub(super) fn feed(&mut self, slot: Slot) {
        if self.socket(slot).is_some_and(|socket| socket.reading.is_some())
            && self.random.chance(self.config.quirks.interrupted)
        {
            self.seen.interruptions += 1;
            let end = if self.random.chance(0.5) { End::Starved } else { End::Stopped };
            self.end_reading(slot, end);
        }
        while let Some(socket) = self.socket(slot) {
            let Some(reading) = socket.reading else { return };
            let there = socket.inbound.len() as u64;
            match (reading, socket.ending) {
                (_, None) if there == 0 => return,
                (_, Some(Ending::Fin)) if there == 0 => self.end_reading(slot, End::Eof),
                (_, Some(Ending::Reset(errno))) if there == 0 => {
                    self.end_reading(slot, End::Failed(errno));
                }
                (Reading::Discard(bytes), _) => self.discard(slot, bytes.min(there)),
                (Reading::Piece(window), _) => self.piece(slot, window, there),
            }
        }
    }

    fn end_reading(&mut self, slot: Slot, end: End) {
        if let Some(socket) = self.socket(slot) {
            socket.reading = None;
        }
        // A receive that finds no buffer must not be asked for again within the same instant: the caller could do that for ever.
        let at = self.now() + if end == End::Starved { self.latency() } else { 0 };
        self.tell_from(at, slot, Channel::Receive, Event::ReceiveEnded(end));
    }

    fn discard(&mut self, slot: Slot, most: u64) {
        let bytes = self.random.part(most, self.config.quirks.partial);
        self.seen.short_discards += u64::from(bytes < most);
        let Some(socket) = self.socket(slot) else { return };
        socket.reading = None;
        socket.inbound.drain(..bytes as usize);
        let has_more = !socket.inbound.is_empty() || socket.ending.is_some();
        self.tell(slot, Channel::Receive, Event::Discarded { bytes, has_more });
    }

    fn piece(&mut self, slot: Slot, window: Window, there: u64) {
        let large = window == Window::Bulk;
        let buffers = if large { &self.large } else { &self.small };
        if buffers.is_empty() {
            self.counters.buffers_starved += 1;
            self.end_reading(slot, End::Starved);
            return;
        }
        let most = there.min(u64::from(buffers.bytes_max));
        let bytes = self.random.part(most, self.config.quirks.partial) as usize;
        let stays = window == Window::Stream && !self.random.chance(self.config.quirks.stream_ends);
        let buffers = if large { &mut self.large } else { &mut self.small };
        let socket = self.sockets.get_mut(slot.index as usize).and_then(Option::as_mut);
        let Some(socket) = socket else { return };
        let has_more = socket.inbound.len() > bytes || socket.ending.is_some();
        let inbound = socket.inbound.drain(..bytes);
        let Some(lent) = buffers.fill(&self.lender, inbound, has_more) else { return };
        let armed = if stays { Armed::Yes } else { Armed::No };
        if armed == Armed::No {
            socket.reading = None;
        }
        self.tell(slot, Channel::Receive, Event::Received(lent, armed));
    }

    fn stop(&mut self, slot: Slot) {
        self.note(slot, "stop", 0);
        let Some(socket) = self.socket(slot) else { return };
        if socket.reading.is_some() {
            self.end_reading(slot, End::Stopped);
        } else {
            self.seen.late_stops += 1;
        }
    }

    fn close(&mut self, slot: Slot) {
        self.note(slot, "close", 0);
        let afterlife = self.random.chance(self.config.quirks.afterlife);
        let Some(socket) = self.socket(slot) else { return };
        let (connecting, reading) = (socket.phase == Phase::Connecting, socket.reading.is_some());
        socket.shut();
        if afterlife && connecting {
            let errno = Errno(libc::ECANCELED);
            self.tell(slot, Channel::Connect, Event::ConnectFailed(errno));
        }
        if afterlife && reading {
            self.tell(slot, Channel::Receive, Event::ReceiveEnded(End::Stopped));
        }
        self.tell(slot, Channel::Close, Event::Closed);
    }

    pub(super) fn tell(&mut self, slot: Slot, channel: Channel, event: Event) {
        self.tell_from(self.now(), slot, channel, event);
    }

    /// Tells a completion at `at`, or late, and never before those of its channel.
    fn tell_from(&mut self, mut at: u64, slot: Slot, channel: Channel, event: Event) {
        let now = self.now();
        if self.random.chance(self.config.quirks.late) {
            at += self.random.below(self.config.quirks.late_max.as_nanos() as u64);
        }
        let Some(socket) = self.socket(slot) else { return };
        let at = socket.tell_at(channel, at);
        let told = Told { completion: Completion { slot, event }, channel };
        if at <= now {
            self.show(told);
        } else {
            self.agenda.enter(at, Happening::Tell(told));
        }
    }

    /// A completion can be reaped from now on. Those of a slot that is being closed may be dropped instead.
    pub(super) fn show(&mut self, told: Told) {
        let closing =
            self.socket(told.completion.slot).is_some_and(|it| it.phase == Phase::Closing);
        let dropped = closing
            && told.channel != Channel::Close
            && !self.random.chance(self.config.quirks.afterlife);
        if dropped {
            self.drop_unseen(&told.completion);
        } else {
            self.ready.push(told);
        }
    }
}
