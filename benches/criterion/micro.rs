//! What a request costs in user space, piece by piece. `cargo bench -p ringshot-benches`
#![allow(missing_docs)] // criterion's macros make functions without any

use std::hint::black_box;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::Method;
use ringshot::clock::Instant;
use ringshot::driver::{
    Alarm, Completion, Counters, Driver, Full, Lent, Op, Slot, TemplateId, Wait,
};
use ringshot::load::{KeepAlive, Recorder, Request, Sample, Stamps, Template};
use ringshot::proto::h1::{
    ChunkedDecoder, Event, HeadMemo, Limits, Machine, Piece, Sent, parse_head,
};
use ringshot::proto::url::Url;
use ringshot::shard::timers::Fifo;
use ringshot::shard::{Config, Copies, Failure, Handler, Next, Response, Shard};
use ringshot::sys::socket::Blocking;

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: ringshot\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world\n";

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    let limits = Limits::default();
    group.bench_function("a head", |b| b.iter(|| parse_head(black_box(RESPONSE), &limits)));
    group.bench_function("a response, head seen before, whole", |b| {
        let (mut machine, mut memo) = (Machine::new(&limits), HeadMemo::new());
        read(&mut machine, &mut memo);
        b.iter(|| {
            let _ = machine.handle_request(Sent::default());
            machine.try_whole(black_box(RESPONSE), &memo)
        });
    });
    group.bench_function("a response, by events", |b| {
        let (mut machine, mut memo) = (Machine::new(&limits), HeadMemo::new());
        b.iter(|| read(&mut machine, &mut memo));
    });
    group.finish();
}

/// One response by events.
fn read(machine: &mut Machine, memo: &mut HeadMemo) {
    let _ = machine.handle_request(Sent::default());
    let mut input = black_box(RESPONSE);
    while let Ok((consumed, event)) = machine.poll(input, memo) {
        let end = matches!(event, Event::End(_) | Event::NeedMore);
        input = &input[consumed..];
        if end {
            break;
        }
    }
}

fn encode(criterion: &mut Criterion) {
    let Ok(url) = Url::parse("http://127.0.0.1:8080/path?query=1") else { return };
    let headers = [(b"Accept".to_vec(), b"*/*".to_vec())];
    criterion.bench_function("encode a request", |b| {
        b.iter(|| {
            Template::encode(black_box(&Request {
                method: &Method::GET,
                url: &url,
                headers: &headers,
                body: b"",
                keep_alive: KeepAlive::On,
            }))
        });
    });
}

fn chunked(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunked");
    for chunk_bytes in [1_usize, 64, 4096, 65536] {
        let chunk = [
            format!("{chunk_bytes:x}\r\n").into_bytes(),
            vec![b'x'; chunk_bytes],
            b"\r\n".to_vec(),
        ]
        .concat();
        let count = (65536 / chunk_bytes).max(1);
        let body = [chunk.repeat(count), b"0\r\n\r\n".to_vec()].concat();
        group.throughput(Throughput::Bytes((chunk_bytes * count) as u64));
        group.bench_function(format!("64 KiB in chunks of {chunk_bytes}"), |b| {
            b.iter(|| {
                let (mut decoder, mut rest, mut bytes) =
                    (ChunkedDecoder::new(), black_box(&body[..]), 0);
                while let Ok((consumed, piece)) = decoder.decode(rest) {
                    rest = &rest[consumed..];
                    match piece {
                        Piece::Data(data) => bytes += data.len(),
                        Piece::NeedMore => {}
                        Piece::Trailers | Piece::End => break,
                    }
                }
                bytes
            });
        });
    }
    group.finish();
}

fn record(criterion: &mut Criterion) {
    let mut recorder = Recorder::new(Stamps::Sent, 1);
    let mut nanos = 100_000_u64;
    criterion.bench_function("record a response", |b| {
        b.iter(|| {
            nanos = nanos.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 40;
            let (sent, done) = (Instant::from_nanos(0), Instant::from_nanos(nanos));
            let sample = Sample { name: 0, intended: sent, sent, first_byte: done, done };
            recorder.record(black_box(200), &sample);
        });
    });
    let mut fifo = Fifo::new(64, Duration::from_secs(30));
    let mut now = 0_u64;
    criterion.bench_function("start and stop a timer, 64 running", |b| {
        b.iter(|| {
            now += 100;
            fifo.stop((now / 100 % 64) as u32);
            fifo.start((now / 100 % 64) as u32, Instant::from_nanos(now));
        });
    });
}

/// A driver in which nothing ever happens.
struct Nothing;

impl Driver for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }

    fn blocking(&self) -> Blocking {
        Blocking::No
    }

    fn register(&mut self, _bytes: Rc<[u8]>) -> io::Result<TemplateId> {
        Ok(TemplateId(0))
    }

    fn try_submit(&mut self, _slot: Slot, _op: Op) -> Result<(), Full> {
        Ok(())
    }

    fn wait(&mut self, _wait: Wait) -> io::Result<()> {
        Ok(())
    }

    fn reap(&mut self, _into: &mut Vec<Completion>) -> usize {
        0
    }

    fn buffer(&mut self) -> Vec<u8> {
        Vec::new()
    }

    fn watch(&mut self, _wakes: OwnedFd) -> io::Result<()> {
        Ok(())
    }

    fn alarm(&mut self) -> io::Result<Alarm> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn bytes(&self, _lent: &Lent) -> &[u8] {
        &[]
    }

    fn give_back(&mut self, _lent: Lent) {}

    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// A handler that never sends.
struct Nobody;

impl Handler for Nobody {
    fn poll_requests(&mut self, _lane: u32, _room: u32, _now: Instant) -> Next {
        Next::Nothing
    }

    fn wants_connection(&mut self, _lane: u32) -> bool {
        false
    }

    fn handle_response(&mut self, _lane: u32, _response: Response, _now: Instant) {}

    fn handle_body(&mut self, _lane: u32, _piece: &[u8]) {}

    fn handle_failure(
        &mut self,
        _lane: u32,
        _failure: Failure,
        _sent: Option<Instant>,
        _now: Instant,
    ) {
    }

    fn handle_unsent(&mut self, _lane: u32, _sent: Instant) {}
}

fn turn(criterion: &mut Criterion) {
    let copies = Copies::new(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", Sent::default(), 1);
    let config = Config::new(vec![([127, 0, 0, 1], 80).into()], copies, 64, 1);
    let Ok(mut shard) = Shard::new(Nothing, config) else { return };
    let mut nanos = 0;
    criterion.bench_function("one turn on an empty driver", |b| {
        b.iter(|| {
            nanos += 1000;
            shard.turn(Duration::ZERO, &mut Nobody, &mut || Instant::from_nanos(nanos)).is_ok()
        });
    });
}

criterion_group!(benches, parse, encode, chunked, record, turn);
criterion_main!(benches);
