//! A result as one HTML page with its plots drawn in it: no script, nothing fetched. Whatever a server or a user wrote is escaped. Pure.

mod charts;
mod svg;
#[cfg(test)]
mod tests;

use ringshot::load::{Limit, Report, Verdict};

use super::by_name::names;
use super::endings::{self, Ending};
use super::format::{at_least, count, percent, rate};
use super::headings;
use super::json::RunDocument;
use super::letters::printable;
use super::tables::{self, Table};
use crate::thresholds::{ThresholdOutcome, exact_below};

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(super) fn render(document: &RunDocument) -> String {
    let heading = escaped(&headings::heading(document));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>ringshot: {heading}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         {}{}<footer>ringshot {}</footer>\n</main>\n</body>\n</html>\n",
        top(document),
        sections(document),
        escaped(&document.ringshot_version)
    )
}

/// What most readers come for.
fn top(document: &RunDocument) -> String {
    format!(
        "<header>\n<h1>{}</h1>\n<p class=\"setting\">{}</p>\n</header>\n{}{}{}",
        escaped(&headings::heading(document)),
        escaped(&headings::setting(document)),
        verdict(&document.report.verdict),
        cards(document),
        thresholds(&document.thresholds)
    )
}

fn sections(document: &RunDocument) -> String {
    let report = &document.report;
    let parts = [
        ("Over time", charts::timeline(report)),
        ("Latency by percentile", charts::percentiles(report)),
        (distribution_heading(report), charts::distribution(report)),
        ("Percentiles", optional(tables::percentiles(report))),
        ("Errors", endings(&endings::endings(report))),
        ("By outcome", optional(tables::classes(report))),
        ("By name", optional(names(report))),
        ("Phases", optional(tables::phases(report))),
        ("Cores", charts::cores(report) + &table(&tables::cores(&report.cores))),
        ("Figures", figures(document)),
    ];
    let shown = parts.iter().filter(|(_, body)| !body.is_empty());
    shown.map(|(title, body)| format!("<section>\n<h2>{title}</h2>\n{body}</section>\n")).collect()
}

/// What is drawn below it.
fn distribution_heading(report: &Report) -> &'static str {
    match report.censored {
        0 => "Latency distribution of successful requests (2xx)",
        _ => "Latency distribution of successful (2xx) and censored requests",
    }
}

/// Text that stays text between tags and in quoted attributes, without what HTML allows in no place (control letters) or what turns the words behind it.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in printable(text).chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

fn verdict(verdict: &Verdict) -> String {
    let class = if verdict.valid { "verdict" } else { "verdict bad" };
    let invalid = if verdict.valid { "" } else { "Not valid. " };
    let items = verdict.evidence.iter().map(|line| format!("<li>{}</li>\n", escaped(line)));
    let items: String = items.collect();
    let evidence = if items.is_empty() { items } else { format!("<ul>\n{items}</ul>\n") };
    format!(
        "<div class=\"{class}\">\n<p><span>Limit: {}</span> {invalid}{}</p>\n{evidence}</div>\n",
        limit(verdict.limit),
        escaped(&verdict.summary)
    )
}

fn limit(limit: Limit) -> &'static str {
    match limit {
        Limit::Client => "the client",
        Limit::Server => "the server",
        Limit::Network => "the network",
        Limit::None => "none",
        Limit::Unknown => "not known",
    }
}

fn cards(document: &RunDocument) -> String {
    let report = &document.report;
    let busiest = report.cores.iter().map(|core| core.busy).fold(0.0, f64::max);
    let cards = [
        Some(("requests a second", rate(report.requests_per_second))),
        latency(report, "p50 of 2xx", 0.5, report.latency_us.p50),
        latency(report, "p99 of 2xx", 0.99, report.latency_us.p99),
        // The table leaves it out too where it rests on no sample.
        latency(report, "p99.9 of 2xx", 0.999, report.latency_us.p99_9)
            .filter(|_| report.latency_us.p99_9_samples > 0),
        Some(("errors", count(report.errors))),
        Some(("busiest core", percent(busiest))),
    ];
    let card = |(label, value): &(&str, String)| {
        format!("<div><b>{value}</b><span>{label}</span></div>\n")
    };
    let cards: String = cards.iter().flatten().map(card).collect();
    format!("<div class=\"cards\">\n{cards}</div>\n")
}

/// A percentile of the headline, with a sign where it is a lower bound.
fn latency(
    report: &Report,
    label: &'static str,
    share: f64,
    micros: f64,
) -> Option<(&'static str, String)> {
    let shown = match report.status.success {
        0 => "-".to_owned(),
        _ => at_least(share > exact_below(report), micros),
    };
    Some((label, shown))
}

fn thresholds(thresholds: &[ThresholdOutcome]) -> String {
    let item = |it: &ThresholdOutcome| {
        let (class, word) = if it.passed { ("kept", "kept") } else { ("failed", "failed") };
        format!("<li class=\"{class}\"><b>{word}</b> {}</li>\n", escaped(&it.in_words()))
    };
    let items: String = thresholds.iter().map(item).collect();
    if items.is_empty() { items } else { format!("<ul class=\"thresholds\">\n{items}</ul>\n") }
}

fn optional(table: Option<Table>) -> String {
    table.as_ref().map(self::table).unwrap_or_default()
}

fn table(table: &Table) -> String {
    let cells = |tag: &str, cells: &mut dyn Iterator<Item = &str>| {
        let cells: String = cells.map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let head = cells("th", &mut table.head.iter().copied());
    let rows = table.rows.iter().map(|row| cells("td", &mut row.iter().map(String::as_str)));
    let note = match table.note.is_empty() {
        true => String::new(),
        false => format!("<p class=\"note\">{}</p>\n", escaped(&table.note)),
    };
    format!(
        "<div class=\"wide\"><table>\n<thead>\n{head}</thead>\n<tbody>\n{}</tbody>\n</table></div>\n{note}",
        rows.collect::<String>()
    )
}

fn endings(endings: &[Ending]) -> String {
    let row = |it: &Ending| vec![it.cause.clone(), count(it.requests), it.example.clone()];
    if endings.is_empty() {
        return String::new();
    }
    let head = vec!["ended by", "requests", "first example"];
    let rows = endings.iter().map(row).collect();
    let shown = table(&Table { head, rows, ..Table::default() });
    shown.replacen("<table>", "<table class=\"words\">", 1)
}

fn figures(document: &RunDocument) -> String {
    let facts = tables::facts(document);
    let lines =
        facts.iter().map(|(label, text)| format!("<dt>{label}</dt><dd>{}</dd>\n", escaped(text)));
    format!("<dl>\n{}</dl>\n", lines.collect::<String>())
}
