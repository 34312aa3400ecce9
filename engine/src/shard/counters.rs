//! What a shard counts.

/// What a shard counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Connections that were established.
    pub connected: u64,
    /// Bytes received, discarded ones included.
    pub bytes_received: u64,
    /// System calls besides those of the driver: those that make sockets.
    pub system_calls: u64,
    /// Turns.
    pub turns: u64,
    /// Turns that had completions.
    pub turns_with_completions: u64,
    /// Completions.
    pub completions: u64,
}
