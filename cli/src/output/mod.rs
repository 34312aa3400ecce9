//! The only module that prints results. Formatting is pure: data in, text out.

pub(crate) mod comparison;
pub(crate) mod doctor;
pub(crate) mod format;
pub(crate) mod json;
#[cfg(test)]
pub(crate) mod sample;
pub(crate) mod text;

use std::io::{ErrorKind, Write};

use crate::exit::Failure;

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
