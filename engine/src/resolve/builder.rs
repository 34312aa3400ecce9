//! Choices for a resolver, checked when it is built. Asks nobody.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::addresses::Set;
use super::cache::Limits;
use super::host::lower_case;
use super::resolver::{Overrides, Parts};
use super::{Families, Resolve, Resolver, RotateAddresses, System};

/// An answer given beforehand, for tests or for a server that its name does not lead to yet.
///
/// ```
/// use std::net::SocketAddr;
/// use ringshot::resolve::Override;
///
/// // Two addresses, at the port that is asked for.
/// Override::to([[127, 0, 0, 1], [127, 0, 0, 2]]);
/// // Another port.
/// Override::to([[127, 0, 0, 1]]).at_port(8080);
/// // Only for who asks for port 443.
/// Override::from(SocketAddr::from(([127, 0, 0, 1], 8443))).only_for_port(443);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    addresses: Vec<IpAddr>,
    port: Option<u16>,
    only_for: Option<u16>,
}

impl Override {
    /// These addresses, the first to be preferred, at the port that is asked for.
    pub fn to<A: Into<IpAddr>>(addresses: impl IntoIterator<Item = A>) -> Self {
        let addresses = addresses.into_iter().map(Into::into).collect();
        Self { addresses, port: None, only_for: None }
    }

    /// At `port`, whichever is asked for. 0 stands for the one that is.
    #[must_use]
    pub fn at_port(self, port: u16) -> Self {
        Self { port: Some(port), ..self }
    }

    /// Only for who asks for `port`. It goes before an override of the same name for every port.
    #[must_use]
    pub fn only_for_port(self, port: u16) -> Self {
        Self { only_for: Some(port), ..self }
    }

    fn set(&self, families: Families) -> Set {
        let port = self.port.unwrap_or(0);
        let sockets = self.addresses.iter().map(|address| SocketAddr::new(*address, port));
        Set::new(sockets, families)
    }
}

impl From<IpAddr> for Override {
    /// This address, at the port that is asked for.
    fn from(address: IpAddr) -> Self {
        Self::to([address])
    }
}

impl From<SocketAddr> for Override {
    /// This address and port, without its zone.
    fn from(address: SocketAddr) -> Self {
        Self::to([address.ip()]).at_port(address.port())
    }
}

/// Why a resolver could not be built.
///
/// ```
/// use std::time::Duration;
/// use ringshot::resolve::{BuildError, Resolver};
///
/// let (min, max) = (Duration::from_secs(60), Duration::from_secs(5));
/// let error = Resolver::builder().ttl(min, max).build().unwrap_err();
/// assert_eq!(error, BuildError::Ttl { min, max });
/// assert!(error.to_string().contains("swap or change them"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The shortest TTL is longer than the longest.
    #[error("ttl_min is {min:?}, longer than ttl_max, which is {max:?}: swap or change them")]
    Ttl {
        /// The shortest.
        min: Duration,
        /// The longest.
        max: Duration,
    },
    /// An override has no address of the families allowed.
    #[error(
        "the override of {name:?} has no address to use ({families}): give one, or leave it out"
    )]
    Override {
        /// Its name.
        name: String,
        /// The families allowed.
        families: Families,
    },
}

/// Choices for a [`Resolver`]; made by [`Resolver::builder`].
///
/// ```
/// use std::time::Duration;
/// use ringshot::resolve::{Families, Resolver, RotateAddresses};
///
/// let resolver = Resolver::builder()
///     .families(Families::V4First)
///     .rotate_addresses(RotateAddresses::RoundRobin)
///     .ttl(Duration::from_secs(5), Duration::from_secs(300))
///     .ttl_default(Duration::from_secs(60))
///     .negative_ttl(Duration::from_secs(1))
///     .names_max(100)
///     .build()?;
/// assert_eq!(resolver.stats().names, 0);
/// # Ok::<(), ringshot::resolve::BuildError>(())
/// ```
#[derive(Default)]
#[must_use = "a builder does nothing unless it is built"]
pub struct ResolverBuilder {
    resolve: Option<Box<dyn Resolve>>,
    limits: Limits,
    overrides: Vec<(String, Override)>,
    families: Families,
    rotate: RotateAddresses,
}

