//! `ringshot completions` and `ringshot man`: made from the arguments, so that they can't fall behind them.

use clap::{Args, Command, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args;
use crate::exit::{Exit, Failure};
use crate::names::command_names;
use crate::output;

/// `ringshot completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell that shall complete
    #[arg(value_enum)]
    shell: Shell,
}

/// `ringshot man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The command whose page is wanted; without it, the page of ringshot itself
    #[arg(value_parser = command_names(), hide_possible_values = true)]
    command: Option<String>,
}

/// Prints a completion script.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<Exit, Failure> {
    output::print(&script(args.shell))?;
    Ok(Exit::Ok)
}

/// Prints a manual page.
pub(crate) fn man(args: &ManArgs) -> Result<Exit, Failure> {
    output::print(&page(args.command.as_deref())?)?;
    Ok(Exit::Ok)
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::definition(), "ringshot", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => args::definition().get_subcommands().fold(script, with_operands_first),
        _ => script,
    }
}

/// Bash is told of options where a word is empty, which hides the names and the files that a command takes: such a command offers options only after a dash.
fn with_operands_first(script: String, command: &Command) -> String {
    let name = command.get_name().replace('-', "__subcmd__");
    let start = script.find(&format!("\n        ringshot__subcmd__{name})\n"));
    let Some(start) = start.filter(|_| takes_names_or_files(command)) else { return script };
    let (before, rest) = script.split_at(start);
    let (part, after) = rest.split_at(rest.find("\n            ;;").unwrap_or(rest.len()));
    let part = part.replacen(" || ${COMP_CWORD} -eq 2 ]]", " ]]", 1);
    // The last of them is what is offered without a dash.
    let (part, last) = part.rsplit_once("compgen -W").unwrap_or((&part, ""));
    format!("{before}{part}compgen -X '-*' -W{last}{after}")
}

fn takes_names_or_files(command: &Command) -> bool {
    let is_file = |hint| matches!(hint, ValueHint::AnyPath | ValueHint::FilePath);
    command
        .get_positionals()
        .any(|it| is_file(it.get_value_hint()) || !it.get_possible_values().is_empty())
}

/// The page of `command`, as roff.
fn page(command: Option<&str>) -> Result<String, Failure> {
    let mut root = args::definition();
    // Gives each command its full name, and the options of the root.
    root.build();
    let found = match command {
        None => Some(&root),
        Some(name) => root.find_subcommand(name),
    };
    let command = found.ok_or_else(|| {
        let names: Vec<_> = root.get_subcommands().map(Command::get_name).collect();
        Failure::unusable(format_args!(
            "no command is called {:?}: there are {}",
            command.unwrap_or_default(),
            names.join(", ")
        ))
    })?;
    let mut text = Vec::new();
    let page = Man::new(command.clone()).source(concat!("ringshot ", env!("CARGO_PKG_VERSION")));
    let rendered = page.render(&mut text);
    rendered.map_err(|error| Failure::unusable(format_args!("can't make the page: {error}")))?;
    let text = with_repetitions(&String::from_utf8_lossy(&text), command);
    Ok(with_examples(&with_exit_status(&text)))
}

/// Dots in the synopsis after an operand that may be repeated, as the help has them.
fn with_repetitions(page: &str, command: &Command) -> String {
    let several = |arg: &&clap::Arg| arg.get_num_args().is_some_and(|it| it.max_values() > 1);
    let names = command.get_positionals().filter(several).filter_map(clap::Arg::get_value_names);
    names.flatten().fold(page.to_owned(), |page, name| {
        let shown =
            [('[', ']'), ('<', '>')].map(|(open, end)| format!("{open}\\fI{name}\\fR{end}"));
        shown.iter().fold(page, |page, operand| page.replacen(operand, &format!("{operand}..."), 1))
    })
}

