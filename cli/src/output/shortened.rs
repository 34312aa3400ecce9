//! Names that do not fit their column, cut where they still differ.

use std::collections::BTreeSet;

/// Longest name of a request or core that is shown whole.
const NAME_MAX: usize = 18;

/// Cut at its end.
pub(super) fn shortened(name: &str) -> String {
    cut(name, NAME_MAX - 1)
}

/// Keeps so many characters of the beginning, and as many of the end as there is room for.
fn cut(name: &str, head: usize) -> String {
    let length = name.chars().count();
    if length <= NAME_MAX {
        return name.to_owned();
    }
    let tail = name.chars().skip(length - (NAME_MAX - 1 - head));
    name.chars().take(head).chain(['…']).chain(tail).collect()
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
