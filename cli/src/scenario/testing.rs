//! What the tests of this folder share.

use ringshot::load::KeepAlive;

use super::build::Settings;
use crate::args::{Command, parse_from};
use crate::network::NetworkArgs;
use crate::plan::Asked;

/// A plain GET.
pub(super) fn asked() -> Asked {
    let Ok(Command::Run(args)) = parse_from("ringshot run http://h/") else { panic!("run") };
    Asked::of(&args.load).unwrap()
}

/// Nothing besides the scenario, whose files are in the folder `docs/example`.
pub(super) fn settings(network: &NetworkArgs) -> Settings<'_> {
    Settings {
        folder: std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/example")),
        base: None,
        headers: Vec::new(),
        keep_alive: KeepAlive::On,
        seed: 7,
        network,
    }
}
