//! The time line as charts of rate and p99; a sparkline of the rate where there is no room for them. Pure.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Borders, Chart, Dataset, GraphType, Sparkline};

use super::history::{History, Slot};
use super::view::FAINT;
use crate::output::format::{microseconds, rate, three_digits};

/// Fewer lines have no room for a chart with its axes.
const CHART_LINES_MIN: u16 = 6;
/// From this width on, the charts stand side by side; else the rate's stands alone.
const TWO_WIDTH_MIN: u16 = 70;
/// Room above the highest point.
const HEADROOM: f64 = 1.1;

/// A point every slot: seconds, and a value.
type Points = Vec<(f64, f64)>;

/// One line of a chart; of two, the second is drawn over the first.
struct Curve {
    color: Color,
    points: Points,
}

/// Draws what there is room for.
pub(super) fn draw(frame: &mut Frame<'_>, history: &History, area: Rect) {
    let slots = history.slots();
    match area {
        Rect { height: 0, .. } => {}
        Rect { height, .. } if height < CHART_LINES_MIN => draw_sparkline(frame, slots, area),
        Rect { width, .. } if width < TWO_WIDTH_MIN => draw_rate(frame, slots, area),
        _ => {
            let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)])
                .spacing(2)
                .areas(area);
            draw_rate(frame, slots, left);
            draw_p99(frame, slots, right);
        }
    }
}

/// The rate of the newest slots, the last on the right.
fn draw_sparkline(frame: &mut Frame<'_>, slots: &[Slot], area: Rect) {
    let newest = slots.len().saturating_sub(area.width.into());
    let rates = slots[newest..].iter().map(|slot| slot.rate() as u64);
    frame.render_widget(Sparkline::default().data(rates).style(Style::new().fg(Color::Cyan)), area);
}

fn draw_rate(frame: &mut Frame<'_>, slots: &[Slot], area: Rect) {
    let rates = points(slots, |slot| Some(slot.rate()));
    let target = points(slots, |slot| Some(slot.target()).filter(|target| *target > 0.0));
    let curves = [
        Curve { color: Color::DarkGray, points: target },
        Curve { color: Color::Cyan, points: rates },
    ];
    draw_chart(frame, " requests a second ", &curves, rate, area);
}

fn draw_p99(frame: &mut Frame<'_>, slots: &[Slot], area: Rect) {
    let p99 = points(slots, Slot::p99_us);
    draw_chart(
        frame,
        " p99 of 2xx ",
        &[Curve { color: Color::Yellow, points: p99 }],
        microseconds,
        area,
    );
}

/// Each slot at its end.
fn points(slots: &[Slot], value: impl Fn(&Slot) -> Option<f64>) -> Points {
    let mut end = 0.0;
    let point = |slot: &Slot| {
        end += slot.seconds();
        value(slot).map(|value| (end, value))
    };
    slots.iter().filter_map(point).collect()
}

fn draw_chart(
    frame: &mut Frame<'_>,
    title: &str,
    curves: &[Curve],
    words: impl Fn(f64) -> String,
    area: Rect,
) {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let top = all().map(|point| point.1).fold(0.0, f64::max) * HEADROOM;
    let end = all().map(|point| point.0).fold(0.0, f64::max);
    // An empty range can't be drawn.
    let (top, end) = (top.max(f64::MIN_POSITIVE), end.max(0.2));
    let datasets = curves.iter().map(|curve| {
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(curve.color))
            .data(&curve.points)
    });
    let axis = |range, labels: Vec<Span<'static>>| {
        Axis::default().style(FAINT).bounds(range).labels(labels)
    };
    let heights = if all().next().is_none() {
        vec!["0".into()]
    } else {
        vec!["0".into(), words(top / 2.0).into(), words(top).into()]
    };
    let chart = Chart::new(datasets.collect())
        .block(Block::new().borders(Borders::TOP).border_style(FAINT).title(Line::from(title)))
        .legend_position(None)
        .x_axis(axis([0.0, end], vec!["0".into(), format!("{} s", three_digits(end)).into()]))
        .y_axis(axis([0.0, top], heights));
    frame.render_widget(chart, area);
}
