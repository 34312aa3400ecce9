//! What a run sends: requests with their weights and targets, as plain data that all cores share. No parsing of files, no sending.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::expect::Expect;
use super::feed::Feed;
use super::fill::Filled;
use super::plan_error::{Invalid, PlanError};
use super::template::Template;
use crate::random::Random;

/// Most requests of a mix that have a name of their own.
pub const NAMES_MAX: usize = 64;
/// Most different requests of a mix.
pub const REQUESTS_MAX: usize = 1 << 20;
/// Most targets of a mix.
pub const TARGETS_MAX: usize = 64;
/// The largest weight.
pub const WEIGHT_MAX: u32 = 1_000_000;

/// What a run sends.
///
/// ```
/// use std::time::Duration;
/// use ringshot::load::{Mix, MixRequest, Order, Plan, Think};
/// # use ringshot::load::{KeepAlive, Request, Template};
/// # let url = ringshot::proto::url::Url::parse("http://127.0.0.1:8080/")?;
/// # let request = Request { method: &http::Method::GET, url: &url, headers: &[], body: b"", keep_alive: KeepAlive::On };
/// # let template = Template::encode(&request)?;
/// # let core = ringshot::sys::affinity::cores()[0];
///
/// // Nine of ten requests are of the first kind; after one of the second its user waits.
/// let mut mix = Mix::single(template, vec!["127.0.0.1:8080".parse()?]);
/// let rare = MixRequest {
///     name: 1,
///     think: Think { min: Duration::from_millis(10), max: Duration::from_millis(50) },
///     ..mix.requests[0].clone()
/// };
/// mix.requests[0].weight = 9;
/// mix.requests.push(rare);
/// mix.names = vec!["read".to_owned(), "write".to_owned()];
/// mix.order = Order::Weighted;
/// Plan::of(mix, vec![core]).check()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Mix {
    /// Where to. Not empty, at most [`TARGETS_MAX`].
    pub targets: Vec<Target>,
    /// What. Not empty, at most [`REQUESTS_MAX`].
    pub requests: Vec<MixRequest>,
    /// What requests are called in reports; [`MixRequest::name`] refers to it. At most [`NAMES_MAX`].
    pub names: Vec<String>,
    /// Which request comes when.
    pub order: Order,
    /// Rows that templates take values from.
    pub feeds: Vec<Arc<Feed>>,
    /// What random choices follow from.
    pub seed: u64,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its addresses, in the order in which they are tried until one answers. Not empty.
    pub peers: Vec<SocketAddr>,
}

/// One request of a mix.
#[derive(Debug, Clone)]
pub struct MixRequest {
    /// Place of its name in [`Mix::names`].
    pub name: u32,
    /// Place of its server in [`Mix::targets`].
    pub target: u32,
    /// Its share of all requests, against the other weights, 1 to [`WEIGHT_MAX`]; used by [`Order::Weighted`] only.
    pub weight: u32,
    /// What goes on the wire.
    pub content: Content,
    /// What its response must be; `None` for anything.
    pub expect: Option<Arc<Expect>>,
    /// How long the connection's user waits after the response, in a closed loop.
    pub think: Think,
}

/// What goes on the wire.
#[derive(Debug, Clone)]
pub enum Content {
    /// The same bytes each time.
    Fixed(Template),
    /// A template whose places are filled each time.
    Filled(Arc<Filled>),
}

/// A wait between a response and the user's next request, drawn evenly between two times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Think {
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

/// Which request comes when.
#[derive(Debug, Clone)]
pub enum Order {
    /// Each by its weight, drawn independently from the seed.
    Weighted,
    /// One after the other, over and over.
    Cycle,
    /// These places in [`Mix::requests`], one after the other, over and over.
    Sequence(Arc<[u32]>),
}

impl Mix {
    /// One request to one server.
    #[must_use]
    pub fn single(template: Template, peers: Vec<SocketAddr>) -> Self {
        let content = Content::Fixed(template);
        let request = MixRequest {
            name: 0,
            target: 0,
            weight: 1,
            content,
            expect: None,
            think: Think::default(),
        };
        Self {
            targets: vec![Target { peers }],
            requests: vec![request],
            names: vec![String::new()],
            order: Order::Cycle,
            feeds: Vec::new(),
            seed: 1,
        }
    }

    /// The only request, if there is one, its bytes never change and nobody looks at its response.
    pub(super) fn only(&self) -> Option<&Template> {
        match &self.requests[..] {
            [MixRequest { content: Content::Fixed(template), expect: None, think, .. }]
                if *think == Think::default() =>
            {
                Some(template)
            }
            _ => None,
        }
    }

    /// How many names figures are told by: none where the only one is empty, as that of a plain request is.
    pub(super) fn names_told(&self) -> usize {
        if matches!(&self.names[..], [name] if name.is_empty()) { 0 } else { self.names.len() }
    }

    /// Whether any response is looked at.
    pub(super) fn expects(&self) -> bool {
        self.expects_of(|_| true)
    }

    /// Whether any request expects something for which `is_so`.
    pub(super) fn expects_of(&self, is_so: fn(&Expect) -> bool) -> bool {
        self.requests.iter().any(|request| request.expect.as_deref().is_some_and(is_so))
    }

    /// The place of each fixed request among the shard's templates.
    pub(super) fn template_places(&self) -> Vec<Option<u32>> {
        let mut next = 0..;
        let place = |request: &MixRequest| match request.content {
            Content::Fixed(_) => next.next(),
            Content::Filled(_) => None,
        };
        self.requests.iter().map(place).collect()
    }

