//! What the system says of this thread and process: CPU time, memory, limits. Reads only, changes nothing.

use std::time::Duration;

/// CPU time of a thread, split as the kernel's accounting splits it (getrusage(2), `RUSAGE_THREAD`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CpuTime {
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
}

impl CpuTime {
    /// CPU time of the calling thread since it started.
    #[must_use]
    pub fn of_thread() -> Self {
        usage(libc::RUSAGE_THREAD).map_or_else(Self::default, |usage| Self {
            user: duration(usage.ru_utime),
            system: duration(usage.ru_stime),
        })
    }

    /// The time spent since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }

    /// User and system together.
    #[must_use]
    pub fn total(self) -> Duration {
        self.user + self.system
    }
}

/// How long the calling thread was ready to run so far while its cores ran others (`/proc/PID/schedstat`, Linux 2.6.9); zero where the kernel does not say.
#[must_use]
pub fn run_delay_of_thread() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().nth(1).and_then(|figure| figure.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// The largest resident set of this process so far, in bytes (getrusage(2), `ru_maxrss`).
#[must_use]
pub fn resident_bytes_max() -> u64 {
    usage(libc::RUSAGE_SELF).map_or(0, |usage| usage.ru_maxrss as u64 * 1024)
}

/// A resource limit (getrlimit(2)); `u64::MAX` stands for unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The limit that holds now.
    pub soft: u64,
    /// The highest value the soft limit may be raised to.
    pub hard: u64,
}

/// The limit on file descriptors of this process (`RLIMIT_NOFILE`).
#[must_use]
pub fn file_limit() -> Limit {
    // SAFETY: `limit` gives a valid rlimit for the call to fill, which keeps no pointer.
    limit(|limit| unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, limit) })
}

/// The limit on locked memory of this process, in bytes (`RLIMIT_MEMLOCK`).
#[must_use]
pub fn locked_memory_limit() -> Limit {
    // SAFETY: `limit` gives a valid rlimit for the call to fill, which keeps no pointer.
    limit(|limit| unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, limit) })
}

/// Registers this process for expedited barriers (membarrier(2), Linux 4.14), which takes some 30 ms where there are threads, and nothing the next time.
/// Whoever uses such barriers is spared the wait. Without effect where the kernel has none.
pub fn prepare_membarrier() {
    // SAFETY: the call takes numbers and no pointer.
    unsafe {
        libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0)
    };
}

/// How late timers of the calling thread may be, so that the kernel can wake several threads at once (prctl(2), `PR_SET_TIMERSLACK`); 50 us by default.
pub fn set_timer_slack(slack: Duration) {
    let nanos = slack.as_nanos().max(1) as libc::c_ulong;
    // SAFETY: the call takes numbers and no pointer.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, nanos) };
}

/// The file descriptors that this process has open, or `None` if /proc is not mounted.
#[must_use]
pub fn open_files() -> Option<u64> {
    // The directory handle that lists them is one of them.
    std::fs::read_dir("/proc/self/fd")
        .ok()
        .map(|entries| (entries.count() as u64).saturating_sub(1))
}

/// A limit, asked for by `get`: the type of its name differs between C libraries.
fn limit(get: impl FnOnce(*mut libc::rlimit) -> libc::c_int) -> Limit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    match get(&raw mut limit) {
        0 => Limit { soft: limit.rlim_cur, hard: limit.rlim_max },
        _ => Limit { soft: u64::MAX, hard: u64::MAX },
    }
}

fn usage(who: libc::c_int) -> Option<libc::rusage> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a rusage of ours that the call fills; it keeps none.
    let status = unsafe { libc::getrusage(who, usage.as_mut_ptr()) };
    // SAFETY: rusage is plain integers, for which zeroes are valid, and the call only writes such.
    (status == 0).then(|| unsafe { usage.assume_init() })
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_answers_with_plausible_figures() {
        let before = CpuTime::of_thread();
        let mut sum = 0_u64;
        for i in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(i));
        }
        let spent = CpuTime::of_thread().since(before);
        assert!(spent.total() > Duration::ZERO, "{spent:?} {sum}");
        assert!(run_delay_of_thread() < Duration::from_secs(3600));
        assert!(resident_bytes_max() > 1 << 20);
        assert!(file_limit().soft >= 3 && file_limit().hard >= file_limit().soft);
        assert!(open_files().is_some_and(|open| open >= 3));
    }
}
