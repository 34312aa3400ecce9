//! The only module that prints results. Formatting is pure: data in, text out.

mod bins;
mod by_name;
pub(crate) mod comparison;
mod csv;
pub(crate) mod doctor;
pub(crate) mod endings;
pub(crate) mod format;
mod hdrlog;
pub(crate) mod headings;
mod hgrm;
mod html;
pub(crate) mod json;
pub(crate) mod letters;
mod quantiles;
pub(crate) mod results;
#[cfg(test)]
pub(crate) mod sample;
mod shortened;
mod tables;
pub(crate) mod text;

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use crate::exit::Failure;
use letters::Charset;

/// Says a line on stderr, whatever words of others are in it.
pub(crate) fn tell(line: impl Display) {
    let line = Charset::of_environment().shown(&line.to_string());
    // With stderr closed there is no one left to tell.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes a result to standard output and flushes it. A reader that has gone is not an error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::unusable(format_args!("can't write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// The same for a result that is for people.
pub(crate) fn print_text(text: &str) -> Result<(), Failure> {
    print(&Charset::of_environment().shown(text))
}
