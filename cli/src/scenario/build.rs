//! A scenario file into a mix. Every fault is told with its line.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use ringshot::load::{
    Content, Feed, FeedOrder, KeepAlive, Mix, MixRequest, Order, Request, Think, WEIGHT_MAX,
};
use ringshot::proto::url::Url;
use toml::Spanned;

use super::servers::Servers;
use super::{Sending, expect, feed, file};
use crate::args::RunArgs;
use crate::exit::Failure;
use crate::network::NetworkArgs;
use crate::plan::{self, Field};
use crate::target;

/// The longest body of a file, in bytes.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// What the file at `path` says, with the arguments' headers on top.
pub(super) fn sending(args: &RunArgs, path: &Path) -> Result<Sending, Failure> {
    let base = match &args.scenario.urls[..] {
        [] => None,
        [base] => Some(base.as_str()),
        _ => return Err(Failure::unusable("--scenario takes one URL, in the place of base_url")),
    };
    let text = read(path, file::FILE_BYTES_MAX)?;
    let text = String::from_utf8(text).map_err(|_| Failure::unusable("it is not UTF-8"));
    let mix = text.and_then(|text| {
        let settings = Settings {
            folder: path.parent().unwrap_or(Path::new("")),
            base,
            headers: plan::headers(&args.load)?,
            keep_alive: plan::keep_alive(&args.load),
            seed: args.schedule.seed,
            network: &args.network,
        };
        settings.mix(&text)
    });
    let mix = mix.map_err(|failure| failure.at(path.display()))?;
    Ok(Sending::new("scenario", &path.display().to_string(), mix))
}

/// A whole file of at most so many bytes.
fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = super::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes);
    read.map_err(|error| super::unreadable(path, &error))?;
    if bytes.len() as u64 > bytes_max {
        let reason = format_args!("{} has more than {bytes_max} bytes", path.display());
        return Err(Failure::unusable(reason));
    }
    Ok(bytes)
}

/// What goes for all requests of a scenario and does not stand in it.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    /// Of which the scenario's files are.
    pub(super) folder: &'a Path,
    /// Instead of its `base_url`.
    pub(super) base: Option<&'a str>,
    pub(super) headers: Vec<Field>,
    pub(super) keep_alive: KeepAlive,
    /// If it has none.
    pub(super) seed: u64,
    pub(super) network: &'a NetworkArgs,
}

impl Settings<'_> {
    /// The mix of a scenario's text.
    pub(super) fn mix(self, text: &str) -> Result<Mix, Failure> {
        let scenario = file::parse(text)?;
        let base = self.base.or(scenario.base_url.as_deref()).map(target::parse).transpose()?;
        let mut builder = Builder {
            base,
            headers: fields(&scenario.headers),
            feeds: self.feeds(text, &scenario.feeds)?,
            servers: Servers::new(self.network),
            names: Vec::new(),
            settings: self,
        };
        let requests = scenario.request.iter().map(|request| {
            let built = builder.request(request.get_ref());
            built.map_err(|failure| failure.at(line(text, request)))
        });
        let requests: Vec<MixRequest> = requests.collect::<Result<_, _>>()?;
        if requests.is_empty() {
            return Err(Failure::unusable("it has no [[request]]"));
        }
        Ok(Mix {
            targets: builder.servers.targets,
            requests,
            names: builder.names,
            order: match scenario.order {
                file::Order::Weighted => Order::Weighted,
                file::Order::InOrder => Order::Cycle,
            },
            feeds: builder.feeds,
            seed: scenario.seed.unwrap_or(builder.settings.seed),
        })
    }

    fn feeds(
        &self,
        text: &str,
        feeds: &BTreeMap<String, Spanned<file::Feed>>,
    ) -> Result<Vec<Arc<Feed>>, Failure> {
        let one = |(name, said): (&String, &Spanned<file::Feed>)| {
            let order = match said.get_ref().order {
                file::Rows::InOrder => FeedOrder::InOrder,
                file::Rows::Random => FeedOrder::Random,
                file::Rows::Unique => FeedOrder::Unique,
            };
            let read = feed::read(name, &self.folder.join(&said.get_ref().file), order);
            read.map(Arc::new).map_err(|failure| failure.at(line(text, said)))
        };
        feeds.iter().map(one).collect()
    }
}

