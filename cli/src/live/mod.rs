//! What a person sees while a run goes on, on stderr and from the watcher's thread. Results go to standard output, so that
//! `-o json | jq` has a view too. It reads snapshots; the threads that send know nothing of it.
//!
//! | `--live` | what is shown |
//! |---|---|
//! | `auto` | `full` where stderr is a terminal and we are in its foreground, else `plain` |
//! | `full` | a screen of its own, taken away at the end (`screen`, `view`) |
//! | `line` | one line, redrawn in place (`line`) |
//! | `plain` | a line every few seconds (`plain`) |
//! | `off` | nothing, as with `--quiet` |

mod charts;
mod cores;
mod history;
mod line;
mod plain;
#[cfg(test)]
mod sample;
mod screen;
mod view;

use std::io::IsTerminal;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ringshot::load::{Arrival, Plan, Snapshot, Stop};

use crate::exit::Failure;
use crate::output::format::counted;
use crate::output::letters::harmless;
use crate::signals::Interrupts;
use line::Line;
use plain::Plain;
use screen::Screen;

pub(crate) use screen::Asked;

/// How often the screen and the line are drawn: 5 times a second.
const REFRESH: Duration = Duration::from_millis(200);

/// How a run is watched.
#[derive(Debug, Args)]
pub(crate) struct LiveArgs {
    /// What to show on stderr during the run: a full screen, one line, plain lines, or nothing
    #[arg(long, value_enum, default_value = "auto", value_name = "HOW")]
    #[arg(help_heading = "Output", conflicts_with = "quiet")]
    live: Mode,
}

/// `--live`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// A full screen on a terminal, else plain lines
    Auto,
    /// Rate, percentiles, cores and a time line on a screen of its own; q ends the run
    Full,
    /// One line, redrawn in place
    Line,
    /// A line every few seconds
    Plain,
    /// Nothing
    Off,
}

impl LiveArgs {
    /// Picks what is shown of a run of `plan`, which `title` names; nothing is shown yet.
    pub(crate) fn prepare(&self, plan: &Plan, title: String) -> Result<Option<Live>, Failure> {
        let display = match self.live {
            Mode::Off => return Ok(None),
            Mode::Plain => Display::Plain(Plain::default()),
            Mode::Auto if screen::is_usable() => Display::Soon,
            Mode::Auto => Display::Plain(Plain::default()),
            Mode::Full | Mode::Line if !std::io::stderr().is_terminal() => {
                return Err(Failure::unusable(
                    "--live full and --live line need a terminal on stderr: use --live plain",
                ));
            }
            Mode::Full => Display::Soon,
            Mode::Line => Display::Line(Line::new(Stop { after: plan.length(), ..plan.stop })),
        };
        Ok(Some(Live { facts: Facts::of(plan, title), display }))
    }
}

/// What is known of a run before it begins.
#[derive(Debug, Clone)]
struct Facts {
    /// `GET http://host/`.
    title: String,
    /// `io_uring, 64 connections`.
    setup: String,
    cores: Vec<usize>,
    arrival: Arrival,
    /// With the length of a schedule or a replay.
    stop: Stop,
}

impl Facts {
    fn of(plan: &Plan, title: String) -> Self {
        let connections = counted(plan.connections.into(), "connection");
        Self {
            title: title.chars().map(harmless).collect(),
            setup: format!("{}, {connections}", plan.driver),
            cores: plan.cores.clone(),
            arrival: plan.arrival.clone(),
            stop: Stop { after: plan.length(), ..plan.stop },
        }
    }
}

/// What is shown of one run.
#[derive(Debug)]
pub(crate) struct Live {
    facts: Facts,
    display: Display,
}

#[derive(Debug)]
enum Display {
    /// The screen, from the first tick on: a run that is over before does not flash.
    Soon,
    Screen(Box<Screen>),
    Line(Line),
    Plain(Plain),
}

impl Live {
    /// How long after the last [`Live::show`] the next is due.
    pub(crate) fn tick(&self) -> Duration {
        match &self.display {
            Display::Plain(plain) => plain.tick(),
            _ => REFRESH,
        }
    }

    /// Where keys come from, if there are any.
    pub(crate) fn keys(&self) -> Option<BorrowedFd<'_>> {
        match &self.display {
            Display::Screen(screen) => screen.keys(),
            _ => None,
        }
    }

    /// Shows where the run is now. While the screen is up, signals are held back: [`Interrupts::arm`].
    pub(crate) fn show(&mut self, now: &Snapshot, interrupts: &Interrupts) {
        if matches!(self.display, Display::Soon) {
            self.display = Screen::open(interrupts.hold_back())
                .map_or_else(|_| self.line(), |screen| Display::Screen(Box::new(screen)));
        }
        match &mut self.display {
            Display::Soon => {}
            Display::Screen(screen) => screen.show(&self.facts, now),
            Display::Line(line) => line.show(now),
            Display::Plain(plain) => plain.show(&self.facts, now),
        }
    }

    /// Reads the keys that were pressed.
    pub(crate) fn handle_keys(&mut self) -> Asked {
        match &mut self.display {
            Display::Screen(screen) => screen.handle_keys(&self.facts),
            _ => Asked::Nothing,
        }
    }

    /// Gives the terminal back, until [`Live::show`] finds us in its foreground.
    pub(crate) fn put_away(&mut self) {
        if let Display::Screen(screen) = &mut self.display {
            screen.put_away();
        }
    }

    /// Gives the terminal back, and shows the rest of the run, which was asked to end, in a line.
    pub(crate) fn give_back(&mut self) {
        if matches!(self.display, Display::Screen(_) | Display::Soon) {
            self.display = self.line();
            crate::warnings::notice("ending the run; Ctrl-C quits at once, without results");
        }
    }

    fn line(&self) -> Display {
        Display::Line(Line::new(self.facts.stop))
    }
}
