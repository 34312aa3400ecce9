//! Which cores this process may use, and pinning a thread to one (core_affinity). Never changes another thread.

/// The cores in this process's affinity mask, ascending (sched_getaffinity(2)).
#[must_use]
pub fn cores() -> Vec<usize> {
    let mut cores: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    cores.sort_unstable();
    cores
}

/// Whether the calling thread could be pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pinned {
    /// The thread runs on that core only.
    Yes,
    /// The kernel refused; the thread runs where it likes.
    No,
}

/// Pins the calling thread to `core`, one of [`cores`] (sched_setaffinity(2)).
#[must_use]
pub fn pin(core: usize) -> Pinned {
    // Asked first: a number that no mask has room for is none of ours, and would be out of its bounds.
    let known = cores().contains(&core);
    if known && core_affinity::set_for_current(core_affinity::CoreId { id: core }) {
        Pinned::Yes
    } else {
        Pinned::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_to_a_core_that_exists_and_to_no_other() {
        let cores = cores();
        assert!(!cores.is_empty());
        let last = cores[cores.len() - 1];
        let outcome = std::thread::spawn(move || (pin(last), pin(last + 4096))).join().unwrap();
        assert_eq!(outcome, (Pinned::Yes, Pinned::No));
    }
}
