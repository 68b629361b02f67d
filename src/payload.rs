//! Payloads and how they travel: a small one is copied wherever it goes, since that is cheaper than a
//! shared count; a large one is copied once and then shared.

use bytes::Bytes;

/// From this length on, in bytes, sharing and gathered writes beat copying: the border of a measurement
/// with 24-byte heads, where copying won up to about 1.5 KB.
pub const SHARED_BYTES_MIN: usize = 1_536;

/// A payload on its way through one core.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    Copied(&'a [u8]),
    Shared(&'a Bytes),
}

impl<'a> Payload<'a> {
    /// The bytes, or the copy that is shared of them; see [`share_if_large`].
    #[inline]
    pub fn of(bytes: &'a [u8], shared: Option<&'a Bytes>) -> Self {
        shared.map_or(Self::Copied(bytes), Self::Shared)
    }

    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }
}

/// A shared copy of `bytes` where they are long enough to deserve one.
pub fn share_if_large(bytes: &[u8]) -> Option<Bytes> {
    (bytes.len() >= SHARED_BYTES_MIN).then(|| Bytes::copy_from_slice(bytes))
}
