//! Several URLs, requested in turn.

use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;

use ringshot::load::{Content, Mix, MixRequest, NAMES_MAX, Order, REQUESTS_MAX, Think};
use ringshot::proto::url::Url;

use super::servers::Servers;
use crate::exit::Failure;
use crate::network::NetworkArgs;
use crate::plan::Asked;
use crate::target;

/// A URL as it was given, and taken apart.
pub(super) type Listed = (String, Url);

/// The URLs of arguments.
pub(super) fn parse(texts: &[String]) -> Result<Vec<Listed>, Failure> {
    texts.iter().map(|text| Ok((text.clone(), target::parse_plain(text)?))).collect()
}

/// The URLs of a file: one a line, but for empty lines and those that begin with `#`.
pub(super) fn read(path: &Path) -> Result<Vec<Listed>, Failure> {
    let urls = read_from(super::open(path)?);
    let urls = urls.map_err(|failure| failure.at(path.display()))?;
    if urls.is_empty() {
        return Err(Failure::unusable("it has no URL: write one a line").at(path.display()));
    }
    Ok(urls)
}

fn read_from(source: impl BufRead) -> Result<Vec<Listed>, Failure> {
    let mut urls = Vec::new();
    for (line, number) in source.lines().zip(1_u64..) {
        let line =
            line.map_err(|error| Failure::unusable(format_args!("can't read it: {error}")))?;
        // Editors of other systems begin a file with a byte order mark.
        let text = line.trim_start_matches('\u{feff}').trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if urls.len() == REQUESTS_MAX {
            return Err(Failure::unusable(format_args!("it has more than {REQUESTS_MAX} URLs")));
        }
        let url = target::parse_plain(text);
        let url = url.map_err(|failure| failure.at(format_args!("line {number}")))?;
        urls.push((text.to_owned(), url));
    }
    Ok(urls)
}

/// The URLs in turn. Each has its name while there are few.
pub(super) fn mix(urls: &[Listed], asked: &Asked, network: &NetworkArgs) -> Result<Mix, Failure> {
    let mut servers = Servers::new(network);
    let (mut known, mut order, mut requests) = (HashMap::new(), Vec::new(), Vec::new());
    let mut names = Vec::new();
    for (text, url) in urls {
        if let Some(place) = known.get(text) {
            order.push(*place);
            continue;
        }
        let place = requests.len() as u32;
        requests.push(MixRequest {
            name: place,
            target: servers.place(url)?,
            weight: 1,
            content: Content::Fixed(asked.encode(url)?),
            expect: None,
            think: Think::default(),
        });
        names.push(text.clone());
        known.insert(text, place);
        order.push(place);
    }
    if names.len() > NAMES_MAX {
        names = vec![String::new()];
        requests.iter_mut().for_each(|request| request.name = 0);
    }
    let order =
        if order.len() == requests.len() { Order::Cycle } else { Order::Sequence(order.into()) };
    Ok(Mix { targets: servers.targets, requests, names, order, feeds: Vec::new(), seed: 0 })
}

#[cfg(test)]
mod tests {
    use super::super::testing::asked;
    use super::*;

    fn mixed(urls: &[&str]) -> Result<Mix, Failure> {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        mix(&parse(&urls)?, &asked(), &NetworkArgs::default())
    }

    #[test]
    fn lists_have_comments() {
        let texts = |urls: Vec<Listed>| urls.into_iter().map(|(text, _)| text).collect::<Vec<_>>();
        let texts_of = |text: &str| texts(read_from(text.as_bytes()).unwrap());
        let text = "\u{feff}# all\nhttp://a/\n\n  http://b/ \r\n#http://c/\n";
        assert_eq!(texts_of(text), ["http://a/", "http://b/"]);
        let text = "\u{feff}http://a/";
        assert_eq!(texts_of(text), ["http://a/"]);
        assert!(read_from(&b"http://\xff/"[..]).is_err());
    }

    #[test]
    fn faults_are_told_with_their_line() {
        for (text, problem) in [
            ("http://a/\n\nb/x\n", "line 3: the URL \"b/x\" has no scheme"),
            ("# none\nhttp://a:x/", "line 2: the port of \"http://a:x/\""),
            ("https://a/", "line 1: the URL \"https://a/\" is https"),
            ("/b", "line 1: the URL \"/b\" has no host; write http://HOST/b"),
            ("\nhttp://a/{{seq}}", "line 2: the template {{seq}} in the URL needs"),
        ] {
            let line = read_from(text.as_bytes()).unwrap_err().to_string();
            assert!(line.contains(problem), "{line}");
        }
    }

    #[test]
    fn each_url_is_one_request_and_each_server_one_target() {
        let urls = ["http://127.0.0.1:1/a", "http://127.0.0.1:2/", "http://127.0.0.1:1/b"];
        let mix = mixed(&urls).unwrap();
        let targets: Vec<u32> = mix.requests.iter().map(|request| request.target).collect();
        assert_eq!((targets, mix.targets.len()), (vec![0, 1, 0], 2));
        assert!(matches!(mix.order, Order::Cycle));
        assert_eq!(mix.names, urls);
        let again = mixed(&[urls[0], urls[0], urls[1]]).unwrap();
        assert_eq!(again.requests.len(), 2);
        let Order::Sequence(order) = again.order else { panic!("{:?}", again.order) };
        assert_eq!(order[..], [0, 0, 1]);
    }

    #[test]
    fn many_urls_have_no_names_and_bad_ones_are_refused() {
        let urls: Vec<String> =
            (0..=NAMES_MAX).map(|n| format!("http://127.0.0.1:1/{n}")).collect();
        let mix = mixed(&urls.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        assert_eq!((mix.requests.len(), mix.names.len()), (NAMES_MAX + 1, 1));
        let line = mixed(&["127.0.0.1/x"]).unwrap_err().to_string();
        assert!(line.contains("http://127.0.0.1/x"), "{line}");
        let many: Vec<String> = (1..100).map(|port| format!("http://127.0.0.1:{port}/")).collect();
        let line = mixed(&many.iter().map(String::as_str).collect::<Vec<_>>()).unwrap_err();
        assert!(line.to_string().contains("64 different servers"), "{line}");
    }
}
