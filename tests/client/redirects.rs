//! Redirects: which are followed, with what method, body and fields (item 74 of B2).

use http::Method;
use ringshot::client::{
    ClientBuilder, Error, Kind, Phase, RedirectKind, Request, RequestBody, Response, Sent,
};
use ringshot_tests::peer::Peer;

use crate::access::{check, friendly, get, origin, post};
use crate::feed::fed;

fn plain(builder: ClientBuilder) -> ClientBuilder {
    builder
}

/// A peer that answers `/` so, and everything else with the request itself.
fn redirecting(status: u16, location: &str) -> Peer {
    let answer = format!(
        "HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 4\r\n\r\naway"
    );
    Peer::start(move |mut peer| {
        while let Some(request) = peer.request() {
            let first = request.split(|byte| *byte == b' ').nth(1) == Some(b"/");
            if first {
                peer.send(&answer);
                continue;
            }
            peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.len()));
            peer.send(&request);
        }
    })
}

#[test]
fn methods_and_bodies() {
    let table = [
        (301, Method::GET, "GET"),
        (302, Method::POST, "GET"),
        (301, Method::POST, "GET"),
        (303, Method::POST, "GET"),
        (303, Method::PUT, "GET"),
        (302, Method::PUT, "PUT"),
        (307, Method::POST, "POST"),
        (308, Method::DELETE, "DELETE"),
    ];
    check(plain, |access| {
        for (status, method, expected) in table.clone() {
            let peer = redirecting(status, "/there?x#y");
            let request = Request::new(method.clone(), peer.url()).unwrap().redirects(1);
            let request = match method {
                Method::GET => request,
                _ => request.body("payload").header("content-type", "text/plain").unwrap(),
            };
            let response = access.fetch(request).unwrap();
            let text = response.text().into_owned();
            assert!(
                text.starts_with(&format!("{expected} /there?x HTTP/1.1\r\n")),
                "{status}: {text}"
            );
            let keeps = expected != "GET";
            assert_eq!(text.ends_with("payload"), keeps, "{status}: {text}");
            assert_eq!(text.contains("content-type"), keeps, "{status}: {text}");
            assert_eq!((response.redirects(), response.status().as_u16()), (1, 200));
            assert!(response.target().to_string().ends_with("/there?x"));
            assert_eq!((peer.accepted(), response.connection().reused), (1, true));
        }
    });
}

#[test]
fn head_stays_head() {
    check(plain, |access| {
        let origin = origin();
        for status in [301, 302, 303, 307, 308] {
            let url = origin.url(&format!("/redirect/2?status={status}"));
            let request = Request::new(Method::HEAD, url).unwrap().redirects(5);
            let response = access.fetch(request).unwrap();
            assert_eq!(
                (response.status().as_u16(), response.bytes().len(), response.redirects()),
                (200, 0, 2)
            );
        }
    });
}

/// Off for `send` and `fetch`, ten for what a builder sends, and what was said otherwise.
#[test]
fn how_many_are_followed() {
    check(plain, |access| {
        let origin = origin();
        assert_eq!(access.get(&origin.url("/redirect/1")).unwrap().status(), 302);
        let own = access.with(|builder| builder.redirects(1));
        assert_eq!(own.get(&origin.url("/redirect/1")).unwrap().status(), 200);
        let none = own.fetch(get(&origin.url("/redirect/1")).redirects(0)).unwrap();
        assert_eq!((none.status().as_u16(), none.redirects()), (302, 0));
        for (count, follows) in [(10, true), (11, false)] {
            let url = origin.url(&format!("/redirect/{count}"));
            let outcome = on_client!(access, client => client.get(url).send().await.map(|response| response.status()));
            assert_eq!(outcome.is_ok(), follows, "{outcome:?}");
        }
        let url = origin.url("/redirect/1");
        let status = on_client!(access, client => client.get(url).redirects(0).send().await.unwrap().status());
        assert_eq!(status, 302);
    });
}

#[test]
fn a_loop_ends() {
    check(plain, |access| {
        let peer = redirecting(302, "/");
        let error = access.fetch(get(&peer.url()).redirects(4)).unwrap_err();
        assert!(
            matches!(error.kind(), Kind::Redirect(RedirectKind::TooMany { max: 4 })),
            "{error}"
        );
        assert_eq!(
            (error.phase(), error.is_retryable(), error.sent(), peer.accepted()),
            (Phase::Redirect, false, Sent::All, 1)
        );
        assert_eq!(error.peer(), Some(peer.address()));
        access.wait_idle(1);
    });
}

