//! Which core serves a request: the home of its host, or, if that is behind, the one with the least to do. Pure.

/// How many more requests than the least busy core the home may have before a request goes elsewhere.
pub const SPILL_AHEAD: u32 = 8;

/// The cores that may serve a host: limits smaller than the number of cores keep it on as many cores as the limits have units, so that none of them can hold a
/// unit that another needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Homes {
    /// All cores.
    pub(crate) cores: u32,
    /// Cores that the client uses: the smallest of cores, connections, requests in flight.
    pub(crate) of_client: u32,
    /// Of these, cores that one host uses: the smallest of those and the connections to a host.
    pub(crate) of_host: u32,
    /// Where the client's cores begin.
    pub(crate) first: u32,
}

impl Homes {
    /// The homes of a client.
    pub(crate) fn new(cores: u32, client: u64, limits: [Option<u32>; 2], per_host: u32) -> Self {
        let smallest = |most: u32, limit: Option<u32>| limit.map_or(most, |limit| most.min(limit));
        let of_client = limits.into_iter().fold(cores, smallest).max(1);
        let of_host = of_client.min(per_host).max(1);
        Self { cores, of_client, of_host, first: (client % u64::from(cores.max(1))) as u32 }
    }

    /// The `nth` core that may serve a host with this number; the first is its home.
    fn nth(&self, host: u64, nth: u32) -> u32 {
        let home = (host % u64::from(self.of_client)) as u32;
        (self.first + (home + nth) % self.of_client) % self.cores
    }

    /// The cores that the client uses.
    pub(crate) fn of_client(&self) -> impl Iterator<Item = u32> + use<> {
        let Self { first, cores, of_client, .. } = *self;
        (0..of_client).map(move |nth| (first + nth) % cores)
    }

    /// Whether a core may serve a host.
    pub(crate) fn may_serve(&self, host: u64, core: u32) -> bool {
        (0..self.of_host).any(|nth| self.nth(host, nth) == core)
    }

    /// [`Homes::place`] for a core that has the request in its hands already: it keeps it, if it may, unless it is ahead of the least busy one.
    #[inline]
    pub(crate) fn keep(&self, host: u64, own: u32, load: impl Fn(u32) -> u32) -> (u32, bool) {
        if !self.may_serve(host, own) {
            return self.place(host, load);
        }
        let (mut best, mut least) = (own, load(own).saturating_sub(SPILL_AHEAD));
        for nth in 0..self.of_host {
            let core = self.nth(host, nth);
            let there = load(core);
            if there < least {
                (best, least) = (core, there);
            }
        }
        (best, best != self.nth(host, 0))
    }

    /// The core for a request to a host, and whether it is another than its home, where `load` tells how much each core has to do.
    #[inline]
    pub(crate) fn place(&self, host: u64, load: impl Fn(u32) -> u32) -> (u32, bool) {
        let home = self.nth(host, 0);
        let at_home = load(home);
        let (mut best, mut least) = (home, at_home.saturating_sub(SPILL_AHEAD));
        for nth in 1..self.of_host {
            let core = self.nth(host, nth);
            let there = load(core);
            if there < least {
                (best, least) = (core, there);
            }
        }
        (best, best != home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_stays_at_home_until_that_is_behind() {
        let homes = Homes::new(4, 0, [None, None], 128);
        assert_eq!(homes.place(1, |_| 5), (1, false));
        assert_eq!(homes.place(1, |core| if core == 1 { 8 } else { 0 }), (1, false));
        assert_eq!(homes.place(1, |core| if core == 1 { 9 } else { 4 - core }), (1, false));
        assert_eq!(homes.place(1, |core| if core == 1 { 13 } else { 4 - core }), (3, true));
    }

    #[test]
    fn a_core_keeps_what_it_has_unless_it_is_ahead() {
        let homes = Homes::new(4, 0, [None, None], 128);
        assert_eq!(homes.keep(1, 3, |_| 5), (3, true));
        assert_eq!(homes.keep(1, 1, |_| 5), (1, false));
        assert_eq!(homes.keep(1, 3, |core| if core == 3 { 8 } else { 0 }), (3, true));
        assert_eq!(homes.keep(1, 3, |core| if core == 3 { 9 } else { core }), (0, true));
        let one = Homes::new(4, 0, [None, None], 1);
        assert_eq!(one.keep(1, 3, |_| 5), (1, false));
        assert!(one.may_serve(1, 1) && !one.may_serve(1, 3));
        assert_eq!(Homes::new(4, 3, [Some(2), None], 1).of_client().collect::<Vec<_>>(), [3, 0]);
    }

    #[test]
    fn a_single_host_spreads_evenly() {
        let homes = Homes::new(4, 7, [None, None], 128);
        let mut load = [0_u32; 4];
        for _ in 0..1000 {
            let (core, _) = homes.place(12345, |core| load[core as usize]);
            load[core as usize] += 1;
        }
        let spread = load.iter().max().unwrap() - load.iter().min().unwrap();
        assert!(spread <= SPILL_AHEAD + 1, "{load:?}");
    }

    #[test]
    fn small_limits_keep_to_few_cores() {
        let used = |homes: Homes, hosts: u64| {
            let mut used = std::collections::BTreeSet::new();
            let load = std::cell::RefCell::new([0_u32; 8]);
            for host in (0..hosts).cycle().take(500) {
                let (core, _) = homes.place(host, |core| load.borrow()[core as usize]);
                load.borrow_mut()[core as usize] += 1;
                used.insert(core);
            }
            used.len()
        };
        assert_eq!(used(Homes::new(8, 3, [Some(2), None], 128), 50), 2);
        assert_eq!(used(Homes::new(8, 3, [None, Some(3)], 128), 50), 3);
        assert_eq!(used(Homes::new(8, 3, [None, None], 1), 1), 1);
        assert_eq!(used(Homes::new(8, 3, [None, None], 2), 1), 2);
        assert_eq!(used(Homes::new(8, 3, [Some(1), Some(1)], 1), 50), 1);
    }
}
