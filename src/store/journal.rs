//! A core's changes, as entries one after another: a kind, a length, a body. What is said of one session is in
//! one core's journal, in order; what is said of one retained message may be in several, each with its version.

use crate::message::{ProtocolKind, Quality};
use crate::mqtt::change::Corrupt;
use crate::time::Time;

/// What a core has written, until its driver takes it.
#[derive(Debug, Default)]
pub struct Journal {
    is_on: bool,
    bytes: Vec<u8>,
    /// Bytes written so far, and how many of them are kept. `n_kept <= n_written`.
    n_written: u64,
    n_kept: u64,
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A new session, in the place of any that this client had.
    Begins {
        client_id: &'a [u8],
    },
    /// Changes of a session, as [`crate::mqtt::change`] writes them.
    Changes {
        client_id: &'a [u8],
        changes: &'a [u8],
    },
    Ends {
        client_id: &'a [u8],
    },
    Retained(Retained<'a>),
    /// The subject's retained message was cleared.
    Cleared {
        version: u64,
        subject: &'a [u8],
    },
}

/// A retained message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained<'a> {
    /// Its place among all changes of retained messages: of one subject the last one counts.
    pub version: u64,
    /// Who published it: a hash by the process's keys, which whoever keeps it has to keep as well.
    pub source: u64,
    pub protocol: ProtocolKind,
    pub quality: Quality,
    pub expires_at: Time,
    pub subject: &'a [u8],
    pub properties: &'a [u8],
    pub header: &'a [u8],
    pub payload: &'a [u8],
}

const BEGINS: u8 = 1;
const CHANGES: u8 = 2;
const ENDS: u8 = 3;
const RETAINED: u8 = 4;
const CLEARED: u8 = 5;

/// Kind and length.
const HEAD_LEN: usize = 5;

impl Journal {
    /// From now on changes are written.
    pub fn turn_on(&mut self) {
        self.is_on = true;
    }

    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    pub fn write(&mut self, entry: &Entry<'_>) {
        let n_before = self.bytes.len();
        entry.write(&mut self.bytes);
        self.n_written += (self.bytes.len() - n_before) as u64;
    }

    /// Exchanges what was written since the last time for an empty buffer.
    pub fn take(&mut self, empty: &mut Vec<u8>) {
        debug_assert!(empty.is_empty());
        std::mem::swap(&mut self.bytes, empty);
    }

    /// The position after all that was written.
    pub fn n_written(&self) -> u64 {
        self.n_written
    }

    /// Notes that everything before `position` is kept.
    pub fn note_kept(&mut self, position: u64) {
        debug_assert!(position <= self.n_written);
        self.n_kept = self.n_kept.max(position);
    }

    pub fn n_kept(&self) -> u64 {
        self.n_kept
    }

    /// Whether all that was written is kept.
    #[inline]
    pub fn is_kept(&self) -> bool {
        self.n_kept == self.n_written
    }
}

impl<'a> Entry<'a> {
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[self.kind(), 0, 0, 0, 0]);
        match self {
            Self::Begins { client_id } | Self::Ends { client_id } => out.extend_from_slice(client_id),
            Self::Changes { client_id, changes } => {
                put(out, client_id);
                out.extend_from_slice(changes);
            }
            Self::Retained(retained) => retained.write(out),
            Self::Cleared { version, subject } => {
                out.extend_from_slice(&version.to_be_bytes());
                out.extend_from_slice(subject);
            }
        }
        let n = (out.len() - start - HEAD_LEN) as u32;
        out[start + 1..start + HEAD_LEN].copy_from_slice(&n.to_be_bytes());
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Begins { .. } => BEGINS,
            Self::Changes { .. } => CHANGES,
            Self::Ends { .. } => ENDS,
            Self::Retained(_) => RETAINED,
            Self::Cleared { .. } => CLEARED,
        }
    }

    /// Reads the entry at the front of `bytes`, and how long it is; `None` where they end inside it, as the
    /// journal of a process does that died while it wrote.
    pub fn read(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, Corrupt> {
        let Some((&[kind, len @ ..], rest)) = bytes.split_first_chunk::<HEAD_LEN>() else { return Ok(None) };
        let n = u32::from_be_bytes(len) as usize;
        let Some(body) = rest.get(..n) else { return Ok(None) };
        let entry = match kind {
            BEGINS => Self::Begins { client_id: body },
            CHANGES => {
                let mut rest = body;
                let client_id = take(&mut rest)?;
                Self::Changes { client_id, changes: rest }
            }
            ENDS => Self::Ends { client_id: body },
            RETAINED => Self::Retained(Retained::read(body)?),
            CLEARED => {
                let mut rest = body;
                Self::Cleared { version: number(&mut rest)?, subject: rest }
            }
            _ => return Err(Corrupt),
        };
        Ok(Some((entry, HEAD_LEN + n)))
    }
}

impl<'a> Retained<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.version.to_be_bytes());
        out.extend_from_slice(&self.source.to_be_bytes());
        out.extend_from_slice(&self.expires_at.as_nanos().to_be_bytes());
        out.extend_from_slice(&[self.protocol as u8, self.quality as u8]);
        put(out, self.subject);
        put(out, self.properties);
        put(out, self.header);
        out.extend_from_slice(self.payload);
    }

    fn read(mut body: &'a [u8]) -> Result<Self, Corrupt> {
        let rest = &mut body;
        let (version, source) = (number(rest)?, number(rest)?);
        let expires_at = Time::from_nanos(number(rest)?);
        let (&[protocol, quality], after) = rest.split_first_chunk::<2>().ok_or(Corrupt)?;
        *rest = after;
        Ok(Self {
            version,
            source,
            protocol: *ProtocolKind::ALL.get(usize::from(protocol)).ok_or(Corrupt)?,
            quality: *Quality::ALL.get(usize::from(quality)).ok_or(Corrupt)?,
            expires_at,
            subject: take(rest)?,
            properties: take(rest)?,
            header: take(rest)?,
            payload: rest,
        })
    }
}

fn put(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text);
}

fn take<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Corrupt> {
    let (len, after) = rest.split_first_chunk::<4>().ok_or(Corrupt)?;
    let (text, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or(Corrupt)?;
    *rest = after;
    Ok(text)
}

fn number(rest: &mut &[u8]) -> Result<u64, Corrupt> {
    let (number, after) = rest.split_first_chunk::<8>().ok_or(Corrupt)?;
    *rest = after;
    Ok(u64::from_be_bytes(*number))
}
