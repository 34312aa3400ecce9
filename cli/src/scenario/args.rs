//! What is sent, as the command line says.

use std::path::{Path, PathBuf};

use clap::Args;

/// What is sent. Exactly one of URLs, a list of them, a scenario and a log; a scenario may have one URL besides, a log must.
#[derive(Debug, Args, Default)]
pub(crate) struct ScenarioArgs {
    /// Where to send the requests, such as `http://host:8080/path?query`; several are asked for in turn
    #[arg(value_name = "URL", required_unless_present_any = ["list", "scenario"])]
    pub(crate) urls: Vec<String>,
    /// Take the URLs from a file, one a line; - is standard input
    #[arg(long = "urls", id = "list", value_name = "FILE", help_heading = "Request")]
    #[arg(conflicts_with_all = ["urls", "scenario", "replay"])]
    pub(crate) list: Option<PathBuf>,
    /// Send what a TOML file says (docs/scenario.md); URL takes the place of its base_url
    #[arg(long, value_name = "FILE", help_heading = "Request")]
    #[arg(conflicts_with_all = ["method", "body", "replay"])]
    pub(crate) scenario: Option<PathBuf>,
    /// Send the requests of an nginx or Apache access log to URL's host, at the log's times; - is standard input
    #[arg(long, value_name = "FILE", help_heading = "Request")]
    #[arg(conflicts_with_all = ["method", "body", "chunked"])]
    pub(crate) replay: Option<PathBuf>,
    /// So many times as fast as the log; closed is as fast as the server answers
    #[arg(long, value_name = "FACTOR|closed", help_heading = "Request", value_parser = speed)]
    #[arg(requires = "replay", conflicts_with_all = ["rate", "stages"])]
    pub(crate) replay_speed: Option<ReplaySpeed>,
}

/// `--replay-speed`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum ReplaySpeed {
    /// As the log, so many times as fast. More than zero.
    Times(f64),
    /// A closed loop.
    Closed,
    /// As the log.
    #[default]
    Log,
}

impl ScenarioArgs {
    /// The options whose file is standard input.
    pub(super) fn readers(&self) -> impl Iterator<Item = &'static str> {
        let files =
            [("--urls", &self.list), ("--scenario", &self.scenario), ("--replay", &self.replay)];
        let of_input = |file: &Option<PathBuf>| file.as_deref() == Some(Path::new("-"));
        files.into_iter().filter(move |(_, file)| of_input(file)).map(|(option, _)| option)
    }
}

fn speed(text: &str) -> Result<ReplaySpeed, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    match number {
        _ if text == "closed" => Ok(ReplaySpeed::Closed),
        Some(0.0) => Ok(ReplaySpeed::Closed),
        Some(times) if times > 0.0 => Ok(ReplaySpeed::Times(times)),
        _ => Err(format!("{text:?} is no speed: write 2 for twice as fast, 0.5, or closed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds() {
        assert_eq!(speed("2.0"), Ok(ReplaySpeed::Times(2.0)));
        assert_eq!(speed("closed"), Ok(ReplaySpeed::Closed));
        assert_eq!(speed("0"), Ok(ReplaySpeed::Closed));
        for text in ["-1", "nan", "inf", "fast", ""] {
            assert!(speed(text).is_err(), "{text}");
        }
    }
}
