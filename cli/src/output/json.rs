//! Results as JSON, documented in `docs/json.md` with a schema each; the tests hold the two together.

use ringshot::load::{Comparison, Report};
use serde::Serialize;

use crate::placement::Placement;

/// `run -o json`: the report with what was asked for.
#[derive(Debug, Serialize)]
pub(crate) struct RunDocument<'a> {
    pub(crate) ringshot_version: &'a str,
    pub(crate) url: &'a str,
    pub(crate) connections: u32,
    pub(crate) pipeline: u32,
    #[serde(flatten)]
    pub(crate) report: &'a Report,
}

/// `compare -o json`: the comparison with what was asked for and where it ran.
#[derive(Debug, Serialize)]
pub(crate) struct CompareDocument<'a> {
    /// Version of this layout; it changes when a key changes its meaning or goes.
    pub(crate) schema_version: u32,
    pub(crate) ringshot_version: &'a str,
    pub(crate) url: &'a str,
    pub(crate) settings: &'a Settings,
    pub(crate) placement: &'a Placement,
    /// Rounds that both sides completed.
    pub(crate) rounds_completed: usize,
    /// Whether Ctrl-C cut it short.
    pub(crate) interrupted: bool,
    #[serde(flatten)]
    pub(crate) comparison: &'a Comparison,
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
pub(crate) fn run(document: &RunDocument<'_>) -> String {
    to_text(document)
}

/// `compare -o json`.
pub(crate) fn compare(document: &CompareDocument<'_>) -> String {
    to_text(document)
}

/// Indented, with a line end. Numbers that JSON has not (NaN, infinities) become null.
pub(crate) fn to_text(document: &impl Serialize) -> String {
    // Serialising plain structs with string keys into memory has no way to fail.
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
#[path = "schema_tests.rs"]
pub(crate) mod tests;
