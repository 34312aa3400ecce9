//! Where a head or a trailer section that comes in pieces is put together. Empty, and not even
//! allocated, on the steady path; never longer than a limit allows, plus the byte that breaks it.

use memchr::memrchr;

use super::fields::unfold;

/// A section of so many bytes is read anew with each piece that comes.
const READ_ALWAYS_BYTES: usize = 1024;

/// The bytes of one section.
#[derive(Debug, Default)]
pub(super) struct Spill {
    bytes: Vec<u8>,
    /// Bytes that it had when it was last read, and was not whole.
    read: u32,
    /// Where its last line begins.
    line: u32,
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
        (self.read, self.line, self.told) = (0, 0, false);
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
        let added = &input[..input.len().min(room)];
        self.bytes.extend_from_slice(added);
        if let Some(end) = memrchr(b'\n', added) {
            self.line = (before + end + 1) as u32;
        }
        before
    }

    /// Whether to read the section anew after the bytes from `before` on: a line has ended, it exceeds `bytes_max` or its last line `line_max`, or it is twice as long as at the last
    /// time. A peer that sends a long line byte by byte makes work for some readings, not for one a byte.
    pub(super) fn is_due(&mut self, before: usize, bytes_max: usize, line_max: usize) -> bool {
        let bytes = self.bytes.len();
        let due = bytes <= READ_ALWAYS_BYTES
            || bytes > bytes_max
            || bytes - self.line as usize > line_max
            || bytes >= 2 * self.read as usize
            || self.line as usize > before;
        if due {
            self.read = bytes as u32;
        }
        due
    }

    /// Whether bytes have come since it was last read.
    pub(super) fn has_unread(&self) -> bool {
        self.unfinished_bytes() > self.read as usize
    }

    /// The first `whole_bytes` are the whole section: keeps these, to be told.
    pub(super) fn finish(&mut self, whole_bytes: usize) {
        self.bytes.truncate(whole_bytes);
        self.told = true;
    }

    /// [`Spill::finish`], with folded lines joined.
    pub(super) fn finish_folded(&mut self, whole_bytes: usize) {
        self.finish(whole_bytes);
        let section = std::mem::take(&mut self.bytes);
        unfold(&section, &mut self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of 64 KiB that comes byte by byte: how often it is read beyond its first kibibyte.
    #[test]
    fn a_long_line_in_bytes_is_read_a_few_times() {
        let (mut spill, mut readings) = (Spill::default(), 0);
        for count in 0..65_536 {
            let before = spill.add(b"x", 65_536);
            assert_eq!(before, count);
            readings +=
                u32::from(spill.is_due(before, 65_536, 65_536) && count >= READ_ALWAYS_BYTES);
        }
        assert_eq!(readings, 6);
        let before = spill.add(b"\n", 65_536);
        assert!(spill.is_due(before, 65_536, 65_536), "the limit");
        spill.clear();
        let before = spill.add(&[b'x'; 2_000], 65_536);
        assert!(spill.is_due(before, 65_536, 65_536), "the first piece");
        let before = spill.add(b"xx", 65_536);
        assert!(!spill.is_due(before, 65_536, 65_536));
        assert!(spill.is_due(before, 65_536, 2_001), "the line");
        let before = spill.add(b"x\r\nx", 65_536);
        assert!(spill.is_due(before, 65_536, 65_536), "the end of a line");
    }
}
