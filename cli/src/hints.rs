//! What those mean who type another tool's options, or leave out the command: wrk, wrk2, oha, hey, h2load, k6, ab, curl.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args::definition;

/// Options that we have under another name, and a hint that begins with ours. Letters that mean something else here (`-q`, `-H`) are none of them.
const OTHERS: &[(&str, &str)] = &[
    ("-t", CORES),
    ("--threads", CORES),
    ("--cpus", CORES),
    ("-w", CORES),
    ("--concurrency", CONNECTIONS),
    ("--clients", CONNECTIONS),
    ("--vus", CONNECTIONS),
    ("-z", DURATION),
    ("--time", DURATION),
    ("--qps", RATE),
    ("--rps", RATE),
    ("-r", RATE),
    ("--json", OUTPUT),
    ("--csv", OUTPUT),
    ("--html", OUTPUT),
    ("--format", OUTPUT),
    ("--output-format", OUTPUT),
    ("--no-tui", LIVE),
    ("--no-progress", LIVE),
    ("--progress", LIVE),
    ("--latency", "-o text always shows percentiles"),
    ("--disable-keepalive", "--no-keepalive makes a connection for each request"),
    ("-s", SCENARIO),
    ("--script", SCENARIO),
    ("-X", "-m POST is the method"),
    ("--request", "-m POST is the method"),
    ("-D", "-b @file sends a file as the body"),
    ("--data", "-b sends a body: text, or @file"),
];

const CORES: &str = "--cores 0-3 runs a thread on each of these cores";
const CONNECTIONS: &str = "-c is the number of connections";
const DURATION: &str = "-d 30s is how long to send";
const RATE: &str = "-R 50k is the rate";
const OUTPUT: &str = "-o json is for programs, the other formats are in the help";
const LIVE: &str = "--live off shows nothing while it runs, --live plain lines";
const SCENARIO: &str = "--scenario takes a file that says what to send";

/// What was meant by the argument that clap refused; `first` is the word where the command stands.
pub(crate) fn hint(error: &clap::Error, first: &str) -> Option<String> {
    let refused = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand if is_url(first) => Some(format!("`ringshot run {first}`")),
        ErrorKind::UnknownArgument if first.starts_with('-') => {
            Some("options come after the command: `ringshot run URL`".to_owned())
        }
        ErrorKind::UnknownArgument => {
            let command = definition();
            let command = command.find_subcommand(first)?;
            let refused = refused(ContextKind::InvalidArg)?;
            let (_, hint) = OTHERS.iter().find(|(name, _)| *name == refused)?;
            let (option, _) = hint.split_once(' ')?;
            has(command, option).then(|| (*hint).to_owned())
        }
        _ => None,
    }
}

fn has(command: &clap::Command, option: &str) -> bool {
    command.get_arguments().any(|argument| {
        argument.get_long().is_some_and(|long| option == format!("--{long}"))
            || argument.get_short().is_some_and(|short| option == format!("-{short}"))
    })
}

fn is_url(word: &str) -> bool {
    word.contains(['/', ':', '.'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::parse_from;

    fn hint_of(line: &str) -> Option<String> {
        let first = line.split(' ').nth(1).unwrap_or_default();
        hint(&parse_from(line).err().unwrap(), first)
    }

    #[test]
    fn options_of_other_tools_are_answered_with_ours() {
        for (line, part) in [
            ("ringshot run u -t4", "--cores"),
            ("ringshot run u -t 4", "--cores"),
            ("ringshot run u --threads=4", "--cores"),
            ("ringshot run u -z 5s", "-d 30s"),
            ("ringshot run u --json", "-o json"),
            ("ringshot find-max u -t 3", "--cores"),
            ("ringshot report --json x", "-o json"),
            ("ringshot http://127.0.0.1:8080/", "`ringshot run http://127.0.0.1:8080/`"),
            ("ringshot localhost:8080", "`ringshot run localhost:8080`"),
            ("ringshot -c 10 http://127.0.0.1/", "ringshot run"),
        ] {
            let hint = hint_of(line).unwrap_or_default();
            assert!(hint.contains(part), "{line}: {hint}");
        }
        for line in ["ringshot dance", "ringshot run u --conections 1", "ringshot serve --json"] {
            assert_eq!(hint_of(line), None, "{line}");
        }
    }

    #[test]
    fn no_option_of_ours_is_taken_for_another_tools() {
        let definition = definition();
        let run = definition.find_subcommand("run").unwrap();
        for (name, _) in OTHERS {
            assert!(!has(run, name), "{name} is an option of run");
        }
    }
}
