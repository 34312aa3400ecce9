//! A core's mailbox: bounded, many senders, one receiver. A full one hands the note back; whoever wants to can wait for room.

use std::sync::atomic::{AtomicBool, Ordering, fence};

use crossbeam_queue::ArrayQueue;
use event_listener::{Event, EventListener};

/// Notes that a mailbox holds.
pub const MAILBOX_NOTES_MAX: usize = 1024;

/// One core's mailbox.
#[derive(Debug)]
pub(crate) struct Mailbox<M> {
    notes: ArrayQueue<M>,
    /// Told when notes were taken out.
    room: Event,
    /// Its core is gone: what comes is dropped.
    closed: AtomicBool,
}

impl<M> Mailbox<M> {
    pub(crate) fn new() -> Self {
        Self {
            notes: ArrayQueue::new(MAILBOX_NOTES_MAX),
            room: Event::new(),
            closed: AtomicBool::new(false),
        }
    }

    /// Puts a note in, or hands it back if there is no room. A closed mailbox drops it.
    #[inline]
    pub(crate) fn push(&self, note: M) -> Result<(), M> {
        self.notes.push(note)?;
        // Either this sees that the mailbox is closed, or `close` sees the note.
        fence(Ordering::SeqCst);
        if self.is_closed() {
            self.clear();
        }
        Ok(())
    }

    /// Its core is gone: drops what is in it and what comes, so that whoever waits for an answer learns of it.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.clear();
        self.made_room();
    }

    /// Whether its core is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn clear(&self) {
        while self.notes.pop().is_some() {}
    }

    /// Takes the oldest note out. Tell [`Mailbox::made_room`] after the last.
    #[inline]
    pub(crate) fn pop(&self) -> Option<M> {
        self.notes.pop()
    }

    /// Wakes those who wait for room: all that found none, since so much was taken out.
    #[inline]
    pub(crate) fn made_room(&self) {
        self.room.notify(usize::MAX);
    }

    /// Whether it holds nothing.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// Whether there is no room.
    pub(crate) fn is_full(&self) -> bool {
        self.notes.is_full()
    }

    /// Hears of room that is made from now on: listen, push once more, then wait.
    pub(crate) fn listen(&self) -> EventListener {
        self.room.listen()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_hands_the_note_back_and_tells_of_room() {
        let mailbox = Mailbox::new();
        (0..MAILBOX_NOTES_MAX).for_each(|note| mailbox.push(note).unwrap());
        assert_eq!(mailbox.push(9999), Err(9999));
        let room = mailbox.listen();
        assert_eq!(mailbox.pop(), Some(0));
        mailbox.made_room();
        event_listener::Listener::wait(room);
        assert_eq!((mailbox.push(9999), mailbox.is_empty()), (Ok(()), false));
    }

    #[test]
    fn a_closed_mailbox_drops_what_is_in_it_and_what_comes() {
        let mailbox = Mailbox::new();
        let note = std::sync::Arc::new(());
        (0..MAILBOX_NOTES_MAX).for_each(|_| mailbox.push(note.clone()).unwrap());
        let room = mailbox.listen();
        mailbox.close();
        event_listener::Listener::wait(room);
        mailbox.push(note.clone()).unwrap();
        assert_eq!((std::sync::Arc::strong_count(&note), mailbox.is_closed()), (1, true));
    }
}