#[test]
fn what_leads_nowhere_is_told() {
    check(plain, |access| {
        for location in ["https://secure.test/", "ftp://x/", "http://", "http://[::1"] {
            let peer = redirecting(302, location);
            let error: Error = access.fetch(get(&peer.url()).redirects(3)).unwrap_err();
            let kind = error.kind();
            assert!(
                matches!(kind, Kind::Redirect(RedirectKind::Location(_))),
                "{location}: {error}"
            );
        }
        // Without `Location` it is a response like any other.
        let response = access.fetch(get(&origin().url("/status/302")).redirects(3));
        assert_eq!(response.unwrap().status(), 302);
        // It is none at the limit either, which is for what could be followed.
        let way = origin();
        let last = way.url("/status/302").replace(':', "%3A").replace('/', "%2F");
        for max in [1, 2] {
            let url = way.url(&format!("/redirect-to?url={last}"));
            let response = access.fetch(get(&url).redirects(max)).unwrap();
            assert_eq!((response.status().as_u16(), response.redirects()), (302, 1));
        }
    });
}

#[test]
fn a_stream_is_not_sent_twice() {
    check(plain, |access| {
        let peer = redirecting(307, "/there");
        let stream = || RequestBody::stream_of(fed(|feeder| feeder.push("once")), 4);
        let request = post(&peer.url(), "").redirects(3).body(stream());
        let error = access.fetch(request).unwrap_err();
        assert!(matches!(error.kind(), Kind::Redirect(RedirectKind::BodyGone)), "{error}");
        let peer = redirecting(303, "/there");
        let request = post(&peer.url(), "").redirects(3).body(stream());
        assert!(access.fetch(request).unwrap().text().starts_with("GET /there"));
    });
}

/// Secrets stay with the first origin, whoever added them; and they don't come back with the way back.
#[test]
fn secrets_stay_with_their_origin() {
    let secret = |builder: ClientBuilder| {
        builder.header("authorization", "Basic default").header("x-kept", "yes")
    };
    check(secret, |access| {
        let text = |response: Response<_>| -> String {
            Response::<ringshot::client::Whole>::text(&response).to_lowercase()
        };
        let near = redirecting(302, "/there");
        let asked = |peer: &Peer| {
            let request = get(&peer.url()).redirects(5).header("cookie", "c=1").unwrap();
            access.fetch(request.header("x-own", "o").unwrap()).unwrap()
        };
        let seen = text(asked(&near));
        assert!(
            seen.contains("basic default") && seen.contains("c=1") && seen.contains("x-own"),
            "{seen}"
        );
        let other = redirecting(302, "/there");
        let far = redirecting(302, &format!("{}there", other.url()));
        let seen = text(asked(&far));
        assert!(!seen.contains("basic default") && !seen.contains("c=1"), "{seen}");
        assert!(seen.contains("x-own") && seen.contains("x-kept"), "{seen}");
        assert!(seen.contains(&format!("host: {}", other.address())), "{seen}");
        // A request of its own has them again.
        assert!(text(asked(&near)).contains("basic default"));
    });
}

#[test]
fn the_rest_of_a_redirect_is_in_nobodys_way() {
    check(
        |builder| builder.max_in_flight(1).max_conns(1),
        |access| {
            let (origin, other) = (origin(), friendly());
            let location = other.url().replace(':', "%3A").replace('/', "%2F");
            let url = origin.url(&format!("/redirect-to?url={location}&chunked"));
            let response = access.fetch(get(&url).redirects(1)).unwrap();
            assert_eq!(
                (response.status().as_u16(), response.connection().peer),
                (200, Some(other.address()))
            );
        },
    );
}

/// A `Host` that the caller wrote, for one request or for all of a client's, goes on where it was meant for, and nowhere else.
#[test]
fn a_host_of_the_callers_own_stays_with_its_origin() {
    let with_default = |builder: ClientBuilder| builder.header("host", "site.test");
    for of_the_client in [true, false] {
        let host = if of_the_client { with_default } else { plain };
        check(host, |access| {
            let ask = |peer: &Peer| {
                let request = get(&peer.url()).redirects(1);
                let request = match of_the_client {
                    true => request,
                    false => request.header("host", "site.test").unwrap(),
                };
                access.fetch(request).unwrap().text().to_lowercase()
            };
            let text = ask(&redirecting(302, "/there"));
            assert!(text.contains("host: site.test\r\n"), "{text}");
            let other = friendly_echo();
            let text = ask(&redirecting(302, &format!("{}there", other.url())));
            assert!(text.contains(&format!("host: {}\r\n", other.address())), "{text}");
            assert!(!text.contains("site.test"), "{text}");
        });
    }
}

/// Answers everything with the request itself.
fn friendly_echo() -> Peer {
    redirecting(200, "/")
}
