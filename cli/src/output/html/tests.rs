//! The page as a whole: what is in it, that it is whole, and that nobody else's words become markup.

use super::*;
use crate::output::format::microseconds;
use crate::output::sample;

/// Every tag of the page, in order, without attributes.
fn tags(page: &str) -> Vec<&str> {
    let inner = page.split('<').skip(1).filter_map(|part| part.split('>').next());
    inner.map(|tag| tag.split(' ').next().unwrap_or(tag).trim_end_matches('/')).collect()
}

/// What opens also closes, in order.
fn check_balanced(page: &str) {
    let alone = ["!doctype", "meta", "path"];
    let mut open = Vec::new();
    let selfclosing = page.replace("/>", ">");
    let rects: Vec<&str> = page.split('<').filter(|part| part.starts_with("rect")).collect();
    assert!(!selfclosing.is_empty());
    for tag in tags(page) {
        match tag.strip_prefix('/') {
            Some("rect") | Some("circle") => {}
            Some(closed) => assert_eq!(open.pop(), Some(closed)),
            None if alone.contains(&tag) || tag == "rect" || tag == "circle" => {}
            None => open.push(tag),
        }
    }
    assert_eq!((open, rects.is_empty()), (Vec::<&str>::new(), false));
}

/// Headings, plots and the heads of tables, a line each.
fn outline(page: &str) -> String {
    let mut lines = String::new();
    for line in page.lines() {
        let heading = line.strip_prefix("<h").and_then(|rest| rest.split(['<', '>']).nth(1));
        let plot = line.split("aria-label=\"").nth(1).and_then(|rest| rest.split('"').next());
        let head = line.starts_with("<tr><th>").then(|| {
            let cells = line.split("<th>").skip(1).filter_map(|cell| cell.split('<').next());
            cells.collect::<Vec<_>>().join("|")
        });
        if let Some(heading) = heading.filter(|it| !it.is_empty()) {
            lines += &format!("# {heading}\n");
        }
        lines += &plot.map(|it| format!("plot: {it}\n")).unwrap_or_default();
        lines += &head.map(|it| format!("table: {it}\n")).unwrap_or_default();
    }
    lines
}

#[test]
fn the_page_of_an_open_loop_is_built_so() {
    let page = render(&sample::open_loop());
    let expected = "\
# GET http://127.0.0.1:8080/
# Over time
# Requests a second
plot: Requests a second over time
# Response time of successful requests (2xx)
plot: Response time over time: median, 99th percentile and largest
# Latency by percentile
plot: Latency by percentile
# Latency distribution of successful (2xx) and censored requests
plot: How many requests took how long
# Percentiles
table: |response|service|samples beyond|95% interval
# Phases
table: |p50|p90|p99|p99.9|max|samples
# Cores
plot: Requests a second and time on the CPU by core
table: |connections|requests|a second|errors|busy
# Figures
";
    assert_eq!(outline(&page), expected);
    check_balanced(&page);
    for part in ["failed</b> p99 &gt; 5ms", "from here on lower bounds", "≥"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn the_page_fetches_and_runs_nothing() {
    let page = render(&sample::open_loop());
    let without_url = page.replace("http://127.0.0.1:8080/", "");
    for part in ["http", "<script", "<link", "<img", "src=", "url(", "@import", "href"] {
        assert!(!without_url.contains(part), "{part}");
    }
    assert!(!page.contains("NaN") && !page.contains("inf\""));
}

#[test]
fn hostile_words_stay_words() {
    let hostile = "\"'><script>alert(1)</script>&";
    let mut document = sample::open_loop();
    document.url = hostile.to_owned();
    document.method = hostile.to_owned();
    document.machines = vec![hostile.to_owned()];
    document.ringshot_version = hostile.to_owned();
    document.thresholds[0].text = hostile.to_owned();
    let report = &mut document.report;
    report.driver = hostile.to_owned();
    report.arrival = hostile.to_owned();
    report.outcomes.insert(hostile.to_owned(), 1);
    report.error_examples.insert(hostile.to_owned(), hostile.to_owned());
    report.error_causes.insert(format!("{hostile} {hostile}"), 1);
    report.classes.insert(hostile.to_owned(), report.latency_us);
    report.cores[0].machine = hostile.to_owned();
    report.verdict.summary = hostile.to_owned();
    report.verdict.evidence = vec![hostile.to_owned()];
    let page = render(&document);
    assert!(!page.contains("<script") && !page.contains("'>"), "{page}");
    check_balanced(&page);
}

#[test]
fn the_page_names_the_pacing() {
    let mut document = sample::open_loop();
    document.report.slack_us = Some(1_000.0);
    let expected = "<dt>Schedule</dt><dd>constant, 5,000 a second, slack 1.00 ms</dd>";
    assert!(render(&document).contains(expected));
}

#[test]
fn a_page_without_figures_is_whole_too() {
    let mut document = sample::document();
    document.report.timeline.clear();
    check_balanced(&render(&document));
}

#[test]
fn tiles_say_what_the_table_says() {
    let mut document = sample::open_loop();
    let p99 = at_least(true, document.report.latency_us.p99);
    assert!(!render(&document).contains(&format!("<b>{p99}</b>")));
    document.report.exact_below = 0.6;
    let page = render(&document);
    assert!(page.contains(&format!("<b>{p99}</b><span>p99 of 2xx")), "{page}");
    assert!(page.contains("p99.9 of 2xx") && !page.contains("≥-"), "{page}");
    assert!(!page.contains(&format!("<b>≥{}", microseconds(document.report.latency_us.p50))));
    document.report.latency_us.p99_9_samples = 0;
    assert!(!render(&document).contains("p99.9 of 2xx"));
}
