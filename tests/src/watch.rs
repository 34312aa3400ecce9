//! What this process holds: descriptors, threads, memory. Reads /proc only.

use std::fs;
use std::io::Write;
use std::time::{Duration, Instant};

/// Says something past the test harness, which keeps the output of tests that pass to itself.
pub fn announce(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// Open descriptors of this process, each as what it points to.
#[must_use]
pub fn descriptors() -> Vec<String> {
    let entries = fs::read_dir("/proc/self/fd").expect("/proc is mounted");
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    let own = format!("/proc/{}/fd", std::process::id());
    let mut names: Vec<_> = links.map(|link| link.display().to_string()).collect();
    names.retain(|name| *name != own);
    names.sort();
    names
}

/// Threads of this process.
#[must_use]
pub fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("/proc is mounted").count()
}

/// Resident bytes of this process now.
#[must_use]
pub fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.expect("VmRSS in kB") << 10
}

/// Makes the allocator give every large buffer back when it is freed: glibc learns to keep some (mallopt(3)), which would look like a leak.
pub fn keep_no_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes two numbers and no pointer.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10)
    };
}

/// Looks until `holds`, or for at most `limit`; whether it came to hold.
pub fn wait_until(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < limit {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    holds()
}
