//! A store for simulated shards: it keeps what they write down, late, and loses the rest when they crash.

use super::faults::{Check, Kind, Violation, broken};
use super::world::World;
use crate::shard::Shard;
use crate::shard::id::CoreId;
use crate::shard::keys::Keys;
use crate::shard::retained::{Budget, Cursor, Retained};
use crate::store::image::Image;
use crate::subject::SubjectFilter;
use crate::time::Time;
use std::collections::{BTreeMap, VecDeque};

/// One core's.
#[derive(Debug, Default)]
pub struct Store {
    bytes: Vec<u8>,
    /// Where turns end that are not kept: what one turn wrote is kept as one.
    ends: VecDeque<u64>,
    n_kept: usize,
    taken: Vec<u8>,
}

impl Store {
    /// Takes what the last turn wrote.
    pub fn take(&mut self, shard: &mut Shard) {
        let end = shard.take_journal(&mut self.taken);
        if !self.taken.is_empty() {
            self.bytes.append(&mut self.taken);
            self.ends.push_back(end);
        }
    }

    /// Keeps so many turns more, and says how far that is; `None` where nothing was left.
    pub fn keep(&mut self, n_turns: usize) -> Option<u64> {
        let end = self.pretend_to_keep(n_turns)?;
        self.n_kept = end as usize;
        Some(end)
    }

    /// As `keep`, but only says so.
    pub fn pretend_to_keep(&mut self, n_turns: usize) -> Option<u64> {
        let n = n_turns.min(self.ends.len());
        self.ends.drain(..n).next_back()
    }

    pub fn has_more(&self) -> bool {
        !self.ends.is_empty()
    }

    pub fn kept(&self) -> &[u8] {
        &self.bytes[..self.n_kept]
    }

    pub fn written(&self) -> &[u8] {
        &self.bytes
    }
}

/// What these journals come to.
pub fn image<'a>(journals: impl Iterator<Item = &'a [u8]>, keys: &Keys) -> Result<Image, Violation> {
    let mut image = Image::new(keys.shared_hasher(), 0);
    for journal in journals {
        match image.read(journal) {
            Ok(n) if n == journal.len() => {}
            read => {
                let what = format!("a journal can't be read: {read:?}");
                return Err(Violation { kind: Kind::Content, what });
            }
        }
    }
    Ok(image)
}

impl World {
    /// Takes what a core has written down, and keeps some of what it was given; whether that was anything.
    pub(super) fn keep(&mut self, core: CoreId) -> bool {
        let Some(store) = self.stores.get_mut(core.idx()) else { return false };
        let shard = &mut self.shards[core.idx()];
        store.take(shard);
        let n_turns = if self.is_calm { usize::MAX } else { self.keeps.below(4) };
        let kept = store.keep(n_turns);
        kept.into_iter().for_each(|position| shard.kept(position, self.now));
        kept.is_some()
    }

    /// What was written down is what there is.
    pub(super) fn check_journals(&mut self) -> Check {
        if self.stores.is_empty() {
            return Ok(());
        }
        let image = image(self.stores.iter().map(Store::written), &self.keys)?;
        check_image(&image, &mut self.shards)?;
        check_retained(&image, &self.retained, self.now)
    }
}

fn check_retained(image: &Image, retained: &Retained, now: Time) -> Check {
    let mut found = Vec::new();
    let everything = SubjectFilter::parse(b">").expect("it is one");
    let mut budget = Budget { n_looks: usize::MAX, n_found: usize::MAX };
    retained.walk(&mut Cursor::default(), &everything, u64::MAX, now, &mut budget, &mut found);
    let mut written: Vec<_> = image.retained().filter(|it| it.expires_at > now).collect();
    let mut there: Vec<_> = found.iter().map(|found| found.kept.entry()).collect();
    written.sort_unstable_by_key(|it| it.subject);
    there.sort_unstable_by_key(|it| it.subject);
    if written != there {
        return broken(Kind::Content, format!("retained: written down {written:?}, there are {there:?}"));
    }
    Ok(())
}

/// The journals come to what the shards have.
pub fn check_image(image: &Image, shards: &mut [Shard]) -> Check {
    let mut expected = BTreeMap::new();
    for shard in shards {
        expected.extend(shard.written_sessions());
    }
    if image.n_sessions() != expected.len() {
        let what = format!("{} sessions are written down, there are {}", image.n_sessions(), expected.len());
        return broken(Kind::Missing, what);
    }
    for (client_id, changes) in expected {
        let mut written = Vec::new();
        if let Some(stored) = image.session(&client_id) {
            stored.write(&mut written);
        }
        if written != changes {
            let what = format!(
                "{}: written down {}, is {}",
                client_id.escape_ascii(),
                written.escape_ascii(),
                changes.escape_ascii()
            );
            return broken(Kind::Content, what);
        }
    }
    Ok(())
}
