//! What surrounds this process: the kernel's release, the sysctl that switches `io_uring` off, the seccomp mode. Reads /proc, and does without it.

use std::ffi::CStr;
use std::fs;
use std::mem::MaybeUninit;

/// What decides how a refusal is read. Unknown is as good as absent: the answer of the kernel stays what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Surroundings {
    /// `kernel.io_uring_disabled` (6.6, and distributions' older kernels); `None` where there is no such sysctl, or no /proc.
    pub(super) disabled: Option<u8>,
    /// A seccomp filter is active (`Seccomp: 2` in proc_pid_status(5)).
    pub(super) filtered: bool,
    /// The process has `CAP_SYS_ADMIN`, in its user namespace at least.
    pub(super) admin: bool,
}

/// Number of `CAP_SYS_ADMIN` (capabilities(7)).
const CAP_SYS_ADMIN: u32 = 21;
/// `SECCOMP_MODE_FILTER` (seccomp(2)).
const SECCOMP_MODE_FILTER: &str = "2";

impl Surroundings {
    /// Those of the calling thread, whose seccomp mode may differ from its process's.
    pub(super) fn read() -> Self {
        let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        let status = fs::read_to_string("/proc/thread-self/status")
            .or_else(|_| fs::read_to_string("/proc/self/status"));
        Self::parse(disabled.ok().as_deref(), &status.unwrap_or_default())
    }

    fn parse(disabled: Option<&str>, status: &str) -> Self {
        let capabilities =
            field(status, "CapEff").and_then(|text| u64::from_str_radix(text, 16).ok());
        Self {
            disabled: disabled.and_then(|text| text.trim().parse().ok()),
            filtered: field(status, "Seccomp") == Some(SECCOMP_MODE_FILTER),
            admin: capabilities.is_some_and(|bits| bits >> CAP_SYS_ADMIN & 1 == 1),
        }
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let lines = status.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(key, _)| *key == name).map(|(_, value)| value.trim()).next()
}

/// The kernel's release, such as `6.12.9` (uname(2)): for reports, never for decisions.
pub(super) fn kernel_release() -> String {
    let mut name = MaybeUninit::<libc::utsname>::zeroed();
    // SAFETY: the pointer is to a utsname of ours that the call fills; it keeps none.
    if unsafe { libc::uname(name.as_mut_ptr()) } != 0 {
        return "unknown".to_owned();
    }
    // SAFETY: utsname is arrays of characters, for which zeroes are valid, and the call only writes such.
    let name = unsafe { name.assume_init() };
    let release = name.release.map(|char| char.to_ne_bytes()[0]);
    let release = CStr::from_bytes_until_nul(&release).unwrap_or_default();
    release.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_read_as_it_is_written_and_its_lack_is_no_error() {
        let check = |disabled: Option<&str>, status: &str, expected: Surroundings| {
            assert_eq!(Surroundings::parse(disabled, status), expected, "{disabled:?} {status}");
        };
        let status = |seccomp: &str, capabilities: &str| {
            let lines = ["Name:\tcat", &format!("CapEff:\t{capabilities}"), "Seccomp_filters:\t2"];
            format!("{}\nSeccomp:\t{seccomp}\n", lines.join("\n"))
        };
        let nothing = Surroundings::default();
        check(None, "", nothing);
        check(Some("no number\n"), "Seccomp_filters:\t2\nCapEff: what\n", nothing);
        check(Some("2\n"), "", Surroundings { disabled: Some(2), ..nothing });
        let admin = Surroundings { disabled: Some(0), admin: true, filtered: false };
        check(Some("0\n"), &status("0", "000001ffffffffff"), admin);
        check(None, &status("1", "0000000000000000"), nothing);
        // What Docker gives by default.
        let docker = Surroundings { disabled: Some(1), filtered: true, admin: false };
        check(Some("1\n"), &status("2", "00000000a80425fb"), docker);
    }

    #[test]
    fn the_kernel_has_a_release() {
        let release = kernel_release();
        assert!(release.starts_with(|first: char| first.is_ascii_digit()), "{release}");
        assert!(release.contains('.') && !release.contains('\0'), "{release}");
    }
}
