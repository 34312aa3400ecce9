//! Bytes that a caller hands over to be sent, and the buffers that come back for the next ones. Makes no system call.

use std::ops::Deref;

use bytes::Bytes;

/// Buffers that a driver keeps for [`Driver::buffer`](super::Driver::buffer); more are freed.
pub const BUFFERS_KEPT: usize = 1024;
/// Largest capacity of a buffer that is kept, in bytes; larger ones are freed. With [`BUFFERS_KEPT`] it bounds what a driver keeps to 16 MiB.
pub const BUFFER_BYTES_KEPT: usize = 16 << 10;

/// Bytes to send that belong to the driver until the kernel is done with them.
#[derive(Debug)]
pub enum Payload {
    /// A buffer of the driver's ([`Driver::buffer`](super::Driver::buffer)) or of the caller's own: the driver keeps it for the next one.
    Buffer(Vec<u8>),
    /// Bytes that somebody else may hold as well: let go when they are sent.
    Shared(Bytes),
}

impl Deref for Payload {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Buffer(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// Buffers that wait for their next use. Invariant: each is empty, has room, and none is larger than [`BUFFER_BYTES_KEPT`].
#[derive(Debug, Default)]
pub(super) struct Spares(Vec<Vec<u8>>);

impl Spares {
    /// An empty buffer: the one that came back last, which the cache remembers best.
    #[inline]
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    /// The kernel is done with `payload`.
    #[inline]
    pub(super) fn finish(&mut self, payload: Payload) {
        let Payload::Buffer(mut buffer) = payload else { return };
        if self.0.len() < BUFFERS_KEPT && (1..=BUFFER_BYTES_KEPT).contains(&buffer.capacity()) {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_within_their_limits_and_shared_bytes_do_not() {
        let mut spares = Spares::default();
        let check = |spares: &mut Spares, payload: Payload, kept: usize| {
            assert!(payload.len() <= BUFFER_BYTES_KEPT + 1);
            spares.finish(payload);
            assert_eq!(spares.0.len(), kept);
        };
        check(&mut spares, Payload::Shared(Bytes::from_static(b"shared")), 0);
        check(&mut spares, Payload::Buffer(Vec::new()), 0);
        check(&mut spares, Payload::Buffer(vec![0; BUFFER_BYTES_KEPT + 1]), 0);
        let buffer = b"bytes".to_vec();
        let place = buffer.as_ptr();
        check(&mut spares, Payload::Buffer(buffer), 1);
        let again = spares.take();
        assert!(again.is_empty() && again.as_ptr() == place);
        (0..BUFFERS_KEPT + 9).for_each(|_| spares.finish(Payload::Buffer(vec![1])));
        assert_eq!(spares.0.len(), BUFFERS_KEPT);
    }
}
