//! What limited a run, from what its cores and sockets showed. Pure: figures in, words out.

use serde::{Deserialize, Serialize};

use super::report::Report;

/// What limited a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// This program, or the cores that it was given: the figures say little of the server.
    Client,
    /// The server.
    Server,
    /// What lies between.
    Network,
    /// Nothing: the rate that was asked for was reached.
    None,
    /// The figures don't tell.
    Unknown,
}

/// What limited a run, in words and with the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What it was.
    pub limit: Limit,
    /// Whether the figures can be taken for the server's: the client kept up with what was asked of it.
    pub valid: bool,
    /// One sentence.
    pub summary: String,
    /// What it rests on, a figure each.
    pub evidence: Vec<String>,
}

impl Default for Verdict {
    fn default() -> Self {
        Self::unknown()
    }
}

impl Verdict {
    /// Before anything is known.
    pub(super) fn unknown() -> Self {
        let summary = "Nothing is known of what limited this run.".to_owned();
        Self { limit: Limit::Unknown, valid: true, summary, evidence: Vec::new() }
    }

    /// What limited the run of a report, whose own verdict is not looked at.
    #[must_use]
    pub fn of(_report: &Report) -> Self {
        Self::unknown()
    }
}
