//! A histogram as it was saved: a result that was read takes memory by its size on disk, not 260 KiB for each of its names. No IO and no clock.

use std::sync::OnceLock;

use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{
    Deserializer as HdrReader, Serializer as _, V2DeflateSerializer,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::histogram::{Histogram, empty};

/// HdrHistogram's V2 format, compressed or not. Never empty of values.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    /// Can be unpacked: [`Packed::read`] has tried.
    bytes: Box<[u8]>,
    len: u64,
    /// For who asks for a reference; what only adds it up leaves it empty.
    unpacked: OnceLock<Box<Hdr<u64>>>,
}

impl Packed {
    pub(super) fn of(values: &Hdr<u64>) -> Self {
        Self { bytes: bytes_of(values).into(), len: values.len(), unpacked: OnceLock::new() }
    }

    /// The same, checked; `None` if nothing was recorded.
    ///
    /// # Errors
    /// In words: not Base64, not such a histogram, or with values that are out of range.
    pub(super) fn read(text: &str) -> Result<Option<Self>, String> {
        let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text.trim())
            .map_err(|error| format!("a histogram must be Base64: {error}"))?;
        let len = unpack(&bytes)?.len();
        let packed = || Self { bytes: bytes.into(), len, unpacked: OnceLock::new() };
        Ok((len > 0).then(packed))
    }

    /// Times recorded.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Unpacked anew: nothing of it stays.
    pub(super) fn to_hdr(&self) -> Box<Hdr<u64>> {
        let unpacked = unpack(&self.bytes);
        debug_assert!(unpacked.is_ok(), "{unpacked:?}");
        unpacked.unwrap_or_else(|_| Box::new(empty()))
    }

    /// Unpacked once, and kept.
    pub(super) fn as_hdr(&self) -> &Hdr<u64> {
        self.unpacked.get_or_init(|| self.to_hdr())
    }

    /// Forgets what [`Packed::as_hdr`] kept.
    pub(super) fn fold(&mut self) {
        self.unpacked.take();
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What the first time is recorded in, with all that was read before.
#[cold]
pub(super) fn begun(packed: &mut Option<Box<Packed>>) -> Box<Hdr<u64>> {
    packed.take().map_or_else(|| Box::new(empty()), |packed| packed.to_hdr())
}

/// V2, compressed.
pub(super) fn bytes_of(values: &Hdr<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing into memory has no way to fail but sizes that these bounds don't reach.
    let written = V2DeflateSerializer::new().serialize(values, &mut bytes);
    debug_assert!(written.is_ok(), "{written:?}");
    bytes
}

/// In the one shape that all of ours have, so that they can be added.
fn unpack(mut bytes: &[u8]) -> Result<Box<Hdr<u64>>, String> {
    let read: Hdr<u64> = HdrReader::new()
        .deserialize(&mut bytes)
        .map_err(|error| format!("not an HdrHistogram of format V2: {error}"))?;
    let mut all = Box::new(empty());
    all.add(&read).map_err(|error| format!("a histogram out of range: {error}"))?;
    Ok(all)
}

/// The serialised form.
#[derive(Serialize, Deserialize)]
struct Encoded {
    hdr_v2: String,
    saturated: u64,
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let encoded = Encoded { hdr_v2: self.to_base64(), saturated: self.saturated() };
        encoded.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let encoded = Encoded::deserialize(deserializer)?;
        let packed = Packed::read(&encoded.hdr_v2).map_err(serde::de::Error::custom)?;
        Ok(Self::saved(packed, encoded.saturated))
    }
}