    /// Checks what the types leave open.
    pub(super) fn check(&self) -> Result<(), PlanError> {
        let invalid = |what| Err(PlanError::Mix(what));
        if self.targets.iter().any(|target| target.peers.is_empty()) || self.targets.is_empty() {
            return Err(PlanError::NoPeer);
        }
        let places = |request: &MixRequest| {
            (request.target as usize) < self.targets.len()
                && (request.name as usize) < self.names.len()
        };
        let weights = |request: &MixRequest| (1..=WEIGHT_MAX).contains(&request.weight);
        match self {
            _ if self.requests.is_empty() => invalid(Invalid::Empty),
            _ if self.requests.len() > REQUESTS_MAX => invalid(Invalid::TooManyRequests),
            _ if self.targets.len() > TARGETS_MAX => invalid(Invalid::TooManyTargets),
            _ if self.names.len() > NAMES_MAX => invalid(Invalid::TooManyNames),
            _ if !self.requests.iter().all(weights) => invalid(Invalid::Weight),
            _ if !self.requests.iter().all(places) => invalid(Invalid::Place),
            Self { order: Order::Sequence(order), .. } if order.is_empty() => {
                invalid(Invalid::Empty)
            }
            Self { order: Order::Sequence(order), .. }
                if order.iter().any(|at| *at as usize >= self.requests.len()) =>
            {
                invalid(Invalid::Place)
            }
            _ => Ok(()),
        }
    }
}

/// Picks the requests of one core's sequence. The pick of a number is the same on every core.
#[derive(Debug, Clone)]
pub(super) struct Picker {
    order: Order,
    requests: u64,
    seed: u64,
    /// Sums of weights up to and with each request.
    sums: Vec<u64>,
    /// By request.
    targets: Vec<u32>,
}

impl Picker {
    pub(super) fn new(mix: &Mix) -> Self {
        let sum = |sum: &mut u64, request: &MixRequest| {
            *sum += u64::from(request.weight);
            Some(*sum)
        };
        Self {
            order: mix.order.clone(),
            requests: mix.requests.len() as u64,
            seed: mix.seed,
            sums: mix.requests.iter().scan(0, sum).collect(),
            targets: mix.requests.iter().map(|request| request.target).collect(),
        }
    }

    /// The places of request number `index` of the run, and of its target.
    #[inline]
    pub(super) fn pick(&self, index: u64) -> (u32, u32) {
        let request = self.request(index);
        (request, self.targets.get(request as usize).copied().unwrap_or_default())
    }

    #[inline]
    fn request(&self, index: u64) -> u32 {
        match &self.order {
            _ if self.requests == 1 => 0,
            Order::Cycle => (index % self.requests) as u32,
            Order::Sequence(order) => order[(index % order.len() as u64) as usize],
            Order::Weighted => {
                let whole = self.sums.last().copied().unwrap_or(1);
                let drawn =
                    Random::new(self.seed ^ index.wrapping_mul(0xD6E8_FEB8_6659_FD93)).below(whole);
                self.sums.partition_point(|sum| *sum <= drawn) as u32
            }
        }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::load::{KeepAlive, Request};
    use crate::proto::url::Url;

    /// One request to each of so many servers, in turn.
    pub(in crate::load) fn mix(targets: u32) -> Mix {
        let url = Url::parse("http://127.0.0.1/").unwrap();
        let (method, keep_alive) = (http::Method::GET, KeepAlive::On);
        let request = Request { method: &method, url: &url, headers: &[], body: b"", keep_alive };
        let peers = vec!["127.0.0.1:80".parse().unwrap()];
        let one = Mix::single(Template::encode(&request).unwrap(), peers);
        let requests = (0..targets).map(|target| MixRequest { target, ..one.requests[0].clone() });
        Mix {
            requests: requests.collect(),
            targets: vec![one.targets[0].clone(); targets as usize],
            ..one
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_hold_and_picks_repeat() {
        let mut mix = testing::mix(3);
        mix.order = Order::Weighted;
        mix.requests
            .iter_mut()
            .zip([1, 2, 7])
            .for_each(|(request, weight)| request.weight = weight);
        let picker = Picker::new(&mix);
        let mut counts = [0_u32; 3];
        (0..100_000).for_each(|index| counts[picker.pick(index).0 as usize] += 1);
        for (count, share) in counts.iter().zip([0.1, 0.2, 0.7]) {
            assert!((f64::from(*count) / 1e5 - share).abs() < 0.01, "{counts:?}");
        }
        let again = Picker::new(&mix);
        assert!((0..1_000).all(|index| again.pick(index) == picker.pick(index)));
    }

    #[test]
    fn sequences_go_round() {
        let mut mix = testing::mix(2);
        mix.order = Order::Sequence(Arc::new([1, 1, 0]));
        let picker = Picker::new(&mix);
        assert_eq!([0, 1, 2, 3, 4, 5].map(|index| picker.pick(index).0), [1, 1, 0, 1, 1, 0]);
        mix.order = Order::Cycle;
        let picker = Picker::new(&mix);
        assert_eq!([0, 1, 2].map(|index| picker.pick(index).0), [0, 1, 0]);
    }

    #[test]
    fn only_a_request_that_nobody_looks_at_needs_no_books() {
        assert!(testing::mix(1).only().is_some());
        assert!(testing::mix(2).only().is_none());
        let mut mix = testing::mix(1);
        mix.requests[0].expect = Some(Arc::default());
        assert!(mix.only().is_none() && mix.expects());
    }
}
