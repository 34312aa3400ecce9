//! Results as JSON, documented in `docs/json.md` with a schema each; the tests hold the two together.

use ringshot::load::{Comparison, Report};
use serde::{Deserialize, Serialize};

use super::letters::escaped_json;
use crate::placement::Placement;
use crate::thresholds::ThresholdOutcome;

/// `run -o json`: the report with what was asked for. `report` reads it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunDocument {
    pub(crate) ringshot_version: String,
    #[serde(default = "get")]
    pub(crate) method: String,
    pub(crate) url: String,
    pub(crate) connections: u32,
    pub(crate) pipeline: u32,
    /// How long the host's name took to be looked up, in microseconds.
    #[serde(default)]
    pub(crate) resolve_us: f64,
    /// The results that were merged, by name; empty for a run's own.
    #[serde(default)]
    pub(crate) machines: Vec<String>,
    #[serde(flatten)]
    pub(crate) report: Report,
    #[serde(default)]
    pub(crate) thresholds: Vec<ThresholdOutcome>,
}

/// The method of results that don't say it.
fn get() -> String {
    "GET".to_owned()
}

/// `compare -o json`: the comparison with what was asked for and where it ran.
#[derive(Debug, Serialize)]
pub(crate) struct CompareDocument<'a> {
    /// Version of this layout; it changes when a key changes its meaning or goes.
    pub(crate) schema_version: u32,
    pub(crate) ringshot_version: &'a str,
    /// Where the requests of the first side went; null for saved results.
    pub(crate) url: Option<&'a str>,
    /// The URL, both URLs if they differ, or both files.
    pub(crate) sources: &'a [&'a str],
    /// Null for saved results, as is the placement.
    pub(crate) settings: Option<&'a Settings>,
    pub(crate) placement: Option<&'a Placement>,
    /// What each saved result was asked for, in words; empty where none was saved.
    #[serde(skip)]
    pub(crate) asked_for: &'a [String],
    /// Rounds that both sides completed.
    pub(crate) rounds_completed: usize,
    /// Whether Ctrl-C cut it short.
    pub(crate) interrupted: bool,
    /// Of each contestant, in their order.
    pub(crate) unmeasured: &'a [Unmeasured],
    #[serde(flatten)]
    pub(crate) comparison: &'a Comparison,
}

/// Requests that are in no other count: those of warm-ups, and of runs that are none of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct Unmeasured {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) cancelled: u64,
}

impl Unmeasured {
    /// Adds the warm-up of a run that counts.
    pub(crate) fn add_warm_up(&mut self, report: &Report) {
        self.requests = self.requests.saturating_add(report.warm_up.requests);
        self.errors = self.errors.saturating_add(report.warm_up.errors);
    }

    /// Adds a run that does not.
    pub(crate) fn add_all(&mut self, report: &Report) {
        self.add_warm_up(report);
        self.requests = self.requests.saturating_add(report.requests);
        self.errors = self.errors.saturating_add(report.errors);
        self.cancelled = self.cancelled.saturating_add(report.cancelled);
    }

    /// However they ended.
    pub(crate) fn total(&self) -> u64 {
        self.requests.saturating_add(self.errors).saturating_add(self.cancelled)
    }
}

/// What a comparison was asked for.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Settings {
    pub(crate) method: String,
    pub(crate) connections: u32,
    pub(crate) pipeline: u32,
    pub(crate) keep_alive: bool,
    pub(crate) rounds: u32,
    /// Measured time of one side in a round.
    pub(crate) round_seconds: f64,
    /// Unmeasured start of each run, while its connections are opened and warm up.
    pub(crate) round_warm_up_seconds: f64,
    /// Unmeasured run of each side before the first round.
    pub(crate) warm_up_seconds: f64,
    /// Body length of the origin that was started; null when a URL was given.
    pub(crate) body_bytes: Option<u64>,
    /// Seed of the bootstrap.
    pub(crate) seed: u64,
}

/// `run -o json`.
pub(crate) fn run(document: &RunDocument) -> String {
    to_text(document)
}

/// `compare -o json`.
pub(crate) fn compare(document: &CompareDocument<'_>) -> String {
    to_text(document)
}

/// Indented, with a line end. Numbers that JSON has not (NaN, infinities) become null.
pub(crate) fn to_text(document: &impl Serialize) -> String {
    // Serialising plain structs with string keys into memory has no way to fail.
    let mut text = escaped_json(&serde_json::to_string_pretty(document).unwrap_or_default());
    text.push('\n');
    text
}

#[cfg(test)]
#[path = "schema_tests.rs"]
pub(crate) mod tests;
