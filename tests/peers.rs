//! Peers that do not play by the rules, on both drivers: each ends its requests in the right outcome, exactly counted, and never hangs the run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "peers/uploads.rs"]
mod uploads;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringshot::load::{KeepAlive, Plan, Stop, Timeouts};
use ringshot_tests::load::{Asked, check_outcomes, drivers, run_whole};
use ringshot_tests::outcomes::{
    OK, REQUESTS, SHORT, Variant, answer, answer_and_close, check, check_among, check_variant,
    impatient, pipelined,
};
use ringshot_tests::peer::{Conversation, ENDLESS_MAX, Peer, response_of};

// --- Connections ---

/// What stands behind a response, in the same segment, is no answer to the next request, wherever the response ends: at the end of a receive buffer neither.
#[test]
fn what_stands_behind_a_response_is_no_answer() {
    for bytes in [64, 4096, 8192, 12 << 10, 40 << 10] {
        for behind in ["HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "\r\n"] {
            let all = [response_of(bytes), behind.as_bytes().to_vec()].concat();
            check(move |mut peer| peer.answer_all(&all), "2xx");
        }
    }
}

/// An end that comes with a response loses no request.
#[test]
fn an_end_behind_a_response_fails_nothing() {
    for bytes in [64, 4096, 12 << 10] {
        let all = response_of(bytes);
        check(
            move |mut peer| {
                if peer.request().is_some() {
                    peer.send_last(&all);
                }
            },
            "2xx",
        );
    }
}

/// Nothing may follow a request for an upgrade before its answer, so that none is pipelined: all are sent all the same.
#[test]
fn requests_for_an_upgrade_are_sent_one_by_one() {
    let asked = Asked::default().header("Upgrade", "x").header("Connection", "upgrade");
    let variant = Variant { asked, ..pipelined(4) };
    check_variant(|mut peer| peer.answer_all(OK), &variant, "2xx");
}

#[test]
fn refuses() {
    let url = Peer::start(drop).url();
    for driver in drivers() {
        let report =
            check_outcomes(&Variant::default().plan(&url, driver), &[("connect", REQUESTS)]);
        assert!(report.error_examples["connect"].contains("ECONNREFUSED"), "{report:#?}");
    }
}

/// The second address works: connections move on to it, and no request fails for the first.
#[test]
fn refuses_on_the_first_of_two_addresses() {
    let gone = Peer::start(drop).address();
    let peer = Peer::start(|mut peer| peer.answer_all(OK));
    for driver in drivers() {
        let mut plan = Variant::default().plan(&peer.url(), driver);
        Arc::make_mut(&mut plan.mix).targets[0].peers.insert(0, gone);
        check_outcomes(&plan, &[("2xx", REQUESTS)]);
    }
}

/// A connect that is never answered: a full backlog, since loopback answers everything else.
#[test]
fn never_takes_the_connection() {
    let listener = full_listener();
    for driver in drivers() {
        let plan = Variant::default().plan(&format!("http://{}/", listener.address), driver);
        let timeouts = Timeouts { connect: SHORT, ..plan.timeouts };
        check_outcomes(&Plan { timeouts, ..plan }, &[("connect_timeout", REQUESTS)]);
    }
}

/// A listener whose backlog is full: the kernel drops further connects, as if nobody were there.
struct FullListener {
    address: std::net::SocketAddr,
    _listener: std::os::fd::OwnedFd,
    _waiting: Vec<std::net::TcpStream>,
}

fn full_listener() -> FullListener {
    use std::os::fd::AsRawFd;

    use ringshot::sys::socket::{Blocking, Share, listen, local_address};
    let listener = listen("127.0.0.1:0".parse().unwrap(), Share::Alone, Blocking::Yes).unwrap();
    // SAFETY: listen(2) on a socket that we own; it takes no pointer. A second call shrinks the backlog.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = local_address(&listener).unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, SHORT).ok();
    let waiting = std::iter::from_fn(connect).take(64).collect();
    FullListener { address, _listener: listener, _waiting: waiting }
}

#[test]
fn accepts_and_never_answers() {
    check_variant(|mut peer| peer.read_to_end(), &impatient(), "timeout");
    let variant = Variant { pipeline: Some(3), ..impatient() };
    check_variant(|mut peer| peer.read_to_end(), &variant, "timeout");
}

#[test]
fn accepts_and_closes() {
    check(drop, "reset");
    check_variant(drop, &pipelined(3), "reset");
}

