//! Percentiles in the text format of HdrHistogram, which its plotter reads (`.hgrm`): values in milliseconds. Pure.

use std::fmt::Write;

use ringshot::load::Histogram;

/// Lines for each halving of what is left above, as HdrHistogram's own tools print.
const TICKS: u32 = 5;

/// The percentiles of all times, those of an empty histogram being none.
pub(super) fn render(times: &Histogram) -> String {
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut seen = 0;
    for step in times.as_hdr().iter_quantiles(TICKS) {
        seen += step.count_since_last_iteration();
        let quantile = step.quantile_iterated_to();
        let odds = match quantile < 1.0 {
            true => format!(" {:14.2}", 1.0 / (1.0 - quantile)),
            false => String::new(),
        };
        let value = millis(step.value_iterated_to() as f64);
        // Writing into a string has no way to fail.
        let _ = writeln!(text, "{value:12.3} {quantile:2.12} {seen:10}{odds}");
    }
    text + &totals(times)
}

fn totals(times: &Histogram) -> String {
    let hdr = times.as_hdr();
    let (mean, stdev, max) = match times.is_empty() {
        true => (0.0, 0.0, 0.0),
        false => (hdr.mean(), hdr.stdev(), hdr.max() as f64),
    };
    // Three digits need 2,048 buckets at each doubling.
    format!(
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]\n\
         #[Max     = {:12.3}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]\n",
        millis(mean),
        millis(stdev),
        millis(max),
        times.len(),
        hdr.buckets(),
        2_048
    )
}

fn millis(nanos: f64) -> f64 {
    nanos / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_times_read_so() {
        let mut times = Histogram::new();
        (1..=10).for_each(|millis| times.record(millis * 1_000_000));
        let text = render(&times);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(
            (lines[1], lines[2]),
            ("", "       1.000 0.000000000000          1           1.00")
        );
        assert!(lines.contains(&"       5.001 0.500000000000          5           2.00"), "{text}");
        assert!(lines.contains(&"      10.002 1.000000000000         10"), "{text}");
        assert!(
            text.contains("#[Mean    =        5.50")
                && text.contains("Total count    =           10]")
        );
    }

    #[test]
    fn nothing_has_no_percentiles() {
        let text = render(&Histogram::new());
        assert!(text.contains("#[Mean    =        0.000") && !text.contains("NaN"), "{text}");
    }
}
