//! Each feature of `io_uring` that matters here, tried by itself: a setup flag in a ring of its own, an operation on a real socket. Knows no version.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use io_uring::types::{BufRingEntry, CancelBuilder, Fd, Fixed, SubmitArgs};
use io_uring::{Builder, Parameters, cqueue, opcode, squeue};

use super::bare::{Bare, ENTRIES, Verdict, outcome, refused, timespec};
use super::self_test::Rig;
use super::{Blocked, Feature};
use crate::driver::uring::{Descriptors, Tier, has_absolute_waits};
use crate::sys::mmap::Mapping;
use crate::sys::monotonic;

/// One line of the table.
struct Row {
    name: &'static str,
    since: &'static str,
    used_for: &'static str,
    trial: fn() -> Verdict,
}

/// All features, oldest first. `used_for` begins with "not used" for those that are listed for completeness.
const ROWS: [Row; 20] = [
    Row {
        name: "NODROP",
        since: "5.5",
        used_for: "a full completion queue delays completions, and loses none",
        trial: nodrop,
    },
    Row {
        name: "MSG_TRUNC receive",
        since: "5.6",
        used_for: "large bodies that nobody wants are dropped in the kernel, not copied",
        trial: discard,
    },
    Row {
        name: "EXT_ARG",
        since: "5.11",
        used_for: "one call submits, waits, and ends at a time",
        trial: ext_arg,
    },
    Row {
        name: "CQE_SKIP",
        since: "5.17",
        used_for: "a request's send completes only if it fails",
        trial: cqe_skip,
    },
    Row {
        name: "SUBMIT_ALL",
        since: "5.18",
        used_for: "a bad submission does not hold up the others of its turn",
        trial: || flag("IORING_SETUP_SUBMIT_ALL", |ring| _ = ring.setup_submit_all()),
    },
    Row {
        name: "COOP_TASKRUN",
        since: "5.19",
        used_for: "completions do not interrupt the thread (below DEFER_TASKRUN)",
        trial: || {
            flag("IORING_SETUP_COOP_TASKRUN with _TASKRUN_FLAG", |ring| {
                _ = ring.setup_coop_taskrun().setup_taskrun_flag();
            })
        },
    },
    Row {
        name: "provided-buffer ring",
        since: "5.19",
        used_for: "receives take a buffer when bytes are there: none is tied to an idle connection",
        trial: || receive(Tier::SingleShot),
    },
    Row {
        name: "fixed file table",
        since: "5.19",
        used_for: "operations name sockets without the cost of a descriptor lookup",
        trial: fixed_files,
    },
    Row {
        name: "multishot accept",
        since: "5.19",
        used_for: "the origin server's listener is armed once",
        trial: multishot_accept,
    },
    Row {
        name: "cancel by descriptor",
        since: "5.19",
        used_for: "closing a connection ends all that is in flight on it",
        trial: || cancel(Descriptors::Plain),
    },
    Row {
        name: "cancel by fixed file",
        since: "6.0",
        used_for: "the same for sockets in the file table",
        trial: || cancel(Descriptors::Fixed),
    },
    Row {
        name: "SINGLE_ISSUER",
        since: "6.0",
        used_for: "one thread a ring: the kernel locks less",
        trial: || flag("IORING_SETUP_SINGLE_ISSUER", |ring| _ = ring.setup_single_issuer()),
    },
    Row {
        name: "multishot receive",
        since: "6.0",
        used_for: "one submission receives for a connection's whole life",
        trial: || receive(Tier::Multishot),
    },
    Row {
        name: "DEFER_TASKRUN",
        since: "6.1",
        used_for: "completions are made when the shard asks, in one batch",
        trial: || {
            flag("IORING_SETUP_DEFER_TASKRUN with _SINGLE_ISSUER, which it needs", |ring| {
                _ = ring.setup_single_issuer().setup_defer_taskrun();
            })
        },
    },
    Row {
        name: "NO_SQARRAY",
        since: "6.6",
        used_for: "one array less between the shard and the kernel",
        trial: || flag("IORING_SETUP_NO_SQARRAY", |ring| _ = ring.setup_no_sqarray()),
    },
    Row {
        name: "bundles",
        since: "6.10",
        used_for: "not used: small responses fit one buffer, and some 6.13 and 6.14 kernels hand buffers out in the wrong order",
        trial: || bit("IORING_FEAT_RECVSEND_BUNDLE", Parameters::is_feature_recvsend_bundle),
    },
    Row {
        name: "min_wait",
        since: "6.12",
        used_for: "a turn gathers several completions where the server is slower than the client",
        trial: min_wait,
    },
    Row {
        name: "ABS_TIMER",
        since: "6.12",
        used_for: "a wait for the next request of a schedule ends when that is due, however long submitting took",
        trial: absolute_wait,
    },
    Row {
        name: "incremental buffers",
        since: "6.12",
        used_for: "not used: small responses fit one buffer, and MSG_TRUNC takes too much of such buffers",
        trial: incremental,
    },
    Row {
        name: "NO_IOWAIT",
        since: "6.15",
        used_for: "not used: it changes how waiting is accounted, not how fast it is",
        trial: || bit("IORING_FEAT_NO_IOWAIT", Parameters::is_feature_no_iowait),
    },
];

