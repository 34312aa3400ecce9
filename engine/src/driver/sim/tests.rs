//! The simulation itself: its caller's mistakes are recorded, its quirks stay within the contract.

use std::net::SocketAddr;

use super::*;
use crate::driver::{Armed, Confirm, End, Span, Window};
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
        sim.wait(Wait { completions: 1, settle: Duration::ZERO, timeout }).unwrap();
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
    assert_eq!(run(&mut sim, [(ONE, SEND)]), ["SendFailed(Errno(32))"]);
    assert_eq!(run(&mut sim, [(ONE, Op::Close)]), ["Closed"]);
    assert!(sim.audit().is_clean(), "{:?}", sim.audit());
}

#[test]
fn discards_and_stops() {
    let mut sim = echo(Config::calm(2, 1));
    run(&mut sim, [(ONE, connect())]);
    assert_eq!(run(&mut sim, [(ONE, SEND), (ONE, Op::Discard { bytes: 3 })]), ["Discarded(3)"]);
    assert_eq!(run(&mut sim, [(ONE, STREAM)]), ["g Yes"]);
    assert_eq!(run(&mut sim, [(ONE, Op::Stop)]), ["ReceiveEnded(Stopped)"]);
    assert_eq!(run(&mut sim, [(ONE, Op::Discard { bytes: 9 }), (ONE, SEND)]), ["Discarded(4)"]);
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
    sim.wait(Wait { completions: 0, settle: Duration::ZERO, timeout: Duration::ZERO }).unwrap();
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
        sim.wait(Wait { completions: 1, settle: Duration::ZERO, timeout }).unwrap();
        sim.reap(&mut told);
    }
    let starved = |it: &Completion| matches!(it.event, Event::ReceiveEnded(End::Starved));
    assert_eq!((told.len(), told.iter().filter(|it| starved(it)).count()), (2, 1), "{told:?}");
    assert_eq!((sim.audit().buffers, sim.counters().buffers_starved), (1, 1));
    for Completion { event, .. } in told {
        if let Event::Received(lent, Armed::Yes) = event {
            kept.push(Lent { ..lent });
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
    let mut wait = Wait { completions: 1, settle: Duration::ZERO, timeout: Duration::from_secs(2) };
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
    let look = Wait { completions: 0, settle: Duration::ZERO, timeout: Duration::ZERO };
    (0..IDLE_WAITS_MAX).for_each(|_| sim.wait(look).unwrap());
    assert_eq!(sim.audit().violations, 1);
}
