//! What `doctor` reads, and how the texts of `/proc` are parsed. Pure.

use std::fmt;

use serde::{Serialize, Serializer};

use super::advice::Advice;
use crate::ports::Range;

/// Everything that was found. `None` is "not visible here".
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Findings {
    pub(crate) ringshot_version: &'static str,
    pub(crate) kernel: String,
    pub(crate) io_uring: IoUring,
    pub(crate) glommio: HostReading,
    pub(crate) open_files: Option<Limit>,
    pub(crate) locked_memory_bytes: Option<Limit>,
    /// The first and the last local port.
    pub(crate) port_range: Option<Range>,
    pub(crate) somaxconn: Option<u64>,
    pub(crate) tcp_tw_reuse: Option<u64>,
    /// Cores' worth of CPU time, if a control group has a quota.
    pub(crate) cpu_quota: Option<f64>,
    pub(crate) cores: Vec<CoreReading>,
    pub(crate) advice: Vec<Advice>,
}

/// What the engine's probe found by trying.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct IoUring {
    pub(crate) tier: Option<String>,
    /// Why there is none, and the remedy.
    pub(crate) blocked: Option<String>,
    pub(crate) features: Vec<FeatureReading>,
}

/// Whether a host could be started.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HostReading {
    pub(crate) available: bool,
    /// Why not, and the remedy.
    pub(crate) problem: Option<String>,
}

/// One feature of `io_uring`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FeatureReading {
    pub(crate) name: &'static str,
    /// The first kernel that has it.
    pub(crate) since: &'static str,
    pub(crate) available: bool,
    pub(crate) reason: String,
    pub(crate) used_for: &'static str,
}

/// One core that this process may use.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CoreReading {
    pub(crate) core: usize,
    /// Hardware threads of the same physical core, itself included.
    pub(crate) siblings: Option<Vec<usize>>,
    pub(crate) node: Option<usize>,
    pub(crate) governor: Option<String>,
}

/// A soft and a hard limit of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Limit {
    pub(crate) soft: Bound,
    pub(crate) hard: Bound,
}

/// A number, or none at all; ordered so that unlimited is the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bound {
    At(u64),
    Unlimited,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(number) => number.fmt(f),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::At(number) => serializer.serialize_u64(*number),
            Self::Unlimited => serializer.serialize_str("unlimited"),
        }
    }
}

/// The row of `/proc/self/limits` that begins with `name`: `name  soft  hard  unit`.
pub(super) fn limits(text: &str, name: &str) -> Option<Limit> {
    let mut words = text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace();
    Some(Limit { soft: bound(words.next()?)?, hard: bound(words.next()?)? })
}

fn bound(word: &str) -> Option<Bound> {
    match word {
        "unlimited" => Some(Bound::Unlimited),
        number => number.parse().ok().map(Bound::At),
    }
}

/// A file that holds one number and a line end.
pub(super) fn single(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     
Max cpu time              unlimited            unlimited            seconds   
Max open files            1024                 1048576              files     
Max locked memory         8388608              unlimited            bytes     
";

    #[test]
    fn limits_are_found_by_name() {
        let check = |name, expected| assert_eq!(limits(LIMITS, name), expected, "{name}");
        let limit = |soft, hard| Some(Limit { soft, hard });
        check("Max open files", limit(Bound::At(1024), Bound::At(1_048_576)));
        check("Max locked memory", limit(Bound::At(8_388_608), Bound::Unlimited));
        check("Max patience", None);
        assert_eq!(limits("Max open files   many", "Max open files"), None);
        assert_eq!(limits("", "Max open files"), None);
    }

    #[test]
    fn single_numbers() {
        assert_eq!(single("4096\n"), Some(4096));
        assert_eq!(single("yes\n"), None);
    }

    #[test]
    fn unlimited_is_the_most() {
        assert!(Bound::Unlimited > Bound::At(u64::MAX));
        assert_eq!(serde_json::to_string(&Bound::At(7)).unwrap(), "7");
        assert_eq!(serde_json::to_string(&Bound::Unlimited).unwrap(), "\"unlimited\"");
    }
}
