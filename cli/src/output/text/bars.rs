//! A latency histogram as bars, at most 80 columns wide. Pure.

use ringshot::load::Histogram;

use crate::output::bins::{Bin, bins};
use crate::output::format::{count, microseconds};

/// Most bars.
const BARS_MAX: usize = 18;
/// Letters of the longest bar.
const BAR_WIDTH: usize = 40;
/// A bar's last letter, in eighths.
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// Empty if nothing was recorded.
pub(super) fn render(times: &Histogram) -> String {
    let bins = bins(times, BARS_MAX);
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0);
    let mut seen = 0;
    let lines = bins.iter().map(|bin| {
        seen += bin.count;
        line(bin, most, seen as f64 / times.len() as f64)
    });
    let lines: String = lines.collect();
    if lines.is_empty() {
        return lines;
    }
    format!("{:<9}{:>12}{:>15}\n{lines}", "Up to", "requests", "cumulative")
}

fn line(bin: &Bin, most: u64, share: f64) -> String {
    let bar = bar(bin.count as f64 / most as f64);
    let text = format!(
        "{:<9}{:>12}{:>15}  {bar}",
        microseconds(bin.up_to_us),
        count(bin.count),
        cumulative(share)
    );
    format!("{}\n", text.trim_end())
}

/// Cut to the length of a share of 1; never nothing for something.
fn bar(share: f64) -> String {
    let eighths = (share * (BAR_WIDTH * 8) as f64).round() as usize;
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    let rest = (eighths % 8).checked_sub(1).map(|place| EIGHTHS[place]);
    std::iter::repeat_n(EIGHTHS[7], eighths / 8).chain(rest).collect()
}

/// Cut, not rounded, so that only all is 100%; with more digits where the tail is.
fn cumulative(share: f64) -> String {
    let cut = |digits: f64| (share * 100.0 * digits).floor() / digits;
    match share {
        all if all >= 1.0 => "100%".to_owned(),
        tail if tail >= 0.999 => format!("{:.4}%", cut(1e4)),
        _ => format!("{:.1}%", cut(10.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_every_count() {
        assert_eq!(bar(0.0), "");
        assert_eq!(bar(1e-9), "▏");
        assert_eq!(bar(1.0).chars().count(), BAR_WIDTH);
        assert_eq!(bar(0.0125), "▌");
        assert_eq!(bar(0.03), "█▎");
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        assert_eq!(cumulative(0.0309), "3.0%");
        assert_eq!(cumulative(0.999_999_9), "99.9999%");
        assert_eq!(cumulative(1.0), "100%");
    }

    #[test]
    fn a_histogram_reads_so() {
        let mut times = Histogram::new();
        for (micros, requests) in [(95, 10), (150, 200), (220, 90), (950, 1)] {
            (0..requests).for_each(|_| times.record(micros * 1_000));
        }
        let expected = "\
Up to        requests     cumulative
100 us             10           3.3%  ██
126 us              0           3.3%
158 us            200          69.7%  ████████████████████████████████████████
200 us              0          69.7%
251 us             90          99.6%  ██████████████████
316 us              0          99.6%
398 us              0          99.6%
501 us              0          99.6%
631 us              0          99.6%
794 us              0          99.6%
1.00 ms             1           100%  ▎
";
        assert_eq!(render(&times), expected);
        assert_eq!(render(&Histogram::new()), "");
    }
}
