//! Hosts and ports into the targets of a mix, each looked up once.

use ringshot::load::{TARGETS_MAX, Target};
use ringshot::proto::url::Url;

use crate::exit::Failure;
use crate::network::NetworkArgs;

/// The servers met so far.
#[derive(Debug)]
pub(super) struct Servers<'a> {
    network: &'a NetworkArgs,
    known: Vec<(String, u16)>,
    pub(super) targets: Vec<Target>,
}

impl<'a> Servers<'a> {
    pub(super) fn new(network: &'a NetworkArgs) -> Self {
        Self { network, known: Vec::new(), targets: Vec::new() }
    }

    /// The place of a URL's server among the targets.
    pub(super) fn place(&mut self, url: &Url) -> Result<u32, Failure> {
        let is_it = |known: &(String, u16)| known.0 == url.host && known.1 == url.port;
        if let Some(place) = self.known.iter().position(is_it) {
            return Ok(place as u32);
        }
        if self.targets.len() == TARGETS_MAX {
            return Err(Failure::unusable(format_args!(
                "more than {TARGETS_MAX} different servers"
            )));
        }
        let peers = self.network.addresses(&url.host, url.port)?;
        self.targets.push(Target { peers });
        self.known.push((url.host.clone(), url.port));
        Ok(self.known.len() as u32 - 1)
    }
}
