//! CPU time of more than one thread, as the kernel charged it (getrusage(2)).

use crate::bare::Outcome;

/// CPU seconds, user and system.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuSeconds {
    /// In user mode.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
}

impl CpuSeconds {
    /// Of all threads of this process.
    #[must_use]
    pub fn of_process() -> Self {
        usage(libc::RUSAGE_SELF)
    }

    /// Of the children that have ended.
    #[must_use]
    pub fn of_children() -> Self {
        usage(libc::RUSAGE_CHILDREN)
    }

    /// What was spent since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { user: self.user - earlier.user, system: self.system - earlier.system }
    }

    /// User and system together.
    #[must_use]
    pub fn total(self) -> f64 {
        self.user + self.system
    }
}

fn usage(who: libc::c_int) -> CpuSeconds {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a rusage of ours that the call fills.
    unsafe { libc::getrusage(who, usage.as_mut_ptr()) };
    // SAFETY: rusage is plain integers, for which zeroes are valid.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    CpuSeconds { user: seconds(usage.ru_utime), system: seconds(usage.ru_stime) }
}

/// What this process holds in memory now (proc(5), `statm`), in bytes.
///
/// # Errors
/// If /proc is not mounted.
pub fn resident_bytes() -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split_whitespace().nth(1).ok_or("statm has another shape")?.parse()?;
    // SAFETY: sysconf only answers.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Ok(pages * page as u64)
}
