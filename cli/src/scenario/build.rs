//! A scenario file into a mix. Every fault is told with its line.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringshot::load::{
    Content, Feed, FeedError, FeedOrder, FillError, KeepAlive, Mix, MixRequest, NAMES_MAX, Order,
    Place, Request, Think, WEIGHT_MAX, encode_places,
};
use ringshot::proto::url::Url;
use toml::Spanned;

use super::file::{Lines, Table};
use super::servers::Servers;
use super::{Sending, expect, feed, file};
use crate::args::RunArgs;
use crate::exit::Failure;
use crate::network::NetworkArgs;
use crate::plan::{self, Field};
use crate::target;
use crate::warnings::Warning;

/// The longest body of a file, in bytes.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// What the file at `path` says, with the arguments' headers on top.
pub(super) fn sending(args: &RunArgs, path: &Path) -> Result<Sending, Failure> {
    let base = match &args.scenario.urls[..] {
        [] => None,
        [base] => Some(base.as_str()),
        _ => return Err(Failure::unusable("--scenario takes one URL, in the place of base_url")),
    };
    if args.load.chunked {
        return Err(Failure::unusable(
            "--chunked is for the body of -b: write chunked = true in each [[request]] of the scenario that it is meant for",
        ));
    }
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
    let thinks = mix.requests.iter().any(|request| request.think != Think::default());
    let idle = thinks && (args.schedule.rate.is_some() || args.schedule.stages.is_some());
    let warnings = idle.then_some(Warning::ThinkTimeInOpenLoop).into_iter().collect();
    Ok(Sending { warnings, ..Sending::new("scenario", &path.display().to_string(), mix) })
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
    /// Whether it has a header of this name.
    fn says(&self, name: &str) -> bool {
        self.headers.iter().any(|(said, _)| said.eq_ignore_ascii_case(name.as_bytes()))
    }

    /// The mix of a scenario's text.
    pub(super) fn mix(self, text: &str) -> Result<Mix, Failure> {
        let (scenario, lines) = (file::parse(text)?, Lines(text));
        let base = match (self.base, &scenario.base_url) {
            (Some(base), _) => Some(base_url(base)?),
            (None, Some(base)) => Some(lines.read(base, |base| base_url(base))?),
            (None, None) => None,
        };
        let mut builder = Builder {
            base,
            headers: &scenario.headers,
            order: scenario.order,
            lines,
            feeds: self.feeds(lines, &scenario.feeds)?,
            servers: Servers::new(self.network),
            names: Vec::new(),
            settings: self,
        };
        let requests = scenario.request.iter().map(|request| builder.request(request));
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
        lines: Lines<'_>,
        feeds: &BTreeMap<Spanned<String>, Table<file::Feed>>,
    ) -> Result<Vec<Arc<Feed>>, Failure> {
        let one = |(name, said): (&Spanned<String>, &Table<file::Feed>)| {
            lines.read(name, |name| checked_feed_name(name))?;
            let order = match said.order {
                file::Rows::InOrder => FeedOrder::InOrder,
                file::Rows::Random => FeedOrder::Random,
                file::Rows::Unique => FeedOrder::Unique,
            };
            let read = |file: &PathBuf| feed::read(name.get_ref(), &self.folder.join(file), order);
            lines.read(&said.file, read).map(Arc::new)
        };
        feeds.iter().map(one).collect()
    }
}

fn fields(headers: &file::Headers) -> Vec<Field> {
    let field = |(name, value): (&String, &Spanned<String>)| {
        (name.clone().into(), value.get_ref().clone().into())
    };
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
    headers: &'a file::Headers,
    order: file::Order,
    lines: Lines<'a>,
    feeds: Vec<Arc<Feed>>,
    servers: Servers<'a>,
    names: Vec<String>,
}

