//! The terminal, taken over: raw mode, a screen of its own, keys. It is given back when [`Screen`] is dropped, while the process is stopped, and by any panic.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Stdin, Write, stderr, stdin};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::{cursor, execute, terminal};
use ratatui::layout::Size;
use ringshot::load::Snapshot;
use rustix::process::{Signal, getpgrp, kill_current_process_group};
use rustix::termios::tcgetpgrp;

use super::Facts;
use super::history::History;
use super::view::{self, Drawing};
use crate::output::letters::Charset;
use crate::signals::HeldBack;

/// Whether the terminal is taken over now.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// What the keys asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    Nothing,
    /// To end the run and show its results.
    End,
    /// Ctrl-C twice: to quit at once.
    Quit,
}

/// A key that means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    End,
    Interrupt,
    Pause,
    Stop,
}

/// Whether a screen can be had: stderr is a terminal that can move its cursor, and we are in its foreground, where taking it over stops nobody.
pub(super) fn is_usable() -> bool {
    let moves = std::env::var("TERM").is_ok_and(|term| !term.is_empty() && term != "dumb");
    moves && stderr().is_terminal() && is_in_foreground()
}

fn is_in_foreground() -> bool {
    tcgetpgrp(stderr()) == Ok(getpgrp())
}

/// The terminal while it is ours.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<Shown>>>,
    history: History,
    drawing: Drawing,
    size: Size,
    keys: Keys,
    charset: Charset,
    /// Whether it was given back because the process was to stop.
    is_away: bool,
    // The last field: signals are released when the terminal has been given back.
    _held: HeldBack,
}

