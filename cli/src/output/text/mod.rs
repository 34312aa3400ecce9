//! A run's result for a person, at most 80 columns wide but for the URL. Pure.

mod bars;
#[cfg(test)]
mod tests;

use ringshot::load::{Report, Verdict};

use super::by_name::names;
use super::endings::{self, Ending};
use super::format::count;
use super::headings;
use super::json::RunDocument;
use super::letters::{columns, harmless, printable};
use super::shortened::all_shortened;
use super::tables::{self, Fact, Table};
use crate::thresholds::ThresholdOutcome;

/// Columns.
const WIDTH: usize = 80;
/// The width of a column of figures, where there is room for it.
const FIGURES_MIN: usize = 8;
/// Between two columns.
const GAP: usize = 2;
/// Where the text beside a label begins.
const INDENT: usize = 9;

/// The whole result.
pub(crate) fn render(document: &RunDocument) -> String {
    let report = &document.report;
    let sections = [
        lines(&words(&headings::heading(document))) + &lines(&words(&headings::setting(document))),
        tables::facts(document).iter().map(fact).collect(),
        endings::endings(report).iter().map(ending).collect(),
        optional(tables::percentiles(report)),
        bars(report),
        optional(tables::classes(report)),
        optional(names(report)),
        optional(tables::phases(report)),
        table(&tables::cores(&report.cores)),
        thresholds(&document.thresholds),
        verdict(&report.verdict),
    ];
    let shown: Vec<_> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    printable(&shown.join("\n"))
}

/// Others' words, in which no space but a blank parts two of them.
fn words(text: &str) -> String {
    text.chars().map(harmless).collect()
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

/// A sentence on as many lines as it needs.
pub(crate) fn lines(text: &str) -> String {
    indented(text, 0)
}

/// The same, with so many spaces before each line.
pub(crate) fn indented(text: &str, spaces: usize) -> String {
    let lines = wrapped(text, WIDTH - spaces);
    lines.iter().map(|line| format!("{:spaces$}{line}\n", "")).collect()
}

/// Lines of up to `width` columns; a word that is longer has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if columns(line) + 1 + columns(word) <= width => {
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
    let (rows, widths) = fitted(&head, rows);
    let shown: String =
        std::iter::once(&head).chain(&rows).map(|cells| row(cells, &widths)).collect();
    lines(title) + &shown + &lines(note)
}

/// The rows, and how wide each column is. Where figures take more room than there is, columns are no wider than they need to be, then names are cut.
fn fitted(head: &[String], rows: &[Vec<String>]) -> (Vec<Vec<String>>, Vec<usize>) {
    let widths = |of: &[Vec<String>], figures: usize| -> Vec<usize> {
        let least = |column| if column == 0 { INDENT } else { figures };
        (0..head.len()).map(|column| width(head, of, column).max(least(column))).collect()
    };
    let mut found = widths(rows, FIGURES_MIN);
    if total(&found) > WIDTH {
        found = widths(rows, 0);
    }
    let Some(excess) = total(&found).checked_sub(WIDTH).filter(|excess| *excess > 0) else {
        return (rows.to_vec(), found);
    };
    let names = rows.iter().map(|row| row.first().map_or("", String::as_str)).collect();
    let cut = all_shortened(names, found[0].saturating_sub(excess).max(INDENT));
    let named = |(name, row): (String, &Vec<String>)| {
        std::iter::once(name).chain(row.iter().skip(1).cloned()).collect()
    };
    let rows: Vec<_> = cut.into_iter().zip(rows).map(named).collect();
    let found = widths(&rows, 0);
    (rows, found)
}

/// Columns of a row.
fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

/// The longest cell of a column.
fn width(head: &[String], rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column)).chain(head.get(column));
    cells.map(|cell| columns(cell)).max().unwrap_or(0)
}

/// What a cell leaves of its column.
fn room(cell: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(columns(cell)))
}

fn row(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
        0 => format!("{cell}{}", room(cell, *width)),
        _ => format!("{:GAP$}{}{cell}", "", room(cell, *width)),
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
