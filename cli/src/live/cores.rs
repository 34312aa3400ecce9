//! Each core's load: a bar a core where there is room, else one letter a core. Pure.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::Facts;
use super::history::RecentCore;
use super::view::FAINT;
use crate::output::format::{percent, rate};

/// Width of a core's bar with its words.
const CELL: u16 = 40;
/// Width of the bar alone.
const BAR: usize = 12;
/// The share of the room that cores may take, one in so many lines; the charts have the rest.
const SHARE: u16 = 2;
/// Shares of a core's time, in eighths.
const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Lines that so many cores take of `room`.
pub(super) fn lines(cores: usize, width: u16, room: u16) -> u16 {
    let rows = cores.div_ceil(columns(width)) as u16;
    if rows <= (room / SHARE).max(1) { rows } else { 1 }.min(room)
}

fn columns(width: u16) -> usize {
    usize::from((width / CELL).max(1))
}

/// Draws them into an area that [`lines`] measured.
pub(super) fn draw(frame: &mut Frame<'_>, facts: &Facts, cores: &[RecentCore], area: Rect) {
    let columns = columns(area.width);
    if cores.len().div_ceil(columns) > usize::from(area.height) {
        frame.render_widget(summary(cores), area);
        return;
    }
    let cells: Vec<_> = cores.iter().enumerate().map(|(at, core)| cell(facts, at, core)).collect();
    let rows: Vec<Line<'_>> = cells.chunks(columns).map(|row| Line::from(row.concat())).collect();
    frame.render_widget(Paragraph::new(rows), area);
}

/// ` core 1    ━━━━━━━━━━── 82%  209,183/s`, [`CELL`] wide.
fn cell(facts: &Facts, at: usize, core: &RecentCore) -> Vec<Span<'static>> {
    let number = facts.cores.get(at).copied().unwrap_or(at);
    let filled = (core.busy * BAR as f64).round() as usize;
    let words = format!(" {:>4}  {}/s", format!("{:.0}%", core.busy * 100.0), rate(core.rate));
    let name = format!(" core {number:<4} ");
    let left = usize::from(CELL).saturating_sub(name.chars().count() + BAR);
    vec![
        Span::styled(name, Style::new().fg(Color::Gray)),
        Span::styled("━".repeat(filled), color(core.busy)),
        Span::styled("─".repeat(BAR.saturating_sub(filled)), FAINT),
        Span::raw(format!("{words:<left$}")),
    ]
}

/// ` cores     ▇▇█▇▃  34.0% to 98.1% busy`.
fn summary(cores: &[RecentCore]) -> Line<'static> {
    let letter = |core: &RecentCore| {
        let level = (core.busy * 8.0).round() as usize;
        Span::styled(LEVELS[level.min(8)].to_string(), color(core.busy))
    };
    let most = cores.iter().map(|core| core.busy).fold(0.0, f64::max);
    let least = cores.iter().map(|core| core.busy).fold(most, f64::min);
    let words = format!("  {} to {} busy", percent(least), percent(most));
    let mut line = vec![Span::styled(" cores     ", Style::new().fg(Color::Gray))];
    line.extend(cores.iter().map(letter));
    line.push(Span::raw(words));
    Line::from(line)
}

/// A client core with no time left makes figures that count for less.
fn color(busy: f64) -> Style {
    match busy >= ringshot::load::CLIENT_BUSY_MIN {
        true => Style::new().fg(Color::Red),
        false => Style::new().fg(Color::Green),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_cores_take_one_line() {
        let check = |cores, width, room, expected| {
            assert_eq!(lines(cores, width, room), expected, "{cores} in {width}x{room}");
        };
        check(1, 40, 1, 1);
        check(2, 40, 1, 1);
        check(2, 100, 12, 1);
        check(8, 100, 12, 4);
        check(128, 100, 12, 1);
        check(4, 40, 0, 0);
        check(0, 80, 10, 0);
    }
}
