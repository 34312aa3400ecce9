//! What a run sends: URLs, a scenario file or an access log into the engine's mix. Reads files and looks hosts up; sends nothing.
//!
//! | file | what it is |
//! |---|---|
//! | `args` | the options |
//! | `urls` | several URLs, or a list of them |
//! | `file` | a scenario file as TOML has it |
//! | `build` | a scenario file into a mix |
//! | `expect` | its expectations |
//! | `feed` | CSV files |
//! | `log` | a line of an access log |
//! | `replay` | an access log into a mix and its times |
//! | `servers` | hosts and ports into targets |

mod args;
mod build;
mod expect;
mod feed;
mod file;
mod log;
mod replay;
mod servers;
mod urls;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use ringshot::load::{Arrival, Mix, Stop};

pub(crate) use args::ScenarioArgs;

use crate::args::RunArgs;
use crate::exit::Failure;
use crate::plan::{self, Asked};
use crate::schedule::ScheduleArgs;
use crate::target::Target;
use crate::warnings::Warning;

/// What a run sends.
#[derive(Debug)]
pub(crate) struct Sending {
    /// The method, or what stands in its place in headings.
    pub(crate) method: String,
    /// The URL, or what stands in its place in headings.
    pub(crate) url: String,
    pub(crate) mix: Arc<Mix>,
    pub(crate) warnings: Vec<Warning>,
    /// The times of a recording, and when it ends.
    recorded: Option<(Arrival, Stop)>,
}

impl Sending {
    /// Finds out what the arguments ask for.
    pub(crate) fn of(args: &RunArgs) -> Result<Self, Failure> {
        let what = &args.scenario;
        plan::one_reader_of_input(what.readers().chain(plan::readers(&args.load)))?;
        match (&what.scenario, &what.replay, &what.list) {
            (Some(path), ..) => build::sending(args, path),
            (_, Some(path), _) => replay::sending(args, path),
            (_, _, Some(path)) => Self::of_list(args, path),
            _ => Self::of_urls(args),
        }
    }

    fn of_urls(args: &RunArgs) -> Result<Self, Failure> {
        let (asked, urls) = (Asked::of(&args.load)?, &args.scenario.urls);
        match &urls[..] {
            [url] => {
                let target = Target::find(url, &args.network)?;
                let mix = Mix::single(asked.encode(&target.url)?, target.peers);
                Ok(Self::new(&args.load.method, url, mix))
            }
            urls => {
                let mix = urls::mix(&urls::parse(urls)?, &asked, &args.network)?;
                Ok(Self::new(&args.load.method, &urls.join(" "), mix))
            }
        }
    }

    fn of_list(args: &RunArgs, path: &Path) -> Result<Self, Failure> {
        let mix = urls::mix(&urls::read(path)?, &Asked::of(&args.load)?, &args.network)
            .map_err(|failure| failure.at(path.display()))?;
        Ok(Self::new(&args.load.method, &format!("the URLs of {}", path.display()), mix))
    }

    fn new(method: &str, url: &str, mix: Mix) -> Self {
        let (method, url) = (method.to_owned(), url.to_owned());
        Self { method, url, mix: Arc::new(mix), warnings: Vec::new(), recorded: None }
    }

    /// When requests are due: at the times of a recording, or as the options say.
    pub(crate) fn arrival(&self, schedule: &ScheduleArgs) -> Result<Arrival, Failure> {
        match &self.recorded {
            Some((arrival, _)) => Ok(arrival.clone()),
            None => schedule.arrival(),
        }
    }

    /// When the run ends: a recording ends it too.
    pub(crate) fn stop(&self, schedule: &ScheduleArgs) -> Stop {
        match (&self.recorded, schedule.duration, schedule.requests) {
            (Some((_, stop)), after, requests) => {
                let requests = [stop.requests, requests].into_iter().flatten().min();
                Stop { after, requests }
            }
            (None, ..) => schedule.stop(),
        }
    }

    /// Whether all servers are on this machine, as far as their addresses tell.
    pub(crate) fn is_to_loopback(&self) -> bool {
        self.mix.targets.iter().flat_map(|target| &target.peers).all(|peer| peer.ip().is_loopback())
    }
}

/// The file, or standard input for `-`.
fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(std::io::stdin().lock()));
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    Ok(Box::new(BufReader::new(file)))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::unusable(format_args!("can't read {}: {error}", path.display()))
}

#[cfg(test)]
mod testing;