/// Tries them all; where there is no room for a ring, none, since "no" would say nothing about the kernel.
pub(super) fn all(blocked: Option<&Blocked>) -> Vec<Feature> {
    ROWS.iter()
        .map(|row| {
            let verdict = match blocked {
                Some(Blocked::NoMemory) => Err("not tried: there is no memory for a ring".into()),
                _ => (row.trial)(),
            };
            Feature {
                name: row.name,
                since: row.since,
                available: verdict.is_ok(),
                reason: verdict.unwrap_or_else(|reason| reason),
                used_for: row.used_for,
            }
        })
        .collect()
}

/// Names an operation of a trial.
const FIRST: u64 = 1;
/// Names another.
const SECOND: u64 = 2;
/// A byte that outlives every ring.
static BYTE: [u8; 1] = [b'x'];

fn flag(name: &str, set: impl FnOnce(&mut Builder)) -> Verdict {
    Bare::with(set).map(|_| format!("io_uring_setup took {name}"))
}

fn bit(name: &str, is_set: fn(&Parameters) -> bool) -> Verdict {
    let bare = Bare::open()?;
    if is_set(bare.ring().params()) {
        Ok(format!("io_uring_setup told {name}"))
    } else {
        Err(format!("io_uring_setup did not tell {name}"))
    }
}

fn nop(user_data: u64) -> squeue::Entry {
    opcode::Nop::new().build().user_data(user_data)
}

/// More completions than the queue holds, counted.
fn nodrop() -> Verdict {
    let mut bare = Bare::open()?;
    let count = 3 * ENTRIES;
    for number in 0..count {
        // SAFETY: a nop lends nothing.
        unsafe { bare.push(&nop(FIRST)) }?;
        if (number + 1) % ENTRIES == 0 {
            // Before 5.19 the kernel pushes back with EBUSY: the entries go with the next call.
            let _ = bare.submit();
        }
    }
    for arrived in 0..count {
        bare.next().map_err(|why| format!("{arrived} of {count} completions came: {why}"))?;
    }
    Ok(format!("{count} completions passed a queue of {}", bare.ring().params().cq_entries()))
}

/// A wait for nothing that ends by its own time.
fn ext_arg() -> Verdict {
    let bare = Bare::open()?;
    bare.enter(1, SubmitArgs::new().timespec(&timespec(Duration::from_micros(1))))?;
    Ok("io_uring_enter ended at its time".to_owned())
}

/// A success that is skipped, and one that is told.
fn cqe_skip() -> Verdict {
    let mut bare = Bare::open()?;
    let (quiet, told) = (nop(FIRST).flags(squeue::Flags::SKIP_SUCCESS), nop(SECOND));
    // SAFETY: a nop lends nothing.
    unsafe { bare.push(&quiet) }?;
    // SAFETY: as above.
    unsafe { bare.push(&told) }?;
    bare.result_of(SECOND)?;
    Ok("an operation that succeeded had no completion".to_owned())
}

/// One completion where two are waited for.
fn min_wait() -> Verdict {
    const TIMEOUT: Duration = Duration::from_millis(100);
    let mut bare = Bare::open()?;
    // SAFETY: a nop lends nothing.
    unsafe { bare.push(&nop(FIRST)) }?;
    let before = monotonic().unwrap_or(0);
    bare.enter(2, SubmitArgs::new().timespec(&timespec(TIMEOUT)).min_wait_usec(50))?;
    bare.result_of(FIRST)?;
    let waited = Duration::from_nanos(monotonic().unwrap_or(0).saturating_sub(before));
    if waited < TIMEOUT {
        Ok(format!("io_uring_enter ended after {} us, before its timeout", waited.as_micros()))
    } else {
        Err(format!("io_uring_enter ended at its timeout of {TIMEOUT:?}"))
    }
}

/// A wait until a point in time that has passed.
fn absolute_wait() -> Verdict {
    let mut bare = Bare::open()?;
    if has_absolute_waits(bare.ring_mut()) {
        Ok("io_uring_enter ended at a point in time".to_owned())
    } else {
        Err("io_uring_enter knows no IORING_ENTER_ABS_TIMER".to_owned())
    }
}

/// Two pieces of a stream through the driver, at this tier.
fn receive(tier: Tier) -> Verdict {
    let mut rig = Rig::open(tier, Descriptors::Plain).map_err(|trouble| trouble.to_string())?;
    if rig.tier() < tier {
        return Err(format!("the kernel opened a ring for {} only", rig.tier()));
    }
    rig.receive().map_err(|trouble| trouble.to_string())?;
    Ok("two pieces were received on a connection to ourselves, and a receive cancelled".to_owned())
}

