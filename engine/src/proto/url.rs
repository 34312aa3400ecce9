//! An `http` URL into what a request needs: where to connect, what to put into `Host`, and the
//! target. It decodes nothing, resolves nothing, and refuses what it would have to guess.

use std::net::Ipv6Addr;

/// The port of `http` where the URL names none (RFC 9110 4.2.1).
pub const HTTP_PORT: u16 = 80;

/// Which protocol a URL speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// Plain HTTP over TCP.
    Http,
}

/// The parts of one URL, each checked. Userinfo and fragment are left out: neither goes to a server as it is.
///
/// ```
/// use ringshot::client::Url;
///
/// let url: Url = "http://user@Example.test:8080/a?b#c".parse()?;
/// assert_eq!((url.host.as_str(), url.port, url.target.as_str()), ("example.test", 8080, "/a?b"));
/// assert_eq!(url.join("../d")?.target, "/d");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Url {
    /// The scheme.
    pub scheme: Scheme,
    /// The host to connect to, in lower case: a name, an IPv4 address, or an IPv6 address without
    /// brackets and with its zone, if it has one.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
    /// What `Host` says: no userinfo, IPv6 in brackets and without its zone, no default port.
    pub authority: String,
    /// The request target in origin-form: begins with `/`, has no fragment.
    pub target: String,
}

/// Why a text is not a URL that this engine can fetch. Holds neither userinfo nor a query: errors are logged. Where an `@` behind the host leaves it in doubt
/// what a password is, the URL is shown as `http://...`.
///
/// ```
/// use ringshot::client::{Url, UrlError};
///
/// let error = "http://user:secret@h:99999/?token=secret".parse::<Url>().unwrap_err();
/// assert!(matches!(error, UrlError::Port(_)));
/// assert_eq!(error.to_string(), r#"the port of "http://h:99999/?..." is not a number from 1 to 65535"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no `scheme://`.
    #[error("the URL {0:?} has no scheme; write http://{shown}", shown = .0.trim_start_matches('/').escape_debug())]
    NoScheme(String),
    /// `http:` without the two slashes.
    #[error("the URL {0:?} lacks the // behind http:")]
    NoSlashes(String),
    /// `https`.
    #[error("the URL {0:?} is https, which is not supported yet")]
    Https(String),
    /// Another scheme.
    #[error("the scheme of {0:?} is not supported; only http is")]
    Scheme(String),
    /// Nothing between `//` and the port or the path.
    #[error("the URL {0:?} has an empty host")]
    EmptyHost(String),
    /// A byte that no host name has. A name in another alphabet has to be given as punycode.
    #[error("the host of {0:?} is not a host name or an address")]
    Host(String),
    /// What is in the brackets is no IPv6 address.
    #[error("the host of {0:?} is not an IPv6 address in brackets")]
    Ipv6(String),
    /// Not a number from 1 to 65535.
    #[error("the port of {0:?} is not a number from 1 to 65535")]
    Port(String),
    /// A `/`, `?` or `#` in front of the `@` that ends the userinfo.
    #[error("the user or the password in front of @ has a /, ? or #; percent-encode it")]
    Userinfo,
    /// A user or a password that can't be sent as `Basic`: see [`check_credentials`].
    #[error("what stands in front of @ can't be sent: {0}")]
    Credentials(&'static str),
    /// A byte of path or query that has to be percent-encoded.
    #[error(
        "byte {byte:#04x} at {offset} of the path of {url:?} is not allowed; percent-encode it"
    )]
    Target {
        /// The byte.
        byte: u8,
        /// Where it is, counted from the `/` that the path begins with.
        offset: usize,
        /// The URL.
        url: String,
    },
}

