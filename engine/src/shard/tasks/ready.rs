//! The tasks that exist, and which of them to poll: a plain queue for wakes on the core's thread, one behind a lock for all others. Polls nothing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::super::doorbell::Doorbell;
use super::live::Run;
use super::owned::Owned;
use crate::sync::lock;

/// A task's place on its core. A place is used again under another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    index: u32,
    generation: u32,
}

#[derive(Default)]
struct Slot {
    /// None while it is polled, and when it is gone.
    task: Option<Arc<dyn Run>>,
    generation: u32,
    /// Whether it is in the queue.
    is_queued: bool,
    /// For the watch.
    name: &'static str,
}

/// What the core's thread alone looks at. Invariants: an index is in `queue` once if its slot `is_queued`, else not at all; it is in `free` if it belongs to no task and is not queued.
#[derive(Default)]
struct Local {
    slots: Vec<Slot>,
    free: Vec<u32>,
    queue: VecDeque<u32>,
    /// Those of `queue` whose task ended after it was woken.
    stale: usize,
    live: usize,
    panics: u64,
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { live, panics, .. } = self;
        let mut shown = f.debug_struct("Local");
        shown.field("live", live).field("ready", &self.ready()).field("panics", panics);
        shown.finish_non_exhaustive()
    }
}

impl Local {
    fn reserve(&mut self) -> Place {
        self.live += 1;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        Place { index, generation: self.slots[index as usize].generation }
    }

    /// Puts a task into the queue, unless it is there or gone; returns whether it did.
    #[inline]
    fn push(&mut self, place: Place) -> bool {
        let slot = &mut self.slots[place.index as usize];
        let pushes = !slot.is_queued && slot.generation == place.generation;
        if pushes {
            slot.is_queued = true;
            self.queue.push_back(place.index);
        }
        pushes
    }

    fn ready(&self) -> usize {
        self.queue.len() - self.stale
    }

    /// A task is gone: no waker of it means anything any more.
    fn release(&mut self, index: u32) {
        self.live -= 1;
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        // One that was woken while it ended is to be taken from the queue first.
        if slot.is_queued {
            self.stale += 1;
        } else {
            self.free.push(index);
        }
    }

    /// Takes a task out, and the number of its place.
    #[inline]
    fn take(&mut self) -> Option<(u32, Arc<dyn Run>)> {
        loop {
            let index = self.queue.pop_front()?;
            let slot = &mut self.slots[index as usize];
            slot.is_queued = false;
            match slot.task.take() {
                Some(task) => return Some((index, task)),
                None => {
                    self.stale -= 1;
                    self.free.push(index);
                }
            }
        }
    }
}

/// What other threads woke. On cache lines of its own: they write here while the core works beside it.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Remote {
    /// Holds a task at most once.
    queue: Mutex<Vec<Place>>,
    /// Whether the queue has any; stored with the lock held.
    any: AtomicBool,
}

/// The tasks of one core.
#[derive(Debug)]
pub(super) struct Ready {
    local: Owned<RefCell<Local>>,
    doorbell: Arc<Doorbell>,
    remote: Remote,
}

impl Ready {
    /// No tasks, on the calling thread.
    pub(super) fn new(doorbell: Arc<Doorbell>) -> Self {
        Self { local: Owned::new(RefCell::default()), doorbell, remote: Remote::default() }
    }

    /// A place for a new task; `None` on another thread.
    pub(super) fn reserve(&self) -> Option<Place> {
        Some(self.local.get()?.borrow_mut().reserve())
    }

    /// Fills a place and puts it into the queue.
    #[inline]
    pub(super) fn insert(&self, place: Place, name: &'static str, task: Arc<dyn Run>) {
        if let Some(local) = self.local.get() {
            let mut local = local.borrow_mut();
            let slot = &mut local.slots[place.index as usize];
            (slot.name, slot.task) = (name, Some(task));
            local.push(place);
            drop(local);
            self.doorbell.ring_own();
        }
    }

    /// Takes a task that was woken, on any thread. `is_called` is the task's: whether it is in the queue of other threads.
    #[inline]
    pub(super) fn push(&self, place: Place, is_called: &AtomicBool) {
        match self.local.get() {
            Some(local) => {
                if local.borrow_mut().push(place) {
                    self.doorbell.ring_own();
                }
            }
            None => self.push_remote(place, is_called),
        }
    }

    fn push_remote(&self, place: Place, is_called: &AtomicBool) {
        // What this thread did before is seen by whoever takes the task out and finds it called.
        if is_called.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut queue = lock(&self.remote.queue);
        queue.push(place);
        let first = queue.len() == 1;
        self.remote.any.store(true, Ordering::Release);
        drop(queue);
        // Who comes after the first is collected with it.
        if first {
            self.doorbell.ring();
        }
    }

    /// Takes over what other threads woke, and returns how many tasks there are to take: none on another thread.
    #[inline]
    pub(super) fn collect(&self) -> usize {
        let Some(local) = self.local.get() else { return 0 };
        let mut local = local.borrow_mut();
        if self.remote.any.load(Ordering::Acquire) {
            self.collect_remote(&mut local);
        }
        local.ready()
    }

    #[cold]
    fn collect_remote(&self, local: &mut Local) {
        let mut queue = lock(&self.remote.queue);
        for place in queue.drain(..) {
            let slot = &local.slots[place.index as usize];
            // A task that is gone stays called: nobody puts it here again.
            if let (true, Some(task)) = (slot.generation == place.generation, &slot.task) {
                task.answer();
                local.push(place);
            }
        }
        self.remote.any.store(false, Ordering::Release);
    }

    /// Takes the task out that became ready first, to be polled, with the number of its place: `give_back` or `release` comes next.
    #[inline]
    pub(super) fn take(&self) -> Option<(u32, Arc<dyn Run>)> {
        self.local.get()?.borrow_mut().take()
    }

    /// Gives a task back that has not ended.
    #[inline]
    pub(super) fn give_back(&self, index: u32, task: Arc<dyn Run>) {
        if let Some(local) = self.local.get() {
            local.borrow_mut().slots[index as usize].task = Some(task);
        }
    }

    /// A task that was taken out has ended.
    pub(super) fn release(&self, index: u32) {
        if let Some(local) = self.local.get() {
            local.borrow_mut().release(index);
        }
    }

    /// The name of what was taken out.
    #[cold]
    pub(super) fn name(&self, index: u32) -> &'static str {
        self.local.get().map_or("", |local| local.borrow().slots[index as usize].name)
    }

    /// All tasks that there are, with the numbers of their places.
    pub(super) fn take_all(&self) -> Vec<(u32, Arc<dyn Run>)> {
        let Some(local) = self.local.get() else { return Vec::new() };
        let mut local = local.borrow_mut();
        let slots = (0..).zip(&mut local.slots);
        slots.filter_map(|(index, slot)| Some((index, slot.task.take()?))).collect()
    }

    pub(super) fn count_panics(&self, more: u64) {
        if let Some(local) = self.local.get() {
            local.borrow_mut().panics += more;
        }
    }

    pub(super) fn panics(&self) -> u64 {
        self.local.get().map_or(0, |local| local.borrow().panics)
    }

    /// Tasks that have a place.
    pub(super) fn live(&self) -> usize {
        self.local.get().map_or(0, |local| local.borrow().live)
    }

    /// Whether there is any to poll, collected or not.
    pub(super) fn is_any(&self) -> bool {
        let local = self.local.get().is_some_and(|local| local.borrow().ready() > 0);
        local || self.remote.any.load(Ordering::Acquire)
    }
}