#[test]
fn reads_and_closes() {
    check(answer_and_close(""), "reset");
    check_variant(answer_and_close(""), &pipelined(3), "reset");
}

#[test]
fn resets_at_once() {
    // A reset that comes before the connect was looked at is a failed connect.
    check_among(Conversation::reset, &Variant::default(), &["reset", "connect"]);
}

#[test]
fn resets_before_the_response() {
    let script = |mut peer: Conversation| {
        peer.request();
        peer.reset();
    };
    check(script, "reset");
    check_variant(script, &pipelined(3), "reset");
}

#[test]
fn resets_inside_the_response() {
    let script = |mut peer: Conversation| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n");
        peer.send(vec![b'x'; 100_000]);
        std::thread::sleep(Duration::from_millis(20));
        peer.reset();
    };
    check(script, "reset");
}

/// One answer for a pipeline, then a reset: the rest of the pipeline fails, and what came counts.
#[test]
fn resets_between_responses() {
    let script = |mut peer: Conversation| {
        peer.request();
        peer.send(OK);
        std::thread::sleep(Duration::from_millis(20));
        peer.reset();
    };
    for report in check_among(script, &pipelined(3), &["2xx", "reset"]) {
        assert!(report.requests > 0 && report.errors > 0, "{report:#?}");
    }
}

/// A server that answers one request a connection and says nothing of closing: a request that was on its way is an error, as it may have been served.
#[test]
fn closes_without_a_word() {
    for report in check_among(answer_and_close(OK), &pipelined(1), &["2xx", "reset"]) {
        assert!(report.requests > 0, "{report:#?}");
    }
}

// --- Heads ---

#[test]
fn answers_garbage() {
    check(answer("\x16\x03\x01\x02\x00 this is no HTTP\r\n\r\n"), "protocol_parse_version");
    check(answer("HTTP/1.1 2 hundred\r\n\r\n"), "protocol_parse_status");
}

#[test]
fn sends_a_head_without_end() {
    let script = |mut peer: Conversation| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\n");
        while peer.send("X-More: and more of the same, and more of the same\r\n") {}
    };
    check_among(
        script,
        &Variant::default(),
        &["protocol_limit_head_bytes", "protocol_limit_fields"],
    );
    let script = |mut peer: Conversation| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nX-Long: ");
        while peer.send([b'x'; 4096]) {}
    };
    check_among(
        script,
        &Variant::default(),
        &["protocol_limit_head_bytes", "protocol_limit_line_bytes"],
    );
}

#[test]
fn floods_with_interim_responses() {
    let script = |mut peer: Conversation| {
        peer.request();
        while peer.send("HTTP/1.1 100 Continue\r\n\r\n") {}
    };
    check(script, "protocol_limit_interims");
}

#[test]
fn sends_a_few_interim_responses() {
    let script = |mut peer: Conversation| {
        peer.answer_all(format!(
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 C\r\n\r\n{OK}"
        ));
    };
    check(script, "2xx");
    check_variant(script, &pipelined(3), "2xx");
}

#[test]
fn cuts_the_head() {
    check(answer_and_close("HTTP/1.1 200 OK\r\nContent-Le"), "protocol_truncated_head");
}

#[test]
fn asks_for_another_protocol() {
    check(answer("HTTP/1.1 101 Switching Protocols\r\n\r\n"), "protocol_framing_unasked_upgrade");
}

// --- Pieces ---

#[test]
fn sends_byte_by_byte() {
    let script = |mut peer: Conversation| {
        while peer.request().is_some()
            && peer.send_slowly(OK.as_bytes(), 1, Duration::from_micros(300))
        {}
    };
    check(script, "2xx");
    check_variant(script, &pipelined(3), "2xx");
}

#[test]
fn sends_chunks_byte_by_byte() {
    let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n";
    let script = |mut peer: Conversation| {
        while peer.request().is_some()
            && peer.send_slowly(chunked.as_bytes(), 1, Duration::from_micros(300))
        {}
    };
    check(script, "2xx");
}

#[test]
fn is_slow_with_the_body() {
    let script = |mut peer: Conversation| {
        while peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n");
            peer.send_slowly(&[b'x'; 100], 1, Duration::from_millis(10));
        }
    };
    check_variant(script, &impatient(), "timeout");
}

