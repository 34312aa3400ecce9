//! A run's result for a person, at most 80 columns wide but for the URL. Pure.

mod bars;
#[cfg(test)]
mod tests;

use ringshot::load::{Report, Verdict};

use super::endings::{self, Ending};
use super::format::count;
use super::headings;
use super::json::RunDocument;
use super::shortened::{columns, harmless};
use super::tables::{self, Fact, Table};
use crate::thresholds::ThresholdOutcome;

/// Columns.
const WIDTH: usize = 80;
/// Where the text beside a label begins.
const INDENT: usize = 9;

/// The whole result.
pub(crate) fn render(document: &RunDocument) -> String {
    let report = &document.report;
    let sections = [
        format!("{}\n{}\n", headings::heading(document), headings::setting(document)),
        tables::facts(document).iter().map(fact).collect(),
        endings::endings(report).iter().map(ending).collect(),
        optional(tables::percentiles(report)),
        bars(report),
        optional(tables::classes(report)),
        optional(tables::names(report)),
        optional(tables::phases(report)),
        table(&tables::cores(&report.cores)),
        thresholds(&document.thresholds),
        verdict(&report.verdict),
    ];
    let shown: Vec<_> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    printable(&shown.join("\n"))
}

/// Without what a server's words could do to a terminal.
fn printable(text: &str) -> String {
    let shown = |letter: char| if letter == '\n' { letter } else { harmless(letter) };
    text.chars().map(shown).collect()
}

fn fact((label, text): &Fact) -> String {
    labelled(label, text)
}

/// The label, and the text beside it on as many lines as it needs.
fn labelled(label: &str, text: &str) -> String {
    let lines = wrapped(text, WIDTH - INDENT);
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    lines.iter().zip(labels).map(|(line, label)| format!("{label:<INDENT$}{line}\n")).collect()
}

/// Lines of up to `width` letters; a word that is longer has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn ending(ending: &Ending) -> String {
    let Ending { cause, requests, example } = ending;
    let first = if example.is_empty() { String::new() } else { format!(", first: {example}") };
    labelled("Ended by", &format!("{cause} {}{first}", count(*requests)))
}

/// Below the percentiles, so only where there are any.
fn bars(report: &Report) -> String {
    match report.status.success {
        0 => String::new(),
        _ => bars::render(&report.histograms.success_response_time()),
    }
}

fn optional(table: Option<Table>) -> String {
    table.as_ref().map(self::table).unwrap_or_default()
}

fn table(table: &Table) -> String {
    let Table { title, head, rows, note } = table;
    let head: Vec<String> = head.iter().map(|&word| word.to_owned()).collect();
    let widths: Vec<usize> = (0..head.len()).map(|column| width(&head, rows, column)).collect();
    let lines = std::iter::once(&head).chain(rows).map(|cells| row(cells, &widths));
    let note = if note.is_empty() { String::new() } else { format!("{note}\n") };
    format!("{title}\n{}{note}", lines.collect::<String>())
}

/// The longest cell of a column; the first is as wide as the labels above it at least.
fn width(head: &[String], rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column)).chain(head.get(column));
    let least = if column == 0 { INDENT } else { 8 };
    cells.map(|cell| columns(cell)).max().unwrap_or(0).max(least)
}

/// What a cell leaves of its column.
fn room(cell: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(columns(cell)))
}

fn row(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
        0 => format!("{cell}{}", room(cell, *width)),
        _ => format!("  {}{cell}", room(cell, *width)),
    });
    format!("{}\n", padded.collect::<String>().trim_end())
}

fn thresholds(thresholds: &[ThresholdOutcome]) -> String {
    let line = |it: &ThresholdOutcome| {
        let word = if it.passed { "kept" } else { "FAILED" };
        labelled(word, &it.in_words())
    };
    let lines: String = thresholds.iter().map(line).collect();
    if lines.is_empty() { lines } else { format!("Thresholds\n{lines}") }
}

/// What limited the run, last, where eyes come to rest.
fn verdict(verdict: &Verdict) -> String {
    let invalid = if verdict.valid { "" } else { "NOT VALID: " };
    let evidence = verdict.evidence.iter().map(|line| labelled("", &format!("- {line}")));
    let summary = labelled("Verdict", &format!("{invalid}{}", verdict.summary));
    std::iter::once(summary).chain(evidence).collect()
}
