//! Responses counted by status class. Plain data.

use serde::{Deserialize, Serialize};

/// Completed requests by status class.
///
/// ```
/// use ringshot::load::StatusCounts;
///
/// let status = StatusCounts { success: 90, redirect: 5, server_error: 4, ..StatusCounts::default() };
/// assert_eq!((status.successes(), status.refusals()), (95, 4));
/// assert!(status.by_class().contains(&("5xx", 4)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusCounts {
    /// 200 to 299.
    #[serde(rename = "2xx")]
    pub success: u64,
    /// 300 to 399.
    #[serde(rename = "3xx")]
    pub redirect: u64,
    /// 400 to 499.
    #[serde(rename = "4xx")]
    pub client_error: u64,
    /// 500 to 599.
    #[serde(rename = "5xx")]
    pub server_error: u64,
    /// Everything else that is well-formed: 100 to 199 as final status, 600 to 999.
    pub other: u64,
}

impl StatusCounts {
    /// Responses that say that the server did what was asked, or where it is to be had: 2xx and 3xx.
    #[must_use]
    pub const fn successes(&self) -> u64 {
        self.success.saturating_add(self.redirect)
    }

    /// All other responses.
    #[must_use]
    pub const fn refusals(&self) -> u64 {
        self.client_error.saturating_add(self.server_error).saturating_add(self.other)
    }

    /// Both together; counts that no number holds stay at the largest there is.
    #[must_use]
    pub(super) const fn plus(&self, other: Self) -> Self {
        Self {
            success: self.success.saturating_add(other.success),
            redirect: self.redirect.saturating_add(other.redirect),
            client_error: self.client_error.saturating_add(other.client_error),
            server_error: self.server_error.saturating_add(other.server_error),
            other: self.other.saturating_add(other.other),
        }
    }

    /// Each class as reports name it, with its count.
    #[must_use]
    pub const fn by_class(&self) -> [(&'static str, u64); 5] {
        [
            ("2xx", self.success),
            ("3xx", self.redirect),
            ("4xx", self.client_error),
            ("5xx", self.server_error),
            ("other", self.other),
        ]
    }
}
