//! The contract as the caller must keep it, checked at each submission and each hand-out. Records, never panics: the test decides.

use std::mem::{Discriminant, discriminant};

use super::super::{Armed, Completion, Confirm, End, Event, Op, Slot};

/// Violations that are kept in words; more are only counted.
const VIOLATIONS_KEPT: usize = 16;

/// A slot as the caller knows it: changed by what it submits and by what it is told, not by what the kernel does meanwhile.
#[derive(Debug, Clone, Copy, Default)]
struct Watch {
    /// The last use, if there was any.
    generation: Option<u32>,
    stage: Stage,
    receiving: bool,
    confirming: bool,
    /// A receive told its final end.
    ended: bool,
    /// Handed back by `Full`: it has to come again before any other of its slot.
    refused: Option<Discriminant<Op>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Vacant,
    Connecting,
    Connected,
    Failed,
    Closing,
}

/// Watches the caller of a driver.
#[derive(Debug)]
pub(super) struct Rules {
    slots: Vec<Watch>,
    pub(super) kept: Vec<String>,
    pub(super) count: u64,
}

impl Rules {
    pub(super) fn new(slots: u32) -> Self {
        Self { slots: vec![Watch::default(); slots as usize], kept: Vec::new(), count: 0 }
    }

    pub(super) fn violate(&mut self, what: &str, slot: Slot) {
        self.count += 1;
        if self.kept.len() < VIOLATIONS_KEPT {
            self.kept.push(format!("slot {}/{}: {what}", slot.index, slot.generation));
        }
    }

    /// An operation was handed back for want of room.
    pub(super) fn refuse(&mut self, slot: Slot, op: &Op) {
        if let Some(watch) = self.slots.get_mut(slot.index as usize) {
            let waiting = *watch.refused.get_or_insert(discriminant(op));
            if waiting != discriminant(op) {
                self.violate("an operation overtakes one that was handed back", slot);
            }
        }
    }

    /// An operation is taken: `false` if it can't be executed at all.
    pub(super) fn submit(&mut self, slot: Slot, op: &Op) -> bool {
        let Some(watch) = self.slots.get_mut(slot.index as usize) else {
            self.violate("an index out of range", slot);
            return false;
        };
        let waiting = watch.refused.take();
        let before = *watch;
        let verdict = match op {
            Op::Connect { .. } | Op::Adopt { .. } | Op::Listen { .. } => watch.open(slot, op),
            _ => watch.operate(slot, op),
        };
        if waiting.is_some_and(|waiting| waiting != discriminant(op)) {
            self.violate("an operation overtakes one that was handed back", slot);
        }
        if let Err(what) = verdict {
            self.violate(&format!("{what}: {op:?} on {before:?}"), slot);
            return false;
        }
        true
    }

    /// The caller is told. `confirmed`: the completion is that of a confirmed send.
    pub(super) fn tell(&mut self, completion: &Completion, confirmed: bool) {
        if let Some(watch) = self.slots.get_mut(completion.slot.index as usize) {
            watch.tell(&completion.event, confirmed);
        }
    }

    /// Slots that are in use.
    pub(super) fn open(&self) -> usize {
        self.slots.iter().filter(|watch| watch.stage != Stage::Vacant).count()
    }

    /// Operations that have not told their end.
    pub(super) fn pending(&self) -> usize {
        self.slots.iter().map(Watch::pending).sum()
    }
}

