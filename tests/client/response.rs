//! What came back: heads, interim responses, timings, trailers, framing as a client sees it (items 26-33, 54, 55, 60, 62, 63 of B2).

use std::time::Duration;

use http::{Method, Version};
use ringshot::client::{ClientBuilder, Kind, LimitKind, ProtocolLimits, Request};
use ringshot_tests::peer::Peer;
use ringshot_tests::watch::wait_until;

use crate::access::{Access, LONG, check, get, millis, origin};

fn plain(builder: ClientBuilder) -> ClientBuilder {
    builder
}

/// A peer that answers every request with `response` and leaves the connection open.
fn saying(response: impl Into<Vec<u8>>) -> Peer {
    let response = response.into();
    Peer::start(move |mut peer| peer.answer_all(&response))
}

#[test]
fn a_response_is_what_was_sent() {
    check(plain, |access| {
        let peer = saying(
            "HTTP/1.1 207 Multi\r\nSet-Cookie: a\r\nX: 1\r\nset-cookie: b\r\nContent-Length: 3\r\n\r\nabc",
        );
        let response = access.get(&peer.url()).unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (207, Version::HTTP_11));
        let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a", "b"]);
        assert_eq!(
            (response.headers()["x"].to_str().unwrap(), response.content_length()),
            ("1", Some(3))
        );
        assert_eq!(
            (&response.bytes()[..], response.attempts(), response.redirects()),
            (&b"abc"[..], 1, 0)
        );
        assert_eq!(response.target().to_string(), peer.url());
    });
}

/// Later phases end later, each within the time that the request took.
#[test]
fn timings_tell_each_phase() {
    check(plain, |access| {
        let origin = origin();
        let response = access.get(&origin.url("/delay/100")).unwrap();
        let all = response.timings();
        let phases = [
            all.queued,
            all.resolved,
            all.connected,
            all.acquired,
            all.sent,
            all.first_byte,
            all.done,
        ];
        let phases: Vec<Duration> = phases.into_iter().map(Option::unwrap).collect();
        assert!(phases.is_sorted(), "{all:?}");
        assert!(all.first_byte.unwrap() >= all.sent.unwrap() + millis(50), "{all:?}");
        // Nothing was resolved or connected for a request on a connection that was there.
        let response = access.get(&origin.url("/stream/30/10/60")).unwrap();
        let all = response.timings();
        assert_eq!((all.resolved, all.connected, response.connection().reused), (None, None, true));
        assert!(all.done.unwrap() >= all.first_byte.unwrap() + millis(100), "{all:?}");
        assert!(all.done.unwrap() < LONG, "{all:?}");
    });
}

/// Its first byte is not its head's last, nor an interim one's.
#[test]
fn the_first_byte_is_the_first() {
    check(plain, |access| {
        let peer = Peer::start(|mut peer| {
            peer.request();
            peer.send("HTTP/1.1 103 Early Hints\r\n\r\n");
            std::thread::sleep(millis(100));
            peer.send_slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 4, millis(40));
        });
        let all = access.get(&peer.url()).unwrap().timings();
        assert!(all.first_byte.unwrap() >= all.sent.unwrap() + millis(90), "{all:?}");
        assert!(all.done.unwrap() >= all.first_byte.unwrap() + millis(300), "{all:?}");
    });
}

#[test]
fn trailers_that_can_t_be_are_shown_as_they_came() {
    let said = r#"at byte 3: \"bad \""#.replace('\\', "");
    check(plain, |access| {
        let peer =
            saying("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nbad name: 1\r\n\r\n");
        let error = access.get(&peer.url()).unwrap_err();
        assert!(error.to_string().contains(&said), "{error}");
    });
}

#[test]
fn a_response_tells_its_connection() {
    check(plain, |access| {
        let origin = origin();
        let first = access.get(&origin.url("/")).unwrap().connection();
        let second = access.get(&origin.url("/close")).unwrap().connection();
        let third = access.get(&origin.url("/")).unwrap().connection();
        assert_eq!((first.reused, second.reused, third.reused), (false, true, false));
        assert_eq!(first.id, second.id);
        assert_ne!(first.id, third.id);
        assert_eq!(first.peer, Some(origin.address()));
        assert_eq!(first.core, access.engine.stats()[0].core);
    });
}

/// A response without a body leaves its connection for the next one, whatever its fields announce.
#[test]
fn what_has_no_body_has_none() {
    check(plain, |access| {
        let peer = Peer::start(|mut peer| {
            while let Some(request) = peer.request() {
                let status = match &request[..6] {
                    b"HEAD /" => "200 OK",
                    b"GET /2" => "204 No Content",
                    _ => "304 Not Modified",
                };
                peer.send(format!("HTTP/1.1 {status}\r\nContent-Length: 1000\r\n\r\n"));
            }
        });
        for n in 0..6 {
            let (method, path) =
                [(Method::HEAD, ""), (Method::GET, "2"), (Method::GET, "3")][n % 3].clone();
            let request = Request::new(method, format!("{}{path}", peer.url())).unwrap();
            let response = access.fetch(request).unwrap();
            assert_eq!((response.bytes().len(), response.connection().reused), (0, n > 0));
            assert_eq!(response.content_length(), Some(1000));
        }
    });
}