impl Builder<'_> {
    fn request(&mut self, table: &Spanned<Table<file::Request>>) -> Result<MixRequest, Failure> {
        let (said, lines): (&file::Request, _) = (table.get_ref(), self.lines);
        let url = lines.read(&said.url, |text| self.url(text))?;
        let method =
            said.method.as_ref().map(|method| lines.read(method, |text| plan::method(text)));
        let method = method.unwrap_or_else(|| plan::method("GET"))?;
        let headers = layered(&fields(self.headers), &fields(&said.headers));
        let headers = layered(&headers, &self.settings.headers);
        let body = self.body(said)?;
        let keep_alive = self.settings.keep_alive;
        self.check_connection(said)?;
        let request =
            Request { method: &method, url: &url, headers: &headers, body: &body, keep_alive };
        let content = match self.is_chunked(said)? {
            true => Content::compile_chunked(&request, &self.feeds),
            false => Content::compile(&request, &self.feeds),
        };
        let content = content.map_err(|error| self.blame(table, &error))?;
        let think = said.think.as_ref().map(|think| lines.read(think, expect::think));
        let (min, max) = think.unwrap_or_else(|| Ok(Default::default()))?;
        let expect = said.expect.as_ref().map(|said| expect::expect(said, &method, lines));
        let expect = expect.transpose()?;
        let named = said.name.as_ref().map(|name| lines.read(name, |text| checked_name(text)));
        let named = named.unwrap_or_else(|| Ok(format!("{method} {}", said.url.get_ref())))?;
        let weight = said.weight.as_ref().map(|weight| lines.read(weight, |it| self.weight(*it)));
        let of_name = said.name.as_ref().map_or_else(|| table.span(), Spanned::span);
        Ok(MixRequest {
            name: self.name(named).map_err(|failure| lines.blame(&of_name, failure))?,
            target: lines.read(&said.url, |_| self.servers.place(&url))?,
            weight: weight.unwrap_or(Ok(1))?,
            content,
            expect: expect.map(Arc::new),
            think: Think { min, max },
        })
    }

    /// Names the line of what can't be compiled: a header may be that of all requests, or the command line's.
    fn blame(&self, table: &Spanned<Table<file::Request>>, error: &FillError) -> Failure {
        let said: &file::Request = table.get_ref();
        let span = match error.place() {
            Some(Place::Header(blamed)) if self.settings.says(&blamed) => {
                return Failure::unusable(error).at("--header");
            }
            Some(Place::Path) => Some(said.url.span()),
            Some(Place::Header(blamed)) => {
                let mut headers = said.headers.iter().chain(self.headers);
                let value = headers.find(|(name, _)| name.eq_ignore_ascii_case(&blamed));
                value.map(|(_, value)| value.span())
            }
            Some(Place::Body) => {
                let (text, file) = (said.body.as_ref(), said.body_file.as_ref());
                text.map(Spanned::span).or(file.map(Spanned::span))
            }
            None => None,
        };
        self.lines.blame(&span.unwrap_or_else(|| table.span()), Failure::unusable(error))
    }

    fn url(&self, text: &str) -> Result<Url, Failure> {
        target::refuse_userinfo(text)?;
        match &self.base {
            Some(base) => base.join(&encode_places(text)).map_err(|error| target::refused(&error)),
            None if text.starts_with('/') => Err(Failure::unusable(format_args!(
                "the URL {text:?} has no host: set base_url, or name one on the command line"
            ))),
            None => target::parse(&encode_places(text)),
        }
    }

    /// `--no-keepalive` says how a connection ends; a header of the file can't say otherwise.
    fn check_connection(&self, said: &file::Request) -> Result<(), Failure> {
        for (name, value) in said.headers.iter().chain(self.headers) {
            let field = (name.clone().into_bytes(), value.get_ref().clone().into_bytes());
            let checked = plan::check_connection(&field, self.settings.keep_alive);
            checked.map_err(|failure| self.lines.blame(&value.span(), failure))?;
        }
        Ok(())
    }

    fn is_chunked(&self, said: &file::Request) -> Result<bool, Failure> {
        let Some(chunked) = &said.chunked else { return Ok(false) };
        let has_body = said.body.is_some() || said.body_file.is_some();
        self.lines.read(chunked, |chunked| match chunked {
            true if !has_body => Err(Failure::unusable("chunked means nothing without a body")),
            chunked => Ok(*chunked),
        })
    }

    fn body(&self, said: &file::Request) -> Result<Vec<u8>, Failure> {
        match (&said.body, &said.body_file) {
            (Some(_), Some(second)) => {
                let both = Failure::unusable("it has both a body and a body_file");
                Err(self.lines.blame(&second.span(), both))
            }
            (Some(body), None) => Ok(body.get_ref().clone().into_bytes()),
            (None, Some(path)) => {
                self.lines.read(path, |path| read(&self.settings.folder.join(path), BODY_BYTES_MAX))
            }
            (None, None) => Ok(Vec::new()),
        }
    }

    /// The place of a name, which several requests may share.
    fn name(&mut self, name: String) -> Result<u32, Failure> {
        let known = self.names.iter().position(|known| *known == name);
        match known {
            Some(place) => Ok(place as u32),
            None if self.names.len() == NAMES_MAX => Err(Failure::unusable(format_args!(
                "more than {NAMES_MAX} names of requests: let several have the same name"
            ))),
            None => {
                self.names.push(name);
                Ok(self.names.len() as u32 - 1)
            }
        }
    }

    fn weight(&self, said: i64) -> Result<u32, Failure> {
        match u32::try_from(said) {
            _ if self.order == file::Order::InOrder => {
                Err(Failure::unusable("weight means nothing with order = \"in_order\""))
            }
            Ok(weight @ 1..=WEIGHT_MAX) => Ok(weight),
            _ => {
                Err(Failure::unusable(format_args!("weight must be 1 to {WEIGHT_MAX}, not {said}")))
            }
        }
    }
}

/// Where each `url` that begins with `/` belongs to: by the rules of references a path would be lost with it.
fn base_url(text: &str) -> Result<Url, Failure> {
    let url = target::parse(text)?;
    match url.target.as_str() {
        "/" => Ok(url),
        _ => Err(Failure::unusable(format_args!(
            "the base URL has a path: give http://{} alone, and write the path in each url",
            url.authority
        ))),
    }
}

fn checked_feed_name(name: &str) -> Result<(), Failure> {
    match Feed::is_name(name) {
        true => Ok(()),
        false => Err(Failure::unusable(FeedError::Name(name.to_owned()))),
    }
}

fn checked_name(text: &str) -> Result<String, Failure> {
    if text.contains(char::is_control) {
        return Err(Failure::unusable(format_args!("the name {text:?} has a control character")));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
