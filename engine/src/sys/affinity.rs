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

/// How many cores the process's first thread may use, which is what the process was given unless that thread was pinned; 1 if the kernel does not say.
#[must_use]
pub fn process_cores() -> usize {
    first_thread_mask().map_or(1, |mask| {
        // SAFETY: reads the whole set that it is given, and nothing else.
        let count = unsafe { libc::CPU_COUNT(&mask) };
        usize::try_from(count).unwrap_or(1).max(1)
    })
}

/// Lets the calling thread run wherever the process's first thread may: a thread starts with the mask of the one that started it, and that one may be pinned
/// (sched_setaffinity(2)). Without effect if the kernel refuses.
pub fn unpin() {
    if let Some(mask) = first_thread_mask() {
        // SAFETY: the call reads the set, which outlives it; 0 is the calling thread.
        unsafe { libc::sched_setaffinity(0, size_of_val(&mask), &raw const mask) };
    }
}

/// The mask of the thread whose number is the process's. `None` if it has ended, or on more than 1024 cores.
fn first_thread_mask() -> Option<libc::cpu_set_t> {
    // SAFETY: a set of cores is plain bits, and none of them set is the empty set.
    let mut mask: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    let process = i32::try_from(std::process::id()).ok()?;
    // SAFETY: the call writes at most the size of the set, which outlives it.
    let status = unsafe { libc::sched_getaffinity(process, size_of_val(&mask), &raw mut mask) };
    (status == 0).then_some(mask)
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

    #[test]
    fn a_thread_started_by_a_pinned_one_can_be_unpinned() {
        let inherited = std::thread::spawn(|| {
            let before = cores();
            let _ = pin(before[0]);
            let child = std::thread::spawn(|| {
                let inherited = cores().len();
                unpin();
                (inherited, cores().len())
            });
            child.join().unwrap()
        });
        assert_eq!(inherited.join().unwrap(), (1, process_cores()));
    }
}
