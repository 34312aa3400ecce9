//! The commands that README and `docs/` show: the two that matter are there, and every `ringshot ...` line is one that the parser takes.
//!
//! Nothing shown is run: each command is started with a core that no machine has, so that it ends after its arguments were read.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout)] // The lints know test functions, not their helpers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A core that `--cores` takes and no machine here has.
const NO_CORE: &str = "8191";

/// What every refusal of the parser ends with, and no other message.
const REFUSAL: &str = ": see `ringshot";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The README; says so loudly while there is none.
fn readme() -> Option<String> {
    let text = std::fs::read_to_string(root().join("README.md")).ok();
    if text.is_none() {
        println!("SKIPPED: THERE IS NO README.md, SO NO COMMAND OF IT WAS CHECKED");
    }
    text
}

/// Every page of `docs/`, with its name.
fn pages() -> Vec<(String, String)> {
    let files = std::fs::read_dir(root().join("docs")).expect("docs/");
    let paths = files.map(|file| file.expect("an entry").path());
    let pages = paths.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    pages
        .map(|path| (path.display().to_string(), std::fs::read_to_string(&path).expect("text")))
        .collect()
}

/// The commands in the code blocks of a page, one a line: all lines of shell blocks, and elsewhere those after a `$ `.
fn commands(markdown: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut block: Option<&str> = None;
    for line in markdown.lines().map(str::trim) {
        match (line.strip_prefix("```"), block) {
            (Some(language), None) => block = Some(language.trim()),
            (Some(_), Some(_)) => block = None,
            (None, Some(language)) => found.extend(command_in(line, language)),
            (None, None) => {}
        }
    }
    joined(&found)
}

fn command_in(line: &str, language: &str) -> Option<String> {
    let is_shell = matches!(language, "sh" | "bash" | "shell" | "console");
    let prompted = line.strip_prefix("$ ");
    prompted.or(is_shell.then_some(line)).map(str::to_owned)
}

/// Lines that end with a backslash and the line after them are one.
fn joined(lines: &[String]) -> Vec<String> {
    let mut whole: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        let part = line.trim_end_matches('\\').trim_end();
        match whole.last_mut() {
            Some(last) if goes_on => *last = format!("{last} {part}"),
            _ => whole.push(part.to_owned()),
        }
        goes_on = line.ends_with('\\');
    }
    whole
}

/// The words of a line as a shell splits them, up to a comment, a pipe, `&` or `;`, without redirections.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for letter in line.chars() {
        match (letter, quote) {
            (_, Some(open)) if letter == open => quote = None,
            (_, Some(_)) => word.get_or_insert_default().push(letter),
            ('\'' | '"', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            ('#', None) if word.is_none() => break,
            ('|' | '&' | ';' | '>', None) => break,
            (' ', None) => words.extend(word.take()),
            (_, None) => word.get_or_insert_default().push(letter),
        }
    }
    assert_eq!(quote, None, "an open quote: {line}");
    words.extend(word);
    words
}

/// The arguments that a line gives to `ringshot`, if it starts it: by its name or path, or through cargo.
fn arguments(line: &str) -> Option<Vec<String>> {
    let words = words(line);
    let first = words.first()?;
    if first == "ringshot" || first.ends_with("/ringshot") {
        return Some(words[1..].to_vec());
    }
    let through_cargo = first == "cargo" && words.iter().any(|word| word == "ringshot-cli");
    let split = words.iter().position(|word| word == "--")?;
    (through_cargo && words[1] == "run").then(|| words[split + 1..].to_vec())
}

/// Exit code and stderr of the binary.
fn ringshot(args: &[String]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringshot"));
    let output = command.args(args).stdin(Stdio::null()).output().expect("it starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The parser takes these arguments: whole, and with `--help` after them.
fn check_accepted(page: &str, args: &[String]) {
    let with_help = [args, &["--help".to_owned()]].concat();
    assert_eq!(ringshot(&with_help), (Some(0), String::new()), "{page}: ringshot {args:?}");
    if !args.first().is_some_and(|first| matches!(first.as_str(), "run" | "serve" | "compare")) {
        return;
    }
    if args.iter().any(|arg| matches!(arg.as_str(), "--help" | "-h")) {
        return;
    }
    let (code, stderr) = ringshot(&nowhere(args));
    assert_eq!(code, Some(2), "{page}: ringshot {args:?}: {stderr}");
    assert!(!stderr.contains(REFUSAL), "{page}: ringshot {args:?}: {stderr}");
}

/// The same command on a core that does not exist.
fn nowhere(args: &[String]) -> Vec<String> {
    let mut args = args.to_vec();
    match args.iter().position(|arg| arg == "--cores") {
        Some(at) => args[at + 1] = NO_CORE.to_owned(),
        None => args.extend(["--cores".to_owned(), NO_CORE.to_owned()]),
    }
    args
}

/// Checks every command of a page, and says how many start `ringshot`.
fn check_page(name: &str, markdown: &str) -> usize {
    let all: Vec<_> = commands(markdown).iter().filter_map(|line| arguments(line)).collect();
    all.iter().for_each(|args| check_accepted(name, args));
    all.len()
}

#[test]
fn the_readme_shows_commands_that_work() {
    let Some(text) = readme() else { return };
    assert!(check_page("README.md", &text) > 0, "no command starts ringshot");
}

#[test]
fn the_readme_shows_the_two_commands() {
    let Some(text) = readme() else { return };
    let commands = commands(&text);
    for wanted in ["cargo run --release -p ringshot-cli -- compare", "tests/run"] {
        let shown = |line: &String| words(line).join(" ").trim_start_matches("./") == wanted;
        assert!(commands.iter().any(shown), "{wanted:?} is not among {commands:#?}");
    }
}

#[test]
fn the_pages_show_commands_that_work() {
    let shown: usize = pages().iter().map(|(name, text)| check_page(name, text)).sum();
    assert!(shown > 0, "no page shows a command");
}

#[test]
fn the_command_for_all_tests_can_be_run() {
    let file = std::fs::metadata(root().join("tests/run")).expect("tests/run");
    assert!(file.is_file() && file.permissions().mode() & 0o111 == 0o111, "{file:?}");
}

#[test]
fn what_the_parser_refuses_is_found() {
    let args = |line: &str| arguments(line).expect("a command");
    for line in
        ["ringshot run", "ringshot run http://a/ -R 1 --stages 1s:1", "ringshot serve --prot 1"]
    {
        let (code, stderr) = ringshot(&nowhere(&args(line)));
        assert!(code == Some(2) && stderr.contains(REFUSAL), "{line}: {stderr}");
    }
    check_accepted("here", &args("ringshot run http://127.0.0.1:9/ -n 10k --cores 0-3"));
}

#[test]
fn commands_are_found_and_split() {
    let page = "\
text ringshot no
```sh
ringshot compare   # here
target/release/ringshot run http://a/ \\
    -H 'A: b c' -b \"\" > out.json
cargo run --release -p ringshot-cli -- doctor | less
cargo bench -p ringshot-benches -- parse
```
```text
ringshot run never
$ ringshot serve --port 0 & sleep 1
```
";
    let found: Vec<_> = commands(page).iter().filter_map(|line| arguments(line)).collect();
    let expected: [&[&str]; 4] = [
        &["compare"],
        &["run", "http://a/", "-H", "A: b c", "-b", ""],
        &["doctor"],
        &["serve", "--port", "0"],
    ];
    assert_eq!(found, expected);
}
