//! Why `io_uring` can't be used: from what the kernel answered and what surrounds the process to one line with the remedy. Pure; see `surroundings` for the reading.

use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::surroundings::Surroundings;
use crate::sys::Errno;

/// Why `io_uring` can't be used here. `Display` is one line: what, whose doing, the remedy.
///
/// Serialises as `{"kind": .., "message": ..}`, the kind being the variant in `snake_case`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blocked {
    /// `ENOSYS`, and no seccomp filter: the kernel was built without it, or is a sandbox that imitates one (gVisor).
    Missing,
    /// `ENOSYS` with a seccomp filter active: the kernel lacks it, or the filter says so (podman's does).
    MissingSeccomp,
    /// `EPERM`, and the sysctl `kernel.io_uring_disabled` explains it.
    SwitchedOff {
        /// The sysctl's value: 1 for unprivileged processes, 2 for all.
        value: u8,
    },
    /// `EPERM`, a seccomp filter is active and the sysctl does not explain it.
    Seccomp,
    /// `ENOMEM`: the limit on locked memory, or that of the control group.
    NoMemory,
    /// `EINVAL` on the lowest tier: before Linux 5.19.
    TooOld,
    /// A ring could be set up, but did not do what it should.
    SelfTest {
        /// Which step, and what it saw.
        what: String,
    },
    /// Another answer.
    Other(Errno),
}

/// The value of `kernel.io_uring_disabled` that leaves `io_uring` to the privileged.
const UNPRIVILEGED_OFF: u8 = 1;
/// The value that switches it off for all.
const ALL_OFF: u8 = 2;

impl Blocked {
    /// What `errno`, the answer of an `io_uring` system call, means in these surroundings.
    pub(super) fn classify(errno: Errno, around: Surroundings) -> Self {
        match errno.0 {
            libc::ENOSYS if around.filtered => Self::MissingSeccomp,
            libc::ENOSYS => Self::Missing,
            libc::EPERM => Self::refused(around),
            libc::ENOMEM => Self::NoMemory,
            libc::EINVAL => Self::TooOld,
            _ => Self::Other(errno),
        }
    }

    /// `EPERM`: the sysctl first, since nothing else matters while it forbids; for the privileged the value 1 does not.
    fn refused(around: Surroundings) -> Self {
        match around.disabled {
            Some(value @ ALL_OFF..) => Self::SwitchedOff { value },
            Some(value @ UNPRIVILEGED_OFF) if !(around.admin && around.filtered) => {
                Self::SwitchedOff { value }
            }
            _ if around.filtered => Self::Seccomp,
            _ => Self::Other(Errno(libc::EPERM)),
        }
    }

    /// What happened, and whose doing it is.
    pub(super) fn problem(&self) -> String {
        match self {
            Self::Missing => {
                "io_uring_setup: ENOSYS: this kernel has no io_uring (built without CONFIG_IO_URING, older than 5.1, or a sandbox like gVisor)".into()
            }
            Self::MissingSeccomp => {
                "io_uring_setup: ENOSYS: this kernel has no io_uring, or the container's seccomp filter hides it, as the default profile of podman does".into()
            }
            Self::SwitchedOff { value: UNPRIVILEGED_OFF } => {
                "io_uring_setup: EPERM: kernel.io_uring_disabled is 1, which leaves io_uring to CAP_SYS_ADMIN and the group in kernel.io_uring_group".into()
            }
            Self::SwitchedOff { value } => {
                format!("io_uring_setup: EPERM: kernel.io_uring_disabled is {value}")
            }
            Self::Seccomp => {
                "io_uring: EPERM: a seccomp filter forbids it, as the default profiles of Docker (25 and later), containerd, podman and Kubernetes (RuntimeDefault) do".into()
            }
            Self::NoMemory => {
                "io_uring_setup: ENOMEM: no room for the rings under the limit on locked memory (ulimit -l) or the control group's memory limit".into()
            }
            Self::TooOld => {
                "io_uring_setup: EINVAL: the io_uring of this kernel is older than that of Linux 5.19".into()
            }
            Self::SelfTest { what } => {
                format!("io_uring can be set up, but failed its self-test: {what}")
            }
            Self::Other(errno) => format!("io_uring: {errno}"),
        }
    }

    /// What to do about it, as a clause that begins a sentence.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Missing => "Use a kernel of 5.19 or later that has it",
            Self::MissingSeccomp | Self::Seccomp => {
                "Allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile (--security-opt seccomp=profile.json, or seccomp=unconfined where that is acceptable; Kubernetes: a Localhost profile)"
            }
            Self::SwitchedOff { value: UNPRIVILEGED_OFF } => {
                "Set it to 0 (sysctl kernel.io_uring_disabled=0), or join that group"
            }
            Self::SwitchedOff { .. } => "Set it to 0 (sysctl kernel.io_uring_disabled=0)",
            Self::NoMemory => {
                "Raise it (ulimit -l 65536; LimitMEMLOCK= in systemd; --ulimit memlock= in Docker)"
            }
            Self::TooOld => "Use Linux 5.19 or later",
            Self::SelfTest { .. } => "Report it with the output of `ringshot doctor`",
            Self::Other(Errno(libc::EPERM | libc::EACCES)) => {
                "Ask the security module in force (SELinux, AppArmor, BPF) to allow it"
            }
            Self::Other(Errno(libc::EMFILE | libc::ENFILE)) => "Raise the file limit (ulimit -n)",
            Self::Other(_) => "Look the error up in io_uring_setup(2)",
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::MissingSeccomp => "missing_seccomp",
            Self::SwitchedOff { .. } => "switched_off",
            Self::Seccomp => "seccomp",
            Self::NoMemory => "no_memory",
            Self::TooOld => "too_old",
            Self::SelfTest { .. } => "self_test",
            Self::Other(_) => "other",
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.problem(), self.remedy())
    }
}

