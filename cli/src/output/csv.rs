//! A result as comma-separated values (RFC 4180): `metric,value,unit`, and the time line. Pure.

use ringshot::load::Slot;
use serde_json::Value;

use super::json::RunDocument;
use super::letters::printable;

/// Keys whose figures have files of their own.
const ELSEWHERE: [&str; 4] = ["histograms", "timeline", "histogram", "censored_histogram"];

/// Every figure of the JSON document under its path, such as `latency_us.p99`, but samples and the time line.
pub(super) fn summary(document: &RunDocument) -> String {
    // Plain structs with string keys have no way to fail.
    let value = serde_json::to_value(document).unwrap_or_default();
    let mut text = "metric,value,unit\n".to_owned();
    add(&mut text, "", &value);
    text
}

fn add(text: &mut String, path: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            let shown = fields.iter().filter(|(key, _)| !ELSEWHERE.contains(&key.as_str()));
            shown.for_each(|(key, inner)| add(text, &joined(path, key), inner));
        }
        Value::Array(items) => {
            let numbered = items.iter().enumerate();
            numbered.for_each(|(place, inner)| add(text, &joined(path, &place.to_string()), inner));
        }
        Value::Null => {}
        Value::String(words) => add_row(text, path, words),
        figure => add_row(text, path, &figure.to_string()),
    }
}

fn add_row(text: &mut String, path: &str, value: &str) {
    let cells = [path, value, unit(path)].map(quoted);
    text.push_str(&cells.join(","));
    text.push('\n');
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// By the name, which ends in its unit; what is left is a count, a share, or words.
fn unit(path: &str) -> &'static str {
    let key = path.rsplit('.').find(|part| part.parse::<u32>().is_err()).unwrap_or(path);
    let is_time = key.ends_with("_us") || path.contains("_us.") || path.starts_with("classes.");
    match key {
        "samples" | "saturated" => "",
        counted if counted.ends_with("_samples") => "",
        "bytes_per_second" => "B/s",
        rate if rate.ends_with("_per_second") => "1/s",
        time if time.ends_with("seconds") => "s",
        size if size.contains("bytes") => "B",
        cost if cost.contains("cpu") && cost.contains("_us_") => "us",
        _ if is_time => "us",
        _ => "",
    }
}

/// In quotes where a comma, a quote or a line end asks for it.
fn quoted(cell: &str) -> String {
    let cell = printable(cell);
    match cell.contains(['"', ',', '\n']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}

/// One line a slot.
pub(super) fn timeline(slots: &[Slot]) -> String {
    let line = |slot: &Slot| {
        let Slot { start, seconds, offered, requests, errors, bytes, p50, p99, max, .. } = slot;
        format!("{start},{seconds},{offered},{requests},{errors},{bytes},{p50},{p99},{max}\n")
    };
    let head = "start_seconds,seconds,offered,requests,errors,bytes,p50_us,p99_us,max_us\n";
    std::iter::once(head.to_owned()).chain(slots.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn each_figure_has_its_path_and_its_unit() {
        let mut document = sample::open_loop();
        document.url = "http://h/?a=\"1\",2".to_owned();
        (document.report.sending_seconds, document.report.throttled_seconds) = (9.5, 0.25);
        let text = summary(&document);
        for line in [
            "url,\"http://h/?a=\"\"1\"\",2\",",
            "requests,49987,",
            "requests_per_second,4998.7,1/s",
            "seconds,10.0,s",
            "cpu_us_per_request,2.93,us",
            "sending_seconds,9.5,s",
            "throttled_seconds,0.25,s",
            "latency_us.samples,49990,",
            "resident_bytes_max,9876543,B",
            "cores.0.busy,0.998,",
            "classes.2xx.samples,49987,",
            "verdict.valid,true,",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
        for time in ["latency_us.p99,", "classes.2xx.p99,", "classes.2xx.p99_9_interval.1,"] {
            let line = text.lines().find(|line| line.starts_with(time)).unwrap_or_default();
            assert!(line.ends_with(",us"), "{time}: {text}");
        }
        assert!(!text.contains("hdr_v2") && !text.contains("buckets"));
    }

    #[test]
    fn the_time_line_has_a_line_a_slot() {
        let document = sample::open_loop();
        let text = timeline(&document.report.timeline);
        assert_eq!(text.lines().count(), 11);
        assert!(text.lines().nth(1).unwrap().starts_with("0,1,5000,"), "{text}");
        assert!(text.lines().all(|line| line.split(',').count() == 9));
    }
}
