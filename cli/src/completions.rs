//! `ringshot completions` and `ringshot man`: made from the arguments, so that they can't fall behind them.

use clap::Args;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args;
use crate::exit::{Exit, Failure};
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
    String::from_utf8_lossy(&script).into_owned()
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
        let names: Vec<_> = root.get_subcommands().map(clap::Command::get_name).collect();
        Failure::unusable(format_args!(
            "no command is called {:?}: there are {}",
            command.unwrap_or_default(),
            names.join(", ")
        ))
    })?;
    let mut text = Vec::new();
    let rendered = Man::new(command.clone()).render(&mut text);
    rendered.map_err(|error| Failure::unusable(format_args!("can't make the page: {error}")))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every long option that a user may see, with its command.
    fn options() -> Vec<(String, String)> {
        let definition = args::definition();
        let of = |command: &clap::Command| -> Vec<(String, String)> {
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
        let line = page(Some("dance")).unwrap_err().to_string();
        assert!(line.contains("no command is called \"dance\": there are run, serve"), "{line}");
    }
}
