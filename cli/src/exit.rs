//! How the command ends: the exit codes, and a failure as one line.

use std::fmt;
use std::process::ExitCode;

/// The exit codes; that of a second Ctrl-C is left by the thread that takes signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    NoResponse = 1,
    Unusable = 2,
    /// A condition of `--fail-if` or `--fail-if-slower` was met, or no rate held the objectives.
    ThresholdFailed = 3,
    /// `--fail-if-slower` with too little to judge it by, or with saved results that are not valid; or `--require-valid`, and the figures can't be taken for the server's, or no rate was held for another reason than the server.
    Invalid = 4,
    /// Ctrl-C before anything was measured: 128 and the number of SIGINT, as shells report it.
    Interrupted = 130,
}

/// The exit code of a second Ctrl-C.
pub(crate) const INTERRUPTED_TWICE: i32 = Exit::Interrupted as i32;

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What stopped the command before it had a result, in one line that says what to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    line: String,
}

impl Failure {
    /// Bad input or environment: exit code 2.
    pub(crate) fn unusable(reason: impl fmt::Display) -> Self {
        Self::new(Exit::Unusable, &reason)
    }

    /// Nothing completed with a response, or with one that was looked for: exit code 1.
    pub(crate) fn no_response(reason: impl fmt::Display) -> Self {
        Self::new(Exit::NoResponse, &reason)
    }

    /// A limit that was set is exceeded: exit code 3.
    pub(crate) fn threshold(reason: impl fmt::Display) -> Self {
        Self::new(Exit::ThresholdFailed, &reason)
    }

    /// Figures that can't be taken for the server's: exit code 4.
    pub(crate) fn invalid(reason: impl fmt::Display) -> Self {
        Self::new(Exit::Invalid, &reason)
    }

    /// Ctrl-C before there was anything to show: exit code 130.
    pub(crate) fn interrupted(reason: impl fmt::Display) -> Self {
        Self::new(Exit::Interrupted, &reason)
    }

    /// The same with the place that is to blame in front, such as `file:line`.
    pub(crate) fn at(self, place: impl fmt::Display) -> Self {
        Self { line: format!("{place}: {}", self.line), ..self }
    }

    fn new(exit: Exit, reason: &dyn fmt::Display) -> Self {
        let text = reason.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
        Self { exit, line: lines.join("; ") }
    }

    /// Prints the line on stderr and gives the exit code.
    pub(crate) fn report(&self) -> Exit {
        crate::output::tell(self);
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ringshot: {}", self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line() {
        let check = |reason: &str, expected: &str| {
            assert_eq!(Failure::unusable(reason).to_string(), expected);
        };
        check("no such thing", "ringshot: no such thing");
        check("first\n\n  second\n", "ringshot: first; second");
    }

    #[test]
    fn kinds_have_their_codes() {
        assert_eq!(Failure::unusable("x").exit, Exit::Unusable);
        assert_eq!(Failure::no_response("x").exit as u8, 1);
        assert_eq!(Failure::invalid("x").exit as u8, 4);
        assert_eq!(Failure::interrupted("x").exit as u8, 130);
        assert_eq!((Exit::Unusable as u8, Exit::ThresholdFailed as u8), (2, 3));
    }
}