impl Url {
    /// Takes `text` apart (RFC 3986 3).
    ///
    /// # Errors
    /// A [`UrlError`] that names the URL, the part, and what is wrong with it.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let (scheme, rest) = parse_scheme(text)?;
        let (authority, target) = split_authority(rest);
        if let Some((name, password)) = credentials(authority) {
            check_credentials(&name, &password).map_err(UrlError::Credentials)?;
        }
        // The last @ ends the userinfo, which may hold others by mistake.
        let host_and_port = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) =
            split_port(host_and_port).ok_or_else(|| UrlError::Ipv6(redacted(text)))?;
        if host.is_empty() {
            return Err(UrlError::EmptyHost(redacted(text)));
        }
        let port = port.filter(|port| !port.is_empty()).map_or(Some(HTTP_PORT), parse_port);
        if port.is_none() && target.contains('@') {
            // What looks like a port may be a password.
            return Err(UrlError::Userinfo);
        }
        let (host, mut authority) = parse_host(host, text)?;
        let port = port.ok_or_else(|| UrlError::Port(redacted(text)))?;
        if port != HTTP_PORT {
            authority.push_str(&format!(":{port}"));
        }
        let target = parse_target(target, || redacted(text))?;
        Ok(Url { scheme, host, port, authority, target })
    }
}

impl Url {
    /// The URL that `reference` means, seen from this one (RFC 3986 5.2), without its fragment.
    ///
    /// # Errors
    /// A [`UrlError`] if that is no URL to fetch.
    pub fn join(&self, reference: &str) -> Result<Url, UrlError> {
        if let Some(scheme) = scheme_of(reference) {
            return match scheme.to_ascii_lowercase().as_str() {
                "http" => Url::parse(reference),
                "https" => Err(UrlError::Https(redacted(reference))),
                // What follows may be anything: a script, a picture.
                _ => Err(UrlError::Scheme(format!("{scheme}:..."))),
            };
        }
        if reference.starts_with("//") {
            return Url::parse(&format!("http:{reference}"));
        }
        // What looks like a path may be a URL with a user and a mistake in its scheme.
        let doubtful = reference.contains('@');
        let reference = reference.split('#').next().unwrap_or_default();
        let (base, query) = self.target.split_once('?').unzip();
        let base = base.unwrap_or(&self.target);
        let (path, own_query) = reference.split_once('?').unzip();
        let path = path.unwrap_or(reference);
        let query = if path.is_empty() { own_query.or(query) } else { own_query };
        let merged = match path {
            "" => base.to_owned(),
            _ if path.starts_with('/') => without_dots(path),
            _ => without_dots(&format!("{}/{path}", base.rsplit_once('/').unwrap_or_default().0)),
        };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let whole = || match doubtful {
            true => format!("http://{}/...", self.authority),
            false => redacted(&format!("http://{}{merged}{query}", self.authority)),
        };
        let target = parse_target(&format!("{merged}{query}"), whole)?;
        Ok(Url { target, ..self.clone() })
    }
}

/// Appends a value as it may stand anywhere in a path or query: percent-encoded but for what RFC 3986 2.3 calls unreserved.
pub(crate) fn put_percent_encoded(out: &mut Vec<u8>, value: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(*byte);
        } else {
            let [high, low] = [byte >> 4, byte & 0xF].map(|half| HEX[usize::from(half)]);
            out.extend_from_slice(&[b'%', high, low]);
        }
    }
}

/// A text with each `%HH` as the byte that it stands for (RFC 3986 2.1).
pub(crate) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (mut decoded, mut rest) = (Vec::with_capacity(text.len()), text);
    while let [byte, after @ ..] = rest {
        let encoded = match rest {
            [b'%', high, low, ..] => digit(*high).zip(digit(*low)),
            _ => None,
        };
        decoded.push(encoded.map_or(*byte, |(high, low)| high << 4 | low));
        rest = if encoded.is_some() { &rest[3..] } else { after };
    }
    decoded
}

/// The scheme that a reference begins with, if it does (RFC 3986 3.1).
fn scheme_of(reference: &str) -> Option<&str> {
    let (scheme, _) = reference.split_once(':')?;
    let mut letters = scheme.bytes();
    let is_one = letters.next().is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    is_one.then_some(scheme)
}

