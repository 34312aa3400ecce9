//! Peers that do not play by the rules with request bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringshot_tests::load::{Asked, check_outcomes, drivers};
use ringshot_tests::outcomes::{
    OK, REQUESTS, Variant, check_among, check_variant, impatient, pipelined,
};
use ringshot_tests::peer::{Conversation, Peer};

/// The body arrives whole and in order, through sends that the kernel takes in pieces.
#[test]
fn reads_large_request_bodies() {
    let body: Vec<u8> =
        (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for pipeline in [1, 3] {
        let (expected, good) = (body.clone(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&good);
        let peer = Peer::start(move |mut peer| {
            while let Some(request) = peer.request() {
                counted.fetch_add(u64::from(request.ends_with(&expected)), Ordering::SeqCst);
                peer.send(OK);
            }
        });
        let variant = Variant { asked: Asked::post(body.clone()), ..pipelined(pipeline) };
        for driver in drivers() {
            let before = good.load(Ordering::SeqCst);
            check_outcomes(&variant.plan(&peer.url(), driver), &[("2xx", REQUESTS)]);
            assert_eq!(good.load(Ordering::SeqCst) - before, REQUESTS, "on {driver}");
        }
    }
}

/// 413 after the head, then the close: the response is read though the send fails.
#[test]
fn answers_before_the_request_is_read_and_closes() {
    let script = |mut peer: Conversation| {
        peer.head();
        peer.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
        // As a server does that wants its response to be read (RFC 9112 9.6).
        peer.read_to_end();
    };
    let variant = Variant { asked: Asked::post(vec![b'x'; 8 << 20]), ..Variant::default() };
    check_variant(script, &variant, "4xx");
}

/// The same with a server that closes over unread bytes, and so resets: the response may be lost, the count may not.
#[test]
fn answers_before_the_request_is_read_and_resets() {
    let script = |mut peer: Conversation| {
        peer.head();
        peer.send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
    };
    let variant = Variant { asked: Asked::post(vec![b'x'; 8 << 20]), ..Variant::default() };
    check_among(script, &variant, &["4xx", "reset"]);
}

/// Answers, keeps the connection, and never reads the rest of the request: nothing can follow on that connection, and the run must not wait for it.
#[test]
fn answers_and_never_reads_the_request() {
    let script = |mut peer: Conversation| {
        peer.head();
        peer.send(OK);
        peer.stall();
    };
    let variant = Variant { asked: Asked::post(vec![b'x'; 8 << 20]), ..impatient() };
    check_variant(script, &variant, "2xx");
}

/// Reads one request of a pipeline and stops: the send buffer fills.
#[test]
fn stops_reading_a_pipeline() {
    let script = |mut peer: Conversation| {
        peer.head();
        peer.stall();
    };
    let asked = Asked::post(vec![b'x'; 4 << 20]);
    let variant = Variant { asked, pipeline: Some(3), ..impatient() };
    check_variant(script, &variant, "timeout");
}

/// One broken body is one error of its kind: those behind it on the connection have a kind of their own.
#[test]
fn breaks_a_body_before_others() {
    let script = |mut peer: Conversation| {
        if peer.request().is_some() && peer.send(OK) && peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort");
        }
    };
    let known = ["2xx", "protocol_truncated_body", "behind_failed", "reset"];
    for report in check_among(script, &pipelined(4), &known) {
        let of = |kind| report.outcomes.get(kind).copied().unwrap_or_default();
        assert!(of("protocol_truncated_body") <= report.connections_opened, "{report:#?}");
        assert!(of("behind_failed") > 0, "{report:#?}");
    }
}
