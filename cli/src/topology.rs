//! How cores share hardware, from `/sys/devices/system/cpu`. Reading and parsing are apart.

use std::fs;
use std::path::PathBuf;

use crate::cores::parse_ranges;

/// The cores that run on the same physical core as `core`, itself included; `None` if `/sys` does not say.
pub(crate) fn siblings(core: usize) -> Option<Vec<usize>> {
    let text = fs::read_to_string(directory(core).join("topology/thread_siblings_list")).ok()?;
    parse_ranges(&text).ok()
}

/// The frequency governor of `core`; virtual machines mostly show none.
pub(crate) fn governor(core: usize) -> Option<String> {
    let text = fs::read_to_string(directory(core).join("cpufreq/scaling_governor")).ok()?;
    parse_word(&text)
}

/// The NUMA node that holds `core`.
pub(crate) fn node(core: usize) -> Option<usize> {
    let names = fs::read_dir(directory(core)).ok()?.filter_map(Result::ok);
    names.filter_map(|entry| entry.file_name().into_string().ok()).find_map(|n| parse_node(&n))
}

fn directory(core: usize) -> PathBuf {
    PathBuf::from(format!("/sys/devices/system/cpu/cpu{core}"))
}

/// A file that holds one word and a line end.
fn parse_word(text: &str) -> Option<String> {
    let word = text.trim();
    (!word.is_empty()).then(|| word.to_owned())
}

/// `node1`, the name of a link in a core's directory.
fn parse_node(name: &str) -> Option<usize> {
    name.strip_prefix("node")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_nodes() {
        assert_eq!(parse_word("performance\n").as_deref(), Some("performance"));
        assert_eq!(parse_word("\n"), None);
        assert_eq!(parse_node("node12"), Some(12));
        assert_eq!(parse_node("node"), None);
        assert_eq!(parse_node("topology"), None);
    }

    #[test]
    fn a_core_that_does_not_exist_shows_nothing() {
        assert_eq!((siblings(8191), governor(8191), node(8191)), (None, None, None));
    }
}