/// Bytes dropped on a TCP connection through the driver.
fn discard() -> Verdict {
    let rig = Rig::open(Tier::SingleShot, Descriptors::Plain);
    rig.and_then(|mut rig| rig.discard()).map_err(|trouble| trouble.to_string())?;
    Ok("as many bytes were dropped on a connection to ourselves as asked for, and no more".into())
}

/// Registers a table of one, and puts `fd` into it.
fn register_file(bare: &Bare, fd: RawFd) -> Result<(), String> {
    let submitter = bare.ring().submitter();
    let registered = submitter.register_files_sparse(1);
    registered.map_err(|error| refused("io_uring_register (sparse files)", &error))?;
    let updated = submitter.register_files_update(0, &[fd]);
    updated.map_err(|error| refused("io_uring_register (files update)", &error)).map(|_| ())
}

/// A byte sent through a place in the table.
fn fixed_files() -> Verdict {
    let (near, _far) = pair()?;
    let mut bare = Bare::open()?;
    register_file(&bare, near.as_raw_fd())?;
    let send = opcode::Send::new(Fixed(0), BYTE.as_ptr(), BYTE.len() as u32);
    // SAFETY: the byte is static.
    unsafe { bare.push(&send.build().user_data(FIRST)) }?;
    match bare.result_of(FIRST)? {
        1 => Ok("a byte was sent through the table".to_owned()),
        other => Err(format!("a send through the table: {}", outcome(other))),
    }
}

/// A poll that nothing ends but its cancellation.
fn cancel(descriptors: Descriptors) -> Verdict {
    let (near, _far) = pair()?;
    let mut bare = Bare::open()?;
    let readable = libc::POLLIN as u32;
    let (poll, by) = match descriptors {
        Descriptors::Plain => {
            let fd = Fd(near.as_raw_fd());
            (opcode::PollAdd::new(fd, readable).build(), CancelBuilder::fd(fd))
        }
        Descriptors::Fixed => {
            register_file(&bare, near.as_raw_fd())?;
            (opcode::PollAdd::new(Fixed(0), readable).build(), CancelBuilder::fd(Fixed(0)))
        }
    };
    // SAFETY: a poll lends nothing.
    unsafe { bare.push(&poll.user_data(FIRST)) }?;
    // SAFETY: nor does a cancellation.
    unsafe { bare.push(&opcode::AsyncCancel2::new(by.all()).build().user_data(SECOND)) }?;
    for _ in 0..2 {
        let entry = bare.next()?;
        match (entry.user_data(), entry.result()) {
            (FIRST, result) if result == -libc::ECANCELED => {}
            (SECOND, 0..) => {}
            (_, result) => return Err(format!("a cancellation: {}", outcome(result))),
        }
    }
    Ok("a poll was cancelled".to_owned())
}

/// Two connections from one submission.
fn multishot_accept() -> Verdict {
    let broken = |error: std::io::Error| refused("no listener on loopback", &error);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(broken)?;
    let address = listener.local_addr().map_err(broken)?;
    let mut bare = Bare::open()?;
    let accept = opcode::AcceptMulti::new(Fd(listener.as_raw_fd())).flags(libc::SOCK_CLOEXEC);
    // SAFETY: an accept that does not ask for the peer's address lends nothing.
    unsafe { bare.push(&accept.build().user_data(FIRST)) }?;
    for number in 1..=2 {
        let _client = TcpStream::connect(address).map_err(broken)?;
        let entry = bare.next()?;
        if entry.result() < 0 {
            return Err(format!("an accept: {}", outcome(entry.result())));
        }
        drop(owned(entry.result()));
        if !cqueue::more(entry.flags()) {
            return Err(format!("the accept ended after {number} of 2 connections"));
        }
    }
    Ok("two connections were accepted by one operation".to_owned())
}

fn owned(fd: RawFd) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the kernel has just made this descriptor for the accept of our own ring, and nobody else knows it.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }
}

/// A buffer ring whose buffers are used up bit by bit: registered, and taken back.
fn incremental() -> Verdict {
    const COUNT: u16 = 8;
    /// `IOU_PBUF_RING_INC` (io_uring_register_buf_ring(3)).
    const INCREMENTAL: u16 = 2;
    let bytes = usize::from(COUNT) * size_of::<BufRingEntry>();
    let memory = Mapping::anonymous(bytes).map_err(|error| refused("mmap", &error))?;
    let bare = Bare::open()?;
    let submitter = bare.ring().submitter();
    let address = memory.base().as_ptr() as u64;
    // SAFETY: the mapping is page-aligned, of the size the kernel expects, and dropped after the ring: no operation ever uses it.
    let registered =
        unsafe { submitter.register_buf_ring_with_flags(address, COUNT, 0, INCREMENTAL) };
    registered.map_err(|error| refused("io_uring_register (IOU_PBUF_RING_INC)", &error))?;
    Ok("io_uring_register took IOU_PBUF_RING_INC".to_owned())
}

fn pair() -> Result<(UnixStream, UnixStream), String> {
    UnixStream::pair().map_err(|error| refused("socketpair", &error))
}
