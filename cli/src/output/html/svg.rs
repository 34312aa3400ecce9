//! Plots as SVG: scales, axes, lines and bars. Numbers in, markup out; all words come escaped or are our own.

use std::fmt::Write;

use super::escaped;

const WIDTH: f64 = 940.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 40.0;
/// About so many ticks on a linear scale that starts at 0, and on one of time.
const TICKS: f64 = 4.0;
const TIME_TICKS: f64 = 8.0;
/// With more ticks than this a logarithmic scale shows only powers of ten.
const LOG_TICKS_MAX: usize = 10;

/// How figures become places between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    Linear { from: f64, to: f64, step: f64 },
    Log { from: f64, to: f64 },
}

impl Scale {
    /// From 0 to `most`, rounded up to a tick.
    pub(super) fn up_to(most: f64) -> Self {
        let step = step(most, TICKS);
        Self::Linear { from: 0.0, to: (most / step).ceil().max(1.0) * step, step }
    }

    /// Exactly from `from` to `to`.
    pub(super) fn between(from: f64, to: f64) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        Self::Linear { from, to, step: step(to - from, TIME_TICKS) }
    }

    /// Powers of ten, their doubles and halves, from below `least` to above `most`.
    pub(super) fn log(least: f64, most: f64) -> Self {
        let least = least.max(1e-3);
        let from = ladder(least).rfind(|rung| *rung <= least * 1.001).unwrap_or(least);
        let most = most.max(least * 1.001);
        let to = ladder(most).find(|rung| *rung >= most * 0.999).unwrap_or(most);
        Self::Log { from, to: to.max(from * 2.0) }
    }

    /// The place of a figure, at an end if it lies beyond.
    fn place(&self, value: f64) -> f64 {
        let place = match *self {
            Self::Linear { from, to, .. } => (value - from) / (to - from),
            Self::Log { from, to } => (value.max(from) / from).ln() / (to / from).ln(),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }

    pub(super) fn ticks(&self) -> Vec<f64> {
        match *self {
            Self::Linear { from, to, step } => {
                let ticks =
                    (0..=20).map(|tick| (from / step).ceil() * step + f64::from(tick) * step);
                ticks.take_while(|tick| *tick <= to + step * 1e-6).collect()
            }
            Self::Log { from, to } => log_ticks(from, to),
        }
    }
}

/// The round distance of about so many ticks in a span.
fn step(span: f64, ticks: f64) -> f64 {
    let span = if span > 0.0 { span } else { 1.0 };
    let power = 10_f64.powf((span / ticks).log10().floor());
    let round = [1.0, 2.0, 5.0].into_iter().find(|it| it * power * ticks >= span);
    round.unwrap_or(10.0) * power
}

/// 1, 2, 5, 10 and so on, from two powers of ten below to one above the value's own.
fn ladder(value: f64) -> impl DoubleEndedIterator<Item = f64> {
    let power = value.log10().floor() as i32;
    (power - 1..=power + 1).flat_map(|at| [1.0, 2.0, 5.0].map(|rung| rung * 10_f64.powi(at)))
}

fn log_ticks(from: f64, to: f64) -> Vec<f64> {
    let (first, last) = (from.log10().floor() as i32, to.log10().ceil() as i32);
    let within = |tick: &f64| *tick >= from * 0.999 && *tick <= to * 1.001;
    let rungs = |rungs: &'static [f64]| -> Vec<f64> {
        let ticks = (first..=last).flat_map(|at| rungs.iter().map(move |it| it * 10_f64.powi(at)));
        ticks.filter(within).collect()
    };
    let all = rungs(&[1.0, 2.0, 5.0]);
    if all.len() > LOG_TICKS_MAX { rungs(&[1.0]) } else { all }
}

/// One axis: its scale, and how a tick reads.
#[derive(Debug)]
pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) scale: Scale,
    pub(super) label: fn(f64) -> String,
}

/// A plot in the making.
#[derive(Debug)]
pub(super) struct Plot {
    x: Axis,
    y: Axis,
    marks: String,
}