#[test]
fn interim_responses_are_passed_over() {
    check(plain, |access| {
        let peer = saying(
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 Odd\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        );
        for n in 0..3 {
            let response = access.get(&peer.url()).unwrap();
            assert_eq!((response.status().as_u16(), response.headers().len()), (200, 1));
            assert_eq!((&response.bytes()[..], response.connection().reused), (&b"x"[..], n > 0));
        }
        let response = access.get(&origin().url("/continue/20")).unwrap();
        assert_eq!(response.status(), 200);
    });
}

/// A response that a server may not send is an error, and the end of its connection.
fn check_refused(response: &'static str, kind: &str, words: &str) {
    check(plain, |access| {
        let peer = Peer::start(move |mut peer| {
            peer.request();
            peer.send(response);
        });
        let error = access.get(&peer.url()).unwrap_err();
        assert_eq!(error.kind().name(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        access.wait_empty();
    });
}

#[test]
fn what_is_no_response_is_refused() {
    check_refused("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "framing", "101");
    let interim = "after 1 interim response and no final one";
    check_refused("HTTP/1.1 100 Continue\r\n\r\n", "interim_only", interim);
    check_refused("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", "truncated", "3 of 5");
    check_refused("HTTP/1.1 200 OK\r\nX: y", "truncated", "before the end");
    check_refused("HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n", "framing", "ontent-");
    check_refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "framing", "chunk");
    check_refused("SSH-2.0-OpenSSH\r\n\r\n", "parse", "");
}

/// Limits are each client's own, though they share cores and connections' places.
#[test]
fn heads_have_limits_of_their_client() {
    check(plain, |access| {
        let long = saying(format!(
            "HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n",
            "x".repeat(20_000)
        ));
        let strict = |max: u32| {
            access.with(|builder| {
                builder.protocol_limits(ProtocolLimits {
                    head_bytes_max: max,
                    ..ProtocolLimits::default()
                })
            })
        };
        let (narrow, wide) = (strict(1_000), strict(60_000));
        for _ in 0..3 {
            assert_eq!(access.get(&long.url()).unwrap().status(), 200);
            assert_eq!(wide.get(&long.url()).unwrap().status(), 200);
            let error = narrow.get(&long.url()).unwrap_err();
            assert!(matches!(error.kind(), Kind::Limit(LimitKind::Protocol(_))), "{error}");
        }
    });
}

#[test]
fn trailers_come_with_the_end() {
    check(plain, |access| {
        let peer = saying(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n",
        );
        for _ in 0..2 {
            let response = access.get(&peer.url()).unwrap();
            let trailers = response.trailers().unwrap();
            assert_eq!((trailers["x-sum"].to_str().unwrap(), trailers.len()), ("7", 1));
            assert!(!response.headers().contains_key("x-sum"));
            assert_eq!(&response.bytes()[..], b"abc");
        }
        let small = peer.url();
        on_client!(access, client => {
            let mut body = client.send(get(&small)).await.unwrap().into_body();
            // All of it is here, and none of it was read.
            assert!(body.trailers().is_none() && body.timings().is_none());
            while body.chunk().await.unwrap().is_some() {}
            assert!(body.trailers().is_some() && body.timings().is_some());
        });
        let url = origin().url("/chunked/300000?trailers");
        let origin = origin();
        let url = url.replace(url.split('/').nth(2).unwrap(), &origin.address().to_string());
        let trailers = on_client!(access, client => {
            let mut body = client.send(get(&url)).await.unwrap().into_body();
            assert!(body.trailers().is_none());
            while body.chunk().await.unwrap().is_some() {}
            body.trailers().unwrap().len()
        });
        assert_eq!(trailers, 1);
    });
}

/// A body that ends with its connection.
#[test]
fn a_body_may_end_with_the_connection() {
    check(plain, |access| {
        let origin = origin();
        for _ in 0..3 {
            let response = access.get(&origin.url("/bytes/100000?unframed")).unwrap();
            assert_eq!((response.bytes().len(), response.connection().reused), (100_000, false));
        }
    });
}

/// What says `close` is believed, from either side; HTTP/1.0 closes unless it says otherwise.
#[test]
fn who_wants_to_close_closes() {
    let reused_after =
        |access: &Access, response: &'static str, request: fn(Request) -> Request| {
            let peer = saying(response);
            for _ in 0..2 {
                assert_eq!(access.fetch(request(get(&peer.url()))).unwrap().status(), 200);
            }
            wait_until(LONG, || access.total(|core| u64::from(core.holding.closing)) == 0);
            peer.accepted() == 1
        };
    let as_it_is: fn(Request) -> Request = |request| request;
    let closing: fn(Request) -> Request = |request| request.header("connection", "Close").unwrap();
    let table = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", as_it_is, true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", closing, false),
        ("HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\nContent-Length: 0\r\n\r\n", as_it_is, false),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", as_it_is, false),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", as_it_is, true),
    ];
    check(plain, |access| {
        for (response, request, reused) in table {
            assert_eq!(reused_after(access, response, request), reused, "{response:?}");
        }
    });
}

