//! The bare `io_uring` loop: multishot receives from a provided-buffer ring, sends that skip their success completion, a file table, one enter a turn.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fixed};
use io_uring::{IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};
use ringshot::sys::mmap::Mapping;

use super::{Figures, Load, Outcome, Watch, connect};

const BUFFER_BYTES: usize = 4096;
const QUIET: u64 = 1 << 40;

/// The buffers that the kernel picks from.
struct Buffers {
    entries: Mapping,
    memory: Mapping,
    count: u16,
    tail: u16,
}

impl Buffers {
    fn register(ring: &IoUring, count: u16) -> Outcome<Self> {
        let entries = Mapping::anonymous(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = Mapping::anonymous(usize::from(count) * BUFFER_BYTES)?;
        let address = entries.base().as_ptr() as u64;
        // SAFETY: the mapping is page-aligned, large enough, and dropped after the ring: the caller declares the ring last.
        unsafe { ring.submitter().register_buf_ring_with_flags(address, count, 0, 0) }?;
        let mut this = Self { entries, memory, count, tail: 0 };
        (0..count).for_each(|id| this.give_back(id));
        this.publish();
        Ok(this)
    }

    #[inline]
    fn give_back(&mut self, id: u16) {
        let place = usize::from(self.tail & (self.count - 1));
        // SAFETY: `place` is below `count`, so the entry lies in the mapping.
        let mut entry = unsafe { self.entries.base().cast::<BufRingEntry>().add(place) };
        // SAFETY: entries at or above the published tail are ours.
        let entry = unsafe { entry.as_mut() };
        entry.set_addr(self.memory.base().as_ptr() as u64 + u64::from(id) * BUFFER_BYTES as u64);
        entry.set_len(BUFFER_BYTES as u32);
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline]
    fn publish(&self) {
        let first = self.entries.base().cast::<BufRingEntry>().as_ptr();
        // SAFETY: `first` is the page-aligned start of an initialised buffer ring.
        let tail = unsafe { BufRingEntry::tail(first) }.cast::<AtomicU16>();
        // SAFETY: the tail lies in our mapping and is accessed atomically by both sides.
        unsafe { &*tail }.store(self.tail, Ordering::Release);
    }
}

/// Runs the loop on the calling thread.
///
/// # Errors
/// Any failure of a call or a connection.
pub fn run(load: &Load) -> Outcome<Figures> {
    let streams = connect(load)?;
    let entries = (4 * load.connections).next_power_of_two().clamp(4096, 65536) as u32;
    let mut builder = IoUring::builder();
    builder.dontfork().setup_clamp().setup_submit_all().setup_cqsize(entries);
    builder.setup_single_issuer().setup_defer_taskrun();
    let mut ring = builder.build(1024)?;
    let count = (2 * load.connections).next_power_of_two().clamp(256, 4096) as u16;
    let mut buffers = Buffers::register(&ring, count)?;
    let sockets: Vec<_> = streams.iter().map(AsRawFd::as_raw_fd).collect();
    ring.submitter().register_files(&sockets)?;
    let mut received = vec![0; sockets.len()];
    {
        let (submitter, mut queue, _) = ring.split();
        for index in 0..sockets.len() {
            push(&submitter, &mut queue, &receive(index))?;
            push(&submitter, &mut queue, &send(index, &load.request))?;
        }
    }
    let mut requests = 0;
    let mut watch = Watch::new(load);
    loop {
        ring.submit_and_wait(1)?;
        let (submitter, mut queue, completions) = ring.split();
        for cqe in completions {
            let index = cqe.user_data() as usize;
            if cqe.user_data() >= QUIET {
                return Err("a send failed".into());
            }
            match cqueue::buffer_select(cqe.flags()) {
                Some(id) => buffers.give_back(id),
                None if cqe.result() == -libc::ENOBUFS => {}
                None => return Err("the server closed".into()),
            }
            received[index] += cqe.result().max(0) as usize;
            if !cqueue::more(cqe.flags()) {
                push(&submitter, &mut queue, &receive(index))?;
            }
            if received[index] >= load.response_bytes {
                received[index] = 0;
                requests += 1;
                push(&submitter, &mut queue, &send(index, &load.request))?;
            }
        }
        drop(queue);
        buffers.publish();
        if let Some(figures) = watch.look(requests) {
            // The ring closes before the buffers and the request that it was lent.
            drop(ring);
            return Ok(figures);
        }
    }
}

fn receive(index: usize) -> squeue::Entry {
    opcode::RecvMulti::new(Fixed(index as u32), 0).build().user_data(index as u64)
}

fn send(index: usize, request: &[u8]) -> squeue::Entry {
    let entry = opcode::Send::new(Fixed(index as u32), request.as_ptr(), request.len() as u32);
    entry.flags(libc::MSG_WAITALL).build().flags(squeue::Flags::SKIP_SUCCESS).user_data(QUIET)
}

#[inline]
fn push(
    submitter: &Submitter<'_>,
    queue: &mut SubmissionQueue<'_>,
    entry: &squeue::Entry,
) -> Outcome<()> {
    // SAFETY: the request outlives the ring (`load` is borrowed for the whole run), and receives write to registered buffers only.
    if unsafe { queue.push(entry) }.is_ok() {
        return Ok(());
    }
    queue.sync();
    submitter.submit()?;
    queue.sync();
    // SAFETY: as above.
    unsafe { queue.push(entry) }.map_err(|_| "the submission queue stays full".into())
}
