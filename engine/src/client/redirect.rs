//! Where a redirect leads, and what of the request goes along (RFC 9110 15.4, RFC 9700 4.12 for what does not). Sends nothing.

use http::header::{AUTHORIZATION, COOKIE, EXPECT, HOST, HeaderName, HeaderValue, LAST_MODIFIED};
use http::header::{LOCATION, PROXY_AUTHORIZATION, TRAILER, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode};

use super::request::Request;
use super::request_body::Source;
use crate::error::RedirectKind;

/// Whether a field speaks of the body, and goes with it: its framing, what it is and how it is to be sent (RFC 9110 15.4, 10.1.1).
fn is_of_the_body(name: &HeaderName) -> bool {
    name.as_str().starts_with("content-")
        || [EXPECT, LAST_MODIFIED, TRAILER, TRANSFER_ENCODING].contains(name)
        || ["digest", "repr-digest"].contains(&name.as_str())
}

/// Fields that are meant for one origin alone.
pub(super) const SECRETS: [HeaderName; 3] = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION];

/// Whether a field was for the first server alone, and goes to no other: a secret, or a `Host` of the caller's own.
pub(super) fn is_for_the_first(name: &HeaderName) -> bool {
    SECRETS.contains(name) || *name == HOST
}

/// Has `Debug` not show a secret.
pub(super) fn hide(name: &HeaderName, value: &mut HeaderValue) {
    value.set_sensitive(value.is_sensitive() || SECRETS.contains(name));
}

/// Whether a status asks to look elsewhere.
pub(crate) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads. Without that it is none that can be followed.
pub(crate) fn location_of(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(LOCATION)
}

/// Makes the request the one that follows.
///
/// # Errors
/// [`RedirectKind`]: what is in `Location` is no URL that can be fetched, or the body is gone.
pub(crate) fn follow(
    request: &mut Request,
    body: Option<Source>,
    status: StatusCode,
    location: &HeaderValue,
) -> Result<(), RedirectKind> {
    let location = encode(location.as_bytes());
    let target = request.target.join(&location);
    let target = target.map_err(|error| RedirectKind::Location(error.to_string()))?;
    let becomes_get = match status.as_u16() {
        303 => request.method != Method::HEAD && request.method != Method::GET,
        301 | 302 => request.method == Method::POST,
        _ => false,
    };
    if becomes_get {
        request.method = Method::GET;
        request.body.0 = Source::None;
        request.headers.remove_where(is_of_the_body);
    } else {
        request.body.0 = body.ok_or(RedirectKind::BodyGone)?;
    }
    if target.origin() != request.target.origin() {
        request.headers.remove_where(is_for_the_first);
    }
    request.target = target;
    Ok(())
}

