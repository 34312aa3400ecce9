//! Finds the task that keeps the core from its connections. Prints nothing.

use std::time::Duration;

use crate::clock::Instant;

/// How long a single poll may keep the core by default.
pub const SLOW_AFTER: Duration = Duration::from_millis(10);

/// When a poll counts as a stall. After every poll the coarse clock is read, which costs 6 ns where the exact one costs 23 ns (measured by `benches/criterion/tasks.rs`) and moves by a tick of 1 to 10 ms
/// (`CONFIG_HZ`; mostly 4 ms). So what lasts a tick longer than `slow_after` is always found, and what is a tick shorter never.
///
/// ```
/// use std::time::Duration;
/// use ringshot::client::{Engine, Watch};
///
/// let watch = Watch { slow_after: Duration::from_millis(50) };
/// let engine = Engine::builder().watch(watch).build()?;
/// assert!(engine.stats().iter().all(|core| core.stalls == 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// What lasts so long is a stall. [`Duration::MAX`] reads no clock.
    pub slow_after: Duration,
}

impl Default for Watch {
    fn default() -> Self {
        Self { slow_after: SLOW_AFTER }
    }
}

impl Watch {
    #[inline]
    pub(super) fn read_clock(self) -> Instant {
        if self.slow_after == Duration::MAX { Instant::default() } else { Instant::coarse() }
    }
}

/// A poll that kept the core.
///
/// ```
/// use std::time::Duration;
/// use ringshot::client::{Engine, blocking::block_on};
///
/// let engine = Engine::builder().build()?;
/// block_on(engine.run_on(0, async |ctx| {
///     let blocks = ctx.spawn_named("sleep on a core", async { std::thread::sleep(Duration::from_millis(60)) });
///     blocks.await.expect("it does not panic");
/// }))?;
/// engine.shutdown()?;
/// let stall = engine.stats()[0].longest_stall.expect("it kept the core");
/// assert_eq!(stall.name, "sleep on a core");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// The task's name.
    pub name: &'static str,
    /// How long it kept the core, a tick more or less.
    pub lasted: Duration,
}

/// The polls that kept the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stalls {
    /// How many.
    pub count: u64,
    /// The first of the longest.
    pub longest: Option<Stall>,
    /// The first of the longest since [`Tasks::take_stall`](super::Tasks::take_stall).
    pub latest: Option<Stall>,
}

impl Stalls {
    #[cold]
    pub(super) fn record(&mut self, stall: Stall) {
        self.count += 1;
        for longest in [&mut self.longest, &mut self.latest] {
            if longest.is_none_or(|longest| longest.lasted < stall.lasted) {
                *longest = Some(stall);
            }
        }
    }
}
