//! Why a value was not sent or received. Neither error asks anything of the value's type.

use std::fmt;

/// The value that was not sent: the queue is closed.
///
/// ```
/// # use std::num::NonZeroUsize;
/// # use ringshot::{client::blocking::block_on, queue};
/// let (sender, receiver) = queue::bounded(NonZeroUsize::MIN);
/// drop(receiver);
/// let queue::Closed(value) = block_on(sender.send("comes back")).unwrap_err();
/// assert_eq!(value, "comes back");
/// ```
pub struct Closed<T>(pub T);

/// The value that was not sent, and why.
///
/// ```
/// # use std::num::NonZeroUsize;
/// use ringshot::queue::{self, TrySendError};
///
/// let (sender, _receiver) = queue::bounded(NonZeroUsize::MIN);
/// sender.try_send(1)?;
/// assert!(matches!(sender.try_send(2), Err(TrySendError::Full(2))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub enum TrySendError<T> {
    /// As many values are queued as the queue holds.
    Full(T),
    /// The queue is closed.
    Closed(T),
}

/// Why there is no value.
///
/// ```
/// # use std::num::NonZeroUsize;
/// use ringshot::queue::{self, TryRecvError};
///
/// let (sender, receiver) = queue::bounded::<u8>(NonZeroUsize::MIN);
/// assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
/// drop(sender);
/// assert!(matches!(receiver.try_recv(), Err(TryRecvError::Closed)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TryRecvError {
    /// Nothing is queued now.
    #[error("the queue is empty")]
    Empty,
    /// Nothing is queued, and nothing will be.
    #[error("the queue is empty and closed")]
    Closed,
}

impl<T> fmt::Debug for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed(..)")
    }
}

impl<T> fmt::Display for Closed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the queue is closed")
    }
}

impl<T> std::error::Error for Closed<T> {}

impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::Closed(_) => "the queue is closed",
        })
    }
}

impl<T> std::error::Error for TrySendError<T> {}
