//! Where a load goes: a URL and the addresses its host has, found before anything is sent.

use std::net::SocketAddr;

use ringshot::proto::url::{Url, UrlError, has_userinfo};

use crate::exit::Failure;
use crate::network::NetworkArgs;

/// A URL whose host is known.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// As it was given.
    pub(crate) text: String,
    pub(crate) url: Url,
    /// Never empty.
    pub(crate) peers: Vec<SocketAddr>,
}

impl Target {
    /// Parses the URL and looks its host up through the system's resolver.
    pub(crate) fn find(text: &str, network: &NetworkArgs) -> Result<Self, Failure> {
        let url = parse_plain(text)?;
        let peers = network.addresses(&url.host, url.port)?;
        Ok(Self { text: text.to_owned(), url, peers })
    }
}

/// A URL, or what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Url, Failure> {
    refuse_userinfo(text)?;
    Url::parse(text).map_err(|error| refused(&error))
}

/// A URL without templates: only scenarios have such.
pub(crate) fn parse_plain(text: &str) -> Result<Url, Failure> {
    let inside = text.split_once("{{").and_then(|(_, rest)| rest.split_once("}}"));
    match inside {
        None => parse(text),
        Some((inside, _)) => Err(Failure::unusable(format_args!(
            "the template {{{{{inside}}}}} in the URL needs `ringshot run --scenario FILE`; write %7B%7B for two braces"
        ))),
    }
}

/// Refuses a URL, or a reference to one, with a user in it: URLs are shown and saved, secrets are not.
pub(crate) fn refuse_userinfo(text: &str) -> Result<(), Failure> {
    match has_userinfo(text) {
        false => Ok(()),
        true => Err(Failure::unusable(
            "the URL has a user in front of its host: give it with --user NAME:PASSWORD, which is neither shown nor saved",
        )),
    }
}

pub(crate) fn refused(error: &UrlError) -> Failure {
    match error {
        UrlError::Https(_) => Failure::unusable(format_args!("{error}: give an http:// one")),
        UrlError::NoScheme(path) if path.starts_with('/') => Failure::unusable(format_args!(
            "the URL {path:?} has no host; write http://HOST/{}",
            path.trim_start_matches('/').escape_debug()
        )),
        UrlError::NoScheme(empty) if empty.is_empty() => {
            Failure::unusable("the URL is empty; write http://HOST/")
        }
        error => Failure::unusable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_no_resolver() {
        let find = |url| Target::find(url, &NetworkArgs::default());
        let target = find("http://127.0.0.1:8080/").unwrap();
        assert_eq!(target.peers, [SocketAddr::from(([127, 0, 0, 1], 8080))]);
        assert!(find("http://[::1]:1/").unwrap().peers[0].is_ipv6());
    }

    #[test]
    fn what_can_not_be_reached_is_refused() {
        let check = |url: &str, part: &str| {
            let line = Target::find(url, &NetworkArgs::default()).unwrap_err().to_string();
            assert!(line.to_lowercase().contains(part), "{url}: {line}");
        };
        check("127.0.0.1:8080", "http://");
        check("https://127.0.0.1/", "https");
        check("http://127.0.0.1:0/", "is not a number from 1");
        check("http://nosuch.invalid/", "can't find host");
        check("http://me:secret@127.0.0.1/", "--user");
        check("/b?c", "has no host; write http://host/b");
        check("/b\u{1b}", r"has no host; write http://host/b\u{1b}");
        check("//h/b", "has no host; write http://host/h/b");
        check("", "the url is empty");
        check(
            "http://127.0.0.1/{{seq}}",
            "the template {{seq}} in the url needs `ringshot run --sc",
        );
        let line = parse("http://me:secret@127.0.0.1/").unwrap_err().to_string();
        assert!(!line.contains("secret"), "{line}");
        assert!(parse("http://127.0.0.1/@me").is_ok());
    }
}