impl Watch {
    fn open(&mut self, slot: Slot, op: &Op) -> Result<(), &'static str> {
        if self.stage != Stage::Vacant {
            return Err("a slot that is taken");
        }
        let next = |last| slot == Slot { index: slot.index, generation: last }.next();
        if !self.generation.is_none_or(next) {
            return Err("not the next generation");
        }
        let connecting = matches!(op, Op::Connect { .. });
        let stage = if connecting { Stage::Connecting } else { Stage::Connected };
        *self = Self { generation: Some(slot.generation), stage, ..Self::default() };
        Ok(())
    }

    fn operate(&mut self, slot: Slot, op: &Op) -> Result<(), &'static str> {
        if self.stage == Stage::Vacant || self.generation != Some(slot.generation) {
            return Err("a slot that is closed");
        }
        match (self.stage, op) {
            (Stage::Closing, _) => return Err("an operation after Close"),
            (_, Op::Close) => self.stage = Stage::Closing,
            (Stage::Connecting, _) => return Err("an operation before Connected"),
            (Stage::Failed, _) => return Err("an operation after ConnectFailed"),
            (_, Op::Receive(_) | Op::Discard { .. }) => return self.receive(op),
            (_, Op::Send { span, confirm }) => return self.send(span.bytes == 0, *confirm),
            (_, Op::SendBytes { bytes, confirm }) => return self.send(bytes.is_empty(), *confirm),
            _ => {}
        }
        Ok(())
    }

    fn send(&mut self, nothing: bool, confirm: Confirm) -> Result<(), &'static str> {
        if self.confirming {
            return Err("a send while a confirmed send is in flight");
        }
        if nothing {
            return Err("a send of nothing");
        }
        self.confirming = confirm == Confirm::Always;
        Ok(())
    }

    fn receive(&mut self, op: &Op) -> Result<(), &'static str> {
        if self.receiving {
            return Err("two receives in flight");
        }
        if self.ended {
            return Err("a receive after the final end");
        }
        if matches!(op, Op::Discard { bytes: 0 }) {
            return Err("a discard of nothing");
        }
        self.receiving = true;
        Ok(())
    }

    fn tell(&mut self, event: &Event, confirmed: bool) {
        let connecting = self.stage == Stage::Connecting;
        match event {
            Event::Connected if connecting => self.stage = Stage::Connected,
            Event::ConnectFailed(_) if connecting => self.stage = Stage::Failed,
            Event::Sent | Event::SendFailed { .. } => self.confirming &= !confirmed,
            Event::Received(_, Armed::No) | Event::Discarded { .. } => self.receiving = false,
            Event::ReceiveEnded(end) => {
                self.receiving = false;
                self.ended |= matches!(end, End::Eof | End::Failed(_));
            }
            Event::Closed => {
                let generation = self.generation;
                *self = Self { generation, ..Self::default() };
            }
            _ => {}
        }
    }

    fn pending(&self) -> usize {
        let opening = matches!(self.stage, Stage::Connecting | Stage::Closing);
        usize::from(self.receiving) + usize::from(self.confirming) + usize::from(opening)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::*;
    use crate::driver::{Armed, Confirm, End, Event, Payload, Span, Window};
    use crate::sys::socket;

    const SPAN: Span = Span { template: TemplateId(0), start: 0, bytes: 4 };
    const SEND: Op = Op::Send { span: SPAN, confirm: Confirm::OnFailure };
    const CONFIRMED: Op = Op::Send { span: SPAN, confirm: Confirm::Always };
    const STREAM: Op = Op::Receive(Window::Stream);
    const ONE: Slot = Slot::first(1);

    fn connect() -> Op {
        let peer: SocketAddr = "192.0.2.1:80".parse().unwrap();
        Op::Connect { socket: socket::for_peer(peer, Blocking::Yes).unwrap(), peer }
    }

    /// A driver whose peers echo, and close after `"quit"`.
    fn echo(config: Config) -> Sim {
        let mut sim = Sim::open(config, |_| {
            Box::new(|bytes: &[u8], _: Instant, acts: &mut Vec<Act>| {
                acts.push(if bytes == b"quit" { Act::Close } else { Act::Send(bytes.to_vec()) });
            })
        });
        sim.register(b"pingquit".as_slice().into()).unwrap();
        sim
    }

    /// Submits, waits and reaps until nothing comes within a second; buffers are given back.
    fn run(sim: &mut Sim, ops: impl IntoIterator<Item = (Slot, Op)>) -> Vec<String> {
        for (slot, op) in ops {
            sim.try_submit(slot, op).unwrap();
        }
        let (mut told, mut completions) = (Vec::new(), Vec::new());
        let end = sim.now() + 1_000_000_000;
        while sim.now() < end {
            let timeout = Duration::from_nanos(end - sim.now());
            sim.wait(Wait::one(timeout)).unwrap();
            while sim.reap(&mut completions) > 0 {}
            for Completion { event, .. } in completions.drain(..) {
                told.push(match event {
                    Event::Received(lent, armed) => {
                        let text = String::from_utf8_lossy(sim.bytes(&lent)).into_owned();
                        sim.give_back(lent);
                        format!("{text} {armed:?}")
                    }
                    event => format!("{event:?}"),
                });
            }
        }
        told
    }

    #[test]
    fn a_conversation_and_its_end() {
        let mut sim = echo(Config::calm(2, 1));
        assert_eq!(run(&mut sim, [(ONE, connect())]), ["Connected"]);
        let told = run(&mut sim, [(ONE, STREAM), (ONE, SEND), (ONE, CONFIRMED)]);
        assert_eq!(told.iter().filter(|text| *text == "ping Yes").count(), 2, "{told:?}");
        assert!(told.contains(&"Sent".to_owned()) && told.len() == 3, "{told:?}");
        let quit = Op::Send { span: Span { start: 4, ..SPAN }, confirm: Confirm::OnFailure };
        assert_eq!(run(&mut sim, [(ONE, quit)]), [format!("{:?}", Event::ReceiveEnded(End::Eof))]);
        assert_eq!((sim.audit().sockets, sim.audit().slots), (1, 1));
        // The peer is gone: what is sent now comes back as a reset, and then fails by itself.
        assert_eq!(run(&mut sim, [(ONE, SEND)]), [""; 0]);
        assert_eq!(run(&mut sim, [(ONE, SEND)]), ["SendFailed { errno: Errno(32), taken: 0 }"]);
        assert_eq!(run(&mut sim, [(ONE, Op::Close)]), ["Closed"]);
        assert!(sim.audit().is_clean(), "{:?}", sim.audit());
    }

    fn send_bytes(bytes: &'static [u8], confirm: Confirm) -> Op {
        Op::SendBytes { bytes: Payload::Shared(bytes.into()), confirm }
    }

    #[test]
    fn bytes_of_the_callers_are_sent_and_their_buffers_come_back() {
        let mut sim = echo(Config::calm(2, 1));
        run(&mut sim, [(ONE, connect())]);
        let mut buffer = sim.buffer();
        buffer.extend_from_slice(b"mine");
        let place = buffer.as_ptr();
        let send = Op::SendBytes { bytes: Payload::Buffer(buffer), confirm: Confirm::OnFailure };
        assert_eq!(run(&mut sim, [(ONE, STREAM), (ONE, send)]), ["mine Yes"]);
        let again = sim.buffer();
        assert!(again.is_empty() && again.as_ptr() == place);
        let mut told = run(&mut sim, [(ONE, send_bytes(b"told", Confirm::Always))]);
        told.sort();
        assert_eq!(told, ["Sent", "told Yes"]);
        assert!(sim.alarm().is_err());
        sim.watch(crate::sys::eventfd::EventFd::new().unwrap().into()).unwrap();
        assert!(sim.watch(crate::sys::eventfd::EventFd::new().unwrap().into()).is_err());
        run(&mut sim, [(ONE, Op::Close)]);
        assert!(sim.audit().is_clean(), "{:?}", sim.audit());
    }

    /// Over many seeds: what is told as taken is what the peer saw, and a failure may come with none, a part or all of it.
    #[test]
    fn a_failed_send_says_what_was_taken() {
        let mut seen = [false; 3];
        for seed in 0..64 {
            let faults = Faults { send_fails: 1.0, ..Faults::default() };
            let mut sim = echo(Config { faults, ..Config::calm(2, seed) });
            run(&mut sim, [(ONE, connect())]);
            let told = run(&mut sim, [(ONE, STREAM), (ONE, send_bytes(b"abcd", Confirm::Always))]);
            let taken = |text: &String| text.split("taken: ").nth(1).map(|it| it[..1].to_owned());
            let taken: usize = told.iter().find_map(taken).unwrap().parse().unwrap();
            let echoed = told.iter().find_map(|text| text.strip_suffix(" Yes")).unwrap_or_default();
            assert!(echoed.len() <= taken, "{told:?}");
            seen[usize::from(taken > 0) + usize::from(taken == 4)] = true;
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn discards_and_stops() {
        let mut sim = echo(Config::calm(2, 1));
        run(&mut sim, [(ONE, connect())]);
        let told = run(&mut sim, [(ONE, SEND), (ONE, Op::Discard { bytes: 3 })]);
        assert_eq!(told, ["Discarded { bytes: 3, has_more: true }"]);
        assert_eq!(run(&mut sim, [(ONE, STREAM)]), ["g Yes"]);
        assert_eq!(run(&mut sim, [(ONE, Op::Stop)]), ["ReceiveEnded(Stopped)"]);
        let told = run(&mut sim, [(ONE, Op::Discard { bytes: 9 }), (ONE, SEND)]);
        assert_eq!(told, ["Discarded { bytes: 4, has_more: false }"]);
        run(&mut sim, [(ONE, Op::Close)]);
        assert!(sim.audit().is_clean(), "{:?}", sim.audit());
    }

    /// After `setup` on a connected slot, `ops` break the contract as `words` say, and nothing else does.
    fn check(ops: Vec<(Slot, Op)>, words: &str) {
        let mut sim = echo(Config::calm(2, 1));
        assert_eq!(run(&mut sim, [(ONE, connect())]), ["Connected"]);
        run(&mut sim, ops);
        let audit = sim.audit();
        let found = audit.violations == 1 && audit.examples[0].contains(words);
        assert!(found && !audit.is_clean(), "{words}: {audit:?}");
    }

    #[test]
    fn a_caller_that_breaks_the_contract_is_recorded() {
        let second = ONE.next();
        check(vec![(ONE, STREAM), (ONE, STREAM)], "two receives in flight");
        check(vec![(ONE, STREAM), (ONE, Op::Discard { bytes: 1 })], "two receives in flight");
        check(vec![(ONE, Op::Discard { bytes: 0 })], "a discard of nothing");
        check(vec![(ONE, CONFIRMED), (ONE, SEND)], "a send while a confirmed send is in flight");
        check(vec![(ONE, CONFIRMED), (ONE, send_bytes(b"x", Confirm::OnFailure))], "a send while");
        check(vec![(ONE, send_bytes(b"", Confirm::OnFailure))], "a send of nothing");
        check(vec![(ONE, connect())], "a slot that is taken");
        check(vec![(Slot::first(0), SEND)], "a slot that is closed");
        check(vec![(Slot::first(2), connect())], "an index out of range");
        check(vec![(second, SEND)], "a slot that is closed");
        check(vec![(ONE, Op::Close), (ONE, STREAM)], "an operation after Close");
        check(vec![(Slot::first(0), connect()), (Slot::first(0), STREAM)], "before Connected");
        let beyond = Span { start: 6, ..SPAN };
        let beyond = Op::Send { span: beyond, confirm: Confirm::OnFailure };
        check(vec![(ONE, beyond)], "a span outside its template");
    }

    #[test]
    fn a_slot_is_used_again_with_its_next_generation_only() {
        let mut sim = echo(Config::calm(2, 1));
        run(&mut sim, [(ONE, connect())]);
        assert_eq!(run(&mut sim, [(ONE, Op::Close)]), ["Closed"]);
        assert_eq!(run(&mut sim, [(ONE, STREAM), (ONE, connect())]), [""; 0]);
        assert_eq!(sim.audit().violations, 2, "{:?}", sim.audit());
        assert_eq!(run(&mut sim, [(ONE.next(), connect())]), ["Connected"]);
        assert_eq!(sim.audit().violations, 2);
    }

    #[test]
    fn an_operation_that_was_handed_back_comes_again_first() {
        let mut sim = echo(Config { queue_entries: 1, ..Config::calm(2, 1) });
        run(&mut sim, [(ONE, connect())]);
        sim.try_submit(Slot::first(0), connect()).unwrap();
        let Full { op } = sim.try_submit(ONE, SEND).unwrap_err();
        assert!(sim.try_submit(ONE, op).is_err(), "no room before the next wait");
        sim.wait(Wait::LOOK).unwrap();
        assert_eq!(sim.audit().violations, 0);
        sim.try_submit(ONE, STREAM).unwrap();
        assert_eq!(sim.audit().violations, 1, "{:?}", sim.audit());
    }

    #[test]
    fn a_buffer_kept_shows_and_starves_the_others() {
        let mut sim = echo(Config { small_buffers: 1, ..Config::calm(2, 1) });
        run(&mut sim, [(ONE, connect())]);
        for op in [STREAM, SEND, SEND] {
            sim.try_submit(ONE, op).unwrap();
        }
        let (mut told, mut kept) = (Vec::new(), Vec::new());
        for _ in 0..50 {
            let timeout = Duration::from_millis(1);
            sim.wait(Wait::one(timeout)).unwrap();
            sim.reap(&mut told);
        }
        let starved = |it: &Completion| matches!(it.event, Event::ReceiveEnded(End::Starved));
        assert_eq!((told.len(), told.iter().filter(|it| starved(it)).count()), (2, 1), "{told:?}");
        assert_eq!((sim.audit().buffers, sim.counters().buffers_starved), (1, 1));
        for Completion { event, .. } in told {
            if let Event::Received(lent, Armed::Yes) = event {
                kept.push(sim.lender.lend(lent.buffer, 0, lent.bytes, false));
                sim.give_back(lent);
            }
        }
        assert_eq!((sim.audit().buffers, sim.audit().violations), (0, 0));
        sim.give_back(kept.pop().unwrap());
        assert_eq!(sim.audit().violations, 1, "given back twice");
    }

    #[test]
    fn a_wait_takes_as_long_as_it_says() {
        let mut sim = echo(Config::calm(2, 1));
        let start = sim.now();
        let mut wait = Wait::one(Duration::from_secs(2));
        sim.wait(wait).unwrap();
        assert_eq!(sim.now() - start, 2_000_000_000);
        sim.try_submit(ONE, connect()).unwrap();
        sim.try_submit(Slot::first(0), connect()).unwrap();
        // Two are asked for, and come; of three, two come when company is no longer waited for.
        let (mut told, start) = (Vec::new(), sim.now());
        wait = Wait { completions: 2, settle: Duration::from_secs(1), ..wait };
        sim.wait(wait).unwrap();
        while sim.reap(&mut told) > 0 {}
        assert!(told.len() == 2 && sim.now() - start < 1_000_000);
        sim.try_submit(ONE, Op::Close).unwrap();
        sim.try_submit(Slot::first(0), Op::Close).unwrap();
        let start = sim.now();
        sim.wait(Wait { completions: 3, ..wait }).unwrap();
        assert_eq!(sim.now() - start, 1_000_000_000);
    }

    #[test]
    fn a_caller_that_spins_is_recorded() {
        let mut sim = echo(Config::calm(1, 1));
        let look = Wait::LOOK;
        (0..IDLE_WAITS_MAX).for_each(|_| sim.wait(look).unwrap());
        assert_eq!(sim.audit().violations, 1);
    }
}
