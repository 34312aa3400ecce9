//! Why a name has no address for us: each kind with its name, whose fault it is, and the next step.

use std::sync::Arc;

use super::Families;

/// Why a name could not be resolved. Cheap to clone: everybody who waited for the name gets one.
///
/// ```
/// use ringshot::clock::Instant;
/// use ringshot::resolve::Resolver;
///
/// let error = Resolver::new().resolve("not a name", 80, Instant::now()).wait().unwrap_err();
/// assert_eq!(error.name(), "not a name");
/// assert!(!error.is_temporary());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// There is no such name (NXDOMAIN).
    #[error(
        "there is no host {name:?}: neither hosts(5) nor the name servers know it. Check the spelling in the URL"
    )]
    NotFound {
        /// The name.
        name: Arc<str>,
    },
    /// The name exists, but has no address of the families that may be used.
    #[error(
        "the host {name:?} has no address to use ({families}). Check its A and AAAA records, and the families allowed"
    )]
    NoAddress {
        /// The name.
        name: Arc<str>,
        /// Which were allowed.
        families: Families,
    },
    /// The name servers failed, refused or did not answer in time.
    #[error(
        "the name servers gave no answer for {name:?}: {reason}. Try again, and check the servers in resolv.conf(5)"
    )]
    TryAgain {
        /// The name.
        name: Arc<str>,
        /// What was reported.
        reason: Arc<str>,
    },
    /// As many names as are allowed wait for a lookup already.
    #[error(
        "the host {name:?} was not looked up: {queued} names wait already, which is the limit. Ask for fewer new names at a time, or give the resolver more threads"
    )]
    Busy {
        /// The name.
        name: Arc<str>,
        /// How many names wait.
        queued: usize,
    },
    /// What was given can't be the name of a host, or not on this machine.
    #[error("{name:?} can't be a host: {reason}. Correct the URL")]
    Invalid {
        /// What was given, cut to [`HOST_BYTES_MAX`](super::HOST_BYTES_MAX) bytes.
        name: Arc<str>,
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// The resolver itself failed.
    #[error("the resolver failed on {name:?}: {reason}. Check the resolver, not the name")]
    Other {
        /// The name.
        name: Arc<str>,
        /// What was reported.
        reason: Arc<str>,
    },
}

impl ResolveError {
    /// The name that was asked for.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::NotFound { name }
            | Self::NoAddress { name, .. }
            | Self::TryAgain { name, .. }
            | Self::Busy { name, .. }
            | Self::Invalid { name, .. }
            | Self::Other { name, .. } => name,
        }
    }

    /// Whether the same name may well be found a moment later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::TryAgain { .. } | Self::Busy { .. })
    }

    /// Whether this is an answer of the DNS, which holds for a while (RFC 2308), and not a failure to get one.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoAddress { .. })
    }
}
