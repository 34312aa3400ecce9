#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::panic)]
use ringshot::proto::h1::*;
use std::hint::black_box;
use std::time::Instant;
fn main() {
    let one = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nDate: Sun, 22 Nov 2026 17:20:19 GMT\r\n\r\nHello, World!";
    println!("{} bytes", one.len());
    let mut memo = HeadMemo::new();
    let mut m = Machine::new(&Limits::default());
    m.handle_request(Sent::default()).unwrap();
    let n = 20_000_000u64;
    for _ in 0..3 {
        // warm
        let mut rest = &one[..];
        loop {
            match m.poll(rest, &mut memo) {
                Ok((c, Event::End(_))) => {
                    let _ = c;
                    break;
                }
                Ok((c, _)) => rest = &rest[c..],
                Err(e) => panic!("{e}"),
            }
        }
        let t = Instant::now();
        for _ in 0..n {
            m.handle_request(Sent::default()).unwrap();
            let w = m.try_whole(black_box(one), &memo).unwrap();
            black_box(w);
        }
        println!("try_whole + handle_request {:.2} ns", t.elapsed().as_nanos() as f64 / n as f64);
        // pipelined 16
        let mut many = Vec::new();
        for _ in 0..16 {
            many.extend_from_slice(one);
        }
        let t = Instant::now();
        for _ in 0..n / 16 {
            m.handle_requests(Sent::default(), 16).unwrap();
            let mut r = black_box(&many[..]);
            while let Some(w) = m.try_whole(r, &memo) {
                r = &r[w.consumed..];
                black_box(w.status);
            }
        }
        println!("try_whole pipelined 16 {:.2} ns", t.elapsed().as_nanos() as f64 / n as f64);
        let t = Instant::now();
        for _ in 0..n / 4 {
            m.handle_request(Sent::default()).unwrap();
            let mut rest = black_box(&one[..]);
            loop {
                match m.poll(rest, &mut memo) {
                    Ok((_, Event::End(_))) => break,
                    Ok((c, e)) => {
                        black_box(&e);
                        rest = &rest[c..]
                    }
                    Err(e) => panic!("{e}"),
                }
            }
        }
        println!("poll warm {:.2} ns", t.elapsed().as_nanos() as f64 / (n / 4) as f64);
        let t = Instant::now();
        for _ in 0..n / 8 {
            black_box(parse_head(black_box(one), &Limits::default())).unwrap();
        }
        println!("parse_head {:.2} ns", t.elapsed().as_nanos() as f64 / (n / 8) as f64);
        m.handle_request(Sent::default()).unwrap();
    }
}