impl Plot {
    pub(super) fn new(x: Axis, y: Axis) -> Self {
        Self { x, y, marks: String::new() }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.scale.place(value) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.scale.place(value) * (HEIGHT - TOP - BOTTOM)
    }

    /// A line through the points, broken where one is no number.
    pub(super) fn line(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>) {
        let mut path = String::new();
        let mut pen = 'M';
        for (x, y) in points {
            if !y.is_finite() {
                pen = 'M';
                continue;
            }
            // Writing into a string has no way to fail, here and below.
            let _ = write!(path, "{pen}{:.1} {:.1}", self.x(x), self.y(y));
            pen = 'L';
        }
        let _ = writeln!(self.marks, "<path class=\"line {class}\" d=\"{path}\"/>");
    }

    /// A bar from the axis up, that says `title` when pointed at.
    pub(super) fn bar(&mut self, from: f64, to: f64, value: f64, title: &str) {
        let (left, right, top) = (self.x(from), self.x(to), self.y(value));
        let height = if value > 0.0 { (HEIGHT - BOTTOM - top).max(1.0) } else { 0.0 };
        let _ = writeln!(
            self.marks,
            "<rect class=\"bar first\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\">\
             <title>{}</title></rect>",
            HEIGHT - BOTTOM - height,
            (right - left - 1.0).max(0.5),
            escaped(title)
        );
    }

    /// A point that says `title` when pointed at.
    pub(super) fn dot(&mut self, class: &str, (x, y): (f64, f64), title: &str) {
        let _ = writeln!(
            self.marks,
            "<circle class=\"dot {class}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>{}</title></circle>",
            self.x(x),
            self.y(y),
            escaped(title)
        );
    }

    /// A strip of the whole height that says `title` when pointed at.
    pub(super) fn strip(&mut self, from: f64, to: f64, title: &str) {
        let (left, right) = (self.x(from), self.x(to));
        let _ = writeln!(
            self.marks,
            "<rect class=\"hover\" x=\"{left:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"><title>{}</title></rect>",
            (right - left).max(0.5),
            HEIGHT - TOP - BOTTOM,
            escaped(title)
        );
    }

    /// A line across at `x`, with a word on the side where there is more room.
    pub(super) fn bound(&mut self, x: f64, word: &str) {
        let at = self.x(x);
        let (anchor, beside) =
            if at < WIDTH / 2.0 { ("start", at + 6.0) } else { ("end", at - 6.0) };
        let _ = writeln!(
            self.marks,
            "<path class=\"bound\" d=\"M{at:.1} {TOP}V{}\"/><text x=\"{beside:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            HEIGHT - BOTTOM,
            TOP + 12.0,
            escaped(word)
        );
    }

    /// The whole plot, with what it shows in words.
    pub(super) fn finish(self, what: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n{}{}</svg>\n",
            escaped(what),
            self.axes(),
            self.marks
        )
    }

    fn axes(&self) -> String {
        let across = self.y.scale.ticks().into_iter().map(|tick| {
            let (at, label) = (self.y(tick), (self.y.label)(tick));
            format!(
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n",
                WIDTH - RIGHT,
                LEFT - 8.0,
                at + 4.0
            )
        });
        let along = self.x.scale.ticks().into_iter().map(|tick| {
            let (at, label) = (self.x(tick), (self.x.label)(tick));
            let y = HEIGHT - BOTTOM + 17.0;
            format!("<text x=\"{at:.1}\" y=\"{y}\" text-anchor=\"middle\">{label}</text>\n")
        });
        let names = format!(
            "<text class=\"name\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n",
            WIDTH - RIGHT,
            HEIGHT - 6.0,
            self.x.name
        );
        across.chain(along).chain([names]).collect()
    }
}

/// A line of colours and what they stand for.
pub(super) fn legend(entries: &[(&str, &str)]) -> String {
    let entry = |(class, words): &(&str, &str)| {
        format!("<span class=\"{class}\"><i></i>{}</span>", escaped(words))
    };
    format!("<p class=\"legend\">{}</p>\n", entries.iter().map(entry).collect::<String>())
}

