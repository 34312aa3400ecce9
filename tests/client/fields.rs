//! Fields of requests: those that can't be, and those that nobody should see.

use std::sync::{Arc, Mutex};

use http::Method;
use ringshot::client::{Cores, Engine, Error, Fault, Request, Target};
use ringshot_tests::peer::Peer;

use crate::access::{OK, check, get};

#[test]
fn fields_that_can_t_be_are_named_with_their_request() {
    let begin = || Request::get("http://h/a?secret=1").unwrap();
    let check = |error: Error, expected: &str| {
        assert_eq!(error.to_string(), format!("GET http://h/a?...: build: {expected}"));
        assert_eq!((error.kind().name(), error.fault()), ("config", Fault::Caller));
    };
    let name = "the name of a header holds bytes that no name may have";
    check(begin().header("a b", "1").unwrap_err(), name);
    check(begin().header("a\r\nb", "1").unwrap_err(), name);
    let value = "the value of the header x-key holds bytes that no value may have";
    check(begin().header("X-Key", "secret\r\nb").unwrap_err(), value);
}

#[test]
fn a_user_and_a_password_become_a_field_that_nobody_sees() {
    let engine = Engine::builder().cores(Cores::Count(1)).build().unwrap();
    let client = engine.client().build().unwrap();
    let request = client.put("http://h/").basic_auth("Aladdin", "open:sésame").build().unwrap();
    let field = &request.headers()["authorization"];
    assert_eq!(field, "Basic QWxhZGRpbjpvcGVuOnPDqXNhbWU=");
    assert!(field.is_sensitive() && request.method() == Method::PUT);
    let error = client.head("http://h/").basic_auth("a:b", "secret").build().unwrap_err();
    assert_eq!(error.to_string(), "HEAD http://h/: build: a user's name may hold no colon");
}

/// `OPTIONS *` asks about the server, whatever path its URL had (RFC 9112 3.2.4); a redirect of it has a path again.
#[test]
fn the_whole_server_is_asked_by_an_asterisk() {
    check(
        |builder| builder.redirects(1),
        |access| {
            let seen = Arc::<Mutex<Vec<String>>>::default();
            let lines = Arc::clone(&seen);
            let peer = Peer::start(move |mut peer| {
                while let Some(request) = peer.request() {
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let line = text.lines().next().unwrap_or_default().to_owned();
                    let moved = "HTTP/1.1 307 See\r\nLocation: b\r\nContent-Length: 0\r\n\r\n";
                    let answer = if line.contains(" * ") { moved } else { OK };
                    lines.lock().unwrap().push(line);
                    peer.send(answer);
                }
            });
            let target: Target = format!("http://{}/a?b", peer.address()).parse().unwrap();
            let server = target.whole_server();
            assert_eq!(server.to_string(), format!("http://{}", peer.address()));
            let request = Request::new(Method::OPTIONS, &server).unwrap();
            assert_eq!(access.fetch(request).unwrap().status(), 200);
            assert_eq!(*seen.lock().unwrap(), ["OPTIONS * HTTP/1.1", "OPTIONS /b HTTP/1.1"]);
            let error = access.fetch(Request::get(&server).unwrap()).unwrap_err();
            assert_eq!((error.fault(), error.kind().name()), (Fault::Caller, "request"));
        },
    );
}

/// What a URL says of its user is `Basic`, unless the request says something else; a redirect elsewhere leaves it behind.
#[test]
fn userinfo_is_sent_and_shown_nowhere() {
    check(
        |builder| builder.header("authorization", "of the client"),
        |access| {
            let seen = Arc::<Mutex<String>>::default();
            let last = Arc::clone(&seen);
            let peer = Peer::start(move |mut peer| {
                while let Some(request) = peer.request() {
                    *last.lock().unwrap() = String::from_utf8_lossy(&request).into_owned();
                    peer.send(OK);
                }
            });
            let url = format!("http://Aladdin:open%20sesame@{}/", peer.address());
            let check = |request: Request, expected: &str| {
                let response = access.fetch(request).unwrap();
                assert!(!format!("{response:?}").contains("Aladdin"));
                let seen = seen.lock().unwrap().clone();
                let lines: Vec<_> =
                    seen.lines().filter_map(|line| line.strip_prefix("authorization: ")).collect();
                assert_eq!(lines, [expected], "{seen}");
            };
            let basic = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
            check(get(&url), basic);
            check(get(&url).header("authorization", "own").unwrap(), "own");
            check(get(&peer.url()), "of the client");
            let built = http::Request::get(&url).body("").unwrap();
            check(Request::try_from(built).unwrap(), basic);
        },
    );
}

#[test]
fn a_client_shows_no_secrets() {
    let engine = Engine::builder().cores(Cores::Count(1)).build().unwrap();
    let builder = engine.client().header("authorization", "secret").header("x-shown", "plain");
    let client = builder.clone().build().unwrap();
    let mut fields = http::HeaderMap::new();
    fields.insert("cookie", "secret".parse().unwrap());
    let request = client.get("http://h/").headers(fields.clone());
    let plain = http::Request::get("http://u:secret@h/").header("cookie", "secret").body("");
    for shown in [
        format!("{builder:?}"),
        format!("{client:?}"),
        format!("{request:?}"),
        format!("{:?}", Request::try_from(plain.unwrap()).unwrap()),
    ] {
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("Sensitive"), "{shown}");
    }
    let check = |builder: ringshot::client::ClientBuilder, expected: &str| {
        let error = builder.build().map(drop).unwrap_err();
        assert_eq!(error.to_string(), format!("build: {expected}"));
    };
    let value = "the value of the default header x-key holds bytes that no value may have";
    check(engine.client().header("X-Key", "a\nb"), value);
    let name = "the name of a default header holds bytes that no name may have";
    check(engine.client().header("a b", "1").header("X-Key", "a\nb"), name);
}

#[test]
fn debug_shows_no_secrets() {
    let request = Request::get("http://u:secret@h/a?secret=1")
        .and_then(|request| request.header("authorization", "secret"))
        .and_then(|request| request.header("cookie", "secret"))
        .and_then(|request| request.header("x-shown", "plain"));
    let shown = format!("{:?}", request.unwrap());
    assert!(shown.contains(r#"headers: {"authorization": Sensitive"#), "{shown}");
    assert!(shown.contains("plain") && !shown.contains("secret"), "{shown}");
    check(
        |builder| builder,
        |access| {
            let peer = Peer::start(|mut peer| {
                peer.request();
                peer.send(OK);
            });
            let request = get(&peer.url()).header("authorization", "secret").unwrap();
            let response = format!("{:?}", access.fetch(request).unwrap());
            assert!(!response.contains("secret"), "{response}");
        },
    );
}
