//! The full screen as a picture of a [`History`]. Pure: no terminal, no clock. What does not fit is left out, the least needed first.
//!
//! ```text
//! 100x30  title, progress, rate beside times, cores, charts side by side, keys
//! 80x24   the same with rate above times
//! 40x10   title, progress, rate above times, both with less, cores in one line, keys
//! ```

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{LineGauge, Paragraph};
use ringshot::load::{Arrival, Phase, Snapshot, Stop};

use super::history::{History, RECENT, Recent};
use super::{Facts, charts, cores};
use crate::output::format::{count, length, microseconds, percent, rate};
use crate::output::letters::{Charset, ascii};

/// From this width on, rate and times stand side by side.
const WIDE: u16 = 98;
/// From this width on, all quantiles have room.
const ALL_QUANTILES: u16 = 60;
/// From this height on, the parts are spaced, and all lines shown.
const TALL: u16 = 20;
/// Lines of the times: a head, the last seconds, the run.
const TIMES_LINES: u16 = 3;
/// Lines of rate, target, errors, what is in flight.
const RATE_LINES: u16 = 4;
/// What is shown of the times, the most needed last, and how much room each takes.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];
const NARROW_QUANTILES: [(&str, f64); 3] = [QUANTILES[0], QUANTILES[2], QUANTILES[4]];

pub(super) const FAINT: Style = Style::new().fg(Color::DarkGray);
const LABEL: Style = Style::new().fg(Color::Gray);

/// Whether the picture follows the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drawing {
    On,
    Paused,
}

impl Drawing {
    pub(super) fn other(self) -> Self {
        match self {
            Self::On => Self::Paused,
            Self::Paused => Self::On,
        }
    }
}

/// A phase as a person reads it.
pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::WarmUp => "warming up",
        Phase::Measuring => "measuring",
        Phase::Draining => "draining",
        Phase::Done => "done",
    }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, facts: &Facts, history: &History, drawing: Drawing) {
    let area = frame.area();
    let recent = history.recent();
    let gap = u16::from(area.height >= TALL);
    // The least of the rate's lines gives way first.
    let rate_height = RATE_LINES - 1 + gap;
    let figures = if area.width >= WIDE { rate_height } else { rate_height + TIMES_LINES };
    let fixed = 3 + figures + 2 * gap;
    let cores = cores::lines(recent.cores.len(), area.width, area.height.saturating_sub(fixed));
    let [head, progress, _, middle, _, core_area, chart_area, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(gap),
        Constraint::Length(figures),
        Constraint::Length(gap),
        Constraint::Length(cores),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    draw_head(frame, facts, history.now(), head);
    draw_progress(frame, facts, history.now(), progress);
    draw_figures(frame, facts, history, &recent, middle);
    cores::draw(frame, facts, &recent.cores, core_area);
    charts::draw(frame, history, chart_area);
    draw_foot(frame, drawing, foot);
}

/// The same picture in the letters that the terminal has.
pub(super) fn spell(buffer: &mut Buffer, charset: Charset) {
    if charset == Charset::Utf8 {
        return;
    }
    for cell in &mut buffer.content {
        if let Some(letter) = cell.symbol().chars().next().filter(|letter| !letter.is_ascii()) {
            // What is two columns wide has a blank cell behind it.
            cell.set_char(ascii(letter).chars().next().unwrap_or(' '));
        }
    }
}

/// What is run on the left, its phase on the right.
fn draw_head(frame: &mut Frame<'_>, facts: &Facts, now: &Snapshot, area: Rect) {
    let state = Line::from(vec![phase(now.phase).bold().fg(phase_color(now.phase)), " ".into()]);
    let room = Constraint::Length(state.width() as u16);
    let [left, _, right] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(1), room]).areas(area);
    let mut title = Line::from(vec![" ".into(), facts.title.as_str().bold()]);
    let setup = Span::styled(format!("  {}", facts.setup), LABEL);
    if title.width() + setup.width() <= usize::from(left.width) {
        title.push_span(setup);
    }
    frame.render_widget(title, left);
    frame.render_widget(state, right);
}

fn phase_color(phase: Phase) -> Color {
    match phase {
        Phase::Measuring => Color::Green,
        _ => Color::Yellow,
    }
}

/// A bar, and how far in words; words alone when nothing says where the end is.
fn draw_progress(frame: &mut Frame<'_>, facts: &Facts, now: &Snapshot, area: Rect) {
    let words = format!(" {} ", how_far(facts.stop, now));
    let Some(share) = share_done(facts, now) else {
        frame.render_widget(Paragraph::new(words), area);
        return;
    };
    let room = Constraint::Length(words.len() as u16);
    let [left, right] = Layout::horizontal([Constraint::Fill(1), room]).areas(area);
    let bar = LineGauge::default()
        .ratio(share)
        .label(format!(" {:>4}", format!("{:.0}%", share * 100.0)))
        .filled_symbol("━")
        .unfilled_symbol("─")
        .filled_style(Style::new().fg(Color::Cyan))
        .unfilled_style(FAINT);
    frame.render_widget(bar, left);
    frame.render_widget(Paragraph::new(words).alignment(Alignment::Right), right);
}

/// `3.2 of 10 s`, `3,412 of 10,000 requests, 3.2 s`, `12.3 s`; before measuring begins, the time since the start.
pub(super) fn how_far(stop: Stop, now: &Snapshot) -> String {
    if matches!(now.phase, Phase::Starting | Phase::WarmUp) {
        return format!("{:.1} s", now.elapsed.as_secs_f64());
    }
    let seconds = now.measured.min(stop.after.unwrap_or(now.measured)).as_secs_f64();
    match (stop.requests, stop.after) {
        (Some(total), _) => {
            format!("{} of {} requests, {seconds:.1} s", count(now.requests), count(total))
        }
        (None, Some(total)) => format!("{seconds:.1} of {}", length(total)),
        (None, None) => format!("{seconds:.1} s"),
    }
}

