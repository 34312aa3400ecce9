//! Names that do not fit their column, cut where they still differ. Pure.

use std::collections::BTreeSet;

use super::letters::{columns, harmless};

/// Columns of the widest name of a request or core that is shown whole.
pub(super) const NAME_MAX: usize = 18;

/// Cut at its end.
pub(super) fn shortened(name: &str) -> String {
    cut(name, NAME_MAX - 1, NAME_MAX)
}

/// Keeps so many columns of the beginning, and as many of the end as there is room for in `most`.
fn cut(name: &str, head: usize, most: usize) -> String {
    let name: String = name.chars().map(harmless).collect();
    if columns(&name) <= most {
        return name;
    }
    let tail = most - 1 - head;
    let starts = || name.char_indices().map(|(at, _)| at).chain([name.len()]);
    let end = starts().rfind(|at| columns(&name[..*at]) <= head).unwrap_or(0);
    let start = starts().find(|at| columns(&name[*at..]) <= tail).unwrap_or(name.len());
    format!("{}…{}", &name[..end], &name[start..])
}

/// Cuts all names to so many columns, at least two, where they still differ: URLs of one server do at their ends.
pub(super) fn all_shortened(names: Vec<&str>, most: usize) -> Vec<String> {
    // Those that were cut at their beginning before differ at their ends.
    let cuts = match names.iter().any(|name| name.starts_with('…')) {
        true => [0, most - 1, most / 2],
        false => [most - 1, 0, most / 2],
    };
    let differing = |shown: &[String]| shown.iter().collect::<BTreeSet<_>>().len();
    let all_cut =
        cuts.map(|head| names.iter().map(|name| cut(name, head, most)).collect::<Vec<_>>());
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
        assert_eq!(columns(&cut("検索検索検索検索検索検索", 0, NAME_MAX)), NAME_MAX - 1);
        assert_eq!(shortened("a\u{202e}b\u{2066}\n"), "a\u{fffd}b\u{fffd}\u{fffd}");
        assert_eq!(shortened(&"é".repeat(40)).chars().count(), NAME_MAX);
        let names = vec!["http://127.0.0.1:8080/a", "http://127.0.0.1:8080/b", "short"];
        assert_eq!(
            all_shortened(names, NAME_MAX),
            ["…/127.0.0.1:8080/a", "…/127.0.0.1:8080/b", "short"]
        );
        let again = vec!["….0.0.1:18080/hang", "…27.0.0.1:18080/ok"];
        assert_eq!(all_shortened(again, 16), ["….0.1:18080/hang", "….0.0.1:18080/ok"]);
        let names = vec!["POST /a/very/long/path/1", "POST /a/very/long/path/2", "x"];
        assert_eq!(all_shortened(names, NAME_MAX).len(), 3);
        let names = vec!["the first of two long names", "a second of two long names"];
        assert_eq!(all_shortened(names, NAME_MAX)[0], "the first of two …");
        let names = vec![
            "http://one.example/long/x",
            "http://one.example/long/y",
            "http://two.example/long/x",
        ];
        assert_eq!(all_shortened(names, NAME_MAX)[2], "…wo.example/long/x");
    }
}
