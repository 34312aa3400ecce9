//! The thread host: one thread a core, pinned, that lives as long as its work. Never shares a core on purpose.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::Pace;
use crate::sys::affinity::{self, Pinned};

/// Starts a thread, pins it to `core`, and runs `work` on it. A core that can't be pinned to is told to `work`, which decides what that means.
///
/// # Errors
/// `EAGAIN` when the system has no thread left (pthread_create(3)).
pub fn spawn<T: Send + 'static>(
    core: usize,
    work: impl FnOnce(Pinned) -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    // 15 bytes are what the kernel keeps of a name (prctl(2), PR_SET_NAME).
    let name = format!("ringshot-{core}");
    Builder::new().name(name).spawn(move || work(affinity::pin(core)))
}

/// Nobody else is on the thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alone;

impl Pace for Alone {
    #[inline]
    fn block_max(&self, most: Duration) -> Duration {
        most
    }

    #[inline]
    async fn give_way(&mut self) {}
}

/// Runs a future that waits for nothing but [`Alone`], which is never late.
pub(super) fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_runs_on_the_core_it_was_given() {
        let core = affinity::cores()[0];
        let handle = spawn(core, move |pinned| (pinned, affinity::cores())).unwrap();
        assert_eq!(handle.join().unwrap(), (Pinned::Yes, vec![core]));
    }
}