/// What clap adds as EXTRA, in the sections where pages have it, and with the lines that are indented left as they are: a paragraph would join and hyphenate them.
fn with_examples(page: &str) -> String {
    let Some((before, rest)) = page.split_once(".SH EXTRA\nExamples:\n") else {
        return page.to_owned();
    };
    let (extra, after) = rest.split_at(rest.find(".SH ").unwrap_or(rest.len()));
    let (examples, notes) = extra.split_once("\n\n").unwrap_or((extra, ""));
    let notes =
        if notes.is_empty() { String::new() } else { format!(".SH NOTES\n{}", kept(notes)) };
    format!("{before}.SH EXAMPLES\n{}{notes}{after}", kept(examples))
}

/// Lines that are indented between requests not to fill them; the others are text.
fn kept(text: &str) -> String {
    let is_indented = |line: &&str| line.starts_with("  ");
    let lines: Vec<&str> = text.lines().collect();
    let blocks = lines.chunk_by(|one, next| is_indented(one) == is_indented(next));
    let block = |block: &[&str]| match block[0].starts_with("  ") {
        true => format!(".nf\n{}\n.fi\n", block.join("\n")),
        false => format!("{}\n", block.join("\n")),
    };
    blocks.map(block).collect()
}

/// The exit codes, which the help tells in one sentence, as a list in the section where pages have them.
fn with_exit_status(page: &str) -> String {
    let Some((before, rest)) = page.split_once("Exit codes: ") else { return page.to_owned() };
    let (codes, after) = rest.split_at(rest.find("\n.SH").unwrap_or(rest.len()));
    let codes = codes.trim_end().replace('\n', " ");
    let items = codes.split("; ").map(|item| match item.split_once(' ') {
        Some((code, meaning)) if code.parse::<u8>().is_ok() => {
            format!(".TP\n\\fB{code}\\fR\n{meaning}\n")
        }
        _ => format!(".PP\n{item}\n"),
    });
    let list: String = items.collect();
    format!("{before}.SH \"EXIT STATUS\"\n{list}{}", after.trim_start_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every long option that a user may see, with its command.
    fn options() -> Vec<(String, String)> {
        let definition = args::definition();
        let of = |command: &Command| -> Vec<(String, String)> {
            let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
            let names = shown.filter_map(clap::Arg::get_long);
            names.map(|name| (command.get_name().to_owned(), name.to_owned())).collect()
        };
        definition.get_subcommands().flat_map(of).collect()
    }

    #[test]
    fn every_shell_completes_every_command_and_option() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = script(shell);
            for (command, option) in options() {
                assert!(script.contains(&command), "{shell}: no {command}");
                // fish writes `-l name`.
                let written = [format!("--{option}"), format!("-l {option}")];
                assert!(written.iter().any(|text| script.contains(text)), "{shell}: no {option}");
            }
        }
    }

    #[test]
    fn shells_offer_the_names_of_drivers_and_hosts() {
        let bash = script(Shell::Bash);
        for names in ["auto io_uring epoll", "thread glommio"] {
            assert!(bash.contains(&format!("compgen -W \"{names}\"")), "{names}: {bash}");
        }
    }

    #[test]
    fn every_command_has_its_name_in_the_list() {
        let definition = args::definition();
        let names: Vec<&str> = definition.get_subcommands().map(Command::get_name).collect();
        assert_eq!(names, crate::names::COMMANDS);
    }

    /// What bash itself offers for the last of `words`; nothing is to be completed by its own means, such as with files.
    fn offered_by_bash(words: &[&str]) -> Option<String> {
        let (word, before) = (words[words.len() - 1], words[words.len() - 2]);
        let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        let text = format!(
            "{}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_ringshot ringshot '{word}' '{before}'\necho \"${{COMPREPLY[*]}}\"",
            script(Shell::Bash),
            quoted.join(" "),
            words.len() - 1,
        );
        let ran = std::process::Command::new("bash").args(["--norc", "-c", &text]).output().ok()?;
        assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
        Some(String::from_utf8_lossy(&ran.stdout).trim().to_owned())
    }

    #[test]
    fn bash_offers_what_a_command_takes_and_options_after_a_dash() {
        let check = |words: &[&str], expected: &str| {
            let words = [&["ringshot"], words].concat();
            match offered_by_bash(&words) {
                Some(offered) => assert_eq!(offered, expected, "{words:?}"),
                None => println!("skipped: there is no bash"),
            }
        };
        check(&["man", ""], &crate::names::COMMANDS.join(" "));
        check(&["man", "co"], "compare completions");
        check(&["man", "-"], "-h --help");
        check(&["completions", "b"], "bash");
        check(&["completions", ""], "bash elvish fish powershell zsh");
        // Files are bash's own to find.
        check(&["report", ""], "");
        check(&["report", "a.json", ""], "");
        check(&["report", "a.json", "--out"], "--output --out-dir");
        check(&["report", "-o", ""], "text json csv html hgrm");
        check(&["run", "--no-k"], "--no-keepalive");
    }

    fn text_of(command: &str) -> String {
        page(Some(command)).unwrap()
    }

    #[test]
    fn exit_codes_have_a_section_and_a_line_each() {
        let list = ".SH \"EXIT STATUS\"\n.TP\n\\fB0\\fR\ndone\n.TP\n\\fB1\\fR\nno response came\n.TP\n\\fB2\\fR\nbad input or environment\n";
        for text in [page(None).unwrap(), text_of("run")] {
            assert!(text.contains(list) && !text.contains("Exit codes"), "{text}");
        }
        assert!(page(None).unwrap().contains("\n.SH VERSION"), "what follows stays");
        assert!(text_of("run").ends_with("\n.PP\nof several the lowest counts\n"));
    }

    #[test]
    fn an_operand_that_may_be_repeated_has_dots() {
        let synopsis = |command| {
            let text = text_of(command);
            let line = text.lines().skip_while(|line| *line != ".SH SYNOPSIS").nth(1);
            line.map(|line| line.trim_end().to_owned()).unwrap_or_default()
        };
        for (command, end) in [
            ("run", "[\\fIURL\\fR]..."),
            ("report", "<\\fIFILE\\fR>..."),
            ("compare", "[\\fIURL|FILE\\fR]..."),
            ("find-max", "<\\fIURL\\fR>"),
        ] {
            assert!(synopsis(command).ends_with(end), "{command}: {}", synopsis(command));
        }
    }

    #[test]
    fn examples_and_tables_stay_as_they_are() {
        let run = text_of("run");
        assert!(run.contains("\n.SH EXAMPLES\n.nf\n  ringshot run http"), "{run}");
        assert!(run.contains("\n.fi\n.SH NOTES\nWithout a rate"), "{run}");
        let serve = text_of("serve");
        assert!(serve.contains("\n.nf\n  /delay/MS  ") && !serve.contains("EXTRA"), "{serve}");
        let root = page(None).unwrap();
        assert!(root.contains("\n.fi\n.SH \"EXIT STATUS\"\n"), "{root}");
    }

    #[test]
    fn every_command_has_a_page_with_its_options() {
        let root = page(None).unwrap();
        assert!(root.contains(".TH") && root.contains("ringshot\\-run(1)"), "{root}");
        for (command, option) in options() {
            let text = page(Some(&command)).unwrap();
            let written = format!("\\-\\-{}", option.replace('-', "\\-"));
            assert!(text.contains(&written), "{command}: no {option} in\n{text}");
            assert!(
                text.contains(&format!("ringshot\\-{}", command.replace('-', "\\-"))),
                "{command}"
            );
        }
        assert!(text_of("run").contains(concat!("\"ringshot ", env!("CARGO_PKG_VERSION"), "\"")));
        let line = page(Some("dance")).unwrap_err().to_string();
        assert!(line.contains("no command is called \"dance\": there are run, serve"), "{line}");
    }
}
