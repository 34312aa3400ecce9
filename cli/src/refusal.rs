//! What clap refuses, in a line that says which argument it was and where to read on.

use std::ffi::OsStr;
use std::io::Write;

use clap::error::ErrorKind;

use crate::args::definition;
use crate::exit::{Exit, Failure};
use crate::hints::hint;

/// What was wrong with the command line, in a line; where help was asked for, that, and the end of the process.
pub(crate) fn refuse(error: &clap::Error) -> Failure {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let code = if error.use_stderr() { Exit::Unusable } else { Exit::Ok };
        let printed = error.print().and_then(|()| std::io::stdout().flush());
        match printed {
            Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe && code == Exit::Ok => {
                return Failure::unusable(format_args!("can't write to standard output: {cause}"));
            }
            // A reader that closed the pipe has read enough; with stderr closed there is no one left to tell.
            _ => std::process::exit(code as i32),
        }
    }
    let first = std::env::args_os().nth(1).unwrap_or_default();
    let line = one_line(error, &first.to_string_lossy());
    match error.kind() {
        ErrorKind::InvalidUtf8 => Failure::unusable(not_utf8(std::env::args_os(), &line)),
        _ => Failure::unusable(line),
    }
}

/// Which arguments it was, of which clap says no more than that there was one.
fn not_utf8(args: impl Iterator<Item = impl AsRef<OsStr>>, line: &str) -> String {
    let wrong = args.enumerate().filter(|(_, arg)| arg.as_ref().to_str().is_none());
    let told = |(place, arg): (usize, _)| {
        let text = AsRef::<OsStr>::as_ref(&arg).to_string_lossy().into_owned();
        format!("argument {place}, {text:?}")
    };
    let told: Vec<String> = wrong.map(told).collect();
    format!("{}: {line}", told.join(", and "))
}

/// clap's first paragraph without its `error: ` and line breaks, its tip, and where to read on.
fn one_line(error: &clap::Error, first: &str) -> String {
    let text = error.to_string();
    let words = |line: &str| line.trim().trim_start_matches("error: ").to_owned();
    let mut line: Vec<String> =
        text.lines().take_while(|line| !line.trim().is_empty()).map(words).collect();
    let tip = || {
        let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "))?;
        // Of how to pass a word that looks like an option is no help here.
        (!tip.starts_with("to pass ")).then(|| tip.to_owned())
    };
    line.extend(hint(error, first).or_else(tip).map(|tip| format!("({tip})")));
    format!("{}: see `{} --help`", line.join(" "), command_of(first))
}

/// The command of which the help is: `ringshot run`, or `ringshot` if `first` is none.
fn command_of(first: &str) -> String {
    match definition().find_subcommand(first) {
        Some(command) => format!("ringshot {}", command.get_name()),
        None => "ringshot".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::args::parse_from as command;

    #[test]
    fn errors_are_one_line_that_says_where_to_read_on() {
        let check = |line: &str, parts: &[&str]| {
            let first = line.split(' ').nth(1).unwrap_or_default();
            let text = one_line(&command(line).unwrap_err(), first);
            assert!(!text.contains('\n'), "{text}");
            for part in parts {
                assert!(text.contains(part), "{line}: {text}");
            }
        };
        check("ringshot run", &["not provided: <URL>", "see `ringshot run --help`"]);
        check("ringshot run u -c x", &["\"x\" is not a count", "see `ringshot run --help`"]);
        check("ringshot run u --conections 1", &["--conections", "exists: '--connections'"]);
        check("ringshot run u -R 5 --stages 1s:5", &["cannot be used with"]);
        check("ringshot run u --stages 1s", &["\"1s\" is not a stage"]);
        check("ringshot run u -4 -6", &["cannot be used with"]);
        check("ringshot run u --bind x", &["\"x\" is not an address"]);
        check("ringshot serve --port 70000", &["\"70000\" is not a port"]);
        check("ringshot run u --seed x", &["\"x\" is not a whole number from 0"]);
        check("ringshot run u --replay x --chunked", &["cannot be used with"]);
        check("ringshot compare u --body-bytes 1", &["--body-bytes", "cannot be used with"]);
        check("ringshot run u --host tokio", &["no host is called \"tokio\"", "use thread"]);
        check("ringshot compare --hosts thread,x", &["no host is called \"x\""]);
        check("ringshot dance", &["dance", "see `ringshot --help`"]);
    }

    #[test]
    fn an_argument_that_is_no_text_is_named() {
        let args = [OsStr::new("ringshot"), OsStr::new("-b"), OsStr::from_bytes(b"@\xff")];
        let line = not_utf8(args.iter(), "invalid UTF-8");
        assert_eq!(line, "argument 2, \"@\u{fffd}\": invalid UTF-8");
    }
}