impl ResolverBuilder {
    /// Asks `resolve`. Default: a [`System`] of its own, for the families allowed.
    pub fn resolve_with(self, resolve: impl Resolve) -> Self {
        Self { resolve: Some(Box::new(resolve)), ..self }
    }

    /// Which addresses are used, and which are tried first. Default: [`Families::Both`].
    pub fn families(self, families: Families) -> Self {
        Self { families, ..self }
    }

    /// Whether the addresses of a name take turns. Default: [`RotateAddresses::Never`].
    pub fn rotate_addresses(self, rotate: RotateAddresses) -> Self {
        Self { rotate, ..self }
    }

    /// The shortest and the longest time for which an answer holds, whatever it says itself. Default: [`TTL_MIN`](super::TTL_MIN) and
    /// [`TTL_MAX`](super::TTL_MAX).
    pub fn ttl(self, min: Duration, max: Duration) -> Self {
        Self { limits: Limits { ttl_min: min, ttl_max: max, ..self.limits }, ..self }
    }

    /// For how long an answer holds that does not say so, within the limits of [`ttl`](Self::ttl). Default: [`TTL_DEFAULT`](super::TTL_DEFAULT).
    pub fn ttl_default(self, ttl: Duration) -> Self {
        Self { limits: Limits { ttl_default: ttl, ..self.limits }, ..self }
    }

    /// For how long it holds that a name does not exist or has no address. Default: [`NEGATIVE_TTL`](super::NEGATIVE_TTL).
    pub fn negative_ttl(self, ttl: Duration) -> Self {
        Self { limits: Limits { negative_ttl: ttl, ..self.limits }, ..self }
    }

    /// Names that are kept; with 0, none is. Default: [`CACHE_NAMES_MAX`](super::CACHE_NAMES_MAX). Of a full cache, names whose time is over leave first,
    /// then the oldest, one in 16 of them.
    pub fn names_max(self, names: usize) -> Self {
        Self { limits: Limits { names_max: names, ..self.limits }, ..self }
    }

    /// Answers `name`, which may be an address too, with `to`: nobody is asked. The last override of the same name and port counts.
    pub fn with_override(mut self, name: &str, to: impl Into<Override>) -> Self {
        self.overrides.push((name.to_owned(), to.into()));
        self
    }

    /// The resolver.
    ///
    /// # Errors
    /// [`BuildError`], each of its variants.
    pub fn build(self) -> Result<Resolver, BuildError> {
        let Self { resolve, limits, overrides, families, rotate } = self;
        if limits.ttl_min > limits.ttl_max {
            return Err(BuildError::Ttl { min: limits.ttl_min, max: limits.ttl_max });
        }
        let overrides = by_name(overrides, families)?;
        let resolve = resolve.unwrap_or_else(|| Box::new(System::for_families(families)));
        Ok(Resolver::from_parts(Parts { resolve, limits, overrides, families, rotate }))
    }
}

fn by_name(
    overrides: Vec<(String, Override)>,
    families: Families,
) -> Result<Overrides, BuildError> {
    let mut sorted: Overrides = HashMap::new();
    for (name, to) in overrides {
        let set = to.set(families);
        if set.is_empty() {
            return Err(BuildError::Override { name, families });
        }
        let key = lower_case(name.strip_suffix('.').unwrap_or(&name)).into();
        // The last one counts, so it has to come first.
        sorted.entry(key).or_default().insert(0, (to.only_for, Arc::new(set)));
    }
    Ok(sorted)
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            resolve: Box::new(System::new()),
            limits: Limits::default(),
            overrides: Overrides::new(),
            families: Families::default(),
            rotate: RotateAddresses::default(),
        }
    }
}

impl fmt::Debug for ResolverBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolverBuilder")
            .field("limits", &self.limits)
            .field("overrides", &self.overrides)
            .field("families", &self.families)
            .field("rotate", &self.rotate)
            .finish_non_exhaustive()
    }
}
