//! Who turns a shard: here, a bare pinned thread. Knows nothing of what the shard sends.

pub mod thread;
