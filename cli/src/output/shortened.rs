//! Names that do not fit their column, cut where they still differ; and what a terminal makes of letters.

use std::collections::BTreeSet;

use ratatui::text::Span;

/// Columns of the widest name of a request or core that is shown whole.
const NAME_MAX: usize = 18;

/// Cut at its end.
pub(super) fn shortened(name: &str) -> String {
    cut(name, NAME_MAX - 1)
}

/// How many columns a terminal gives it: two to a letter of Chinese, none to an accent that stands alone.
pub(super) fn columns(text: &str) -> usize {
    Span::raw(text).width()
}

/// What is shown of a letter: none that moves the cursor, or turns the direction of what follows (Unicode UAX 9).
pub(super) fn harmless(letter: char) -> char {
    let turns = matches!(
        letter,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    if turns || letter.is_control() { '\u{fffd}' } else { letter }
}

/// Keeps so many columns of the beginning, and as many of the end as there is room for.
fn cut(name: &str, head: usize) -> String {
    let name: String = name.chars().map(harmless).collect();
    if columns(&name) <= NAME_MAX {
        return name;
    }
    let tail = NAME_MAX - 1 - head;
    let starts = || name.char_indices().map(|(at, _)| at).chain([name.len()]);
    let end = starts().rfind(|at| columns(&name[..*at]) <= head).unwrap_or(0);
    let start = starts().find(|at| columns(&name[*at..]) <= tail).unwrap_or(name.len());
    format!("{}…{}", &name[..end], &name[start..])
}

/// Cuts all names where they still differ: URLs of one server do at their ends.
pub(super) fn all_shortened(names: Vec<&str>) -> Vec<String> {
    let cuts = [NAME_MAX - 1, 0, NAME_MAX / 2];
    let differing = |shown: &[String]| shown.iter().collect::<BTreeSet<_>>().len();
    let all_cut = cuts.map(|head| names.iter().map(|name| cut(name, head)).collect::<Vec<_>>());
    // Of equals the first.
    let best = all_cut.into_iter().rev().max_by_key(|shown| differing(shown));
    best.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shortened("short"), "short");
        assert_eq!(shortened("検索検索検索検索検索検索"), "検索検索検索検索…");
        assert_eq!(columns(&cut("検索検索検索検索検索検索", 0)), NAME_MAX - 1);
        assert_eq!(shortened("a\u{202e}b\u{2066}\n"), "a\u{fffd}b\u{fffd}\u{fffd}");
        assert_eq!(shortened(&"é".repeat(40)).chars().count(), NAME_MAX);
        let names = vec!["http://127.0.0.1:8080/a", "http://127.0.0.1:8080/b", "short"];
        assert_eq!(all_shortened(names), ["…/127.0.0.1:8080/a", "…/127.0.0.1:8080/b", "short"]);
        let names = vec!["POST /a/very/long/path/1", "POST /a/very/long/path/2", "x"];
        assert_eq!(all_shortened(names).len(), 3);
        let names = vec!["the first of two long names", "a second of two long names"];
        assert_eq!(all_shortened(names)[0], "the first of two …");
        let names = vec![
            "http://one.example/long/x",
            "http://one.example/long/y",
            "http://two.example/long/x",
        ];
        assert_eq!(all_shortened(names)[2], "…wo.example/long/x");
    }
}