/// A large body that stalls: the discard inside the kernel is cancelled by the timeout.
#[test]
fn stalls_in_a_large_body() {
    let script = |mut peer: Conversation| {
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n");
        peer.send(vec![b'x'; 200_000]);
        peer.stall();
    };
    check_variant(script, &impatient(), "timeout");
}

// --- Bodies ---

#[test]
fn cuts_the_body() {
    let short = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort";
    check(answer_and_close(short), "protocol_truncated_body");
    let mut long = b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n".to_vec();
    long.resize(2_000_000, b'x');
    check(answer_and_close(long), "protocol_truncated_body");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
    check(answer_and_close(chunked), "protocol_truncated_chunked");
}

#[test]
fn ends_the_body_by_closing() {
    check(answer_and_close("HTTP/1.0 200 OK\r\n\r\nsome body"), "2xx");
    check(answer_and_close("HTTP/1.1 200 OK\r\n\r\n"), "2xx");
    let mut long = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
    long.resize(1_000_000, b'x');
    check(answer_and_close(long), "2xx");
}

/// Behind a response that ends with the connection the server took nothing up: the others are sent again, and each is answered once.
#[test]
fn ends_each_body_of_a_pipeline_by_closing() {
    let script = |mut peer: Conversation| {
        if peer.request().is_some() && peer.send(OK) && peer.request().is_some() {
            peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        }
    };
    for report in check_among(script, &pipelined(3), &["2xx"]) {
        assert!(report.resent > 0, "{report:#?}");
    }
}

/// Until its first response a connection is not known to stay, and carries one request: none is sent twice to a server that ends it each time.
#[test]
fn ends_each_connection_of_a_pipeline_at_once() {
    for response in ["HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.0 200 OK\r\n\r\nok"]
    {
        for report in check_among(answer_and_close(response), &pipelined(3), &["2xx"]) {
            assert_eq!(report.resent, 0, "{report:#?}");
        }
    }
}

#[test]
fn sends_large_chunk_extensions() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = "x".repeat(100 << 10);
    check(answer(format!("{head}2;{extension}\r\nok\r\n0\r\n\r\n")), "protocol_chunk_extension");
}

#[test]
fn sends_large_trailers() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    let trailers = "X-Trailer: and more of the same\r\n".repeat(4000);
    check(answer(format!("{head}{trailers}\r\n")), "protocol_limit_trailers");
}

/// Bytes behind the response: it counts, the connection is not used again.
#[test]
fn sends_more_than_the_response() {
    let peer = Peer::start(answer(format!("{OK}HTTP/1.1 200 OK\r\n\r\n")));
    for driver in drivers() {
        let before = peer.accepted();
        check_outcomes(&Variant::default().plan(&peer.url(), driver), &[("2xx", REQUESTS)]);
        assert!(peer.accepted() - before >= REQUESTS, "a connection each");
    }
}

// --- Ends ---

#[test]
fn wants_a_connection_for_each_request() {
    let script =
        answer_and_close("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let asked = Asked { keep_alive: KeepAlive::Off, ..Asked::default() };
    check_variant(script, &Variant { asked, ..pipelined(3) }, "2xx");
}

/// The clock stops a run whose peer is silent: what is unanswered after the drain is cancelled, and counted as that.
#[test]
fn is_silent_when_the_clock_stops() {
    let peer = Peer::start(|mut peer| peer.read_to_end());
    for driver in drivers() {
        let plan = pipelined(3).plan(&peer.url(), driver);
        let (stop, drain) = (Stop::after(SHORT), Duration::from_millis(50));
        let report = check_outcomes(&Plan { stop, drain, ..plan }, &[("cancelled", 4)]);
        assert_eq!((report.requests, report.errors, report.cancelled), (0, 0, 4));
    }
}

/// A socket that is never dry must not keep its core from the clock: the timeout fires, and the run ends with its time.
#[test]
fn never_runs_dry() {
    let peer = Peer::start(|mut peer| peer.send_for_ever());
    for driver in drivers() {
        let plan = impatient().plan(&peer.url(), driver);
        let (stop, drain) = (Stop::after(SHORT * 2), Duration::from_millis(50));
        let start = Instant::now();
        let report = run_whole(&Plan { connections: 2, stop, drain, ..plan });
        assert!(start.elapsed() < ENDLESS_MAX / 2, "{driver}: {:?}", start.elapsed());
        assert!(report.outcomes.contains_key("timeout"), "{driver}: {:?}", report.outcomes);
    }
}
