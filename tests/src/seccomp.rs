//! Children behind a seccomp(2) filter, as containers start them. A filter can't be taken off again, so it is for children only.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The calls of `io_uring`: setup, enter, register.
pub const IO_URING: [u32; 3] = [
    libc::SYS_io_uring_setup as u32,
    libc::SYS_io_uring_enter as u32,
    libc::SYS_io_uring_register as u32,
];

/// Makes `command` start behind a filter: `calls` get `errno`, all others pass.
pub fn forbid(command: &mut Command, calls: &[u32], errno: i32) {
    let mut filter = filter(calls, errno);
    let install = move || install(&mut filter);
    // SAFETY: between fork and exec the closure makes two prctl(2) calls and touches memory made before the fork only.
    unsafe { command.pre_exec(install) };
}

/// A seccomp(2) program: these calls get `errno`, all others pass.
fn filter(calls: &[u32], errno: i32) -> Vec<libc::sock_filter> {
    let op = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let allow = op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW);
    let refuse = op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32);
    // `nr` is the first field of seccomp_data.
    let mut program = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for call in calls {
        let equal = op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *call);
        program.push(libc::sock_filter { jt: 0, jf: 1, ..equal });
        program.push(refuse);
    }
    program.push(allow);
    program
}

fn install(program: &mut [libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let done = |status: i32| if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: PR_SET_NO_NEW_PRIVS takes no pointer (prctl(2)).
    done(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program and its instructions live until the call has copied them (prctl(2), PR_SET_SECCOMP).
    done(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) })
}