/// Whichever end is nearer, 0 to 1.
fn share_done(facts: &Facts, now: &Snapshot) -> Option<f64> {
    let by_time = facts.stop.after.map(|length| now.measured.as_secs_f64() / length.as_secs_f64());
    let ended = now.requests + now.errors + now.shed;
    let by_count = facts.stop.requests.map(|total| ended as f64 / total as f64);
    by_time.into_iter().chain(by_count).reduce(f64::max).map(|share| share.clamp(0.0, 1.0))
}

fn draw_figures(
    frame: &mut Frame<'_>,
    facts: &Facts,
    history: &History,
    recent: &Recent,
    area: Rect,
) {
    let quantiles = if area.width < ALL_QUANTILES { &NARROW_QUANTILES[..] } else { &QUANTILES[..] };
    let times = times_lines(history, recent, quantiles);
    let parts = if area.width >= WIDE {
        let times_width = times.iter().map(Line::width).max().unwrap_or_default() as u16;
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(times_width + 1)])
    } else {
        Layout::vertical([Constraint::Fill(1), Constraint::Length(TIMES_LINES)])
    };
    let [rate_area, times_area] = parts.areas(area);
    frame.render_widget(Paragraph::new(rate_lines(facts, history.now(), recent)), rate_area);
    frame.render_widget(Paragraph::new(times), times_area);
}

/// Rate, target, errors, what is in flight: [`RATE_LINES`], the least needed last.
fn rate_lines(facts: &Facts, now: &Snapshot, recent: &Recent) -> Vec<Line<'static>> {
    let seconds = now.measured.as_secs_f64();
    let mean = if seconds > 0.0 { now.requests as f64 / seconds } else { 0.0 };
    let mean = if now.phase == Phase::Measuring {
        Span::styled(format!("   mean {}", rate(mean)), LABEL)
    } else {
        Span::default()
    };
    let current = format!("{}/s", rate(recent.rate));
    let failed = now.requests + now.errors;
    let share = if failed > 0 { now.errors as f64 / failed as f64 } else { 0.0 };
    let errors = Style::new().fg(if now.errors > 0 { Color::Red } else { Color::Green });
    let lost = Style::new().fg(if now.late + now.shed > 0 { Color::Yellow } else { Color::Gray });
    vec![
        Line::from(vec![label("rate"), current.bold().fg(Color::Cyan), mean]),
        Line::from(vec![label("target"), target_text(facts, now, recent.rate).into()]),
        Line::from(vec![
            label("errors"),
            // A digit and no more: there is no room, and the count stands beside it.
            Span::styled(format!("{}  {:.1}%", count(now.errors), share * 100.0), errors),
            Span::styled(refusals(now, "   "), Style::new().fg(Color::Red)),
            Span::styled(format!("   {} lately", count(recent.errors)), LABEL),
        ]),
        Line::from(vec![
            label("in flight"),
            count(now.in_flight).into(),
            Span::styled(format!("   late {}   shed {}", count(now.late), count(now.shed)), lost),
        ]),
    ]
}

/// How many responses were neither 2xx nor 3xx, after `before`; nothing if all were.
pub(super) fn refusals(now: &Snapshot, before: &str) -> String {
    match now.status.refusals() {
        0 => String::new(),
        refusals => format!("{before}{} not 2xx/3xx", count(refusals)),
    }
}

/// What the schedule asks for now, and how much of it is there.
fn target_text(facts: &Facts, now: &Snapshot, current: f64) -> String {
    let target = facts.arrival.rate_at(now.measured).filter(|_| now.phase == Phase::Measuring);
    match target {
        _ if facts.arrival == Arrival::Closed => "none: closed loop".to_owned(),
        None => "-".to_owned(),
        Some(target) if target > 0.0 => {
            format!("{}/s   {} of it", rate(target), percent(current / target))
        }
        Some(target) => format!("{}/s", rate(target)),
    }
}

fn label(text: &str) -> Span<'static> {
    Span::styled(format!(" {text:<10}"), LABEL)
}

/// Response times of successful requests (2xx), good to 3 %: [`TIMES_LINES`].
fn times_lines(
    history: &History,
    recent: &Recent,
    quantiles: &[(&str, f64)],
) -> Vec<Line<'static>> {
    let row = |of: &dyn Fn(f64) -> Option<f64>| -> String {
        let cell = |(_, quantile): &(&str, f64)| of(*quantile).map_or("-".into(), microseconds);
        quantiles.iter().map(cell).map(|text| format!("{text:>9}")).collect()
    };
    let names: String = quantiles.iter().map(|(name, _)| format!("{name:>9}")).collect();
    let lately = |quantile| (!recent.times.is_empty()).then(|| recent.times.quantile_us(quantile));
    let last = format!("last {}", length(RECENT));
    vec![
        Line::from(vec![label("2xx time"), Span::styled(names, LABEL)]),
        Line::from(vec![label(&last), row(&lately).bold().fg(Color::Yellow)]),
        Line::from(vec![
            label("run"),
            row(&|quantile| history.whole().quantile_us(quantile)).into(),
        ]),
    ]
}

fn draw_foot(frame: &mut Frame<'_>, drawing: Drawing, area: Rect) {
    let line = match drawing {
        Drawing::On => Line::styled(" q ends the run   p pauses the display", FAINT),
        Drawing::Paused => Line::from(vec![
            " PAUSED ".bold().fg(Color::Black).bg(Color::Yellow),
            Span::styled("  p goes on   q ends the run", FAINT),
        ]),
    };
    frame.render_widget(line, area);
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