fn line<T>(text: &str, spanned: &Spanned<T>) -> String {
    format!("line {}", file::line_of(text, spanned.span().start))
}

fn fields(headers: &BTreeMap<String, String>) -> Vec<Field> {
    let field = |(name, value): (&String, &String)| (name.clone().into(), value.clone().into());
    headers.iter().map(field).collect()
}

/// `below` and `above`, which replaces what has the same name.
fn layered(below: &[Field], above: &[Field]) -> Vec<Field> {
    let replaced = |name: &[u8]| above.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let kept = below.iter().filter(|(name, _)| !replaced(name));
    kept.chain(above).cloned().collect()
}

struct Builder<'a> {
    settings: Settings<'a>,
    base: Option<Url>,
    /// Of all requests that don't say otherwise.
    headers: Vec<Field>,
    feeds: Vec<Arc<Feed>>,
    servers: Servers<'a>,
    names: Vec<String>,
}

impl Builder<'_> {
    fn request(&mut self, said: &file::Request) -> Result<MixRequest, Failure> {
        let url = self.url(&said.url)?;
        let method = plan::method(said.method.as_deref().unwrap_or("GET"))?;
        let headers =
            layered(&layered(&self.headers, &fields(&said.headers)), &self.settings.headers);
        let body = self.body(said)?;
        let keep_alive = self.settings.keep_alive;
        let request =
            Request { method: &method, url: &url, headers: &headers, body: &body, keep_alive };
        let content = Content::compile(&request, &self.feeds).map_err(Failure::unusable)?;
        let (min, max) = said.think.as_ref().map_or(Ok(Default::default()), expect::think)?;
        let expect = said.expect.as_ref().map(expect::expect).transpose()?;
        let named = said.name.clone().unwrap_or_else(|| format!("{method} {}", said.url));
        if named.contains(char::is_control) {
            return Err(Failure::unusable(format_args!(
                "the name {named:?} has a control character"
            )));
        }
        Ok(MixRequest {
            name: self.name(named),
            target: self.servers.place(&url)?,
            weight: weight(said.weight)?,
            content,
            expect: expect.map(Arc::new),
            think: Think { min, max },
        })
    }

    fn url(&self, text: &str) -> Result<Url, Failure> {
        target::refuse_userinfo(text)?;
        match &self.base {
            Some(base) => base.join(text).map_err(|error| target::refused(&error)),
            None if text.starts_with('/') => Err(Failure::unusable(format_args!(
                "the URL {text:?} has no host: set base_url, or name one on the command line"
            ))),
            None => target::parse(text),
        }
    }

    fn body(&self, said: &file::Request) -> Result<Vec<u8>, Failure> {
        match (&said.body, &said.body_file) {
            (Some(_), Some(_)) => Err(Failure::unusable("it has both a body and a body_file")),
            (Some(body), None) => Ok(body.clone().into_bytes()),
            (None, Some(path)) => read(&self.settings.folder.join(path), BODY_BYTES_MAX),
            (None, None) => Ok(Vec::new()),
        }
    }

    /// The place of a name, which several requests may share.
    fn name(&mut self, name: String) -> u32 {
        let known = self.names.iter().position(|known| *known == name);
        known.unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        }) as u32
    }
}

fn weight(said: Option<u32>) -> Result<u32, Failure> {
    let weight = said.unwrap_or(1);
    match weight {
        1..=WEIGHT_MAX => Ok(weight),
        _ => Err(Failure::unusable(format_args!("weight must be 1 to {WEIGHT_MAX}, not {weight}"))),
    }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
