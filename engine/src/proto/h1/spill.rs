//! Where a head or a trailer section that comes in pieces is put together. Empty, and not even
//! allocated, on the steady path; never longer than a limit allows, plus the byte that breaks it.

use super::fields::unfold;

/// The bytes of one section.
#[derive(Debug, Default)]
pub(super) struct Spill {
    bytes: Vec<u8>,
    /// Whether the section is whole and was told: the next poll empties it.
    told: bool,
}

impl Spill {
    /// Forgets what was told, at the start of a poll.
    #[inline]
    pub(super) fn rinse(&mut self) {
        if self.told {
            self.clear();
        }
    }

    /// Forgets everything and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.told = false;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes of an unfinished section are here.
    pub(super) fn unfinished_bytes(&self) -> usize {
        if self.told { 0 } else { self.bytes.len() }
    }

    /// Adds `input`, but not more than shows that `bytes_max` is exceeded. Returns how many bytes
    /// were here before.
    pub(super) fn add(&mut self, input: &[u8], bytes_max: usize) -> usize {
        let before = self.bytes.len();
        let room = bytes_max.saturating_add(1).saturating_sub(before);
        self.bytes.extend_from_slice(&input[..input.len().min(room)]);
        before
    }

    /// The first `whole_bytes` are the whole section: keeps these, unfolded if need be, to be told.
    pub(super) fn finish(&mut self, whole_bytes: usize, folded: bool) {
        self.bytes.truncate(whole_bytes);
        self.told = true;
        if folded {
            let section = std::mem::take(&mut self.bytes);
            unfold(&section, &mut self.bytes);
        }
    }
}
