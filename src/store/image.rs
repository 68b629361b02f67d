//! What the journals of a process come to: its sessions and retained messages as they were.

use super::journal::{Entry, Retained};
use crate::mqtt::change::{self, Change, Corrupt};
use crate::mqtt::inflight::Inflight;
use crate::mqtt::packet::SubscribeOptions;
use crate::mqtt::session::{Expiry, Session};
use crate::time::Time;
use ahash::RandomState;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Sessions by client id, retained messages by subject.
#[derive(Debug)]
pub struct Image {
    hasher: Arc<RandomState>,
    /// Of the changes' times: how much later their process began than this one, in nanoseconds.
    shift_nanos: i64,
    sessions: HashMap<Box<[u8]>, Stored, RandomState>,
    /// The entry of the last change of each, with its version.
    retained: HashMap<Box<[u8]>, LastChange, RandomState>,
}

/// Of one subject: a version, and the entry that has it.
type LastChange = (u64, Box<[u8]>);

/// A session as it was.
#[derive(Debug)]
pub struct Stored {
    pub session: Session,
    pub filters: BTreeMap<Box<[u8]>, Wanted>,
    /// Its connection had ended before the process did.
    pub is_left: bool,
}

/// What its client wants of a topic filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub options: SubscribeOptions,
    /// 0 for none.
    pub identifier: u32,
    /// What was retained before it has not all been sent.
    pub is_due_retained: bool,
}

impl Image {
    pub fn new(hasher: Arc<RandomState>, shift_nanos: i64) -> Self {
        Self {
            shift_nanos,
            sessions: HashMap::with_hasher((*hasher).clone()),
            retained: HashMap::with_hasher((*hasher).clone()),
            hasher,
        }
    }

    /// Takes in one core's journal, or the next part of one, and says how many of its bytes are whole entries.
    pub fn read(&mut self, journal: &[u8]) -> Result<usize, Corrupt> {
        let mut n_taken = 0;
        while let Some((entry, len)) = Entry::read(journal.get(n_taken..).unwrap_or_default())? {
            self.apply(&entry)?;
            n_taken += len;
        }
        Ok(n_taken)
    }

    fn apply(&mut self, entry: &Entry<'_>) -> Result<(), Corrupt> {
        match entry {
            Entry::Begins { client_id } => {
                self.sessions.insert((*client_id).into(), Stored::new(client_id, self.hasher.clone()));
            }
            Entry::Changes { client_id, changes } => {
                let stored = self.sessions.get_mut(*client_id).ok_or(Corrupt)?;
                change::read(changes, self.shift_nanos, |change| stored.apply(change))?;
            }
            Entry::Ends { client_id } => drop(self.sessions.remove(*client_id).ok_or(Corrupt)?),
            Entry::Retained(Retained { version, subject, .. }) | Entry::Cleared { version, subject } => {
                let known = self.retained.entry((*subject).into()).or_default();
                if *version > known.0 {
                    let mut bytes = Vec::new();
                    entry.write(&mut bytes);
                    *known = (*version, bytes.into());
                }
            }
        }
        Ok(())
    }

    /// The sessions, with their clients' ids.
    pub fn take_sessions(&mut self) -> impl Iterator<Item = (Box<[u8]>, Stored)> + use<'_> {
        self.sessions.drain()
    }

    pub fn session(&self, client_id: &[u8]) -> Option<&Stored> {
        self.sessions.get(client_id)
    }

    pub fn n_sessions(&self) -> usize {
        self.sessions.len()
    }

    /// The retained messages, in no order.
    pub fn retained(&self) -> impl Iterator<Item = Retained<'_>> {
        self.retained.values().filter_map(|(_, bytes)| match Entry::read(bytes) {
            Ok(Some((Entry::Retained(retained), _))) => {
                let shift =
                    |at: Time| Time::from_nanos(at.as_nanos().saturating_add_signed(self.shift_nanos));
                let never = retained.expires_at == Time::NEVER;
                let expires_at = if never { Time::NEVER } else { shift(retained.expires_at) };
                Some(Retained { expires_at, ..retained })
            }
            _ => None,
        })
    }

    /// The version of the last change of a retained message.
    pub fn version(&self) -> u64 {
        self.retained.values().map(|(version, _)| *version).max().unwrap_or(0)
    }
}

impl Stored {
    fn new(client_id: &[u8], hasher: Arc<RandomState>) -> Self {
        // Whatever was kept is kept, whatever the limits are now.
        let inflight = Inflight::new(1, usize::MAX);
        let session = Session::new(client_id, Expiry::WithConnection, inflight, hasher);
        Self { session, filters: BTreeMap::new(), is_left: false }
    }

    fn apply(&mut self, change: &Change<'_>) -> Result<(), Corrupt> {
        match change {
            Change::Subscribed { filter, options, identifier } => {
                let known = self.filters.get(*filter);
                let is_due_retained = known.is_some_and(|known| known.is_due_retained);
                let wanted = Wanted { options: *options, identifier: *identifier, is_due_retained };
                self.filters.insert((*filter).into(), wanted);
            }
            Change::Replay { filter, is_due } => {
                self.filters.get_mut(*filter).ok_or(Corrupt)?.is_due_retained = *is_due;
            }
            Change::Unsubscribed { filter } => drop(self.filters.remove(*filter).ok_or(Corrupt)?),
            Change::Came => self.is_left = false,
            Change::Left { .. } => self.is_left = true,
            _ => {}
        }
        self.session.apply(change)
    }

    /// Says it whole: the changes that make it anew.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.session.write(out);
        for (filter, wanted) in &self.filters {
            wanted.write(filter, out);
        }
        if self.is_left {
            let Session { ends_at, will_due, .. } = self.session;
            Change::Left { ends_at, will_due }.write(out);
        }
    }
}

impl Wanted {
    pub fn write(&self, filter: &[u8], out: &mut Vec<u8>) {
        let Self { options, identifier, is_due_retained } = *self;
        Change::Subscribed { filter, options, identifier }.write(out);
        if is_due_retained {
            Change::Replay { filter, is_due: true }.write(out);
        }
    }
}
