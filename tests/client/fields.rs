//! Fields of requests: those that can't be, and those that nobody should see.

use ringshot::client::{Cores, Engine, Error, Fault, Request};
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
    assert!(field.is_sensitive() && request.method() == http::Method::PUT);
    let error = client.head("http://h/").basic_auth("a:b", "secret").build().unwrap_err();
    assert_eq!(error.to_string(), "HEAD http://h/: build: a user's name may hold no colon");
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