/// Stderr, to which nothing fails: ratatui complains there of what does, and panics where the terminal is gone, which is no reason to lose the results.
#[derive(Debug)]
struct Shown;

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(stderr().write(bytes).unwrap_or(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where keys come from.
#[derive(Debug)]
enum Keys {
    Stdin(Stdin),
    /// The terminal itself, because standard input is something else.
    Terminal(File),
    /// It was closed.
    None,
}

impl Screen {
    /// Takes the terminal over.
    pub(super) fn open(held: HeldBack) -> io::Result<Self> {
        let keys = if stdin().is_terminal() {
            Keys::Stdin(stdin())
        } else {
            Keys::Terminal(File::open("/dev/tty")?)
        };
        let terminal = Terminal::new(CrosstermBackend::new(BufWriter::new(Shown)))?;
        let size = terminal.size()?;
        give_back_on_panic();
        let screen = Self {
            terminal,
            history: History::default(),
            drawing: Drawing::On,
            size,
            keys,
            charset: Charset::of_environment(),
            is_away: false,
            _held: held,
        };
        take_over()?;
        Ok(screen)
    }

    /// Gives the terminal back until we are in its foreground again.
    pub(super) fn put_away(&mut self) {
        self.is_away |= give_back() == Given::Now;
    }

    /// Takes it over again, if it was put away and that stops nobody.
    fn come_back(&mut self) {
        if self.is_away && is_in_foreground() && take_over().is_ok() {
            self.is_away = false;
            // What others wrote meanwhile is not what was drawn last.
            let _ = self.terminal.clear();
        }
    }

    pub(super) fn keys(&self) -> Option<BorrowedFd<'_>> {
        match &self.keys {
            // To read from the background would stop us.
            _ if self.is_away => None,
            Keys::Stdin(stdin) => Some(stdin.as_fd()),
            Keys::Terminal(file) => Some(file.as_fd()),
            Keys::None => None,
        }
    }

    /// Takes a snapshot in, and draws it unless drawing is paused.
    pub(super) fn show(&mut self, facts: &Facts, now: &Snapshot) {
        self.history.push(now, &facts.arrival);
        self.come_back();
        let size = self.terminal.size().unwrap_or(self.size);
        if self.drawing == Drawing::On || size != self.size {
            self.draw(facts);
        }
        self.size = size;
    }

    /// Reads the keys that were pressed, all of them.
    pub(super) fn handle_keys(&mut self, facts: &Facts) -> Asked {
        let mut asked = Asked::Nothing;
        loop {
            match next_event() {
                Ok(Some(event)) => asked = asked.max(self.handle(key_of(&event), asked, facts)),
                Ok(None) => return asked,
                Err(_) => {
                    self.keys = Keys::None;
                    return asked;
                }
            }
        }
    }

    fn handle(&mut self, key: Option<Key>, asked: Asked, facts: &Facts) -> Asked {
        match key {
            None => Asked::Nothing,
            Some(Key::Interrupt) if asked == Asked::End => Asked::Quit,
            Some(Key::Interrupt | Key::End) => Asked::End,
            Some(Key::Stop) => {
                // Raw mode keeps the terminal from doing it (termios(3)). The signal comes back to whoever
                // waits for signals, unless it is ignored here.
                let _ = kill_current_process_group(Signal::TSTP);
                Asked::Nothing
            }
            Some(Key::Pause) => {
                self.drawing = self.drawing.other();
                self.draw(facts);
                Asked::Nothing
            }
        }
    }

    /// Does nothing while the terminal is not ours.
    fn draw(&mut self, facts: &Facts) {
        if TAKEN.load(Ordering::SeqCst) {
            let Self { terminal, history, drawing, charset, .. } = self;
            // A terminal that is gone needs no picture; the run goes on.
            let _ = terminal.draw(|frame| {
                view::draw(frame, facts, history, *drawing);
                view::spell(frame.buffer_mut(), *charset);
            });
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take_over() -> io::Result<()> {
    terminal::enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    execute!(stderr(), terminal::EnterAlternateScreen, cursor::Hide)
}

/// When the terminal was given back.
#[derive(Debug, PartialEq, Eq)]
enum Given {
    Now,
    Before,
}

/// Gives the terminal back, once.
fn give_back() -> Given {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return Given::Before;
    }
    // What fails here fails because the terminal is gone.
    let _ = execute!(stderr(), terminal::LeaveAlternateScreen, cursor::Show);
    let _ = terminal::disable_raw_mode();
    Given::Now
}

/// The message of a panic on any thread is to be read: on the screen that stays, in lines.
fn give_back_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
}

fn next_event() -> io::Result<Option<Event>> {
    match event::poll(Duration::ZERO)? {
        true => event::read().map(Some),
        false => Ok(None),
    }
}

fn key_of(event: &Event) -> Option<Key> {
    let Event::Key(key) = event else { return None };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Interrupt),
        KeyCode::Char('z') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Key::Stop),
        KeyCode::Char('q' | 'Q') => Some(Key::End),
        KeyCode::Char('p' | 'P') => Some(Key::Pause),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn keys() {
        let check = |code, modifiers, expected| {
            let event = Event::Key(KeyEvent::new(code, modifiers));
            assert_eq!(key_of(&event), expected, "{event:?}");
        };
        let plain = KeyModifiers::NONE;
        check(KeyCode::Char('c'), KeyModifiers::CONTROL, Some(Key::Interrupt));
        check(KeyCode::Char('c'), plain, None);
        check(KeyCode::Char('z'), KeyModifiers::CONTROL, Some(Key::Stop));
        check(KeyCode::Char('z'), plain, None);
        check(KeyCode::Char('q'), plain, Some(Key::End));
        check(KeyCode::Char('Q'), KeyModifiers::SHIFT, Some(Key::End));
        check(KeyCode::Char('p'), plain, Some(Key::Pause));
        check(KeyCode::Esc, plain, None);
        assert_eq!(key_of(&Event::Resize(80, 24)), None);
    }

    #[test]
    fn what_was_never_taken_is_not_given_back() {
        assert_eq!(give_back(), Given::Before);
        assert!(!TAKEN.load(Ordering::SeqCst));
    }
}