/// The request as it goes out: one `Host`, what the client adds, and what the caller does.
#[test]
fn a_request_is_what_was_asked_for() {
    check(
        |builder| builder.header("x-default", "yes").user_agent(Some("me/1")),
        |access| {
            let origin = origin();
            let head = |request: Request| {
                let bytes = access.fetch(request).unwrap().bytes().to_vec();
                String::from_utf8(bytes).unwrap().to_ascii_lowercase()
            };
            let plain = head(get(&origin.url("/headers?a=b#fragment")));
            let host = format!("host: {}\r\n", origin.address());
            assert!(plain.starts_with(&format!("get /headers?a=b http/1.1\r\n{host}")), "{plain}");
            assert!(
                plain.contains("x-default: yes") && plain.contains("user-agent: me/1"),
                "{plain}"
            );
            assert!(!plain.contains("content-length") && !plain.contains("connection"), "{plain}");
            let own = get(&origin.url("/headers")).header("x-default", "no").unwrap();
            let own = head(own.header("te", "trailers").unwrap());
            assert!(own.contains("x-default: no") && !own.contains("yes"), "{own}");
            assert!(own.contains("connection: te"), "{own}");
            let named = head(get(&origin.url("/headers")).header("host", "other.test").unwrap());
            assert!(named.contains("\r\nhost: other.test") && !named.contains(&host), "{named}");
            let post = head(Request::new(Method::POST, origin.url("/headers")).unwrap());
            assert!(post.contains("content-length: 0"), "{post}");
            let userinfo = format!("http://user:secret@{}/headers", origin.address());
            let userinfo = head(get(&userinfo));
            assert!(userinfo.contains(&host) && !userinfo.contains("secret"), "{userinfo}");
        },
    );
}

/// What could split a request never leaves.
#[test]
fn what_could_split_a_request_is_refused() {
    check(plain, |access| {
        let origin = origin();
        let refused = |request: Request| {
            let error = access.fetch(request).unwrap_err();
            assert_eq!(error.kind().name(), "request", "{error}");
            assert!(!error.may_have_been_processed());
        };
        let url = origin.url("/");
        refused(get(&url).header("te", "chunked").unwrap());
        refused(get(&url).header("host", "a b").unwrap());
        refused(get(&url).header("content-length", "5").unwrap());
        refused(get(&url).header("transfer-encoding", "chunked").unwrap());
        refused(Request::new(Method::TRACE, &url).unwrap().body("x"));
        assert!(Request::get(format!("{url}a b\r\nX: y")).is_err());
        assert!(get(&url).header("x", "a\r\nb").is_err() && get(&url).header("a b", "x").is_err());
        assert_eq!(origin.counters().accepted, 0);
        access.wait_empty();
    });
}

#[test]
fn a_length_that_is_said_twice_is_one() {
    check(plain, |access| {
        let peer = saying("HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok");
        let response = access.fetch(get(&peer.url())).unwrap();
        assert_eq!((response.content_length(), &response.bytes()[..]), (Some(2), &b"ok"[..]));
    });
}

/// The head counts, what the kernel threw away counts, and a limit is not taken for it.
#[test]
fn how_much_of_a_response_had_come() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    const CHUNK: &str = "a\r\n0123456789\r\n";
    check(
        |builder| builder,
        |access| {
            let origin = origin();
            let request = get(&origin.url("/truncate/20000000")).timeout(LONG);
            let discarded = on_client!(access, client => {
                client.send(request).await.unwrap().into_body().discard().await
            });
            let error = discarded.unwrap_err();
            assert!(matches!(error.kind(), Kind::Truncated { got: 10_000_000, .. }), "{error}");
            let came = error.got_bytes();
            assert!((10_000_001..10_001_000).contains(&came), "{came}: {error}");

            let peer = Peer::start(|mut peer| {
                peer.request();
                peer.send(format!("{HEAD}{CHUNK}"));
                peer.read_to_end();
            });
            let all = (HEAD.len() + CHUNK.len()) as u64;
            let limited = |request: Request| request.max_body_bytes(5).timeout(LONG);
            let request = limited(get(&peer.url()));
            let read = on_client!(access, client => {
                client.send(request).await.unwrap().bytes().await
            });
            for error in [read.unwrap_err(), access.fetch(limited(get(&peer.url()))).unwrap_err()] {
                assert!(matches!(error.kind(), Kind::Limit(_)), "{error}");
                let came = error.got_bytes();
                assert!((HEAD.len() as u64 + 10..=all).contains(&came), "{came}: {error}");
            }
            // It was announced to be too long: nobody waits for the body.
            let peer = Peer::start(|mut peer| {
                peer.request();
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
                peer.read_to_end();
            });
            let error = access.fetch(limited(get(&peer.url()))).unwrap_err();
            assert_eq!((error.kind().name(), error.got_bytes()), ("limit", 41), "{error}");
        },
    );
}