/// A path without `.` and `..` (RFC 3986 5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

impl From<std::convert::Infallible> for UrlError {
    /// What can't fail does not.
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

impl std::str::FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Url, UrlError> {
        Url::parse(text)
    }
}

/// Whether there is userinfo in a URL, or in a reference that begins with `//` (RFC 3986 3.2.1). [`Url`] leaves it out: who shows or keeps the text should not have any.
#[must_use]
pub fn has_userinfo(text: &str) -> bool {
    let rest = split_scheme(text).map(|(_, rest)| rest).or(text.strip_prefix("//"));
    rest.is_some_and(|rest| split_authority(rest).0.contains('@'))
}

/// A URL's name and password, with their percent-encoding undone where it is one; `None` if there are none (RFC 3986 3.2.1).
pub(crate) fn userinfo(text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    credentials(split_authority(text.split_once("://")?.1).0)
}

/// The same of an authority.
fn credentials(authority: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (userinfo, _) = authority.rsplit_once('@')?;
    let (name, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let decoded = |text: &str| percent_decoded(text.as_bytes());
    (!userinfo.is_empty()).then(|| (decoded(name), decoded(password)))
}

/// Looks whether a name and a password may be sent as `Basic` (RFC 7617 2): no control characters, and no colon in the name, which would end it.
///
/// ```
/// use ringshot::proto::url::check_credentials;
///
/// assert!(check_credentials(b"user", b"open: sesame").is_ok());
/// assert_eq!(check_credentials(b"a:b", b""), Err("a user's name may hold no colon"));
/// ```
///
/// # Errors
/// What is wrong, without a word of either.
pub fn check_credentials(name: &[u8], password: &[u8]) -> Result<(), &'static str> {
    if name.iter().chain(password).any(u8::is_ascii_control) {
        return Err("a user's name and password may hold no control characters");
    }
    if name.contains(&b':') {
        return Err("a user's name may hold no colon");
    }
    Ok(())
}

/// The authority, and what follows it.
fn split_authority(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

/// What stands in front of the first `://`, and what follows it, unless that `://` lies in a path, a query or a fragment.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    text.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?', '#']))
}

/// A text that may be a URL, without what may be userinfo, a query or a fragment. An `@` behind the authority may end a password that has a `/`, `?` or `#`: then nothing of it is shown.
fn redacted(text: &str) -> String {
    let known = split_scheme(text).filter(|(scheme, _)| scheme_of(text) == Some(*scheme));
    let (scheme, rest) = text.split_at(known.map_or(0, |(scheme, _)| scheme.len() + "://".len()));
    let (authority, target) = split_authority(rest);
    if target.contains('@') {
        return format!("{scheme}...");
    }
    let host = authority.rsplit('@').next().unwrap_or_default();
    let target = target.split('#').next().unwrap_or_default();
    let (path, query) = target.split_once('?').map_or((target, ""), |(path, _)| (path, "?..."));
    format!("{scheme}{host}{path}{query}")
}

fn parse_scheme(text: &str) -> Result<(Scheme, &str), UrlError> {
    let Some((scheme, rest)) = split_scheme(text) else {
        let slashes = text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("http:"));
        let error = if slashes { UrlError::NoSlashes } else { UrlError::NoScheme };
        return Err(error(redacted(text)));
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Ok((Scheme::Http, rest)),
        "https" => Err(UrlError::Https(redacted(text))),
        "" => Err(UrlError::NoScheme(redacted(rest))),
        _ => Err(UrlError::Scheme(redacted(text))),
    }
}

/// The host, still in its brackets, and the port without its colon; nothing if the brackets are not closed, or more follows them.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if !authority.starts_with('[') {
        return Some(match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        });
    }
    let (host, rest) = authority.split_at(authority.find(']')? + 1);
    match rest {
        "" => Some((host, None)),
        _ => Some((host, Some(rest.strip_prefix(':')?))),
    }
}

