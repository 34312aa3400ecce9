//! Values that are one of a few names, as options take them and shells offer them.

use std::convert::Infallible;
use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use ringshot::driver::DriverChoice;
use ringshot::host::{Host, UnknownHost};

fn driver(text: &str) -> Result<DriverChoice, String> {
    text.parse().map_err(|_| format!("{text:?} is not one of auto, io_uring, epoll"))
}

fn host(text: &str) -> Result<Host, UnknownHost> {
    text.parse()
}

/// `--driver`.
pub(crate) fn driver_names() -> impl TypedValueParser<Value = DriverChoice> {
    Listed { parser: driver, names: &["auto", "io_uring", "epoll"] }
}

/// `--host` and each of `--hosts`.
pub(crate) fn host_names() -> impl TypedValueParser<Value = Host> {
    Listed { parser: host, names: &["thread", "glommio"] }
}

/// The commands, as `man` takes them.
pub(crate) const COMMANDS: [&str; 8] =
    ["run", "serve", "compare", "find-max", "report", "doctor", "completions", "man"];

fn any(text: &str) -> Result<String, Infallible> {
    Ok(text.to_owned())
}

/// A command's name. One that is none is refused by whoever looks it up.
pub(crate) fn command_names() -> impl TypedValueParser<Value = String> {
    Listed { parser: any, names: &COMMANDS }
}

/// Reads as `parser` does, refuses in its words, and knows the names that it takes.
#[derive(Debug, Clone)]
struct Listed<P> {
    parser: P,
    names: &'static [&'static str],
}

impl<P: TypedValueParser> TypedValueParser for Listed<P> {
    type Value = P::Value;

    fn parse_ref(
        &self,
        command: &clap::Command,
        option: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<P::Value, clap::Error> {
        self.parser.parse_ref(command, option, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.names.iter().map(PossibleValue::new)))
    }
}