/// What servers write into `Location` though it ought to be encoded: spaces and bytes that are no ASCII.
fn encode(location: &[u8]) -> String {
    let mut text = String::with_capacity(location.len());
    for byte in location {
        if byte.is_ascii_graphic() {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow_from(method: Method, status: u16, location: &str) -> (String, Request) {
        let mut request = Request::new(method, "http://a/x/y?q")
            .unwrap()
            .header("authorization", "secret")
            .unwrap()
            .header("content-type", "text/plain")
            .unwrap()
            .body("body");
        let location = location.parse().unwrap();
        let body = request.body.0.try_clone();
        let followed = follow(&mut request, body, StatusCode::from_u16(status).unwrap(), &location);
        let shown = match followed {
            Ok(()) => format!("{} {} {:?}", request.method, request.target, request.body),
            Err(kind) => kind.to_string(),
        };
        (shown, request)
    }

    fn check(method: Method, status: u16, location: &str, expected: &str) {
        assert_eq!(follow_from(method, status, location).0, expected, "{status} {location}");
    }

    #[test]
    fn methods_and_bodies() {
        for status in [301, 302, 303] {
            check(Method::POST, status, "/z", "GET http://a/z None");
        }
        for status in [307, 308] {
            check(Method::POST, status, "/z", "POST http://a/z Bytes(4)");
        }
        check(Method::PUT, 301, "/z", "PUT http://a/z Bytes(4)");
        check(Method::PUT, 303, "/z", "GET http://a/z None");
        check(Method::HEAD, 303, "/z", "HEAD http://a/z Bytes(4)");
    }

    #[test]
    fn fields_of_the_body_go_with_it() {
        let of = |name: &str| is_of_the_body(&name.parse().unwrap());
        for name in ["content-type", "content-language", "expect", "trailer", "digest"] {
            assert!(of(name), "{name}");
        }
        for name in ["accept", "authorization", "content", "x-content-type"] {
            assert!(!of(name), "{name}");
        }
        let (_, request) = follow_from(Method::POST, 302, "/z");
        let names: Vec<_> = request.headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["authorization"]);
    }

    #[test]
    fn not_every_3xx_leads_elsewhere() {
        let redirects = |status| is_redirect(StatusCode::from_u16(status).unwrap());
        assert!([301, 302, 303, 307, 308].into_iter().all(redirects));
        assert!(![200, 300, 304, 305, 306].into_iter().any(redirects));
    }

    #[test]
    fn locations() {
        check(Method::GET, 302, "z", "GET http://a/x/z Bytes(4)");
        check(Method::GET, 302, "?z", "GET http://a/x/y?z Bytes(4)");
        check(Method::GET, 302, "//b/z", "GET http://b/z Bytes(4)");
        check(Method::GET, 302, "http://b:81", "GET http://b:81/ Bytes(4)");
        check(Method::GET, 302, "/a b", "GET http://a/a%20b Bytes(4)");
        check(
            Method::GET,
            302,
            "javascript:alert(1)",
            "the redirect leads nowhere: the scheme of \"javascript:...\" is not supported; only http is",
        );
        check(
            Method::GET,
            302,
            "https://a/",
            "the redirect leads nowhere: the URL \"https://a/\" is https, which is not supported yet",
        );
    }

    #[test]
    fn secrets_stay_with_their_origin() {
        assert!(follow_from(Method::GET, 302, "/z").1.headers.contains_key(AUTHORIZATION));
        assert!(!follow_from(Method::GET, 302, "http://b/z").1.headers.contains_key(AUTHORIZATION));
        assert!(
            !follow_from(Method::GET, 302, "http://a:81/").1.headers.contains_key(AUTHORIZATION)
        );
        assert!(!follow_from(Method::POST, 302, "/z").1.headers.contains_key("content-type"));
    }

    /// Each of them by its name here, so that none can be forgotten in the table above.
    #[test]
    fn no_secret_follows_to_another_origin() {
        for name in ["authorization", "cookie", "proxy-authorization"] {
            for (location, stays) in [("/z", true), ("http://b/z", false), ("http://a:81/", false)]
            {
                let request = Request::new(Method::GET, "http://a/").unwrap();
                let mut request = request.header(name, "secret").unwrap();
                assert!(!format!("{request:?}").contains("secret"), "{name}");
                let followed = location.parse().unwrap();
                let body = request.body.0.try_clone();
                assert_eq!(follow(&mut request, body, StatusCode::FOUND, &followed), Ok(()));
                assert_eq!(request.headers.contains_key(name), stays, "{name} {location}");
            }
        }
    }

    /// An IPv6 address is on another link with another zone: to the same one a secret goes along.
    #[test]
    fn a_zone_is_of_the_origin() {
        for (location, stays) in [("/z", true), ("z", true), ("http://[fe80::1]/", false)] {
            let request = Request::new(Method::GET, "http://[fe80::1%25lo]/").unwrap();
            let mut request = request.header("cookie", "secret").unwrap();
            let followed = location.parse().unwrap();
            let body = request.body.0.try_clone();
            assert_eq!(follow(&mut request, body, StatusCode::FOUND, &followed), Ok(()));
            assert_eq!(request.headers.contains_key("cookie"), stays, "{location}");
            assert_eq!(request.target.host() == "fe80::1%lo", stays, "{location}");
        }
    }

    #[test]
    fn a_body_that_is_gone_is_told() {
        let mut request = Request::new(Method::POST, "http://a/").unwrap();
        let location = HeaderValue::from_static("/z");
        let gone = follow(&mut request, None, StatusCode::PERMANENT_REDIRECT, &location);
        assert_eq!(gone, Err(RedirectKind::BodyGone));
    }
}