/// The host to connect to, and the host that `Host` names, of the URL `text`.
fn parse_host(host: &str, text: &str) -> Result<(String, String), UrlError> {
    if let Some(bracketed) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return parse_ipv6(bracketed).ok_or_else(|| UrlError::Ipv6(redacted(text)));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !host.bytes().all(allowed) {
        return Err(UrlError::Host(redacted(text)));
    }
    let host = host.to_ascii_lowercase();
    Ok((host.clone(), host))
}

/// An address with an optional zone, which is for this machine only (RFC 6874 4).
fn parse_ipv6(text: &str) -> Option<(String, String)> {
    let (address, zone) = text.split_once("%25").or_else(|| text.split_once('%')).unzip();
    let address: Ipv6Addr = address.unwrap_or(text).parse().ok()?;
    let zone = zone.map_or(Some(String::new()), |zone: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        (!zone.is_empty() && zone.bytes().all(allowed)).then(|| format!("%{zone}"))
    })?;
    Some((format!("{address}{zone}"), format!("[{address}]")))
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

/// Path and query of the URL that `whole` shows.
fn parse_target(text: &str, whole: impl FnOnce() -> String) -> Result<String, UrlError> {
    let target = text.split('#').next().unwrap_or_default();
    if let Some(offset) = target.bytes().position(|byte| !byte.is_ascii_graphic()) {
        let byte = target.as_bytes()[offset];
        return Err(UrlError::Target { byte, offset, url: whole() });
    }
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok(format!("{slash}{target}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `host port authority target`.
    fn check(text: &str, expected: &str) {
        let shown = match Url::parse(text) {
            Ok(url) => format!("{} {} {} {}", url.host, url.port, url.authority, url.target),
            Err(error) => error.to_string(),
        };
        assert_eq!(shown, expected, "{text:?}");
    }

    #[test]
    fn parts() {
        check("http://h", "h 80 h /");
        check("HTTP://Example.COM:8080/A?b#c", "example.com 8080 example.com:8080 /A?b");
        check("http://h:80/", "h 80 h /");
        check("http://h:/", "h 80 h /");
        check("http://h:00081/", "h 81 h:81 /");
        check("http://h?q", "h 80 h /?q");
        check("http://h/?", "h 80 h /?");
        check("http://h#f/x", "h 80 h /");
        check("http://u:p@h:1/@x", "h 1 h:1 /@x");
        check("http://u@evil@h/", "h 80 h /");
        check("http://127.0.0.1:9/", "127.0.0.1 9 127.0.0.1:9 /");
        check("http://[::1]:9/", "::1 9 [::1]:9 /");
        check("http://[0:0::1]", "::1 80 [::1] /");
        check("http://[fe80::1%25eth0]/", "fe80::1%eth0 80 [fe80::1] /");
        check("http://h/%0d%0a", "h 80 h /%0d%0a");
    }

    #[test]
    fn errors_name_the_part() {
        check("h/path", "the URL \"h/path\" has no scheme; write http://h/path");
        check("http:/h/x", "the URL \"http:/h/x\" lacks the // behind http:");
        check("HTTP:h", "the URL \"HTTP:h\" lacks the // behind http:");
        check("https:/h", "the URL \"https:/h\" has no scheme; write http://https:/h");
        check("h\n\u{1b}[1m", r#"the URL "h\n\u{1b}[1m" has no scheme; write http://h\n\u{1b}[1m"#);
        check("h/?u=http://x", r#"the URL "h/?..." has no scheme; write http://h/?..."#);
        check(" http://h", r#"the scheme of " http://h" is not supported; only http is"#);
        check("//h/", "the URL \"//h/\" has no scheme; write http://h/");
        check("://h", "the URL \"h\" has no scheme; write http://h");
        check("https://h", "the URL \"https://h\" is https, which is not supported yet");
        check("ftp://h", "the scheme of \"ftp://h\" is not supported; only http is");
        check("http://", "the URL \"http://\" has an empty host");
        check("http://:80/", "the URL \"http://:80/\" has an empty host");
        check("http://u@/", "the URL \"http:///\" has an empty host");
        check("http://h:0/", "the port of \"http://h:0/\" is not a number from 1 to 65535");
        check("http://h:65536/", "the port of \"http://h:65536/\" is not a number from 1 to 65535");
        check("http://h:+1/", "the port of \"http://h:+1/\" is not a number from 1 to 65535");
        check("http://h:1:2/", "the port of \"http://h:1:2/\" is not a number from 1 to 65535");
        check("http://a b/", "the host of \"http://a b/\" is not a host name or an address");
        check(
            "http://h\r\nX/",
            "the host of \"http://h\\r\\nX/\" is not a host name or an address",
        );
        check("http://é/", "the host of \"http://é/\" is not a host name or an address");
        check("http://[::g]/", "the host of \"http://[::g]/\" is not an IPv6 address in brackets");
        check("http://[::1/", "the host of \"http://[::1/\" is not an IPv6 address in brackets");
        check(
            "http://[::1]x/",
            "the host of \"http://[::1]x/\" is not an IPv6 address in brackets",
        );
        check(
            "http://[::1%]/",
            "the host of \"http://[::1%]/\" is not an IPv6 address in brackets",
        );
        let target = "at 2 of the path of \"http://h/a b\" is not allowed; percent-encode it";
        check("http://h/a b", &format!("byte 0x20 {target}"));
        let target = "at 1 of the path of \"http://h/\\r\\n\" is not allowed; percent-encode it";
        check("http://h/\r\n", &format!("byte 0x0d {target}"));
        let target = "at 1 of the path of \"http://h/é\" is not allowed; percent-encode it";
        check("http://h/é", &format!("byte 0xc3 {target}"));
    }

    #[test]
    fn percent_encoding_is_undone() {
        for text in ["", "a b", "\u{e9}%41/", "%", "%%20", "plain"] {
            let mut encoded = Vec::new();
            put_percent_encoded(&mut encoded, text.as_bytes());
            assert_eq!(percent_decoded(&encoded), text.as_bytes(), "{text}");
        }
        assert_eq!(percent_decoded(b"%4a%zz%4"), b"J%zz%4");
    }

    #[test]
    fn userinfo() {
        for text in
            ["http://u@h", "http://u:p@h/", "http://u@h?q", "//u:p@h/", "//u@h/?next=http://x"]
        {
            assert!(has_userinfo(text), "{text}");
        }
        for text in ["/login?next=http://joe@h/", "?next=http://u@h", "a#http://u@h"] {
            assert!(!has_userinfo(text), "{text}");
        }
        for text in ["http://h/@u", "http://h?@u", "http://h#@u", "/a@b", "a@b/c", "?a@b", ""] {
            assert!(!has_userinfo(text), "{text}");
        }
    }

    #[test]
    fn credentials_are_ones_that_basic_can_say() {
        for text in ["http://a:b%20c%C3%A9@h/", "http://a:%3A:@h", "http://:p@h", "http://a%2:b@h"]
        {
            assert!(Url::parse(text).is_ok(), "{text}");
        }
        let base = Url::parse("http://h/").unwrap();
        let controls = (0..=32_u8).chain([127]).filter(|byte| *byte != b' ');
        let encoded = controls.flat_map(|byte| {
            let raw = char::from(byte);
            [format!("s%{byte:02x}:x"), format!("s:x%{byte:02X}"), format!("s{raw}:x")]
        });
        for userinfo in encoded.chain(["s%3Ax".to_owned(), "s%3ax:x".to_owned()]) {
            let text = format!("http://{userinfo}@h/");
            let error = Url::parse(&text).unwrap_err();
            assert!(matches!(error, UrlError::Credentials(_)), "{text:?}");
            assert!(!error.to_string().contains(&userinfo), "{error}");
            assert_eq!(base.join(&text), Err(error.clone()));
            assert_eq!(base.join(&text["http:".len()..]), Err(error));
        }
        check(
            "http://a%3Ab:c@h/",
            "what stands in front of @ can't be sent: a user's name may hold no colon",
        );
    }

    #[test]
    fn errors_hold_no_secrets() {
        for text in [
            "user:secret@h/?token=secret",
            "http://user:secret@:80/?token=secret",
            "http://u:secret@h/p?token=secret x",
            "http://user:secret/x@h/",
            "http://user:secret?x@h/",
            "://u:secret@h?secret#secret",
            "https://user:se?secret@h/",
            "user:secret@h/?next=http://x",
            "h/p?token=secret&u=http://x",
            "http:/user:secret@h/?next=http://x",
            "user:s?secret@h/",
            " http://user:secret@h/",
        ] {
            let error = Url::parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{text}: {error:?}");
        }
        check(
            "https://user:secret/x@h/",
            "the URL \"https://...\" is https, which is not supported yet",
        );
        check(
            "http://h/a?secret x",
            "byte 0x20 at 9 of the path of \"http://h/a?...\" is not allowed; percent-encode it",
        );
    }

    proptest::proptest! {
        /// Whatever is wrong with a URL or a reference: no error shows what stands in userinfo or query.
        #[test]
        fn no_error_shows_userinfo_or_query(
            scheme in "(https?|HTTP|ftp|1x|)(://|:/|:|//|)",
            // Not where a scheme may stand, which is shown.
            user in "((user:|[:@ ][a-z:/?#@ ]{0,4})s3cret[a-z:/?#@ ]{0,4}@)?",
            host in r"[a-z.]{0,2}(\[::1\]|\[|\]| |)(:[0-9x]{0,6})?",
            path in "(/[a-z@ :\n]{0,4})?",
            query in r"(\?[a-z:/?@ ]{0,4}s3cret[a-z:/?#@ ]{0,4}(http://x)?)?",
        ) {
            let text = format!("{scheme}{user}{host}{path}{query}");
            let base = Url::parse("http://b/c/d").unwrap();
            for error in [Url::parse(&text), base.join(&text)].into_iter().filter_map(Result::err) {
                let shown = format!("{error} {error:?}");
                proptest::prop_assert!(!shown.contains("s3cret"), "{text:?}: {error:?}");
            }
        }
    }

    /// The examples of RFC 3986 5.4 that stay with `http`.
    #[test]
    fn references_are_resolved() {
        let base = Url::parse("http://a/b/c/d;p?q").unwrap();
        for (reference, expected) in [
            ("g", "/b/c/g"),
            ("./g", "/b/c/g"),
            ("g/", "/b/c/g/"),
            ("/g", "/g"),
            ("?y", "/b/c/d;p?y"),
            ("g?y", "/b/c/g?y"),
            ("#s", "/b/c/d;p?q"),
            ("g#s", "/b/c/g"),
            (";x", "/b/c/;x"),
            ("", "/b/c/d;p?q"),
            (".", "/b/c/"),
            ("..", "/b/"),
            ("../g", "/b/g"),
            ("../..", "/"),
            ("../../g", "/g"),
            ("../../../g", "/g"),
            ("/./g", "/g"),
            ("/../g", "/g"),
            ("g;x=1/../y", "/b/c/y"),
            ("http://a/g:h", "/g:h"),
        ] {
            let joined = base.join(reference).unwrap();
            assert_eq!((joined.target.as_str(), joined.authority.as_str()), (expected, "a"));
        }
        assert_eq!(base.join("//g:81").unwrap().authority, "g:81");
        assert_eq!(base.join("http://x/?y#z").unwrap().target, "/?y");
        assert!(matches!(base.join("https://x/"), Err(UrlError::Https(_))));
        let problem = base.join("data:text/html,secret").unwrap_err().to_string();
        assert_eq!(problem, "the scheme of \"data:...\" is not supported; only http is");
        let problem = base.join("g h?secret").unwrap_err().to_string();
        assert!(problem.contains("at 6 of the path of \"http://a/b/c/g h?...\""), "{problem}");
    }
}