impl std::error::Error for Blocked {}

impl Serialize for Blocked {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Blocked", 2)?;
        fields.serialize_field("kind", self.kind())?;
        fields.serialize_field("message", &self.to_string())?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Surroundings = Surroundings { disabled: Some(0), filtered: false, admin: false };
    const FILTERED: Surroundings = Surroundings { filtered: true, ..PLAIN };
    const NO_PROC: Surroundings = Surroundings { disabled: None, filtered: false, admin: false };

    fn with(disabled: u8, around: Surroundings) -> Surroundings {
        Surroundings { disabled: Some(disabled), ..around }
    }

    fn admin(around: Surroundings) -> Surroundings {
        Surroundings { admin: true, ..around }
    }

    #[test]
    fn each_answer_in_each_surrounding_has_one_cause() {
        let check = |errno: i32, around: Surroundings, expected: Blocked| {
            assert_eq!(Blocked::classify(Errno(errno), around), expected, "{errno} {around:?}");
        };
        check(libc::ENOSYS, PLAIN, Blocked::Missing);
        check(libc::ENOSYS, NO_PROC, Blocked::Missing);
        check(libc::ENOSYS, FILTERED, Blocked::MissingSeccomp);

        check(libc::EPERM, with(1, PLAIN), Blocked::SwitchedOff { value: 1 });
        check(libc::EPERM, with(2, PLAIN), Blocked::SwitchedOff { value: 2 });
        check(libc::EPERM, with(3, PLAIN), Blocked::SwitchedOff { value: 3 });
        // Both forbid it, and the sysctl must go first: allowing it in the profile alone would change nothing.
        check(libc::EPERM, with(1, FILTERED), Blocked::SwitchedOff { value: 1 });
        check(libc::EPERM, with(2, FILTERED), Blocked::SwitchedOff { value: 2 });
        check(libc::EPERM, admin(with(2, FILTERED)), Blocked::SwitchedOff { value: 2 });
        // The value 1 lets the privileged pass: it must be the filter.
        check(libc::EPERM, admin(with(1, FILTERED)), Blocked::Seccomp);
        // Privileged in a user namespace only: no filter, so it is the sysctl.
        check(libc::EPERM, admin(with(1, PLAIN)), Blocked::SwitchedOff { value: 1 });

        check(libc::EPERM, FILTERED, Blocked::Seccomp);
        check(libc::EPERM, Surroundings { disabled: None, ..FILTERED }, Blocked::Seccomp);
        check(libc::EPERM, PLAIN, Blocked::Other(Errno(libc::EPERM)));
        check(libc::EPERM, NO_PROC, Blocked::Other(Errno(libc::EPERM)));

        check(libc::ENOMEM, FILTERED, Blocked::NoMemory);
        check(libc::EINVAL, FILTERED, Blocked::TooOld);
        check(libc::EACCES, FILTERED, Blocked::Other(Errno(libc::EACCES)));
        check(libc::EMFILE, PLAIN, Blocked::Other(Errno(libc::EMFILE)));
    }

    #[test]
    fn each_message_is_one_line_that_names_the_remedy() {
        let check = |blocked: Blocked, kind: &str, words: &[&str]| {
            let message = blocked.to_string();
            assert!(!message.contains('\n') && !message.contains("  "), "{message}");
            assert!(message.ends_with(blocked.remedy()), "{message}");
            for word in words {
                assert!(message.contains(word), "{word:?} is not in {message:?}");
            }
            assert_eq!(blocked.kind(), kind);
        };
        check(Blocked::Missing, "missing", &["ENOSYS", "gVisor", "5.19"]);
        check(
            Blocked::MissingSeccomp,
            "missing_seccomp",
            &["ENOSYS", "podman", "--security-opt seccomp="],
        );
        check(
            Blocked::SwitchedOff { value: 1 },
            "switched_off",
            &["kernel.io_uring_disabled is 1", "CAP_SYS_ADMIN", "kernel.io_uring_group"],
        );
        let containers = ["Docker", "containerd", "podman", "Kubernetes", "RuntimeDefault"];
        check(Blocked::Seccomp, "seccomp", &containers);
        check(Blocked::Seccomp, "seccomp", &["EPERM", "--security-opt seccomp=", "Localhost"]);
        check(Blocked::NoMemory, "no_memory", &["ENOMEM", "ulimit -l", "LimitMEMLOCK"]);
        check(Blocked::TooOld, "too_old", &["EINVAL", "5.19"]);
        check(
            Blocked::SelfTest { what: "multishot receive: nothing came".into() },
            "self_test",
            &["self-test", "multishot receive: nothing came", "ringshot doctor"],
        );
        check(Blocked::Other(Errno(libc::EACCES)), "other", &["EACCES", "SELinux"]);
        check(Blocked::Other(Errno(libc::EMFILE)), "other", &["EMFILE", "ulimit -n"]);
        check(Blocked::Other(Errno(libc::EIO)), "other", &["EIO", "io_uring_setup(2)"]);
    }

    #[test]
    fn the_message_of_the_sysctl_is_the_one_that_is_promised() {
        assert_eq!(
            Blocked::SwitchedOff { value: 2 }.to_string(),
            "io_uring_setup: EPERM: kernel.io_uring_disabled is 2. Set it to 0 (sysctl kernel.io_uring_disabled=0)"
        );
    }
}
