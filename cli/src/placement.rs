//! Who runs where: the client's cores and, when `compare` starts it, the origin's. Pure.

use serde::Serialize;

use crate::cores::{CoreList, name};
use crate::exit::Failure;

/// Up to this many cores the client gets one and the origin, which must not be the limit, the rest.
const ONE_CLIENT_CORE_MAX: usize = 3;

/// Which cores the two sides of a comparison run on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Placement {
    /// The client's cores.
    pub(crate) client_cores: Vec<usize>,
    /// The origin's cores; `None` when it was not started here.
    pub(crate) origin_cores: Option<Vec<usize>>,
    /// What the two sides share.
    pub(crate) shared: Shared,
}

/// What client and origin share, from harmless to harmful.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shared {
    /// Nothing, or the server is not ours.
    Nothing,
    /// A physical core: its hardware threads slow each other.
    PhysicalCore,
    /// A core: they take turns, and neither figure means much.
    Core,
}

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// Started here, and in need of cores.
    Ours,
    /// Someone else's.
    Theirs,
}

impl Placement {
    /// Splits `available` (sorted, not empty) between client and server. `siblings` are a core's
    /// hardware threads, which stay on one side where they can.
    pub(crate) fn choose(
        wanted: &CoreList,
        available: &[usize],
        server: Server,
        siblings: impl Fn(usize) -> Vec<usize>,
    ) -> Result<Self, Failure> {
        let client_cores = wanted
            .resolve(available, |cores| client_share(&groups(cores, &siblings), cores.len()))?;
        if server == Server::Theirs {
            return Ok(Self { client_cores, origin_cores: None, shared: Shared::Nothing });
        }
        let rest: Vec<usize> =
            available.iter().copied().filter(|core| !client_cores.contains(core)).collect();
        if rest.is_empty() {
            let origin_cores = Some(client_cores.clone());
            return Ok(Self { client_cores, origin_cores, shared: Shared::Core });
        }
        let touches = |core: &usize| client_cores.iter().any(|c| siblings(*c).contains(core));
        let apart: Vec<usize> = rest.iter().copied().filter(|core| !touches(core)).collect();
        let (origin_cores, shared) = match apart.is_empty() {
            true => (rest, Shared::PhysicalCore),
            false => (apart, Shared::Nothing),
        };
        Ok(Self { client_cores, origin_cores: Some(origin_cores), shared })
    }

    /// `client on core 1, origin on core 0`.
    pub(crate) fn describe(&self) -> String {
        let client = format!("client on {}", name(&self.client_cores));
        match &self.origin_cores {
            Some(cores) => format!("{client}, origin on {}", name(cores)),
            None => client,
        }
    }
}

/// `cores` by physical core, in ascending order.
fn groups(cores: &[usize], siblings: &impl Fn(usize) -> Vec<usize>) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for &core in cores {
        let family = siblings(core);
        match groups.iter_mut().find(|group| group.iter().any(|member| family.contains(member))) {
            Some(group) => group.push(core),
            None => groups.push(vec![core]),
        }
    }
    groups
}

/// The last cores: the first serve most interrupts, which would disturb the side that is measured.
fn client_share(groups: &[Vec<usize>], total: usize) -> Vec<usize> {
    let want = if total <= ONE_CLIENT_CORE_MAX { 1 } else { total / 2 };
    let mut share: Vec<usize> = groups.iter().flatten().rev().copied().take(want).collect();
    share.sort_unstable();
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(core: usize) -> Vec<usize> {
        vec![core]
    }

    /// Cores 2k and 2k + 1 are one physical core.
    fn twins(core: usize) -> Vec<usize> {
        vec![core & !1, core | 1]
    }

    fn check(
        wanted: &CoreList,
        cores: usize,
        siblings: fn(usize) -> Vec<usize>,
        expected: (&[usize], &[usize], Shared),
    ) {
        let available: Vec<usize> = (0..cores).collect();
        let placement = Placement::choose(wanted, &available, Server::Ours, siblings).unwrap();
        let origin = placement.origin_cores.unwrap();
        assert_eq!((&*placement.client_cores, &*origin, placement.shared), expected);
    }

    #[test]
    fn auto_leaves_the_origin_the_larger_part() {
        let auto = &CoreList::Auto;
        check(auto, 1, alone, (&[0], &[0], Shared::Core));
        check(auto, 2, alone, (&[1], &[0], Shared::Nothing));
        check(auto, 3, alone, (&[2], &[0, 1], Shared::Nothing));
        check(auto, 4, alone, (&[2, 3], &[0, 1], Shared::Nothing));
        check(auto, 5, alone, (&[3, 4], &[0, 1, 2], Shared::Nothing));
    }

    #[test]
    fn hardware_threads_stay_on_one_side() {
        let auto = &CoreList::Auto;
        check(auto, 2, twins, (&[1], &[0], Shared::PhysicalCore));
        check(auto, 3, twins, (&[2], &[0, 1], Shared::Nothing));
        check(auto, 4, twins, (&[2, 3], &[0, 1], Shared::Nothing));
        check(auto, 6, twins, (&[3, 4, 5], &[0, 1], Shared::Nothing));
        check(&CoreList::Listed(vec![0]), 4, twins, (&[0], &[2, 3], Shared::Nothing));
    }

    #[test]
    fn listed_cores_are_the_clients() {
        let listed = CoreList::Listed(vec![1, 2]);
        check(&listed, 4, alone, (&[1, 2], &[0, 3], Shared::Nothing));
        check(&CoreList::Listed(vec![0, 1]), 2, alone, (&[0, 1], &[0, 1], Shared::Core));
    }

    #[test]
    fn someone_elses_server_needs_no_cores() {
        let placement = Placement::choose(&CoreList::Auto, &[0, 1], Server::Theirs, alone).unwrap();
        assert_eq!(placement.describe(), "client on core 1");
        assert_eq!(placement.shared, Shared::Nothing);
    }
}