/// Bars beside each other, each of a name, two shares of 1 and words.
pub(super) fn rows(rows: &[(String, [f64; 2], String)], what: &str) -> String {
    const ROW: f64 = 26.0;
    let (left, right) = (170.0, 210.0);
    let room = WIDTH - left - right;
    let row = |(place, (name, shares, words)): (usize, &(String, [f64; 2], String))| {
        let top = place as f64 * ROW;
        let [first, second] = shares.map(|share| share.clamp(0.0, 1.0) * room);
        format!(
            "<text class=\"name\" x=\"0\" y=\"{0}\">{1}</text>\
             <rect class=\"bar first\" x=\"{left}\" y=\"{2}\" width=\"{first:.1}\" height=\"9\"/>\
             <rect class=\"bar second\" x=\"{left}\" y=\"{3}\" width=\"{second:.1}\" height=\"5\"/>\
             <text x=\"{4}\" y=\"{0}\" text-anchor=\"end\">{5}</text>\n",
            top + 15.0,
            escaped(name),
            top + 4.0,
            top + 14.0,
            WIDTH - RIGHT,
            escaped(words)
        )
    };
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
        ROW * rows.len() as f64,
        escaped(what),
        rows.iter().enumerate().map(row).collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_scales_end_on_a_round_tick() {
        let check = |most, ticks: &[f64]| assert_eq!(Scale::up_to(most).ticks(), ticks, "{most}");
        check(7.0, &[0.0, 2.0, 4.0, 6.0, 8.0]);
        check(50_000.0, &[0.0, 20_000.0, 40_000.0, 60_000.0]);
        check(0.0, &[0.0, 0.5]);
        assert_eq!(Scale::between(0.0, 10.0).ticks(), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(Scale::up_to(8.0).place(4.0), 0.5);
    }

    #[test]
    fn log_scales_hold_their_figures_between_rungs() {
        assert_eq!(Scale::log(90.0, 4_000.0), Scale::Log { from: 50.0, to: 5_000.0 });
        assert_eq!(Scale::log(1.0, 1.0), Scale::Log { from: 1.0, to: 2.0 });
        assert_eq!(Scale::log(100.0, 1_000.0).ticks(), [100.0, 200.0, 500.0, 1_000.0]);
        assert_eq!(Scale::log(1.0, 1e6).ticks().len(), 7);
        assert!((Scale::log(1.0, 100.0).place(10.0) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn no_figure_leaves_the_plot_or_is_no_number() {
        for scale in [Scale::up_to(f64::NAN), Scale::log(0.0, 0.0), Scale::between(1.0, 1.0)] {
            for value in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
                assert!((0.0..=1.0).contains(&scale.place(value)), "{scale:?} {value}");
            }
            assert!(scale.ticks().len() <= 21, "{scale:?}");
        }
    }

    #[test]
    fn words_beside_a_line_stay_in_the_plot() {
        let axis = || Axis { name: "", scale: Scale::up_to(1.0), label: |it| it.to_string() };
        for (x, anchor) in [(0.0, "start"), (1.0, "end")] {
            let mut plot = Plot::new(axis(), axis());
            plot.bound(x, "lower bounds");
            assert!(plot.marks.contains(&format!("text-anchor=\"{anchor}\"")), "{}", plot.marks);
        }
    }

    #[test]
    fn a_line_breaks_where_there_is_no_figure() {
        let axis = || Axis { name: "", scale: Scale::up_to(1.0), label: |it| it.to_string() };
        let mut plot = Plot::new(axis(), axis());
        plot.line("first", [(0.0, 0.0), (0.5, 1.0), (0.6, f64::NAN), (1.0, 0.0)]);
        assert_eq!(plot.marks.matches('M').count(), 2);
        assert_eq!(plot.marks.matches('L').count(), 1);
    }
}
